//! HTTP body → review → gate → answer: what `POST /validate` does once it has the body.

use super::admission::{PLAIN, Reply, Reviewer, Sent};
use super::event;
use super::seen::Seen;
use crate::cluster::EventRecorder;
use crate::engine::{Gate, ReviewKey};
use crate::image::escape;
use crate::limits;
use crate::review::{self, Audit, InvalidReview, Outcome, Review};
use crate::telemetry::{BadRequest, Metrics};
use crate::verdict::cause::Property;
use crate::verdict::review_result::{Exemption, Handling, Judged, Remark, ReviewResult};
use crate::verdict::{Cause, Outlook, Verdict};
use crate::workload::{Kinds, ObjectId, Skip, Workload, extract, paths_without_images};
use futures_util::future::BoxFuture;
use futures_util::task::{self, ArcWake};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// The least of the caller's time to reserve for the answer's way back.
const LEAST_MARGIN: Duration = Duration::from_millis(300);

/// Objects of more than this share [`limits::IMAGES_PER_OBJECT`]: so many images, or what takes as much memory.
const MANY_IMAGES: u32 = 100;

/// Builds the reviewer. `limit` is `--deadline`; `events` records what users of the cluster may want to see.
pub fn reviewer(gate: Gate, metrics: Metrics, events: EventRecorder, limit: Duration) -> Reviewer {
    create_series(&metrics);
    let handler = Arc::new(Handler {
        gate,
        metrics,
        events,
        seen: Seen::default(),
        large: Arc::new(Semaphore::new(limits::LARGE_BODIES_AT_ONCE)),
        reading: Semaphore::new(1),
        images: Semaphore::new(limits::IMAGES_PER_OBJECT),
    });
    Arc::new(move |sent: Sent, timeout| {
        let handler = Arc::clone(&handler);
        let time = Time {
            began: Instant::now(),
            budget: deadline(timeout, limit),
        };
        if matches!(&sent, Sent::Whole(body) if body.len() >= limits::LARGE_BODY) {
            Box::pin(review_large(handler, sent, time))
        } else {
            Box::pin(async move { handler.review(sent, time).await })
        }
    })
}

/// What reviews share.
struct Handler {
    gate: Gate,
    metrics: Metrics,
    events: EventRecorder,
    seen: Seen,
    /// Permits for large bodies.
    large: Arc<Semaphore>,
    /// Only one large body is parsed at a time: until its images are known, an object takes many times the memory of its text.
    reading: Semaphore,
    /// Permits for the images of objects with many.
    images: Semaphore,
}

/// When the body was complete, and how long its review may take.
#[derive(Debug, Clone, Copy)]
struct Time {
    began: Instant,
    budget: Duration,
}

/// Reviews a large body on threads that serve nothing else. It has one only while it works: most reviews wait for registries most of the time,
/// and thirty that wait for a slow one must not keep the next from being read.
async fn review_large(handler: Arc<Handler>, sent: Sent, time: Time) -> Reply {
    let (large, metrics) = (Arc::clone(&handler.large), handler.metrics.clone());
    let mut work: BoxFuture<'static, Reply> = Box::pin(async move { handler.review(sent, time).await });
    let woken = Arc::new(Woken(Notify::new()));
    loop {
        // Never closed.
        let place = Arc::clone(&large).acquire_owned().await.ok();
        let waker = task::waker(Arc::clone(&woken));
        let step = tokio::task::spawn_blocking(move || {
            let _place = place;
            let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
            (polled, work)
        });
        match step.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok((Poll::Ready(reply), _)) => return reply,
            Ok((Poll::Pending, left)) => work = left,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => return refuse(&metrics, &InvalidReview::new(BadRequest::Stopping, "pullgate is stopping")),
        }
        woken.0.notified().await;
    }
}

/// Remembers that work may go on, even if it said so while it was at it.
struct Woken(Notify);

impl ArcWake for Woken {
    fn wake_by_ref(woken: &Arc<Self>) {
        woken.0.notify_one();
    }
}

