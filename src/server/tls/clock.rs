//! What time it is, for certificates.

use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// The wall clock, until somebody who knows better says the time: the API server, whose clock is the one that certificates are judged
/// by. From then on it is that time and what has passed since, which no jump of this machine's clock changes. The clones share it.
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

    /// It is this second now.
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
