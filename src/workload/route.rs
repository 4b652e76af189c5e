//! Positions in objects of a kind: dotted fields, `[*]` for every element of a list, `*` for every value of a map
//! (`spec.templates[*].template.spec`, `spec.pytorchReplicaSpecs.*.template.spec`).

use super::{FieldPath, json};
use serde_json::Value;
use std::fmt;

/// A path that may lead to several places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route(Vec<Step>);

/// One step of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A field of that name.
    Field(String),
    /// Every element of a list.
    Elements,
    /// Every value of a map.
    Values,
}

/// The most steps of a route: the longest known one has half as many.
const MOST_STEPS: usize = 32;

/// The longest name that is used in paths and as a container's name; longer ones are not names that people choose. Without this
/// limit, a name of a megabyte would be repeated for everything below it.
const LONGEST_NAME: usize = 63;

/// A place in an object.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    /// Its value.
    pub(super) value: &'a Value,
    /// Its path in the object.
    pub(super) path: FieldPath,
    /// Its path with names instead of indexes, where list elements have names: it stays the same when their order changes.
    pub(super) key: FieldPath,
    /// The nearest `name` at or above it, from where the search started.
    pub(super) name: Option<&'a str>,
    /// The nearest pull policy, likewise.
    pub(super) policy: Option<&'a str>,
    /// What it is a field or element of.
    pub(super) above: Option<&'a Value>,
}

impl<'a> Place<'a> {
    /// The whole object.
    pub(super) fn top(value: &'a Value) -> Self {
        Self {
            value,
            path: FieldPath::root(),
            key: FieldPath::root(),
            name: None,
            policy: None,
            above: None,
        }
    }

    /// The same place, as the start of another search.
    pub(super) fn begin(&self) -> Self {
        Self {
            name: name(self.value),
            policy: policy(self.value),
            ..self.clone()
        }
    }

    fn below(&self, value: &'a Value, path: FieldPath, key: FieldPath) -> Self {
        Self {
            value,
            path,
            key,
            name: name(value).or(self.name),
            policy: policy(value).or(self.policy),
            above: Some(self.value),
        }
    }
}

fn name(value: &Value) -> Option<&str> {
    ["name", "groupName"]
        .iter()
        .find_map(|field| json::non_empty(value, field))
        .filter(|name| name.len() <= LONGEST_NAME)
}

fn policy(value: &Value) -> Option<&str> {
    json::non_empty(value, "imagePullPolicy").or_else(|| json::non_empty(value, "pullPolicy"))
}

impl Route {
    /// Parses a route. The error is a clause for its author.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not a path; write it as spec.template.spec, spec.tasks[*].template.spec or spec.sets.*.spec");
        let mut steps = Vec::new();
        for segment in text.split('.') {
            let (field, lists) = match segment.find('[') {
                Some(at) => segment.split_at(at),
                None => (segment, ""),
            };
            if field == "*" {
                steps.push(Step::Values);
            } else if !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
                steps.push(Step::Field(field.to_owned()));
            } else {
                return Err(wrong());
            }
            let mut lists = lists;
            while !lists.is_empty() {
                lists = lists.strip_prefix("[*]").ok_or_else(|| {
                    if lists.starts_with('[') && lists.contains(']') {
                        format!("{text:?}: indexes are not supported; write [*] for every element")
                    } else {
                        wrong()
                    }
                })?;
                steps.push(Step::Elements);
            }
        }
        if steps.len() > MOST_STEPS {
            return Err(format!("{text:?} has more than {MOST_STEPS} steps"));
        }
        Ok(Self(steps))
    }

    /// Like [`Self::parse`]; empty text means the place itself.
    pub(super) fn of(text: &str) -> Option<Self> {
        if text.is_empty() {
            Some(Self(Vec::new()))
        } else {
            Self::parse(text).ok()
        }
    }

    /// The route to what holds the places of this one; `None` for the object itself.
    pub(super) fn parent(&self) -> Option<Self> {
        let (_, steps) = self.0.split_last()?;
        Some(Self(steps.to_vec()))
    }

    /// This route and another one below it.
    pub(super) fn then(&self, below: &Self) -> Self {
        Self(self.0.iter().chain(&below.0).cloned().collect())
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Every place that it matches below a place, in the object's order.
    pub(super) fn find<'a>(&self, from: &Place<'a>) -> Vec<Place<'a>> {
        let mut places = vec![from.clone()];
        for step in &self.0 {
            places = places.iter().flat_map(|place| step.take(place)).collect();
        }
        places
    }

    /// Places on its way from which it cannot go on, each with what should be there.
    pub(super) fn stuck<'a>(&self, from: &Place<'a>) -> Vec<(Place<'a>, &'static str)> {
        let (mut places, mut stuck) = (vec![from.clone()], Vec::new());
        for step in &self.0 {
            let wanted = match step {
                Step::Elements => "a list",
                Step::Field(_) | Step::Values => "an object",
            };
            let goes_on = |value: &Value| match step {
                Step::Elements => value.is_array(),
                Step::Field(_) | Step::Values => value.is_object(),
            };
            let ends = places.iter().filter(|place| !place.value.is_null() && !goes_on(place.value));
            stuck.extend(ends.map(|place| (place.clone(), wanted)));
            places = places.iter().flat_map(|place| step.take(place)).collect();
        }
        stuck
    }
}

