//! Servers that throttle, fail, hang and lie about nothing but their health.

use crate::faulty::{Faulty, Manner, Reply, Tls, Validity};
use crate::ports::Nobody;
use crate::sample::{error, good, image, served};
use crate::support::*;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::outcome::*;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

async fn answers(reply: Reply) -> Faulty {
    Faulty::start(move |_| reply.clone()).await
}

#[tokio::test]
async fn throttled_by_text() {
    let server = answers(
        Reply::new(429)
            .header("Retry-After", "70")
            .header("Content-Type", "text/plain")
            .body("slow down\nplease"),
    )
    .await;
    let (registry, _) = look_ups(settings());
    let name = format!("{}/team/app:1", server.host());
    let failure = ask(&registry, &name, None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::RateLimited);
    assert_eq!(failure.status, Some(429));
    assert!(failure.retry_after.unwrap() <= Duration::from_secs(70));
    assert_eq!(failure.host, server.host());
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1"], "no retry, no GET");

    // Another image of that repository, with the same (no) credential, waits as well; another credential does not.
    let of = |name: &str| format!("{}/team/{name}", server.host());
    let failure = ask(&registry, &of("app:2"), None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::RateLimited);
    assert!(failure.retry_after.unwrap() > Duration::from_secs(10));
    assert_eq!(server.lines().len(), 1);
    ask(&registry, &of("app:2"), Some(credential("u", "p"))).await.unwrap_err();
    assert_eq!(server.lines().len(), 2);
    // Another repository is asked for; where it is throttled too, it is the host, and the third waits.
    ask(&registry, &of("other:1"), None).await.unwrap_err();
    assert_eq!(server.lines().len(), 3);
    let failure = ask(&registry, &of("third:1"), None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::RateLimited);
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn throttled_at_get_only() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| match seen.method.as_str() {
        "HEAD" if seen.path.ends_with("/1") => served(&app.manifest),
        "HEAD" => error(404, "MANIFEST_UNKNOWN", "x"),
        _ => error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit").header("Retry-After", "60"),
    })
    .await;
    let (registry, _) = look_ups(settings());
    let failure = ask(&registry, &format!("{}/team/app:1", server.host()), None)
        .await
        .unwrap_err();
    assert_eq!(failure.evidence, Evidence::RateLimited);
    assert_eq!(failure.code.as_deref(), Some("TOOMANYREQUESTS"));
    assert_eq!(failure.request.unwrap().method, "GET");
    server.forget();
    // HEADs go on, and still tell what is missing; GETs wait.
    let failure = ask(&registry, &format!("{}/team/app:2", server.host()), None)
        .await
        .unwrap_err();
    assert_eq!(
        failure.evidence,
        Evidence::TagUnknown {
            repository_exists: false
        }
    );
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/2"]);
}

#[tokio::test]
async fn broken_servers() {
    let server = answers(error(503, "UNAVAILABLE", "be back soon").header("Retry-After", "5")).await;
    let failure = expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::ServerError { token_server: false },
    )
    .await;
    assert_eq!(failure.status, Some(503));
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1"; 2], "one retry");

    let server = answers(Reply::new(502)).await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::ServerError { token_server: false },
    )
    .await;
    assert_eq!(server.lines().len(), 1, "502 is not retried");
    let server = answers(Reply::new(408)).await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::ServerError { token_server: false },
    )
    .await;
    let server = answers(Reply::new(304)).await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::ServerError { token_server: false },
    )
    .await;
}

