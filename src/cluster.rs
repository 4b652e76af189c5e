//! The only module that talks to the API server. It reduces objects to compact facts on arrival and gives each review one consistent
//! view. Facts come from a watched cluster, a folder of manifests, or nowhere.

mod api_queue;
mod certificate;
mod connect;
mod convert;
mod directory;
mod events;
pub mod facts;
#[cfg(test)]
pub(crate) mod fake;
mod inventory;
mod kind;
mod last_contact;
mod layered;
mod openshift;
mod pages;
mod policies;
mod raw;
mod reader;
mod store;
mod streams;
mod watch;

pub use certificate::{
    CertificateClient, Dated, ManagedBy, ObjectNames, Registration, RequestError, SecretData, StoredSecret, Webhook, WebhookTarget,
};
pub use connect::{ConnectError, Options};
pub use directory::{Completeness, Directory, LoadError, Problem, Rejected, WatchedDirectory};
pub use events::{EventFilter, EventReason, EventRecorder, Regarding, ReviewEvent};
pub use facts::{Facts, Namespace, ServiceAccount, Visible};
pub use inventory::Inventory;
pub use layered::Layered;
pub use policies::Listed as ListedPolicies;
pub use watch::{SecretReading, Watched};

use crate::policy::Policy;
use crate::runtime::crio::openshift::Objects as OpenShift;
use crate::telemetry::Metrics;
use crate::workload::{Kinds, Node, Owner, OwnerReference, Template};
use std::sync::Arc;
use tokio::time::Instant;

/// Where facts about the cluster come from. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Cluster {
    /// No cluster: everything but the built-in defaults is hidden.
    Absent,
    /// Manifests, possibly of a watched folder.
    Manifests(Arc<WatchedDirectory>),
    /// An API server.
    Watched(Watched),
    /// Manifests that are about to be applied to a cluster.
    Layered(Arc<Layered>),
}

/// An object to read again before a finding relies on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// The review's namespace.
    Namespace,
    /// A service account in it.
    ServiceAccount(String),
    /// A Secret in it.
    Secret(String),
}

/// The progress of one watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// `nodes`, `namespaces`, `serviceaccounts`, `secrets`, `imagepolicies`.
    pub what: &'static str,
    /// Whether its first list is done or was refused: reviews need not wait any longer.
    pub synced: bool,
    /// What prevents it, or what may not be read; a clause.
    pub note: Option<String>,
}

impl From<Directory> for Cluster {
    fn from(directory: Directory) -> Self {
        Self::Manifests(Arc::new(WatchedDirectory::from(directory)))
    }
}

impl Cluster {
    /// Finds the API server and starts watching. Does not wait for it: see [`Self::ready`].
    ///
    /// # Errors
    /// If there is no usable configuration.
    pub async fn connect(options: &Options) -> Result<Self, ConnectError> {
        connect::connect(options).await.map(Self::Watched)
    }

    /// Starts watching the cluster's `ImagePolicies` and reports on each in its status. `take` gets the policies in force after
    /// every change: a policy that does not compile stays in force in its last good version. Sources without an API server have no
    /// policies.
    ///
    /// `kinds` are those that policies may name.
    pub fn follow_policies(
        &self,
        metrics: &Metrics,
        kinds: impl Fn() -> Arc<Kinds> + Send + Sync + 'static,
        take: impl Fn(Vec<Arc<Policy>>) + Send + Sync + 'static,
    ) {
        match self {
            Self::Absent | Self::Manifests(_) => {}
            Self::Watched(watched) => watched.follow_policies(metrics, Box::new(kinds), Box::new(take)),
            Self::Layered(layers) => layers.cluster.follow_policies(metrics, kinds, take),
        }
    }

    /// Where to record Kubernetes Events. Sources without an API server ignore them.
    pub fn event_recorder(&self, metrics: &Metrics) -> EventRecorder {
        match self {
            Self::Absent | Self::Manifests(_) => EventRecorder::default(),
            Self::Watched(watched) => EventRecorder::start(watched.client().clone(), metrics),
            Self::Layered(layers) => layers.cluster.event_recorder(metrics),
        }
    }

    /// Reads the cluster's `ImagePolicies` once, without writing anything. A cluster without the kind has none.
    ///
    /// # Errors
    /// A clause: why they cannot be read.
    pub async fn policies(&self, kinds: &Kinds) -> Result<ListedPolicies, String> {
        match self {
            Self::Absent | Self::Manifests(_) => Ok(ListedPolicies::default()),
            Self::Watched(watched) => policies::list(watched.client(), kinds).await,
            Self::Layered(layers) => Box::pin(layers.cluster.policies(kinds)).await,
        }
    }

    /// The lists of objects of these kinds, as far as the API server knows them: of one namespace, or of all namespaces and
    /// cluster-scoped. Read-only; see [`Inventory`].
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

