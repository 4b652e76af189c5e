//! What a review may know about the cluster. Values only.

use crate::credentials::PullSecret;
use crate::workload::streams::ImageStreams;
use crate::workload::{Node, RuntimeClass, Template};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Something that was looked up in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Visible<T> {
    /// It was read; `None` if it does not exist.
    Seen(Option<T>),
    /// It may not or could not be read; the reason as a clause (`pullgate may not read Secrets in this namespace`).
    Hidden(String),
}

/// A service account's pull secrets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ServiceAccount {
    /// `imagePullSecrets[*].name`, in order.
    pub pull_secrets: Vec<String>,
    /// To detect changes.
    pub version: String,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Namespace {
    /// Labels, sorted by key.
    pub labels: Vec<(String, String)>,
    /// Annotations that matter (`scheduler.alpha.kubernetes.io/node-selector`).
    pub node_selector: Option<String>,
}

/// One consistent view of what a review of one namespace needs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// All nodes; empty if none is known.
    pub nodes: Arc<Vec<Node>>,
    /// The object's namespace.
    pub namespace: Visible<Namespace>,
    /// Service accounts of the templates, by name.
    pub service_accounts: BTreeMap<String, Visible<ServiceAccount>>,
    /// Secrets that the templates (or their service accounts) list, by name.
    pub secrets: BTreeMap<String, Visible<PullSecret>>,
    /// The runtime classes that the templates name.
    pub runtime_classes: BTreeMap<String, Visible<RuntimeClass>>,
    /// Whether these are all objects there are (a cluster, `--complete`), so that an absent one does not exist.
    pub complete: bool,
    /// Why these facts may not lead to a denial, as a clause: the API server was asked to confirm them and did not answer.
    pub unconfirmed: Option<String>,
    /// OpenShift's image streams, as far as they are known.
    pub image_streams: Arc<ImageStreams>,
}

impl Facts {
    /// Facts none of which could be read; `why` is a clause.
    pub fn hidden(templates: &[Template], why: &str) -> Self {
        let service_accounts = wanted_service_accounts(templates)
            .into_iter()
            .map(|name| (name, Visible::Hidden(why.to_owned())))
            .collect();
        Self {
            nodes: Arc::default(),
            namespace: Visible::Hidden(why.to_owned()),
            secrets: wanted_secrets(templates, &service_accounts)
                .into_iter()
                .map(|name| (name, Visible::Hidden(why.to_owned())))
                .collect(),
            service_accounts,
            runtime_classes: wanted_runtime_classes(templates)
                .into_iter()
                .map(|name| (name, Visible::Hidden(why.to_owned())))
                .collect(),
            complete: false,
            image_streams: Arc::default(),
            unconfirmed: None,
        }
    }
}

/// The service accounts whose pull secrets count: those of templates that list none themselves (pull-semantics 4.1). Admission only
/// fills in an empty list, so a single empty name already prevents that.
pub(super) fn wanted_service_accounts(templates: &[Template]) -> BTreeSet<String> {
    templates
        .iter()
        .filter(|template| template.needs.pull_secrets.is_empty())
        .map(|template| match template.needs.service_account.as_str() {
            "" => "default".to_owned(),
            name => name.to_owned(),
        })
        .collect()
}

/// The `RuntimeClass`es that the templates name.
pub(super) fn wanted_runtime_classes(templates: &[Template]) -> BTreeSet<String> {
    let named = templates
        .iter()
        .filter_map(|template| template.needs.scheduling.runtime_class.clone());
    named.collect()
}

/// The pull secrets of the templates and of the service accounts that could be read. The kubelet skips empty names.
pub(super) fn wanted_secrets(
    templates: &[Template],
    service_accounts: &BTreeMap<String, Visible<ServiceAccount>>,
) -> BTreeSet<String> {
    let own = templates.iter().flat_map(|template| &template.needs.pull_secrets);
    let inherited = service_accounts.values().flat_map(|account| match account {
        Visible::Seen(Some(account)) => account.pull_secrets.as_slice(),
        Visible::Seen(None) | Visible::Hidden(_) => &[],
    });
    own.chain(inherited).filter(|name| !name.is_empty()).cloned().collect()
}
