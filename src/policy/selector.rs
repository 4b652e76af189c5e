//! Globs on names and label selectors (`labels.Selector` in apimachinery).

use super::Problem;
use super::model::{LabelSelector, Operator, Requirement};
use crate::image::escape;

/// A glob on a whole text: `*` matches any text, everything else itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    text: String,
}

/// What a glob is matched against, and so which characters make sense in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Names of namespaces.
    Namespaces,
    /// Tags.
    Tags,
    /// Users and groups: any text.
    Names,
}

impl Alphabet {
    fn has(self, c: char) -> bool {
        match self {
            Self::Namespaces => c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
            Self::Tags => c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'),
            Self::Names => !c.is_control(),
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Namespaces => "namespace names consist of lower-case letters, digits and -; * matches any text",
            Self::Tags => "tags consist of letters, digits, _, . and -; * matches any text",
            Self::Names => "names have no control characters",
        }
    }
}

impl Glob {
    /// Parses a glob; the error is a clause for its author.
    pub(super) fn parse(text: &str, alphabet: Alphabet) -> Result<Self, String> {
        if text.trim() != text || text.is_empty() {
            return Err(format!("{text:?} is empty or has leading or trailing white space"));
        }
        if text.chars().any(|c| c != '*' && !alphabet.has(c)) {
            return Err(format!("{text:?} cannot match anything: {}", alphabet.described()));
        }
        Ok(Self { text: text.to_owned() })
    }

    /// Whether it matches the whole of `text`. Wildcards match as little as they can; the last part must match the end.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.text.split_once('*') else {
            return self.text == text;
        };
        let Some(mut left) = text.strip_prefix(first) else {
            return false;
        };
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in between.split('*') {
            let Some((_, after)) = left.split_once(part) else {
                return false;
            };
            left = after;
        }
        left.ends_with(last)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The key of a label that no namespace can have as required.
fn contradiction(requirements: &[Requirement]) -> Option<&str> {
    let contradicted = |key: &&str| {
        let on_key = || requirements.iter().filter(|requirement| requirement.key == **key);
        let is = |operator: Operator| on_key().any(|requirement| requirement.operator == operator);
        let values = |requirement: &Requirement| requirement.values.clone().unwrap_or_default();
        if is(Operator::DoesNotExist) {
            return is(Operator::In) || is(Operator::Exists);
        }
        let lists = on_key()
            .filter(|requirement| requirement.operator == Operator::In)
            .map(values);
        // An empty list is a fault of its own.
        let mut lists = lists.filter(|list| !list.is_empty());
        let Some(mut possible) = lists.next() else { return false };
        lists.for_each(|list| possible.retain(|value| list.contains(value)));
        for excluded in on_key().filter(|requirement| requirement.operator == Operator::NotIn) {
            possible.retain(|value| !values(excluded).contains(value));
        }
        possible.is_empty()
    };
    requirements
        .iter()
        .map(|requirement| requirement.key.as_str())
        .find(contradicted)
}

/// The label that every namespace gets automatically: its name.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A checked label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

impl Selector {
    /// Compiles a selector at `path`; problems are added to `problems`.
    pub(super) fn compile(written: &LabelSelector, path: &str, problems: &mut Vec<Problem>) -> Self {
        let labels = written.match_labels.iter().flatten();
        let mut requirements: Vec<Requirement> = labels
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: Some(vec![value.clone()]),
            })
            .collect();
        for (at, requirement) in written.match_expressions.iter().flatten().enumerate() {
            let given = requirement.values.as_ref().is_some_and(|values| !values.is_empty());
            let wanted = matches!(requirement.operator, Operator::In | Operator::NotIn);
            if given != wanted {
                problems.push(Problem::at(
                    format!("{path}.matchExpressions[{at}]"),
                    if wanted {
                        "In and NotIn need values"
                    } else {
                        "Exists and DoesNotExist take no values"
                    },
                ));
            }
            requirements.push(requirement.clone());
        }
        if let Some(key) = contradiction(&requirements) {
            let text = format!("it selects nothing: its requirements on {key} contradict each other");
            problems.push(Problem::at(path, text));
        }
        Self(requirements)
    }

    /// The selector's requirements, `matchLabels` included.
    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// The requirements that the namespace's name settles, and whether those are all of them.
    pub(super) fn by_name(&self) -> (Self, bool) {
        let by_name = self.0.iter().filter(|requirement| requirement.key == NAME_LABEL);
        let by_name: Vec<Requirement> = by_name.cloned().collect();
        let all = by_name.len() == self.0.len();
        (Self(by_name), all)
    }

    /// Why a namespace with these labels is not selected, as a clause. A selector without requirements selects everything.
    pub(super) fn refuses(&self, labels: &[(String, String)]) -> Option<String> {
        self.0.iter().find_map(|requirement| {
            let label = labels.iter().find(|(key, _)| *key == requirement.key).map(|(_, value)| value);
            let values = requirement.values.as_deref().unwrap_or_default();
            let among = label.is_some_and(|label| values.contains(label));
            let holds = match requirement.operator {
                Operator::In => among,
                Operator::NotIn => !among,
                Operator::Exists => label.is_some(),
                Operator::DoesNotExist => label.is_none(),
            };
            (!holds).then(|| {
                let has = label.map_or_else(
                    || "does not have it".to_owned(),
                    |value| format!("has the value \"{}\"", escape(value)),
                );
                let wanted = match requirement.operator {
                    Operator::In => format!("is one of {}", values.join(", ")),
                    Operator::NotIn => format!("is not one of {}", values.join(", ")),
                    Operator::Exists => "is there".to_owned(),
                    Operator::DoesNotExist => "is not there".to_owned(),
                };
                let key = escape(&requirement.key);
                format!(
                    "it requires that the namespace's label {key} {}, and the namespace {has}",
                    escape(&wanted)
                )
            })
        })
    }
}
