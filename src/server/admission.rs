//! `POST /validate`: reads the HTTP request, passes its body to the reviewer, sends the reply. HTTP errors are answered here.

use super::Limits;
use super::budget::{Budget, Place, STEP};
use crate::config::values;
use crate::image::escape;
use crate::limits::{self, REVIEW};
use crate::telemetry::{BadRequest, Metrics};
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Answers a review: takes the request's body and what is left of the caller's `?timeout=` (`None` if there is no valid one).
pub type Reviewer = Arc<dyn Fn(Sent, Option<Duration>) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    Whole(Bytes),
    /// The beginning of one that is longer than the limit.
    Beginning(Bytes),
}

/// The reviewer's HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 for every review with a readable uid; 400 for anything that is not a review.
    pub status: StatusCode,
    /// `application/json` for a review, `text/plain; charset=utf-8` for a sentence.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// The content type of our own sentences.
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// A body that is too large is read on and discarded, so that a client that writes first and reads later sees our 413 instead of a
/// connection reset: up to this many times the limit, and for as long as a body may take.
const DISCARD_FACTOR: usize = 4;

/// A body that is told to give way keeps its place if this much of it arrives within [`LAST_CHANCE`]: on a busy processor, bytes that
/// arrived long ago are read late, which is not their sender's fault.
const PROOF: usize = 16 << 10;

/// See [`PROOF`].
const LAST_CHANCE: Duration = Duration::from_millis(200);

/// Answers requests on the webhook port. Cheap to clone.
#[derive(Clone)]
pub(super) struct Webhook(Arc<Shared>);

struct Shared {
    reviewer: Reviewer,
    metrics: Metrics,
    limits: Limits,
    /// Room for all bodies.
    budget: Budget,
}

impl Webhook {
    /// Passes reviews to `reviewer`.
    pub(super) fn new(reviewer: Reviewer, metrics: Metrics, limits: Limits) -> Self {
        Self(Arc::new(Shared {
            reviewer,
            metrics,
            limits,
            budget: Budget::new(&limits),
        }))
    }

    /// Answers a request. A panic is answered, too.
    pub(super) async fn answer(self, request: Request) -> Response {
        let shared = &*self.0;
        let answered = AssertUnwindSafe(shared.route(request)).catch_unwind().await;
        let response = answered.unwrap_or_else(|_| {
            // The panic itself was logged by the hook. Its message is not for the caller.
            shared.metrics.panicked();
            shared.refuse(
                BadRequest::Panicked,
                StatusCode::INTERNAL_SERVER_ERROR,
                "pullgate failed on this review; its log says where",
            )
        });
        shared.metrics.responded(response.status());
        response
    }
}

impl Shared {
    /// Refuses a request, and says so: whatever is not reviewed is a line in the log and a metric with its reason.
    fn refuse(&self, reason: BadRequest, status: StatusCode, text: &str) -> Response {
        self.metrics.bad_request(reason);
        tracing::warn!(
            reason = reason.name(),
            code = status.as_u16(),
            "a request was refused: {text}"
        );
        sentence(status, text)
    }

    async fn route(&self, request: Request) -> Response {
        match (request.uri().path(), request.method()) {
            ("/validate", &Method::POST) => self.validate(request).await,
            ("/validate", method) => {
                let method = escape(method.as_str());
                let text = format!("{method} is not supported; send an AdmissionReview by POST");
                let mut response = self.refuse(BadRequest::Method, StatusCode::METHOD_NOT_ALLOWED, &text);
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
                close(response)
            }
            _ => close(self.refuse(
                BadRequest::Path,
                StatusCode::NOT_FOUND,
                "not found: send AdmissionReviews to POST /validate",
            )),
        }
    }

    async fn validate(&self, request: Request) -> Response {
        let arrived = Instant::now();
        let timeout = timeout(request.uri().query());
        let deadline = arrived + answer_limit(timeout).min(self.limits.answer);
        let sent = match read(request, self, deadline).await {
            Ok(sent) => sent,
            Err(refused) => return refused.answer(self),
        };
        let left = timeout.map(|timeout| timeout.saturating_sub(arrived.elapsed()));
        let review = (self.reviewer)(sent, left);
        match tokio::time::timeout_at(deadline, review).await {
            Ok(Reply {
                status,
                content_type,
                body,
            }) => (status, [(header::CONTENT_TYPE, content_type)], body).into_response(),
            Err(_) => self.refuse(
                BadRequest::AnswerTimeout,
                StatusCode::SERVICE_UNAVAILABLE,
                "pullgate did not finish this review in time; nothing is known about its images",
            ),
        }
    }
}

