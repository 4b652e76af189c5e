//! A small API server for the tests: discovery, list (in pages), watch, get, and patches of a status, over HTTP, on a runtime of
//! its own so that it can vanish with all its connections.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};

/// Resources by name: the plural of the core group, `plural.group` of others.
type Resource = String;

#[derive(Default)]
struct Held {
    /// By resource, namespace and name.
    objects: BTreeMap<(Resource, String, String), Value>,
    /// Kinds beyond the core group: group, version, plural, kind, and whether it has namespaces.
    served: Vec<(String, String, String, String, bool)>,
    version: u64,
    /// What watches have been told: version, resource, event.
    log: Vec<(u64, Resource, Value)>,
    /// `list secrets`, `get nodes`, `patch imagepolicies.pullgate.dev` …
    refused: BTreeSet<String>,
    /// Every request: its method and its path with the query.
    asked: Vec<(String, String)>,
    /// Requests of single objects, by path.
    gets: HashMap<String, usize>,
    /// How long each get takes.
    delay: Duration,
    /// Gets wait until its sender is dropped.
    hold: Option<watch::Receiver<()>>,
    /// Every get is answered by this instead.
    instead: Option<(u16, String)>,
    /// Statuses that were written, by name.
    written: HashMap<String, usize>,
    /// The next list request with a continue token is told that the token has expired.
    expire_next: bool,
}

#[derive(Clone)]
struct Shared {
    held: Arc<Mutex<Held>>,
    events: broadcast::Sender<(Resource, Value)>,
}

pub(crate) struct Fake {
    runtime: Option<Runtime>,
    /// Keeps the port while the listener is stopped: nobody else gets it, and connections are refused.
    place: TcpSocket,
    shared: Shared,
}

/// A socket bound to this address, which it shares with others.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

impl Fake {
    pub(crate) fn new() -> Self {
        let shared = Shared {
            held: Arc::default(),
            events: broadcast::Sender::new(100),
        };
        let mut fake = Self {
            runtime: None,
            place: bound(([127, 0, 0, 1], 0).into()),
            shared,
        };
        fake.start();
        fake
    }

