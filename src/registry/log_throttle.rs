//! Warnings about registries, at most one a minute for each host and cause.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_mins(1);
/// Host names come from users: beyond this many in a minute, the rest is not logged.
const REMEMBERED: usize = 1024;

/// Remembers what was logged.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Mutex<HashMap<(String, &'static str), Instant>>);

impl LogThrottle {
    /// Whether it is time to say it (again).
    fn may_say(&self, host: &str, cause: &'static str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if said.len() >= REMEMBERED {
            said.retain(|_, at| now.duration_since(*at) < PAUSE);
        }
        let full = said.len() >= REMEMBERED;
        match said.get_mut(&(host.to_owned(), cause)) {
            Some(at) if now.duration_since(*at) < PAUSE => false,
            Some(at) => {
                *at = now;
                true
            }
            None if full => false,
            None => {
                said.insert((host.to_owned(), cause), now);
                true
            }
        }
    }

    /// Logs that a host did not answer as it should, by the label of the cause in the metrics.
    pub(super) fn tell(&self, host: &str, cause: &'static str, status: Option<u16>, detail: Option<&str>) {
        if self.may_say(host, cause) {
            tracing::warn!(
                registry.host = host.escape_debug().to_string(),
                registry.cause = cause,
                registry.status = status,
                registry.detail = detail,
                "registry look-up failed: {cause}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn once_a_minute() {
        let throttle = LogThrottle::default();
        assert!(throttle.may_say("a", "dns"));
        assert!(!throttle.may_say("a", "dns"));
        assert!(throttle.may_say("a", "tls"));
        assert!(throttle.may_say("b", "dns"));
        tokio::time::advance(PAUSE).await;
        assert!(throttle.may_say("a", "dns"));
        for n in 0..REMEMBERED * 2 {
            throttle.may_say(&n.to_string(), "dns");
        }
        assert!(throttle.0.lock().unwrap().len() <= REMEMBERED);
    }
}