#[tokio::test]
async fn a_passing_503_is_passed_over() {
    let app = image("amd64");
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = Faulty::start(move |seen| {
        if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            Reply::new(503)
        } else {
            good(&app, seen)
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
}

#[tokio::test]
async fn other_refusals() {
    for status in [400, 402, 410, 418] {
        let server = answers(error(status, "NAME_INVALID", "no such thing")).await;
        let failure = expect(
            &format!("{}/team/app:1", server.host()),
            Evidence::Rejected(Rejection::Status),
        )
        .await;
        assert_eq!(failure.status, Some(status));
        assert_eq!(failure.code.as_deref(), Some("NAME_INVALID"), "the body is read by one GET");
    }
    for status in [403, 412, 451] {
        let server = answers(error(status, "DENIED", "the image is blocked")).await;
        let evidence = Evidence::Forbidden {
            address_bound: false,
            with_credential: false,
        };
        let failure = expect(&format!("{}/team/app:1", server.host()), evidence).await;
        assert_eq!(failure.status, Some(status));
        assert_eq!(failure.detail.as_deref(), Some("the image is blocked"));
        assert_eq!(failure.request.unwrap().method, "HEAD");
        assert_eq!(
            server.lines(),
            ["HEAD /v2/team/app/manifests/1", "GET /v2/team/app/manifests/1"]
        );
    }
    let server = answers(error(403, "DENIED", "client with IP '1.2.3.4' is not allowed access")).await;
    let evidence = Evidence::Forbidden {
        address_bound: true,
        with_credential: false,
    };
    expect(&format!("{}/team/app:1", server.host()), evidence).await;
}

#[tokio::test]
async fn a_get_never_rescues_a_head() {
    let app = image("amd64");
    for status in [403, 404, 500] {
        let app = app.clone();
        let server = Faulty::start(move |seen| match seen.method.as_str() {
            "HEAD" => Reply::new(status),
            _ => good(&app, seen),
        })
        .await;
        let failure = fails(&format!("{}/team/app:1", server.host()), None).await;
        assert_eq!(failure.status, Some(status));
    }
}

#[tokio::test]
async fn a_black_hole() {
    let server = answers(Reply::new(200).manner(Manner::Silence)).await;
    let started = Instant::now();
    let failure = expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::TimedOut(TimeoutStage::Response),
    )
    .await;
    assert!(
        started.elapsed() < LOOK_UP / 2,
        "a request does not get all of the look-up's time"
    );
    assert_eq!(failure.request.unwrap().method, "HEAD");
    assert_eq!(failure.status, None);
}

#[tokio::test]
async fn the_deadline_is_kept() {
    let server = answers(Reply::new(200).manner(Manner::Silence)).await;
    let (registry, _) = look_ups(settings());
    let checks = [check(
        &format!("{}/team/app:1", server.host()),
        &[("a", credential("u", "p")), ("b", credential("u", "q"))],
    )];
    // By the runtime's own clock, which goes on when there is nothing left but to wait.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let outcomes = registry.gather(&checks, started + Duration::from_millis(300)).await;
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(outcomes[0].attempts.len(), 1, "no time for the second credential");
    let failure = outcomes[0].attempts[0].result.as_ref().unwrap_err();
    assert_eq!(failure.evidence, Evidence::TimedOut(TimeoutStage::Deadline));
    assert_eq!(failure.host, server.host());
}

#[tokio::test]
async fn a_dribbling_body() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| match seen.method.as_str() {
        "HEAD" => served(&app.manifest),
        _ => served(&app.manifest).manner(Manner::Dribble(Duration::from_millis(100))),
    })
    .await;
    let started = Instant::now();
    let failure = expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::TimedOut(TimeoutStage::Response),
    )
    .await;
    assert!(started.elapsed() < LOOK_UP / 2);
    assert_eq!(failure.request.unwrap().method, "GET");
}

#[tokio::test]
async fn dribbling_words_do_not_hide_a_status() {
    let server = Faulty::start(|seen| match seen.method.as_str() {
        "HEAD" => error(403, "DENIED", "x"),
        _ => error(403, "DENIED", &"x".repeat(500)).manner(Manner::Dribble(Duration::from_millis(100))),
    })
    .await;
    let evidence = Evidence::Forbidden {
        address_bound: false,
        with_credential: false,
    };
    expect(&format!("{}/team/app:1", server.host()), evidence).await;
}

#[tokio::test]
async fn a_truncated_body() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| match seen.method.as_str() {
        "HEAD" => served(&app.manifest),
        _ => served(&app.manifest).manner(Manner::Cut(20)),
    })
    .await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::ConnectionFailed(ConnectionFault::Interrupted),
    )
    .await;
}

#[tokio::test]
async fn nobody_listens() {
    let nobody = Nobody::new();
    let address = nobody.address();
    let failure = expect(
        &format!("{address}/team/app:1"),
        Evidence::ConnectionFailed(ConnectionFault::Refused),
    )
    .await;
    assert_eq!(failure.host, address.to_string());
    assert_eq!(
        failure.request.unwrap().url,
        format!("https://{address}/v2/team/app/manifests/1")
    );
}

#[tokio::test]
async fn hangups_and_unknown_hosts() {
    let server = answers(Reply::new(200).manner(Manner::Hangup)).await;
    expect(
        &format!("{}/team/app:1", server.host()),
        Evidence::ConnectionFailed(ConnectionFault::Interrupted),
    )
    .await;
    expect("no-such-host.invalid/team/app:1", Evidence::NameNotResolved).await;
    expect(
        "ghcr.io:99999/team/app:1",
        Evidence::ConnectionFailed(ConnectionFault::Unreachable),
    )
    .await;
}

#[tokio::test]
async fn a_plain_server_that_hangs_up_on_tls_is_asked_by_http() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).await.unwrap_or(0);
            if asked[..read].starts_with(b"HEAD ") || asked[..read].starts_with(b"GET ") {
                let _ = stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .await;
            }
        }
    });
    let (registry, _) = look_ups(settings());
    let failure = ask(&registry, &format!("{host}/team/app:1"), None).await.unwrap_err();
    assert_eq!(failure.status, Some(404), "{failure:?}");
}

