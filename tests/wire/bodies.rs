//! Bodies: read in bounded memory, once, as was wanted.

use crate::faulty::{Faulty, Manner, Reply};
use crate::sample::{error, image, served};
use crate::support::*;
use futures_util::future::join_all;
use pullgate::image::Digest;
use pullgate::runtime::answer::{Body, FaultKind};
use pullgate::runtime::outcome::{ConnectionFault, ContentFault};
use pullgate::runtime::request::*;
use std::sync::Arc;

const LONGEST: u64 = 4_393_216;

#[tokio::test]
async fn manifests_and_configs_are_read() {
    let app = image("arm64");
    let (manifest, config_blob) = (app.manifest.clone(), app.config.clone());
    let server = Faulty::start(move |seen| {
        if seen.path.contains("/blobs/") {
            served(&config_blob)
        } else {
            served(&manifest)
        }
    })
    .await;
    let wire = wire();
    let answer = response(&wire, &by_digest(&server, &app.manifest.digest)).await;
    let Body::Manifest {
        document,
        digest,
        length,
    } = &answer.body
    else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (digest.as_str(), *length),
        (app.manifest.digest.as_str(), app.manifest.bytes.len() as u64)
    );
    assert_eq!(document.as_ref().unwrap().config.as_ref().unwrap().digest, app.config.digest);
    assert_eq!(&*answer.content_type, app.manifest.media_type);
    assert_eq!(answer.digest.as_deref(), Some(app.manifest.digest.as_str()));
    let answer = response(&wire, &config(&server, &app.config.digest)).await;
    let Body::Config { config, .. } = &answer.body else {
        panic!("{answer:?}")
    };
    assert_eq!(config.as_ref().unwrap().platform.architecture, "arm64");
}

#[tokio::test]
async fn no_more_is_read_than_the_limit() {
    let long = vec![b' '; usize::try_from(LONGEST).unwrap() + 1];
    let server = Faulty::start(move |seen| {
        let reply = Reply::new(200).body(long.clone());
        if seen.path.ends_with("unmeasured") {
            reply.unmeasured()
        } else {
            reply
        }
    })
    .await;
    let wire = wire();
    for path in ["/v2/a/manifests/1", "/v2/a/manifests/unmeasured"] {
        let answer = response(&wire, &get(&server, path)).await;
        assert_eq!(answer.body, Body::TooLong(LONGEST), "{path}");
        assert_eq!(answer.length, (!path.ends_with("unmeasured")).then_some(LONGEST + 1));
    }
    let digest = Digest::sha256(b"x").to_string();
    let answer = response(&wire, &config(&server, &digest)).await;
    assert!(
        matches!(&answer.body, Body::Config { config: Err(ContentFault::ConfigNotJson(_)), length, .. } if *length == LONGEST + 1),
        "a config may be longer: {answer:?}"
    );
}

