//! A cluster behind an API server: watches nodes, service accounts and namespaces, reads pull secrets by name (or watches them by
//! type), and reads single objects again before a finding relies on them.

use super::api_queue::ApiQueue;
use super::facts::{Facts, Namespace, ServiceAccount, Visible, wanted_runtime_classes, wanted_secrets, wanted_service_accounts};
use super::kind::{ErrorLog, Kind};
use super::last_contact::LastContact;
use super::policies::{KindsInForce, OnChange, PolicyWatch};
use super::raw::Raw;
use super::reader::{Door, FRESH, KEPT, Reader};
use super::store::{Phase, Store};
use super::streams::Streams;
use super::{Object, Readiness, convert};
use crate::credentials::{DOCKERCFG, DOCKERCONFIGJSON, PullSecret};
use crate::limits;
use crate::telemetry::Metrics;
use crate::workload::{Node, Owner, OwnerKind, OwnerReference, RuntimeClass, Template};
use futures_util::StreamExt as _;
use futures_util::stream;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Secrets read for one review: nobody lists more, and each costs a request.
const MAX_SECRETS: usize = 100;
/// Objects of one page of a list.
const PAGE: u32 = 100;
/// Concurrent requests of one review.
const AT_ONCE: usize = 8;

/// How pull secrets are read (`secrets.access`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretReading {
    /// By name, when an object lists them: needs `get` only.
    #[default]
    Get,
    /// Listed and watched in all namespaces, the two pull secret types only.
    Cluster,
    /// Not at all.
    None,
}

/// Cheap to clone; the watches end with the last clone.
#[derive(Clone)]
pub struct Watched(Arc<Inner>);

struct Inner {
    /// To show to users.
    title: String,
    client: Client,
    errors: Arc<ErrorLog>,
    heard: LastContact,
    nodes: Arc<Store<Node>>,
    namespaces: Arc<Store<Namespace>>,
    service_accounts: Arc<Store<ServiceAccount>>,
    /// Reviews do not wait for these: until they are listed, the few that pods name are read one by one.
    runtime_classes: Arc<Store<RuntimeClass>>,
    /// One store per type; empty unless [`SecretReading::Cluster`].
    secrets: Vec<Arc<Store<PullSecret>>>,
    access: SecretReading,
    read_namespace: Arc<Reader<Namespace>>,
    read_service_account: Arc<Reader<ServiceAccount>>,
    read_secret: Arc<Reader<PullSecret>>,
    read_runtime_class: Arc<Reader<RuntimeClass>>,
    streams: Streams,
    read_owner: BTreeMap<OwnerKind, Arc<Reader<Owner>>>,
    tasks: Vec<AbortHandle>,
    /// Started on first use.
    policies: OnceLock<(Arc<PolicyWatch>, [AbortHandle; 2])>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let policies = self.policies.get().into_iter().flat_map(|(_, tasks)| tasks);
        for task in self.tasks.iter().chain(policies) {
            task.abort();
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("access", &self.0.access)
            .finish_non_exhaustive()
    }
}

impl Watched {
    /// Starts the watches. Must be called within a tokio runtime.
    pub fn start(client: &Client, access: SecretReading) -> Self {
        Self::recording_contact(client, access, LastContact::default(), String::new())
    }

