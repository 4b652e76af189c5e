//! The time that certificates are judged by.

use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// A time that differs by more than this, in seconds, from the last one and from this machine's clock is not believed at once.
const FAR: i64 = 3600;

/// The wall clock, until the API server's time is known, which is the clock that matters for certificates. From then on, that time
/// plus what has passed since, unaffected by jumps of this machine's clock. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Clock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    last: Option<ServerTime>,
    /// A time that was far from both when it was heard.
    doubtful: Option<ServerTime>,
    far: i64,
}

#[derive(Debug, Clone, Copy)]
struct ServerTime(i64, Instant);

impl ServerTime {
    fn now(self) -> i64 {
        let Self(second, at) = self;
        second.saturating_add(i64::try_from(at.elapsed().as_secs()).unwrap_or(i64::MAX))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            last: None,
            doubtful: None,
            far: FAR,
        })))
    }
}

impl Clock {
    /// Unix seconds.
    pub(super) fn now(&self) -> i64 {
        self.state().last.map_or_else(own, ServerTime::now)
    }

    /// Takes a time from the API server and returns whether it is believed. The clock of one of several API servers may be years off, and
    /// the others would refuse a certificate made for its time. So a time that is far from the last one and from this machine's clock only
    /// counts once it has been heard twice in a row.
    pub(super) fn hear(&self, second: i64) -> bool {
        let mut state = self.state();
        let far = state.far;
        let near = |other: i64| second.abs_diff(other) <= far.unsigned_abs();
        let (last, doubtful) = (state.last.map(ServerTime::now), state.doubtful.map(ServerTime::now));
        let heard = ServerTime(second, Instant::now());
        if near(own()) || last.is_some_and(near) || doubtful.is_some_and(near) {
            state.last = Some(heard);
            state.doubtful = None;
            return true;
        }
        state.doubtful = Some(heard);
        false
    }

    /// Believes everything from now on: in tests, years pass between two looks.
    #[cfg(test)]
    pub(super) fn doubt_nothing(&self) {
        self.state().far = i64::MAX;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain data, consistent at every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This machine's time.
fn own() -> i64 {
    Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn what_is_told_counts_and_goes_on() {
        let clock = Clock::default();
        assert!((own() - clock.now()).abs() < 5);
        clock.doubt_nothing();
        assert!(clock.clone().hear(1000));
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), 1090);
        assert!(clock.hear(i64::MAX));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), i64::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_is_far_from_all_counts_when_it_is_told_twice() {
        const YEAR: i64 = 365 * 86_400;
        let clock = Clock::default();
        let off = own() + 3 * YEAR;
        assert!(!clock.hear(off));
        assert!((own() - clock.now()).abs() < 5, "it is not believed");
        assert!(!clock.hear(off + 9 * YEAR), "another one is no confirmation");
        assert!(!clock.hear(i64::MIN) && !clock.hear(off));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(clock.hear(off + 5));
        assert_eq!(clock.now(), off + 5);
        assert!(clock.hear(off + 6), "from then on it is the last one");
        assert!(clock.hear(own()), "what this machine's clock says, too, needs nobody else");
        assert!(!clock.hear(off), "two API servers that disagree: each is doubted again");
    }
}
