//! Beyond `depth: manifest`: the manifests, configs and layers that the pullers of a check would fetch (contract 4; pull-semantics 5.5, 5.6).
//!
//! Everything is asked for as a node would, each part once for all images that share it, and for each credential by itself ([`super::parts`]).
//! What is not known by the deadline is a trouble of its part, and Unknown; what the lesser depth found stands.

mod want;

use super::Inner;
use super::cache::{ContentKey, Key};
use super::cause::plain;
use super::hosts::Route;
use super::parts::{Found, Part, PartKey, What};
use super::walk::{Walk, Wanted};
use super::{Check, Depth};
use crate::credentials::Credential;
use crate::image::Digest;
use crate::limits;
use crate::runtime::choice::choose;
use crate::runtime::containerd::DEEPEST;
use crate::runtime::containerd::manifest::{self, Config, Parsed};
use crate::runtime::containerd::platforms::{Puller, fetches};
use crate::runtime::content::Body;
use crate::runtime::outcome::{Build, ContentFault, Evidence, TimeoutStage};
use crate::verdict::cause::base;
use crate::verdict::{Content, Failure, ImageFacts, IndexEntry, Outlook};
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, StreamExt as _};
use http::Method;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use want::{Want, other_size, there};

/// One image with one credential, and what was found of it at `depth: manifest`.
pub(super) struct Deep {
    pub(super) key: Key,
    pub(super) credential: Option<Credential>,
    pub(super) route: Arc<Route>,
    pub(super) facts: ImageFacts,
    pub(super) depth: Depth,
    pub(super) pullers: Vec<Puller>,
}

impl Deep {
    /// Whether `check` asks for more than was found already.
    pub(super) fn is_wanted(check: &Check, facts: &ImageFacts) -> bool {
        match &facts.content {
            Content::Index(_) => check.depth > Depth::Manifest,
            Content::Image { .. } | Content::Artifact { .. } => check.depth >= Depth::Layers,
            Content::Schema1 => false,
        }
    }
}

/// Looks for the parts, until `deadline` at the latest. The looking goes on without its caller, for `limit`.
pub(super) async fn builds(inner: &Arc<Inner>, deep: Deep, limit: Duration, deadline: Instant) -> Vec<Build> {
    let deep = Arc::new(deep);
    if deep.facts.stale {
        // The registry is down: what it had of the image's parts is as good as what it had of the image.
        return Reader::new(inner, &deep, Source::Nothing).image().await;
    }
    let task = tokio::spawn({
        let (inner, deep) = (Arc::clone(inner), Arc::clone(&deep));
        async move {
            let older = deep.route.older.as_ref();
            let walk = |hosts| Walk::new(&inner, &deep.key, deep.credential.as_ref(), hosts);
            let reader = Reader::new(
                &inner,
                &deep,
                Source::Registry {
                    learned: Box::new(Mutex::new(walk(&deep.route.hosts))),
                    older: older.map(|hosts| Box::new(walk(hosts))),
                },
            );
            tokio::time::timeout(limit, reader.image()).await
        }
    });
    let otherwise = match tokio::time::timeout_at(deadline, task).await {
        Ok(Ok(Ok(builds))) => return builds,
        Ok(Err(error)) if error.is_panic() => {
            inner.metrics.panicked();
            tracing::error!("a look-up of an image's parts panicked; they are judged as unknown");
            Evidence::Internal
        }
        Ok(Err(_) | Ok(Err(_))) | Err(_) => Evidence::TimedOut(TimeoutStage::Deadline),
    };
    Reader::new(inner, &deep, Source::Known(otherwise)).image().await
}

/// Where parts come from.
enum Source<'a> {
    /// What is not kept is asked for.
    Registry {
        /// What all requests so far have learned of the hosts.
        learned: Box<Mutex<Walk<'a>>>,
        /// The hosts that older runtimes ask.
        older: Option<Box<Walk<'a>>>,
    },
    /// What is not kept fails in this way.
    Known(Evidence),
    /// What is not kept is passed over.
    Nothing,
}

