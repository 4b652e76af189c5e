//! What was learned, for as long as it holds (DESIGN 6): answers by target and credential, content by digest.
//!
//! Loads are tasks of their own: a caller that goes away, or whose deadline passes, neither stops nor restarts one.

use super::cause::{self, Kind, plain};
use super::hosts::RouteId;
use super::limits::{USUAL_WAIT, wait};
use crate::credentials::Fingerprint;
use crate::image::{Digest, Target};
use crate::telemetry::Metrics;
use crate::verdict::evidence::{BlobRef, Body, Evidence, TimeoutStage};
use crate::verdict::{Content, Failure, ImageFacts, IndexEntry};
use futures_util::FutureExt as _;
use moka::Expiry;
use moka::future::Cache;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long a tag's digest is believed.
const TAG: Duration = Duration::from_mins(1);
/// How long it is believed that a credential reads a digest.
const DIGEST: Duration = Duration::from_mins(5);
/// Not found and refused: long enough for a burst, short enough for a push that follows.
const SETTLED: Duration = Duration::from_secs(2);
/// Transport and 5xx.
const DOWN: Duration = USUAL_WAIT;
/// How long what an answer said of the pull quota is news: others pull meanwhile, and the window moves on.
const QUOTA: Duration = TAG;
/// Content by digest does not change.
const CONTENT: Duration = Duration::from_hours(6);

/// What an answer is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// As written in the reference.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) target: Target,
    /// Whose credential is sent, if any: nobody learns from another's.
    pub(super) fingerprint: Option<Fingerprint>,
    /// By which settings the registry is asked.
    pub(super) route: RouteId,
}

impl Key {
    fn weight(&self) -> usize {
        let target = match &self.target {
            Target::Tag(tag) => tag.len(),
            Target::Digest(digest) => digest.as_str().len(),
        };
        200 + self.registry.len() + self.repository.len() + target
    }
}

#[derive(Debug, Clone)]
struct Stored {
    latest: Result<Arc<ImageFacts>, Arc<Failure>>,
    fresh_until: Instant,
    /// The last good answer and when it was given; kept while the registry is down.
    good: Option<(Arc<ImageFacts>, Instant)>,
    /// How long the entry is of use.
    keep: Duration,
}

struct Keep;

impl Expiry<Key, Stored> for Keep {
    fn expire_after_create(&self, _key: &Key, stored: &Stored, _now: std::time::Instant) -> Option<Duration> {
        Some(stored.keep)
    }

    fn expire_after_update(
        &self,
        _key: &Key,
        stored: &Stored,
        _now: std::time::Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(stored.keep)
    }
}

/// What a look-up comes back with.
pub(super) type Answer = Result<ImageFacts, Failure>;

/// Answers by target and credential.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    cache: Cache<Key, Stored>,
    max_stale: Duration,
    limit: Duration,
    metrics: Metrics,
}

impl Answers {
    /// `bytes` bounds the weight; `max_stale` how long a good answer may serve while its registry is down; `limit` one load.
    pub(super) fn new(bytes: u64, max_stale: Duration, limit: Duration, metrics: Metrics) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Key, stored: &Stored| {
                let facts = |facts: &Arc<ImageFacts>| 200 + content_weight(&facts.content);
                let latest = match &stored.latest {
                    // The good answer is the same allocation.
                    Ok(_) => 0,
                    Err(failure) => 400 + failure.detail.as_ref().map_or(0, String::len),
                };
                let bytes = key.weight() + latest + stored.good.as_ref().map_or(0, |(good, _)| facts(good));
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(Keep)
            .build();
        Self {
            cache,
            max_stale,
            limit,
            metrics,
        }
    }

    /// What is kept, in bytes, roughly.
    pub(super) fn weight(&self) -> u64 {
        self.cache.weighted_size()
    }

    /// The answer for `key`: kept, or loaded by `load` (one load at a time, in the background). At `deadline` at the latest.
    pub(super) async fn look_up<L>(&self, key: Key, host: &str, deadline: Instant, load: L) -> Answer
    where
        L: Future<Output = Answer> + Send + 'static,
    {
        let old = self.cache.get(&key).await;
        if let Some(stored) = &old
            && Instant::now() < stored.fresh_until
        {
            return self.give(stored, "hit");
        }
        let loaded = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(self.clone().load(key, host.to_owned(), load, Arc::clone(&loaded)));
        match tokio::time::timeout_at(deadline, task).await {
            Ok(Ok(stored)) => self.give(&stored, if loaded.load(Ordering::Relaxed) { "miss" } else { "joined" }),
            // The runtime is shutting down; panics are caught within.
            Ok(Err(_)) => Err(plain(Evidence::Internal, host.to_owned())),
            Err(_) => match old.as_ref().and_then(|stored| self.still_good(stored)) {
                Some(good) => {
                    self.metrics.cache("answers", "stale");
                    Ok(stale(&good))
                }
                None => Err(plain(Evidence::TimedOut(TimeoutStage::Deadline), host.to_owned())),
            },
        }
    }

