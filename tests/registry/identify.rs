//! Who answers: a registry, or something before it (contract 3).

use crate::faulty::{Faulty, Reply, Seen};
use crate::sample::*;
use crate::support::*;
use pullgate::runtime::outcome::{Evidence, Rejection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server that answers like this, whatever it is asked.
async fn before(reply: Reply) -> Faulty {
    Faulty::start(move |_| reply.clone()).await
}

fn page(status: u16) -> Reply {
    let page = Reply::new(status).header("Content-Type", "text/html; charset=utf-8");
    page.body("<!DOCTYPE html><html>Sign in</html>")
}

fn plain(status: u16, text: &str) -> Reply {
    Reply::new(status).header("Content-Type", "text/plain").body(text)
}

/// What a node would take it for, where nothing shows a registry.
fn taken_for(evidence: &Evidence) -> &Evidence {
    match evidence {
        Evidence::NoRegistry { fails, .. } => fails,
        other => panic!("a registry is believed to have said {other:?}"),
    }
}

#[tokio::test]
async fn what_shows_no_registry_proves_nothing() {
    for (what, reply) in [
        ("an ingress without a route", plain(404, "404 page not found")),
        ("a default backend", plain(404, "default backend - 404")),
        ("an empty answer", Reply::new(404)),
        (
            "JSON of a gateway",
            Reply::new(404).json(r#"{"message":"no Route matched with those values"}"#),
        ),
        (
            "a list of errors of something else",
            Reply::new(404).json(r#"{"errors":[{"title":"Not Found"}]}"#),
        ),
        ("a firewall", page(403)),
        (
            "an XML error",
            Reply::new(403)
                .header("Content-Type", "application/xml")
                .body("<Error><Code>AccessDenied</Code></Error>"),
        ),
        ("a login page", page(200)),
        ("a good word", plain(200, "OK")),
        ("JSON of a health check", Reply::new(200).json(r#"{"status":"ok"}"#)),
        ("nothing", Reply::new(204)),
        ("400", plain(400, "400 Bad Request")),
        ("402", Reply::new(402)),
        ("410", page(410)),
        ("412", Reply::new(412)),
        ("421", plain(421, "Misdirected Request")),
        ("423", Reply::new(423)),
        ("425", Reply::new(425)),
        ("451", page(451)),
    ] {
        let server = before(reply).await;
        for name in ["team/app:1", &format!("team/app@sha256:{}", "1".repeat(64))] {
            let failure = fails(&format!("{}/{name}", server.host()), None).await;
            taken_for(&failure.evidence);
            assert!(failure.evidence.is_unknown(), "{what} {name}");
        }
    }
}

#[tokio::test]
async fn a_redirect_to_a_login_page_proves_nothing() {
    let server = Faulty::start(|seen| match seen.path.as_str() {
        "/login" => page(200),
        _ => Reply::new(302).header("Location", "/login"),
    })
    .await;
    let failure = fails(&format!("{}/team/app:1", server.host()), None).await;
    taken_for(&failure.evidence);
    assert_eq!(failure.detail.as_deref(), Some("a web page"));
}

#[tokio::test]
async fn what_shows_a_registry_is_believed() {
    let header = ("Docker-Distribution-Api-Version", "registry/2.0");
    for reply in [
        Reply::new(404).header(header.0, header.1),
        Reply::new(404).header("X-JFrog-Version", "Artifactory/7.90.1 79001900"),
        page(404).header(header.0, header.1),
        // Nothing in its headers: its body says so, which only GET shows (Quay).
        Reply::new(404).json(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
        Reply::new(404).json(r#"{"errors":[{"status":404,"message":"Not Found"}]}"#),
        plain(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
    ] {
        let server = before(reply.clone()).await;
        let failure = fails(&format!("{}/team/app:1", server.host()), None).await;
        assert!(
            matches!(failure.evidence, Evidence::TagUnknown { .. }),
            "{reply:?} {failure:?}"
        );
        let by_digest = format!("{}/team/app@sha256:{}", server.host(), "1".repeat(64));
        assert_eq!(fails(&by_digest, None).await.evidence, Evidence::DigestUnknown, "{reply:?}");
    }
    for (status, expected) in [
        (400, Evidence::Rejected(Rejection::Status)),
        (410, Evidence::Rejected(Rejection::Status)),
        (
            403,
            Evidence::Forbidden {
                address_bound: false,
                with_credential: false,
            },
        ),
    ] {
        let said = Reply::new(status).json(r#"{"errors":[{"code":"DENIED","message":"no"}]}"#);
        let server = before(said).await;
        expect(&format!("{}/team/app:1", server.host()), expected).await;
    }
}

#[tokio::test]
async fn a_head_that_shows_it_is_not_followed_by_a_get_for_that() {
    let server = before(error(404, "NAME_UNKNOWN", "no such repository")).await;
    fails(&format!("{}/team/app:1", server.host()), None).await;
    let gets = |server: &Faulty| {
        server
            .lines()
            .iter()
            .filter(|line| line.starts_with("GET") && line.contains("manifests"))
            .count()
    };
    // That one is for the words.
    assert_eq!(gets(&server), 1, "{:?}", server.lines());
    let server = before(Reply::new(404).json(r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#)).await;
    fails(&format!("{}/team/app:1", server.host()), None).await;
    assert_eq!(gets(&server), 1, "the words are read of the same: {:?}", server.lines());
}

/// A registry that an ingress takes the place of.
async fn behind_an_ingress(instead: Reply) -> (Faulty, Arc<AtomicBool>) {
    let (app, away) = (image("amd64"), Arc::new(AtomicBool::new(false)));
    let is_away = Arc::clone(&away);
    let server = Faulty::start(move |seen: &Seen| {
        if is_away.load(Ordering::SeqCst) {
            instead.clone()
        } else {
            good(&app, seen)
        }
    })
    .await;
    (server, away)
}

async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn the_last_good_answer_serves_while_something_else_answers() {
    for instead in [
        plain(404, "404 page not found"),
        page(200),
        page(403),
        plain(421, "Misdirected Request"),
    ] {
        let (server, away) = behind_an_ingress(instead.clone()).await;
        let (registry, _) = look_ups(settings());
        let name = format!("{}/team/app:1", server.host());
        let before = ask(&registry, &name, None).await.unwrap();
        away.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            later(Duration::from_mins(2)).await;
            let now = ask(&registry, &name, None).await.unwrap();
            assert!(now.stale && now.digest == before.digest, "{instead:?}");
        }
        // Of what was never asked for nothing is known, and the registry was there before.
        let other = ask(&registry, &format!("{}/team/app:2", server.host()), None)
            .await
            .unwrap_err();
        assert!(
            matches!(other.evidence, Evidence::NoRegistry { spoke_before: true, .. }),
            "{other:?}"
        );
        away.store(false, Ordering::SeqCst);
        later(Duration::from_mins(2)).await;
        assert!(!ask(&registry, &name, None).await.unwrap().stale);
    }
}

#[tokio::test]
async fn a_store_that_has_lost_a_blob_is_believed() {
    let app = image("amd64");
    let config = format!("/v2/team/app/blobs/{}", app.config.digest);
    let server = Faulty::start(move |seen| match seen.path.as_str() {
        "/bucket/key" => {
            let lost = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>NoSuchKey</Code></Error>";
            Reply::new(404).header("Content-Type", "application/xml").body(lost)
        }
        path if path == config => Reply::new(307).header("Location", "/bucket/key"),
        _ => good(&app, seen),
    })
    .await;
    let failure = fails(&format!("{}/team/app:1", server.host()), None).await;
    assert!(
        matches!(failure.evidence, Evidence::ContentMissing { part: "config", .. }),
        "{failure:?}"
    );
}
