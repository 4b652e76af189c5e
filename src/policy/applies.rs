//! Whether a policy applies to an object, as far as is known, and whom it exempts.

use super::compiled::Policy;
use super::selector::{Glob, NAME_LABEL, Selector};
use crate::image::escape;
use std::borrow::Cow;

/// What policies are matched against.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The object's namespace; empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// The namespace's labels; `None` if they cannot be known.
    pub labels: Option<&'a [(String, String)]>,
    /// The kind that the object counts as: its own, or that of its root owner. Several if it may be any of them; none for a bare image.
    pub kinds: &'a [&'a str],
}

/// Who makes the request. The default is nobody in particular, as in `check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Requester {
    /// The user's name.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

/// Whether a policy surely applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    Certain,
    /// It depends on something unknown ([`doubt`]). The policy can warn, but not deny.
    Uncertain,
}

/// Whether a policy applies to an object; the error is a clause that says why not.
pub(super) fn applies(policy: &Policy, subject: &Subject<'_>) -> Result<Certainty, String> {
    let written = |globs: &[Glob]| {
        let texts: Vec<String> = globs.iter().take(5).map(|glob| format!("\"{}\"", glob.as_str())).collect();
        let more = globs.len().saturating_sub(texts.len());
        let rest = if more == 0 {
            String::new()
        } else {
            format!(" or {more} more")
        };
        texts.join(", ") + &rest
    };
    if let Some(globs) = &policy.namespaces
        && !globs.iter().any(|glob| glob.matches(subject.namespace))
    {
        return Err(format!(
            "namespace \"{}\" is not {}",
            escape(subject.namespace),
            written(globs)
        ));
    }
    if let Some(glob) = named(&policy.excluded_namespaces, subject) {
        return Err(format!("match.excludeNamespaces has \"{}\"", glob.as_str()));
    }
    let by_kind = by_kind(policy, subject)?;
    let by_labels = policy
        .selector
        .as_ref()
        .map_or(Ok(Certainty::Certain), |selector| selected(selector, subject))?;
    Ok(if by_labels == Certainty::Uncertain {
        by_labels
    } else {
        by_kind
    })
}

/// Whether a selector selects the object's namespace; the error is a clause that says why not.
pub(super) fn selected(selector: &Selector, subject: &Subject<'_>) -> Result<Certainty, String> {
    let (selector, whole, labels) = match subject.labels {
        Some(labels) => (Cow::Borrowed(selector), true, Cow::Borrowed(labels)),
        None if selector.requirements().is_empty() => return Ok(Certainty::Certain),
        None if subject.namespace.is_empty() => return Ok(Certainty::Uncertain),
        None => {
            let (selector, whole) = selector.by_name();
            let name = (NAME_LABEL.to_owned(), subject.namespace.to_owned());
            (Cow::Owned(selector), whole, Cow::Owned(vec![name]))
        }
    };
    match selector.refuses(&labels) {
        Some(why) => Err(why),
        None if whole => Ok(Certainty::Certain),
        None => Ok(Certainty::Uncertain),
    }
}

/// The glob that matches the object's namespace. A cluster-scoped object is in none.
pub(super) fn named<'a>(globs: &'a [Glob], subject: &Subject<'_>) -> Option<&'a Glob> {
    let mut globs = globs.iter().filter(|_| !subject.namespace.is_empty());
    globs.find(|glob| glob.matches(subject.namespace))
}

/// The same for kinds.
fn by_kind(policy: &Policy, subject: &Subject<'_>) -> Result<Certainty, String> {
    if !policy.depends_on_kind() {
        return Ok(Certainty::Certain);
    }
    let has = |kinds: &[String], kind: &str| kinds.iter().any(|known| known == kind);
    let wanted = |kind: &str| policy.kinds.as_ref().is_none_or(|kinds| has(kinds, kind));
    let excluded = |kind: &str| has(&policy.excluded_kinds, kind);
    let applicable = subject.kinds.iter().filter(|kind| wanted(kind) && !excluded(kind)).count();
    match subject.kinds.first() {
        Some(kind) if applicable == 0 => Err(match &policy.kinds {
            _ if excluded(kind) => format!("match.excludeKinds has {}", escape(kind)),
            Some(kinds) => format!("kind {} is not {}", escape(kind), kinds.join(", ")),
            None => format!("match.excludeKinds has {}", subject.kinds.join(" and ")),
        }),
        Some(_) if applicable == subject.kinds.len() => Ok(Certainty::Certain),
        Some(_) | None => Ok(Certainty::Uncertain),
    }
}

/// Why it is not known whether a policy applies, as a clause.
pub(super) fn doubt(policy: &Policy, subject: &Subject<'_>) -> &'static str {
    if by_kind(policy, subject) != Ok(Certainty::Uncertain) {
        "the namespace's labels are not known"
    } else if subject.kinds.is_empty() {
        "a bare image has no kind"
    } else {
        "the object's owner could not be read"
    }
}
