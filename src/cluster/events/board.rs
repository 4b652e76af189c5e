//! What was told of late, and how much more may be: repetitions are counted in one Event, and each namespace and all of them together
//! have a rate. Pure but for the time, which callers give.

use super::{Notice, Occasion, Regarding};
use jiff::Timestamp;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// What comes again within this time is a repetition.
const WINDOW: Duration = Duration::from_mins(10);
/// How often the count of one Event is written at most.
const REFRESH: Duration = Duration::from_secs(30);
/// Events that may be repeated; object names come from users.
const SERIES: usize = 1_000;
/// Namespaces whose rates are remembered; beyond, new ones have to wait.
const SPACES: usize = 2_000;
/// What a namespace may write at once, and the time in which one more is earned.
const NAMESPACE: (u32, Duration) = (20, Duration::from_secs(15));
/// What all may write at once, and the time in which one more is earned.
const ALL: (u32, Duration) = (100, Duration::from_millis(500));
/// The namespace where Events of objects without one live: the API server accepts no other.
const NO_NAMESPACE: &str = "default";

/// What makes two notices the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// With the stem for its name.
    regarding: Regarding,
    occasion: Occasion,
    about: u64,
}

/// An Event to be created.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) key: Key,
    pub(super) namespace: String,
    /// `metadata.name`.
    pub(super) name: String,
    pub(super) at: Timestamp,
    pub(super) notice: Notice,
}

/// A count to be written.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) key: Key,
    pub(super) namespace: String,
    /// `metadata.name`.
    pub(super) name: String,
    pub(super) count: u32,
    pub(super) last: Timestamp,
}

/// What becomes of a notice.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is new.
    Write(Box<Draft>),
    /// It was told already, and is counted.
    Repeated,
    /// There were too many of late.
    Limited,
    /// Its namespace refuses.
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
    /// When the count may be written.
    next: Instant,
}

#[derive(Debug, Default)]
struct Space {
    bucket: Bucket,
    muted: Option<Instant>,
}

/// A rate: full at the start.
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

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Board {
    series: HashMap<Key, Series>,
    spaces: HashMap<String, Space>,
    all: Bucket,
    names: RandomState,
    made: u64,
}

impl Board {
    /// Decides about a notice.
    pub(super) fn take(&mut self, at: Timestamp, notice: Notice, now: Instant) -> Taken {
        let namespace = match notice.regarding.namespace.as_str() {
            "" => NO_NAMESPACE.to_owned(),
            namespace => namespace.to_owned(),
        };
        let key = Key {
            regarding: Regarding {
                name: notice.stem.clone(),
                ..notice.regarding.clone()
            },
            occasion: notice.occasion,
            about: notice.about,
        };
        if let Some(series) = self.series.get_mut(&key).filter(|series| now < series.seen + WINDOW) {
            series.count = series.count.saturating_add(1);
            (series.last, series.seen) = (at, now);
            return Taken::Repeated;
        }
        match self.spend(&namespace, now) {
            Spent::Yes => {}
            Spent::Muted => return Taken::Muted,
            Spent::No => return Taken::Limited,
        }
        let name = self.name(&notice.regarding.name);
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
        Taken::Write(Box::new(Draft {
            key,
            namespace,
            name,
            at,
            notice,
        }))
    }

