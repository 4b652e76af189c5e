//! Tokens: fetched, remembered, revoked; and secrets that nobody sees.

use crate::faulty::{Faulty, Reply, Seen};
use crate::support::*;
use pullgate::ask::Recall as _;
use pullgate::runtime::answer::{Answer, Body, FaultKind};
use pullgate::runtime::request::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn token(server: &Faulty, who: Who, by: Grant) -> Arc<TokenRequest> {
    Arc::new(TokenRequest {
        origin: at(server),
        realm: Arc::from(format!("http://{}/token", server.host())),
        service: None,
        scopes: vec![Arc::from("repository:a:pull")],
        who,
        by,
    })
}

/// The request that gets it.
fn asks(server: &Faulty, token: &Arc<TokenRequest>) -> Request {
    let path = match token.by.method() {
        Method::Post => "/token",
        Method::Get | Method::Head => "/token?scope=repository%3Aa%3Apull",
    };
    let want = Want::Token(Arc::clone(token));
    let asked = request(token.by.method(), &at(server), path, want);
    let asked = Request {
        // As the runtimes ask.
        accept: Arc::from(""),
        ..asked_by(token.who, &asked)
    };
    match token.by {
        Grant::Basic => with(Auth::Basic(token.who), &asked),
        _ => asked,
    }
}

