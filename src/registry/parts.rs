//! What was learned of the parts of images beyond `depth: manifest`: by digest and credential, each part once for all that share it.

use super::cache::{ContentKey, body_weight, entries_weight};
use super::hosts::RouteId;
use super::kept::{AsLong, Given, Kept};
use crate::credentials::Fingerprint;
use crate::image::Platform;
use crate::runtime::containerd::manifest::{Claims, Parsed};
use crate::telemetry::{CacheName, CacheResult, Metrics};
use crate::verdict::Failure;
use moka::future::Cache;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long it is believed that a credential reads a part.
const THERE: Duration = Duration::from_mins(5);
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum What {
    Manifest,
    /// Of a manifest that says this.
    Config(Arc<Claims>),
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

type Stored = Kept<Part>;

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
                let claims = match &key.what {
                    What::Config(claims) => claims.layers.len() * 200 + claims.platforms.len() * 200,
                    What::Manifest | What::Blob => 0,
                };
                let good = stored.good.as_ref().map_or(0, |(part, _)| weight(part));
                u32::try_from(400 + name + claims + stored.failure_weight() + good).unwrap_or(u32::MAX)
            })
            .expire_after(AsLong)
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
        if !stored.is_old() {
            return Some(self.give(&stored));
        }
        stored.still_good(self.max_stale).cloned().map(Ok)
    }

    /// The part: kept, or loaded by `load`, by one at a time. Whoever goes away leaves the loading to the next who waits.
    pub(super) async fn get<L>(&self, key: PartKey, load: L) -> Found
    where
        L: Future<Output = Found>,
    {
        let before = self.cache.get(&key).await.and_then(|stored| stored.good);
        let load = async { Stored::new(load.await, THERE, before, self.max_stale) };
        let entry = self.cache.entry(key).or_insert_with_if(load, Kept::is_old).await;
        self.metrics.cache(
            CacheName::Parts,
            if entry.is_fresh() {
                CacheResult::Miss
            } else {
                CacheResult::Hit
            },
        );
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

    /// What is content by its digest was there when the registry last answered.
    fn give(&self, stored: &Stored) -> Found {
        match stored.give(self.max_stale) {
            Given::Latest(part) | Given::Stale(part) => Ok(part.clone()),
            Given::Failed(failure) => Err(failure.clone()),
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
        Parsed::Image { config, body } => 400 + body_weight(body) + config.claims.layers.len() * 200,
        Parsed::Artifact { body, .. } => 400 + body_weight(body),
    }
}
