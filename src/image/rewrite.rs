//! What a cluster's mutating webhook does to image names, as the settings tell it (`rewrites`): pods get another registry's name for
//! the same image.

use super::Reference;
use super::pattern::{Pattern, Wildcard};

/// One rule: names that match get another name; tag and digest are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pattern: Pattern,
    /// The new name around the place where what the pattern's last wildcard stands for is carried over; alone, it is the whole name.
    to: (String, Option<String>),
}

impl Rewrite {
    /// A rule from names that match `pattern` to `to`, which may hold one wildcard, of the kind of the pattern's last one. The error is
    /// a clause about `to`.
    pub fn new(pattern: Pattern, to: &str) -> Result<Self, String> {
        let wildcard = if to.split('/').any(|component| component == "**") {
            Wildcard::Components
        } else if to.contains('*') {
            Wildcard::Text
        } else {
            Wildcard::None
        };
        // The same rules hold for a name with a wildcard as for a pattern.
        Pattern::parse(to)?;
        if to.contains('*') && to.replacen(mark(wildcard), "", 1).contains('*') {
            return Err(format!(
                "{to:?} has more than one wildcard; only what the last one of {pattern} stands for is carried over"
            ));
        }
        match (pattern.wildcard(), wildcard) {
            (Wildcard::None, Wildcard::None) | (Wildcard::Text, Wildcard::Text) | (Wildcard::Components, Wildcard::Components) => {}
            (Wildcard::None, Wildcard::Text | Wildcard::Components) => {
                return Err(format!("{to:?} has a wildcard, and {pattern} has none"));
            }
            (from, _) => {
                return Err(format!(
                    "{to:?} does not say where {} of {pattern} goes; write it there too",
                    mark(from)
                ));
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

    /// The image's new name; `None` where the rule does not match, or what comes out is no name.
    fn apply(&self, reference: &Reference) -> Option<Reference> {
        let carried = self.pattern.capture(&reference.name())?;
        let (before, after) = &self.to;
        let name = match after {
            None => before.clone(),
            // `**` in the middle may stand for nothing.
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

/// The name that a pod's image will have: by the first rule that matches. `None` where it stays as it is.
pub fn rewrite(rules: &[Rewrite], reference: &Reference) -> Option<Reference> {
    let name = reference.name();
    let rule = rules.iter().find(|rule| rule.pattern.matches(&name))?;
    rule.apply(reference).filter(|rewritten| rewritten != reference)
}