/// The `timeout` of a query, as the API server writes it (`?timeout=10s`). Invalid values and zero count as missing.
pub(super) fn timeout(query: Option<&str>) -> Option<Duration> {
    url::form_urlencoded::parse(query?.as_bytes())
        .find(|(key, _)| key == "timeout")
        .and_then(|(_, value)| values::duration(&value).ok())
        .filter(|timeout| !timeout.is_zero())
}

/// How long a review may take before we answer 503 ourselves: most of the caller's timeout, so that our sentence arrives. It is
/// longer than the reviewer's own deadline (a tenth less; contract 6), so a 503 is the exception.
fn answer_limit(timeout: Option<Duration>) -> Duration {
    let timeout = timeout.unwrap_or(REVIEW);
    timeout.saturating_sub(timeout / 20)
}

/// Why a body was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    TooLarge,
    TooMany,
    GaveWay,
    TooSlow,
    Broken,
    Packed,
}

impl Refused {
    fn answer(self, shared: &Shared) -> Response {
        let limits = &shared.limits;
        let (reason, status, text) = match self {
            Self::TooLarge => (
                BadRequest::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {} bytes, the limit", limits.body_bytes),
            ),
            Self::TooMany => (
                BadRequest::TooMany,
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "the bodies of other requests filled the {} bytes reserved for bodies until it was too late",
                    limits.bodies_bytes
                ),
            ),
            Self::GaveWay => (
                BadRequest::BodySlow,
                StatusCode::REQUEST_TIMEOUT,
                "the body arrived so slowly that it gave way to others".to_owned(),
            ),
            Self::TooSlow => (
                BadRequest::BodyTimeout,
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} ms", limits.body.as_millis()),
            ),
            Self::Broken => (
                BadRequest::BodyBroken,
                StatusCode::BAD_REQUEST,
                "the body was cut short or is not well-formed HTTP".to_owned(),
            ),
            Self::Packed => (
                BadRequest::Encoding,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body has a Content-Encoding; send an AdmissionReview as it is".to_owned(),
            ),
        };
        close(shared.refuse(reason, status, &text))
    }
}

/// Reads a body within its limits, once there is room for it. Of one that is too long, reads only the beginning.
async fn read(request: Request, shared: &Shared, deadline: Instant) -> Result<Sent, Refused> {
    let limits = &shared.limits;
    let coding = request.headers().get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refused::Packed);
    }
    let waits_for_continue = request.headers().contains_key(header::EXPECT);
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    let mut body = request.into_body();
    let is_too_large = announced.is_some_and(|length| length > limits.body_bytes);
    if is_too_large && waits_for_continue {
        // A client that asks first ("Expect: 100-continue") has not sent a body yet.
        return Err(Refused::TooLarge);
    }
    let most = if is_too_large {
        limits::REVIEW_BEGINNING
    } else {
        limits.body_bytes
    };
    let mut collecting = Collecting {
        bytes: Vec::new(),
        place: None,
        most: most.min(limits.body_bytes),
    };
    let room = announced.unwrap_or(limits::LARGE_BODY - 1).min(collecting.most);
    let place = shared.budget.place(room, deadline).await.ok_or(Refused::TooMany)?;
    collecting.bytes.reserve_exact(room);
    collecting.place = Some(place);
    match collecting.collect(&mut body, shared, deadline).await {
        Ok(End::Complete) => Ok(Sent::Whole(Bytes::from_owner(collecting))),
        Ok(End::Full) => {
            collecting.bytes.truncate(limits::REVIEW_BEGINNING);
            collecting.bytes.shrink_to_fit();
            discard(&mut body, limits).await;
            Ok(Sent::Beginning(Bytes::from_owner(collecting)))
        }
        Err(refused) => Err(refused),
    }
}

/// A body, and its place in the budget.
struct Collecting {
    bytes: Vec<u8>,
    place: Option<Place>,
    /// The most that is read.
    most: usize,
}

/// How a body ended.
enum End {
    Complete,
    /// There is more than may be read.
    Full,
}

