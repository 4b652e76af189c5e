//! A small API server for the tests: list, watch and get of the core group, over HTTP, on a runtime of its own so that it can vanish
//! with all its connections.

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

#[derive(Default)]
struct Held {
    /// By plural, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    version: u64,
    /// What watches have been told: version, plural, event.
    log: Vec<(u64, String, Value)>,
    /// `list secrets`, `get nodes` …
    refused: BTreeSet<String>,
    /// Requests of single objects, by path.
    gets: HashMap<String, usize>,
    /// How long each get takes.
    delay: Duration,
    /// Every get is answered by this instead.
    instead: Option<(u16, String)>,
}

#[derive(Clone)]
struct Shared {
    held: Arc<Mutex<Held>>,
    events: broadcast::Sender<(String, Value)>,
}

pub(super) struct Fake {
    runtime: Option<Runtime>,
    address: std::net::SocketAddr,
    shared: Shared,
}

impl Fake {
    pub(super) fn new() -> Self {
        let shared = Shared {
            held: Arc::default(),
            events: broadcast::Sender::new(100),
        };
        let mut fake = Self {
            runtime: None,
            address: ([127, 0, 0, 1], 0).into(),
            shared,
        };
        fake.start();
        fake
    }

    /// Listens, at the same address as before.
    pub(super) fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.shared.clone());
        runtime.spawn(async move { axum::serve(TcpListener::from_std(listener).unwrap(), router).await });
        self.runtime = Some(runtime);
    }

    /// Vanishes with every connection.
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(super) fn client(&self) -> kube::Client {
        let mut config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    pub(super) fn put(&self, plural: &str, mut object: Value) {
        let mut held = self.shared.held.lock().unwrap();
        held.version += 1;
        object["metadata"]["resourceVersion"] = json!(held.version.to_string());
        let key = key(plural, &object);
        let kind = if held.objects.insert(key, object.clone()).is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.tell(&mut held, plural, json!({"type": kind, "object": object}));
    }

    /// Puts an object that no watch tells about: it came a moment ago.
    pub(super) fn put_unseen(&self, plural: &str, mut object: Value) {
        let mut held = self.shared.held.lock().unwrap();
        held.version += 1;
        object["metadata"]["resourceVersion"] = json!(held.version.to_string());
        held.objects.insert(key(plural, &object), object);
    }

    pub(super) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let mut held = self.shared.held.lock().unwrap();
        held.version += 1;
        let version = held.version.to_string();
        let mut object = held
            .objects
            .remove(&(plural.to_owned(), namespace.to_owned(), name.to_owned()))
            .unwrap();
        object["metadata"]["resourceVersion"] = json!(version);
        self.tell(&mut held, plural, json!({"type": "DELETED", "object": object}));
    }

    fn tell(&self, held: &mut Held, plural: &str, event: Value) {
        held.log.push((held.version, plural.to_owned(), event.clone()));
        let _ = self.shared.events.send((plural.to_owned(), event));
    }

    pub(super) fn refuse(&self, what: &str) {
        self.shared.held.lock().unwrap().refused.insert(what.to_owned());
    }

    pub(super) fn delay(&self, delay: Duration) {
        self.shared.held.lock().unwrap().delay = delay;
    }

    pub(super) fn instead(&self, status: u16, body: &str) {
        self.shared.held.lock().unwrap().instead = Some((status, body.to_owned()));
    }

    pub(super) fn gets(&self, path: &str) -> usize {
        self.shared.held.lock().unwrap().gets.get(path).copied().unwrap_or_default()
    }

    pub(super) fn all_gets(&self) -> usize {
        self.shared.held.lock().unwrap().gets.values().sum()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

fn key(plural: &str, object: &Value) -> (String, String, String) {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (plural.to_owned(), text("namespace"), text("name"))
}

fn status(code: u16, reason: &str) -> Response {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

async fn answer(State(shared): State<Shared>, uri: Uri, Query(query): Query<HashMap<String, String>>) -> Response {
    let parts: Vec<&str> = uri.path().trim_start_matches("/api/v1/").split('/').collect();
    let (plural, namespace, name) = match parts[..] {
        ["namespaces", name] => ("namespaces", "", Some(name)),
        ["namespaces", namespace, plural, name] => (plural, namespace, Some(name)),
        [plural] => (plural, "", None),
        _ => return status(404, "NotFound"),
    };
    if let Some(name) = name {
        let delay = {
            let mut held = shared.held.lock().unwrap();
            *held.gets.entry(uri.path().to_owned()).or_default() += 1;
            held.delay
        };
        tokio::time::sleep(delay).await;
        let held = shared.held.lock().unwrap();
        if let Some((code, body)) = &held.instead {
            return (StatusCode::from_u16(*code).unwrap(), body.clone()).into_response();
        }
        if held.refused.contains(&format!("get {plural}")) {
            return status(403, "Forbidden");
        }
        return match held.objects.get(&(plural.to_owned(), namespace.to_owned(), name.to_owned())) {
            Some(object) => axum::Json(object.clone()).into_response(),
            None => status(404, "NotFound"),
        };
    }
    let selector = query.get("fieldSelector").cloned().unwrap_or_default();
    let matches = move |object: &Value| match selector.strip_prefix("type=") {
        Some(kind) => object["type"] == *kind,
        None => true,
    };
    let held = shared.held.lock().unwrap();
    if held.refused.contains(&format!("list {plural}")) {
        return status(403, "Forbidden");
    }
    if query.get("watch").is_none_or(|watch| watch != "true") {
        let items: Vec<&Value> = held
            .objects
            .iter()
            .filter(|((of, _, _), object)| of == plural && matches(object))
            .map(|(_, object)| object)
            .collect();
        let version = held.version.max(1).to_string();
        return axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}))
            .into_response();
    }
    // What has happened since the version that the watch starts from comes first.
    let since: u64 = query
        .get("resourceVersion")
        .and_then(|version| version.parse().ok())
        .unwrap_or_default();
    let past: Vec<Value> = held
        .log
        .iter()
        .filter(|(version, of, event)| *version > since && of == plural && matches(&event["object"]))
        .map(|(_, _, event)| event.clone())
        .collect();
    let (plural, events) = (plural.to_owned(), shared.events.subscribe());
    let line = |event: &Value| Ok::<_, std::convert::Infallible>(format!("{event}\n"));
    let news = futures_util::stream::unfold(events, move |mut events| {
        let (plural, matches) = (plural.clone(), matches.clone());
        async move {
            loop {
                let got = events.recv().await;
                let (of, event) = got.ok()?;
                if of == plural && matches(&event["object"]) {
                    return Some((line(&event), events));
                }
            }
        }
    });
    let past: Vec<_> = past.iter().map(line).collect();
    let lines = futures_util::StreamExt::chain(futures_util::stream::iter(past), news);
    Body::from_stream(lines).into_response()
}
