//! Facts from manifests: a folder in place of a cluster (`--facts DIR`), or the objects given to `check`.

use super::convert;
use super::facts::{Facts, Namespace, ServiceAccount, Visible, wanted_runtime_classes, wanted_secrets, wanted_service_accounts};
use crate::credentials::PullSecret;
use crate::runtime::crio::openshift::{CONFIG_NAMESPACE, Objects as OpenShift};
use crate::workload::streams::ImageStreams;
use crate::workload::{Node, Owner, OwnerKind, OwnerReference, RuntimeClass, Template, Workload};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod load;

pub use load::{LoadError, Problem, WatchedDirectory};

/// The namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";
/// The service account that every namespace has.
const DEFAULT_ACCOUNT: &str = "default";

/// Whether a set of manifests is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Completeness {
    /// What is not in it does not exist (`--complete`, `--facts`).
    Complete,
    /// There may be more in the cluster.
    #[default]
    Partial,
}

/// An object that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its index among the given objects.
    pub object: usize,
    /// Why, as a sentence without its full stop: `Secret shop/regcred: its data[.dockercfg] is not base64 (at byte 0)`.
    pub why: String,
}

/// Secrets, service accounts, nodes, namespaces and `RuntimeClass`es from manifests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Directory {
    nodes: Arc<Vec<Node>>,
    namespaces: BTreeMap<String, Namespace>,
    service_accounts: BTreeMap<(String, String), ServiceAccount>,
    secrets: BTreeMap<(String, String), PullSecret>,
    /// Secrets that are there and whose values are encrypted: nobody can say what is in them.
    encrypted: BTreeSet<(String, String)>,
    runtime_classes: BTreeMap<String, RuntimeClass>,
    /// By kind, namespace and name.
    owners: BTreeMap<(OwnerKind, String, String), Owner>,
    completeness: Completeness,
    rejected: Vec<Rejected>,
    openshift: Option<OpenShift>,
    image_streams: Arc<ImageStreams>,
}

