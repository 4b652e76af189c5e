//! The time that certificates are judged by.

use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// The wall clock, until the API server's time is known, which is the clock that matters for certificates. From then on, that time
/// plus what has passed since, unaffected by jumps of this machine's clock. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock(Arc<Mutex<Option<(i64, Instant)>>>);

impl Clock {
    /// Unix seconds.
    pub(super) fn now(&self) -> i64 {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((told, at)) => told.saturating_add(i64::try_from(at.elapsed().as_secs()).unwrap_or(i64::MAX)),
            None => Timestamp::now().as_second(),
        }
    }

    /// Sets the current time.
    pub(super) fn set(&self, second: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((second, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn what_is_told_counts_and_goes_on() {
        let clock = Clock::default();
        assert!((Timestamp::now().as_second() - clock.now()).abs() < 5);
        clock.clone().set(1000);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), 1090);
        clock.set(i64::MAX);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), i64::MAX);
    }
}
