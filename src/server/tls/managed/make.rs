//! The steps, done: from what the Secret holds to what it shall hold.

use super::contents::{Contents, Pair};
use super::decide::{Lifetimes, Step, Why};
use super::trust::{Bundle, dns_names, same_subject, verify};
use crate::server::tls::Validity;
use crate::server::tls::generate;
use rustls::pki_types::CertificateDer;
use std::time::Duration;

/// Clocks differ: a period of validity begins this long ago, or a tenth of it where it is short.
const BACKDATED: Duration = Duration::from_hours(1);

/// After a start anew, this long what was trusted before still is: every replica reads the Secret within seconds.
const GRACE: Duration = Duration::from_hours(1);

/// CAs carried over into a start anew.
const MAX_CARRIED: usize = 4;

/// What the steps take.
pub(super) struct Means<'a> {
    /// Unix seconds.
    pub(super) now: i64,
    /// What a server certificate must hold for.
    pub(super) names: &'a [String],
    pub(super) lifetimes: Lifetimes,
    /// CAs by which certificates may still be served: trusted on for a while after a start anew, those of them that are ours.
    pub(super) known: &'a [CertificateDer<'static>],
}

/// What the Secret shall hold after a step; `None` for the step that changes nothing.
pub(super) fn after(step: &Step, before: Option<&Contents>, means: &Means<'_>) -> Result<Option<Contents>, String> {
    let old = |contents: &Contents| contents.old();
    let done = match (step, before) {
        (Step::Keep, _) => return Ok(None),
        (Step::Anew(_), _) | (_, None) => means.anew()?,
        (Step::Leaf(why), Some(before)) => match means.renewed(before, why)? {
            Some(renewed) => renewed,
            // Its CA is not what it looks like.
            None => means.anew()?,
        },
        (Step::Follow(_), Some(before)) => {
            let next = means.authority()?;
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
        (Step::Switch, Some(before)) => {
            let Some(authority) = before.next() else {
                return Ok(None);
            };
            let leaf = means.leaf(authority, means.names)?;
            // Whatever of the old CA is served has ended by then: certificates before this one ended before.
            let last = before.leaf.as_ref().map_or(means.now, |leaf| leaf.validity.not_after);
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
        (Step::Tend, Some(before)) => {
            let next = before.next().cloned();
            let told = next.iter().map(|next| next.certificate.clone());
            let mut tended = Contents {
                trust: Bundle::of(before.trust.certificates().to_vec().into_iter().chain(told)),
                next: next.map(Ok),
                ..before.clone()
            };
            // No certificate outlives its CA.
            let ends = old(&tended)
                .iter()
                .filter_map(|ca| Validity::of(ca))
                .map(|validity| validity.not_after)
                .max();
            tended.until = ends.map(|last| tended.until.unwrap_or(last));
            tended
        }
    };
    Ok(Some(done))
}

impl Means<'_> {
    fn anew(&self) -> Result<Contents, String> {
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

    /// The same with a new server certificate, if the CA can still make one that is taken.
    fn renewed(&self, before: &Contents, why: &Why) -> Result<Option<Contents>, String> {
        let Ok(authority) = &before.authority else {
            return Ok(None);
        };
        let mut names = self.names.to_vec();
        if let (Why::OtherName(_), Ok(leaf)) = (why, &before.leaf) {
            // Replicas of an older set of flags still want theirs: so both are content, and the next renewal drops them.
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
