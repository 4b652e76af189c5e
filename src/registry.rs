//! The only room that opens a socket to a registry: gather facts, cached, single-flight, guarded, within a deadline.

mod build;
mod cache;
mod cause;
mod client;
mod clients;
mod gather;
mod guard;
mod host;
mod hosts;
mod kept;
mod missing;
mod parts;
mod probe;
mod proxy;
mod quiet;
mod resolve;
mod session;
mod tags;
mod throttle;
mod token;
mod transport;
mod walk;
mod words;

pub use proxy::Proxy;

use crate::limits;
use crate::net::Reach;
use crate::plan::{Check, Offer};
use crate::runtime::Depth;
use crate::runtime::kubelet::{Attempt, Attempts as Outcome, Sent};
use crate::telemetry::{CacheName, Metrics};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

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
