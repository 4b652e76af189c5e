//! Name rules: registries and tags. They need no network.

use super::selector::Glob;
use crate::image::{Digest, Pattern, Reference};
use std::borrow::Cow;

/// The name that patterns match: normalised, with the host in lower case. distribution/reference keeps a host's case, and DNS
/// ignores it: `Evil.example/x` must not get past a deny list with `evil.example/**`.
pub(super) fn held(reference: &Reference) -> String {
    lower_host(&reference.name()).into_owned()
}

/// A name or pattern with its host in lower case. A single-label host keeps its case: only upper case makes it a host (`REG/app`).
pub(super) fn lower_host(text: &str) -> Cow<'_, str> {
    match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':', '*']) || host.eq_ignore_ascii_case("localhost") => {
            format!("{}/{path}", host.to_ascii_lowercase()).into()
        }
        Some(_) | None => text.into(),
    }
}

/// A name taken apart, as patterns match it.
pub(super) fn components(name: &str) -> Vec<&str> {
    name.split('/').collect()
}

/// `registries`.
#[derive(Debug, Clone, Default)]
pub(super) struct Registries {
    /// `None`: every name that is not denied is allowed.
    pub(super) allow: Option<Vec<Pattern>>,
    pub(super) deny: Vec<Pattern>,
}

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused<'a> {
    /// This pattern of the deny list is the most specific match.
    Denied(&'a str),
    /// There is an allow list, and none of its patterns matches.
    NotListed,
}

impl Registries {
    /// The most specific matching pattern decides; on a tie, deny (contract 5).
    pub(super) fn judge(&self, name: &[&str]) -> Result<Option<&Pattern>, Refused<'_>> {
        match self.weigh(name) {
            (Some(deny), Some(allow)) if allow.specificity() > deny.specificity() => Ok(Some(allow)),
            (Some(deny), _) => Err(Refused::Denied(deny.as_str())),
            (None, Some(allow)) => Ok(Some(allow)),
            (None, None) if self.allow.is_some() => Err(Refused::NotListed),
            (None, None) => Ok(None),
        }
    }

    /// An image ID: it names no registry, so no pattern of an allow list can match it.
    pub(super) fn judge_image_id(&self) -> Result<(), Refused<'_>> {
        if self.allow.is_some() {
            Err(Refused::NotListed)
        } else {
            Ok(())
        }
    }

    /// The most specific matching pattern of the deny list, and of the allow list.
    pub(super) fn weigh(&self, name: &[&str]) -> (Option<&Pattern>, Option<&Pattern>) {
        fn best<'a>(list: &'a [Pattern], name: &[&str]) -> Option<&'a Pattern> {
            let matching = list.iter().filter(|pattern| pattern.matches_components(name));
            matching.max_by_key(|pattern| pattern.specificity())
        }
        let allow = self.allow.as_deref().unwrap_or_default();
        (best(&self.deny, name), best(allow, name))
    }

    /// Allow patterns that can never allow a name, as far as can be told: an equally specific deny pattern covers everything that
    /// they match.
    pub(super) fn contradicted(&self) -> impl Iterator<Item = Contradicted<'_>> {
        let denies: Vec<_> = self.deny.iter().map(|deny| (deny, deny.specificity())).collect();
        let allow = self.allow.iter().flatten().enumerate();
        allow.filter_map(move |(at, allow)| {
            let specificity = allow.specificity();
            let (deny, _) = denies
                .iter()
                .find(|(deny, of_deny)| *of_deny >= specificity && deny.covers(allow))?;
            Some(Contradicted { at, allow, deny })
        })
    }
}

/// An allow pattern that allows nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contradicted<'a> {
    /// Its index in the list.
    pub(super) at: usize,
    pub(super) allow: &'a Pattern,
    pub(super) deny: &'a Pattern,
}

impl Contradicted<'_> {
    /// A clause for its author.
    pub(super) fn why(self) -> String {
        if self.allow.as_str() == self.deny.as_str() {
            "the deny list has it too, and on a tie deny wins".to_owned()
        } else {
            format!(
                "the deny list's {:?} covers everything it matches and is as specific (text next to a * does not count)",
                self.deny.as_str()
            )
        }
    }
}

/// `tags`.
#[derive(Debug, Clone, Default)]
pub(super) struct Tags {
    pub(super) deny: Vec<Glob>,
    pub(super) require_digest: bool,
}

impl Tags {
    /// The refused tag and the pattern that refuses it. A written tag counts even next to a digest; a missing tag counts as
    /// `latest` only without a digest.
    pub(super) fn refuse<'a>(&'a self, reference: &'a Reference) -> Option<(&'a str, &'a str)> {
        let tag = match (reference.tag(), reference.digest()) {
            (Some(tag), _) => tag,
            (None, None) => "latest",
            (None, Some(_)) => return None,
        };
        let glob = self.deny.iter().find(|glob| glob.matches(tag))?;
        Some((tag, glob.as_str()))
    }

    /// Whether a digest is missing.
    pub(super) fn wants_digest(&self, reference: &Reference) -> bool {
        self.require_digest && reference.digest().is_none()
    }
}

/// `repo:tag@sha256:…`: what to write instead of `reference` to pin it. `latest` is dropped: next to a digest it means nothing, and
/// a tag rule may refuse it.
pub(super) fn pinned(reference: &Reference, digest: &Digest) -> String {
    match reference.tag().filter(|tag| *tag != "latest") {
        Some(tag) => format!("{}:{tag}@{}", reference.name(), digest.as_str()),
        None => format!("{}@{}", reference.name(), digest.as_str()),
    }
}
