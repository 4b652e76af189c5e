//! Kubernetes Events about reviews. They are written in the background and never delay a review: an Event that cannot be queued or
//! written is counted and dropped.

mod correlator;
mod object;

use crate::limits;
use crate::telemetry::{EventOutcome, Metrics};
use correlator::{Correlated, Correlator, NewEvent, SeriesUpdate};
use http::Method;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How many reviews may wait for their Event.
const QUEUE: usize = 256;
/// The wait after a failure, doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long to write no Events to a namespace that has refused one: somebody has to change a role or a quota first.
const REFUSED_WAIT: Duration = Duration::from_mins(5);

/// Which reviews become Events (`events` in the settings).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum EventFilter {
    /// Denied ones, and those allowed because pullgate could not find out.
    #[default]
    All = 0,
    /// Denied ones only.
    Denied = 1,
    /// None.
    None = 2,
}

/// The outcome of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// It was denied.
    Denied,
    /// It was allowed, without knowing whether an image can be pulled.
    Unknown,
}

/// The object of an Event; it need not exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Regarding {
    /// `apps/v1` …
    pub api_version: String,
    /// `Deployment` …
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// May be empty.
    pub name: String,
    /// Empty if the object does not exist.
    pub uid: String,
}

/// What an Event reports about a review.
#[derive(Debug, Clone)]
pub struct ReviewEvent {
    /// The outcome.
    pub reason: EventReason,
    /// The object.
    pub regarding: Regarding,
    /// The common part of the names of similar objects (`generateName`); otherwise the name.
    pub stem: String,
    /// Distinguishes events about the same object: a digest of causes and images.
    pub about: u64,
    /// For users; at most 1,024 bytes.
    pub note: String,
}

/// Records events. Cheap to clone; the default one drops them.
#[derive(Debug, Clone, Default)]
pub struct EventRecorder(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    wanted: AtomicU8,
    queue: mpsc::Sender<(Timestamp, ReviewEvent)>,
    metrics: Metrics,
}

impl EventRecorder {
    /// Starts writing to a cluster; stops with the last clone. Must be called within a tokio runtime.
    pub(super) fn start(client: Client, metrics: &Metrics) -> Self {
        let (queue, events) = mpsc::channel(QUEUE);
        let writer = Writer {
            client,
            metrics: metrics.clone(),
            correlator: Correlator::default(),
            instance: instance(),
            mute: AtomicBool::new(false),
            wait: FIRST_WAIT,
        };
        tokio::spawn(writer.run(events));
        Self(Some(Arc::new(Shared {
            wanted: AtomicU8::new(EventFilter::default() as u8),
            queue,
            metrics: metrics.clone(),
        })))
    }

    /// Sets which events to write from now on.
    pub fn set_filter(&self, wanted: EventFilter) {
        if let Some(shared) = &self.0 {
            shared.wanted.store(wanted as u8, Ordering::Relaxed);
        }
    }

    /// Whether such an event would be written.
    pub fn accepts(&self, reason: EventReason) -> bool {
        let Some(shared) = &self.0 else { return false };
        let wanted = shared.wanted.load(Ordering::Relaxed);
        match reason {
            EventReason::Denied => wanted != EventFilter::None as u8,
            EventReason::Unknown => wanted == EventFilter::All as u8,
        }
    }

    /// Queues an event. Never waits: if the queue is full, the event is dropped and counted.
    pub fn record(&self, event: ReviewEvent) {
        let Some(shared) = &self.0 else { return };
        if shared.queue.try_send((Timestamp::now(), event)).is_err() {
            shared.metrics.event(EventOutcome::Dropped);
        }
    }
}

/// The reporting instance: the pod, by its host name.
fn instance() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    if name.is_empty() { "pullgate".to_owned() } else { name }
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The Event or its namespace no longer exists.
    Gone,
    /// The namespace is being deleted.
    Ending,
    Forbidden,
    /// The API server does not accept the Event, now or later.
    Refused,
    Failed,
}

/// Writes Events, one at a time.
struct Writer {
    client: Client,
    metrics: Metrics,
    correlator: Correlator,
    instance: String,
    /// The last request was refused, which has been logged.
    mute: AtomicBool,
    /// The wait after the next failure.
    wait: Duration,
}

