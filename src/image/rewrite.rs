//! How a cluster's mutating webhook rewrites image names, according to the settings (`rewrites`): pods get the same image from
//! another registry.

use super::Reference;
use super::pattern::{Pattern, Wildcard};

/// One rule: matching names are replaced; tag and digest are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pattern: Pattern,
    /// The parts of the new name around the text of the pattern's last wildcard; a single part is the whole name.
    to: (String, Option<String>),
}

impl Rewrite {
    /// A rule from names that match `pattern` to `to`, which may have one wildcard, like the pattern's last one. The error is a
    /// clause about `to`.
    pub fn new(pattern: Pattern, to: &str) -> Result<Self, String> {
        let wildcard = if to.split('/').any(|component| component == "**") {
            Wildcard::Components
        } else if to.contains('*') {
            Wildcard::Text
        } else {
            Wildcard::None
        };
        // A name with a wildcard follows the same rules as a pattern.
        Pattern::parse(to)?;
        if to.contains('*') && to.replacen(mark(wildcard), "", 1).contains('*') {
            return Err(format!(
                "{to:?} has more than one wildcard; only the last one of {pattern} is carried over"
            ));
        }
        match (pattern.wildcard(), wildcard) {
            (Wildcard::None, Wildcard::None) | (Wildcard::Text, Wildcard::Text) | (Wildcard::Components, Wildcard::Components) => {}
            (Wildcard::None, Wildcard::Text | Wildcard::Components) => {
                return Err(format!("{to:?} has a wildcard, and {pattern} has none"));
            }
            (from, _) => {
                return Err(format!("{to:?} lacks the {} of {pattern}: write it there too", mark(from)));
            }
        }
        let to = match wildcard {
            Wildcard::None => (to.to_owned(), None),
            Wildcard::Text | Wildcard::Components => match to.split_once(mark(wildcard)) {
                Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
                None => (to.to_owned(), None),
            },
        };
        Ok(Self { pattern, to })
    }

    /// The image's new name; `None` if the rule does not match, or the result is not a valid name.
    fn apply(&self, reference: &Reference) -> Option<Reference> {
        let carried = self.pattern.capture(&reference.name())?;
        let (before, after) = &self.to;
        let name = match after {
            None => before.clone(),
            // `**` in the middle may match nothing.
            Some(after) if carried.is_empty() => format!("{before}{}", after.strip_prefix('/').unwrap_or(after)),
            Some(after) => format!("{before}{carried}{after}"),
        };
        reference.with_name(&name)
    }
}

fn mark(wildcard: Wildcard) -> &'static str {
    match wildcard {
        Wildcard::None => "",
        Wildcard::Text => "*",
        Wildcard::Components => "**",
    }
}

/// The image name after rewriting, by the first rule that matches. `None` if it stays the same.
pub fn rewrite(rules: &[Rewrite], reference: &Reference) -> Option<Reference> {
    let name = reference.name();
    let rule = rules.iter().find(|rule| rule.pattern.matches(&name))?;
    rule.apply(reference).filter(|rewritten| rewritten != reference)
}
