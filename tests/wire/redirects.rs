//! Redirects, and where requests and credentials must not go (contract 7).

use crate::faulty::{Faulty, Reply, Tls, Validity};
use crate::support::*;
use pullgate::net::Reach;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::answer::{Body, FaultKind};
use pullgate::runtime::outcome::GuardRule;
use pullgate::runtime::request::*;
use std::net::SocketAddr;
use std::sync::Arc;

const BASIC: &str = "Basic YWxpY2U6c2VjcmV0LXBhc3N3b3Jk";

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn redirects(status: u16, location: &str) -> Faulty {
    let location = location.to_owned();
    Faulty::start(move |_| Reply::new(status).header("Location", &location)).await
}

#[tokio::test]
async fn a_credential_goes_to_its_origin_and_nowhere_else() {
    let tls = Tls::new(&["cdn.test"], Validity::Good);
    let cdn = Faulty::start_tls(&tls, |_| Reply::new(200).header("Content-Type", "m").body("{}")).await;
    let location = format!("https://cdn.test:{}/x?sig=hunter2", cdn.port());
    let server = Faulty::start(move |seen| match seen.path.as_str() {
        "/v2/a/manifests/1" => Reply::new(307).header("Location", "/there"),
        _ => Reply::new(302).header("Location", &location),
    })
    .await;
    let wire = wire_with(RegistrySettings {
        resolve: vec![("cdn.test".to_owned(), any_port())],
        roots: vec![tls.ca.clone().into_bytes()],
        ..settings()
    });
    let who = wire.knows(&credential("alice", "secret-password"));
    let asked = with(Auth::Basic(who), &asked_by(who, &get(&server, "/v2/a/manifests/1")));
    let answer = response(&wire, &asked).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.asked_at.origin, origin(&format!("https://cdn.test:{}", cdn.port())));
    assert_eq!(&*answer.asked_at.path, "/x", "no part of a signed query is kept");
    let sent = |server: &Faulty| {
        let seen = server.seen();
        seen.iter()
            .map(|seen| seen.header("authorization").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(sent(&server), [Some(BASIC.to_owned()), Some(BASIC.to_owned())]);
    assert_eq!(sent(&cdn), [None]);
    assert_eq!(cdn.lines(), ["GET /x?sig=hunter2"]);
}

#[tokio::test]
async fn a_tenth_redirect_is_not_followed() {
    let server = Faulty::start(|seen| Reply::new(302).header("Location", &format!("{}x", seen.path))).await;
    let fault = fault(&wire(), &head(&server, "/v2/a/manifests/1")).await;
    assert_eq!(fault.what, FaultKind::RedirectLoop);
    assert_eq!(server.lines().len(), 10);
}

#[tokio::test]
async fn redirects_that_are_not_followed() {
    let other = Faulty::start(|_| Reply::new(200)).await;
    for location in [
        format!("http://{}/v2/a/manifests/1", other.host()),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let server = redirects(307, &location).await;
        assert_eq!(
            withheld(&wire(), &head(&server, "/x")).await,
            GuardRule::Redirect,
            "{location}"
        );
        assert_eq!(server.lines().len(), 1);
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn every_hop_is_guarded() {
    let server = redirects(307, "https://169.254.169.254/latest/meta-data?token=abc").await;
    let not_sent = not_sent(&wire(), &head(&server, "/x")).await;
    assert_eq!(not_sent.asked_at.origin, origin("https://169.254.169.254"));
    assert!(!format!("{not_sent:?}").contains("token=abc"));
    let server = redirects(307, "https://10.0.0.1/x").await;
    let range = "10.0.0.0/8".to_owned();
    assert_eq!(withheld(&wire(), &head(&server, "/x")).await, GuardRule::Address { range });
}

#[tokio::test]
async fn addresses_that_the_settings_do_not_admit() {
    let server = Faulty::start(|_| Reply::new(200)).await;
    let wire = wire_with(RegistrySettings {
        reach: Reach::Listed(Vec::new()),
        resolve: vec![
            ("registry.test".to_owned(), any_port()),
            ("metadata.test".to_owned(), "169.254.169.254:0".parse().unwrap()),
        ],
        ..settings()
    });
    let at = |host: &str| {
        let origin = origin(&format!("http://{host}:{}", server.port()));
        request(Method::Head, &origin, "/v2/a/manifests/1", Want::Nothing)
    };
    for host in ["127.0.0.1", "registry.test", "localhost", "2130706433"] {
        let rule = withheld(&wire, &at(host)).await;
        assert!(matches!(rule, GuardRule::Address { .. }), "{host}: {rule:?}");
    }
    for host in [
        "169.254.169.254",
        "metadata.test",
        "[fe80::1]",
        "[::ffff:a9fe:a9fe]",
        "0.0.0.0",
    ] {
        let rule = withheld(&wire, &at(host)).await;
        assert!(matches!(rule, GuardRule::NeverAdmitted { .. }), "{host}: {rule:?}");
    }
    // A token server is no exception.
    let token = Arc::new(TokenRequest {
        origin: at("127.0.0.1").origin,
        realm: Arc::from("https://169.254.169.254/token"),
        service: None,
        scopes: Vec::new(),
        who: Who::default(),
        by: Grant::Anonymous,
    });
    let realm = origin("https://169.254.169.254");
    let rule = withheld(&wire, &request(Method::Get, &realm, "/token", Want::Token(token))).await;
    assert!(matches!(rule, GuardRule::NeverAdmitted { .. }), "{rule:?}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn https_does_not_become_http() {
    let tls = Tls::new(&["registry.test"], Validity::Good);
    let plain = Faulty::start(|_| Reply::new(200)).await;
    let location = format!("http://registry.test:{}/x", plain.port());
    let server = Faulty::start_tls(&tls, move |_| Reply::new(302).header("Location", &location)).await;
    let wire = wire_with(RegistrySettings {
        resolve: vec![("registry.test".to_owned(), any_port())],
        roots: vec![tls.ca.clone().into_bytes()],
        ..settings()
    });
    let origin = origin(&format!("https://registry.test:{}", server.port()));
    let asked = request(Method::Head, &origin, "/x", Want::Nothing);
    assert_eq!(withheld(&wire, &asked).await, GuardRule::Redirect);
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn a_form_is_sent_once() {
    let token = |server: &Faulty, who| {
        let token = Arc::new(TokenRequest {
            origin: at(server),
            realm: Arc::from(format!("http://{}/token", server.host())),
            service: Some(Arc::from("the service")),
            scopes: vec![Arc::from("repository:a:pull")],
            who,
            by: Grant::Password,
        });
        asked_by(who, &request(Method::Post, &at(server), "/token", Want::Token(token)))
    };
    let server = Faulty::start(|seen| match seen.path.as_str() {
        "/token" => Reply::new(302).header("Location", "/other"),
        _ => Reply::new(200).json(r#"{"access_token":"t"}"#),
    })
    .await;
    let wire = wire();
    let who = wire.knows(&credential("alice", "secret-password"));
    let answer = response(&wire, &token(&server, who)).await;
    assert_eq!((answer.asked_at.method, &answer.body), (Method::Get, &Body::Granted));
    assert_eq!(server.lines(), ["POST /token", "GET /other"]);
    let [posted, got] = &server.seen()[..] else { panic!("two") };
    assert_eq!(
        posted.body,
        "client_id=containerd-client&grant_type=password&password=secret-password&username=alice\
         &scope=repository%3Aa%3Apull&service=the+service"
    );
    assert!(got.body.is_empty());

    let elsewhere = redirects(307, "https://10.0.0.1/token").await;
    assert_eq!(withheld(&wire, &token(&elsewhere, who)).await, GuardRule::Redirect);
}

#[tokio::test]
async fn a_request_introduces_itself_as_the_runtime_or_as_the_settings_say() {
    let server = Faulty::start(|_| Reply::new(404)).await;
    let by_crio = Request {
        agent: Agent::Crio(1, 33, 4),
        ..head(&server, "/v2/a/manifests/1")
    };
    response(&wire(), &by_crio).await;
    let named = wire_with(pullgate::registry::RegistrySettings {
        user_agent: Some(http::HeaderValue::from_static("gate/1")),
        ..settings()
    });
    response(&named, &by_crio).await;
    let said: Vec<String> = server
        .seen()
        .iter()
        .map(|seen| seen.header("user-agent").unwrap().to_owned())
        .collect();
    let ours = format!("cri-o/1.33.4 (compatible; pullgate/{})", env!("CARGO_PKG_VERSION"));
    assert_eq!(said, [ours.as_str(), "gate/1"]);
}

#[tokio::test]
async fn what_is_sent() {
    let server = Faulty::start(|_| Reply::new(404)).await;
    let wire = wire();
    response(&wire, &head(&server, "/v2/a/manifests/1?ns=q")).await;
    response(
        &wire,
        &Request {
            accept: Arc::from(""),
            ..get(&server, "/v2/a/manifests/1")
        },
    )
    .await;
    let [head, get] = &server.seen()[..] else { panic!("two") };
    assert_eq!(head.line(), "HEAD /v2/a/manifests/1?ns=q");
    assert_eq!(head.header("accept-encoding"), None);
    assert_eq!(get.header("accept-encoding"), Some("identity"));
    for seen in [head, get] {
        assert_eq!(seen.header("accept"), Some("*/*"));
        assert_eq!(seen.header("authorization"), None);
        assert!(
            seen.header("user-agent")
                .unwrap()
                .starts_with("containerd/2.4.2 (compatible; pullgate/")
        );
    }
}
