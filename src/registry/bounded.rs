//! A bounded memory of very many small entries. An entry takes little more than itself: its key is kept as sixteen bytes, and it has no timer
//! and no place in a list of its own. What has passed its time is swept out when room is needed, and once a minute; then what was not asked
//! for since the last sweep.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::mem::size_of;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Parts with a lock each, where there is room for them.
const PARTS: u64 = 16;
/// What a part must hold: the largest entries, several times.
const LEAST: u64 = 1 << 20;
/// How long entries stay beyond their time at most, in seconds, while others are put in.
const SWEPT: u32 = 60;

/// What an entry weighs beside its slot, in bytes, roughly; the same whenever it is asked.
pub(super) trait Weighs {
    /// In bytes.
    fn weight(&self) -> usize;
}

/// The hash of a key: 128 bits by two hashes with secret keys of this process (`SipHash`), so that nobody can look for two keys with one hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyHash(u64, u64);

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// For keys that are hashes already.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Collects what is hashed.
struct Text(Vec<u8>);

impl Hasher for Text {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// The memory.
pub(super) struct Bounded<V> {
    keys: [RandomState; 2],
    parts: Box<[Mutex<Part<V>>]>,
    begun: Instant,
}

struct Part<V> {
    slots: HashMap<KeyHash, Slot<V>, BuildHasherDefault<IdentityHasher>>,
    room: usize,
    weight: usize,
    /// When it is swept next, if room is not needed before.
    sweep: u32,
}

struct Slot<V> {
    value: V,
    /// In seconds since the beginning.
    until: u32,
    /// Since the last sweep.
    used: bool,
}

impl<V: Weighs> Bounded<V> {
    /// `bytes` bounds what all entries weigh together, with their slots.
    pub(super) fn new(bytes: u64) -> Self {
        let parts = (bytes / LEAST).clamp(1, PARTS);
        let room = usize::try_from(bytes / parts).unwrap_or(usize::MAX);
        let part = |_| {
            Mutex::new(Part {
                slots: HashMap::default(),
                room,
                weight: 0,
                sweep: SWEPT,
            })
        };
        Self {
            keys: [RandomState::new(), RandomState::new()],
            parts: (0..parts).map(part).collect(),
            begun: Instant::now(),
        }
    }

    /// The hash of a key, by which its entry is found.
    pub(super) fn hash_of(&self, key: &impl Hash) -> KeyHash {
        let [one, other] = &self.keys;
        // Gone through once: a key has dozens of small parts.
        let mut text = Text(Vec::with_capacity(512));
        key.hash(&mut text);
        KeyHash(one.hash_one(&text.0), other.hash_one(&text.0))
    }

    /// What `read` makes of the entry of this key.
    pub(super) fn read<R>(&self, hash: KeyHash, read: impl FnOnce(&V) -> R) -> Option<R> {
        let now = self.seconds(Duration::ZERO);
        let mut part = self.part(hash)?;
        let slot = part.slots.get_mut(&hash).filter(|slot| now <= slot.until)?;
        slot.used = true;
        Some(read(&slot.value))
    }

    /// Puts an entry in, for so long at least; nothing happens where there is no room for it.
    pub(super) fn put(&self, hash: KeyHash, value: V, ttl: Duration) {
        let now = self.seconds(Duration::ZERO);
        // Rounded down twice at most.
        let until = self.seconds(ttl).saturating_add(1);
        let Some(mut part) = self.part(hash) else { return };
        part.take(hash);
        let weight = weight(&value);
        if weight > part.room {
            return;
        }
        if part.weight + weight > part.room {
            let room = part.room / 4 * 3;
            part.sweep(now, room.saturating_sub(weight));
        } else if now >= part.sweep {
            let room = part.room;
            part.sweep(now, room);
        }
        part.weight += weight;
        let slot = Slot {
            value,
            until,
            used: false,
        };
        part.slots.insert(hash, slot);
    }

    /// Takes an entry away.
    pub(super) fn take(&self, hash: KeyHash) {
        if let Some(mut part) = self.part(hash) {
            part.take(hash);
        }
    }

    /// What all entries weigh, in bytes, roughly.
    pub(super) fn weight(&self) -> u64 {
        let weights = self.parts.iter().map(|part| whole(part).weight as u64);
        weights.sum()
    }

