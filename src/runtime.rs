//! How nodes pull, as values: each container runtime, and the kubelet above it, is a pure function that asks ([`crate::ask`]).
//!
//! A runtime is given a reference, the node's registry configuration, the kind of credential and the platform. It reads top to bottom as
//! the runtime's own source does, and gets the answers of registries from its driver. It sees no socket, no clock and no secret. Whether it
//! asks what the real one asks is tested by replaying recorded conversations (`tests/agreement/recordings`).
//!
//! A new runtime is a module of its own here, and a line in [`Runtime`].

pub mod answer;
pub mod challenge;
pub(crate) mod choice;
pub mod containerd;
pub mod content;
pub mod crio;
pub mod fault;
pub mod kubelet;
pub mod outcome;
pub mod redirect;
pub mod request;

use crate::ask::{Ask, Missing};
use crate::image::platform::IndexRules;
use crate::image::{Platform, Reference};
use containerd::Containerd;
use containerd::ends::PossibleEnd;
use containerd::hosts::Hosts;
use content::IndexEntry;
use crio::Crio;
use crio::node::NodeSettings;
use outcome::{Failure, ImageFacts};
use request::{Agent, Request, Who};
use std::sync::Arc;

/// One pull of one image by one node, with one credential or none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pull {
    /// The image.
    pub reference: Reference,
    /// The repository as the pod writes it, where CRI-O takes that for a short name ([`crio::short_names::written`]) and completes it by its
    /// own settings. `None` for every other runtime: there such a name is Docker Hub's.
    pub short: Option<Arc<str>>,
    /// The node's registry configuration.
    pub node: NodeConfig,
    /// Which credential the kubelet hands over.
    pub who: Who,
    /// The node's platform.
    pub platform: Platform,
    /// How deep the pull is followed.
    pub until: Depth,
    /// The `User-Agent` that the runtime sends.
    pub agent: Agent,
}

/// A container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// containerd.
    Containerd(Containerd),
    /// CRI-O.
    Crio(Crio),
}

/// A pool of nodes, by its place in the settings' `nodePools`, from 1. The default is for nodes of no pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Pool(pub u16);

/// How a node pulls: its runtime, and the pool whose registry settings it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Setup {
    /// The node's runtime.
    pub runtime: Runtime,
    /// The node's pool.
    pub pool: Pool,
}

/// A runtime on a node of one platform: what would pull an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Puller {
    /// The node's platform, normalised and with its variant.
    pub platform: Platform,
    /// The node's runtime.
    pub runtime: Runtime,
    /// The node's pool.
    pub pool: Pool,
}

impl Puller {
    /// How it pulls.
    pub fn setup(&self) -> Setup {
        Setup {
            runtime: self.runtime,
            pool: self.pool,
        }
    }
}

impl Runtime {
    /// The runtimes that a node may have, by `status.nodeInfo.containerRuntimeVersion` (`containerd://2.3.4`). Several where a node of this
    /// version may pull in more than one way; `None` for a runtime that pullgate does not know.
    pub fn of_node(container_runtime_version: &str) -> Option<Vec<Self>> {
        match container_runtime_version.split_once("://") {
            Some(("containerd", version)) => Some(Containerd::of_node(version).map(Self::Containerd).collect()),
            Some(("cri-o", version)) => Some(vec![Self::Crio(Crio::of_node(version))]),
            Some(_) | None => None,
        }
    }

