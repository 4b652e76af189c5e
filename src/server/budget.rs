//! One budget of bytes for the bodies of all reviews. A body that does not fit waits; a body that stops arriving loses its place to one
//! that waits.

use super::Limits;
use crate::limits;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long a body may take for its next [`STEP`] before it gives way to others. The API server writes it at once.
const SLOW: Duration = Duration::from_secs(1);

/// Bytes that must arrive in that time.
pub(super) const STEP: usize = 64 << 10;

/// How often those who wait look for somebody slow.
const LOOK: Duration = Duration::from_millis(100);

/// The places of all bodies: those of usual size never wait for large ones.
#[derive(Debug)]
pub(super) struct Budget {
    usual: Arc<Pool>,
    large: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    bytes: usize,
    free: Arc<Semaphore>,
    arriving: Mutex<Arriving>,
}

/// Bodies that are not complete, oldest first.
#[derive(Debug, Default)]
struct Arriving {
    next: u64,
    all: BTreeMap<u64, Slot>,
}

#[derive(Debug)]
struct Slot {
    /// When the last whole step had arrived.
    since: Instant,
    /// Bytes that have arrived since.
    arrived: usize,
    /// Bytes that it takes from the pool.
    bytes: usize,
    /// Tells it to give up its place.
    evict: Arc<Notify>,
}

/// Room for a body, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pool: Arc<Pool>,
    bytes: OwnedSemaphorePermit,
    /// Once it had to wait for bytes: its number among the arriving bodies, and what tells it to give up its place.
    arriving: Option<(u64, Arc<Notify>)>,
}

impl Budget {
    /// A quarter is for bodies of usual size.
    pub(super) fn new(limits: &Limits) -> Self {
        let usual = limits.bodies_bytes / 4;
        Self {
            usual: Pool::new(usual),
            large: Pool::new(limits.bodies_bytes.saturating_sub(usual)),
        }
    }

    /// Room for this many bytes. `None` if there was none by `until`.
    pub(super) async fn place(&self, bytes: usize, until: Instant) -> Option<Place> {
        let pool = if bytes < limits::LARGE_BODY {
            &self.usual
        } else {
            &self.large
        };
        pool.place(bytes, until).await
    }
}

impl Pool {
    fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            free: Arc::new(Semaphore::new(bytes)),
            arriving: Mutex::default(),
        })
    }

    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        // Consistent at every step, so a poisoned lock does no harm.
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn place(self: &Arc<Self>, bytes: usize, until: Instant) -> Option<Place> {
        // A body larger than the pool takes all of it.
        let bytes = bytes.min(self.bytes);
        let many = u32::try_from(bytes).ok()?;
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_many_owned(many) {
            return Some(Place::new(self, permit));
        }
        let mut waiting = std::pin::pin!(Arc::clone(&self.free).acquire_many_owned(many));
        let permit = loop {
            let now = Instant::now();
            match tokio::time::timeout_at(until.min(now + LOOK), &mut waiting).await {
                Ok(permit) => break permit.ok()?,
                Err(_) if Instant::now() >= until => return None,
                Err(_) => self.evict_slow(bytes),
            }
        };
        Some(Place::new(self, permit))
    }

    /// Tells bodies that arrive too slowly to give up their places, the oldest first, until `wanted` bytes are free.
    fn evict_slow(&self, wanted: usize) {
        let mut freed = self.free.available_permits();
        self.arriving().all.retain(|_, slot| {
            let stays = freed >= wanted || slot.since.elapsed() < SLOW;
            if !stays {
                freed = freed.saturating_add(slot.bytes);
                slot.evict.notify_one();
            }
            stays
        });
    }
}

impl Place {
    fn new(pool: &Arc<Pool>, bytes: OwnedSemaphorePermit) -> Self {
        Self {
            pool: Arc::clone(pool),
            bytes,
            arriving: None,
        }
    }

    fn slot(&self, evict: &Arc<Notify>) -> Slot {
        Slot {
            since: Instant::now(),
            arrived: 0,
            bytes: self.bytes.num_permits(),
            evict: Arc::clone(evict),
        }
    }

    /// The body is not complete yet: from now on it may lose its place.
    pub(super) fn start_arriving(&mut self) {
        if self.arriving.is_none() {
            let evict = Arc::new(Notify::new());
            let slot = self.slot(&evict);
            let mut arriving = self.pool.arriving();
            let number = arriving.next;
            arriving.next += 1;
            arriving.all.insert(number, slot);
            drop(arriving);
            self.arriving = Some((number, evict));
        }
    }

    /// Completes when the body has taken too long and others wait.
    pub(super) async fn evicted(&self) {
        match &self.arriving {
            Some((_, evict)) => evict.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Records that this many bytes have arrived.
    pub(super) fn progress(&self, bytes: usize) {
        let Some((number, _)) = &self.arriving else { return };
        if let Some(slot) = self.pool.arriving().all.get_mut(number) {
            slot.arrived = slot.arrived.saturating_add(bytes);
            if slot.arrived >= STEP {
                slot.arrived = 0;
                slot.since = Instant::now();
            }
        }
    }

    /// Keeps its place after all.
    pub(super) fn resume_arriving(&self) {
        if let Some((number, evict)) = &self.arriving {
            self.pool.arriving().all.insert(*number, self.slot(evict));
        }
    }

    /// The body is complete: it keeps its place.
    pub(super) fn complete(&self) {
        if let Some((number, _)) = &self.arriving {
            self.pool.arriving().all.remove(number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.complete();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(bytes: usize) -> Budget {
        Budget::new(&Limits {
            bodies_bytes: bytes,
            ..Limits::default()
        })
    }

    fn soon(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_fit_waits_until_somebody_goes() {
        let budget = budget(4000);
        let first = budget.place(600, soon(1)).await.unwrap();
        first.complete();
        assert!(budget.place(600, soon(5)).await.is_none(), "a complete one stays");
        let (second, ()) = tokio::join!(budget.place(600, soon(5)), async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(first);
        });
        assert!(second.is_some());
        // Larger than everything: alone.
        drop(second);
        assert!(budget.place(5000, soon(1)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn large_ones_leave_room_for_usual_ones() {
        let budget = budget(4 * limits::LARGE_BODY);
        let large = budget.place(3 * limits::LARGE_BODY, soon(1)).await.unwrap();
        large.complete();
        assert!(budget.place(limits::LARGE_BODY, soon(1)).await.is_none());
        assert!(budget.place(1000, soon(1)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_gives_way() {
        let budget = budget(4000);
        let mut slow = budget.place(600, soon(1)).await.unwrap();
        slow.start_arriving();
        let complete = budget.place(300, soon(1)).await.unwrap();
        complete.complete();
        let begun = Instant::now();
        let (place, ()) = tokio::join!(budget.place(500, soon(5)), async {
            slow.evicted().await;
            drop(slow);
        });
        assert!(place.is_some());
        assert!(begun.elapsed() < SLOW + 2 * LOOK, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_goes_on_arriving_keeps_its_place() {
        let budget = budget(4000);
        let mut busy = budget.place(600, soon(1)).await.unwrap();
        busy.start_arriving();
        let waiting = budget.place(500, soon(60));
        let arriving = async {
            for _ in 0..8 {
                tokio::time::sleep(SLOW / 2).await;
                busy.progress(STEP);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = busy.evicted() => {}
            () = arriving => {}
            place = waiting => panic!("{place:?} while the first goes on"),
        }
        // It stopped arriving four seconds later.
        drop(busy);
    }
}