    /// The cluster's `CustomResourceDefinition`s, whole. Read-only.
    ///
    /// # Errors
    /// A clause: why they cannot be listed.
    pub async fn custom_resource_definitions(&self) -> Result<Vec<serde_json::Value>, String> {
        match self {
            Self::Absent | Self::Manifests(_) => Ok(Vec::new()),
            Self::Watched(watched) => inventory::definitions(watched.client()).await,
            Self::Layered(layers) => Box::pin(layers.cluster.custom_resource_definitions()).await,
        }
    }

    /// `given` takes precedence over `cluster`: manifests that are about to be applied there.
    pub fn layered(given: Directory, cluster: Self) -> Self {
        Self::Layered(Arc::new(Layered { given, cluster }))
    }

    /// What a review of `templates` in `namespace` needs: nodes, the namespace, each template's service account (if the template
    /// lists no pull secret) and the pull secrets that either lists. What cannot be read by `deadline` is hidden.
    pub async fn facts(&self, namespace: &str, templates: &[Template], deadline: Instant) -> Facts {
        match self {
            Self::Absent => Facts::hidden(templates, "pullgate runs without a cluster"),
            Self::Manifests(directory) => directory.load().facts(namespace, templates),
            Self::Watched(watched) => watched.facts(namespace, templates, deadline).await,
            Self::Layered(layers) => layers.facts(namespace, templates, deadline).await,
        }
    }

    /// What an `ownerReference` in this namespace points at: an object of a built-in kind.
    pub async fn owner(&self, namespace: &str, reference: &OwnerReference, deadline: Instant) -> Visible<Owner> {
        match self {
            Self::Absent => Visible::Hidden("pullgate runs without a cluster".to_owned()),
            Self::Manifests(directory) => directory.load().owner(namespace, reference),
            Self::Watched(watched) => watched.owner(namespace, reference, deadline).await,
            Self::Layered(layers) => match layers.given.owner(namespace, reference) {
                given @ Visible::Seen(Some(_)) => given,
                Visible::Seen(None) | Visible::Hidden(_) => Box::pin(layers.cluster.owner(namespace, reference, deadline)).await,
            },
        }
    }

    /// Like [`Self::facts`], with `objects` read again from the API server (read your writes: contract 6): one `get` each, single flight, 2 s at
    /// most, cached for 2 s. What cannot be read becomes hidden. A watched folder is polled; sources with nothing newer return the
    /// facts unchanged.
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
                // A timeout counts as unchanged.
                let _ = tokio::time::timeout_at(deadline, directory.look_again()).await;
                directory.load().facts(namespace, templates)
            }
            Self::Watched(watched) => watched.reread(facts, namespace, templates, objects, deadline).await,
            Self::Layered(layers) => layers.reread(facts, namespace, templates, objects, deadline).await,
        }
    }

    /// All nodes known so far.
    pub fn nodes(&self) -> Arc<Vec<Node>> {
        match self {
            Self::Absent => Arc::default(),
            Self::Manifests(directory) => directory.load().all_nodes(),
            Self::Watched(watched) => watched.nodes(),
            Self::Layered(layers) if layers.given.nodes().is_empty() => layers.cluster.nodes(),
            Self::Layered(layers) => layers.given.all_nodes(),
        }
    }

    /// What OpenShift's objects say about registries; `None` if there are none. The error is a clause.
    pub async fn openshift(&self) -> Result<Option<OpenShift>, String> {
        match self {
            Self::Absent => Ok(None),
            Self::Manifests(directory) => Ok(directory.load().openshift().cloned()),
            Self::Watched(watched) => {
                watched
                    .streams()
                    .are_there(openshift::has_image_streams(watched.client()).await);
                openshift::read(watched.client(), watched.access()).await
            }
            Self::Layered(layers) => match layers.given.openshift() {
                Some(given) => Ok(Some(given.clone())),
                None => Box::pin(layers.cluster.openshift()).await,
            },
        }
    }

    /// The cluster's context and address, to show to users; `None` without a cluster.
    pub fn title(&self) -> Option<&str> {
        match self {
            Self::Absent | Self::Manifests(_) => None,
            Self::Watched(watched) => Some(watched.title()),
            Self::Layered(layers) => layers.cluster.title(),
        }
    }

    /// The progress of each watch; empty if nothing is watched.
    pub fn ready(&self) -> Vec<Readiness> {
        match self {
            Self::Absent | Self::Manifests(_) => Vec::new(),
            Self::Watched(watched) => watched.ready(),
            Self::Layered(layers) => layers.cluster.ready(),
        }
    }

    /// How long ago the API server last sent anything; `None` without one.
    pub fn silence(&self) -> Option<std::time::Duration> {
        match self {
            Self::Absent | Self::Manifests(_) => None,
            Self::Watched(watched) => Some(watched.silence()),
            Self::Layered(layers) => layers.cluster.silence(),
        }
    }

    /// Waits until every watch is synced (see [`Readiness::synced`]) or `deadline` passes. Returns whether they are.
    pub async fn wait_synced(&self, deadline: Instant) -> bool {
        match self {
            Self::Absent | Self::Manifests(_) => true,
            Self::Watched(watched) => watched.wait_synced(deadline).await,
            Self::Layered(layers) => Box::pin(layers.cluster.wait_synced(deadline)).await,
        }
    }
}