    /// Listens, at the same address as before.
    pub(crate) fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _context = runtime.enter();
            bound(self.address()).listen(1024).unwrap()
        };
        let router = Router::new().fallback(answer).with_state(self.shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        self.runtime = Some(runtime);
    }

    /// Stops and drops every connection.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Until its sockets are closed; a task of another runtime may not wait for that itself.
            let end = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_mins(1)));
            end.join().unwrap();
        }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let mut config = kube::Config::new(format!("http://{}", self.address()).parse().unwrap());
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.place.local_addr().unwrap()
    }

    /// A kubeconfig for this server.
    pub(crate) fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address())}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
        })
    }

    /// Installs a kind: `apps/v1`, `deployments`, `Deployment`.
    pub(crate) fn serve(&self, api_version: &str, plural: &str, kind: &str, namespaced: bool) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let row = (
            group.to_owned(),
            version.to_owned(),
            plural.to_owned(),
            kind.to_owned(),
            namespaced,
        );
        self.held().served.push(row);
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.shared.held.lock().unwrap()
    }

    pub(crate) fn put(&self, resource: &str, object: Value) {
        let mut held = self.held();
        let (kind, object) = held.put(resource, object);
        self.shared.tell(&mut held, resource, json!({"type": kind, "object": object}));
    }

    /// Stores an object without telling the watches, as if it had been created a moment ago.
    pub(crate) fn put_unseen(&self, resource: &str, object: Value) {
        self.held().put(resource, object);
    }

    pub(crate) fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let mut held = self.held();
        let object = held.delete(resource, namespace, name);
        self.shared
            .tell(&mut held, resource, json!({"type": "DELETED", "object": object}));
    }

    /// Deletes an object without telling the watches.
    pub(crate) fn delete_unseen(&self, resource: &str, namespace: &str, name: &str) {
        self.held().delete(resource, namespace, name);
    }

    /// Tells the watches of a resource that their version is too old (410).
    pub(crate) fn compact(&self, resource: &str) {
        let gone =
            json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old", "metadata": {}});
        let event = json!({"type": "ERROR", "object": gone});
        let _ = self.shared.events.send((resource.to_owned(), event));
    }

    /// Answers the next request for a second page as if its continue token had expired.
    pub(crate) fn expire_next(&self) {
        self.held().expire_next = true;
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.held().objects.get(&key).cloned()
    }

    /// All objects of a resource.
    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        let held = self.held();
        let of = held.objects.iter().filter(|((of, ..), _)| of == resource);
        of.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn refuse(&self, what: &str) {
        self.held().refused.insert(what.to_owned());
    }

    pub(crate) fn admit(&self, what: &str) {
        self.held().refused.remove(what);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.held().delay = delay;
    }

    /// Gets are answered once the result is dropped.
    pub(crate) fn hold(&self) -> watch::Sender<()> {
        let (end, waiting) = watch::channel(());
        self.held().hold = Some(waiting);
        end
    }

    pub(crate) fn instead(&self, status: u16, body: &str) {
        self.held().instead = Some((status, body.to_owned()));
    }

    /// Gets and Events are answered normally again.
    pub(crate) fn no_more_instead(&self) {
        self.held().instead = None;
    }

    pub(crate) fn gets(&self, path: &str) -> usize {
        self.held().gets.get(path).copied().unwrap_or_default()
    }

    pub(crate) fn all_gets(&self) -> usize {
        self.held().gets.values().sum()
    }

    /// How often the status of this object was written.
    pub(crate) fn written(&self, name: &str) -> usize {
        self.held().written.get(name).copied().unwrap_or_default()
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.held().asked.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Stops the clock of the test's runtime until it is dropped: only [`tokio::time::advance`] moves it. The fake's own clock runs on.
pub(crate) struct StoppedClock(#[expect(dead_code, reason = "dropping it ends the blocking task")] mpsc::Sender<()>);

impl StoppedClock {
    pub(crate) fn new() -> Self {
        let (running, ended) = mpsc::channel();
        // A paused clock jumps to the next timer when every task waits for the network, but not while blocking work runs.
        tokio::task::spawn_blocking(move || ended.recv());
        tokio::time::pause();
        Self(running)
    }
}

impl Drop for StoppedClock {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

impl Shared {
    fn tell(&self, held: &mut Held, resource: &str, event: Value) {
        held.log.push((held.version, resource.to_owned(), event.clone()));
        let _ = self.events.send((resource.to_owned(), event));
    }
}

impl Held {
    /// Stores an object as an API server does: a change of the spec is a new generation, and the status is only written as a subresource.
    fn put(&mut self, resource: &str, mut object: Value) -> (&'static str, Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let key = key(resource, &object);
        let before = self.objects.get(&key);
        if resource == POLICIES {
            let generation = before.map_or(0, |before| before["metadata"]["generation"].as_i64().unwrap());
            let changed = before.is_none_or(|before| before["spec"] != object["spec"]);
            object["metadata"]["generation"] = json!(generation + i64::from(changed));
            object["metadata"]["uid"] = match before {
                Some(before) => before["metadata"]["uid"].clone(),
                None => json!(format!("uid-{}", self.version)),
            };
            if let Some(before) = before.filter(|_| object.get("status").is_none()) {
                object["status"] = before["status"].clone();
            }
        }
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.objects.insert(key, object.clone());
        (kind, object)
    }

    fn delete(&mut self, resource: &str, namespace: &str, name: &str) -> Value {
        self.version += 1;
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = self.objects.remove(&key).unwrap();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object
    }

    fn discovery(&self, path: &str) -> Option<Value> {
        if path == "/apis" {
            let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
            for (group, version, ..) in self.served.iter().filter(|(group, ..)| !group.is_empty()) {
                let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
                let versions = groups.entry(group).or_default();
                if !versions.contains(&version) {
                    versions.push(version);
                }
            }
            let groups: Vec<Value> = groups
                .into_iter()
                .map(|(name, versions)| json!({"name": name, "preferredVersion": versions[0], "versions": versions}))
                .collect();
            return Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}));
        }
        let (group, version) = match path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
            ["api", version] => ("", version),
            ["apis", group, version] => (group, version),
            _ => return None,
        };
        let here: Vec<Value> = self
            .served
            .iter()
            .filter(|(of, at, ..)| of == group && at == version)
            .flat_map(|(_, _, plural, kind, namespaced)| {
                let row = |name: String| json!({"name": name, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list"]});
                [row(plural.clone()), row(format!("{plural}/status"))]
            })
            .collect();
        (group.is_empty() || !here.is_empty()).then(|| json!({"kind": "APIResourceList", "resources": here}))
    }
}

const POLICIES: &str = "imagepolicies.pullgate.dev";

fn key(resource: &str, object: &Value) -> (Resource, String, String) {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (resource.to_owned(), text("namespace"), text("name"))
}

fn status(code: u16, reason: &str) -> Response {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let whole = uri.path_and_query().map_or("", |whole| whole.as_str()).to_owned();
    {
        let mut held = shared.held.lock().unwrap();
        held.asked.push((method.to_string(), whole));
        if let Some(found) = held.discovery(uri.path()) {
            let refused = held.refused.contains(&format!("discover {}", uri.path()));
            return if refused {
                status(503, "ServiceUnavailable")
            } else {
                axum::Json(found).into_response()
            };
        }
    }
    let parts: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    let (group, version, rest) = match &parts[..] {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return status(404, "NotFound"),
    };
    let (plural, namespace, name) = match (group, rest) {
        ("", ["namespaces", name]) => ("namespaces", "", Some(*name)),
        (_, ["namespaces", namespace, plural, name]) => (*plural, *namespace, Some(*name)),
        (_, ["namespaces", namespace, plural]) => (*plural, *namespace, None),
        (_, [plural]) => (*plural, "", None),
        (_, [plural, name]) if !group.is_empty() => (*plural, "", Some(*name)),
        (_, [plural, name, "status"]) if method == Method::PATCH => (*plural, "", Some(*name)),
        _ => return status(404, "NotFound"),
    };
    let resource = match group {
        "" => plural.to_owned(),
        group => {
            let known = |held: &Held| {
                let mut served = held.served.iter();
                served.any(|(of, at, name, ..)| (of.as_str(), at.as_str(), name.as_str()) == (group, version, plural))
            };
            if !known(&shared.held.lock().unwrap()) {
                return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
            }
            format!("{plural}.{group}")
        }
    };
    if plural == "events" && method != Method::GET {
        return event(&shared, &method, &resource, namespace, name, &body);
    }
    if method == Method::PATCH {
        return patch(&shared, &resource, name.unwrap_or_default(), &body);
    }
    if method != Method::GET {
        return status(405, "MethodNotAllowed");
    }
    if let Some(name) = name {
        let (delay, waiting) = {
            let mut held = shared.held.lock().unwrap();
            *held.gets.entry(uri.path().to_owned()).or_default() += 1;
            (held.delay, held.hold.clone())
        };
        tokio::time::sleep(delay).await;
        if let Some(mut end) = waiting {
            while end.changed().await.is_ok() {}
        }
        let held = shared.held.lock().unwrap();
        if let Some((code, body)) = &held.instead {
            return (StatusCode::from_u16(*code).unwrap(), body.clone()).into_response();
        }
        if held.refused.contains(&format!("get {resource}")) {
            return status(403, "Forbidden");
        }
        return match held.objects.get(&(resource, namespace.to_owned(), name.to_owned())) {
            Some(object) => axum::Json(object.clone()).into_response(),
            None => status(404, "NotFound"),
        };
    }
    let selector = query.get("fieldSelector").cloned().unwrap_or_default();
    let matches = move |object: &Value| match selector.strip_prefix("type=") {
        Some(kind) => object["type"] == *kind,
        None => true,
    };
    let mut held = shared.held.lock().unwrap();
    if held.refused.contains(&format!("list {resource}")) {
        return status(403, "Forbidden");
    }
    if query.get("watch").is_none_or(|watch| watch != "true") {
        return list(&mut held, &resource, namespace, &query, matches);
    }
    // First come the events since the version that the watch starts from.
    let since: u64 = query
        .get("resourceVersion")
        .and_then(|version| version.parse().ok())
        .unwrap_or_default();
    let past: Vec<Value> = held
        .log
        .iter()
        .filter(|(version, of, event)| *version > since && *of == resource && matches(&event["object"]))
        .map(|(_, _, event)| event.clone())
        .collect();
    let events = shared.events.subscribe();
    let line = |event: &Value| Ok::<_, std::convert::Infallible>(format!("{event}\n"));
    let news = futures_util::stream::unfold(events, move |mut events| {
        let (resource, matches) = (resource.clone(), matches.clone());
        async move {
            loop {
                let got = events.recv().await;
                let (of, event) = got.ok()?;
                if of == resource && matches(&event["object"]) {
                    return Some((line(&event), events));
                }
            }
        }
    });
    let past: Vec<_> = past.iter().map(line).collect();
    let lines = futures_util::StreamExt::chain(futures_util::stream::iter(past), news);
    Body::from_stream(lines).into_response()
}

fn list(
    held: &mut Held,
    resource: &str,
    namespace: &str,
    query: &HashMap<String, String>,
    matches: impl Fn(&Value) -> bool,
) -> Response {
    let number = |key: &str| query.get(key).and_then(|text| text.parse::<usize>().ok());
    let (from, limit) = (number("continue").unwrap_or_default(), number("limit").unwrap_or(usize::MAX));
    if from > 0 && std::mem::take(&mut held.expire_next) {
        let mut gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410});
        gone["metadata"]["continue"] = json!(from.to_string());
        return (StatusCode::GONE, axum::Json(gone)).into_response();
    }
    let all: Vec<&Value> = held
        .objects
        .iter()
        .filter(|((of, at, _), object)| of == resource && (namespace.is_empty() || at == namespace) && matches(object))
        .map(|(_, object)| object)
        .collect();
    let here: Vec<&Value> = all.iter().skip(from).take(limit).copied().collect();
    let mut metadata = json!({"resourceVersion": held.version.max(1).to_string()});
    if from + here.len() < all.len() {
        metadata["continue"] = json!((from + here.len()).to_string());
    }
    axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": here})).into_response()
}

