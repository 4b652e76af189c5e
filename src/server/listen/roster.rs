//! Who is connected, and who has to go when there is no room.

use crate::server::patience::{Phase, Progress};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The connections of a port, oldest first.
#[derive(Debug, Default)]
pub(super) struct Roster {
    next: AtomicU64,
    present: Mutex<BTreeMap<u64, Arc<Seat>>>,
}

/// What is known of a connection, and the ways to end it.
#[derive(Debug)]
pub(super) struct Seat {
    since: Instant,
    pub(super) progress: Progress,
    /// Asks it to finish what it does and close.
    pub(super) bell: Notify,
    /// Drops it.
    pub(super) out: Notify,
}

/// A place in the roster, given up on drop.
pub(super) struct Member<'a> {
    roster: &'a Roster,
    number: u64,
    pub(super) seat: Arc<Seat>,
}

/// Whether a place will be free at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Made,
    /// Everybody is busy.
    None,
}

impl Roster {
    fn present(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Seat>>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection.
    pub(super) fn join(&self) -> Member<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat {
            since: Instant::now(),
            progress: Progress::default(),
            bell: Notify::new(),
            out: Notify::new(),
        });
        self.present().insert(number, Arc::clone(&seat));
        Member {
            roster: self,
            number,
            seat,
        }
    }

    /// Drops the oldest connection that has been silent for `silent`, else closes the oldest idle one.
    pub(super) fn make_room(&self, silent: Duration) -> Room {
        let mut present = self.present();
        let is_silent = |seat: &Seat| matches!(seat.progress.get(), Phase::Opening | Phase::Head) && seat.since.elapsed() >= silent;
        let is_idle = |seat: &Seat| seat.progress.get() == Phase::Waiting;
        let first = |wanted: &dyn Fn(&Seat) -> bool| present.iter().find(|(_, seat)| wanted(seat)).map(|(number, _)| *number);
        let number = match (first(&is_silent), first(&is_idle)) {
            (Some(silent), _) => silent,
            (None, Some(idle)) => idle,
            (None, None) => return Room::None,
        };
        if let Some(seat) = present.remove(&number) {
            if is_idle(&seat) {
                seat.bell.notify_one();
            } else {
                seat.out.notify_one();
            }
        }
        Room::Made
    }

    /// Asks the oldest busy connection that was not asked yet to close; says whether there was one. Silent ones hear no bell, and are left
    /// to [`Roster::make_room`].
    pub(super) fn recycle_oldest(&self) -> bool {
        let mut present = self.present();
        let busy = present.iter().find(|(_, seat)| seat.progress.get() == Phase::Serving);
        let number = busy.map(|(number, _)| *number);
        match number.and_then(|number| present.remove(&number)) {
            Some(seat) => {
                seat.bell.notify_one();
                true
            }
            None => false,
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.roster.present().remove(&self.number);
    }
}