struct Reader<'a> {
    inner: &'a Inner,
    deep: &'a Deep,
    source: Source<'a>,
    /// The first request finds out how to authenticate; the others wait for it.
    first: tokio::sync::Mutex<Asked>,
    left: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    NotYet,
    Once,
}

impl<'a> Reader<'a> {
    fn new(inner: &'a Inner, deep: &'a Deep, source: Source<'a>) -> Self {
        Self {
            inner,
            deep,
            source,
            first: tokio::sync::Mutex::new(Asked::NotYet),
            left: AtomicUsize::new(limits::PARTS_PER_IMAGE),
        }
    }

    async fn image(&self) -> Vec<Build> {
        let facts = &self.deep.facts;
        match &facts.content {
            Content::Index(entries) => self.children(entries, self.deep.pullers.iter().collect(), DEEPEST).await,
            Content::Image { body, .. } | Content::Artifact { body, .. } => vec![Build {
                digest: facts.digest.to_string(),
                media_type: facts.media_type.clone(),
                content: Ok(facts.content.clone()),
                troubles: self.blobs(body).await,
            }],
            Content::Schema1 => Vec::new(),
        }
    }

    /// The entries that `pullers` would fetch, and what is in them.
    fn children<'b>(&'b self, entries: &'b [IndexEntry], pullers: Vec<&'b Puller>, levels: usize) -> BoxFuture<'b, Vec<Build>> {
        let mut needed: BTreeMap<(&str, &str), (&IndexEntry, Vec<&Puller>)> = BTreeMap::new();
        for puller in pullers {
            for entry in fetches(entries, puller).needed().into_iter().filter_map(|at| entries.get(at)) {
                let (_, wanted_by) = needed
                    .entry((&entry.digest, &entry.media_type))
                    .or_insert_with(|| (entry, Vec::new()));
                wanted_by.push(puller);
            }
        }
        let children: Vec<_> = needed.into_values().take(limits::PARTS_PER_IMAGE).collect();
        let each: Vec<BoxFuture<'b, Vec<Build>>> = children
            .into_iter()
            .map(|(entry, pullers)| self.child(entry, pullers, levels).boxed())
            .collect();
        async move {
            let found: Vec<Vec<Build>> = stream::iter(each).buffered(limits::PARTS_AT_ONCE).collect().await;
            found.into_iter().flatten().collect()
        }
        .boxed()
    }

    async fn child(&self, entry: &IndexEntry, pullers: Vec<&Puller>, levels: usize) -> Vec<Build> {
        let build = |content, troubles| Build {
            digest: entry.digest.clone(),
            media_type: entry.media_type.clone(),
            content,
            troubles,
        };
        let parsed = match self.part(Want::Manifest(entry)).await {
            Some(Err(failure)) => return vec![build(Err(failure), Vec::new())],
            Some(Ok(Part::Manifest(parsed))) => parsed,
            Some(Ok(Part::Config(_) | Part::Blob)) | None => return Vec::new(),
        };
        match &*parsed {
            Parsed::Index(entries) => {
                let mut builds = vec![build(Ok(Content::Index(entries.clone())), Vec::new())];
                if levels > 1 {
                    builds.extend(self.children(entries, pullers, levels - 1).await);
                }
                builds
            }
            Parsed::Artifact { kind, unpack, body } => {
                let content = Content::Artifact {
                    kind: kind.clone(),
                    unpack: *unpack,
                    body: body.clone(),
                };
                vec![build(Ok(content), self.blobs(body).await)]
            }
            Parsed::Image { config, body } => {
                let (config, mut troubles) = tokio::join!(self.config(config), self.blobs(body));
                let platform = match config {
                    Some(Ok(Part::Config(platform))) => platform,
                    Some(Err(failure)) => {
                        troubles.insert(0, failure);
                        None
                    }
                    Some(Ok(Part::Manifest(_) | Part::Blob)) | None => None,
                };
                let body = body.clone();
                vec![build(Ok(Content::Image { platform, body }), troubles)]
            }
        }
    }

    async fn config(&self, config: &Config) -> Option<Found> {
        if self.deep.depth < Depth::Config {
            return None;
        }
        self.part(Want::Config(config)).await
    }

    /// What is wrong with the blobs.
    async fn blobs(&self, body: &Body) -> Vec<Failure> {
        if self.deep.depth < Depth::Layers {
            return Vec::new();
        }
        let mut each: Vec<BoxFuture<'_, Option<Found>>> = Vec::new();
        let mut seen: HashSet<(&str, i64)> = HashSet::new();
        for blob in &body.blobs {
            if seen.insert((&blob.digest, blob.size)) {
                each.push(self.part(Want::Blob(blob)).boxed());
            }
        }
        let found: Vec<Option<Found>> = stream::iter(each).buffered(limits::PARTS_AT_ONCE).collect().await;
        found.into_iter().flatten().filter_map(Result::err).collect()
    }

    /// A part, from what is kept or from the registry. `None`: nothing is said of it.
    async fn part(&self, want: Want<'_>) -> Option<Found> {
        if let Some(fault) = want.broken() {
            return Some(Err(self.plain(Evidence::ContentInvalid(fault)).about(want.digest())));
        }
        if let Want::Blob(blob) = want
            && let Some(host) = &blob.elsewhere
        {
            return Some(Err(self.plain(Evidence::Elsewhere {
                part: blob.part,
                host: host.clone(),
                digest: blob.digest.clone(),
            })));
        }
        let key = self.key(&want);
        match &self.source {
            Source::Nothing => self.inner.parts.known(&key).await,
            Source::Known(otherwise) => {
                let known = self.inner.parts.known(&key).await;
                Some(known.unwrap_or_else(|| Err(self.plain(otherwise.clone()))))
            }
            Source::Registry { learned, older } => {
                let enough = self
                    .left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                if enough.is_err() {
                    let mut failure = self.plain(Evidence::TimedOut(TimeoutStage::Deadline));
                    failure.detail = Some(format!("of one image, {} parts are looked for", limits::PARTS_PER_IMAGE));
                    return Some(Err(failure));
                }
                // On the heap: a cache moves what it is given through many hands.
                let load = self.load(learned, older.as_deref(), &want).boxed();
                Some(self.inner.parts.get(key, load).await)
            }
        }
    }

    fn key(&self, want: &Want<'_>) -> PartKey {
        let (what, digest, media_type, size) = match want {
            Want::Manifest(entry) => (
                What::Manifest,
                entry.digest.clone(),
                &entry.media_type,
                i64::try_from(entry.size).unwrap_or(i64::MAX),
            ),
            Want::Config(config) => (
                What::Config(Arc::clone(&config.claims)),
                config.digest.to_string(),
                &config.media_type,
                config.size,
            ),
            Want::Blob(blob) => (What::Blob, blob.digest.clone(), &blob.media_type, blob.size),
        };
        let Key {
            registry,
            repository,
            fingerprint,
            route,
            target: _,
        } = self.deep.key.clone();
        PartKey {
            registry,
            repository,
            route,
            fingerprint,
            what,
            digest,
            media_type: media_type.clone(),
            size,
        }
    }

    fn plain(&self, evidence: Evidence) -> Failure {
        plain(evidence, self.deep.key.registry.clone())
    }

    /// Asks the hosts that the nodes' settings name, and where that ends badly those that older runtimes ask.
    async fn load(&self, learned: &Mutex<Walk<'_>>, older: Option<&Walk<'_>>, want: &Want<'_>) -> Found {
        let mut first = self.first.lock().await;
        if *first == Asked::NotYet {
            let found = self.ask(learned, want).await;
            *first = Asked::Once;
            drop(first);
            return self.or_older(found, older, want).await;
        }
        drop(first);
        let found = self.ask(learned, want).await;
        self.or_older(found, older, want).await
    }

    async fn ask(&self, learned: &Mutex<Walk<'_>>, want: &Want<'_>) -> Found {
        let mut walk = learned.lock().unwrap_or_else(PoisonError::into_inner).again();
        let found = self.by(&mut walk, want).boxed().await;
        *learned.lock().unwrap_or_else(PoisonError::into_inner) = walk;
        found
    }

    async fn or_older(&self, found: Found, older: Option<&Walk<'_>>, want: &Want<'_>) -> Found {
        let (failure, older) = match (found, older) {
            (Err(failure), Some(older)) if base(&failure.evidence).1 != Outlook::Unknown => (failure, older),
            (found, _) => return found,
        };
        match self.by(&mut older.again(), want).await {
            Ok(_) => Err(Failure {
                evidence: Evidence::SomeRuntimes(Box::new(failure.evidence)),
                ..failure
            }),
            Err(doubt) => Err(choose(vec![doubt], vec![failure.clone()]).unwrap_or(failure)),
        }
    }

    async fn by(&self, walk: &mut Walk<'_>, want: &Want<'_>) -> Found {
        let found = match want {
            Want::Manifest(entry) => self.manifest(walk, entry).await,
            Want::Config(config) => walk.config(config).await.map(Part::Config),
            Want::Blob(blob) => there(walk, blob).await.map(|()| Part::Blob),
        };
        match found {
            Ok(part) => Ok(part),
            Err(failures) => Err(walk.fails(failures).await),
        }
    }

    /// A child manifest. Where somebody has read it before, HEAD proves that this credential may.
    async fn manifest(&self, walk: &mut Walk<'_>, entry: &IndexEntry) -> Result<Part, Vec<Failure>> {
        let digest = Digest::parse(&entry.digest).ok_or_else(Vec::new)?;
        let key = ContentKey {
            registry: self.deep.key.registry.clone(),
            route: self.deep.key.route,
            repository: self.deep.key.repository.clone(),
            digest: digest.clone(),
            media_type: entry.media_type.clone(),
            length: None,
        };
        let wanted = Wanted {
            rest: format!("manifests/{digest}"),
            accept: format!("{}, */*", entry.media_type),
            cap: limits::IMAGE_MANIFEST,
            absent: &|| Evidence::ContentMissing {
                part: "child manifest",
                digest: entry.digest.clone(),
                media_type: entry.media_type.clone(),
            },
        };
        let read_before = self.inner.parts.manifest(&key).await;
        let (parsed, length) = if let Some(read) = read_before {
            walk.ask(Method::HEAD, &wanted).await?;
            read
        } else {
            let (session, answer) = walk.fetch(&wanted).await?;
            let broken = |evidence| vec![session.failure_without_body(&answer, evidence).about(&digest)];
            if answer.truncated && usize::try_from(entry.size).is_ok_and(|size| size > limits::IMAGE_MANIFEST) {
                // The limit of runtimes is about what a reference names, not about this; we read no more all the same.
                let mut failure = session.failure_without_body(&answer, Evidence::ServerError { token_server: false });
                failure.detail = Some(format!(
                    "a child manifest of {} bytes, of which {} are read here",
                    entry.size,
                    limits::IMAGE_MANIFEST
                ));
                return Err(vec![failure]);
            }
            if u64::try_from(answer.body.len()).ok() != Some(entry.size) {
                return Err(broken(other_size("child manifest", "index", answer.body.len(), entry.size)));
            }
            if !digest.matches(&answer.body) {
                return Err(broken(Evidence::ContentInvalid(ContentFault::Structure(
                    "the child manifest served does not have the digest that the index names".to_owned(),
                ))));
            }
            let parsed = crate::runtime::content::document(&answer.body)
                .and_then(|document| manifest::read(&entry.media_type, &document))
                .map_err(|fault| broken(Evidence::ContentInvalid(fault)))?;
            let read = (Arc::new(parsed), answer.body.len());
            self.inner.parts.keep(key, read.clone()).await;
            read
        };
        if u64::try_from(length).ok() != Some(entry.size) {
            return Err(vec![self.plain(other_size("child manifest", "index", length, entry.size))]);
        }
        Ok(Part::Manifest(parsed))
    }
}
