//! Which objects: globs on names and label selectors (`labels.Selector` in apimachinery).

use super::Problem;
use super::model::{LabelSelector, Operator, Requirement};
use globset::{GlobBuilder, GlobMatcher};

/// A glob on a whole text: `*` stands for any text, `?` for one character, `[ab]` and `{a,b}` for alternatives.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    text: String,
    matcher: GlobMatcher,
}

impl Glob {
    /// Reads a glob; the error is a clause for the person who wrote it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim() != text || text.is_empty() {
            return Err(format!("{text:?} is empty or padded with white space"));
        }
        // A `/` is text like any other here, and a backslash too.
        let glob = GlobBuilder::new(text)
            .literal_separator(false)
            .backslash_escape(false)
            .build();
        let glob = glob.map_err(|error| format!("{text:?} is no pattern: {}", error.kind()))?;
        Ok(Self {
            text: text.to_owned(),
            matcher: glob.compile_matcher(),
        })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// A label selector that was checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector(Vec<Requirement>);

impl Selector {
    /// Reads a selector at `path`; what is wrong goes to `problems`.
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
        Self(requirements)
    }

    /// Whether a namespace with these labels is selected. No requirement selects all.
    pub(super) fn matches(&self, labels: &[(String, String)]) -> bool {
        self.0.iter().all(|requirement| {
            let label = labels.iter().find(|(key, _)| *key == requirement.key).map(|(_, value)| value);
            let among = || {
                let values = requirement.values.as_deref().unwrap_or_default();
                label.is_some_and(|label| values.contains(label))
            };
            match requirement.operator {
                Operator::In => among(),
                Operator::NotIn => !among(),
                Operator::Exists => label.is_some(),
                Operator::DoesNotExist => label.is_none(),
            }
        })
    }
}
