//! HTTP body → review → gate → answer: what `POST /validate` does once the bytes are here.

use super::admission::{PLAIN, Reply, Reviewer};
use super::notice;
use crate::cluster::Events;
use crate::gate::Gate;
use crate::image::escape;
use crate::limits;
use crate::review::{self, Bad, Ledger, Outcome, Review};
use crate::telemetry::{BadRequest, Metrics};
use crate::verdict::answer::{Answer, Exemption, Judged, Look, Remark};
use crate::verdict::{Cause, Outlook, Verdict};
use crate::workload::{Kinds, Skip, Workload, extract};
use axum::body::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Least of the caller's time that is kept for the way back.
const LEAST_MARGIN: Duration = Duration::from_millis(300);

/// Objects with more images than this share [`limits::IMAGES_PER_OBJECT`].
const CROWD: usize = 100;

/// Builds the reviewer. `limit` is `--deadline`; `events` takes what the cluster's users may want to see of it.
pub fn reviewer(gate: Gate, metrics: Metrics, events: Events, limit: Duration) -> Reviewer {
    begin(&metrics);
    let desk = Arc::new(Desk {
        gate,
        metrics,
        events,
        large: Arc::new(Semaphore::new(limits::LARGE_BODIES_AT_ONCE)),
        reading: Semaphore::new(1),
        images: Semaphore::new(limits::IMAGES_PER_OBJECT),
    });
    Arc::new(move |body, timeout| {
        let desk = Arc::clone(&desk);
        let time = Time {
            began: Instant::now(),
            patience: deadline(timeout, limit),
        };
        if body.len() < limits::LARGE_BODY {
            Box::pin(async move { desk.review(body, time).await })
        } else {
            Box::pin(aside(desk, body, time))
        }
    })
}

/// What reviews share.
struct Desk {
    gate: Gate,
    metrics: Metrics,
    events: Events,
    /// Large bodies.
    large: Arc<Semaphore>,
    /// Of those, the one that is being read: until its images are known, an object takes many times the memory of its text.
    reading: Semaphore,
    /// Images of the objects that have many.
    images: Semaphore,
}

/// When the body was there, and how long its review may take.
#[derive(Debug, Clone, Copy)]
struct Time {
    began: Instant,
    patience: Duration,
}

/// The review of a large body, on a thread of its own.
async fn aside(desk: Arc<Desk>, body: Bytes, time: Time) -> Reply {
    // Never closed.
    let place = Arc::clone(&desk.large).acquire_owned().await.ok();
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || {
        let _place = place;
        runtime.block_on(desk.review(body, time))
    });
    match work.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(reply) => reply,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Reply {
            status: http::StatusCode::SERVICE_UNAVAILABLE,
            content_type: PLAIN,
            body: b"pullgate is stopping\n".to_vec(),
        },
    }
}

/// Every series that reviews are counted in is there from the start.
fn begin(metrics: &Metrics) {
    let of_names = |cause: &Cause| {
        matches!(
            cause,
            Cause::RegistryNotAllowed | Cause::TagNotAllowed | Cause::DigestRequired
        )
    };
    // Name rules are never softened, and nothing else refuses a name.
    let findings = Cause::ALL.iter().flat_map(|cause| {
        let possible = Outlook::ALL
            .iter()
            .filter(move |outlook| (**outlook == Outlook::NotAllowed) == of_names(cause));
        possible.map(|outlook| (cause.name(), outlook.name()))
    });
    metrics.begin_reviews(
        Verdict::ALL.iter().map(|verdict| verdict.name()),
        Outlook::ALL.iter().map(|outlook| outlook.name()),
        findings,
        Skip::ALL.iter().map(|skip| skip.name()).chain(Exemption::NAMES),
    );
}

/// The caller's timeout less a tenth (at least 300 ms), never over `limit` (contract 6).
fn deadline(timeout: Option<Duration>, limit: Duration) -> Duration {
    let timeout = timeout.unwrap_or(limits::REVIEW);
    timeout.saturating_sub((timeout / 10).max(LEAST_MARGIN)).min(limit)
}

impl Desk {
    async fn review(&self, body: Bytes, time: Time) -> Reply {
        let metrics = &self.metrics;
        let (mut review, subject) = match self.read(body).await {
            Ok(read) => read,
            Err(bad) => return refuse(metrics, &bad),
        };
        let workload = match subject {
            Ok(workload) => workload,
            Err(skip) => {
                metrics.skipped(skip.name());
                return answer(metrics, &review, Outcome::Skipped(skip), time.began);
            }
        };
        review.forget_objects();
        let images: usize = workload.templates.iter().map(|template| template.uses.len()).sum();
        if images > limits::IMAGES_PER_OBJECT {
            let sentence = format!(
                "the object holds {images} images; up to {} are judged",
                limits::IMAGES_PER_OBJECT
            );
            return refuse(metrics, &Bad::new(BadRequest::TooLarge, sentence));
        }
        let end = time.began + time.patience;
        let _crowd = match u32::try_from(images) {
            // Who has waited for too long is judged by names, and by what is known: nothing is looked up after the deadline.
            Ok(many) if images > CROWD => tokio::time::timeout_at(end, self.images.acquire_many(many)).await.ok(),
            Ok(_) | Err(_) => None,
        };
        let verdict = self.gate.judge(&workload, &review.requester, end).await;
        if time.began.elapsed() >= time.patience {
            metrics.deadline_hit();
        }
        self.count(&verdict);
        notice::post(&self.events, &review, &workload, &verdict);
        let outcome = Outcome::Answered {
            object: &workload.object,
            answer: &verdict,
        };
        answer(metrics, &review, outcome, time.began)
    }

