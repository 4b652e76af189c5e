//! An answer that is kept, and for how long: fresh for a while, and of use for longer while its registry is down (contract 6).

use super::cause::{self, Kind};
use super::throttle::wait;
use crate::limits;
use crate::verdict::Failure;
use moka::Expiry;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Not found and refused: long enough for a burst, short enough for a push that follows.
const SETTLED: Duration = Duration::from_secs(2);

/// What was answered last, and the last good answer.
#[derive(Debug, Clone)]
pub(super) struct Kept<T> {
    pub(super) latest: Result<T, Arc<Failure>>,
    pub(super) fresh_until: Instant,
    /// The last good answer and when it was given; kept while the registry is down.
    pub(super) good: Option<(T, Instant)>,
    /// How long the entry is of use.
    keep: Duration,
}

impl<T: Clone> Kept<T> {
    /// Gives an answer its lifetime: `fresh` if it is good, else by its cause. `before` is the good answer until now; it serves for
    /// `max_stale` while the registry is down, and is forgotten once that says otherwise.
    pub(super) fn new(answer: Result<T, Failure>, fresh: Duration, before: Option<(T, Instant)>, max_stale: Duration) -> Self {
        let now = Instant::now();
        let (latest, fresh, good) = match answer {
            Ok(good) => (Ok(good.clone()), fresh, Some((good, now))),
            Err(failure) => {
                let (fresh, good) = match cause::kind(&failure.evidence) {
                    Kind::Down => (limits::USUAL_RETRY_AFTER, before),
                    Kind::Throttled => (wait(failure.retry_after), before),
                    Kind::Settled => (SETTLED, None),
                };
                (Err(Arc::new(failure)), fresh, good)
            }
        };
        let good_for = good
            .as_ref()
            .map_or(Duration::ZERO, |(_, at)| max_stale.saturating_sub(at.elapsed()));
        Self {
            latest,
            fresh_until: now + fresh,
            keep: fresh.max(good_for),
            good,
        }
    }

    /// Whether it is to be asked for again.
    pub(super) fn is_old(&self) -> bool {
        Instant::now() >= self.fresh_until
    }

    /// The good answer, which may be old.
    pub(super) fn still_good(&self, max_stale: Duration) -> Option<&T> {
        let (good, at) = self.good.as_ref()?;
        (at.elapsed() <= max_stale).then_some(good)
    }

    /// The latest answer; where that is a failure of a registry that is down, the good one before it.
    pub(super) fn give(&self, max_stale: Duration) -> Given<'_, T> {
        match &self.latest {
            Ok(good) => Given::Latest(good),
            Err(failure) => match self.still_good(max_stale) {
                Some(good) if cause::kind(&failure.evidence) == Kind::Down => Given::Stale(good),
                Some(_) | None => Given::Failed(failure),
            },
        }
    }

    /// What the failure that it may be weighs, in bytes.
    pub(super) fn failure_weight(&self) -> usize {
        let failure = self.latest.as_ref().err();
        failure.map_or(0, |failure| 400 + failure.detail.as_ref().map_or(0, String::len))
    }
}

/// What is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'a, T> {
    Latest(&'a T),
    /// It was so before the registry went down.
    Stale(&'a T),
    Failed(&'a Failure),
}

/// Each entry is kept as long as it says.
pub(super) struct AsLong;

impl<K, T> Expiry<K, Kept<T>> for AsLong {
    fn expire_after_create(&self, _key: &K, kept: &Kept<T>, _now: std::time::Instant) -> Option<Duration> {
        Some(kept.keep)
    }

    fn expire_after_update(&self, _key: &K, kept: &Kept<T>, _now: std::time::Instant, _left: Option<Duration>) -> Option<Duration> {
        Some(kept.keep)
    }
}
