//! HTTP body → review → gate → answer: what `POST /validate` does once the bytes are here.

use super::admission::{Reply, Reviewer};
use crate::gate::Gate;
use crate::image::escape;
use crate::review::{self, Bad, Ledger, Outcome, Review};
use crate::telemetry::Metrics;
use crate::verdict::Verdict;
use crate::verdict::answer::Remark;
use crate::workload::{Kinds, Skip, Workload, extract};
use axum::body::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What the API server waits when it does not say (`timeoutSeconds` is 10 by default).
const USUAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Least of the caller's time that is kept for the way back.
const LEAST_MARGIN: Duration = Duration::from_millis(300);

/// Builds the reviewer. `limit` is `--deadline`.
pub fn reviewer(gate: Gate, metrics: Metrics, limit: Duration) -> Reviewer {
    Arc::new(move |body, timeout| {
        let (gate, metrics) = (gate.clone(), metrics.clone());
        Box::pin(async move { review(&gate, &metrics, &body, deadline(timeout, limit)).await })
    })
}

/// The caller's timeout less a tenth (at least 300 ms), never over `limit` (DESIGN 6).
fn deadline(timeout: Option<Duration>, limit: Duration) -> Duration {
    let timeout = timeout.unwrap_or(USUAL_TIMEOUT);
    timeout.saturating_sub((timeout / 10).max(LEAST_MARGIN)).min(limit)
}

async fn review(gate: &Gate, metrics: &Metrics, body: &Bytes, patience: Duration) -> Reply {
    let began = Instant::now();
    let review = match review::parse(body) {
        Ok(review) => review,
        Err(bad) => return refuse(metrics, &bad),
    };
    let workload = match subject(&review, &gate.kinds()) {
        Ok(workload) => workload,
        Err(skip) => {
            metrics.skipped(skip.name());
            return answer(metrics, &review, Outcome::Skipped(skip), began);
        }
    };
    let verdict = gate.judge(&workload, &review.requester, began + patience).await;
    if let Some(exempt) = &verdict.exempt {
        metrics.skipped(exempt.name());
    }
    for (finding, decision) in verdict.images.iter().flat_map(|judged| judged.judgement.ruled()) {
        metrics.finding(finding.cause.name(), finding.outlook.name());
        if let Some(policy) = &decision.policy {
            metrics.vote(
                policy,
                finding.cause.name(),
                decision.verdict.name(),
                decision.enforced.name(),
            );
        }
    }
    for policy in &verdict.policies.exempting {
        metrics.exempted(policy);
    }
    answer(
        metrics,
        &review,
        Outcome::Answered {
            object: &workload.object,
            answer: &verdict,
        },
        began,
    )
}

fn subject(review: &Review, kinds: &Kinds) -> Result<Workload, Skip> {
    if let Some(skip) = review.skip() {
        return Err(skip);
    }
    let mut workload = extract(&review.object, review.before(), &review.namespace, kinds)?;
    if workload.object.name.is_empty() {
        workload.object.name.clone_from(&review.name);
    }
    // The request's namespace decides whose secrets count; what the object says of itself does not.
    if review.namespace.is_empty() {
        workload.leave_namespace();
    } else {
        workload.object.namespace.clone_from(&review.namespace);
    }
    Ok(workload)
}

fn refuse(metrics: &Metrics, bad: &Bad) -> Reply {
    metrics.bad_request(bad.reason);
    tracing::warn!(
        reason = bad.reason,
        "a request was no usable AdmissionReview: {}",
        bad.sentence
    );
    Reply {
        status: http::StatusCode::BAD_REQUEST,
        content_type: "text/plain; charset=utf-8",
        body: format!("{}\n", bad.sentence).into_bytes(),
    }
}

/// One `info` line a review, at the edge; never objects, tokens or query strings.
fn answer(metrics: &Metrics, review: &Review, outcome: Outcome<'_>, began: Instant) -> Reply {
    let verdict = outcome.verdict();
    let took = began.elapsed();
    metrics.review(verdict.name(), took);
    let (images, checks, parameters, causes) = match outcome {
        Outcome::Skipped(skip) => (0, 0, 0, skip.name().to_owned()),
        Outcome::Answered { answer, .. } => (answer.images.len(), answer.checks, parameters(answer), causes(answer)),
    };
    let ledger = match outcome {
        Outcome::Skipped(_) => Ledger::default(),
        Outcome::Answered { answer, .. } => Ledger::of(answer),
    };
    tracing::info!(
        review.uid = %escape(&review.uid),
        review.operation = review.operation.name(),
        review.kind = %escape(&review.kind),
        review.namespace = %escape(&review.namespace),
        review.name = %escape(&review.name),
        review.dry_run = review.dry_run,
        verdict = verdict.name(),
        causes = %causes,
        policies = %ledger.policies,
        decisions = %ledger.decisions,
        enforced = ledger.enforced.unwrap_or_default(),
        exempt = %ledger.exempt,
        images,
        checks,
        parameters,
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "{} {} {}/{}",
        match verdict {
            Verdict::Allow => "allowed",
            Verdict::Warn => "warned",
            Verdict::Deny => "denied",
        },
        escape(&review.kind),
        escape(&review.namespace),
        escape(&review.name),
    );
    let body = review::respond(&review.uid, outcome);
    Reply {
        status: http::StatusCode::OK,
        content_type: "application/json",
        body: serde_json::to_vec(&body).unwrap_or_default(),
    }
}

/// Images that were not judged because something fills in a parameter later.
fn parameters(answer: &crate::verdict::answer::Answer) -> usize {
    let remarks = answer.images.iter().filter_map(|judged| judged.remark.as_ref());
    remarks.filter(|remark| matches!(remark, Remark::Parameter(_))).count()
}

fn causes(answer: &crate::verdict::answer::Answer) -> String {
    let mut all: Vec<&str> = answer
        .images
        .iter()
        .flat_map(|judged| &judged.judgement.findings)
        .map(|finding| finding.cause.name())
        .collect();
    all.sort_unstable();
    all.dedup();
    if let Some(exempt) = &answer.exempt {
        all.push(exempt.name());
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_leaves_room_for_the_answer() {
        let limit = Duration::from_secs(8);
        let ms = Duration::from_millis;
        for (timeout, expected) in [
            (None, ms(8000)),
            (Some(ms(30_000)), ms(8000)),
            (Some(ms(5000)), ms(4500)),
            (Some(ms(1000)), ms(700)),
            (Some(ms(100)), ms(0)),
        ] {
            assert_eq!(deadline(timeout, limit), expected, "{timeout:?}");
        }
    }
}
