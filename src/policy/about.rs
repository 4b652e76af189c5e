//! Whether a policy is about an object, as far as is known, and whom it exempts.

use super::compiled::Policy;
use super::selector::{Glob, NAME_LABEL};
use crate::image::escape;

/// What policies are matched with.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The object's namespace; empty for objects of no namespace.
    pub namespace: &'a str,
    /// The namespace's labels; `None` where they cannot be known.
    pub labels: Option<&'a [(String, String)]>,
    /// The object's kind; empty for an image by itself, whose kind is not known.
    pub kind: &'a str,
}

/// Who asks for the object. The default is nobody in particular, as in `check`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requester {
    /// The user's name.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

/// Whether a policy is about the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Sure,
    /// It asks for what is not known ([`doubt`]). Its word warns, and does not deny.
    Perhaps,
}

/// Whether a policy is about an object; the error is a clause that says why not.
pub(super) fn about(policy: &Policy, subject: &Subject<'_>) -> Result<Presence, String> {
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
    if let Some(kinds) = &policy.kinds
        && !subject.kind.is_empty()
        && !kinds.iter().any(|kind| kind == subject.kind)
    {
        return Err(format!("kind {} is not {}", escape(subject.kind), kinds.join(", ")));
    }
    let by_kind = match &policy.kinds {
        Some(_) if subject.kind.is_empty() => Presence::Perhaps,
        Some(_) | None => Presence::Sure,
    };
    match (&policy.selector, subject.labels) {
        (None, _) => Ok(by_kind),
        (Some(selector), Some(labels)) => match selector.refuses(labels) {
            None => Ok(by_kind),
            Some(why) => Err(why),
        },
        (Some(_), None) if subject.namespace.is_empty() => Ok(Presence::Perhaps),
        (Some(selector), None) => {
            let (selector, whole) = selector.by_name();
            let name = (NAME_LABEL.to_owned(), subject.namespace.to_owned());
            match selector.refuses(&[name]) {
                Some(why) => Err(why),
                None if whole => Ok(by_kind),
                None => Ok(Presence::Perhaps),
            }
        }
    }
}

/// Why it is not known whether a policy is about an object, as a clause, where [`about`] says so.
pub(super) fn doubt(policy: &Policy, subject: &Subject<'_>) -> &'static str {
    if policy.kinds.is_some() && subject.kind.is_empty() {
        "an image by itself has no kind"
    } else {
        "its namespace's labels are not"
    }
}

/// What takes a requester out of a policy, as a clause.
pub(super) fn exempt(policy: &Policy, requester: &Requester) -> Option<String> {
    let user = policy
        .exempt_users
        .iter()
        .find(|glob| !requester.user.is_empty() && glob.matches(&requester.user))
        .map(|glob| format!("exempt.users has \"{}\"", escape(glob.as_str())));
    let group = |glob: &&Glob| requester.groups.iter().any(|group| glob.matches(group));
    user.or_else(|| {
        let glob = policy.exempt_groups.iter().find(group)?;
        Some(format!("exempt.groups has \"{}\"", escape(glob.as_str())))
    })
}