    /// What is asked, and of what. The body is let go of: a review may wait for a registry, and others come meanwhile.
    async fn read(&self, body: Bytes) -> Result<(Review, Result<Workload, Skip>), Bad> {
        let _alone = match body.len() {
            ..limits::LARGE_BODY => None,
            // Never closed.
            limits::LARGE_BODY.. => self.reading.acquire().await.ok(),
        };
        let review = review::parse(&body)?;
        let subject = subject(&review, &self.gate.kinds());
        Ok((review, subject))
    }

    fn count(&self, verdict: &Answer) {
        let metrics = &self.metrics;
        if let Some(exempt) = &verdict.exempt {
            metrics.skipped(exempt.name());
        }
        for judged in verdict.images.iter().filter(|judged| judged.look == Look::Taken) {
            metrics.image(judged.judgement.outlook.name());
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
    }
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
        reason = bad.reason.name(),
        "a request was no usable AdmissionReview: {}",
        bad.sentence
    );
    Reply {
        status: if bad.reason == BadRequest::TooLarge {
            http::StatusCode::PAYLOAD_TOO_LARGE
        } else {
            http::StatusCode::BAD_REQUEST
        },
        content_type: PLAIN,
        body: format!("{}\n", bad.sentence).into_bytes(),
    }
}

/// What the line about a review says of its answer.
#[derive(Debug, Default)]
struct Account {
    /// Why nothing was judged: the operation, the subresource, an update that changes nothing …
    skipped: &'static str,
    /// The worst of the findings' outlooks.
    outlook: &'static str,
    /// Of all findings, those too that nobody was told of.
    causes: String,
    images: usize,
    /// Images that an update left as they were.
    unchanged: usize,
    /// Images whose names hold a parameter that something fills in later.
    parameters: usize,
    /// Questions that went to the registries' caches, and from there to the registries where need be.
    checks: usize,
    ledger: Ledger,
}

impl Account {
    fn of(outcome: Outcome<'_>) -> Self {
        let answer = match outcome {
            Outcome::Skipped(skip) => {
                return Self {
                    skipped: skip.name(),
                    ..Self::default()
                };
            }
            Outcome::Answered { answer, .. } => answer,
        };
        let images = &answer.images;
        let findings = || images.iter().flat_map(|judged| &judged.judgement.findings);
        let mut causes: Vec<&str> = findings().map(|finding| finding.cause.name()).collect();
        causes.sort_unstable();
        causes.dedup();
        let is_parameter = |judged: &&Judged| matches!(judged.remark, Some(Remark::Parameter(_)));
        Self {
            skipped: "",
            outlook: findings().map(|finding| finding.outlook).max().map_or("", Outlook::name),
            causes: causes.join(","),
            images: images.len(),
            unchanged: images.iter().filter(|judged| judged.image.unchanged).count(),
            parameters: images.iter().filter(is_parameter).count(),
            checks: answer.checks,
            ledger: Ledger::of(answer),
        }
    }
}

/// One `info` line a review, at the edge (docs/operations.md); never objects, images, users, tokens or query strings.
fn answer(metrics: &Metrics, review: &Review, outcome: Outcome<'_>, began: Instant) -> Reply {
    let verdict = outcome.verdict();
    let took = began.elapsed();
    metrics.review(verdict.name(), took);
    let account = Account::of(outcome);
    tracing::info!(
        review.uid = %brief(&review.uid),
        review.operation = review.operation.name(),
        review.sub_resource = %brief(&review.sub_resource),
        review.kind = %brief(&review.kind),
        review.namespace = %brief(&review.namespace),
        review.name = %brief(&review.name),
        review.dry_run = review.dry_run,
        verdict = verdict.name(),
        outlook = account.outlook,
        causes = %account.causes,
        policies = %account.ledger.policies,
        decisions = %account.ledger.decisions,
        enforced = account.ledger.enforced.unwrap_or_default(),
        exempt = %account.ledger.exempt,
        skipped = account.skipped,
        images = account.images,
        unchanged = account.unchanged,
        parameters = account.parameters,
        checks = account.checks,
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "{} {} {}/{}",
        match verdict {
            Verdict::Allow => "allowed",
            Verdict::Warn => "warned",
            Verdict::Deny => "denied",
        },
        brief(&review.kind),
        brief(&review.namespace),
        brief(&review.name),
    );
    let body = review::respond(&review.uid, outcome);
    Reply {
        status: http::StatusCode::OK,
        content_type: "application/json",
        body: serde_json::to_vec(&body).unwrap_or_default(),
    }
}

/// A text of the request, for the log: escaped, and no longer than a name can be. Whoever reaches the port chooses it.
fn brief(text: &str) -> String {
    const LONGEST: usize = 253;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => escape(text.get(..end).unwrap_or_default()) + "…",
        None => escape(text),
    }
}

#[cfg(test)]
mod tests;
