//! `POST /validate`: reads the HTTP request, passes its body to the reviewer, sends the reply. HTTP errors are answered here.

use super::Limits;
use crate::config::values;
use crate::limits::REVIEW;
use crate::telemetry::{BadRequest, Metrics};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;

/// Answers a review: takes the request's body and what is left of the caller's `?timeout=` (`None` if there is no valid one).
pub type Reviewer = Arc<dyn Fn(Bytes, Option<Duration>) -> BoxFuture<'static, Reply> + Send + Sync>;

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

struct Shared {
    reviewer: Reviewer,
    metrics: Metrics,
    limits: Limits,
    /// Bytes of all bodies in memory.
    held: Held,
}

/// The routes of the webhook port.
pub(super) fn routes(reviewer: Reviewer, metrics: Metrics, limits: Limits) -> Router {
    let panics = metrics.clone();
    let responses = metrics.clone();
    let shared = Arc::new(Shared {
        reviewer,
        metrics,
        limits,
        held: Held::default(),
    });
    Router::new()
        .route("/validate", post(validate).fallback(wrong_method))
        .fallback(wrong_path)
        .with_state(shared)
        .layer(CatchPanicLayer::custom(move |_: Box<dyn Any + Send>| {
            // The panic itself was logged by the hook. Its message is not for the caller.
            panics.panicked();
            sentence(
                StatusCode::INTERNAL_SERVER_ERROR,
                "pullgate failed on this review; its log says where",
            )
        }))
        .layer(axum::middleware::map_response(move |response: Response| {
            responses.responded(response.status());
            std::future::ready(response)
        }))
}

async fn validate(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let arrived = Instant::now();
    let timeout = timeout(request.uri().query());
    let body = match read(request, &shared.limits, &shared.held).await {
        Ok(body) => body,
        Err(refused) => {
            shared.metrics.bad_request(refused.reason());
            return refused.answer(&shared.limits);
        }
    };
    let deadline = arrived + answer_limit(timeout).min(shared.limits.answer);
    let left = timeout.map(|timeout| timeout.saturating_sub(arrived.elapsed()));
    let review = (shared.reviewer)(body, left);
    match tokio::time::timeout_at(deadline, review).await {
        Ok(Reply {
            status,
            content_type,
            body,
        }) => (status, [(header::CONTENT_TYPE, content_type)], body).into_response(),
        Err(_) => sentence(
            StatusCode::SERVICE_UNAVAILABLE,
            "pullgate did not finish this review in time; nothing is known about its images",
        ),
    }
}

async fn wrong_method(State(shared): State<Arc<Shared>>, method: Method) -> Response {
    shared.metrics.bad_request(BadRequest::Method);
    let mut response = sentence(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("{method} is not supported; send an AdmissionReview by POST"),
    );
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    close(response)
}

async fn wrong_path(State(shared): State<Arc<Shared>>) -> Response {
    shared.metrics.bad_request(BadRequest::Path);
    close(sentence(
        StatusCode::NOT_FOUND,
        "not found: send AdmissionReviews to POST /validate",
    ))
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
    TooSlow,
    Broken,
}

impl Refused {
    fn reason(self) -> BadRequest {
        match self {
            Self::TooLarge => BadRequest::TooLarge,
            Self::TooMany => BadRequest::TooMany,
            Self::TooSlow => BadRequest::BodyTimeout,
            Self::Broken => BadRequest::BodyBroken,
        }
    }

    fn answer(self, limits: &Limits) -> Response {
        close(match self {
            Self::TooLarge => sentence(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body is larger than {} bytes, the limit", limits.body_bytes),
            ),
            Self::TooMany => sentence(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!(
                    "the bodies of other requests fill the {} bytes reserved for bodies",
                    limits.bodies_bytes
                ),
            ),
            Self::TooSlow => sentence(
                StatusCode::REQUEST_TIMEOUT,
                &format!("the body did not arrive within {} ms", limits.body.as_millis()),
            ),
            Self::Broken => sentence(StatusCode::BAD_REQUEST, "the body was cut short or is not well-formed HTTP"),
        })
    }
}

/// Reads a whole body within its limits.
async fn read(request: Request, limits: &Limits, held: &Held) -> Result<Bytes, Refused> {
    let waits_for_continue = request.headers().contains_key(header::EXPECT);
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    let mut body = request.into_body();
    if announced.is_some_and(|length| length > limits.body_bytes as u64) {
        // A client that asks first ("Expect: 100-continue") has not sent a body yet.
        if !waits_for_continue {
            discard(&mut body, limits).await;
        }
        return Err(Refused::TooLarge);
    }
    match tokio::time::timeout(limits.body, collect(&mut body, limits, held)).await {
        Ok(Err(refused @ (Refused::TooLarge | Refused::TooMany))) => {
            discard(&mut body, limits).await;
            Err(refused)
        }
        Ok(collected) => collected,
        Err(_) => Err(Refused::TooSlow),
    }
}

async fn collect(body: &mut Body, limits: &Limits, held: &Held) -> Result<Bytes, Refused> {
    let mut all = Holding {
        bytes: Vec::new(),
        held: held.clone(),
    };
    while let Some(frame) = body.frame().await {
        // Trailers are ignored.
        if let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() {
            if all.bytes.len().saturating_add(data.len()) > limits.body_bytes {
                return Err(Refused::TooLarge);
            }
            if held.0.fetch_add(data.len(), Ordering::Relaxed).saturating_add(data.len()) > limits.bodies_bytes {
                held.0.fetch_sub(data.len(), Ordering::Relaxed);
                return Err(Refused::TooMany);
            }
            all.bytes.extend_from_slice(&data);
        }
    }
    Ok(Bytes::from_owner(all))
}

/// The number of bytes of all bodies.
#[derive(Debug, Clone, Default)]
struct Held(Arc<AtomicUsize>);

/// A body, counted as long as it exists.
struct Holding {
    bytes: Vec<u8>,
    held: Held,
}

impl AsRef<[u8]> for Holding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
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
