//! The wire: the only module that opens a socket to a registry. One request, one answer ([`Wire`]); what is asked is decided by `runtime`.

mod body;
mod bounded;
mod client;
mod clients;
mod crio;
mod error_body;
mod exchange;
mod headers;
mod host_settings;
mod identify;
mod instead;
mod io_threads;
mod log_throttle;
mod long_answers;
mod memo;
mod network;
mod node_files;
mod nodes;
mod proxy;
mod queue;
mod resolve;
mod servers;
mod show;
mod show_section;
mod tags;
mod transport;
mod vault;
mod wire;

pub use io_threads::start_io_threads;
pub use network::Network;
pub use node_files::{NodeLogins, faults};
pub use proxy::Proxy;
pub use queue::{on_behalf_of, share};
pub use show::show;
pub use show_section::{Image, Row, Section};
pub use wire::{Since, Stale, Wire};

use crate::limits;
use crate::net::Reach;
use crate::runtime::containerd::k3s::DefaultEndpoint;
use http::HeaderValue;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How look-ups are made.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
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
    /// The `registries.conf` of nodes with CRI-O, or a folder laid out as they have it; where it is known.
    pub registries_conf: Option<PathBuf>,
    /// The `registries.yaml` of nodes with k3s or RKE2, in the place of trees.
    pub k3s: Option<K3sFile>,
    /// What the nodes of each pool have instead, in the order of the pools.
    pub pools: Vec<PoolFiles>,
    /// The way to https hosts that are not loopback. `None`: directly.
    pub proxy: Option<Proxy>,
    /// The `User-Agent` of all requests. `None`: that of the runtime which would ask, and pullgate's own behind it.
    pub user_agent: Option<HeaderValue>,
    /// What answers in the place of the network, in simulations.
    pub network: Option<Arc<dyn Network>>,
}

/// What differs for the nodes of a pool. For the rest they are like nodes of no pool.
#[derive(Debug, Clone, Default)]
pub struct PoolFiles {
    /// What it is called, for the log.
    pub name: String,
    /// containerd's `hosts.toml` trees.
    pub hosts_dirs: Vec<PathBuf>,
    /// CRI-O's `registries.conf`, or a folder laid out as the nodes have it.
    pub registries_conf: Option<PathBuf>,
    /// The `registries.yaml` of k3s or RKE2, in the place of trees.
    pub k3s: Option<K3sFile>,
}

/// The `registries.yaml` of nodes with k3s or RKE2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct K3sFile {
    /// The file.
    pub path: PathBuf,
    /// Whether they ask a registry itself after its mirrors.
    pub default_endpoint: DefaultEndpoint,
}

/// Public addresses only, and moderate limits.
impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            reach: Reach::Listed(Vec::new()),
            cache_bytes: 64 << 20,
            max_stale: Duration::from_hours(24),
            look_up_limit: limits::LOOK_UP,
            resolve: Vec::new(),
            roots: Vec::new(),
            hosts_dirs: Vec::new(),
            registries_conf: None,
            k3s: None,
            pools: Vec::new(),
            proxy: None,
            user_agent: None,
            network: None,
        }
    }
}

/// The registry module could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);
