//! What is remembered of a request: its latest answer, and the last good one.

use super::QUOTA;
use super::packed::{Interned, Packed};
use crate::registry::bounded::Weighs;
use crate::runtime::answer::{Answer, Response};
use crate::runtime::request::Request;
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A time: nanoseconds since the memory began. Half of an [`Instant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// When the memory began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Moment {
    /// How much later it is than `earlier`.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What was answered last, and the last good answer.
pub(super) struct Kept {
    latest: Packed,
    given: Moment,
    /// In milliseconds.
    ttl: u32,
    /// The latest is the last good one: that serves while the registry is down, and is forgotten once that says otherwise.
    is_good: bool,
    /// The last good one, where that is another, and when it was given.
    before: Option<Box<(Packed, Moment)>>,
}

impl Kept {
    /// An answer that is given `now`, and the last good one, where it is not good itself.
    pub(super) fn new(latest: Packed, now: Moment, ttl: Duration, is_good: bool, before: Option<(Packed, Moment)>) -> Self {
        Self {
            latest,
            given: now,
            ttl: u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX),
            is_good,
            before: before.map(Box::new),
        }
    }

    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        now.since(self.given) < Duration::from_millis(u64::from(self.ttl))
    }

    pub(super) fn age(&self, now: Moment) -> Duration {
        now.since(self.given)
    }

    /// The latest answer as it was given.
    pub(super) fn latest(&self, request: &Request, interned: &Interned) -> Option<Answer> {
        self.latest.unpack(request, interned, true)
    }

    /// The latest answer as it is to be told now.
    pub(super) fn as_of(&self, request: &Request, interned: &Interned, now: Moment) -> Option<Answer> {
        let age = now.since(self.given);
        let latest = self.latest.unpack(request, interned, age < QUOTA)?;
        Some(match latest {
            Answer::Response(response) if response.status == 429 => Answer::Response(Arc::new(Response {
                // What it asked for, not how long we wait at most.
                retry_after: response.retry_after.map(|asked| asked.saturating_sub(age)),
                ..Arc::unwrap_or_clone(response)
            })),
            latest => latest,
        })
    }

    /// The last good answer, whose word on the pull quota is no news any longer, and when it was given.
    pub(super) fn last_good(&self, request: &Request, interned: &Interned) -> Option<(Answer, Moment)> {
        let (good, at) = match &self.before {
            _ if self.is_good => (&self.latest, self.given),
            Some(before) => (&before.0, before.1),
            None => return None,
        };
        Some((good.unpack(request, interned, false)?, at))
    }
}

impl Weighs for (Packed, Moment) {
    fn weight(&self) -> usize {
        self.0.weight()
    }
}

impl Weighs for Moment {
    fn weight(&self) -> usize {
        0
    }
}

impl Weighs for Box<Kept> {
    fn weight(&self) -> usize {
        let before = self
            .before
            .as_ref()
            .map_or(0, |before| size_of::<(Packed, Moment)>() + before.0.weight());
        size_of::<Kept>() + self.latest.weight() + before
    }
}
