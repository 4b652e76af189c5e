//! Decides what to do, as pure functions. `docs/decisions/0010-certificate-rotation.md` explains why.
//!
//! The steps of a rotation, each one write that everybody sees before the next:
//!
//! 1. [`Step::AddNextCa`]: a new CA is added next to the old one; the old one still signs.
//! 2. Every bundle gets both ([`bundles`]).
//! 3. When every bundle has had the new CA for a while, [`Step::PromoteNextCa`]: the new CA signs a new certificate, the old key goes.
//! 4. When the last certificate of the old CA has expired, [`Step::Retire`]: it is no longer trusted.

use super::contents::{Contents, Pair, Stored};
use super::trust::{Bundle, chains, holds_for, verify};
use crate::server::tls::Validity;
use crate::telemetry::{RenewalReason, RenewalStep};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::time::Duration;

/// How long certificates are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// The server certificate.
    pub leaf: Duration,
    /// The CA that signs it.
    pub authority: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self {
            leaf: 90 * day,
            authority: 730 * day,
        }
    }
}

/// Everything that the decision depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed<'a> {
    /// The Secret.
    pub(super) stored: &'a Stored,
    /// The CAs that have been in every bundle of ours long enough for every API server to know.
    pub(super) settled: &'a Bundle,
    /// Unix seconds.
    pub(super) now: i64,
    /// The names that a server certificate must cover.
    pub(super) names: &'a [String],
    pub(super) lifetimes: Lifetimes,
}

/// Why something is created again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It does not exist.
    Absent,
    /// It cannot be used: a clause.
    Unusable(String),
    /// It has expired.
    Ended,
    /// It is not valid yet: the clock was set back.
    NotYet,
    /// It does not cover this name.
    OtherName(String),
    /// No trusted CA signed it.
    Unchained,
    /// Two thirds of its lifetime have passed.
    Due,
}

impl Why {
    /// For metrics.
    pub(super) fn label(&self) -> RenewalReason {
        match self {
            Self::Absent => RenewalReason::Absent,
            Self::Unusable(_) => RenewalReason::Unusable,
            Self::Ended => RenewalReason::Ended,
            Self::NotYet => RenewalReason::NotYet,
            Self::OtherName(_) => RenewalReason::OtherName,
            Self::Unchained => RenewalReason::Unchained,
            Self::Due => RenewalReason::Due,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("it does not exist"),
            Self::Unusable(why) => write!(f, "it cannot be used: {why}"),
            Self::Ended => f.write_str("it has expired"),
            Self::NotYet => f.write_str("it is not valid yet"),
            Self::OtherName(name) => write!(f, "it does not cover {name}"),
            Self::Unchained => f.write_str("no trusted CA signed it"),
            Self::Due => f.write_str("two thirds of its lifetime have passed"),
        }
    }
}

/// The next write to the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// None.
    Keep,
    /// A new CA and a server certificate of it, at once: nothing usable is left.
    Create(Why),
    /// A new server certificate of the same CA.
    Leaf(Why),
    /// The CA that will replace the current one.
    AddNextCa(Why),
    /// The next CA signs from now on.
    PromoteNextCa,
    /// Old CAs are no longer trusted.
    Retire,
    /// Fixes the parts: adds the next CA to the bundle, sets an end for the old ones, removes what cannot be parsed.
    Repair,
}

impl Step {
    /// Name and reason for metrics, and a sentence for the log.
    pub(super) fn describe(&self) -> (RenewalStep, RenewalReason, String) {
        match self {
            Self::Keep => (RenewalStep::Keep, RenewalReason::Sound, "nothing to do".to_owned()),
            Self::Create(why) => (
                RenewalStep::Create,
                why.label(),
                format!("created a new CA and a new certificate: {why}"),
            ),
            Self::Leaf(why) => (RenewalStep::Leaf, why.label(), format!("created a new certificate: {why}")),
            Self::AddNextCa(why) => (RenewalStep::Follow, why.label(), format!("created the next CA: {why}")),
            Self::PromoteNextCa => (RenewalStep::Switch, RenewalReason::Settled, "the new CA signs now".to_owned()),
            Self::Retire => (
                RenewalStep::Retire,
                RenewalReason::Ended,
                "the old CA is no longer trusted".to_owned(),
            ),
            Self::Repair => (RenewalStep::Repair, RenewalReason::Unusable, "repaired its parts".to_owned()),
        }
    }
}

/// The next write to the Secret.
pub(super) fn step(observed: &Observed<'_>) -> Step {
    let contents = match observed.stored {
        Stored::Absent => return Step::Create(Why::Absent),
        Stored::Foreign(_) => return Step::Keep,
        Stored::Ours(contents) => contents,
    };
    let leaf = leaf_fault(observed, contents);
    let (authority, authority_fault) = match &contents.authority {
        Ok(pair) => (Some(pair), time_fault(pair.validity, observed.now)),
        Err(why) => (None, Some(Why::Unusable(why.clone()))),
    };
    let next = contents
        .next()
        .filter(|next| time_fault(next.validity, observed.now).is_none());
    match (leaf, authority_fault, next) {
        (Some(why), Some(_), None) => Step::Create(why),
        // Nothing served now would be lost.
        (Some(_), Some(_), Some(_)) => Step::PromoteNextCa,
        (_, _, Some(next)) if observed.settled.holds(&next.certificate) => Step::PromoteNextCa,
        (Some(why), None, _) => Step::Leaf(why),
        (None, Some(why), None) => Step::AddNextCa(why),
        (None, fault, next) => match authority.filter(|_| fault.is_none()) {
            Some(authority) if next.is_none() && is_due(authority.validity, observed.now) => Step::AddNextCa(Why::Due),
            Some(authority) if is_worth_renewing(contents, authority, observed.now) => Step::Leaf(Why::Due),
            Some(_) | None => check_parts(observed, contents),
        },
    }
}