/// Creates an Event, or changes one. A namespace whose name begins with `gone` does not exist, with `ending` it is being deleted.
fn event(shared: &Shared, method: &Method, resource: &str, namespace: &str, name: Option<&str>, body: &[u8]) -> Response {
    let mut held = shared.held.lock().unwrap();
    if let Some((code, body)) = &held.instead {
        return (StatusCode::from_u16(*code).unwrap(), body.clone()).into_response();
    }
    let verb = if *method == Method::POST { "create" } else { "patch" };
    if held.refused.contains(&format!("{verb} {resource}")) || held.refused.contains(&format!("{verb} {resource} in {namespace}")) {
        return status(403, "Forbidden");
    }
    let missing = |what: &str| {
        let body = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": what,
                          "details": {"name": namespace, "kind": what}});
        (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
    };
    if namespace.starts_with("gone") {
        return missing("namespaces");
    }
    if namespace.starts_with("ending") {
        let body = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "being terminated",
                          "details": {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}});
        return (StatusCode::FORBIDDEN, axum::Json(body)).into_response();
    }
    let mut sent: Value = serde_json::from_slice(body).unwrap();
    let object = match name {
        None => {
            assert_eq!(sent["metadata"]["namespace"], namespace);
            sent["metadata"]["resourceVersion"] = json!("1");
            sent
        }
        Some(name) => {
            let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
            let Some(mut object) = held.objects.get(&key).cloned() else {
                return missing("events");
            };
            for (key, value) in sent.as_object().unwrap() {
                object[key] = value.clone();
            }
            object
        }
    };
    let (_, object) = held.put(resource, object);
    (StatusCode::CREATED, axum::Json(object)).into_response()
}

/// A merge patch of a status: refused where it was made from an older version.
fn patch(shared: &Shared, resource: &str, name: &str, body: &[u8]) -> Response {
    let mut held = shared.held.lock().unwrap();
    if held.refused.contains(&format!("patch {resource}")) {
        return status(403, "Forbidden");
    }
    let patch: Value = serde_json::from_slice(body).unwrap();
    let key = (resource.to_owned(), String::new(), name.to_owned());
    let Some(mut object) = held.objects.get(&key).cloned() else {
        return status(404, "NotFound");
    };
    if patch["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
        return status(409, "Conflict");
    }
    object["status"] = patch["status"].clone();
    let (_, object) = held.put(resource, object);
    *held.written.entry(name.to_owned()).or_default() += 1;
    shared.tell(&mut held, resource, json!({"type": "MODIFIED", "object": object}));
    axum::Json(object).into_response()
}