    /// The same, with a client that records in `heard` when something arrives; `title` is shown to users.
    pub(super) fn recording_contact(client: &Client, access: SecretReading, heard: LastContact, title: String) -> Self {
        let errors = Arc::new(ErrorLog::default());
        let door = Door {
            errors: Arc::clone(&errors),
            turns: ApiQueue::new(),
            heard: heard.clone(),
        };
        let mut tasks = Vec::new();
        let nodes = Store::new(Kind::Node);
        let namespaces = Store::new(Kind::Namespace);
        let service_accounts = Store::new(Kind::ServiceAccount);
        tasks.push(follow(client, &nodes, None, |node| Some(Node::from_json(node)), &errors));
        tasks.push(follow(
            client,
            &namespaces,
            None,
            |object| Some(convert::namespace(object)),
            &errors,
        ));
        tasks.push(follow(
            client,
            &service_accounts,
            None,
            |object| Some(convert::service_account(object)),
            &errors,
        ));
        let runtime_classes = Store::new(Kind::RuntimeClass);
        tasks.push(follow(
            client,
            &runtime_classes,
            None,
            |object| Some(RuntimeClass::from_json(object)),
            &errors,
        ));
        let types: &[&str] = match access {
            SecretReading::Cluster => &[DOCKERCONFIGJSON, DOCKERCFG],
            SecretReading::Get | SecretReading::None => &[],
        };
        let secrets: Vec<_> = types
            .iter()
            .map(|kind| {
                let store = Store::new(Kind::Secret);
                tasks.push(follow(
                    client,
                    &store,
                    Some(&format!("type={kind}")),
                    |object| convert::secret(object).ok(),
                    &errors,
                ));
                store
            })
            .collect();
        let read_namespace = Reader::new(
            Kind::Namespace,
            client.clone(),
            |object| Some(convert::namespace(object)),
            weigh_namespace,
            door.clone(),
        );
        let read_service_account = Reader::new(
            Kind::ServiceAccount,
            client.clone(),
            |object| Some(convert::service_account(object)),
            weigh_account,
            door.clone(),
        );
        let read_secret = Reader::new(
            Kind::Secret,
            client.clone(),
            |object| convert::secret(object).ok(),
            weigh_secret,
            door.clone(),
        );
        let read_runtime_class = Reader::new(
            Kind::RuntimeClass,
            client.clone(),
            |object| Some(RuntimeClass::from_json(object)),
            weigh_runtime_class,
            door.clone(),
        );
        let read_owner = OwnerKind::ALL.into_iter().map(|kind| {
            let reader = Reader::new(
                Kind::Owner(kind),
                client.clone(),
                |object| Some(Owner::read(object)),
                Owner::weight,
                door.clone(),
            );
            (kind, reader)
        });
        let read_owner = read_owner.collect();
        let streams = Streams::new(client, door);
        Self(Arc::new(Inner {
            title,
            client: client.clone(),
            errors,
            heard,
            nodes,
            namespaces,
            service_accounts,
            runtime_classes,
            secrets,
            access,
            read_namespace,
            read_service_account,
            read_secret,
            read_runtime_class,
            streams,
            read_owner,
            tasks,
            policies: OnceLock::new(),
        }))
    }

    /// Which cluster it is, to show to users.
    pub(super) fn title(&self) -> &str {
        &self.0.title
    }