fn check_parts(observed: &Observed<'_>, contents: &Contents) -> Step {
    let spoilt_next = contents.next.is_some() && contents.next().is_none();
    let untold_next = contents.next().is_some_and(|next| !contents.trust.holds(&next.certificate));
    if spoilt_next || untold_next || !contents.trust.is_whole() {
        return Step::Repair;
    }
    match contents.until {
        _ if contents.old().is_empty() => Step::Keep,
        None => Step::Repair,
        // If the CA's key is lost, its certificate counts as an old one, and what it signed is still served.
        Some(until) if until < observed.now && contents.authority.is_ok() => Step::Retire,
        Some(_) => Step::Keep,
    }
}

/// What is wrong with the server certificate.
pub(super) fn leaf_fault(observed: &Observed<'_>, contents: &Contents) -> Option<Why> {
    let leaf = match &contents.leaf {
        Ok(leaf) => leaf,
        Err(why) => return Some(Why::Unusable(why.clone())),
    };
    if let Some(fault) = time_fault(leaf.validity, observed.now) {
        return Some(fault);
    }
    if chains(&leaf.certificate, &contents.trust, observed.now).is_err() {
        return Some(Why::Unchained);
    }
    let missing = observed.names.iter().find(|name| !holds_for(&leaf.certificate, name))?;
    Some(Why::OtherName(missing.clone()))
}

fn time_fault(validity: Validity, now: i64) -> Option<Why> {
    if now > validity.not_after {
        Some(Why::Ended)
    } else if now < validity.not_before {
        Some(Why::NotYet)
    } else {
        None
    }
}

/// Whether two thirds of its lifetime have passed.
fn is_due(validity: Validity, now: i64) -> bool {
    now >= validity.not_before.saturating_add(validity.lifetime() / 3 * 2)
}

/// Close to a CA's own end (its rotation was delayed), a new certificate would expire with it like the current one: not worth a
/// write.
fn is_worth_renewing(contents: &Contents, authority: &Pair, now: i64) -> bool {
    contents
        .leaf
        .as_ref()
        .is_ok_and(|leaf| is_due(leaf.validity, now) && leaf.validity.not_after < authority.validity.not_after)
}

/// One of our webhooks.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its index in the registration.
    pub(super) index: usize,
    /// Its name.
    pub(super) webhook: String,
    /// The name that the API server expects in our certificate.
    pub(super) server: String,
    /// What it trusts.
    pub(super) bundle: Bundle,
}

/// The bundles to write. None while the Secret itself needs repair: the registered bundle may still match a served certificate.
pub(super) fn bundles(observed: &Observed<'_>, entries: &[Entry]) -> Vec<(usize, String)> {
    let Stored::Ours(contents) = observed.stored else {
        return Vec::new();
    };
    let sound = match leaf_fault(observed, contents) {
        None | Some(Why::OtherName(_)) => contents.trust.is_whole(),
        Some(Why::Absent | Why::Unusable(_) | Why::Ended | Why::NotYet | Why::Unchained | Why::Due) => false,
    };
    if !sound {
        return Vec::new();
    }
    entries
        .iter()
        .filter(|entry| !entry.bundle.same_as(&contents.trust))
        .map(|entry| (entry.index, contents.trust.pem()))
        .collect()
}

/// Which certificate to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serve {
    /// The current one.
    Present,
    /// The Secret's.
    Stored,
}

/// Which certificate to serve: the Secret's, but while the current one is still accepted, not before every bundle accepts the new
/// one.
pub(super) fn serve(observed: &Observed<'_>, entries: &[Entry], present: Option<&CertificateDer<'_>>) -> Serve {
    let Stored::Ours(contents) = observed.stored else {
        return Serve::Present;
    };
    let Ok(leaf) = &contents.leaf else {
        return Serve::Present;
    };
    let Some(present) = present else {
        return Serve::Stored;
    };
    if *present == leaf.certificate || time_fault(leaf.validity, observed.now).is_some() {
        return Serve::Present;
    }
    let taken = |certificate: &CertificateDer<'_>, settled: Option<&Bundle>| {
        !entries.is_empty()
            && entries.iter().all(|entry| {
                let narrowed = settled.map(|settled| entry.bundle.and(settled));
                verify(
                    certificate,
                    narrowed.as_ref().unwrap_or(&entry.bundle),
                    &entry.server,
                    observed.now,
                )
                .is_ok()
            })
    };
    if taken(present, None) && !taken(&leaf.certificate, Some(observed.settled)) {
        Serve::Present
    } else {
        Serve::Stored
    }
}
