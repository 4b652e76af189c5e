//! The plain port: `/metrics`, `/healthz`, `/readyz`.

use super::Stage;
use super::admission::{PLAIN, sentence};
use crate::telemetry::Metrics;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// The format of prometheus-client.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Says what is missing, as a sentence without its full stop.
type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Says what is wrong even though reviews are answered correctly, as a sentence without its full stop.
type Note = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What must hold before reviews should be sent here. The probes run on every request of `/readyz`: they only read state, and never
/// block.
#[derive(Clone, Default)]
pub struct Readiness {
    probes: Vec<(&'static str, Probe)>,
    notes: Vec<(&'static str, Note)>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.probes.iter().map(|(name, _)| name)).finish()
    }
}

impl Readiness {
    /// Adds a probe under a name.
    pub fn with(mut self, name: &'static str, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.probes.push((name, Arc::new(probe)));
        self
    }

    /// Adds a note under a name: it is shown, but does not affect readiness.
    pub fn with_note(mut self, name: &'static str, note: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.notes.push((name, Arc::new(note)));
        self
    }

    /// The notes, `name: note` each.
    pub fn notes(&self) -> Vec<String> {
        self.notes
            .iter()
            .filter_map(|(name, note)| note().map(|what| format!("{name}: {what}")))
            .collect()
    }

    /// What is missing, `name: why` each; empty if ready.
    pub fn missing(&self) -> Vec<String> {
        self.probes
            .iter()
            .filter_map(|(name, probe)| probe().err().map(|why| format!("{name}: {why}")))
            .collect()
    }
}

struct Shared {
    metrics: Metrics,
    readiness: Readiness,
    stage: watch::Receiver<Stage>,
}

/// The routes of the plain port.
pub(super) fn routes(metrics: Metrics, readiness: Readiness, stage: watch::Receiver<Stage>) -> Router {
    let shared = Arc::new(Shared {
        metrics,
        readiness,
        stage,
    });
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .fallback(wrong_path)
        .with_state(shared)
}

async fn scrape(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shared.metrics.encode()).into_response()
}

/// Answering is enough.
async fn alive() -> Response {
    sentence(StatusCode::OK, "ok")
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let mut missing = shared.readiness.missing();
    if *shared.stage.borrow() != Stage::Serving {
        missing.insert(0, "stopping: send reviews to another replica".to_owned());
    }
    let notes = shared.readiness.notes();
    let (status, first) = if missing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "")
    };
    let lines = std::iter::once(first.to_owned()).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.chain(missing).chain(notes).collect();
    if lines.len() == 1 && status == StatusCode::OK {
        return sentence(status, first);
    }
    (status, [(header::CONTENT_TYPE, PLAIN)], lines.join("\n") + "\n").into_response()
}

async fn wrong_path() -> Response {
    sentence(
        StatusCode::NOT_FOUND,
        "not found: this port serves /metrics, /healthz and /readyz",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    async fn answer(readiness: Readiness) -> (StatusCode, String) {
        let (_keep, stage) = watch::channel(Stage::Serving);
        let shared = Shared {
            metrics: Metrics::new(),
            readiness,
            stage,
        };
        let response = ready(State(Arc::new(shared))).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_note_is_shown_and_changes_nothing() {
        let noted = Arc::new(AtomicBool::new(false));
        let note = {
            let noted = Arc::clone(&noted);
            move || {
                noted
                    .load(Ordering::Relaxed)
                    .then(|| "the last good ones stay in force".to_owned())
            }
        };
        let readiness = Readiness::default().with_note("policies", note);
        assert_eq!(answer(readiness.clone()).await, (StatusCode::OK, "ready\n".to_owned()));
        noted.store(true, Ordering::Relaxed);
        let expected = "ready\npolicies: the last good ones stay in force\n".to_owned();
        assert_eq!(answer(readiness.clone()).await, (StatusCode::OK, expected));
        let waiting = readiness.with("cluster", || Err("waiting".to_owned()));
        let expected = "cluster: waiting\npolicies: the last good ones stay in force\n".to_owned();
        assert_eq!(answer(waiting).await, (StatusCode::SERVICE_UNAVAILABLE, expected));
    }
}