    /// The client, for one-off reads.
    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    /// Sends a small request whenever the API server is quiet; ends with the last clone.
    pub(super) fn listen(mut self) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            let listening = inner.heard.clone().listen(inner.client.clone());
            inner.tasks.push(tokio::spawn(listening).abort_handle());
        }
        self
    }

    /// See [`super::Cluster::silence`].
    pub(super) fn silence(&self) -> std::time::Duration {
        self.0.heard.age()
    }

    /// See [`super::Cluster::follow_policies`].
    pub(super) fn follow_policies(&self, metrics: &Metrics, kinds: KindsInForce, on_change: OnChange) {
        let inner = &self.0;
        inner
            .policies
            .get_or_init(|| PolicyWatch::start(&inner.client, &inner.errors, metrics, kinds, on_change));
    }

    #[cfg(test)]
    pub(super) fn policy_watch(&self) -> Option<&PolicyWatch> {
        self.0.policies.get().map(|(policies, _)| policies.as_ref())
    }

    /// See [`super::Cluster::nodes`].
    pub fn nodes(&self) -> Arc<Vec<Node>> {
        self.0.nodes.snapshot()
    }

    /// See [`super::Cluster::ready`].
    pub fn ready(&self) -> Vec<Readiness> {
        let inner = &self.0;
        let mut out = vec![
            readiness(&inner.nodes),
            readiness(&inner.namespaces),
            readiness(&inner.service_accounts),
        ];
        out.extend(inner.secrets.iter().map(|store| readiness(store)));
        out.extend(inner.policies.get().map(|(policies, _)| policies.readiness()));
        out
    }

    /// See [`super::Cluster::wait_synced`].
    pub async fn wait_synced(&self, deadline: Instant) -> bool {
        let inner = &self.0;
        let all = async {
            inner.nodes.synced().await;
            inner.namespaces.synced().await;
            inner.service_accounts.synced().await;
            for store in &inner.secrets {
                store.synced().await;
            }
            if let Some((policies, _)) = inner.policies.get() {
                policies.synced().await;
            }
        };
        tokio::time::timeout_at(deadline, all).await.is_ok()
    }

    /// See [`super::Cluster::facts`].
    pub async fn facts(&self, namespace: &str, templates: &[Template], deadline: Instant) -> Facts {
        let inner = &self.0;
        let service_accounts = gather(wanted_service_accounts(templates), |name| async move {
            let seen = match watched(&inner.service_accounts, namespace, &name) {
                Some(seen) => seen,
                None => inner.read_service_account.read(namespace, &name, KEPT, deadline).await,
            };
            (name, seen)
        })
        .await;
        let secrets = inner
            .secrets(
                namespace,
                wanted_secrets(templates, &service_accounts),
                Recency::Usual,
                deadline,
            )
            .await;
        let runtime_classes = gather(wanted_runtime_classes(templates), |name| async move {
            let seen = match watched(&inner.runtime_classes, "", &name) {
                // It may have been applied together with the pods that name it, and the watch may not have seen it yet.
                Some(Visible::Seen(None)) | None => inner.read_runtime_class.read("", &name, KEPT, deadline).await,
                Some(seen) => seen,
            };
            (name, seen)
        })
        .await;
        let seen = match watched(&inner.namespaces, "", namespace) {
            Some(seen) => seen,
            None => inner.read_namespace.read("", namespace, KEPT, deadline).await,
        };
        Facts {
            nodes: inner.nodes.snapshot(),
            namespace: seen,
            service_accounts,
            secrets,
            unconfirmed: None,
            runtime_classes,
            complete: true,
            image_streams: Arc::new(inner.streams.of(namespace, templates, deadline).await),
        }
    }

    /// How Secrets are read.
    pub(super) fn access(&self) -> SecretReading {
        self.0.access
    }

    /// OpenShift's image streams.
    pub(super) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// See [`super::Cluster::owner`].
    pub async fn owner(&self, namespace: &str, reference: &OwnerReference, deadline: Instant) -> Visible<Owner> {
        let reader = reference.owner_kind().and_then(|kind| self.0.read_owner.get(&kind));
        match reader {
            Some(reader) => reader.read(namespace, &reference.name, KEPT, deadline).await,
            None => Visible::Hidden(format!("pullgate does not read {}", crate::image::escape(&reference.kind))),
        }
    }

    /// See [`super::Cluster::reread`].
    pub async fn reread(
        &self,
        facts: &Facts,
        namespace: &str,
        templates: &[Template],
        objects: &[Object],
        deadline: Instant,
    ) -> Facts {
        let inner = &self.0;
        let mut facts = facts.clone();
        let mut accounts = BTreeSet::new();
        let mut secrets = BTreeSet::new();
        for object in objects {
            match object {
                Object::Namespace => {
                    let fresh = inner.read_namespace.read("", namespace, FRESH, deadline).await;
                    // What a watch has shown holds as long as the API server sends anything, even if it does not answer this request.
                    let holds = matches!(fresh, Visible::Hidden(_)) && !inner.heard.is_silent();
                    if matches!(fresh, Visible::Hidden(_)) && inner.heard.is_silent() {
                        facts.unconfirmed = Some(format!(
                            "the API server has sent nothing for {} s: nodes, policies and the namespace's labels may have changed",
                            inner.heard.age().as_secs()
                        ));
                    }
                    if !holds || !matches!(facts.namespace, Visible::Seen(Some(_))) {
                        facts.namespace = fresh;
                    }
                }
                Object::ServiceAccount(name) => {
                    accounts.insert(name.clone());
                }
                Object::Secret(name) => {
                    secrets.insert(name.clone());
                }
            }
        }
        let read = gather(accounts, |name| async move {
            let seen = inner.read_service_account.read(namespace, &name, FRESH, deadline).await;
            (name, seen)
        });
        facts.service_accounts.extend(read.await);
        // A new account may list secrets that have not been looked up.
        let missing = wanted_secrets(templates, &facts.service_accounts).into_iter();
        secrets.extend(missing.filter(|name| !facts.secrets.contains_key(name)));
        facts
            .secrets
            .extend(inner.secrets(namespace, secrets, Recency::Fresh, deadline).await);
        facts
    }
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recency {
    /// As the watches and the cache have it.
    Usual,
    /// As the API server has it now (up to two seconds old).
    Fresh,
}

impl Inner {
    async fn secrets(
        &self,
        namespace: &str,
        mut names: BTreeSet<String>,
        recency: Recency,
        deadline: Instant,
    ) -> BTreeMap<String, Visible<PullSecret>> {
        let mut beyond = BTreeMap::new();
        if let Some(first) = names.iter().nth(MAX_SECRETS).cloned() {
            let why = format!("more than {MAX_SECRETS} pull secrets are listed");
            beyond = names
                .split_off(&first)
                .into_iter()
                .map(|name| (name, Visible::Hidden(why.clone())))
                .collect();
        }
        let mut found = gather(names, |name| async move {
            let seen = self.secret(namespace, &name, recency, deadline).await;
            (name, seen)
        })
        .await;
        found.append(&mut beyond);
        found
    }

