//! What is remembered, and for whom; what is sent instead.

use crate::faulty::{Faulty, Reply, Seen};
use crate::sample::{Image, error, good, image};
use crate::support::*;
use pullgate::ask::Recall as _;
use pullgate::registry::Wire;
use pullgate::runtime::answer::Body;
use pullgate::runtime::request::*;
use pullgate::telemetry::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

/// A good registry for all but one user.
async fn registry(app: &Image) -> Faulty {
    let app = app.clone();
    Faulty::start(move |seen: &Seen| match seen.header("authorization") {
        Some(_) => error(403, "DENIED", "denied"),
        None => good(&app, seen),
    })
    .await
}

#[tokio::test]
async fn a_proof_comes_before_shared_content() {
    let app = image("amd64");
    let server = registry(&app).await;
    let wire = wire();
    let asked = by_digest(&server, &app.manifest.digest);
    let path = &asked.path;
    response(&wire, &asked).await;
    assert_eq!(server.lines(), [format!("GET {path}")]);
    assert!(wire.recall(&asked).is_some());

    server.forget();
    let alice = wire.knows(&credential("alice", "p"));
    let by_alice = asked_by(alice, &asked);
    assert!(wire.recall(&by_alice).is_none());
    let answer = response(&wire, &by_alice).await;
    assert_eq!((answer.asked_at.method, answer.status), (Method::Get, 200));
    assert!(matches!(&answer.body, Body::Manifest { document: Ok(_), .. }));
    assert_eq!(server.lines(), [format!("HEAD {path}")], "the proof");
    assert!(wire.recall(&by_alice).is_some());

    server.forget();
    let denied = with(Auth::Basic(alice), &by_alice);
    assert!(wire.recall(&denied).is_none(), "by another right");
    assert_eq!(response(&wire, &denied).await.status, 403, "GET decides");
    assert_eq!(server.lines(), [format!("HEAD {path}"), format!("GET {path}")]);
}

#[tokio::test]
async fn a_tag_shows_its_digest_and_a_manifest_its_config() {
    let app = image("amd64");
    let server = registry(&app).await;
    let wire = wire();
    let (manifest, config) = (by_digest(&server, &app.manifest.digest), config(&server, &app.config.digest));
    response(&wire, &manifest).await;
    response(&wire, &config).await;
    server.forget();
    let alice = wire.knows(&credential("alice", "p"));
    assert!(wire.recall(&asked_by(alice, &config)).is_none());
    response(&wire, &asked_by(alice, &head(&server, "/v2/team/app/manifests/1"))).await;
    assert!(wire.recall(&asked_by(alice, &manifest)).is_some());
    assert!(wire.recall(&asked_by(alice, &config)).is_some());
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1"]);
}

#[tokio::test]
async fn content_that_is_not_of_its_digest_is_not_shared() {
    let (app, other) = (image("amd64"), image("arm64"));
    let manifest = other.manifest.clone();
    let server = Faulty::start(move |_| crate::sample::served(&manifest)).await;
    let wire = wire();
    let asked = by_digest(&server, &app.manifest.digest);
    let answer = response(&wire, &asked).await;
    assert!(matches!(&answer.body, Body::Manifest { digest, .. } if digest.as_str() == other.manifest.digest));
    let alice = wire.knows(&credential("alice", "p"));
    response(&wire, &asked_by(alice, &asked)).await;
    assert_eq!(server.lines(), vec![format!("GET {}", asked.path); 2]);
}

#[tokio::test]
async fn layers_are_asked_for_by_head() {
    let digest = image("amd64").layer.digest;
    let path = format!("/v2/team/app/blobs/{digest}");
    let status = Arc::new(AtomicU16::new(200));
    let of_head = Arc::clone(&status);
    let server = Faulty::start(move |seen| match seen.method.as_str() {
        "HEAD" => Reply::new(of_head.load(Ordering::Relaxed)).body("1234567"),
        _ => Reply::new(200).body("12345678"),
    })
    .await;
    let lines = |methods: &[&str]| methods.iter().map(|method| format!("{method} {path}")).collect::<Vec<_>>();
    let first = response(&wire(), &layer(&server, &path, 7)).await;
    assert_eq!(
        (first.status, first.asked_at.method, first.length),
        (200, Method::Get, Some(7))
    );
    assert_eq!(server.lines(), lines(&["HEAD"]));
    server.forget();
    // Only GET proves another size.
    assert_eq!(response(&wire(), &layer(&server, &path, 9)).await.length, Some(8));
    assert_eq!(server.lines(), lines(&["HEAD", "GET"]));
    for refused in [403, 404, 405, 501] {
        server.forget();
        status.store(refused, Ordering::Relaxed);
        assert_eq!(response(&wire(), &layer(&server, &path, 7)).await.status, 200, "{refused}");
        assert_eq!(server.lines(), lines(&["HEAD", "GET"]));
    }
}

#[tokio::test]
async fn answers_hold_for_their_time_and_their_asker() {
    let status = Arc::new(AtomicU16::new(200));
    let current = Arc::clone(&status);
    let server = Faulty::start(move |_| {
        let reply = Reply::new(current.load(Ordering::Relaxed));
        reply.header("Docker-Distribution-Api-Version", "registry/2.0")
    })
    .await;
    let metrics = Metrics::new();
    let wire = Wire::new(settings(), metrics.clone()).unwrap();
    let asked = head(&server, "/v2/a/manifests/1");
    response(&wire, &asked).await;
    response(&wire, &asked).await;
    assert_eq!(server.lines().len(), 1);
    let alice = wire.knows(&credential("alice", "p"));
    assert!(wire.recall(&asked_by(alice, &asked)).is_none());
    let blob = layer(&server, "/v2/a/blobs/x", 0);
    response(&wire, &blob).await;
    response(&wire, &blob).await;
    assert_eq!(server.lines().len(), 2);
    later(Duration::from_mins(1)).await;
    status.store(404, Ordering::Relaxed);
    assert_eq!(response(&wire, &asked).await.status, 404);
    later(Duration::from_secs(2)).await;
    assert!(wire.recall(&asked).is_none());
    let text = metrics.encode();
    for line in [
        r#"pullgate_cache_requests_total{cache="parts",result="miss"} 1"#,
        r#"pullgate_cache_requests_total{cache="parts",result="hit"} 1"#,
        r#"pullgate_registry_requests_total{host_class="loopback",outcome="ok"} 2"#,
        r#"pullgate_registry_requests_total{host_class="loopback",outcome="not_found"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn old_answers_serve_while_a_registry_is_down() {
    let app = image("amd64");
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let copy = app.clone();
    let server = Faulty::start(move |seen| {
        if is_down.load(Ordering::Relaxed) {
            Reply::new(503)
        } else {
            good(&copy, seen)
        }
    })
    .await;
    let wire = wire();
    let (tag, manifest) = (
        head(&server, "/v2/team/app/manifests/1"),
        by_digest(&server, &app.manifest.digest),
    );
    response(&wire, &tag).await;
    response(&wire, &manifest).await;
    down.store(true, Ordering::Relaxed);
    later(Duration::from_hours(2)).await;
    assert_eq!(response(&wire, &tag).await.status, 503);
    assert_eq!(as_response(wire.recall(&tag).unwrap()).status, 503);
    assert_eq!(as_response(wire.stale().recall(&tag).unwrap()).status, 200);
    assert!(wire.recall(&manifest).is_none());
    assert_eq!(as_response(wire.stale().recall(&manifest).unwrap()).status, 200);
    later(Duration::from_hours(23)).await;
    assert!(wire.stale().recall(&manifest).is_none());
}
