//! What was learned of the parts of images beyond `depth: manifest`: by digest and credential, each part once for all that share it.

use super::cache::{ContentKey, body_weight, entries_weight};
use super::cause::{self, Kind};
use super::hosts::RouteId;
use super::limits::{USUAL_WAIT, wait};
use super::manifest::Parsed;
use crate::credentials::Fingerprint;
use crate::image::Platform;
use crate::telemetry::Metrics;
use crate::verdict::Failure;
use moka::Expiry;
use moka::future::Cache;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long it is believed that a credential reads a part.
const THERE: Duration = Duration::from_mins(5);
/// Missing and refused: long enough for a burst, short enough for a push that follows.
const SETTLED: Duration = Duration::from_secs(2);
/// What a digest stands for does not change.
const CONTENT: Duration = Duration::from_hours(6);

/// Which part, asked for by whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PartKey {
    /// As written in the reference.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) route: RouteId,
    /// Each credential proves for itself what it reads.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) what: What,
    pub(super) digest: String,
    pub(super) media_type: String,
    /// In bytes, as the descriptor has it: a part of another size is none.
    pub(super) size: i64,
}

/// What kind of part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    Manifest,
    /// Of an image of so many layers.
    Config {
        layers: usize,
    },
    Blob,
}

/// A part that is there.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Manifest(Arc<Parsed>),
    /// What it says of the platform.
    Config(Option<Platform>),
    Blob,
}

/// A part, or why there is none.
pub(super) type Found = Result<Part, Failure>;

#[derive(Debug, Clone)]
struct Stored {
    latest: Result<Part, Arc<Failure>>,
    fresh_until: Instant,
    /// The last good answer and when it was given; kept while the registry is down.
    good: Option<(Part, Instant)>,
    /// How long the entry is of use.
    keep: Duration,
}

struct Keep;

impl Expiry<PartKey, Stored> for Keep {
    fn expire_after_create(&self, _key: &PartKey, stored: &Stored, _now: std::time::Instant) -> Option<Duration> {
        Some(stored.keep)
    }

    fn expire_after_update(
        &self,
        _key: &PartKey,
        stored: &Stored,
        _now: std::time::Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(stored.keep)
    }
}

/// A manifest that was read, and its length in bytes.
pub(super) type Read = (Arc<Parsed>, usize);

/// The parts.
#[derive(Debug)]
pub(super) struct Parts {
    cache: Cache<PartKey, Stored>,
    /// Child manifests, whoever read them: who proves to read one by HEAD need not fetch it again.
    manifests: Cache<ContentKey, Read>,
    max_stale: Duration,
    metrics: Metrics,
}

impl Parts {
    /// `bytes` bounds the weight of all together; `max_stale` how long what was there serves while its registry is down.
    pub(super) fn new(bytes: u64, max_stale: Duration, metrics: Metrics) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes / 2)
            .weigher(|key: &PartKey, stored: &Stored| {
                let name = key.registry.len() + key.repository.len() + key.digest.len() + key.media_type.len();
                let failure = stored
                    .latest
                    .as_ref()
                    .err()
                    .map_or(0, |failure| 400 + failure.detail.as_ref().map_or(0, String::len));
                let good = stored.good.as_ref().map_or(0, |(part, _)| weight(part));
                u32::try_from(400 + name + failure + good).unwrap_or(u32::MAX)
            })
            .expire_after(Keep)
            .build();
        let manifests = Cache::builder()
            .max_capacity(bytes / 2)
            .weigher(|key: &ContentKey, (parsed, _): &Read| {
                let name = key.registry.len() + key.repository.len() + key.digest.as_str().len() + key.media_type.len();
                u32::try_from(200 + name + parsed_weight(parsed)).unwrap_or(u32::MAX)
            })
            .time_to_live(CONTENT)
            .build();
        Self {
            cache,
            manifests,
            max_stale,
            metrics,
        }
    }

    /// What is kept of parts and of manifests, in bytes, roughly.
    pub(super) fn weights(&self) -> [u64; 2] {
        [self.cache.weighted_size(), self.manifests.weighted_size()]
    }

    /// What is known now, without asking; `None` when that is nothing.
    pub(super) async fn known(&self, key: &PartKey) -> Option<Found> {
        let stored = self.cache.get(key).await?;
        if Instant::now() < stored.fresh_until {
            return Some(self.give(&stored));
        }
        self.still_good(&stored).map(Ok)
    }

    /// The part: kept, or loaded by `load`, by one at a time. Whoever goes away leaves the loading to the next who waits.
    pub(super) async fn get<L>(&self, key: PartKey, load: L) -> Found
    where
        L: Future<Output = Found>,
    {
        let before = self.cache.get(&key).await.and_then(|stored| stored.good);
        let load = async { self.store(load.await, before) };
        let entry = self
            .cache
            .entry(key)
            .or_insert_with_if(load, |old| Instant::now() >= old.fresh_until)
            .await;
        self.metrics.cache("parts", if entry.is_fresh() { "miss" } else { "hit" });
        self.give(&entry.into_value())
    }

    /// A child manifest that somebody has read.
    pub(super) async fn manifest(&self, key: &ContentKey) -> Option<Read> {
        self.manifests.get(key).await
    }

    /// Keeps a child manifest.
    pub(super) async fn keep(&self, key: ContentKey, read: Read) {
        self.manifests.insert(key, read).await;
    }

    /// Gives what was found its lifetime.
    fn store(&self, found: Found, before: Option<(Part, Instant)>) -> Stored {
        let now = Instant::now();
        let (latest, fresh, good) = match found {
            Ok(part) => (Ok(part.clone()), THERE, Some((part, now))),
            Err(failure) => {
                let (fresh, good) = match cause::kind(&failure.evidence) {
                    Kind::Down => (USUAL_WAIT, before),
                    Kind::Throttled => (wait(failure.retry_after), before),
                    Kind::Settled => (SETTLED, None),
                };
                (Err(Arc::new(failure)), fresh, good)
            }
        };
        let good_for = good
            .as_ref()
            .map_or(Duration::ZERO, |(_, at)| self.max_stale.saturating_sub(at.elapsed()));
        Stored {
            latest,
            fresh_until: now + fresh,
            keep: fresh.max(good_for),
            good,
        }
    }

    fn still_good(&self, stored: &Stored) -> Option<Part> {
        let (good, at) = stored.good.as_ref()?;
        (at.elapsed() <= self.max_stale).then(|| good.clone())
    }

    /// What is content by its digest was there when the registry last answered.
    fn give(&self, stored: &Stored) -> Found {
        match &stored.latest {
            Ok(part) => Ok(part.clone()),
            Err(failure) => match self.still_good(stored) {
                Some(good) if cause::kind(&failure.evidence) == Kind::Down => Ok(good),
                Some(_) | None => Err(Failure::clone(failure)),
            },
        }
    }
}

fn weight(part: &Part) -> usize {
    match part {
        Part::Manifest(parsed) => parsed_weight(parsed),
        Part::Config(_) => 200,
        Part::Blob => 0,
    }
}

fn parsed_weight(parsed: &Parsed) -> usize {
    match parsed {
        Parsed::Index(entries) => entries_weight(entries),
        Parsed::Image { body, .. } | Parsed::Artifact { body, .. } => 400 + body_weight(body),
    }
}
