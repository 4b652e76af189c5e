//! Settings of a node's `hosts.toml`, by name.

use crate::faulty::{Faulty, Reply, Tls, Validity};
use crate::support::*;
use pullgate::image::Reference;
use pullgate::net::Reach;
use pullgate::registry::{RegistrySettings, Wire};
use pullgate::runtime::answer::{FaultKind, Withheld};
use pullgate::runtime::containerd::hosts::{Host, Schemes};
use pullgate::runtime::outcome::{GuardRule, TlsFault};
use pullgate::runtime::request::*;
use pullgate::runtime::{NodeConfig, Pool};
use std::fs;

/// The host that a `hosts.toml` for `r.test` with this text has first.
async fn host(text: &str, reach: Reach) -> (Wire, Host) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("r.test")).unwrap();
    fs::write(dir.path().join("r.test/hosts.toml"), text).unwrap();
    let wire = wire_with(RegistrySettings {
        reach,
        hosts_dirs: vec![dir.path().to_owned()],
        ..settings()
    });
    let reference = Reference::parse("r.test/app").unwrap();
    let NodeConfig::Containerd(hosts) = wire.node_configs(Pool::default(), &reference, "").await.containerd else {
        panic!("hosts")
    };
    let host = hosts.hosts.first().unwrap().clone();
    (wire, host)
}

fn asks(host: &Host, path: &str) -> Request {
    let server = host.server.as_ref().unwrap();
    let origin = match server.schemes {
        Schemes::Http => &server.http,
        Schemes::Https | Schemes::HttpsThenHttp => &server.https,
    };
    Request {
        host_settings: host.settings,
        ..request(Method::Head, origin, path, Want::Nothing)
    }
}

#[tokio::test]
async fn a_host_that_is_named_may_be_private_and_has_its_headers_to_itself() {
    let other = Faulty::start(|_| Reply::new(200)).await;
    let location = format!("https://{}/x", other.host());
    let server = Faulty::start(move |seen| match seen.path.as_str() {
        "/elsewhere" => Reply::new(307).header("Location", &location),
        _ => Reply::new(200),
    })
    .await;
    let text = format!("[host.\"http://{}\".header]\nx-key = \"hunter2\"\n", server.host());
    let (wire, host) = host(&text, Reach::Listed(Vec::new())).await;
    let asked = asks(&host, "/v2/a/manifests/1");
    assert_eq!(response(&wire, &asked).await.status, 200);
    assert_eq!(server.seen()[0].header("x-key"), Some("hunter2"));
    let stranger = Request {
        host_settings: HostSettingsId::default(),
        ..asked.clone()
    };
    assert!(matches!(withheld(&wire, &stranger).await, GuardRule::Address { .. }));
    // Where it redirects to is not named.
    assert!(matches!(
        withheld(&wire, &asks(&host, "/elsewhere")).await,
        GuardRule::Address { .. }
    ));
    assert!(other.seen().is_empty());
    assert!(!format!("{host:?} {asked:?}").contains("hunter2"));
}

#[tokio::test]
async fn tls_by_the_settings_of_the_host() {
    let tls = Tls::new(&["127.0.0.1"], Validity::Good);
    let server = Faulty::start_tls(&tls, |_| Reply::new(200)).await;
    let reach = || Reach::Everything;
    let text = |settings: &str| format!("[host.\"https://{}\"]\n{settings}\n", server.host());
    let (wire, plain) = host(&text(""), reach()).await;
    let named = asks(&plain, "/1");
    assert_eq!(fails(&wire, &named).await, FaultKind::Tls(TlsFault::UnknownIssuer));
    let (wire, lenient) = host(&text("skip_verify = true"), reach()).await;
    assert_eq!(response(&wire, &asks(&lenient, "/1")).await.status, 200);
    // The registry itself on loopback is not verified, as containerd does.
    let itself = Request {
        host_settings: HostSettingsId::default(),
        ..named
    };
    assert_eq!(response(&wire, &itself).await.status, 200);
}

#[tokio::test]
async fn settings_that_nobody_knows_are_not_guessed() {
    let server = Faulty::start(|_| Reply::new(200)).await;
    let asked = Request {
        host_settings: HostSettingsId([7; 16]),
        ..head(&server, "/v2/a/manifests/1")
    };
    assert!(matches!(not_sent(&wire(), &asked).await.why, Withheld::Unusable(_)));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_loopback_host_that_speaks_no_tls_is_remembered() {
    let server = Faulty::start(|_| Reply::new(200)).await;
    let wire = wire();
    let over_tls = |path: &str| {
        let origin = origin(&format!("https://{}", server.host()));
        request(Method::Head, &origin, path, Want::Nothing)
    };
    let plain = FaultKind::Tls(TlsFault::PlainHttp);
    // More than would open a breaker.
    for n in 0..5 {
        let who = wire.knows(&credential("alice", &n.to_string()));
        assert_eq!(fails(&wire, &asked_by(who, &over_tls("/1"))).await, plain);
        assert_eq!(response(&wire, &asked_by(who, &head(&server, "/1"))).await.status, 200);
    }
    assert_eq!(fails(&wire, &over_tls("/1")).await, plain);
    later(std::time::Duration::from_mins(9)).await;
    assert_eq!(fails(&wire, &over_tls("/2")).await, plain, "for other requests too");
    assert_eq!(server.lines().len(), 5);
}