impl Writer {
    async fn run(mut self, mut events: mpsc::Receiver<(Timestamp, ReviewEvent)>) {
        loop {
            let due = self.correlator.next_due();
            let timer = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let went_well = tokio::select! {
                event = events.recv() => match event {
                    Some((at, event)) => self.take(at, event).await,
                    None => return,
                },
                () = timer => self.refresh().await,
            };
            if went_well {
                self.wait = FIRST_WAIT;
            } else {
                tokio::time::sleep(self.wait).await;
                self.wait = (self.wait * 2).min(LONGEST_WAIT);
            }
        }
    }

    /// Returns whether the API server is responsive.
    async fn take(&mut self, at: Timestamp, event: ReviewEvent) -> bool {
        let new = match self.correlator.take(at, event, Instant::now()) {
            Correlated::Write(new) => new,
            Correlated::Repeated => {
                self.metrics.event(EventOutcome::Repeated);
                return true;
            }
            Correlated::Limited => {
                self.metrics.event(EventOutcome::Limited);
                return true;
            }
            Correlated::Muted => {
                self.metrics.event(EventOutcome::Forbidden);
                return true;
            }
        };
        let outcome = self.create(&new).await;
        let label = match outcome {
            Outcome::Done => EventOutcome::Written,
            Outcome::Gone | Outcome::Ending => EventOutcome::Gone,
            Outcome::Forbidden => EventOutcome::Forbidden,
            Outcome::Refused => EventOutcome::Refused,
            Outcome::Failed => EventOutcome::Failed,
        };
        self.metrics.event(label);
        self.settle(outcome, &new.namespace);
        if outcome != Outcome::Done {
            self.correlator.forget(&new.key);
        }
        outcome != Outcome::Failed
    }

    /// Writes how often an event was repeated; returns whether the API server is responsive.
    async fn refresh(&mut self) -> bool {
        let Some(update) = self.correlator.due(Instant::now()) else {
            return true;
        };
        let outcome = self.patch(&update).await;
        match outcome {
            Outcome::Done => self.metrics.event(EventOutcome::Updated),
            // Expired or not writable: the next repetition becomes a new Event.
            Outcome::Gone | Outcome::Ending | Outcome::Forbidden | Outcome::Refused | Outcome::Failed => {
                self.correlator.forget(&update.key);
            }
        }
        self.settle(outcome, &update.namespace);
        outcome != Outcome::Failed
    }

    fn settle(&mut self, outcome: Outcome, namespace: &str) {
        match outcome {
            Outcome::Done => self.mute.store(false, Ordering::Relaxed),
            Outcome::Forbidden => {
                self.correlator.mute(namespace, Instant::now() + REFUSED_WAIT);
                if !self.mute.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "pullgate may not write Events (create and patch of events in events.k8s.io, or a quota); reviews are not \
                         affected, and `events: none` in the settings leaves them out"
                    );
                }
            }
            Outcome::Gone | Outcome::Ending | Outcome::Refused | Outcome::Failed => {}
        }
    }

    async fn create(&self, new: &NewEvent) -> Outcome {
        let path = object::path(&new.namespace);
        self.send(Method::POST, &path, &object::event(new, &self.instance)).await
    }

    async fn patch(&self, update: &SeriesUpdate) -> Outcome {
        let path = format!("{}/{}", object::path(&update.namespace), update.name);
        self.send(Method::PATCH, &path, &object::repeated(update)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Outcome {
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let ask = async {
            let request = http::Request::builder()
                .method(method)
                .uri(format!("{path}?fieldManager=pullgate"))
                .header(http::header::CONTENT_TYPE, kind)
                .body(body.to_string().into_bytes())
                .map_err(kube::Error::HttpError)?;
            self.client.request_text(request).await
        };
        match tokio::time::timeout(limits::API_SERVER, ask).await {
            Ok(Ok(_)) => Outcome::Done,
            Ok(Err(kube::Error::Api(status))) => {
                let mut causes = status.details.iter().flat_map(|details| &details.causes);
                let ending = causes.any(|cause| cause.reason == "NamespaceTerminating");
                tracing::debug!(status.code, reason = status.reason, "an Event was not written");
                match status.code {
                    403 if ending => Outcome::Ending,
                    401 | 403 => Outcome::Forbidden,
                    404 => Outcome::Gone,
                    400 | 409 | 422 => Outcome::Refused,
                    _ => Outcome::Failed,
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "an Event was not written");
                Outcome::Failed
            }
            Err(_) => {
                tracing::debug!("an Event was not written: no answer in time");
                Outcome::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests;
