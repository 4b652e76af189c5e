//! Deduplicates and rate-limits Events: repetitions are counted in one Event, and each namespace and all of them together have a
//! rate. Pure: the caller passes in the time.

use super::{EventReason, Regarding, ReviewEvent};
use jiff::Timestamp;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// The same event within this time counts as a repetition.
const WINDOW: Duration = Duration::from_mins(10);
/// The most often that the count of one Event is updated.
const REFRESH: Duration = Duration::from_secs(30);
/// Events that can be repeated; bounded because object names come from users.
const SERIES: usize = 1_000;
/// Namespaces whose rates are remembered; beyond that, new ones have to wait.
const NAMESPACES: usize = 2_000;
/// How many Events a namespace may write at once, and how long until it may write one more.
const NAMESPACE: (u32, Duration) = (20, Duration::from_secs(15));
/// The same for all namespaces together.
const ALL: (u32, Duration) = (100, Duration::from_millis(500));
/// The namespace for Events about cluster-scoped objects: the API server accepts no other.
const NO_NAMESPACE: &str = "default";

/// Identifies repetitions of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// With the stem as its name.
    regarding: Regarding,
    reason: EventReason,
    about: u64,
}

/// An Event to be created.
#[derive(Debug)]
pub(super) struct NewEvent {
    pub(super) key: Key,
    pub(super) namespace: String,
    /// `metadata.name`.
    pub(super) name: String,
    pub(super) at: Timestamp,
    pub(super) event: ReviewEvent,
}

/// A count to be updated.
#[derive(Debug)]
pub(super) struct SeriesUpdate {
    pub(super) key: Key,
    pub(super) namespace: String,
    /// `metadata.name`.
    pub(super) name: String,
    pub(super) count: u32,
    pub(super) last: Timestamp,
}

/// What to do with an event.
#[derive(Debug)]
pub(super) enum Correlated {
    /// It is new.
    Write(Box<NewEvent>),
    /// It was written before, and is counted.
    Repeated,
    /// There have been too many recently.
    Limited,
    /// Its namespace refuses Events.
    Muted,
}

#[derive(Debug)]
struct Series {
    namespace: String,
    name: String,
    count: u32,
    written: u32,
    last: Timestamp,
    seen: Instant,
    /// When the count may be updated.
    next: Instant,
}

#[derive(Debug, Default)]
struct NamespaceState {
    bucket: Bucket,
    muted: Option<Instant>,
}

/// A token bucket: full at the start.
#[derive(Debug, Default)]
struct Bucket {
    used: u32,
    since: Option<Instant>,
}

impl Bucket {
    fn refill(&mut self, (_, every): (u32, Duration), now: Instant) {
        let Some(since) = self.since else { return };
        let earned = now.saturating_duration_since(since).as_millis() / every.as_millis().max(1);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX).min(self.used);
        self.used -= earned;
        self.since = (self.used > 0).then(|| since + every * earned);
    }

    fn has_room(&mut self, rate: (u32, Duration), now: Instant) -> bool {
        self.refill(rate, now);
        self.used < rate.0
    }

    fn spend(&mut self, now: Instant) {
        self.used += 1;
        self.since.get_or_insert(now);
    }
}

/// Decides which events are written, counted or dropped.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    series: HashMap<Key, Series>,
    namespaces: HashMap<String, NamespaceState>,
    all: Bucket,
    names: RandomState,
    made: u64,
}

impl Correlator {
    /// Decides what to do with an event.
    pub(super) fn take(&mut self, at: Timestamp, event: ReviewEvent, now: Instant) -> Correlated {
        let namespace = match event.regarding.namespace.as_str() {
            "" => NO_NAMESPACE.to_owned(),
            namespace => namespace.to_owned(),
        };
        let key = Key {
            regarding: Regarding {
                name: event.stem.clone(),
                ..event.regarding.clone()
            },
            reason: event.reason,
            about: event.about,
        };
        if let Some(series) = self.series.get_mut(&key).filter(|series| now < series.seen + WINDOW) {
            series.count = series.count.saturating_add(1);
            (series.last, series.seen) = (at, now);
            return Correlated::Repeated;
        }
        match self.spend(&namespace, now) {
            Spent::Yes => {}
            Spent::Muted => return Correlated::Muted,
            Spent::No => return Correlated::Limited,
        }
        let name = self.name(&event.regarding.name);
        self.make_room(now);
        let series = Series {
            namespace: namespace.clone(),
            name: name.clone(),
            count: 1,
            written: 1,
            last: at,
            seen: now,
            next: now + REFRESH,
        };
        self.series.insert(key.clone(), series);
        Correlated::Write(Box::new(NewEvent {
            key,
            namespace,
            name,
            at,
            event,
        }))
    }

