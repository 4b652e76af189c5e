//! Performs the steps: from the Secret's contents to its new contents.

use super::contents::{Contents, Pair};
use super::decide::{Lifetimes, Step, Why};
use super::trust::{Bundle, dns_names, same_subject, verify};
use crate::server::tls::Validity;
use crate::server::tls::generate;
use rustls::pki_types::CertificateDer;
use std::time::Duration;

/// Clocks differ: validity starts this long ago, or a tenth of a short lifetime.
const BACKDATED: Duration = Duration::from_hours(1);

/// How long the previous CAs stay trusted after a new one was created: every replica reads the Secret within seconds.
const GRACE: Duration = Duration::from_hours(1);

/// How many previous CAs a new bundle keeps.
const MAX_CARRIED: usize = 4;

/// What issuing depends on.
pub(super) struct Issuer<'a> {
    /// Unix seconds.
    pub(super) now: i64,
    /// The names that a server certificate must cover.
    pub(super) names: &'a [String],
    pub(super) lifetimes: Lifetimes,
    /// CAs of certificates that may still be served. After a new CA was created, those that are ours stay trusted for a while.
    pub(super) known: &'a [CertificateDer<'static>],
}

/// The Secret's contents after a step; `None` if the step changes nothing.
pub(super) fn after(step: &Step, before: Option<&Contents>, issuer: &Issuer<'_>) -> Result<Option<Contents>, String> {
    let old = |contents: &Contents| contents.old();
    let done = match (step, before) {
        (Step::Keep, _) => return Ok(None),
        (Step::Create(_), _) | (_, None) => issuer.created()?,
        (Step::Leaf(why), Some(before)) => match issuer.renewed(before, why)? {
            Some(renewed) => renewed,
            // Its CA turned out to be unusable.
            None => issuer.created()?,
        },
        (Step::AddNextCa(_), Some(before)) => {
            let next = issuer.authority()?;
            let spoilt = before.next().map(|next| next.certificate.clone());
            let kept = before
                .trust
                .certificates()
                .iter()
                .filter(|ca| Some(*ca) != spoilt.as_ref())
                .cloned();
            Contents {
                trust: Bundle::of(kept.chain([next.certificate.clone()])),
                next: Some(Ok(next)),
                ..before.clone()
            }
        }
        (Step::PromoteNextCa, Some(before)) => {
            let Some(authority) = before.next() else {
                return Ok(None);
            };
            let leaf = issuer.leaf(authority, issuer.names)?;
            // Certificates of the old CA that are still served expire by then: earlier ones expire earlier.
            let last = before.leaf.as_ref().map_or(issuer.now, |leaf| leaf.validity.not_after);
            Contents {
                leaf: Ok(leaf),
                trust: Bundle::of(
                    [authority.certificate.clone()]
                        .into_iter()
                        .chain(before.trust.certificates().to_vec()),
                ),
                authority: Ok(authority.clone()),
                next: None,
                until: Some(before.until.unwrap_or(last).max(last)),
            }
        }
        (Step::Retire, Some(before)) => {
            let old = old(before);
            Contents {
                trust: Bundle::of(before.trust.certificates().iter().filter(|ca| !old.contains(ca)).cloned()),
                until: None,
                ..before.clone()
            }
        }
        (Step::Repair, Some(before)) => {
            let next = before.next().cloned();
            let told = next.iter().map(|next| next.certificate.clone());
            let mut repaired = Contents {
                trust: Bundle::of(before.trust.certificates().to_vec().into_iter().chain(told)),
                next: next.map(Ok),
                ..before.clone()
            };
            // No certificate outlives its CA.
            let ends = old(&repaired)
                .iter()
                .filter_map(|ca| Validity::of(ca))
                .map(|validity| validity.not_after)
                .max();
            repaired.until = ends.map(|last| repaired.until.unwrap_or(last));
            repaired
        }
    };
    Ok(Some(done))
}

impl Issuer<'_> {
    fn created(&self) -> Result<Contents, String> {
        let authority = self.authority()?;
        let leaf = self.leaf(&authority, self.names)?;
        let carried: Vec<_> = Bundle::of(self.known.to_vec())
            .certificates()
            .iter()
            .filter(|ca| same_subject(ca, &authority.certificate))
            .filter(|ca| Validity::of(ca).is_some_and(|validity| validity.check(self.now).is_ok()))
            .take(MAX_CARRIED)
            .cloned()
            .collect();
        let grace = self.now.saturating_add(seconds(GRACE.min(self.lifetimes.leaf)));
        Ok(Contents {
            until: (!carried.is_empty()).then_some(grace),
            trust: Bundle::of([authority.certificate.clone()].into_iter().chain(carried)),
            leaf: Ok(leaf),
            authority: Ok(authority),
            next: None,
        })
    }

    /// The same contents with a new server certificate, if the CA can still issue an acceptable one.
    fn renewed(&self, before: &Contents, why: &Why) -> Result<Option<Contents>, String> {
        let Ok(authority) = &before.authority else {
            return Ok(None);
        };
        let mut names = self.names.to_vec();
        if let (Why::OtherName(_), Ok(leaf)) = (why, &before.leaf) {
            // Replicas with older flags still need their names: this certificate suits both, and the next renewal drops the old
            // ones.
            names.extend(
                dns_names(&leaf.certificate)
                    .into_iter()
                    .filter(|name| !self.names.contains(name)),
            );
        }
        let leaf = self.leaf(authority, &names)?;
        let only = Bundle::of([authority.certificate.clone()]);
        let taken = self
            .names
            .iter()
            .all(|name| verify(&leaf.certificate, &only, name, self.now).is_ok());
        Ok(taken.then(|| Contents {
            leaf: Ok(leaf),
            ..before.clone()
        }))
    }

    fn authority(&self) -> Result<Pair, String> {
        Pair::made(&generate::authority(self.period(self.lifetimes.authority)).map_err(|error| error.to_string())?)
    }

    /// A server certificate that does not outlive its CA.
    fn leaf(&self, authority: &Pair, names: &[String]) -> Result<Pair, String> {
        let mut period = self.period(self.lifetimes.leaf);
        period.not_before = period.not_before.max(authority.validity.not_before);
        period.not_after = period.not_after.min(authority.validity.not_after);
        Pair::made(&generate::leaf(names, period, authority.key()).map_err(|error| error.to_string())?)
    }

    fn period(&self, lifetime: Duration) -> Validity {
        Validity {
            not_before: self.now.saturating_sub(seconds(BACKDATED.min(lifetime / 10))),
            not_after: self.now.saturating_add(seconds(lifetime)),
        }
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