    async fn secret(&self, namespace: &str, name: &str, recency: Recency, deadline: Instant) -> Visible<PullSecret> {
        let max_age = match (self.access, recency) {
            (SecretReading::None, _) => return Visible::Hidden("pullgate is set to read no Secrets".to_owned()),
            (SecretReading::Cluster, Recency::Usual) => return self.watched_secret(namespace, name),
            (SecretReading::Get, Recency::Usual) => KEPT,
            (SecretReading::Get | SecretReading::Cluster, Recency::Fresh) => FRESH,
        };
        self.read_secret.read(namespace, name, max_age, deadline).await
    }

    /// From the two watches by type. A secret that neither has may still exist with another type, or be new: [`Watched::reread`]
    /// finds out.
    fn watched_secret(&self, namespace: &str, name: &str) -> Visible<PullSecret> {
        if let Some(found) = self.secrets.iter().find_map(|store| store.get(namespace, name)) {
            return Visible::Seen(Some(found));
        }
        let unread = self.secrets.iter().find_map(|store| match store.phase() {
            Phase::Ready => None,
            Phase::Starting(_) => Some("pullgate has not read the Secrets yet".to_owned()),
            Phase::Refused(why) => Some(why),
        });
        unread.map_or(Visible::Seen(None), Visible::Hidden)
    }
}

/// What a watch knows about an object; `None` if it knows nothing yet and a `get` may still tell.
fn watched<T: Clone + PartialEq + Send + Sync + 'static>(store: &Store<T>, namespace: &str, name: &str) -> Option<Visible<T>> {
    match store.phase() {
        Phase::Ready => Some(Visible::Seen(store.get(namespace, name))),
        Phase::Starting(_) | Phase::Refused(_) => None,
    }
}

/// Asks for several names, a few at a time.
async fn gather<T, F: Future<Output = (String, Visible<T>)>>(
    names: BTreeSet<String>,
    ask: impl FnMut(String) -> F,
) -> BTreeMap<String, Visible<T>> {
    stream::iter(names.into_iter().map(ask))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Starts the watch of one store.
fn follow<T: Clone + PartialEq + Send + Sync + 'static>(
    client: &Client,
    store: &Arc<Store<T>>,
    fields: Option<&str>,
    convert: super::store::Convert<T>,
    errors: &Arc<ErrorLog>,
) -> AbortHandle {
    let api: Api<Raw> = Api::all_with(client.clone(), &store.kind().resource());
    // A page is held as it came until all of it is read: a node has 15 KB and more.
    let config = watcher::Config::default().timeout(limits::WATCH_SECONDS).page_size(PAGE);
    let config = match fields {
        Some(fields) => config.fields(fields),
        None => config,
    };
    let events = watcher::watcher(api, config);
    tokio::spawn(Arc::clone(store).run(events, convert, Arc::clone(errors))).abort_handle()
}

fn readiness<T: Clone + PartialEq + Send + Sync + 'static>(store: &Store<T>) -> Readiness {
    let (synced, note) = match store.phase() {
        Phase::Ready => (true, None),
        Phase::Refused(why) => (true, Some(why)),
        Phase::Starting(Some(why)) => (false, Some(why)),
        Phase::Starting(None) => (false, Some(format!("the {} have not been listed yet", store.kind().many()))),
    };
    Readiness {
        what: store.kind().plural(),
        synced,
        note,
    }
}

fn weigh_namespace(namespace: &Namespace) -> usize {
    namespace.labels.iter().map(|(key, value)| key.len() + value.len() + 48).sum()
}

fn weigh_account(account: &ServiceAccount) -> usize {
    account.pull_secrets.iter().map(|name| name.len() + 24).sum()
}

fn weigh_runtime_class(class: &RuntimeClass) -> usize {
    class.handler.len()
        + class
            .node_selector
            .iter()
            .map(|(key, value)| key.len() + value.len() + 48)
            .sum::<usize>()
        + class.tolerations.len() * 128
}

fn weigh_secret(secret: &PullSecret) -> usize {
    secret.data.bytes().len()
}

#[cfg(test)]
mod tests;
