//! What is to be done: pure. `docs/decisions/0010-certificate-rotation.md` says why it is so.
//!
//! The order of a rotation, each step one write that everybody sees before the next:
//!
//! 1. [`Step::Follow`]: a new CA is put beside the old one; the old one still signs.
//! 2. Every bundle gets both ([`bundles`]).
//! 3. Once every bundle has held the new CA for a while, [`Step::Switch`]: the new CA signs a new server certificate, the old key goes.
//! 4. Once the last certificate of the old CA has ended, [`Step::Retire`]: it is trusted no more.

use super::contents::{Contents, Pair, Stored};
use super::trust::{Bundle, chains, holds_for, verify};
use crate::server::tls::Validity;
use crate::telemetry::{RenewalReason, RenewalStep};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::time::Duration;

/// How long certificates hold.
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

/// Everything that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// What the Secret says.
    pub(super) stored: &'a Stored,
    /// The CAs that every bundle of ours has held for long enough that every API server knows.
    pub(super) settled: &'a Bundle,
    /// Unix seconds.
    pub(super) now: i64,
    /// What a server certificate must hold for.
    pub(super) names: &'a [String],
    pub(super) lifetimes: Lifetimes,
}

/// Why something is made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none.
    Absent,
    /// It cannot be used: a clause.
    Unusable(String),
    /// Its time is over, by the clock.
    Ended,
    /// Its time has not begun: the clock was put back.
    NotYet,
    /// It does not hold for this name.
    OtherName(String),
    /// It was not signed by a CA that is trusted.
    Unchained,
    /// Two thirds of its time are over.
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
            Self::Absent => f.write_str("there is none"),
            Self::Unusable(why) => write!(f, "it cannot be used: {why}"),
            Self::Ended => f.write_str("it has ended"),
            Self::NotYet => f.write_str("it does not hold yet"),
            Self::OtherName(name) => write!(f, "it does not hold for {name}"),
            Self::Unchained => f.write_str("no trusted CA signed it"),
            Self::Due => f.write_str("two thirds of its time are over"),
        }
    }
}

/// The next write to the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// None.
    Keep,
    /// A new CA and a server certificate of it, at once: there is nothing left to go on with.
    Anew(Why),
    /// A new server certificate of the same CA.
    Leaf(Why),
    /// A new CA that is to follow the present one.
    Follow(Why),
    /// The CA that was to follow signs from now on.
    Switch,
    /// Old CAs are trusted no more.
    Retire,
    /// What hangs together is put right: the next CA into the bundle, a time for the old ones, what cannot be read out.
    Tend,
}

impl Step {
    /// What it is and why, for metrics, and a sentence for the log.
    pub(super) fn told(&self) -> (RenewalStep, RenewalReason, String) {
        match self {
            Self::Keep => (RenewalStep::Keep, RenewalReason::Sound, "nothing is to be done".to_owned()),
            Self::Anew(why) => (
                RenewalStep::Anew,
                why.label(),
                format!("a new CA and a new certificate are made: {why}"),
            ),
            Self::Leaf(why) => (RenewalStep::Leaf, why.label(), format!("a new certificate is made: {why}")),
            Self::Follow(why) => (
                RenewalStep::Follow,
                why.label(),
                format!("a CA is made that will follow the present one: {why}"),
            ),
            Self::Switch => (
                RenewalStep::Switch,
                RenewalReason::Settled,
                "the new CA signs from now on".to_owned(),
            ),
            Self::Retire => (
                RenewalStep::Retire,
                RenewalReason::Ended,
                "the old CA is trusted no more".to_owned(),
            ),
            Self::Tend => (
                RenewalStep::Tend,
                RenewalReason::Unusable,
                "its parts are put in order".to_owned(),
            ),
        }
    }
}

/// The next write to the Secret.
pub(super) fn step(scene: &Scene<'_>) -> Step {
    let contents = match scene.stored {
        Stored::Absent => return Step::Anew(Why::Absent),
        Stored::Foreign(_) => return Step::Keep,
        Stored::Ours(contents) => contents,
    };
    let leaf = leaf_fault(scene, contents);
    let (authority, authority_fault) = match &contents.authority {
        Ok(pair) => (Some(pair), time_fault(pair.validity, scene.now)),
        Err(why) => (None, Some(Why::Unusable(why.clone()))),
    };
    let next = contents.next().filter(|next| time_fault(next.validity, scene.now).is_none());
    match (leaf, authority_fault, next) {
        (Some(why), Some(_), None) => Step::Anew(why),
        // Nothing that is served now would be lost.
        (Some(_), Some(_), Some(_)) => Step::Switch,
        (_, _, Some(next)) if scene.settled.holds(&next.certificate) => Step::Switch,
        (Some(why), None, _) => Step::Leaf(why),
        (None, Some(why), None) => Step::Follow(why),
        (None, fault, next) => match authority.filter(|_| fault.is_none()) {
            Some(authority) if next.is_none() && is_due(authority.validity, scene.now) => Step::Follow(Why::Due),
            Some(authority) if is_worth_renewing(contents, authority, scene.now) => Step::Leaf(Why::Due),
            Some(_) | None => tidy(scene, contents),
        },
    }
}

