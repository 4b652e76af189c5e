//! Outcomes → judgements, and what they rest on.

use super::audience::of_policy;
use super::credentials::whose;
use super::{Next, Plan, Planned, is_short};
use crate::cluster::{Facts, Object, Visible};
use crate::policy::{FindingsByPolicy, Raised, first_an_image, offer_digest};
use crate::runtime::Setup;
use crate::runtime::kubelet::{Attempt, Attempts};
use crate::verdict::Judgement;
use crate::verdict::cause::Property;
use crate::verdict::image_case::{ImageCase, LabelledAttempt, Naming, SecretNote};
use crate::verdict::judge::judge;
use crate::verdict::platforms::Audience;
use crate::verdict::review_result::Remark;
use crate::verdict::size::{Bytes, Limit};
use crate::verdict::{Cause, Decision, Finding, Outlook, Verdict};
use crate::workload::pod::PodKind;
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Judges every image of the plan; `outcomes` are in the order of [`Plan::checks`]. What name rules object to, and what is settled, moves
/// from the plan into the judgements.
pub fn decide<A: Borrow<Attempts>>(plan: &mut Plan<'_>, outcomes: &[A]) -> Vec<Judgement> {
    let outcomes: Vec<&Attempts> = outcomes.iter().map(Borrow::borrow).collect();
    let outcomes = outcomes.as_slice();
    let namespace = plan.namespace;
    plan.images
        .iter_mut()
        .map(|planned| {
            let raised = std::mem::take(&mut planned.raised);
            let judgement = match &mut planned.next {
                Next::Settled(findings) => Judgement::from_findings(std::mem::take(findings)),
                Next::Skipped | Next::Later | Next::Ask { .. } => judged(namespace, planned, outcomes, &Instead::default()),
            };
            let own = own(namespace, planned, outcomes, &judgement);
            ruled(planned, judgement, raised, own)
        })
        .collect()
}

/// What is asked for instead of what all policies together ask for.
#[derive(Default)]
struct Instead {
    audience: Option<Audience>,
    size_limit: Option<Limit>,
}

/// What would be found if only one policy's demands held.
#[derive(Default)]
struct Own {
    by_policy: FindingsByPolicy,
    /// What only the demands of policies find that are not enforced.
    tried_out: Vec<(Finding, Arc<str>)>,
}

fn own(namespace: &str, planned: &Planned<'_>, outcomes: &[&Attempts], judgement: &Judgement) -> Own {
    let mut own = Own::default();
    let Next::Ask { known, .. } = &planned.next else {
        return own;
    };
    let scheduling = &planned.template.needs.scheduling;
    for demand in planned.policies.demands() {
        if demand.enforced && judgement.findings.is_empty() {
            own.by_policy.insert(demand.policy, Vec::new());
            continue;
        }
        let instead = Instead {
            audience: demand
                .platforms
                .map(|platforms| of_policy(scheduling, &platforms, &known.audience)),
            size_limit: demand.size_max.map(|bytes| Limit {
                bytes: Bytes(bytes),
                policy: Arc::clone(&demand.policy),
            }),
        };
        let found = judged(namespace, planned, outcomes, &instead).findings;
        let kinds = found.iter().map(|finding| (finding.cause, finding.outlook)).collect();
        own.by_policy.insert(Arc::clone(&demand.policy), kinds);
        if !demand.enforced {
            let known = |finding: &Finding| {
                let mut same = judgement.findings.iter().filter(|known| known.cause == finding.cause);
                same.any(|known| known.outlook >= finding.outlook)
            };
            let new = found.into_iter().filter(|finding| !known(finding));
            own.tried_out.extend(new.map(|finding| (finding, Arc::clone(&demand.policy))));
        }
    }
    own
}

