//! Kubernetes Events: what became of a review, where people look. Written beside the reviews and never in their way: what cannot be
//! queued or written is counted and forgotten.

mod board;
mod form;

use crate::limits;
use crate::telemetry::{EventOutcome, Metrics};
use board::{Board, Draft, Taken, Update};
use http::Method;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Reviews that wait to be told of.
const QUEUE: usize = 256;
/// The wait after a failure, doubled at each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long nothing is written to a namespace that has refused: somebody has to change a role or a quota first.
const REFUSED_WAIT: Duration = Duration::from_mins(5);

/// Which reviews become Events (`events` in the settings).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Wanted {
    /// Denied ones, and those that were let pass because pullgate could not find out.
    #[default]
    All = 0,
    /// Denied ones only.
    Denied = 1,
    /// None.
    None = 2,
}

/// What became of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Occasion {
    /// It was denied.
    Denied,
    /// It was let pass, and whether an image can be pulled is not known.
    Unknown,
}

/// The object that an Event is about; it need not exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Regarding {
    /// `apps/v1` …
    pub api_version: String,
    /// `Deployment` …
    pub kind: String,
    /// Empty where it has none.
    pub namespace: String,
    /// May be empty.
    pub name: String,
    /// Empty where it does not exist.
    pub uid: String,
}

/// What there is to tell of a review.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What became of it.
    pub occasion: Occasion,
    /// The object.
    pub regarding: Regarding,
    /// What is the same in the names of objects that are made one after the other (`generateName`); else the name.
    pub stem: String,
    /// Tells notices apart that are about the same object: a digest of causes and images.
    pub about: u64,
    /// For people; at most 1,024 characters.
    pub note: String,
}

/// Where notices are handed in. Cheap to clone; by default nobody takes them.
#[derive(Debug, Clone, Default)]
pub struct Events(Option<Arc<Desk>>);

#[derive(Debug)]
struct Desk {
    wanted: AtomicU8,
    queue: mpsc::Sender<(Timestamp, Notice)>,
    metrics: Metrics,
}

impl Events {
    /// Starts writing to a cluster; ends with the last clone. Must be called within a tokio runtime.
    pub(super) fn start(client: Client, metrics: &Metrics) -> Self {
        let (queue, notices) = mpsc::channel(QUEUE);
        let writer = Writer {
            client,
            metrics: metrics.clone(),
            board: Board::default(),
            instance: instance(),
            mute: AtomicBool::new(false),
            wait: FIRST_WAIT,
        };
        tokio::spawn(writer.run(notices));
        Self(Some(Arc::new(Desk {
            wanted: AtomicU8::new(Wanted::default() as u8),
            queue,
            metrics: metrics.clone(),
        })))
    }

    /// From now on these are wanted.
    pub fn want(&self, wanted: Wanted) {
        if let Some(desk) = &self.0 {
            desk.wanted.store(wanted as u8, Ordering::Relaxed);
        }
    }

    /// Whether it is worth while to make a notice.
    pub fn wants(&self, occasion: Occasion) -> bool {
        let Some(desk) = &self.0 else { return false };
        let wanted = desk.wanted.load(Ordering::Relaxed);
        match occasion {
            Occasion::Denied => wanted != Wanted::None as u8,
            Occasion::Unknown => wanted == Wanted::All as u8,
        }
    }

    /// Hands a notice in. Does not wait: where too many do already, it is dropped and counted.
    pub fn post(&self, notice: Notice) {
        let Some(desk) = &self.0 else { return };
        if desk.queue.try_send((Timestamp::now(), notice)).is_err() {
            desk.metrics.event(EventOutcome::Dropped);
        }
    }
}

/// Who writes: the pod, by its host name.
fn instance() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    if name.is_empty() { "pullgate".to_owned() } else { name }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// There is no such Event any more, or no such namespace.
    Gone,
    /// The namespace is about to go.
    Ending,
    Forbidden,
    /// It is no Event to the API server, and will not be one later.
    Refused,
    Failed,
}

/// Writes Events, one at a time.
struct Writer {
    client: Client,
    metrics: Metrics,
    board: Board,
    instance: String,
    /// The last request was refused, and that was logged.
    mute: AtomicBool,
    /// After the next failure.
    wait: Duration,
}

impl Writer {
    async fn run(mut self, mut notices: mpsc::Receiver<(Timestamp, Notice)>) {
        loop {
            let due = self.board.next_due();
            let timer = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let went_well = tokio::select! {
                notice = notices.recv() => match notice {
                    Some((at, notice)) => self.take(at, notice).await,
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

    /// Says whether the API server answers.
    async fn take(&mut self, at: Timestamp, notice: Notice) -> bool {
        let draft = match self.board.take(at, notice, Instant::now()) {
            Taken::Write(draft) => draft,
            Taken::Repeated => {
                self.metrics.event(EventOutcome::Repeated);
                return true;
            }
            Taken::Limited => {
                self.metrics.event(EventOutcome::Limited);
                return true;
            }
            Taken::Muted => {
                self.metrics.event(EventOutcome::Forbidden);
                return true;
            }
        };
        let outcome = self.create(&draft).await;
        let label = match outcome {
            Outcome::Done => EventOutcome::Written,
            Outcome::Gone | Outcome::Ending => EventOutcome::Gone,
            Outcome::Forbidden => EventOutcome::Forbidden,
            Outcome::Refused => EventOutcome::Refused,
            Outcome::Failed => EventOutcome::Failed,
        };
        self.metrics.event(label);
        self.settle(outcome, &draft.namespace);
        if outcome != Outcome::Done {
            self.board.forget(&draft.key);
        }
        outcome != Outcome::Failed
    }

    /// Writes how often something was repeated; says whether the API server answers.
    async fn refresh(&mut self) -> bool {
        let Some(update) = self.board.due(Instant::now()) else {
            return true;
        };
        let outcome = self.patch(&update).await;
        match outcome {
            Outcome::Done => self.metrics.event(EventOutcome::Updated),
            // It has expired, or cannot be written to: what comes next is told anew.
            Outcome::Gone | Outcome::Ending | Outcome::Forbidden | Outcome::Refused | Outcome::Failed => {
                self.board.forget(&update.key);
            }
        }
        self.settle(outcome, &update.namespace);
        outcome != Outcome::Failed
    }

    fn settle(&mut self, outcome: Outcome, namespace: &str) {
        match outcome {
            Outcome::Done => self.mute.store(false, Ordering::Relaxed),
            Outcome::Forbidden => {
                self.board.mute(namespace, Instant::now() + REFUSED_WAIT);
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

    async fn create(&self, draft: &Draft) -> Outcome {
        let path = form::path(&draft.namespace);
        self.send(Method::POST, &path, &form::event(draft, &self.instance)).await
    }

    async fn patch(&self, update: &Update) -> Outcome {
        let path = format!("{}/{}", form::path(&update.namespace), update.name);
        self.send(Method::PATCH, &path, &form::repeated(update)).await
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
