//! Values that a set gives to the variables in its names: those of Flux's `postBuild`, and the parameters of an `OpenShift` Template.

use serde_json::Value;
use std::collections::BTreeMap;

/// Variables with their values.
#[derive(Debug, Default)]
pub(super) struct Values {
    known: BTreeMap<String, String>,
    /// Whether there are no others: what has no value here has none.
    all: bool,
}

/// The text between two variables, or what stands in the place of one.
type Part<'a> = Result<&'a str, &'a str>;

impl Values {
    /// Those of a Flux `Kustomization` (<https://fluxcd.io/flux/components/kustomize/kustomizations/#post-build-variable-substitution>).
    /// What it writes itself wins over `substituteFrom`, whose objects are the cluster's.
    pub(super) fn of_flux(spec: &Value) -> Option<Self> {
        let build = spec.get("postBuild")?.as_object()?;
        let written = build.get("substitute").and_then(Value::as_object).into_iter().flatten();
        let others = build.get("substituteFrom").and_then(Value::as_array);
        Some(Self {
            known: written
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.replace('\n', ""))))
                .collect(),
            all: others.is_none_or(Vec::is_empty),
        })
    }

    /// The defaults of an `OpenShift` Template.
    pub(super) fn of_template(object: &Value) -> Self {
        let parameters = object.get("parameters").and_then(Value::as_array).into_iter().flatten();
        let text = |parameter: &Value, field: &str| parameter.get(field).and_then(Value::as_str).map(str::to_owned);
        let known = parameters.filter_map(|one| Some((text(one, "name")?, text(one, "value").filter(|value| !value.is_empty())?)));
        Self {
            known: known.collect(),
            all: false,
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.known.is_empty() && !self.all
    }

    /// A name with all its variables replaced; `None` where it has none, or one whose value is not known.
    pub(super) fn fill_in(&self, name: &str) -> Option<String> {
        if !name.contains("${") {
            return None;
        }
        let filled = parts(name)?.into_iter().map(|part| match part {
            Ok(text) => Some(text),
            Err(variable) => self.value(variable),
        });
        filled.collect()
    }

    /// What stands in the place of a variable. Of the functions of envsubst, only defaults are worked out: they stand for what is empty, too.
    fn value<'a>(&'a self, variable: &'a str) -> Option<&'a str> {
        let end = variable.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = variable.split_at(end.unwrap_or(variable.len()));
        let default = match rest {
            "" => None,
            rest => Some([":=", ":-", "=", "-"].iter().find_map(|sign| rest.strip_prefix(sign))?),
        };
        match (self.known.get(name), default) {
            (Some(known), _) if !known.is_empty() => Some(known),
            (Some(_), Some(default)) => Some(default),
            (Some(known), None) => Some(known),
            (None, default) => default.filter(|_| self.all),
        }
    }
}

/// Texts and variables in turn; `None` where one is in another, escaped, or not closed.
fn parts(name: &str) -> Option<Vec<Part<'_>>> {
    let mut found = Vec::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, behind) = after.split_once('}')?;
        if before.ends_with('$') || variable.contains('$') {
            return None;
        }
        found.extend([Ok(before), Err(variable)]);
        rest = behind;
    }
    found.push(Ok(rest));
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_replaced_if_all_are_known() {
        let build = |more: Value| Values::of_flux(&json!({"postBuild": more})).unwrap();
        let substitute = json!({"TAG": "v1", "REG": "reg.example\n", "NONE": ""});
        let alone = build(json!({"substitute": substitute}));
        let beside = build(json!({"substitute": substitute, "substituteFrom": [{"kind": "Secret", "name": "s"}]}));
        for (name, by_alone, by_beside) in [
            ("${REG}/app:${TAG}", Some("reg.example/app:v1"), Some("reg.example/app:v1")),
            ("app:${TAG:=v2}", Some("app:v1"), Some("app:v1")),
            ("app:${NONE:-v2}", Some("app:v2"), Some("app:v2")),
            ("app:${NONE}x", Some("app:x"), Some("app:x")),
            ("app:${OTHER:=v2}", Some("app:v2"), None),
            ("app:${OTHER=v2}", Some("app:v2"), None),
            ("app:${OTHER}", None, None),
            ("${REG}/app:${OTHER}", None, None),
            ("app:${TAG/v/w}", None, None),
            ("app:${TAG^^}", None, None),
            ("app:${OTHER:=${TAG}}", None, None),
            ("app:$${TAG}", None, None),
            ("app:${TAG", None, None),
            ("app:$TAG", None, None),
            ("app:v1", None, None),
        ] {
            assert_eq!(alone.fill_in(name).as_deref(), by_alone, "{name}");
            assert_eq!(beside.fill_in(name).as_deref(), by_beside, "{name}");
        }
        assert!(Values::of_flux(&json!({})).is_none());
    }

    #[test]
    fn a_template_gives_its_parameters_defaults() {
        let template = Values::of_template(&json!({"parameters": [
            {"name": "IMAGE", "value": "reg.example/app"}, {"name": "TAG", "value": "", "generate": "expression"}, {"name": "OTHER"}
        ]}));
        assert_eq!(template.fill_in("${IMAGE}:1").as_deref(), Some("reg.example/app:1"));
        for name in ["${IMAGE}:${TAG}", "${OTHER}", "${{IMAGE}}", "app"] {
            assert_eq!(template.fill_in(name), None, "{name}");
        }
    }
}
