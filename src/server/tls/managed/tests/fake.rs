//! A small API server: one Secret and one ValidatingWebhookConfiguration, with the checks that the real one makes of writes, a
//! clock that the tests set, and nothing else: anything else is refused as a missing right.

use crate::cluster::{CertificateClient, ObjectNames};
use crate::server::tls::clock::Clock;
use crate::server::tls::managed::trust::{Bundle, verify};
use crate::server::tls::managed::{Budget, Managed, Round, Subject};
use crate::server::tls::{Certificate, Lifetimes, managed::contents};
use crate::telemetry::Metrics;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Barrier;

pub(super) const DAY: i64 = 86_400;
pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const SERVER: &str = "pullgate.pullgate.svc";

const SECRETS: &str = "/api/v1/namespaces/pullgate/secrets";
const SECRET: &str = "/api/v1/namespaces/pullgate/secrets/pullgate-tls";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/pullgate";

#[derive(Default)]
pub(super) struct Held {
    pub(super) secret: Option<Value>,
    pub(super) configuration: Option<Value>,
    pub(super) date: i64,
    /// `GET secret`, `PATCH configuration` …
    pub(super) refused: BTreeSet<&'static str>,
    /// Answered writes: `POST secret 201` …
    pub(super) writes: BTreeMap<String, usize>,
    /// Requests that no right covers.
    pub(super) strange: Vec<String>,
    /// Reads of the Secret wait for each other, so that all see the same.
    gathered: Option<Arc<Barrier>>,
    version: u64,
}

#[derive(Clone)]
pub(super) struct Fake {
    held: Arc<Mutex<Held>>,
    address: SocketAddr,
}

impl Fake {
    /// With an empty registration, on a day in 2027.
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            held: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        fake.held().date = NOW;
        fake.configure(&[("images.pullgate.dev", "pullgate")]);
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    pub(super) fn now(&self) -> i64 {
        self.held().date
    }

    pub(super) fn pass(&self, seconds: i64) {
        self.held().date += seconds;
    }

    /// A replica that has just started.
    pub(super) fn replica(&self) -> Managed {
        self.replica_for(&[], Lifetimes::default())
    }

    /// A replica that doubts dates, as in production.
    pub(super) fn replica_that_doubts(&self) -> Managed {
        let mut replica = self.replica();
        replica.clock = Clock::default();
        replica.certificate = Certificate::pending(Metrics::new(), replica.clock.clone());
        replica
    }

    pub(super) fn replica_for(&self, others: &[&str], lifetimes: Lifetimes) -> Managed {
        let names = ObjectNames {
            namespace: Some("pullgate".to_owned()),
            secret: "pullgate-tls".to_owned(),
            configuration: "pullgate".to_owned(),
        };
        let others = others.iter().map(|&name| name.to_owned()).collect();
        let subject = Subject::new("pullgate".to_owned(), others, lifetimes).unwrap();
        let mut replica = Managed::new(CertificateClient::at(self.address, names), subject, Metrics::new());
        replica.settled = Duration::ZERO;
        replica.clock.doubt_nothing();
        (replica.secret_writes, replica.registration_writes) = (Budget::unlimited(), Budget::unlimited());
        replica
    }

    /// Recreates the registration, without bundles: names of webhooks, and of the services that they call.
    pub(super) fn configure(&self, webhooks: &[(&str, &str)]) {
        let webhooks: Vec<Value> = webhooks
            .iter()
            .map(|(name, service)| json!({"name": name, "clientConfig": {"service": {"namespace": "pullgate", "name": service}}}))
            .collect();
        let mut held = self.held();
        held.version += 1;
        held.configuration =
            Some(json!({"metadata": {"name": "pullgate", "resourceVersion": held.version.to_string()}, "webhooks": webhooks}));
    }

    /// Overwrites a bundle of ours, as with `kubectl edit`.
    pub(super) fn spoil_bundle(&self, pem: &[u8]) {
        let mut held = self.held();
        held.version += 1;
        let version = held.version.to_string();
        if let Some(configuration) = &mut held.configuration {
            configuration["webhooks"][0]["clientConfig"]["caBundle"] = STANDARD.encode(pem).into();
            configuration["metadata"]["resourceVersion"] = version.into();
        }
    }

    pub(super) fn bundle(&self, webhook: usize) -> Bundle {
        let held = self.held();
        let text = held.configuration.as_ref().unwrap()["webhooks"][webhook]["clientConfig"]["caBundle"]
            .as_str()
            .unwrap_or_default();
        Bundle::parse(&STANDARD.decode(text).unwrap())
    }

    /// The same for one key of the Secret; `None` takes it away.
    pub(super) fn spoil(&self, key: &str, value: Option<&[u8]>) {
        let mut held = self.held();
        held.version += 1;
        let version = held.version.to_string();
        if let Some(secret) = &mut held.secret {
            let data = secret["data"].as_object_mut().unwrap();
            match value {
                Some(value) => data.insert(key.to_owned(), STANDARD.encode(value).into()),
                None => data.remove(key),
            };
            secret["metadata"]["resourceVersion"] = version.into();
        }
    }

