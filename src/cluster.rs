//! The only room that talks to the API server. It turns objects into compact facts on arrival and hands out one consistent
//! view a review. Two real sources (a watched cluster, a folder of manifests) and none.

mod connect;
mod convert;
mod custody;
mod directory;
mod events;
pub mod facts;
#[cfg(test)]
pub(crate) mod fake;
mod inventory;
mod kind;
mod layered;
mod pages;
mod policies;
mod raw;
mod reader;
mod store;
mod watch;

pub use connect::{ConnectError, Options};
pub use custody::{Answer, Custody, Keeper, Kept, Names, Registered, SecretData, Target, Trouble, Webhook};
pub use directory::{Completeness, Directory, Followed, LoadError, Problem, Rejected};
pub use events::{Events, Notice, Occasion, Regarding, Wanted};
pub use facts::{Facts, Namespace, ServiceAccount, Visible};
pub use inventory::Inventory;
pub use layered::Layered;
pub use policies::Listed as ListedPolicies;
pub use watch::{SecretsAccess, Watched};

use crate::policy::Policy;
use crate::telemetry::Metrics;
use crate::workload::{Kinds, Template};
use std::sync::Arc;
use tokio::time::Instant;

/// Where facts about the cluster come from. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Cluster {
    /// No cluster: everything but the built-in defaults is hidden.
    Absent,
    /// Manifests, which may be followed.
    Manifests(Arc<Followed>),
    /// An API server.
    Watched(Watched),
    /// Manifests that are about to be applied to a cluster.
    Layered(Arc<Layered>),
}

/// An object to read again, because a finding would rest on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// The review's namespace.
    Namespace,
    /// A service account of it.
    ServiceAccount(String),
    /// A Secret of it.
    Secret(String),
}

/// How far one watch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// `nodes`, `namespaces`, `serviceaccounts`, `secrets`, `imagepolicies`.
    pub what: &'static str,
    /// Whether its first list has ended, well or refused: reviews need not wait for more.
    pub synced: bool,
    /// What stands in the way, or what may not be read; a clause.
    pub note: Option<String>,
}

impl From<Directory> for Cluster {
    fn from(directory: Directory) -> Self {
        Self::Manifests(Arc::new(Followed::from(directory)))
    }
}

impl Cluster {
    /// Finds the API server and starts watching. Does not wait for it: [`Self::ready`] tells how far it is.
    ///
    /// # Errors
    /// When there are no usable settings.
    pub async fn connect(options: &Options) -> Result<Self, ConnectError> {
        connect::connect(options).await.map(Self::Watched)
    }

    /// Watches the cluster's `ImagePolicies` from now on, and writes into their status what is thought of them. `take` gets the set that
    /// holds at every change of it: a policy that does not compile leaves its last good version in the set. Sources without an API server
    /// have no policies.
    pub fn follow_policies(&self, metrics: &Metrics, take: impl Fn(Vec<Arc<Policy>>) + Send + Sync + 'static) {
        match self {
            Self::Absent | Self::Manifests(_) => {}
            Self::Watched(watched) => watched.follow_policies(metrics, Box::new(take)),
            Self::Layered(layers) => layers.cluster.follow_policies(metrics, take),
        }
    }

    /// Where Kubernetes Events may be handed in from now on. Sources without an API server take none.
    pub fn events(&self, metrics: &Metrics) -> Events {
        match self {
            Self::Absent | Self::Manifests(_) => Events::default(),
            Self::Watched(watched) => Events::start(watched.client().clone(), metrics),
            Self::Layered(layers) => layers.cluster.events(metrics),
        }
    }

    /// Reads the cluster's `ImagePolicies` once, and writes nothing. A cluster that does not know the kind has none.
    ///
    /// # Errors
    /// A clause: why they cannot be read.
    pub async fn policies(&self) -> Result<ListedPolicies, String> {
        match self {
            Self::Absent | Self::Manifests(_) => Ok(ListedPolicies::default()),
            Self::Watched(watched) => policies::list(watched.client()).await,
            Self::Layered(layers) => Box::pin(layers.cluster.policies()).await,
        }
    }