fn tidy(scene: &Scene<'_>, contents: &Contents) -> Step {
    let spoilt_next = contents.next.is_some() && contents.next().is_none();
    let untold_next = contents.next().is_some_and(|next| !contents.trust.holds(&next.certificate));
    if spoilt_next || untold_next || !contents.trust.is_whole() {
        return Step::Tend;
    }
    match contents.until {
        _ if contents.old().is_empty() => Step::Keep,
        None => Step::Tend,
        // Where the CA's key is lost, its certificate counts as an old one, and what it signed is still served.
        Some(until) if until < scene.now && contents.authority.is_ok() => Step::Retire,
        Some(_) => Step::Keep,
    }
}

/// What is wrong with the server certificate.
pub(super) fn leaf_fault(scene: &Scene<'_>, contents: &Contents) -> Option<Why> {
    let leaf = match &contents.leaf {
        Ok(leaf) => leaf,
        Err(why) => return Some(Why::Unusable(why.clone())),
    };
    if let Some(fault) = time_fault(leaf.validity, scene.now) {
        return Some(fault);
    }
    if chains(&leaf.certificate, &contents.trust, scene.now).is_err() {
        return Some(Why::Unchained);
    }
    let missing = scene.names.iter().find(|name| !holds_for(&leaf.certificate, name))?;
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

/// Whether two thirds of it are over.
fn is_due(validity: Validity, now: i64) -> bool {
    now >= validity.not_before.saturating_add(validity.lifetime() / 3 * 2)
}

/// Near a CA's own end (its rotation was held up) a new certificate would end with it as the present one does: not worth a write.
fn is_worth_renewing(contents: &Contents, authority: &Pair, now: i64) -> bool {
    contents
        .leaf
        .as_ref()
        .is_ok_and(|leaf| is_due(leaf.validity, now) && leaf.validity.not_after < authority.validity.not_after)
}

/// A webhook of ours.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its place in the registration.
    pub(super) index: usize,
    /// Its name.
    pub(super) webhook: String,
    /// The name by which the API server asks for our certificate.
    pub(super) server: String,
    /// What it trusts.
    pub(super) bundle: Bundle,
}

/// The bundles to write. None while the Secret itself needs mending: what is registered may still be what somebody serves by.
pub(super) fn bundles(scene: &Scene<'_>, entries: &[Entry]) -> Vec<(usize, String)> {
    let Stored::Ours(contents) = scene.stored else {
        return Vec::new();
    };
    let sound = match leaf_fault(scene, contents) {
        None | Some(Why::OtherName(_)) => contents.trust.is_whole(),
        Some(Why::Absent | Why::Unusable(_) | Why::Ended | Why::NotYet | Why::Unchained | Why::Due) => false,
    };
    if !sound {
        return Vec::new();
    }
    entries
        .iter()
        .filter(|entry| !entry.bundle.means(&contents.trust))
        .map(|entry| (entry.index, contents.trust.pem()))
        .collect()
}

/// Which certificate to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serve {
    /// What is served now.
    Present,
    /// What the Secret holds.
    Stored,
}

/// Which certificate to serve: the Secret's, but not before every bundle takes it, while the present one is still taken.
pub(super) fn serve(scene: &Scene<'_>, entries: &[Entry], present: Option<&CertificateDer<'_>>) -> Serve {
    let Stored::Ours(contents) = scene.stored else {
        return Serve::Present;
    };
    let Ok(leaf) = &contents.leaf else {
        return Serve::Present;
    };
    let Some(present) = present else {
        return Serve::Stored;
    };
    if *present == leaf.certificate || time_fault(leaf.validity, scene.now).is_some() {
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
                    scene.now,
                )
                .is_ok()
            })
    };
    if taken(present, None) && !taken(&leaf.certificate, Some(scene.settled)) {
        Serve::Present
    } else {
        Serve::Stored
    }
}
