//! What one review may know of the cluster. Values only; nothing here talks to anything.

use crate::credentials::PullSecret;
use crate::workload::Node;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something that was looked for in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible<T> {
    /// It was read; `None` when it is not there.
    Seen(Option<T>),
    /// It may not or could not be read; the reason as a clause (`pullgate may not read Secrets in this namespace`).
    Hidden(String),
}

/// A service account's pull secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceAccount {
    /// `imagePullSecrets[*].name`, in order.
    pub pull_secrets: Vec<String>,
    /// To notice that it changed.
    pub version: String,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespace {
    /// Labels, sorted by key.
    pub labels: Vec<(String, String)>,
    /// Annotations that matter (`scheduler.alpha.kubernetes.io/node-selector`).
    pub node_selector: Option<String>,
}

/// One consistent view of what a review of one namespace needs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// All nodes; empty when none is known.
    pub nodes: Arc<Vec<Node>>,
    /// The object's namespace.
    pub namespace: Visible<Namespace>,
    /// Service accounts of the templates, by name.
    pub service_accounts: BTreeMap<String, Visible<ServiceAccount>>,
    /// Secrets that the templates (or their service accounts) list, by name.
    pub secrets: BTreeMap<String, Visible<PullSecret>>,
    /// Whether the given set is everything there is (a cluster, `--complete`), so that what is absent is missing.
    pub complete: bool,
}
