//! The only room that opens a socket to a registry: gather facts, cached, single-flight, guarded, within a deadline.

mod build;
mod cache;
mod cause;
mod client;
mod clients;
mod exchange;
mod fold;
mod gather;
mod guard;
mod headers;
mod host;
mod hosts;
mod instead;
mod kept;
mod memo;
mod missing;
mod nodes;
mod parts;
mod probe;
mod proxy;
mod quiet;
mod resolve;
mod servers;
mod session;
mod tags;
mod throttle;
mod token;
mod transport;
mod trust;
mod vault;
mod walk;
mod wire;
mod words;

pub use proxy::Proxy;
pub use wire::{Stale, Wire};

use crate::credentials::{Credential, Source};
use crate::image::Reference;
use crate::limits;
use crate::net::Reach;
use crate::runtime::containerd::platforms::Puller;
use crate::telemetry::{CacheName, Metrics};
use crate::verdict::{Failure, ImageFacts};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A question for a registry: one image, and the credentials in the order a kubelet would try them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The image.
    pub reference: Reference,
    /// Tried in order, the first success wins. Empty: anonymous (and only then).
    pub credentials: Vec<Offer>,
    /// How far the look-up goes.
    pub depth: Depth,
    /// For whom, beyond [`Depth::Manifest`]: what they would fetch is looked for. Sorted, each once.
    pub pullers: Vec<Puller>,
}

/// A credential, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What is sent.
    pub credential: Credential,
    /// Shown to people.
    pub source: Source,
    /// Whether nodes would send it.
    pub sent: Sent,
}

/// Whether kubelets hand a credential to their runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sent {
    /// They do.
    #[default]
    Always,
    /// It is no text, and only the older ones of the candidate nodes do. Nothing is asked with it.
    BySome,
    /// It is no text, and none of them does. Nothing is asked with it.
    Never,
}

/// How far a look-up goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Depth {
    /// HEAD, GET of the index or manifest, and the config of a single manifest.
    Manifest,
    /// And the manifests that an index has for the pullers: enough to know what would be fetched, in bytes.
    Sizes,
    /// And their configs.
    Config,
    /// And HEAD of every layer.
    Layers,
}

/// One attempt, with one credential or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Whose credential; `None` for the anonymous attempt.
    pub source: Option<Source>,
    /// What came of it.
    pub result: Result<ImageFacts, Failure>,
}

/// The attempts made for one check, in order; never empty. Only the last may have succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// In the order in which they were made.
    pub attempts: Vec<Attempt>,
}

/// How look-ups are made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses that may be reached.
    pub reach: Reach,
    /// Weight limit of the caches together, in bytes.
    pub cache_bytes: u64,
    /// How long a good answer may serve while its registry is down.
    pub max_stale: Duration,
    /// Upper bound of one detached look-up, whoever waits for it. A single request gets half of it, and 6 s at most.
    pub look_up_limit: Duration,
    /// Static host entries, as in a hosts file: they stand before DNS, and the guard applies to them. The port serves where the
    /// reference names none; 0 is the scheme's own.
    pub resolve: Vec<(String, SocketAddr)>,
    /// CA bundles (PEM), trusted beside the system's. A bundle that holds no certificate is an error.
    pub roots: Vec<Vec<u8>>,
    /// containerd's `hosts.toml` trees, the first that has a folder for a registry wins. Empty: every registry is asked itself.
    pub hosts_dirs: Vec<PathBuf>,
    /// The way to https hosts that are not loopback. `None`: directly.
    pub proxy: Option<Proxy>,
}

/// Public addresses only, and moderate limits.
impl Default for Settings {
    fn default() -> Self {
        Self {
            reach: Reach::Listed(Vec::new()),
            cache_bytes: 64 << 20,
            max_stale: Duration::from_hours(24),
            look_up_limit: limits::LOOK_UP,
            resolve: Vec::new(),
            roots: Vec::new(),
            hosts_dirs: Vec::new(),
            proxy: None,
        }
    }
}

/// The door to all registries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

/// What all look-ups share.
#[derive(Debug)]
struct Inner {
    client: client::Client,
    tree: hosts::Tree,
    tokens: token::Tokens,
    answers: cache::Answers,
    contents: cache::Contents,
    parts: parts::Parts,
    throttle: throttle::Throttle,
    quiet: quiet::Quiet,
    look_up_limit: Duration,
    metrics: Metrics,
}

impl Registry {
    /// Builds the HTTP clients and reads the `hosts.toml` tree once. Fails with a sentence when no trust roots can be loaded, and with a
    /// line for each `hosts.toml` that cannot be used, which names file, line and column.
    pub fn new(settings: Settings, metrics: Metrics) -> Result<Self, SetupError> {
        let Settings {
            reach,
            cache_bytes,
            max_stale,
            look_up_limit,
            resolve,
            roots,
            hosts_dirs,
            proxy,
        } = settings;
        let tree = hosts::Tree::new(hosts_dirs)?;
        let client = client::Client::new(reach, &resolve, &roots, proxy, look_up_limit, metrics.clone())?;
        let share = |percent: u64| cache_bytes / 100 * percent;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                tree,
                tokens: token::Tokens::new(share(20), metrics.clone()),
                answers: cache::Answers::new(share(40), max_stale, look_up_limit, metrics.clone()),
                contents: cache::Contents::new(share(20), metrics.clone()),
                parts: parts::Parts::new(share(20), max_stale, metrics.clone()),
                throttle: throttle::Throttle::new(),
                quiet: quiet::Quiet::default(),
                look_up_limit,
                metrics,
            }),
        })
    }

    /// Asks all `checks` at once; the answers are in their order. Returns at `deadline` at the latest: what is not known by then
    /// is [`crate::runtime::outcome::TimeoutStage::Deadline`]. Look-ups go on in the background and fill the cache.
    pub async fn gather(&self, checks: &[Check], deadline: Instant) -> Vec<Outcome> {
        gather::gather(&self.inner, checks, deadline).await
    }
}

impl Inner {
    /// Tells the metrics what the caches weigh.
    fn weigh(&self) {
        let [parts, manifests] = self.parts.weights();
        for (cache, weight) in [
            (CacheName::Tokens, self.tokens.weight()),
            (CacheName::Answers, self.answers.weight()),
            (CacheName::Content, self.contents.weight()),
            (CacheName::Parts, parts),
            (CacheName::Manifests, manifests),
        ] {
            self.metrics.cache_weight(cache, weight);
        }
    }
}

/// The registry room could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);
