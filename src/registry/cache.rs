//! What was learned, for as long as it holds (contract 6): answers by target and credential, content by digest.
//!
//! Loads are tasks of their own: a caller that goes away, or whose deadline passes, neither stops nor restarts one.

use super::cause::plain;
use super::hosts::RouteId;
use super::kept::{AsLong, Given, Kept};
use crate::credentials::Fingerprint;
use crate::image::{Digest, Target};
use crate::runtime::content::{BlobRef, Body};
use crate::runtime::outcome::{Evidence, TimeoutStage};
use crate::telemetry::{CacheName, CacheResult, Metrics};
use crate::verdict::{Content, Failure, ImageFacts, IndexEntry};
use futures_util::FutureExt as _;
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

/// Facts are shared: the good answer is the same allocation as the latest.
type Stored = Kept<Arc<ImageFacts>>;

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
                let good = stored.good.as_ref().map_or(0, |(good, _)| facts(good));
                let bytes = key.weight() + stored.failure_weight() + good;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(AsLong)
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
            && !stored.is_old()
        {
            return self.give(stored, CacheResult::Hit);
        }
        let loaded = Arc::new(AtomicBool::new(false));
        let answer = if Instant::now() < deadline {
            let task = tokio::spawn(self.clone().load(key, host.to_owned(), load, Arc::clone(&loaded)));
            tokio::time::timeout_at(deadline, task).await.ok()
        } else {
            // Nobody waits for it any more: not even begun.
            None
        };
        match answer {
            Some(Ok(stored)) => self.give(
                &stored,
                if loaded.load(Ordering::Relaxed) {
                    CacheResult::Miss
                } else {
                    CacheResult::Joined
                },
            ),
            // The runtime is shutting down; panics are caught within.
            Some(Err(_)) => Err(plain(Evidence::Internal, host.to_owned())),
            None => match old.as_ref().and_then(|stored| stored.still_good(self.max_stale)) {
                Some(good) => {
                    self.metrics.cache(CacheName::Answers, CacheResult::Stale);
                    Ok(stale(good))
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
            let fresh = if by_digest { DIGEST } else { TAG };
            Stored::new(answer.map(Arc::new), fresh, before, self.max_stale)
        };
        self.cache.entry(key).or_insert_with_if(init, Kept::is_old).await.into_value()
    }

    fn give(&self, stored: &Stored, result: CacheResult) -> Answer {
        match stored.give(self.max_stale) {
            Given::Latest(facts) => {
                self.metrics.cache(CacheName::Answers, result);
                let is_news = stored.good.as_ref().is_some_and(|(_, at)| at.elapsed() < QUOTA);
                let quota = facts.quota.filter(|_| is_news);
                Ok(ImageFacts {
                    quota,
                    ..ImageFacts::clone(facts)
                })
            }
            Given::Stale(facts) => {
                self.metrics.cache(CacheName::Answers, CacheResult::Stale);
                Ok(stale(facts))
            }
            Given::Failed(failure) => {
                self.metrics.cache(CacheName::Answers, result);
                let mut failure = failure.clone();
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
        self.metrics.cache(
            CacheName::Content,
            if found.is_some() {
                CacheResult::Hit
            } else {
                CacheResult::Miss
            },
        );
        found.map(|content| Content::clone(&content))
    }

    pub(super) async fn put(&self, key: ContentKey, content: Content) {
        self.cache.insert(key, Arc::new(content)).await;
    }
}

#[cfg(test)]
mod tests;