/// Each of these may take four megabytes, so that not all can be read at the same time.
#[tokio::test]
async fn bodies_wait_for_their_share_of_memory() {
    let server = Faulty::start(|_| Reply::new(200).body("{}").unmeasured()).await;
    let wire = wire();
    let all = (0..40).map(|n| {
        let (wire, asked) = (&wire, get(&server, &format!("/v2/a/manifests/{n}")));
        async move { response(wire, &asked).await }
    });
    for answer in join_all(all).await {
        assert!(
            matches!(
                &answer.body,
                Body::Manifest {
                    document: Ok(_),
                    length: 2,
                    ..
                }
            ),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn refusals_have_words() {
    let server = Faulty::start(|seen| match seen.path.as_str() {
        "/long" => Reply::new(403).body("no ".repeat(100_000)),
        "/cut" => error(403, "DENIED", "not from your country").manner(Manner::Cut(10)),
        "/packed" => error(403, "DENIED", "denied").header("Content-Encoding", "gzip"),
        _ => error(404, "NAME_UNKNOWN", "repository name not known"),
    })
    .await;
    let wire = wire();
    let words = response(&wire, &get(&server, "/v2/a/manifests/1")).await.error_text();
    assert_eq!(words.code.as_deref(), Some("NAME_UNKNOWN"));
    assert_eq!(words.detail.as_deref(), Some("repository name not known"));
    assert!(
        response(&wire, &get(&server, "/long"))
            .await
            .error_text()
            .detail
            .unwrap()
            .chars()
            .count()
            <= 200
    );
    let cut = response(&wire, &get(&server, "/cut")).await;
    assert_eq!((cut.status, cut.error_text().code), (403, None), "the status says enough");
    let packed = response(&wire, &get(&server, "/packed")).await;
    assert_eq!((packed.status, &packed.body, packed.encoded), (403, &Body::Unread, true));
    let head = response(&wire, &head(&server, "/v2/a/manifests/1")).await;
    assert_eq!((head.status, &head.body), (404, &Body::Unread));
    let words = request(Method::Get, &at(&server), "/v2/b/manifests/1", Want::ErrorText);
    assert_eq!(
        response(&wire, &words).await.error_text().code.as_deref(),
        Some("NAME_UNKNOWN")
    );
}

#[tokio::test]
async fn what_is_packed_cannot_be_read_here() {
    let server = Faulty::start(|_| Reply::new(200).header("Content-Encoding", "gzip").body("{}")).await;
    let wire = wire();
    let packed = fault(&wire, &get(&server, "/v2/a/manifests/1")).await;
    assert_eq!(packed.what, FaultKind::Unreadable);
    assert_eq!(
        packed.detail.as_deref(),
        Some("the answer is compressed, although identity was asked for")
    );
    // Nobody reads these.
    assert!(response(&wire, &head(&server, "/v2/a/manifests/1")).await.encoded);
    assert!(response(&wire, &layer(&server, "/v2/a/blobs/x", 7)).await.encoded);
}

#[tokio::test]
async fn odd_lengths_break_a_head() {
    let server = Faulty::start(|_| Reply::new(200).header("Content-Length", "many")).await;
    let odd = fault(&wire(), &head(&server, "/v2/a/manifests/1")).await;
    assert_eq!(odd.what, FaultKind::Connection(ConnectionFault::Interrupted));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_fault() {
    let server = Faulty::start(|_| Reply::new(200).body("{\"mediaType\":\"m\"}").manner(Manner::Cut(4))).await;
    let what = fails(&wire(), &get(&server, "/v2/a/manifests/1")).await;
    assert_eq!(what, FaultKind::Connection(ConnectionFault::Interrupted));
}

#[tokio::test]
async fn the_closest_tags() {
    let server = Faulty::start(|_| Reply::new(200).json(r#"{"tags":["v1.1","v2","latest"]}"#)).await;
    let near = Want::Tags { near: Arc::from("v1.2") };
    let asked = request(Method::Get, &at(&server), "/v2/a/tags/list?n=1000", near);
    let answer = response(&wire(), &asked).await;
    let Body::Tags(tags) = &answer.body else {
        panic!("{answer:?}")
    };
    assert_eq!((tags.any, tags.closest.first().map(String::as_str)), (true, Some("v1.1")));
    assert_eq!(&*answer.asked_at.path, "/v2/a/tags/list");
}

#[tokio::test]
async fn what_the_headers_say() {
    let server = Faulty::start(|_| {
        Reply::new(200)
            .header("RateLimit-Limit", "100;w=21600")
            .header("RateLimit-Remaining", "7;w=21600")
            .header("WWW-Authenticate", "Basic realm=\"x\"")
            .header("Docker-Content-Digest", "odd")
    })
    .await;
    let wire = wire();
    let answer = response(&wire, &head(&server, "/v2/a/manifests/1")).await;
    let quota = answer.quota.unwrap();
    assert_eq!((quota.remaining, quota.limit), (7, Some(100)));
    assert_eq!(
        (answer.challenges.len(), answer.digest.as_deref(), answer.length),
        (1, Some("odd"), Some(0))
    );
}