    /// When to call [`Self::due`] next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.series.values().filter(|series| series.count > series.written);
        waiting.map(|series| series.next).min()
    }

    /// A count to update now.
    pub(super) fn due(&mut self, now: Instant) -> Option<SeriesUpdate> {
        let late = |series: &Series| series.count > series.written && series.next <= now;
        let (key, _) = self
            .series
            .iter()
            .filter(|(_, series)| late(series))
            .min_by_key(|(_, series)| series.next)?;
        let key = key.clone();
        let namespace = self.series.get(&key)?.namespace.clone();
        let spent = self.spend(&namespace, now);
        let series = self.series.get_mut(&key)?;
        series.next = now + REFRESH;
        match spent {
            Spent::Yes => {
                series.written = series.count;
                Some(SeriesUpdate {
                    namespace,
                    name: series.name.clone(),
                    count: series.count,
                    last: series.last,
                    key,
                })
            }
            // Later, together with what comes until then.
            Spent::No | Spent::Muted => None,
        }
    }

    /// The Event was not written or was deleted: the next one is new.
    pub(super) fn forget(&mut self, key: &Key) {
        self.series.remove(key);
    }

    /// Stops writing to this namespace until then.
    pub(super) fn mute(&mut self, namespace: &str, until: Instant) {
        if let Some(state) = self.namespaces.get_mut(namespace) {
            state.muted = Some(until);
        }
    }

    fn spend(&mut self, namespace: &str, now: Instant) -> Spent {
        if !self.namespaces.contains_key(namespace) {
            if self.namespaces.len() >= NAMESPACES {
                self.namespaces.retain(|_, state| {
                    state.bucket.refill(NAMESPACE, now);
                    state.bucket.used > 0 || state.muted.is_some_and(|until| now < until)
                });
            }
            if self.namespaces.len() >= NAMESPACES {
                return Spent::No;
            }
        }
        let state = self.namespaces.entry(namespace.to_owned()).or_default();
        if state.muted.is_some_and(|until| now < until) {
            return Spent::Muted;
        }
        if !state.bucket.has_room(NAMESPACE, now) || !self.all.has_room(ALL, now) {
            return Spent::No;
        }
        state.bucket.spend(now);
        self.all.spend(now);
        Spent::Yes
    }

    /// Makes room for one more series: removes expired ones, or else the least recent one.
    fn make_room(&mut self, now: Instant) {
        if self.series.len() < SERIES {
            return;
        }
        self.series.retain(|_, series| now < series.seen + WINDOW);
        if self.series.len() >= SERIES {
            let oldest = self.series.iter().min_by_key(|(_, series)| series.seen);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.series.remove(&key);
            }
        }
    }

    /// Named like the kubelet's Events: the object's name and a unique number.
    fn name(&mut self, object: &str) -> String {
        /// Both an object's name and an Event's may have 253 characters.
        const LONGEST: usize = 200;
        self.made = self.made.wrapping_add(1);
        let number = self.names.hash_one(self.made);
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let plain: String = object.chars().filter(|c| is_plain(*c)).take(LONGEST).collect();
        let plain = plain.trim_matches(['-', '.']);
        let plain = if super::super::convert::is_name(plain) {
            plain
        } else {
            "object"
        };
        format!("{plain}.{number:016x}")
    }
}

enum Spent {
    Yes,
    No,
    Muted,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(namespace: &str, name: &str, about: u64) -> ReviewEvent {
        ReviewEvent {
            reason: EventReason::Denied,
            regarding: Regarding {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: String::new(),
            },
            stem: name.to_owned(),
            about,
            note: "n".to_owned(),
        }
    }

