//! The open connections, and which to close at the limit.

use crate::server::timeouts::{Phase, Progress};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The connections of a port, oldest first.
#[derive(Debug, Default)]
pub(super) struct Connections {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

/// The state of a connection, and the ways to end it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) progress: Progress,
    /// Asks it to close after its current request.
    pub(super) close: Notify,
    /// Drops it.
    pub(super) abort: Notify,
}

/// Removes a connection when dropped.
pub(super) struct Guard<'a> {
    connections: &'a Connections,
    number: u64,
    pub(super) connection: Arc<Connection>,
}

/// Whether a slot will be free at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Free,
    /// All connections are busy.
    None,
}

impl Connections {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection.
    pub(super) fn join(&self) -> Guard<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            progress: Progress::default(),
            close: Notify::new(),
            abort: Notify::new(),
        });
        self.all().insert(number, Arc::clone(&connection));
        Guard {
            connections: self,
            number,
            connection,
        }
    }

    /// Drops the oldest connection that has sent nothing for `mute`, or else the oldest without a request for `silent`, or else closes the
    /// oldest idle one.
    pub(super) fn evict(&self, mute: Duration, silent: Duration) -> Slot {
        let mut present = self.all();
        let is_mute = |connection: &Connection| connection.progress.get() == Phase::Opening && connection.progress.lasts() >= mute;
        let is_silent = |connection: &Connection| {
            matches!(connection.progress.get(), Phase::Opening | Phase::Greeting | Phase::Head)
                && connection.progress.lasts() >= silent
        };
        let is_idle = |connection: &Connection| connection.progress.get() == Phase::Waiting;
        let first = |wanted: &dyn Fn(&Connection) -> bool| {
            present
                .iter()
                .find(|(_, connection)| wanted(connection))
                .map(|(number, _)| *number)
        };
        let found = first(&is_mute).or_else(|| first(&is_silent)).or_else(|| first(&is_idle));
        let Some(number) = found else { return Slot::None };
        if let Some(connection) = present.remove(&number) {
            if is_idle(&connection) {
                connection.close.notify_one();
            } else {
                connection.abort.notify_one();
            }
        }
        Slot::Free
    }

    /// Asks the oldest busy connection that was not asked before to close; returns whether there was one. Silent ones cannot be
    /// asked: see [`Connections::evict`].
    pub(super) fn close_oldest(&self) -> bool {
        let mut present = self.all();
        let busy = present
            .iter()
            .find(|(_, connection)| connection.progress.get() == Phase::Serving);
        let number = busy.map(|(number, _)| *number);
        match number.and_then(|number| present.remove(&number)) {
            Some(connection) => {
                connection.close.notify_one();
                true
            }
            None => false,
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.connections.all().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUTE: Duration = Duration::from_millis(100);
    const SILENT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_goes_first_and_who_has_just_begun_stays() {
        let all = Connections::default();
        let old = all.join();
        old.connection.progress.set(Phase::Waiting);
        let (half, mute) = (all.join(), all.join());
        half.connection.progress.set(Phase::Greeting);
        tokio::time::advance(MUTE).await;
        // The next request of a kept connection has just begun, however old the connection is.
        old.connection.progress.set(Phase::Head);
        let gone = |guard: &Guard<'_>| !all.all().contains_key(&guard.number);
        assert_eq!(all.evict(MUTE, SILENT), Slot::Free);
        assert!(gone(&mute) && !gone(&half) && !gone(&old));
        assert_eq!(all.evict(MUTE, SILENT), Slot::None);
        // A second after the handshake began, and less after the head did.
        tokio::time::advance(Duration::from_millis(900)).await;
        assert_eq!(all.evict(MUTE, SILENT), Slot::Free);
        assert!(
            gone(&half) && !gone(&old),
            "half of a handshake is as good as none after a second"
        );
    }
}
