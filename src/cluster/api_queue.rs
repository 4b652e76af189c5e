//! Decides whose request to the API server goes next. Users choose how many objects a review reads (a Pod may list a hundred pull secrets),
//! so one limit covers all reviews, namespaces share it, and pullgate pauses when the API server asks it to.

use crate::limits;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// All requests for single objects.
#[derive(Debug)]
pub(super) struct ApiQueue {
    all: Arc<Semaphore>,
    /// The namespaces that are asking at the moment.
    namespaces: Mutex<HashMap<String, Arc<NamespaceQueue>>>,
    pace: Mutex<Pace>,
}

/// The requests of one namespace.
#[derive(Debug)]
struct NamespaceQueue {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Whether the API server wants to be left alone.
#[derive(Debug, Default)]
struct Pace {
    /// 5xx answers, and silence, in a row.
    failures: u32,
    pause: Duration,
    until: Option<Instant>,
}

/// Permission to send one request. Dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct ApiPermit {
    _of_namespace: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// Why there is no turn; a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoPermit(pub(super) &'static str);

const CROWDED: NoPermit = NoPermit("too many requests to the API server are waiting");
const BACKING_OFF: NoPermit = NoPermit("the API server asked pullgate to wait");

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// It was answered, whatever the answer.
    Succeeded,
    /// 429, and for how long.
    TooMany(Option<Duration>),
    /// 5xx, or nothing.
    Failed,
}

impl ApiQueue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(limits::API_REQUESTS)),
            namespaces: Mutex::default(),
            pace: Mutex::default(),
        })
    }

    /// Waits for a namespace's turn, for as long as one request may take.
    pub(super) async fn turn(&self, namespace: &str) -> Result<ApiPermit, NoPermit> {
        self.is_left_alone()?;
        let line = self.line(namespace);
        let queued = Queued(&line.waiting);
        if queued.0.fetch_add(1, Ordering::Relaxed) >= limits::API_REQUESTS_WAITING {
            return Err(CROWDED);
        }
        let wait = async {
            // Neither semaphore is ever closed. The namespace's comes first, so that no namespace can crowd the one that all share.
            let of_namespace = Arc::clone(&line.places).acquire_owned().await.map_err(|_| CROWDED)?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.map_err(|_| CROWDED)?;
            Ok(ApiPermit {
                _of_namespace: of_namespace,
                _of_all: of_all,
            })
        };
        let turn = timeout(limits::API_TURN, wait).await.map_err(|_| CROWDED)??;
        // The API server may have asked for a pause meanwhile.
        self.check_pace()?;
        Ok(turn)
    }

    /// Records the outcome of a request.
    pub(super) fn note(&self, answered: Answered) {
        let mut pace = self.pace();
        match answered {
            Answered::Succeeded => *pace = Pace::default(),
            Answered::TooMany(after) => pace.stop(after),
            Answered::Failed => {
                pace.failures = pace.failures.saturating_add(1);
                if pace.failures >= limits::API_FAILURES {
                    pace.stop(None);
                }
            }
        }
    }

    fn is_left_alone(&self) -> Result<(), NoPermit> {
        let until = self.pace().until;
        until
            .filter(|until| Instant::now() < *until)
            .map_or(Ok(()), |_| Err(BACKING_OFF))
    }

    /// Whether a request may be sent. After a pause, one request goes first; the others are turned away until its outcome is known.
    fn check_pace(&self) -> Result<(), NoPermit> {
        let mut pace = self.pace();
        let now = Instant::now();
        match pace.until {
            Some(until) if now < until => Err(BACKING_OFF),
            Some(_) => {
                pace.until = Some(now + limits::API_TURN);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn line(&self, namespace: &str) -> Arc<NamespaceQueue> {
        let mut lines = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= limits::API_REQUESTS {
            lines.retain(|_, line| {
                Arc::strong_count(line) > 1 || line.places.available_permits() < limits::API_REQUESTS_PER_NAMESPACE
            });
        }
        let line = lines.entry(namespace.to_owned()).or_insert_with(|| {
            Arc::new(NamespaceQueue {
                places: Arc::new(Semaphore::new(limits::API_REQUESTS_PER_NAMESPACE)),
                waiting: AtomicUsize::new(0),
            })
        });
        Arc::clone(line)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    fn stop(&mut self, after: Option<Duration>) {
        self.pause = (self.pause * 2).clamp(limits::API_PAUSE, limits::API_LONGEST_PAUSE);
        let pause = after.map_or(self.pause, |after| after.clamp(limits::API_PAUSE, limits::API_LONGEST_PAUSE));
        self.until = Some(Instant::now() + pause);
    }
}

/// A waiting request; dropping it takes it out of the count.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test(start_paused = true)]
    async fn one_namespace_leaves_room_for_the_others() {
        let turns = ApiQueue::new();
        let mut held = Vec::new();
        for _ in 0..limits::API_REQUESTS_PER_NAMESPACE {
            held.push(turns.turn("greedy").await.unwrap());
        }
        assert!(turns.turn("greedy").now_or_never().is_none(), "it waits for itself");
        for namespace in ["a", "b", "c"] {
            for _ in 0..limits::API_REQUESTS_PER_NAMESPACE {
                held.push(turns.turn(namespace).now_or_never().unwrap().unwrap());
            }
        }
        assert_eq!(held.len(), limits::API_REQUESTS);
        assert!(turns.turn("d").now_or_never().is_none());
        assert_eq!(turns.turn("d").await.unwrap_err(), CROWDED, "not for ever");
        held.clear();
        let waiting: Vec<_> = (0..limits::API_REQUESTS_WAITING)
            .map(|_| Box::pin(turns.turn("greedy")))
            .collect();
        let mut all = futures_util::future::join_all(waiting);
        assert!(futures_util::poll!(&mut all).is_pending());
        assert_eq!(turns.turn("greedy").await.unwrap_err(), CROWDED);
        drop(all);
        assert!(turns.turn("greedy").await.is_ok());
        for name in 0..1000 {
            drop(turns.turn(&name.to_string()).await);
        }
        assert!(turns.namespaces.lock().unwrap().len() <= limits::API_REQUESTS);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_in_trouble_is_left_alone() {
        let turns = ApiQueue::new();
        turns.note(Answered::TooMany(Some(Duration::from_secs(5))));
        assert_eq!(turns.turn("a").await.unwrap_err(), BACKING_OFF);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(turns.turn("a").await.is_ok(), "one tries");
        assert_eq!(turns.turn("a").await.unwrap_err(), BACKING_OFF, "the others wait for it");
        turns.note(Answered::Succeeded);
        assert!(turns.turn("a").await.is_ok());
        for _ in 1..limits::API_FAILURES {
            turns.note(Answered::Failed);
        }
        assert!(turns.turn("a").await.is_ok(), "one object may be broken");
        turns.note(Answered::Failed);
        assert_eq!(turns.turn("a").await.unwrap_err(), BACKING_OFF);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let before = Instant::now();
            while turns.turn("a").await.is_err() {
                tokio::time::advance(limits::API_PAUSE).await;
            }
            pauses.push(before.elapsed());
            turns.note(Answered::Failed);
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&limits::API_LONGEST_PAUSE));
    }
}