impl Step {
    fn take<'a>(&self, place: &Place<'a>) -> Vec<Place<'a>> {
        match self {
            Self::Field(field) => place
                .value
                .get(field)
                .filter(|value| !value.is_null())
                .map(|value| place.below(value, place.path.field(field), place.key.field(field)))
                .into_iter()
                .collect(),
            Self::Elements => {
                let elements = place.value.as_array().map_or(&[][..], Vec::as_slice);
                let below = elements.iter().enumerate().map(|(at, value)| {
                    let key = match name(value) {
                        Some(name) => place.key.key(name),
                        None => place.key.index(at),
                    };
                    place.below(value, place.path.index(at), key)
                });
                below.collect()
            }
            Self::Values => {
                let values = place.value.as_object().into_iter().flatten();
                values
                    .map(|(key, value)| place.below(value, place.path.key(key), place.key.key(key)))
                    .collect()
            }
        }
    }
}

/// As written.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            match step {
                Step::Field(field) => write!(f, "{dot}{field}")?,
                Step::Values => write!(f, "{dot}*")?,
                Step::Elements => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn routes_are_read_or_refused() {
        for text in [
            "spec",
            "spec.template.spec",
            "spec.templates[*].container.image",
            "spec.steps[*][*].inline",
            "spec.sets.*.template",
            "*[*].a-b_c",
        ] {
            assert_eq!(Route::parse(text).map(|route| route.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "", ".", "spec.", ".spec", "spec..a", "a[", "a[*", "a[*]b", "[*]", "a b", "a.é", "**", "$.spec",
        ] {
            assert!(Route::parse(text).expect_err(text).contains("is not a path"), "{text}");
        }
        assert_eq!(
            Route::parse("spec.a[0]"),
            Err("\"spec.a[0]\": indexes are not supported; write [*] for every element".to_owned())
        );
        assert!(Route::parse(&vec!["a"; 33].join(".")).is_err());
    }

    #[test]
    fn places_know_their_path_and_the_names_above_them() {
        let long = "k".repeat(100_000);
        let object = json!({"spec": {"name": "above", "imagePullPolicy": "Never", "groups": [
            {"name": "a", "steps": [[{"image": "1"}], [{"image": "2", "name": "own", "imagePullPolicy": "Always"}]]},
            {"steps": [[{"image": "3"}, {"image": null}, 5]]}],
            "map": {"x.y": {"image": "5"}, "w": {"image": "4"}, long: {"image": "6"}}}});
        let found = |from: &str, text: &str| -> Vec<String> {
            let from = Route::of(from).expect("a route").find(&Place::top(&object)).remove(0).begin();
            let places = Route::parse(text).expect("a route").find(&from);
            let shown = places.iter().map(|place| {
                let (name, policy) = (place.name.unwrap_or("-"), place.policy.unwrap_or("-"));
                format!(
                    "{} {} {name} {policy} {}",
                    place.path,
                    place.key,
                    place.value.as_str().unwrap_or("?")
                )
            });
            shown.collect()
        };
        assert_eq!(
            found("spec", "groups[*].steps[*][*].image"),
            [
                "spec.groups[0].steps[0][0].image spec.groups.a.steps[0][0].image a Never 1",
                "spec.groups[0].steps[1][0].image spec.groups.a.steps[1].own.image own Always 2",
                "spec.groups[1].steps[0][0].image spec.groups[1].steps[0][0].image above Never 3",
            ]
        );
        let clipped = format!("spec.map[{}…] spec.map[{}…] - - ?", "k".repeat(63), "k".repeat(63));
        assert_eq!(
            found("spec.map", "*"),
            [
                clipped.as_str(),
                "spec.map.w spec.map.w - - ?",
                "spec.map[x.y] spec.map[x.y] - - ?"
            ]
        );
        assert_eq!(found("", "spec.groups.a"), [""; 0]);
        assert_eq!(found("", "spec[*]"), [""; 0]);
        assert_eq!(found("", "spec.groups.*"), [""; 0]);
    }
}
