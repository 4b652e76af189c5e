//! Asking, and what to expect.

use crate::faulty::Faulty;
use pullgate::ask::Source as _;
use pullgate::credentials::{Credential, Hidden};
use pullgate::image::Digest;
use pullgate::net::Reach;
use pullgate::registry::{RegistrySettings, Wire};
use pullgate::runtime::answer::{Answer, Fault, FaultKind, NotSent, Response, Withheld};
use pullgate::runtime::outcome::GuardRule;
use pullgate::runtime::request::*;
use pullgate::telemetry::Metrics;
use std::sync::Arc;
use std::time::Duration;

pub const ANY: &str = "*/*";

/// Settings that reach loopback. Their patience is a busy machine's.
pub fn settings() -> RegistrySettings {
    RegistrySettings {
        reach: Reach::Listed(vec!["127.0.0.0/8".parse().unwrap()]),
        look_up_limit: Duration::from_mins(1),
        ..RegistrySettings::default()
    }
}

pub fn wire() -> Wire {
    wire_with(settings())
}

pub fn wire_with(settings: RegistrySettings) -> Wire {
    pullgate::registry::start_io_threads();
    Wire::new(settings, Metrics::new()).unwrap()
}

pub fn credential(user: &str, password: &str) -> Credential {
    Credential {
        username: Hidden::new(user),
        password: Hidden::new(password),
        identity_token: Hidden::default(),
    }
}

pub fn origin(text: &str) -> Origin {
    let (scheme, authority) = text.split_once("://").unwrap();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    Origin::new(scheme, authority).unwrap()
}

/// `http://127.0.0.1:PORT`
pub fn at(server: &Faulty) -> Origin {
    origin(&format!("http://{}", server.host()))
}

pub fn request(method: Method, origin: &Origin, path: &str, want: Want) -> Request {
    Request {
        asker: Who::default(),
        method,
        origin: origin.clone(),
        path: Arc::from(path),
        accept: Arc::from(ANY),
        auth: Vec::new(),
        want,
        host_settings: HostSettingsId::default(),
        agent: Agent::default(),
        retry: Retry::default(),
    }
}

pub fn head(server: &Faulty, path: &str) -> Request {
    request(Method::Head, &at(server), path, Want::Nothing)
}

/// GET of a manifest by tag.
pub fn get(server: &Faulty, path: &str) -> Request {
    request(Method::Get, &at(server), path, Want::Manifest { by: None })
}

/// GET of a manifest by digest in `team/app`.
pub fn by_digest(server: &Faulty, digest: &str) -> Request {
    let by = Digest::parse(digest);
    let path = format!("/v2/team/app/manifests/{digest}");
    request(Method::Get, &at(server), &path, Want::Manifest { by })
}

pub fn config(server: &Faulty, digest: &str) -> Request {
    let by = Digest::parse(digest).unwrap();
    let path = format!("/v2/team/app/blobs/{digest}");
    request(Method::Get, &at(server), &path, Want::Config { by })
}

pub fn layer(server: &Faulty, path: &str, size: i64) -> Request {
    request(Method::Get, &at(server), path, Want::Blob { size: Some(size) })
}

pub fn asked_by(who: Who, request: &Request) -> Request {
    Request {
        asker: who,
        ..request.clone()
    }
}

pub fn with(auth: Auth, request: &Request) -> Request {
    Request {
        auth: vec![(request.origin.clone(), auth)],
        ..request.clone()
    }
}

pub fn again(request: &Request) -> Request {
    Request {
        retry: Retry {
            nth: 1,
            after: Duration::ZERO,
        },
        ..request.clone()
    }
}

pub async fn ask(wire: &Wire, request: &Request) -> Answer {
    let (asked, answer) = wire.fetch(request.clone()).await;
    assert_eq!(asked, *request);
    answer
}

#[track_caller]
pub fn as_response(answer: Answer) -> Arc<Response> {
    match answer {
        Answer::Response(response) => response,
        other => panic!("a response: {other:?}"),
    }
}

pub async fn response(wire: &Wire, request: &Request) -> Arc<Response> {
    as_response(ask(wire, request).await)
}

pub async fn fault(wire: &Wire, request: &Request) -> Arc<Fault> {
    match ask(wire, request).await {
        Answer::Fault(fault) => fault,
        other => panic!("a fault: {other:?}"),
    }
}

pub async fn fails(wire: &Wire, request: &Request) -> FaultKind {
    fault(wire, request).await.what
}

pub async fn not_sent(wire: &Wire, request: &Request) -> Arc<NotSent> {
    match ask(wire, request).await {
        Answer::NotSent(not_sent) => not_sent,
        other => panic!("nothing sent: {other:?}"),
    }
}

pub async fn withheld(wire: &Wire, request: &Request) -> GuardRule {
    match &not_sent(wire, request).await.why {
        Withheld::Guard(rule) => rule.clone(),
        other => panic!("by a rule of the guard: {other:?}"),
    }
}

pub async fn throttled(wire: &Wire, request: &Request) -> Duration {
    match not_sent(wire, request).await.why {
        Withheld::Throttled { left, .. } => left,
        ref other => panic!("throttled: {other:?}"),
    }
}

/// Lets time pass, without waiting for it.
pub async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