impl Collecting {
    async fn collect(&mut self, body: &mut Body, shared: &Shared, deadline: Instant) -> Result<End, Refused> {
        let mut room = self.bytes.capacity();
        // Each step gets as much time as a whole small body: under load, a large body may take longer through no fault of its sender.
        let (mut due, mut step) = (Instant::now() + shared.limits.body, 0);
        // Once it is told to go: until when it may prove that only we were too slow to read it, and how many bytes have come since.
        let mut told: Option<(Instant, usize)> = None;
        loop {
            let frame = if let Some(frame) = body.frame().now_or_never() {
                frame
            } else {
                if let Some(place) = &mut self.place {
                    place.start_arriving();
                }
                let lost = async {
                    match (&self.place, told) {
                        (Some(place), None) => place.evicted().await,
                        (Some(_), Some((until, _))) => tokio::time::sleep_until(until).await,
                        (None, _) => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    frame = body.frame() => frame,
                    () = lost => {
                        if told.is_some() {
                            return Err(Refused::GaveWay);
                        }
                        told = Some((Instant::now() + LAST_CHANCE, 0));
                        continue;
                    }
                    () = tokio::time::sleep_until(due.min(deadline)) => return Err(Refused::TooSlow),
                }
            };
            let Some(frame) = frame else { break };
            // Trailers are ignored.
            let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() else {
                continue;
            };
            let fits = data.len().min(self.most - self.bytes.len());
            if self.bytes.len() + fits > room {
                // It has no `Content-Length`, and is longer than most.
                self.place = None;
                room = self.most;
                self.place = Some(shared.budget.place(room, deadline).await.ok_or(Refused::TooMany)?);
            }
            self.bytes.extend_from_slice(data.get(..fits).unwrap_or_default());
            if let Some(place) = &self.place {
                told = match told {
                    Some((_, come)) if come + fits >= PROOF => {
                        place.resume_arriving();
                        None
                    }
                    Some((until, come)) => Some((until, come + fits)),
                    None => None,
                };
                place.progress(fits);
            }
            step += fits;
            if step >= STEP {
                (due, step) = (Instant::now() + shared.limits.body, 0);
            }
            if fits < data.len() {
                return Ok(End::Full);
            }
            if body.is_end_stream() {
                break;
            }
        }
        if let Some(place) = &self.place {
            place.complete();
        }
        Ok(End::Complete)
    }
}

impl AsRef<[u8]> for Collecting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn discard(body: &mut Body, limits: &Limits) {
    let most = limits.body_bytes.saturating_mul(DISCARD_FACTOR);
    let reading = async {
        let mut seen = 0_usize;
        while let Some(Ok(frame)) = body.frame().await {
            seen = seen.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if seen > most {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(limits.body, reading).await;
}

/// Our own answer: a sentence in plain text.
pub(super) fn sentence(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, PLAIN)], format!("{text}\n")).into_response()
}

/// Closes the connection after this answer, because the rest of a body may still arrive on it.
fn close(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Announces 200 KiB: 1 KiB comes at once, then `part` bytes at a time, each `after` the one before.
    fn request(part: usize, after: Duration) -> Request {
        const LENGTH: usize = 200 << 10;
        let parts = futures_util::stream::unfold(0, move |come| async move {
            if come == LENGTH {
                return None;
            }
            let part = if come == 0 {
                1 << 10
            } else {
                tokio::time::sleep(after).await;
                part.min(LENGTH - come)
            };
            Some((Ok::<_, std::io::Error>(vec![b' '; part]), come + part))
        });
        Request::post("/validate?timeout=10s")
            .header(header::CONTENT_LENGTH, LENGTH)
            .body(Body::from_stream(parts))
            .unwrap()
    }

    async fn answered(first: Request) -> (StatusCode, StatusCode) {
        let limits = Limits {
            bodies_bytes: 400 << 10,
            ..Limits::default()
        };
        let reviewer: Reviewer = Arc::new(|_, _| {
            let reply = Reply {
                status: StatusCode::OK,
                content_type: PLAIN,
                body: Vec::new(),
            };
            Box::pin(std::future::ready(reply))
        });
        let webhook = Webhook::new(reviewer, Metrics::new(), limits);
        let (first, second) = tokio::join!(
            webhook.clone().answer(first),
            webhook.answer(request(LENGTH_OF_ALL, Duration::from_millis(1)))
        );
        (first.status(), second.status())
    }

    const LENGTH_OF_ALL: usize = 200 << 10;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_was_only_read_late_keeps_its_place() {
        // Later than allowed, but there on the second look.
        let late = request(LENGTH_OF_ALL, Duration::from_millis(1100));
        assert_eq!(answered(late).await, (StatusCode::OK, StatusCode::OK));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_gives_way() {
        let trickle = request(1 << 10, Duration::from_millis(50));
        assert_eq!(answered(trickle).await, (StatusCode::REQUEST_TIMEOUT, StatusCode::OK));
    }
}
