//! All checks at once, each with its credentials in order, until the deadline.

use super::build::{self, Deep};
use super::cache::Key;
use super::cause::plain;
use super::host::Endpoint;
use super::token::Sending;
use super::walk::probe;
use super::{Attempt, Check, Depth, Inner, Offer, Outcome, Sent};
use crate::image::Reference;
use crate::limits;
use crate::runtime::containerd::platforms::Puller;
use crate::runtime::outcome::{Evidence, TimeoutStage};
use crate::verdict::cause::might_have_worked;
use crate::verdict::{Failure, ImageFacts};
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// What makes two checks the same.
type Identity<'a> = (
    &'a Reference,
    Vec<(&'a crate::credentials::Source, crate::credentials::Fingerprint, Sent)>,
    Depth,
    &'a [Puller],
);

/// Asks all `checks`; identical ones once.
pub(super) async fn gather(inner: &Arc<Inner>, checks: &[Check], deadline: Instant) -> Vec<Outcome> {
    let mut places: HashMap<Identity<'_>, usize> = HashMap::new();
    let mut distinct: Vec<&Check> = Vec::new();
    let place: Vec<usize> = checks
        .iter()
        .map(|check| {
            *places.entry(identity(check)).or_insert_with(|| {
                distinct.push(check);
                distinct.len() - 1
            })
        })
        .collect();
    // A loop, since the compiler takes no closure over borrowed checks for one that may be sent.
    let mut look_ups = Vec::new();
    for (at, check) in distinct.into_iter().take(limits::LOOK_UPS_PER_OBJECT).enumerate() {
        look_ups.push(async move { (at, one(inner, check, deadline).await) });
    }
    let begun = futures_util::stream::iter(look_ups).buffer_unordered(limits::LOOK_UPS_AT_ONCE);
    let mut outcomes: Vec<(usize, Outcome)> = begun.collect().await;
    outcomes.sort_unstable_by_key(|(at, _)| *at);
    inner.weigh();
    place
        .into_iter()
        .zip(checks)
        .map(|(at, check)| {
            let asked = outcomes.get(at);
            asked.map_or_else(|| beyond(check.reference.registry()), |(_, outcome)| outcome.clone())
        })
        .collect()
}

fn identity(check: &Check) -> Identity<'_> {
    let offers = check
        .credentials
        .iter()
        .map(|offer| (&offer.source, offer.credential.fingerprint(), offer.sent))
        .collect();
    (&check.reference, offers, check.depth, &check.pullers)
}

/// An image that is not asked for.
fn beyond(registry: &str) -> Outcome {
    let unasked = Failure {
        detail: Some(format!("of one object, {} images are looked up", limits::LOOK_UPS_PER_OBJECT)),
        ..plain(Evidence::TimedOut(TimeoutStage::Deadline), shown(registry))
    };
    Outcome {
        attempts: vec![Attempt {
            source: None,
            result: Err(unasked),
        }],
    }
}

fn shown(registry: &str) -> String {
    Endpoint::new(registry).map_or_else(|| registry.to_owned(), |endpoint| endpoint.shown())
}

/// One check: its credentials in order, or none; the first success ends it, as it does for a kubelet.
async fn one(inner: &Arc<Inner>, check: &Check, deadline: Instant) -> Outcome {
    let offers: Vec<Option<&Offer>> = if check.credentials.is_empty() {
        vec![None]
    } else {
        check.credentials.iter().map(Some).collect()
    };
    let mut attempts: Vec<Attempt> = Vec::with_capacity(offers.len());
    // Some of its parts are in trouble: a kubelet would go on to the next credential.
    let mut troubled: Option<Attempt> = None;
    for offer in offers {
        let attempt = Attempt {
            source: offer.map(|offer| offer.source.clone()),
            result: attempt(inner, check, offer, deadline).await,
        };
        match &attempt.result {
            Ok(facts) if is_in_trouble(facts) => troubled = troubled.or(Some(attempt)),
            Ok(_) => {
                attempts.push(attempt);
                return Outcome { attempts };
            }
            Err(failure) => {
                let ended = failure.evidence == Evidence::TimedOut(TimeoutStage::Deadline);
                attempts.push(attempt);
                if ended {
                    break;
                }
            }
        }
    }
    // What came of another credential is not known: it might have had all the parts.
    let doubt = attempts.iter().position(|attempt| match &attempt.result {
        Ok(_) => false,
        Err(failure) => might_have_worked(&failure.evidence),
    });
    if doubt.is_none() || attempts.is_empty() {
        attempts.extend(troubled);
    }
    Outcome { attempts }
}

fn is_in_trouble(facts: &ImageFacts) -> bool {
    facts
        .builds
        .iter()
        .any(|build| build.content.is_err() || !build.troubles.is_empty())
}

async fn attempt(inner: &Arc<Inner>, check: &Check, offer: Option<&Offer>, deadline: Instant) -> Result<ImageFacts, Failure> {
    let reference = &check.reference;
    let credential = offer.map(|offer| offer.credential.clone());
    let host = shown(reference.registry());
    match offer.map_or(Sent::Always, |offer| offer.sent) {
        Sent::Always => {}
        Sent::BySome => return Err(plain(Evidence::CredentialNotText { every_kubelet: false }, host)),
        Sent::Never => return Err(plain(Evidence::CredentialNotText { every_kubelet: true }, host)),
    }
    let route = inner.tree.route(reference.registry(), &inner.client.factory);
    let Ok(route) = tokio::time::timeout_at(deadline, route).await else {
        return Err(plain(Evidence::TimedOut(TimeoutStage::Deadline), host));
    };
    let key = Key {
        registry: reference.registry().to_owned(),
        repository: reference.repository().to_owned(),
        target: reference.target(),
        fingerprint: Sending::of(credential.as_ref()).fingerprint(),
        route: route.id,
    };
    let load = {
        let (inner, key, credential, route) = (Arc::clone(inner), key.clone(), credential.clone(), Arc::clone(&route));
        Box::pin(async move { probe(&inner, &key, credential.as_ref(), &route).await })
    };
    let mut facts = inner.answers.look_up(key.clone(), &host, deadline, load).await?;
    if Deep::is_wanted(check, &facts) {
        let deep = Deep {
            key,
            credential,
            route,
            facts: facts.clone(),
            depth: check.depth,
            pullers: check.pullers.clone(),
        };
        facts.builds = build::builds(inner, deep, inner.look_up_limit, deadline).await;
    }
    Ok(facts)
}