    fn part(&self, hash: KeyHash) -> Option<MutexGuard<'_, Part<V>>> {
        let at = hash.1 % u64::try_from(self.parts.len()).ok()?;
        self.parts.get(usize::try_from(at).ok()?).map(whole)
    }

    /// The time in `later`, in seconds since the beginning.
    fn seconds(&self, later: Duration) -> u32 {
        let since = self.begun.elapsed().saturating_add(later);
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    }
}

impl<V: Weighs> Part<V> {
    fn take(&mut self, hash: KeyHash) {
        if let Some(before) = self.slots.remove(&hash) {
            self.weight = self.weight.saturating_sub(weight(&before.value));
        }
    }

    /// Drops what has passed its time; and until the rest weighs no more than `most`, what was not used of late, then anything.
    fn sweep(&mut self, now: u32, most: usize) {
        self.sweep = now.saturating_add(SWEPT);
        self.drop_where(0, |slot| slot.until < now);
        self.drop_where(most, |slot| !std::mem::take(&mut slot.used));
        self.drop_where(most, |_| true);
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }

    fn drop_where(&mut self, most: usize, mut goes: impl FnMut(&mut Slot<V>) -> bool) {
        let left = &mut self.weight;
        self.slots.retain(|_, slot| {
            let goes = *left > most && goes(slot);
            if goes {
                *left = left.saturating_sub(weight(&slot.value));
            }
            !goes
        });
    }
}

/// An entry with its slot, of which a table has about as many again as are taken, at its fullest a seventh.
fn weight<V: Weighs>(value: &V) -> usize {
    size_of::<(KeyHash, Slot<V>)>() / 2 * 3 + value.weight()
}

/// Its lock; it is whole at every step.
fn whole<V>(part: &Mutex<Part<V>>) -> MutexGuard<'_, Part<V>> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    impl Weighs for u64 {
        fn weight(&self) -> usize {
            0
        }
    }

    const LONG: Duration = Duration::from_hours(1);

    fn get(bounded: &Bounded<u64>, key: u64) -> Option<u64> {
        bounded.read(bounded.hash_of(&key), |value| *value)
    }

    fn put(bounded: &Bounded<u64>, key: u64, ttl: Duration) {
        bounded.put(bounded.hash_of(&key), key, ttl);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_stays_for_its_time_and_is_gone_soon_after() {
        let bounded = Bounded::new(64 << 20);
        for at in 0..1000 {
            put(&bounded, at, Duration::from_millis(2500));
        }
        let full = bounded.weight();
        advance(Duration::from_millis(2500)).await;
        assert_eq!(get(&bounded, 7), Some(7));
        assert_eq!(get(&bounded, 1000), None);
        advance(Duration::from_millis(1600)).await;
        assert_eq!(get(&bounded, 7), None);
        advance(Duration::from_mins(1)).await;
        // One for each part sweeps it.
        for at in 0..1000 {
            put(&bounded, 5000 + at, LONG);
        }
        assert_eq!(bounded.weight(), full, "what has passed its time weighs nothing");
        put(&bounded, 5000, LONG);
        assert_eq!(bounded.weight(), full, "what takes the place of another weighs once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_outlives_a_flood() {
        let bounded = Bounded::new(1 << 20);
        let each = weight(&0_u64) as u64;
        let fit = (1 << 20) / each;
        for at in 0..fit / 4 {
            put(&bounded, at, LONG);
        }
        for at in 1_000_000..1_000_000 + 4 * fit {
            put(&bounded, at, LONG);
            assert!(bounded.weight() <= 1 << 20);
            if at % 2048 == 0 {
                assert!((0..fit / 4).all(|at| get(&bounded, at) == Some(at)));
            }
        }
        assert!(bounded.weight() > 1 << 19, "it is used");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_passed_its_time_goes_first() {
        let bounded = Bounded::new(1 << 20);
        let fit = (1 << 20) / weight(&0_u64) as u64;
        for at in 0..fit / 2 {
            put(&bounded, at, LONG);
        }
        for turn in 1..=10 {
            advance(Duration::from_secs(5)).await;
            for at in 0..fit / 3 {
                put(&bounded, turn * 1_000_000 + at, Duration::from_secs(2));
            }
        }
        assert!((0..fit / 2).all(|at| get(&bounded, at) == Some(at)));
    }
}
