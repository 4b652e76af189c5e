//! When the API server last sent anything, even one byte of an answer. Without this, a connection that was cut silently looks like a
//! quiet one.

use crate::limits;
use kube::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The time of the last byte received. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LastContact(Arc<(Instant, AtomicU64)>);

/// Counts from its creation, as long as nothing has arrived.
impl Default for LastContact {
    fn default() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }
}

impl LastContact {
    /// Records that something arrived.
    pub(super) fn now(&self) {
        let (start, last) = &*self.0;
        last.fetch_max(millis(start.elapsed()), Ordering::Relaxed);
    }

    /// How long ago something last arrived.
    pub(super) fn age(&self) -> Duration {
        let (start, last) = &*self.0;
        Duration::from_millis(millis(start.elapsed()).saturating_sub(last.load(Ordering::Relaxed)))
    }

    /// Whether the API server has been silent for so long that watched objects may be outdated.
    pub(super) fn is_silent(&self) -> bool {
        self.age() >= limits::API_SILENCE
    }

    /// Forever, sends a small request whenever the API server has been quiet for a while: in some clusters nothing changes for minutes.
    pub(super) async fn listen(self, client: Client) {
        let mut told = false;
        loop {
            sleep(limits::API_HEARTBEAT).await;
            if self.age() >= limits::API_HEARTBEAT
                && let Ok(request) = http::Request::get("/version").body(Vec::new())
                && let Ok(Ok(_) | Err(kube::Error::Api(_))) = timeout(limits::API_SERVER, client.request_text(request)).await
            {
                self.now();
            }
            let silent = self.is_silent();
            if silent && !told {
                let seconds = self.age().as_secs();
                tracing::warn!(
                    seconds,
                    "the API server is silent; what it said before still holds, and nothing is denied that it cannot confirm"
                );
            } else if told && !silent {
                tracing::info!("the API server answers again");
            }
            told = silent;
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_grows_until_a_word_comes() {
        let heard = LastContact::default();
        tokio::time::advance(limits::API_SILENCE).await;
        assert!(heard.is_silent() && heard.age() == limits::API_SILENCE);
        heard.clone().now();
        assert!(!heard.is_silent() && heard.age().is_zero());
    }
}