    fn take(correlator: &mut Correlator, event: ReviewEvent, now: Instant) -> &'static str {
        match correlator.take(Timestamp::now(), event, now) {
            Correlated::Write(_) => "write",
            Correlated::Repeated => "repeated",
            Correlated::Limited => "limited",
            Correlated::Muted => "muted",
        }
    }

    #[test]
    fn the_same_again_is_counted_and_the_count_is_written_now_and_then() {
        let (mut correlator, start) = (Correlator::default(), Instant::now());
        assert_eq!(take(&mut correlator, event("shop", "api", 1), start), "write");
        assert_eq!(correlator.next_due(), None);
        for _ in 0..4 {
            assert_eq!(take(&mut correlator, event("shop", "api", 1), start), "repeated");
        }
        assert_eq!(
            take(&mut correlator, event("shop", "api", 2), start),
            "write",
            "another cause"
        );
        assert_eq!(
            take(&mut correlator, event("shop", "web", 1), start),
            "write",
            "another object"
        );
        assert_eq!(correlator.next_due(), Some(start + REFRESH));
        assert!(correlator.due(start).is_none());
        let update = correlator.due(start + REFRESH).unwrap();
        assert_eq!(update.count, 5);
        assert!(update.name.starts_with("api."), "{}", update.name);
        assert!(correlator.due(start + REFRESH).is_none());
        assert_eq!(
            take(&mut correlator, event("shop", "api", 1), start + WINDOW - REFRESH),
            "repeated"
        );
        assert_eq!(correlator.due(start + WINDOW).unwrap().count, 6);
        // Long after the last one, it counts as a new event.
        assert_eq!(take(&mut correlator, event("shop", "api", 1), start + WINDOW * 2), "write");
    }

    #[test]
    fn objects_that_get_their_names_are_told_apart_by_their_stem() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        for (name, expected) in [("job-x7k2p", "write"), ("job-9bq4z", "repeated")] {
            let mut made = event("shop", name, 1);
            made.stem = "job-".to_owned();
            assert_eq!(take(&mut correlator, made, now), expected);
        }
    }

    #[test]
    fn a_namespace_cannot_use_up_what_others_need() {
        let (mut correlator, start) = (Correlator::default(), Instant::now());
        let written = |correlator: &mut Correlator, namespace: &str, now: Instant| {
            let taken = (0..1000).map(|n| take(correlator, event(namespace, &format!("o{n}"), u64::MAX), now));
            taken.filter(|taken| *taken == "write").count()
        };
        assert_eq!(written(&mut correlator, "loud", start), 20);
        assert_eq!(take(&mut correlator, event("quiet", "api", 1), start), "write");
        // A minute later, four more are allowed.
        let mut loud = |n: u64| take(&mut correlator, event("loud", "more", n), start + Duration::from_mins(1));
        let later: Vec<_> = (0..6).map(&mut loud).collect();
        assert_eq!(later, ["write", "write", "write", "write", "limited", "limited"]);
    }

    #[test]
    fn all_namespaces_together_have_a_rate_too() {
        let (mut correlator, start) = (Correlator::default(), Instant::now());
        let taken = (0..500).map(|n| take(&mut correlator, event(&format!("ns{n}"), "api", 1), start));
        assert_eq!(taken.filter(|taken| *taken == "write").count(), 100);
        let later = start + Duration::from_secs(5);
        let taken = (500..1000).map(|n| take(&mut correlator, event(&format!("ns{n}"), "api", 1), later));
        assert_eq!(taken.filter(|taken| *taken == "write").count(), 10);
    }

    #[test]
    fn a_namespace_that_refuses_is_left_alone_for_a_while() {
        let (mut correlator, start) = (Correlator::default(), Instant::now());
        assert_eq!(take(&mut correlator, event("shop", "api", 1), start), "write");
        let until = start + Duration::from_mins(5);
        correlator.mute("shop", until);
        assert_eq!(take(&mut correlator, event("shop", "api", 2), start), "muted");
        assert_eq!(take(&mut correlator, event("other", "api", 2), start), "write");
        assert_eq!(take(&mut correlator, event("shop", "api", 2), until), "write");
    }

    #[test]
    fn nothing_grows_with_the_names_that_users_choose() {
        let (mut correlator, mut now) = (Correlator::default(), Instant::now());
        for n in 0..20_000_u64 {
            now += Duration::from_millis(600);
            take(&mut correlator, event(&format!("ns{n}"), &format!("o{n}"), n), now);
            assert!(correlator.series.len() <= SERIES && correlator.namespaces.len() <= NAMESPACES);
        }
        assert_eq!(correlator.series.len(), SERIES);
    }

    #[test]
    fn names_are_names_whatever_the_object_is_called() {
        let mut correlator = Correlator::default();
        for (object, begins) in [
            ("api", "api."),
            ("", "object."),
            ("../x", "x."),
            ("API", "object."),
            ("a..b", "object."),
            ("job-", "job."),
            ("\u{1b}[31m", "31m."),
        ] {
            let name = correlator.name(object);
            assert!(name.starts_with(begins), "{object}: {name}");
            assert!(super::super::super::convert::is_name(&name), "{name}");
        }
        assert!(correlator.name(&"a".repeat(300)).len() <= 253);
        assert_ne!(correlator.name("api"), correlator.name("api"));
    }
}