    /// Which lists of the cluster hold objects of these kinds: those that its API server knows. One namespace, or all and what has none.
    /// Only asks; see [`Inventory`].
    ///
    /// # Errors
    /// A clause: why nothing can be listed.
    pub async fn inventory(&self, kinds: &Kinds, namespace: Option<&str>) -> Result<Inventory, String> {
        match self {
            Self::Absent | Self::Manifests(_) => Ok(Inventory::default()),
            Self::Watched(watched) => Inventory::of(watched.client(), kinds, namespace).await,
            Self::Layered(layers) => Box::pin(layers.cluster.inventory(kinds, namespace)).await,
        }
    }

    /// `given` stands before `cluster`: manifests that are about to be applied there.
    pub fn layered(given: Directory, cluster: Self) -> Self {
        Self::Layered(Arc::new(Layered { given, cluster }))
    }

    /// What a review of `templates` in `namespace` needs: nodes, the namespace, each template's service account (for templates
    /// that list no pull secret) and the pull secrets that those and the templates list. What cannot be read by `deadline` is hidden.
    pub async fn facts(&self, namespace: &str, templates: &[Template], deadline: Instant) -> Facts {
        match self {
            Self::Absent => absent(templates),
            Self::Manifests(directory) => directory.load().facts(namespace, templates),
            Self::Watched(watched) => watched.facts(namespace, templates, deadline).await,
            Self::Layered(layers) => layers.facts(namespace, templates, deadline).await,
        }
    }

    /// The same, with `objects` read afresh from the API server (read your writes: contract 6): one `get` each, single flight, 2 s
    /// at most, remembered for 2 s. What cannot be read becomes hidden. A followed folder is looked at; sources that have nothing fresher
    /// return the facts unchanged.
    pub async fn reread(
        &self,
        facts: &Facts,
        namespace: &str,
        templates: &[Template],
        objects: &[Object],
        deadline: Instant,
    ) -> Facts {
        match self {
            Self::Absent => facts.clone(),
            Self::Manifests(directory) => {
                // Too late is as good as unchanged.
                let _ = tokio::time::timeout_at(deadline, directory.look_again()).await;
                directory.load().facts(namespace, templates)
            }
            Self::Watched(watched) => watched.reread(facts, namespace, templates, objects, deadline).await,
            Self::Layered(layers) => layers.reread(facts, namespace, templates, objects, deadline).await,
        }
    }

    /// How far each watch is; empty where nothing is watched.
    pub fn ready(&self) -> Vec<Readiness> {
        match self {
            Self::Absent | Self::Manifests(_) => Vec::new(),
            Self::Watched(watched) => watched.ready(),
            Self::Layered(layers) => layers.cluster.ready(),
        }
    }

    /// Waits until every watch is synced (see [`Readiness::synced`]), at most until `deadline`. Tells whether they are.
    pub async fn wait_synced(&self, deadline: Instant) -> bool {
        match self {
            Self::Absent | Self::Manifests(_) => true,
            Self::Watched(watched) => watched.wait_synced(deadline).await,
            Self::Layered(layers) => Box::pin(layers.cluster.wait_synced(deadline)).await,
        }
    }
}

/// Facts where there is no cluster: what the templates themselves list is known by name only.
fn absent(templates: &[Template]) -> Facts {
    let why = || "pullgate runs without a cluster".to_owned();
    let service_accounts = facts::wanted_service_accounts(templates)
        .into_iter()
        .map(|name| (name, Visible::Hidden(why())))
        .collect();
    Facts {
        nodes: Arc::default(),
        namespace: Visible::Hidden(why()),
        secrets: facts::wanted_secrets(templates, &service_accounts)
            .into_iter()
            .map(|name| (name, Visible::Hidden(why())))
            .collect(),
        service_accounts,
        complete: false,
    }
}