    pub(super) fn secret(&self, key: &str) -> Vec<u8> {
        let held = self.held();
        let text = held.secret.as_ref().unwrap()["data"][key].as_str().unwrap_or_default();
        STANDARD.decode(text).unwrap()
    }

    pub(super) fn trust(&self) -> Bundle {
        Bundle::parse(&self.secret(contents::TRUST))
    }

    /// The next reads of the Secret wait until this many have arrived.
    pub(super) fn gather(&self, replicas: usize) {
        self.held().gathered = Some(Arc::new(Barrier::new(replicas)));
    }

    pub(super) fn gather_no_more(&self) {
        self.held().gathered = None;
    }

    pub(super) fn count(&self, write: &str) -> usize {
        self.held().writes.get(write).copied().unwrap_or_default()
    }

    pub(super) fn all_writes(&self) -> usize {
        self.held().writes.values().sum()
    }

    /// Whether the API server accepts what this replica serves at this moment.
    pub(super) fn takes(&self, replica: &Managed) -> Result<(), String> {
        let served = replica.certificate.leaf().ok_or("nothing is served")?;
        verify(&served, &self.bundle(0), SERVER, self.now())
    }
}

/// Moves the clock on, so that nobody waits for real.
pub(super) async fn elapse(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Rounds until there is nothing left to do.
pub(super) async fn settle(replica: &mut Managed) -> usize {
    for rounds in 1..=12 {
        if replica.round().await == Round::Done {
            return rounds;
        }
    }
    panic!("it does not settle");
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code}),
    )
}

async fn answer(State(fake): State<Fake>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let what = match uri.path() {
        SECRETS | SECRET => "secret",
        CONFIGURATION => "configuration",
        _ => "?",
    };
    let asked = format!("{method} {what}");
    let barrier = if asked == "GET secret" {
        fake.held().gathered.clone()
    } else {
        None
    };
    if let Some(barrier) = barrier {
        barrier.wait().await;
    }
    let kind = headers
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut held = fake.held();
    let (code, answer) = if held.refused.contains(asked.as_str()) {
        status(403, "Forbidden")
    } else {
        held.answer(&method, uri.path(), kind, body)
    };
    if method != Method::GET {
        *held.writes.entry(format!("{asked} {code}")).or_default() += 1;
    }
    if code == 405 {
        held.strange.push(format!("{method} {uri}"));
    }
    let date = jiff::Timestamp::from_second(held.date).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&date)
        .unwrap();
    (StatusCode::from_u16(code).unwrap(), [("date", date)], axum::Json(answer)).into_response()
}

impl Held {
    fn answer(&mut self, method: &Method, path: &str, kind: &str, body: Value) -> (u16, Value) {
        let found = |object: &Option<Value>| object.clone().map_or_else(|| status(404, "NotFound"), |object| (200, object));
        match (method.as_str(), path) {
            ("GET", SECRET) => found(&self.secret),
            ("GET", CONFIGURATION) => found(&self.configuration),
            ("POST", SECRETS) if self.secret.is_some() => status(409, "AlreadyExists"),
            ("POST", SECRETS) => self.put_secret(body),
            ("PUT", SECRET) => match &self.secret {
                None => status(404, "NotFound"),
                Some(secret) if secret["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
                    status(409, "Conflict")
                }
                Some(_) => self.put_secret(body),
            },
            ("PATCH", CONFIGURATION) => {
                assert_eq!(kind, "application/json-patch+json");
                self.patch(&body)
            }
            _ => status(405, "MethodNotAllowed"),
        }
    }

    fn put_secret(&mut self, mut body: Value) -> (u16, Value) {
        assert_eq!(body["metadata"]["name"], "pullgate-tls");
        let complete = ["tls.crt", "tls.key"].iter().all(|key| body["data"][*key].is_string());
        if body["type"] == "kubernetes.io/tls" && !complete {
            return status(422, "Invalid");
        }
        self.version += 1;
        body["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.secret = Some(body.clone());
        (201, body)
    }

    fn patch(&mut self, operations: &Value) -> (u16, Value) {
        let Some(mut object) = self.configuration.clone() else {
            return status(404, "NotFound");
        };
        for operation in operations.as_array().unwrap() {
            let path = operation["path"].as_str().unwrap();
            let (parent, key) = path.rsplit_once('/').unwrap();
            let Some(parent) = object.pointer_mut(parent) else {
                return status(422, "Invalid");
            };
            match operation["op"].as_str() {
                Some("test") if parent[key] == operation["value"] => {}
                Some("test") => return status(422, "Invalid"),
                Some("add") => parent[key] = operation["value"].clone(),
                other => panic!("{other:?}"),
            }
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.configuration = Some(object.clone());
        (200, object)
    }
}