/// Creates every series that reviews are counted in.
fn create_series(metrics: &Metrics) {
    let of_names = |cause: &Cause| cause.has(Property::NameRule);
    // Name rules are never softened, and no other cause has their outlook.
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

impl Handler {
    async fn review(&self, sent: Sent, time: Time) -> Reply {
        if let Some(reply) = self.repeat(&sent, time).await {
            return reply;
        }
        let metrics = &self.metrics;
        let Read {
            mut review,
            workload,
            key,
        } = match self.read(sent).await {
            Ok(read) => read,
            Err(bad) => return refuse(metrics, &bad),
        };
        let workload = match workload {
            Ok(workload) => workload,
            Err(skip) => {
                metrics.skipped(skip.name());
                if skip == Skip::OtherKind {
                    self.unknown(&review);
                }
                return answer(metrics, &review, Outcome::Skipped(skip), time.began);
            }
        };
        self.warn_of_paths_without_images(&review);
        review.forget_objects();
        if let Some(why) = &review.unread {
            return self.unread(&review, &workload, why, time).await;
        }
        let images: usize = workload.templates.iter().map(|template| template.uses.len()).sum();
        if images > limits::IMAGES_PER_OBJECT {
            let why = format!("the object has {images} images; the limit is {}", limits::IMAGES_PER_OBJECT);
            return self.unread(&review, &workload, &why, time).await;
        }
        let end = time.began + time.budget;
        let _share = match u32::try_from(shares(images, &workload)) {
            // After too long a wait, images are judged by name and by what is known: nothing is looked up after the deadline.
            Ok(many) if many > MANY_IMAGES => tokio::time::timeout_at(end, self.images.acquire_many(many)).await.ok(),
            Ok(_) | Err(_) => None,
        };
        let verdict = self.gate.judge_and_keep(&workload, &review.requester, key, end).await;
        if time.began.elapsed() >= time.budget {
            metrics.deadline_hit();
        }
        self.count(&verdict);
        event::record(&self.events, &review, &workload, &verdict);
        let outcome = Outcome::Answered {
            object: &workload.object,
            result: &verdict,
        };
        answer(metrics, &review, outcome, time.began)
    }

    /// Answers if the object could not be read: size must not be a way around a policy in force. Looks up only the namespace and the
    /// policies that may apply to it.
    async fn unread(&self, review: &Review, workload: &Workload, why: &str, time: Time) -> Reply {
        self.metrics.bad_request(BadRequest::TooLarge);
        tracing::warn!(reason = BadRequest::TooLarge.name(), "an object was not read: {why}");
        let bare = Workload {
            object: workload.object.clone(),
            templates: Vec::new(),
            annotations: Vec::new(),
            controller: None,
            owner: None,
            uid: String::new(),
        };
        let matching = self.gate.judge(&bare, &review.requester, time.began + time.budget).await;
        let outcome = Outcome::Unread {
            object: &bare.object,
            why,
            policies: &matching,
        };
        answer(&self.metrics, review, outcome, time.began)
    }

    /// Answers a review that repeats one of the last second in all but its names.
    async fn repeat(&self, sent: &Sent, time: Time) -> Option<Reply> {
        let Sent::Whole(body) = sent else { return None };
        let (known, names) = self.seen.find(body, &self.gate.kinds())?;
        let end = time.began + time.budget;
        let verdict = self.gate.recall(known.key, &known.workload, end).await?;
        self.count(&verdict);
        let outcome = Outcome::Answered {
            object: &known.workload.object,
            result: &verdict,
        };
        Some(answer(&self.metrics, &known.named(&names), outcome, time.began))
    }

    /// Parses the request. The body is dropped: a review may wait for a registry, and others arrive meanwhile.
    async fn read(&self, sent: Sent) -> Result<Read, InvalidReview> {
        let kinds = self.gate.kinds();
        let body = match sent {
            Sent::Whole(body) => body,
            Sent::Beginning(beginning) => {
                let why = format!("the review is larger than {} bytes, the limit", limits::REVIEW_BODY);
                let review = review::parse_beginning(&beginning, why)?;
                let workload = subject(&review, &kinds);
                return Ok(Read {
                    review,
                    workload,
                    key: None,
                });
            }
        };
        let _alone = match body.len() {
            ..limits::LARGE_BODY => None,
            // Never closed.
            limits::LARGE_BODY.. => self.reading.acquire().await.ok(),
        };
        let review = review::parse(&body, &kinds)?;
        let workload = subject(&review, &kinds);
        let read = workload.as_ref().ok().filter(|_| review.unread.is_none());
        let key = read.and_then(|workload| ReviewKey::of(workload, &review.requester));
        if let (Some(workload), Some(key)) = (read, key) {
            self.seen.note(&body, &review, workload, key, &kinds);
        }
        Ok(Read { review, workload, key })
    }

    /// Logs once if the paths of a kind in the settings lead to something other than images or pods.
    fn warn_of_paths_without_images(&self, review: &Review) {
        let places = paths_without_images(&review.object, &self.gate.kinds());
        let Some((path, is, wanted)) = places.first() else { return };
        let (group, kind) = group_and_kind(review);
        if self.metrics.unknown_kind(group, kind) {
            tracing::warn!(
                group = %brief(group),
                kind = %brief(kind),
                path = %brief(path.as_str()),
                "a path in `workloads` of the settings leads to {is}, not to {wanted}: what is there is not checked"
            );
        }
    }

    /// Logs once that the webhook is registered for a kind that it cannot read (`pullgate config suggest` helps).
    fn unknown(&self, review: &Review) {
        let (group, kind) = group_and_kind(review);
        if self.metrics.unknown_kind(group, kind) {
            tracing::warn!(
                group = %brief(group),
                kind = %brief(kind),
                "the webhook receives a kind that pullgate does not know, and allows its objects unchecked; `pullgate config \
                 suggest --cluster` prints the `workloads` entry for it, if it has pods"
            );
        }
    }

    fn count(&self, verdict: &ReviewResult) {
        let metrics = &self.metrics;
        if let Some(exempt) = &verdict.exempt {
            metrics.skipped(exempt.name());
        }
        for judged in verdict.images.iter().filter(|judged| judged.handling == Handling::Judged) {
            metrics.image(judged.judgement.outlook.name());
        }
        let mode = verdict.policies.mode;
        for (finding, decision) in verdict.images.iter().flat_map(|judged| judged.judgement.ruled()) {
            metrics.finding(finding.cause.name(), finding.outlook.name());
            let (verdict, enforced) = (decision.verdict.name(), decision.enforced.name());
            match &decision.policy {
                Some(policy) => metrics.vote(policy, finding.cause.name(), verdict, enforced),
                None => metrics.by_default(mode, finding.cause.name(), verdict, enforced),
            }
        }
        for policy in &verdict.policies.exempting {
            metrics.exempted(policy);
        }
        let ruled = verdict.images.iter().flat_map(|judged| judged.judgement.ruled());
        let denials = ruled.filter(|(_, decision)| decision.verdict == Verdict::Deny);
        let denying: BTreeSet<&str> = denials.filter_map(|(_, decision)| decision.policy.as_deref()).collect();
        for policy in denying {
            metrics.denied_by(policy);
        }
    }
}

/// A review that was read.
struct Read {
    review: Review,
    /// Its object, or why there is nothing to judge.
    workload: Result<Workload, Skip>,
    /// `None` if its answer is not kept.
    key: Option<ReviewKey>,
}

/// How many of [`limits::IMAGES_PER_OBJECT`] an object takes: its images, or as many as need the memory of whatever else it lists. Hundreds
/// of reviews may wait for a registry at the same time.
fn shares(images: usize, workload: &Workload) -> usize {
    let others = workload.weight() / limits::IMAGE_MEMORY;
    images.max(others).min(limits::IMAGES_PER_OBJECT)
}

fn group_and_kind(review: &Review) -> (&str, &str) {
    let text = |field: &str| {
        let field = review.object.get(field).and_then(serde_json::Value::as_str);
        field.unwrap_or_default()
    };
    (
        text("apiVersion").split_once('/').map_or("", |(group, _)| group),
        text("kind"),
    )
}

fn subject(review: &Review, kinds: &Kinds) -> Result<Workload, Skip> {
    if let Some(skip) = review.skip() {
        return Err(skip);
    }
    let mut workload = match review.unread {
        Some(_) => unread(review, kinds)?,
        None => extract(&review.object, review.before(), &review.namespace, kinds)?,
    };
    if workload.object.name.is_empty() {
        workload.object.name.clone_from(&review.name);
    }
    // The request's namespace decides whose secrets count, not the object's own.
    if review.namespace.is_empty() {
        workload.leave_namespace();
    } else {
        workload.object.namespace.clone_from(&review.namespace);
    }
    Ok(workload)
}

/// What is known about an object that was not read.
fn unread(review: &Review, kinds: &Kinds) -> Result<Workload, Skip> {
    let group = review.api_version.split_once('/').map_or("", |(group, _)| group);
    kinds.registration(group, &review.kind).ok_or(Skip::OtherKind)?;
    Ok(Workload {
        object: ObjectId {
            api_version: review.api_version.clone(),
            kind: review.kind.clone(),
            namespace: review.namespace.clone(),
            name: review.name.clone(),
        },
        templates: Vec::new(),
        annotations: Vec::new(),
        controller: None,
        owner: None,
        uid: String::new(),
    })
}

fn refuse(metrics: &Metrics, bad: &InvalidReview) -> Reply {
    metrics.bad_request(bad.reason);
    tracing::warn!(reason = bad.reason.name(), "a request was refused: {}", bad.sentence);
    Reply {
        status: if bad.reason == BadRequest::Stopping {
            http::StatusCode::SERVICE_UNAVAILABLE
        } else {
            http::StatusCode::BAD_REQUEST
        },
        content_type: PLAIN,
        body: format!("{}\n", bad.sentence).into_bytes(),
    }
}

/// What the log line about a review says.
#[derive(Debug, Default)]
struct LogFields {
    /// Why nothing was judged: the operation, the subresource, an update without relevant changes …
    skipped: &'static str,
    /// The worst of the findings' outlooks.
    outlook: &'static str,
    /// Of all findings, including those not shown to the user.
    causes: String,
    images: usize,
    /// Images that an update did not change.
    unchanged: usize,
    /// Images whose names contain a parameter to be filled in later.
    parameters: usize,
    /// Look-ups made for it, whether answered by the cache or by a registry.
    checks: usize,
    audit: Audit,
}

impl LogFields {
    fn of(outcome: Outcome<'_>) -> Self {
        let result = match outcome {
            Outcome::Skipped(skip) => {
                return Self {
                    skipped: skip.name(),
                    ..Self::default()
                };
            }
            Outcome::Unread { policies, .. } => {
                return Self {
                    audit: Audit::of(policies),
                    ..Self::default()
                };
            }
            Outcome::Answered { result, .. } => result,
        };
        let images = &result.images;
        let findings = || images.iter().flat_map(|judged| &judged.judgement.findings);
        let mut causes: Vec<&str> = findings().map(|finding| finding.cause.name()).collect();
        causes.sort_unstable();
        causes.dedup();
        let is_parameter = |judged: &&Judged| matches!(judged.remark, Some(Remark::FilledIn { .. }));
        Self {
            skipped: "",
            outlook: findings().map(|finding| finding.outlook).max().map_or("", Outlook::name),
            causes: causes.join(","),
            images: images.len(),
            unchanged: images.iter().filter(|judged| judged.image.unchanged).count(),
            parameters: images.iter().filter(is_parameter).count(),
            checks: result.checks,
            audit: Audit::of(result),
        }
    }
}

/// One `info` line per review (docs/operations.md); never objects, images, users, tokens or query strings.
fn answer(metrics: &Metrics, review: &Review, outcome: Outcome<'_>, began: Instant) -> Reply {
    let verdict = outcome.verdict();
    let took = began.elapsed();
    metrics.review(verdict.name(), took);
    let fields = LogFields::of(outcome);
    tracing::info!(
        review.uid = %brief(&review.uid),
        review.operation = review.operation.name(),
        review.sub_resource = %brief(&review.sub_resource),
        review.kind = %brief(&review.kind),
        review.namespace = %brief(&review.namespace),
        review.name = %brief(&review.name),
        review.dry_run = review.dry_run,
        verdict = verdict.name(),
        outlook = fields.outlook,
        causes = %fields.causes,
        policies = %fields.audit.policies,
        decisions = %fields.audit.decisions,
        mode = fields.audit.mode.unwrap_or_default(),
        enforced = fields.audit.enforced.unwrap_or_default(),
        exempt = %fields.audit.exempt,
        skipped = fields.skipped,
        images = fields.images,
        unchanged = fields.unchanged,
        parameters = fields.parameters,
        checks = fields.checks,
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
    Reply {
        status: http::StatusCode::OK,
        content_type: "application/json",
        body: review::respond(&review.uid, outcome),
    }
}

/// A text of the request, for the log: escaped, and no longer than a name can be, because anyone who reaches the port can choose
/// it.
fn brief(text: &str) -> String {
    const LONGEST: usize = 253;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => escape(text.get(..end).unwrap_or_default()) + "…",
        None => escape(text),
    }
}

#[cfg(test)]
mod tests;
