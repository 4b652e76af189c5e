//! The only room that opens a socket to a registry: gather facts, cached, single-flight, guarded, within a deadline.

use crate::credentials::{Credential, Source};
use crate::image::Reference;
use crate::telemetry::Metrics;
use crate::verdict::{Failure, ImageFacts};
use std::time::Duration;
use tokio::time::Instant;

/// A question for a registry: one image, and the credentials in the order a kubelet would try them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The image.
    pub reference: Reference,
    /// Tried in order, the first success wins. Empty: anonymous (and only then).
    pub credentials: Vec<Offer>,
    /// Whether the content is needed (platforms, config), or the resolved digest is enough.
    pub depth: Depth,
}

/// A credential, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What is sent.
    pub credential: Credential,
    /// Shown to people.
    pub source: Source,
}

/// How far a look-up goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Depth {
    /// HEAD, GET of the index or manifest, and the config of a single manifest.
    Manifest,
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

/// Which addresses look-ups may reach, beside public ones. Link-local and metadata addresses are never reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// `serve`: public addresses, and these private or loopback ranges (CIDR).
    Listed(Vec<Cidr>),
    /// `check`: whatever this machine reaches.
    Everything,
}

/// An address range, `10.0.0.0/8` or `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Network address.
    pub address: std::net::IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
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
    /// Upper bound of one detached look-up, whoever waits for it.
    pub look_up_limit: Duration,
}

/// The door to all registries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {}

impl Registry {
    /// Builds the HTTP clients. Fails with a sentence when no trust roots can be loaded.
    pub fn new(_settings: Settings, _metrics: Metrics) -> Result<Self, SetupError> {
        todo!()
    }

    /// Asks all `checks` at once; the answers are in their order. Returns at `deadline` at the latest: what is not known by then
    /// is [`crate::verdict::evidence::TimeoutStage::Deadline`]. Look-ups go on in the background and fill the cache.
    pub async fn gather(&self, _checks: &[Check], _deadline: Instant) -> Vec<Outcome> {
        todo!()
    }
}

/// The registry room could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);