#[tokio::test]
async fn tls_faults() {
    let app = image("amd64");
    let good_tls = Tls::new(&["registry.test"], Validity::Good);
    let expired = Tls::new(&["registry.test"], Validity::Expired);
    let serve = |app: &crate::sample::Image| {
        let app = app.clone();
        move |seen: &crate::faulty::Seen| good(&app, seen)
    };
    let known = Faulty::start_tls(&good_tls, serve(&app)).await;
    let old = Faulty::start_tls(&expired, serve(&app)).await;
    let plain = Faulty::start(serve(&app)).await;
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let resolve = vec![("registry.test".to_owned(), any), ("other.test".to_owned(), any)];
    let trusting = RegistrySettings {
        resolve: resolve.clone(),
        roots: vec![good_tls.ca.clone().into_bytes(), expired.ca.clone().into_bytes()],
        ..settings()
    };
    let wary = RegistrySettings { resolve, ..settings() };

    let (registry, _) = look_ups(trusting);
    let name = |host: &str, server: &Faulty| format!("{host}:{}/team/app:1", server.port());
    ask(&registry, &name("registry.test", &known), None).await.unwrap();
    let fault = async |name: String| match ask(&registry, &name, None).await.unwrap_err().evidence {
        Evidence::Tls(fault) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(name("other.test", &known)).await, TlsFault::WrongName);
    assert_eq!(fault(name("registry.test", &old)).await, TlsFault::Expired);
    assert_eq!(fault(name("registry.test", &plain)).await, TlsFault::PlainHttp);
    assert!(plain.seen().is_empty(), "nothing is asked over plain HTTP");

    let (registry, _) = look_ups(wary);
    let failure = ask(&registry, &name("registry.test", &known), None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::Tls(TlsFault::UnknownIssuer));
    // Loopback names are not verified, as with containerd.
    ask(&registry, &name("127.0.0.1", &known), None).await.unwrap();
    ask(&registry, &name("127.0.0.1", &plain), None).await.unwrap();
}

/// Go believes a certificate that is itself among the roots, whatever it says of itself; its dates and names count all the same.
#[tokio::test]
async fn a_certificate_that_is_its_own_authority() {
    let app = image("amd64");
    let serve = || {
        let app = app.clone();
        move |seen: &crate::faulty::Seen| good(&app, seen)
    };
    let [own, old, unknown] = [Validity::Good, Validity::Expired, Validity::Good].map(|v| Tls::of_itself(&["registry.test"], v));
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (registry, _) = look_ups(RegistrySettings {
        resolve: vec![("registry.test".to_owned(), any), ("other.test".to_owned(), any)],
        roots: vec![own.ca.clone().into_bytes(), old.ca.clone().into_bytes()],
        ..settings()
    });
    for (tls, host, fault) in [
        (&own, "registry.test", None),
        (&own, "other.test", Some(TlsFault::WrongName)),
        (&old, "registry.test", Some(TlsFault::Expired)),
        (&unknown, "registry.test", Some(TlsFault::UnknownIssuer)),
    ] {
        let server = Faulty::start_tls(tls, serve()).await;
        let found = ask(&registry, &format!("{host}:{}/team/app:1", server.port()), None).await;
        assert_eq!(
            found.err().map(|failure| failure.evidence),
            fault.map(Evidence::Tls),
            "{host}"
        );
    }
}

#[tokio::test]
async fn a_ca_bundle_without_a_certificate_is_refused() {
    for bundle in [
        "",
        "not PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let settings = RegistrySettings {
            roots: vec![bundle.as_bytes().to_vec()],
            ..settings()
        };
        assert!(
            pullgate::engine::LookUps::new(settings, pullgate::telemetry::Metrics::new()).is_err(),
            "{bundle}"
        );
    }
}

#[tokio::test]
async fn a_host_that_fails_again_and_again_is_left_alone() {
    let server = answers(Reply::new(200).manner(Manner::Silence)).await;
    let (registry, metrics) = look_ups(RegistrySettings {
        look_up_limit: Duration::from_secs(4),
        ..settings()
    });
    for n in 0..3 {
        ask(&registry, &format!("{}/team/app:{n}", server.host()), None)
            .await
            .unwrap_err();
    }
    server.forget();
    // By the runtime's own clock: had a request been made, it would have gone on to the end of that one.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let failure = ask(&registry, &format!("{}/team/app:9", server.host()), None)
        .await
        .unwrap_err();
    assert_eq!(failure.evidence, Evidence::TimedOut(TimeoutStage::Response));
    assert!(started.elapsed() < Duration::from_millis(400));
    assert!(server.seen().is_empty());
    let text = metrics.encode();
    assert!(
        !text.contains(r#"pullgate_registry_requests_total{host_class="loopback",outcome="timeout"} 0"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_handshake_that_never_ends() {
    // It accepts connections, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let (registry, _) = look_ups(RegistrySettings {
        resolve: vec![("silent.example".to_owned(), address)],
        ..settings()
    });
    let failure = ask(&registry, &format!("silent.example:{}/team/app:1", address.port()), None)
        .await
        .unwrap_err();
    assert_eq!(failure.evidence, Evidence::TimedOut(TimeoutStage::Handshake), "{failure:?}");
    drop(silent);
}