    async fn load<L>(self, key: Key, host: String, load: L, loaded: Arc<AtomicBool>) -> Stored
    where
        L: Future<Output = Answer> + Send + 'static,
    {
        let by_digest = matches!(key.target, Target::Digest(_));
        let before = self.cache.get(&key).await.and_then(|stored| stored.good);
        let init = async {
            loaded.store(true, Ordering::Relaxed);
            let bounded = tokio::time::timeout(self.limit, AssertUnwindSafe(load).catch_unwind());
            let answer = match bounded.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_panic)) => {
                    self.metrics.panicked();
                    tracing::error!("a registry look-up panicked; its image is judged as unknown");
                    Err(plain(Evidence::Internal, host))
                }
                Err(_) => Err(plain(Evidence::TimedOut(TimeoutStage::Deadline), host)),
            };
            self.store(answer, before, by_digest)
        };
        self.cache
            .entry(key)
            .or_insert_with_if(init, |old| Instant::now() >= old.fresh_until)
            .await
            .into_value()
    }

    /// Gives an answer its lifetime.
    fn store(&self, answer: Answer, before: Option<(Arc<ImageFacts>, Instant)>, by_digest: bool) -> Stored {
        let now = Instant::now();
        let (latest, fresh, good) = match answer {
            Ok(facts) => {
                let facts = Arc::new(facts);
                let good = Some((Arc::clone(&facts), now));
                (Ok(facts), if by_digest { DIGEST } else { TAG }, good)
            }
            Err(failure) => {
                let (fresh, good) = match cause::kind(&failure.evidence) {
                    Kind::Down => (DOWN, before),
                    Kind::Throttled => (wait(failure.retry_after), before),
                    // The registry says otherwise now.
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

    /// A good answer that may serve while the registry is down.
    fn still_good(&self, stored: &Stored) -> Option<Arc<ImageFacts>> {
        let (good, at) = stored.good.as_ref()?;
        (at.elapsed() <= self.max_stale).then(|| Arc::clone(good))
    }

    fn give(&self, stored: &Stored, result: &'static str) -> Answer {
        match &stored.latest {
            Ok(facts) => {
                self.metrics.cache("answers", result);
                let is_news = stored.good.as_ref().is_some_and(|(_, at)| at.elapsed() < QUOTA);
                let quota = facts.quota.filter(|_| is_news);
                Ok(ImageFacts {
                    quota,
                    ..ImageFacts::clone(facts)
                })
            }
            Err(failure) => {
                if cause::kind(&failure.evidence) == Kind::Down
                    && let Some(good) = self.still_good(stored)
                {
                    self.metrics.cache("answers", "stale");
                    return Ok(stale(&good));
                }
                self.metrics.cache("answers", result);
                let mut failure = Failure::clone(failure);
                if failure.evidence == Evidence::RateLimited {
                    failure.retry_after = Some(stored.fresh_until.saturating_duration_since(Instant::now()));
                }
                Err(failure)
            }
        }
    }
}

fn stale(good: &ImageFacts) -> ImageFacts {
    ImageFacts {
        stale: true,
        quota: None,
        ..good.clone()
    }
}

fn content_weight(content: &Content) -> usize {
    match content {
        Content::Index(entries) => entries_weight(entries),
        Content::Schema1 => 200,
        Content::Image { body, .. } => 200 + body_weight(body),
        Content::Artifact { kind, body, .. } => 100 + kind.len() + body_weight(body),
    }
}

/// The entries of an index, in bytes of memory.
pub(super) fn entries_weight(entries: &[IndexEntry]) -> usize {
    let of_entry = |entry: &IndexEntry| 250 + entry.digest.len() + entry.media_type.len();
    entries.iter().map(of_entry).sum()
}

/// What a manifest refers to, in bytes of memory.
pub(super) fn body_weight(body: &Body) -> usize {
    let of_blob = |blob: &BlobRef| 120 + blob.digest.len() + blob.media_type.len() + blob.elsewhere.as_ref().map_or(0, String::len);
    body.blobs.iter().map(of_blob).sum()
}

/// What content is kept under. Not by digest alone: a registry that lies about a digest must not be told what another holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ContentKey {
    pub(super) registry: String,
    pub(super) route: RouteId,
    pub(super) repository: String,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    /// As announced, where it was.
    pub(super) length: Option<u64>,
}

/// Content by digest. Asked only after the credential at hand was shown to read the digest.
#[derive(Debug)]
pub(super) struct Contents {
    cache: Cache<ContentKey, Arc<Content>>,
    metrics: Metrics,
}

impl Contents {
    pub(super) fn new(bytes: u64, metrics: Metrics) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &ContentKey, content: &Arc<Content>| {
                let name = key.registry.len() + key.repository.len() + key.digest.as_str().len() + key.media_type.len();
                u32::try_from(200 + name + content_weight(content)).unwrap_or(u32::MAX)
            })
            .time_to_live(CONTENT)
            .build();
        Self { cache, metrics }
    }

    /// What is kept, in bytes, roughly.
    pub(super) fn weight(&self) -> u64 {
        self.cache.weighted_size()
    }

    pub(super) async fn get(&self, key: &ContentKey) -> Option<Content> {
        let found = self.cache.get(key).await;
        self.metrics.cache("content", if found.is_some() { "hit" } else { "miss" });
        found.map(|content| Content::clone(&content))
    }

    pub(super) async fn put(&self, key: ContentKey, content: Content) {
        self.cache.insert(key, Arc::new(content)).await;
    }
}

#[cfg(test)]
mod tests;