/// Grants `token-N`, numbered, and takes what `takes` says.
async fn numbered(takes: impl Fn(&str) -> bool + Send + Sync + 'static) -> Faulty {
    let granted = AtomicUsize::new(0);
    Faulty::start(move |seen| {
        if seen.path.starts_with("/token") {
            let number = granted.fetch_add(1, Ordering::Relaxed);
            return Reply::new(200).json(&format!(r#"{{"token":"token-{number}","expires_in":300}}"#));
        }
        let shown = seen.header("authorization").unwrap_or_default();
        Reply::new(if takes(shown) { 200 } else { 401 }).header("WWW-Authenticate", "Bearer realm=\"x\"")
    })
    .await
}

#[tokio::test]
async fn a_token_is_remembered_and_shown() {
    let server = numbered(|shown| shown == "Bearer token-0").await;
    let wire = wire();
    let token = token(&server, Who::default(), Grant::Anonymous);
    let asks = asks(&server, &token);
    assert!(wire.recall(&asks).is_none());
    assert_eq!(response(&wire, &asks).await.body, Body::Granted);
    assert!(matches!(wire.recall(&asks), Some(Answer::Response(response)) if response.body == Body::Granted));
    let asked = with(Auth::Bearer(token), &head(&server, "/v2/a/manifests/1"));
    assert_eq!(response(&wire, &asked).await.status, 200);
    assert_eq!(
        server.lines(),
        ["GET /token?scope=repository%3Aa%3Apull", "HEAD /v2/a/manifests/1"]
    );
    later(Duration::from_secs(271)).await;
    assert!(wire.recall(&asks).is_none(), "a tenth of its life is left to whoever has it");
}

#[tokio::test]
async fn a_token_that_is_gone_is_fetched_again() {
    let server = numbered(|shown| shown.starts_with("Bearer token-")).await;
    let wire = wire();
    let token = token(&server, Who::default(), Grant::Anonymous);
    let asked = |path: &str| with(Auth::Bearer(Arc::clone(&token)), &head(&server, path));
    assert_eq!(response(&wire, &asked("/v2/a/manifests/1")).await.status, 200);
    later(Duration::from_secs(301)).await;
    assert_eq!(response(&wire, &asked("/v2/a/manifests/2")).await.status, 200);
    let shown: Vec<_> = server
        .seen()
        .iter()
        .filter_map(|seen| seen.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(shown, ["Bearer token-0", "Bearer token-1"]);
}

#[tokio::test]
async fn a_remembered_token_that_is_revoked_is_fetched_afresh_once() {
    let good = Arc::new(AtomicUsize::new(0));
    let valid = Arc::clone(&good);
    let server = numbered(move |shown| shown == format!("Bearer token-{}", valid.load(Ordering::Relaxed))).await;
    let wire = wire();
    let token = token(&server, Who::default(), Grant::Anonymous);
    let asked = |path: &str| with(Auth::Bearer(Arc::clone(&token)), &head(&server, path));
    assert_eq!(response(&wire, &asked("/1")).await.status, 200);
    good.store(1, Ordering::Relaxed);
    later(Duration::from_secs(4)).await;
    server.forget();
    assert_eq!(response(&wire, &asked("/2")).await.status, 200);
    let line = "GET /token?scope=repository%3Aa%3Apull";
    assert_eq!(server.lines(), ["HEAD /2", line, "HEAD /2"]);
    // A fresh one that is refused is refused.
    good.store(99, Ordering::Relaxed);
    later(Duration::from_secs(4)).await;
    server.forget();
    assert_eq!(response(&wire, &asked("/3")).await.status, 401);
    assert_eq!(server.lines(), ["HEAD /3", line, "HEAD /3"]);
    server.forget();
    assert_eq!(response(&wire, &again(&asked("/3"))).await.status, 401);
    assert!(server.lines().is_empty(), "nor is it asked a second time");
}

#[tokio::test]
async fn a_token_that_was_granted_just_now_is_refused_as_a_node_would_be() {
    let strict = numbered(|_| false).await;
    let wire = wire();
    let token = token(&strict, Who::default(), Grant::Anonymous);
    let asked = |path: &str| with(Auth::Bearer(Arc::clone(&token)), &head(&strict, path));
    assert_eq!(response(&wire, &asked("/v2/a/blobs/1")).await.status, 401);
    strict.forget();
    // It was sent before, and no other one is fetched.
    assert_eq!(response(&wire, &asked("/v2/a/blobs/2")).await.status, 401);
    assert_eq!(strict.lines(), ["HEAD /v2/a/blobs/2"]);
}

#[tokio::test]
async fn a_token_server_that_refuses_now_leaves_the_registrys_answer() {
    let refusing = Arc::new(AtomicUsize::new(200));
    let status = Arc::clone(&refusing);
    let server = Faulty::start(move |seen: &Seen| {
        let status = u16::try_from(status.load(Ordering::Relaxed)).unwrap();
        match seen.path.as_str() {
            path if path.starts_with("/token") => Reply::new(status).json(r#"{"token":"t"}"#),
            "/1" => Reply::new(200),
            _ => Reply::new(401),
        }
    })
    .await;
    let wire = wire();
    let token = token(&server, Who::default(), Grant::Anonymous);
    let asked = |path: &str| with(Auth::Bearer(Arc::clone(&token)), &head(&server, path));
    assert_eq!(response(&wire, &asked("/1")).await.status, 200);
    refusing.store(403, Ordering::Relaxed);
    later(Duration::from_secs(4)).await;
    assert_eq!(response(&wire, &asked("/2")).await.status, 401);
    // Now it is gone: what a runtime would be told nobody knows.
    assert_eq!(fails(&wire, &asked("/3")).await, FaultKind::Internal);
    later(Duration::from_secs(2)).await;
    refusing.store(200, Ordering::Relaxed);
    assert_eq!(response(&wire, &asked("/1?again")).await.status, 401);
    refusing.store(503, Ordering::Relaxed);
    later(Duration::from_secs(4)).await;
    assert_eq!(fails(&wire, &asked("/4")).await, FaultKind::Internal);
}

#[tokio::test]
async fn a_fresh_token_without_the_right_is_not_fetched_twice() {
    let server = numbered(|_| false).await;
    let wire = wire();
    let token = token(&server, Who::default(), Grant::Anonymous);
    response(&wire, &asks(&server, &token)).await;
    let asked = with(Auth::Bearer(token), &head(&server, "/v2/a/manifests/1"));
    assert_eq!(response(&wire, &asked).await.status, 401);
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn one_of_no_life_is_shown_once_all_the_same() {
    let server = Faulty::start(|seen| match seen.header("authorization") {
        Some("Bearer brief") => Reply::new(200),
        _ => Reply::new(200).json(r#"{"token":"brief","expires_in":0}"#),
    })
    .await;
    let wire = wire();
    let token = token(&server, Who::default(), Grant::Anonymous);
    response(&wire, &asks(&server, &token)).await;
    assert!(wire.recall(&asks(&server, &token)).is_none());
    let asked = with(Auth::Bearer(token), &head(&server, "/v2/a/manifests/1"));
    assert_eq!(response(&wire, &asked).await.status, 200);
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_server_that_knows_no_post_is_remembered_with_its_token() {
    let server = Faulty::start(|seen| match seen.method.as_str() {
        "POST" => Reply::new(404),
        _ => Reply::new(200).json(r#"{"token":"t","expires_in":300}"#),
    })
    .await;
    let wire = wire();
    let who = wire.knows(&credential("alice", "secret-password"));
    let (posted, got) = (token(&server, who, Grant::Password), token(&server, who, Grant::Basic));
    let (posts, gets) = (asks(&server, &posted), asks(&server, &got));
    assert_eq!(response(&wire, &posts).await.status, 404);
    assert_eq!(response(&wire, &gets).await.body, Body::Granted);
    assert!(server.seen()[1].header("authorization").unwrap().starts_with("Basic "));
    later(Duration::from_secs(260)).await;
    assert!(wire.recall(&posts).is_some() && wire.recall(&gets).is_some());
    later(Duration::from_secs(11)).await;
    assert!(wire.recall(&posts).is_none() && wire.recall(&gets).is_none());
}

#[tokio::test]
async fn answers_without_a_token() {
    for (reply, body) in [
        (Reply::new(200).json("{}"), Body::NoToken { page: false }),
        (Reply::new(200).body("<html>"), Body::NoToken { page: true }),
        (
            Reply::new(200).body(format!("{{\"token\":\"{}", "x".repeat(70_000))),
            Body::TooLong(64 << 10),
        ),
    ] {
        let server = Faulty::start(move |_| reply.clone()).await;
        let token = token(&server, Who::default(), Grant::Anonymous);
        let wire = wire();
        assert_eq!(response(&wire, &asks(&server, &token)).await.body, body);
        let asked = with(Auth::Bearer(token), &head(&server, "/v2/a/manifests/1"));
        assert_eq!(fails(&wire, &asked).await, FaultKind::Internal);
    }
}

#[tokio::test]
async fn a_credential_that_is_not_known_is_a_fault() {
    let server = Faulty::start(|_| Reply::new(200)).await;
    let who = Who::of(&credential("alice", "secret-password"));
    let asked = with(Auth::Basic(who), &head(&server, "/v2/a/manifests/1"));
    assert_eq!(fails(&wire(), &asked).await, FaultKind::Internal);
    let posted = token(&server, who, Grant::Password);
    assert_eq!(fails(&wire(), &asks(&server, &posted)).await, FaultKind::Internal);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn nobody_sees_a_secret() {
    // An echo of everything that was sent.
    let server = Faulty::start(|seen| {
        if seen.path.starts_with("/granted") {
            return Reply::new(200).json(r#"{"token":"granted-token"}"#);
        }
        let shown = seen.header("authorization").unwrap_or_default();
        let echo = format!("{shown} {} secret-password s3cret", seen.body);
        Reply::new(401)
            .header("WWW-Authenticate", "Basic realm=\"r\"")
            .json(&serde_json::json!({"errors": [{"code": "UNAUTHORIZED", "message": echo}]}).to_string())
    })
    .await;
    let wire = wire();
    let who = wire.knows(&credential("alice", "secret-password"));
    let granted = Arc::new(TokenRequest {
        realm: Arc::from(format!("http://{}/granted", server.host())),
        ..TokenRequest::clone(&token(&server, who, Grant::Anonymous))
    });
    let plain = asked_by(who, &get(&server, "/v2/a/manifests/1"));
    let mut shown = String::new();
    for asked in [
        with(Auth::Basic(who), &plain),
        with(Auth::Bearer(granted), &plain),
        asks(&server, &token(&server, who, Grant::Password)),
        asks(&server, &token(&server, who, Grant::Basic)),
    ] {
        let answer = ask(&wire, &asked).await;
        shown.push_str(&format!("{asked:?} {answer:?}\n"));
    }
    let sent = format!("{:?}", server.seen());
    for secret in ["secret-password", "YWxpY2U6c2VjcmV0LXBhc3N3b3Jk", "granted-token"] {
        assert!(sent.contains(secret), "{secret} was sent");
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("s3cret"), "its other words are there: {shown}");
}