impl Directory {
    /// Takes the relevant objects of `objects`: kinds of the core group (`v1`) and `RuntimeClass`es, with lists flattened; of an object
    /// that appears twice, the last one counts. Other kinds are skipped; what the API server would refuse is listed in [`Self::rejected`].
    pub fn from_objects<'a>(objects: impl IntoIterator<Item = &'a Value>, completeness: Completeness) -> Self {
        let mut directory = Self {
            completeness,
            ..Self::default()
        };
        let mut nodes = BTreeMap::new();
        let mut core = OpenShift::default();
        for (place, object) in objects.into_iter().enumerate() {
            flatten(object, &mut |group, kind, object| {
                if let Some(of) = OwnerKind::of(text(object, "apiVersion"), kind) {
                    let place = (of, space(object), convert::name(object).to_owned());
                    directory.owners.insert(place, Owner::read(object));
                }
                match group {
                    Group::Core => {
                        directory.take(place, kind, object, &mut nodes);
                        if convert::namespace_of(object) == CONFIG_NAMESPACE {
                            core.add_core(object);
                        }
                    }
                    Group::Other if kind == "RuntimeClass" => directory.take(place, kind, object, &mut nodes),
                    Group::Other if kind == "ImageStream" => {
                        Arc::make_mut(&mut directory.image_streams).add(&space(object), convert::name(object), object);
                    }
                    Group::Other => {
                        let mut known = directory.openshift.take().unwrap_or_default();
                        let is_one = known.add(object);
                        directory.openshift = (is_one || known != OpenShift::default()).then_some(known);
                    }
                }
            });
        }
        directory.nodes = Arc::new(nodes.into_values().collect());
        if let Some(known) = &mut directory.openshift {
            known.take_core(core);
        }
        directory
    }

    fn take(&mut self, place: usize, kind: &str, object: &Value, nodes: &mut BTreeMap<String, Node>) {
        let name = convert::name(object).to_owned();
        if name.is_empty() {
            // No name (a template, or `generateName`): nothing can refer to it.
            return;
        }
        let namespace = space(object);
        match kind {
            "Node" => {
                nodes.insert(name, Node::from_json(object));
            }
            "Namespace" => {
                self.namespaces.insert(name, convert::namespace(object));
            }
            "RuntimeClass" => {
                self.runtime_classes.insert(name, RuntimeClass::from_json(object));
            }
            "ServiceAccount" => {
                self.service_accounts
                    .insert((namespace, name), convert::service_account(object));
            }
            "Secret" if convert::is_encrypted(object) => {
                self.encrypted.insert((namespace, name));
            }
            "Secret" => match convert::secret(object) {
                Ok(secret) => {
                    self.secrets.insert((namespace, name), secret);
                }
                Err(why) => self.rejected.push(Rejected {
                    object: place,
                    why: format!("Secret {namespace}/{name}: {why}"),
                }),
            },
            _ => {}
        }
    }

    /// Whether it has a `RuntimeClass` of this name.
    pub fn has_runtime_class(&self, name: &str) -> bool {
        self.runtime_classes.contains_key(name)
    }

    /// Adds a namespace with exactly these labels.
    pub fn set_namespace(&mut self, name: &str, mut labels: Vec<(String, String)>) {
        labels.sort_unstable();
        let namespace = Namespace {
            labels,
            ..Namespace::default()
        };
        self.namespaces.insert(name.to_owned(), namespace);
    }

    /// Adds objects under review that may own others.
    pub fn add_owners<'a>(&mut self, workloads: impl IntoIterator<Item = &'a Workload>) {
        for workload in workloads {
            let object = &workload.object;
            if let Some(kind) = object.owner_kind() {
                let place = (kind, object.namespace.clone(), object.name.clone());
                self.owners.insert(place, Owner::of(workload));
            }
        }
    }

    /// See [`super::Cluster::owner`].
    pub fn owner(&self, namespace: &str, reference: &OwnerReference) -> Visible<Owner> {
        let Some(kind) = reference.owner_kind() else {
            return Visible::Hidden(format!("pullgate does not read {}", crate::image::escape(&reference.kind)));
        };
        let place = (kind, namespace.to_owned(), reference.name.clone());
        match (self.owners.get(&place), self.completeness) {
            (Some(owner), _) => Visible::Seen(Some(owner.clone())),
            (None, Completeness::Complete) => Visible::Seen(None),
            (None, Completeness::Partial) => Visible::Hidden("the owner is not among the manifests".to_owned()),
        }
    }

    /// OpenShift's objects about registries; `None` where there are none.
    pub fn openshift(&self) -> Option<&OpenShift> {
        self.openshift.as_ref()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes, shared.
    pub(super) fn all_nodes(&self) -> Arc<Vec<Node>> {
        Arc::clone(&self.nodes)
    }

    /// Replaces the nodes with those of `other`, and OpenShift's registry settings too if `other` has any.
    pub fn set_nodes(&mut self, other: &Self) {
        self.nodes = Arc::clone(&other.nodes);
        if other.openshift.is_some() {
            self.openshift.clone_from(&other.openshift);
        }
    }

    /// What the API server would have refused.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// The facts for a review; see [`super::Cluster::facts`]. In a complete set every namespace has a `default` service account,
    /// listed or not, because a controller creates it.
    pub fn facts(&self, namespace: &str, templates: &[Template]) -> Facts {
        let account = |name: String| {
            let found = self.service_accounts.get(&(namespace.to_owned(), name.clone())).cloned();
            let found = match self.completeness {
                Completeness::Complete if name == DEFAULT_ACCOUNT => Some(found.unwrap_or_default()),
                Completeness::Complete | Completeness::Partial => found,
            };
            (name, Visible::Seen(found))
        };
        let service_accounts: BTreeMap<_, _> = wanted_service_accounts(templates).into_iter().map(account).collect();
        let names: BTreeSet<String> = wanted_secrets(templates, &service_accounts);
        Facts {
            nodes: Arc::clone(&self.nodes),
            namespace: Visible::Seen(self.namespaces.get(namespace).cloned()),
            secrets: names
                .into_iter()
                .map(|name| {
                    let key = (namespace.to_owned(), name.clone());
                    let seen = match self.secrets.get(&key) {
                        None if self.encrypted.contains(&key) => {
                            Visible::Hidden(format!("the values of Secret {name} are encrypted in its file"))
                        }
                        found => Visible::Seen(found.cloned()),
                    };
                    (name, seen)
                })
                .collect(),
            service_accounts,
            unconfirmed: None,
            runtime_classes: wanted_runtime_classes(templates)
                .into_iter()
                .map(|name| {
                    let found = self.runtime_classes.get(&name).cloned();
                    (name, Visible::Seen(found))
                })
                .collect(),
            complete: self.completeness == Completeness::Complete,
            image_streams: Arc::clone(&self.image_streams),
        }
    }
}

/// The namespace of an object.
fn space(object: &Value) -> String {
    match convert::namespace_of(object) {
        "" => DEFAULT_NAMESPACE.to_owned(),
        namespace => namespace.to_owned(),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The API group of an object.
enum Group {
    Core,
    Other,
}

/// Calls `each` for every object, however deeply lists are nested.
fn flatten<'a>(object: &'a Value, each: &mut impl FnMut(Group, &str, &'a Value)) {
    // A list's items may omit their kind; it then follows from the list's (`PodList`).
    let mut open = vec![(object, "")];
    while let Some((object, implied)) = open.pop() {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or(implied);
        if let (Some(of), Some(items)) = (kind.strip_suffix("List"), object.get("items").and_then(Value::as_array)) {
            open.extend(items.iter().rev().map(|item| (item, of)));
            continue;
        }
        match object.get("apiVersion").and_then(Value::as_str) {
            Some("v1") => each(Group::Core, kind, object),
            None if !implied.is_empty() => each(Group::Core, kind, object),
            Some(_) => each(Group::Other, kind, object),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