    /// The runtimes that a setting names: `crio` or `containerd`, with or without `@VERSION`. The error is a clause.
    pub fn named(text: &str) -> Result<Vec<Self>, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let is_version = |version: &str| version.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
        if version.is_some_and(|version| !is_version(version)) {
            return Err(format!("{text:?} has no version behind its @; write one as {name}@1.36.3"));
        }
        match (name, version) {
            ("containerd", Some(version)) => Ok(Containerd::of_node(version).map(Self::Containerd).collect()),
            ("containerd", None) => Ok(Self::unknown()),
            ("crio" | "cri-o", Some(version)) => Ok(vec![Self::Crio(Crio::of_node(version))]),
            ("crio" | "cri-o", None) => Ok(vec![Self::Crio(Crio::today())]),
            _ => Err(format!(
                "{text:?} is not a container runtime known here; write containerd or crio, with or without @VERSION"
            )),
        }
    }

    /// What a node may run when nothing is known about it.
    pub fn unknown() -> Vec<Self> {
        Containerd::unknown().map(Self::Containerd).collect()
    }

    /// What a node with CRI-O of an unknown version is assumed to run.
    pub fn usual_crio() -> Vec<Self> {
        vec![Self::Crio(Crio::today())]
    }

    /// The runtime that stands for all where they do not differ.
    pub fn today() -> Self {
        Self::Containerd(Containerd::today())
    }

    /// Pulls an image.
    pub fn pull(self, pull: &Pull, ask: &mut Ask<'_, Request>) -> Result<Outcome, Missing> {
        match self {
            Self::Containerd(containerd) => containerd.pull(pull, ask),
            Self::Crio(crio) => crio.pull(pull, ask),
        }
    }

    /// The runtime's own text for a failed pull, where the whole text is known.
    fn text(self, pull: &Pull, outcome: &Outcome) -> Option<String> {
        match self {
            Self::Containerd(_) => None,
            Self::Crio(crio) => crio.text(pull, outcome),
        }
    }

    /// The ways in which the pull of an image with these facts may end on a node of this platform.
    pub(crate) fn possible_ends<'a>(self, facts: &'a ImageFacts, platform: &Platform) -> Vec<PossibleEnd<'a>> {
        match self {
            Self::Containerd(containerd) => containerd.possible_ends(facts, platform),
            Self::Crio(crio) => crio.possible_ends(facts, platform),
        }
    }

    /// The rules by which it chooses an entry of an index.
    pub fn index_rules(self) -> IndexRules {
        match self {
            Self::Containerd(containerd) => containerd.index_rules(),
            Self::Crio(_) => IndexRules::CriO,
        }
    }
}

/// The registry configuration of the nodes of a pool, by runtime.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct NodeConfigs {
    /// containerd's `hosts.toml` trees.
    pub containerd: NodeConfig,
    /// CRI-O's `registries.conf`.
    pub crio: NodeConfig,
    /// The file or folder that containerd's configuration comes from.
    pub containerd_from: Option<Arc<str>>,
}

impl NodeConfigs {
    /// The configuration that this runtime reads.
    pub fn of(&self, runtime: Runtime) -> &NodeConfig {
        match runtime {
            Runtime::Containerd(_) => &self.containerd,
            Runtime::Crio(_) => &self.crio,
        }
    }
}

/// A node's registry configuration: for containerd what it says about one registry, for CRI-O all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum NodeConfig {
    /// No configuration is known: the registry itself is asked.
    #[default]
    Default,
    /// It exists and cannot be read. The reason, as a clause.
    Unreadable(Arc<str>),
    /// Only other nodes of the cluster are asked, and pullgate cannot ask those (k3s' embedded registry without the default endpoint).
    PeersOnly,
    /// containerd's `hosts.toml`.
    Containerd(Arc<Hosts>),
    /// CRI-O's `registries.conf`, and the files beside it.
    Crio(Arc<NodeSettings>),
}

/// How far a look-up goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Depth {
    /// The manifest or index of the reference, and the config of a single manifest.
    Manifest,
    /// Also the manifests that an index has for the node: enough to know how many bytes would be fetched.
    Sizes,
    /// Also their configs.
    Config,
    /// Also every layer.
    Layers,
}

/// The result of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// What the reference stands for, if the registry has it.
    pub found: Option<Arc<ImageFacts>>,
    /// How the pull ends. Several ends where it is not known which of several entries of an index the node takes.
    pub ends: Vec<End>,
    /// Failures of hosts that were asked before another one, which the runtime does not report.
    pub passed: Vec<Failure>,
}

impl Outcome {
    /// Whether the node has the image afterwards, as far as this look-up went.
    pub fn is_pulled(&self) -> bool {
        self.ends.iter().all(|end| match end {
            End::Pulled { .. } | End::Foreign(_) | End::Artifact { fails: false, .. } => true,
            End::NoMatch | End::Unmeasured { .. } | End::Failed(_) | End::Artifact { fails: true, .. } => false,
        })
    }
}

/// How a pull ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The node has the image, as far as this look-up went.
    Pulled {
        /// How many bytes it fetches (config and layers), where that is known.
        size: Option<u64>,
    },
    /// No entry of the index is for the node.
    NoMatch,
    /// It takes an entry without a platform, and then misses this other entry when it measures the image.
    Unmeasured {
        /// The entry.
        missing: IndexEntry,
        /// The digest of the config of what it pulled, where that is known.
        image: Option<String>,
    },
    /// It fails.
    Failed(Failure),
    /// It pulls an image whose config names a platform that the node does not run.
    Foreign(Platform),
    /// It pulls something that is not an image.
    Artifact {
        /// What it is.
        kind: String,
        /// Whether this runtime fails to unpack it; otherwise it pulls, and cannot start.
        fails: bool,
    },
}