    /// When [`Self::due`] is worth asking next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.series.values().filter(|series| series.count > series.written);
        waiting.map(|series| series.next).min()
    }

    /// A count that is to be written now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Update> {
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
                Some(Update {
                    namespace,
                    name: series.name.clone(),
                    count: series.count,
                    last: series.last,
                    key,
                })
            }
            // Later, with what will have come until then.
            Spent::No | Spent::Muted => None,
        }
    }

    /// It was not written, or is no more: the next one is new.
    pub(super) fn forget(&mut self, key: &Key) {
        self.series.remove(key);
    }

    /// Nothing goes to this namespace until then.
    pub(super) fn mute(&mut self, namespace: &str, until: Instant) {
        if let Some(space) = self.spaces.get_mut(namespace) {
            space.muted = Some(until);
        }
    }

    fn spend(&mut self, namespace: &str, now: Instant) -> Spent {
        if !self.spaces.contains_key(namespace) {
            if self.spaces.len() >= SPACES {
                self.spaces.retain(|_, space| {
                    space.bucket.refill(NAMESPACE, now);
                    space.bucket.used > 0 || space.muted.is_some_and(|until| now < until)
                });
            }
            if self.spaces.len() >= SPACES {
                return Spent::No;
            }
        }
        let space = self.spaces.entry(namespace.to_owned()).or_default();
        if space.muted.is_some_and(|until| now < until) {
            return Spent::Muted;
        }
        if !space.bucket.has_room(NAMESPACE, now) || !self.all.has_room(ALL, now) {
            return Spent::No;
        }
        space.bucket.spend(now);
        self.all.spend(now);
        Spent::Yes
    }

    /// Room for one more series: what is over goes, else what was seen longest ago.
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

    /// As the kubelet names its Events: the object's name and a number that nobody else has.
    fn name(&mut self, object: &str) -> String {
        /// An object's name may have 253 characters, and so may an Event's.
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

    fn notice(namespace: &str, name: &str, about: u64) -> Notice {
        Notice {
            occasion: Occasion::Denied,
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

    fn take(board: &mut Board, notice: Notice, now: Instant) -> &'static str {
        match board.take(Timestamp::now(), notice, now) {
            Taken::Write(_) => "write",
            Taken::Repeated => "repeated",
            Taken::Limited => "limited",
            Taken::Muted => "muted",
        }
    }

    #[test]
    fn the_same_again_is_counted_and_the_count_is_written_now_and_then() {
        let (mut board, start) = (Board::default(), Instant::now());
        assert_eq!(take(&mut board, notice("shop", "api", 1), start), "write");
        assert_eq!(board.next_due(), None);
        for _ in 0..4 {
            assert_eq!(take(&mut board, notice("shop", "api", 1), start), "repeated");
        }
        assert_eq!(take(&mut board, notice("shop", "api", 2), start), "write", "another cause");
        assert_eq!(take(&mut board, notice("shop", "web", 1), start), "write", "another object");
        assert_eq!(board.next_due(), Some(start + REFRESH));
        assert!(board.due(start).is_none());
        let update = board.due(start + REFRESH).unwrap();
        assert_eq!(update.count, 5);
        assert!(update.name.starts_with("api."), "{}", update.name);
        assert!(board.due(start + REFRESH).is_none());
        assert_eq!(
            take(&mut board, notice("shop", "api", 1), start + WINDOW - REFRESH),
            "repeated"
        );
        assert_eq!(board.due(start + WINDOW).unwrap().count, 6);
        // Long after the last one it is news again.
        assert_eq!(take(&mut board, notice("shop", "api", 1), start + WINDOW * 2), "write");
    }

    #[test]
    fn objects_that_get_their_names_are_told_apart_by_their_stem() {
        let (mut board, now) = (Board::default(), Instant::now());
        for (name, expected) in [("job-x7k2p", "write"), ("job-9bq4z", "repeated")] {
            let mut made = notice("shop", name, 1);
            made.stem = "job-".to_owned();
            assert_eq!(take(&mut board, made, now), expected);
        }
    }

    #[test]
    fn a_namespace_cannot_use_up_what_others_need() {
        let (mut board, start) = (Board::default(), Instant::now());
        let written = |board: &mut Board, namespace: &str, now: Instant| {
            let taken = (0..1000).map(|n| take(board, notice(namespace, &format!("o{n}"), u64::MAX), now));
            taken.filter(|taken| *taken == "write").count()
        };
        assert_eq!(written(&mut board, "loud", start), 20);
        assert_eq!(take(&mut board, notice("quiet", "api", 1), start), "write");
        // A minute later it has earned four more.
        let mut loud = |n: u64| take(&mut board, notice("loud", "more", n), start + Duration::from_mins(1));
        let later: Vec<_> = (0..6).map(&mut loud).collect();
        assert_eq!(later, ["write", "write", "write", "write", "limited", "limited"]);
    }

    #[test]
    fn all_namespaces_together_have_a_rate_too() {
        let (mut board, start) = (Board::default(), Instant::now());
        let taken = (0..500).map(|n| take(&mut board, notice(&format!("ns{n}"), "api", 1), start));
        assert_eq!(taken.filter(|taken| *taken == "write").count(), 100);
        let later = start + Duration::from_secs(5);
        let taken = (500..1000).map(|n| take(&mut board, notice(&format!("ns{n}"), "api", 1), later));
        assert_eq!(taken.filter(|taken| *taken == "write").count(), 10);
    }

    #[test]
    fn a_namespace_that_refuses_is_left_alone_for_a_while() {
        let (mut board, start) = (Board::default(), Instant::now());
        assert_eq!(take(&mut board, notice("shop", "api", 1), start), "write");
        let until = start + Duration::from_mins(5);
        board.mute("shop", until);
        assert_eq!(take(&mut board, notice("shop", "api", 2), start), "muted");
        assert_eq!(take(&mut board, notice("other", "api", 2), start), "write");
        assert_eq!(take(&mut board, notice("shop", "api", 2), until), "write");
    }

    #[test]
    fn nothing_grows_with_the_names_that_users_choose() {
        let (mut board, mut now) = (Board::default(), Instant::now());
        for n in 0..20_000_u64 {
            now += Duration::from_millis(600);
            take(&mut board, notice(&format!("ns{n}"), &format!("o{n}"), n), now);
            assert!(board.series.len() <= SERIES && board.spaces.len() <= SPACES);
        }
        assert_eq!(board.series.len(), SERIES);
    }

    #[test]
    fn names_are_names_whatever_the_object_is_called() {
        let mut board = Board::default();
        for (object, begins) in [
            ("api", "api."),
            ("", "object."),
            ("../x", "x."),
            ("API", "object."),
            ("a..b", "object."),
            ("job-", "job."),
            ("\u{1b}[31m", "31m."),
        ] {
            let name = board.name(object);
            assert!(name.starts_with(begins), "{object}: {name}");
            assert!(super::super::super::convert::is_name(&name), "{name}");
        }
        assert!(board.name(&"a".repeat(300)).len() <= 253);
        assert_ne!(board.name("api"), board.name("api"));
    }
}
