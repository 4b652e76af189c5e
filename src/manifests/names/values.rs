//! Values that a set gives to the variables in its names: those of Flux's `postBuild`, and the parameters of an `OpenShift` Template.

use serde_json::Value;
use std::collections::BTreeMap;

/// Variables with their values.
#[derive(Debug, Default)]
pub(super) struct Values {
    known: BTreeMap<String, String>,
    /// Whether these are all: a variable without a value here has none.
    all: bool,
}

/// The most bytes of values that are kept of a `ConfigMap`: names of images and their parts are short.
const MOST_VALUES: usize = 16 << 10;

/// The longest value, in bytes, that may be part of an image's name: a name has 255 at most, a tag 128.
const LONGEST_VALUE: usize = 512;

/// A text between two variables, or what is inside one's braces.
type Part<'a> = Result<&'a str, &'a str>;

impl Values {
    /// Those of a Flux `Kustomization` (<https://fluxcd.io/flux/components/kustomize/kustomizations/#post-build-variable-substitution>).
    /// In `substituteFrom`, a later entry wins over those before it; `substitute` wins over all. `config_map` returns a `ConfigMap` of the
    /// set by name: what any other one or a Secret holds is unknown.
    pub(super) fn of_flux<'a>(spec: &Value, config_map: &mut impl FnMut(&str) -> Option<&'a Value>) -> Option<Self> {
        let build = spec.get("postBuild")?.as_object()?;
        let mut values = Self {
            all: true,
            ..Self::default()
        };
        for from in build.get("substituteFrom").and_then(Value::as_array).into_iter().flatten() {
            let field = |name: &str| from.get(name).and_then(Value::as_str);
            let name = field("name").filter(|_| field("kind") == Some("ConfigMap"));
            if let Some(object) = name.and_then(&mut *config_map) {
                values.take(object.get("data"));
            } else {
                values.known.clear();
                values.all = false;
            }
        }
        values.take(build.get("substitute"));
        Some(values)
    }

    fn take(&mut self, texts: Option<&Value>) {
        let texts = texts.and_then(Value::as_object).into_iter().flatten();
        self.known
            .extend(texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.replace('\n', "")))));
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

    /// The value that replaces a variable. Of envsubst's functions, only defaults are known here; they also replace an empty value.
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

/// Whether a `ConfigMap` may hold such variables for Flux, which refuses one with any other key.
pub(in crate::manifests) fn holds_variables(object: &Value) -> bool {
    let is_name = |key: &String| {
        key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !key.starts_with(|c: char| c.is_ascii_digit())
    };
    let size = |data: &serde_json::Map<String, Value>| data.values().filter_map(Value::as_str).map(str::len).sum::<usize>();
    let data = object.get("data").and_then(Value::as_object);
    data.is_some_and(|data| !data.is_empty() && data.keys().all(is_name) && size(data) <= MOST_VALUES)
}

/// Of such a `ConfigMap`, what the names of images may depend on: a repository may have thousands, with long texts and annotations.
pub(in crate::manifests) fn only_variables(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| field == "name" || field == "namespace");
    }
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
        data.retain(|_, value| value.as_str().is_none_or(|text| text.len() <= LONGEST_VALUE));
    }
    object
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
        let build = |more: Value| Values::of_flux(&json!({"postBuild": more}), &mut |_| None).unwrap();
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
        assert!(Values::of_flux(&json!({}), &mut |_| None).is_none());
    }

    #[test]
    fn of_several_sources_the_later_wins() {
        let set = json!({"one": {"data": {"TAG": "v1", "REG": "reg.example\n"}}, "two": {"data": {"TAG": "v2"}}});
        let from = |sources: &[(&str, &str)], substitute: Value| {
            let sources: Vec<Value> = sources
                .iter()
                .map(|(kind, name)| json!({"kind": kind, "name": name}))
                .collect();
            let spec = json!({"postBuild": {"substitute": substitute, "substituteFrom": sources}});
            Values::of_flux(&spec, &mut |name| set.get(name)).unwrap()
        };
        let (one, two, secret, elsewhere) = (
            ("ConfigMap", "one"),
            ("ConfigMap", "two"),
            ("Secret", "one"),
            ("ConfigMap", "three"),
        );
        for (sources, substitute, tag, other) in [
            (&[one][..], json!({}), Some("v1"), Some("d")),
            (&[one, two], json!({}), Some("v2"), Some("d")),
            (&[two, one], json!({}), Some("v1"), Some("d")),
            (&[one, two], json!({"TAG": "v3"}), Some("v3"), Some("d")),
            (&[one, secret], json!({}), None, None),
            (&[secret, one], json!({}), Some("v1"), None),
            (&[one, elsewhere], json!({}), None, None),
            (&[elsewhere, one], json!({"OTHER": "x"}), Some("v1"), Some("x")),
            (&[secret], json!({"TAG": "v3"}), Some("v3"), None),
        ] {
            let values = from(sources, substitute);
            assert_eq!(values.fill_in("${TAG}").as_deref(), tag, "{sources:?}");
            assert_eq!(values.fill_in("${OTHER:=d}").as_deref(), other, "{sources:?}");
        }
        assert_eq!(from(&[one], json!({})).fill_in("${REG}/a").as_deref(), Some("reg.example/a"));
    }

    #[test]
    fn a_config_map_of_files_holds_no_variables() {
        for (data, holds) in [
            (json!({"TAG": "v1", "_x9": ""}), true),
            (json!({"TAG": "v1", "app.yaml": "a: b"}), false),
            (json!({"9": "v1"}), false),
            (json!({"TAG": "v".repeat(MOST_VALUES + 1)}), false),
            (json!({}), false),
        ] {
            assert_eq!(holds_variables(&json!({"data": data})), holds, "{data}");
        }
        assert!(!holds_variables(&json!({})));
    }

    #[test]
    fn of_a_config_map_only_what_names_may_depend_on_is_kept() {
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b", "annotations": {"c": "d"}},
            "data": {"TAG": "v1", "TEXT": "x".repeat(LONGEST_VALUE + 1)}});
        let kept = json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}, "data": {"TAG": "v1"}});
        assert_eq!(only_variables(map), kept);
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
