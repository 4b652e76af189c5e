//! Parameters of templates, which Argo (`{{x}}`) and Tekton (`$(x)`) fill in before they create a pod.

/// The parameter in a name, and what fills it in: the controller of a custom kind.
pub fn of<'a>(name: &'a str, api_version: &str, kind: &str) -> Option<(&'a str, String)> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let found = match group {
        "template.openshift.io" => of_template(name),
        _ => find(name),
    }?;
    let by = match group {
        "argoproj.io" => "Argo".to_owned(),
        "tekton.dev" | "triggers.tekton.dev" => "Tekton".to_owned(),
        "template.openshift.io" => "OpenShift's template processing (oc process)".to_owned(),
        _ => format!("the controller of {kind}"),
    };
    Some((found, by))
}

/// The first parameter in a text, with its delimiters.
pub fn find(text: &str) -> Option<&str> {
    let first = |open: &str, close: &str| {
        let at = text.find(open)?;
        let inner = at + open.len();
        let end = text.get(inner..)?.find(close)?;
        Some((at, text.get(at..inner + end + close.len())?))
    };
    let (braces, brackets) = (first("{{", "}}"), first("$(", ")"));
    [braces, brackets].into_iter().flatten().min().map(|(_, parameter)| parameter)
}

/// The first parameter of an `OpenShift` Template: `${x}`, or `${{x}}` for a value that is not text.
pub fn of_template(text: &str) -> Option<&str> {
    let from = text.get(text.find("${")?..)?;
    from.get(..=from.find('}')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found() {
        for (text, expected) in [
            ("nginx:1.25", None),
            ("{{image}}", Some("{{image}}")),
            ("reg/app:{{inputs.parameters.tag}}-$(x)", Some("{{inputs.parameters.tag}}")),
            ("$(params.image):{{x}}", Some("$(params.image)")),
            ("$(params[\"a\"])", Some("$(params[\"a\"])")),
            ("é{{é}}é", Some("{{é}}")),
            ("{{open", None),
            ("}}{{", None),
            ("$()", Some("$()")),
            ("${IMG}", None),
            ("{{open $(x)", Some("$(x)")),
        ] {
            assert_eq!(find(text), expected, "{text}");
        }
    }
}
