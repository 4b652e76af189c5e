//! Messages and fixes for findings of name rules.

use super::compiled::Policy;
use super::names::{Refused, pinned};
use crate::image::{Digest, Pattern, Reference, escape, mask_userinfo};
use crate::verdict::finding::{Finding, FindingEvidence};
use crate::verdict::{Cause, Outlook};

/// The causes of name rules.
pub(super) const RULES: [Cause; 3] = [Cause::RegistryNotAllowed, Cause::TagNotAllowed, Cause::DigestRequired];

fn finding(cause: Cause, message: String, fix: String) -> Finding {
    Finding {
        cause,
        outlook: Outlook::NotAllowed,
        message,
        fix,
        // No node is involved.
        kubelet: None,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

pub(super) fn not_allowed(policy: &Policy, reference: &Reference, why: Refused<'_>) -> Finding {
    let why = match why {
        Refused::Denied(pattern) => format!("its deny list has \"{pattern}\""),
        Refused::NotListed => "no pattern of its allow list matches".to_owned(),
    };
    const SHOWN: usize = 3;
    let allowed = policy.registries.allow.as_deref().unwrap_or_default();
    let shown: Vec<&str> = allowed.iter().take(SHOWN).map(Pattern::as_str).collect();
    let rest = match allowed.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let fix = if shown.is_empty() {
        format!(
            "use an image from another registry, or have policy \"{}\" changed",
            policy.name
        )
    } else {
        format!(
            "use an image that it allows ({}{rest}), or have policy \"{}\" changed",
            shown.join(", "),
            policy.name
        )
    };
    let message = format!(
        "policy \"{}\" does not allow {}: {why}",
        policy.name,
        escape(&reference.name())
    );
    finding(Cause::RegistryNotAllowed, message, fix)
}

pub(super) fn tag_not_allowed(policy: &Policy, reference: &Reference, tag: &str, pattern: &str) -> Finding {
    let (what, fix) = if reference.tag().is_none() {
        ("an image without a tag is latest".to_owned(), "set a version tag")
    } else if reference.digest().is_some() {
        (
            format!("tag \"{}\"", escape(tag)),
            "remove the tag: the digest alone decides what is pulled",
        )
    } else {
        (
            format!("tag \"{}\"", escape(tag)),
            "use another tag, or a digest without a tag",
        )
    };
    let message = format!(
        "policy \"{}\" does not allow it: {what}, and its tags.deny has \"{}\"",
        policy.name,
        escape(pattern)
    );
    finding(Cause::TagNotAllowed, message, fix.to_owned())
}

pub(super) fn digest_required(policy: &Policy, shown: &str) -> Finding {
    let message = format!("policy \"{}\" requires a digest, and the image has none", policy.name);
    let fix = format!("write {}@sha256:… (the digest it resolves to)", escape(&mask_userinfo(shown)));
    finding(Cause::DigestRequired, message, fix)
}

/// Puts the digest into the fix of a `requireDigest` finding, once the registry has returned it.
pub fn offer_digest(finding: &mut Finding, reference: &Reference, digest: &Digest) {
    let pinned = pinned(reference, digest);
    finding.fix = format!("write image: {pinned}");
    finding.suggestions = vec![pinned];
}

/// Replaces the fix of a `requireDigest` finding about an image that does not exist: there is no digest to add.
pub fn first_an_image(finding: &mut Finding) {
    "first use an image that exists; then pin it".clone_into(&mut finding.fix);
}