/// What the registry and the facts say of an image that is not settled.
fn judged(namespace: &str, planned: &Planned<'_>, outcomes: &[&Attempts], instead: &Instead) -> Judgement {
    match (&planned.next, &planned.reference) {
        (Next::Ask { check, known }, Some(reference)) => {
            let none = Attempts::default();
            let outcome = outcomes.get(*check).copied().unwrap_or(&none);
            let labels = |attempts: &[Attempt]| -> Vec<Option<String>> {
                attempts.iter().map(|attempt| attempt.source.as_ref().map(whose)).collect()
            };
            let (usual, others): (_, Vec<_>) = (
                labels(&outcome.attempts),
                outcome.others.iter().map(|(_, attempts)| labels(attempts)).collect(),
            );
            let attempts = labelled(&outcome.attempts, &usual);
            let others: Vec<(Setup, Vec<LabelledAttempt<'_>>)> = outcome
                .others
                .iter()
                .zip(&others)
                .map(|((setup, attempts), labels)| (*setup, labelled(attempts, labels)))
                .collect();
            judge(&ImageCase {
                reference,
                namespace,
                naming: naming(planned),
                used_by: known.used_by,
                audience: instead.audience.as_ref().unwrap_or(&known.audience),
                context: &known.context,
                secrets: &known.secrets,
                attempts: &attempts,
                others: &others,
                settings: &outcome.settings,
                malformed_secret: known.malformed_secret.as_ref(),
                size_limit: instead.size_limit.as_ref().or(known.size_limit.as_ref()),
            })
        }
        (Next::Later, _) => Judgement::not_judged(),
        (Next::Skipped | Next::Settled(_) | Next::Ask { .. }, _) => Judgement::allowed(),
    }
}

fn labelled<'a>(attempts: &'a [Attempt], labels: &'a [Option<String>]) -> Vec<LabelledAttempt<'a>> {
    let with = attempts.iter().zip(labels);
    with.map(|(attempt, label)| LabelledAttempt {
        with: label.as_deref(),
        result: &attempt.result,
    })
    .collect()
}

/// Whether the image names its registry; a rewrite gave it one.
fn naming(planned: &Planned<'_>) -> Naming {
    let short = match &planned.remark {
        None => is_short(&planned.image.image),
        Some(Remark::Named { name, .. }) => is_short(name),
        Some(Remark::Rewritten(_) | Remark::FilledIn { .. }) => false,
    };
    if short { Naming::Short } else { Naming::Full }
}

/// The same with the name rules' findings before it, and with what the policies do about each.
fn ruled(planned: &Planned<'_>, mut judgement: Judgement, mut raised: Vec<Raised>, own: Own) -> Judgement {
    if matches!(planned.next, Next::Later) {
        return judgement;
    }
    if let (Some(reference), Some(digest)) = (&planned.reference, &judgement.digest) {
        let missing = raised
            .iter_mut()
            .filter(|raised| raised.finding.cause == Cause::DigestRequired);
        missing.for_each(|raised| offer_digest(&mut raised.finding, reference, digest));
    }
    let absent = judgement
        .findings
        .iter()
        .any(|finding| matches!(finding.cause, Cause::TagNotFound | Cause::RepositoryNotFound));
    if absent {
        let missing = raised
            .iter_mut()
            .filter(|raised| raised.finding.cause == Cause::DigestRequired);
        missing.for_each(|raised| first_an_image(&mut raised.finding));
    }
    let policies = &planned.policies;
    let mut all: Vec<(Finding, Decision)> = Vec::new();
    for Raised { finding, policy } in raised {
        let decision = policies.decide(&finding, Some(&policy));
        all.push((finding, decision));
    }
    let registry = std::mem::take(&mut judgement.findings)
        .into_iter()
        .map(|finding| (finding, None));
    let tried_out = own.tried_out.into_iter().map(|(finding, policy)| (finding, Some(policy)));
    for (finding, raised_by) in registry.chain(tried_out) {
        let decision = policies.decide_by_policy(&finding, raised_by.as_deref(), &own.by_policy);
        all.push((finding, decision));
    }
    judgement.decided(all);
    judgement
}

/// The objects to read once more before the judgements may stand (contract 6, read your writes): a webhook is asked before a watch
/// shows the Secret that was created just before.
pub fn doubts(plan: &Plan<'_>, judgements: &[Judgement], facts: &Facts) -> BTreeSet<Object> {
    let mut objects = BTreeSet::new();
    let mut denied = false;
    for (planned, judgement) in plan.images.iter().zip(judgements) {
        denied |= judgement.verdict == Verdict::Deny;
        let has = |property| judgement.findings.iter().any(|finding| finding.cause.has(property));
        // A registry may hide by 404 what a secret could see that is not here yet, or that was just written again.
        let hidden = judgement.verdict == Verdict::Deny && (lacks_a_secret(&planned.next) || has(Property::Absent));
        if !hidden && !has(Property::RestsOnCredentials) {
            continue;
        }
        let needs = &planned.template.needs;
        let listed = if needs.pull_secrets.is_empty() {
            // A Pod's own list is what admission left there; its account has no more say.
            if planned.template.kind == PodKind::Template {
                objects.insert(Object::ServiceAccount(needs.service_account.clone()));
            }
            match facts.service_accounts.get(&needs.service_account) {
                Some(Visible::Seen(Some(account))) => account.pull_secrets.as_slice(),
                Some(Visible::Seen(None) | Visible::Hidden(_)) | None => &[],
            }
        } else {
            needs.pull_secrets.as_slice()
        };
        objects.extend(listed.iter().filter(|name| !name.is_empty()).cloned().map(Object::Secret));
    }
    // It may be new, or bear by now the label that exempts it.
    if denied && !matches!(facts.namespace, Visible::Hidden(_)) {
        objects.insert(Object::Namespace);
    }
    objects
}

/// The checks on whose outcomes a denial rests. What a policy says of names needs no registry, and where nothing is known (which a policy may
/// deny too) asking once more shows nothing.
pub fn denied(plan: &Plan<'_>, judgements: &[Judgement]) -> BTreeSet<usize> {
    let images = plan.images.iter().zip(judgements);
    let denied = images.filter_map(|(planned, judgement)| match &planned.next {
        Next::Ask { check, .. } => {
            let mut ruled = judgement.ruled();
            let rests = |finding: &Finding| !matches!(finding.outlook, Outlook::Unknown | Outlook::NotAllowed);
            ruled
                .any(|(finding, decision)| decision.verdict == Verdict::Deny && rests(finding))
                .then_some(*check)
        }
        Next::Skipped | Next::Later | Next::Settled(_) => None,
    });
    denied.collect()
}

fn lacks_a_secret(next: &Next) -> bool {
    match next {
        Next::Ask { known, .. } => known.secrets.iter().any(|note| matches!(note, SecretNote::Missing { .. })),
        Next::Skipped | Next::Later | Next::Settled(_) => false,
    }
}
