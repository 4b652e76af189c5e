//! Where look-ups and credentials must not go (contract 7).

use crate::faulty::{Faulty, Reply, Seen, Tls, Validity};
use crate::sample::{error, good, image};
use crate::support::*;
use pullgate::net::Reach;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::outcome::*;
use std::net::SocketAddr;

const BASIC: &str = "Basic YWxpY2U6c2VjcmV0LXBhc3N3b3Jk";

fn alice() -> Option<pullgate::credentials::Credential> {
    Some(credential("alice", "secret-password"))
}

fn name(server: &Faulty) -> String {
    format!("{}/team/app:1", server.host())
}

async fn redirects_to(location: &str) -> Faulty {
    let location = location.to_owned();
    Faulty::start(move |_| Reply::new(307).header("Location", &location)).await
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn addresses_that_the_settings_do_not_admit() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| good(&app, seen)).await;
    let (registry, _) = look_ups(RegistrySettings {
        reach: Reach::Listed(Vec::new()),
        resolve: vec![
            ("registry.test".to_owned(), any_port()),
            ("metadata.test".to_owned(), "169.254.169.254:0".parse().unwrap()),
        ],
        ..settings()
    });
    for host in ["127.0.0.1", "registry.test", "localhost", "2130706433"] {
        let failure = ask(&registry, &format!("{host}:{}/team/app:1", server.port()), None)
            .await
            .unwrap_err();
        let Evidence::StoppedByGuard(GuardRule::Address { range }) = failure.evidence else {
            panic!("{host}: {failure:?}")
        };
        assert!(range == "127.0.0.0/8" || range == "::1/128", "{range}");
    }
    for host in [
        "169.254.169.254",
        "metadata.test",
        "[fe80::1]",
        "[::ffff:a9fe:a9fe]",
        "100.100.100.200",
        "0.0.0.0",
    ] {
        let failure = ask(&registry, &format!("{host}:80/team/app:1"), None).await.unwrap_err();
        assert!(
            matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::NeverAdmitted { .. })),
            "{host}: {failure:?}"
        );
    }
    let failure = ask(&registry, "10.1.2.3/team/app:1", None).await.unwrap_err();
    let range = "10.0.0.0/8".to_owned();
    assert_eq!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Address { range }));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn everything_is_not_everything() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| good(&app, seen)).await;
    let (registry, _) = look_ups(RegistrySettings {
        reach: Reach::Everything,
        ..settings()
    });
    ask(&registry, &name(&server), None).await.unwrap();
    let failure = ask(&registry, "169.254.169.254:80/team/app:1", None).await.unwrap_err();
    assert!(matches!(
        failure.evidence,
        Evidence::StoppedByGuard(GuardRule::NeverAdmitted { .. })
    ));
}

#[tokio::test]
async fn redirects_that_are_not_followed() {
    let other = Faulty::start(|_| Reply::new(200)).await;
    for location in [
        format!("http://{}/v2/team/app/manifests/1", other.host()),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "ftp://127.0.0.1/x".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let server = redirects_to(&location).await;
        let failure = fails(&name(&server), None).await;
        assert_eq!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Redirect), "{location}");
        assert_eq!(server.lines().len(), 1);
    }
    assert!(other.seen().is_empty());

    let server = redirects_to("https://169.254.169.254/latest/meta-data?token=abc").await;
    let failure = fails(&name(&server), None).await;
    assert!(
        matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::NeverAdmitted { .. })),
        "{failure:?}"
    );
    assert_eq!(failure.host, "169.254.169.254");
    assert_silent(&failure, &["token=abc"]);
    let server = redirects_to("https://10.0.0.1/x").await;
    let failure = fails(&name(&server), None).await;
    assert!(
        matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Address { .. })),
        "{failure:?}"
    );
}

#[tokio::test]
async fn https_does_not_become_http() {
    let tls = Tls::new(&["registry.test"], Validity::Good);
    let plain = Faulty::start(|_| Reply::new(200)).await;
    let location = format!("http://registry.test:{}/x", plain.port());
    let server = Faulty::start_tls(&tls, move |_| Reply::new(302).header("Location", &location)).await;
    let (registry, _) = look_ups(RegistrySettings {
        resolve: vec![("registry.test".to_owned(), any_port())],
        roots: vec![tls.ca.into_bytes()],
        ..settings()
    });
    let name = format!("registry.test:{}/team/app:1", server.port());
    let failure = ask(&registry, &name, None).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Redirect));
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn loops_end() {
    let server = Faulty::start(|seen| Reply::new(302).header("Location", &format!("{}/x", seen.path))).await;
    let failure = expect(&name(&server), Evidence::Rejected(Rejection::RedirectLoop)).await;
    assert_eq!(server.lines().len(), 10, "{failure:?}");

    let app = image("amd64");
    let server = Faulty::start(move |seen| match seen.path.strip_prefix("/hop/") {
        Some(n) => {
            let n: u32 = n.parse().unwrap();
            if n == 8 {
                let mut first = seen.clone();
                first.path = "/v2/team/app/manifests/1".to_owned();
                good(&app, &first)
            } else {
                Reply::new(307).header("Location", &format!("/hop/{}", n + 1))
            }
        }
        None if seen.path.ends_with("manifests/1") => Reply::new(307).header("Location", "/hop/0"),
        None => good(&app, seen),
    })
    .await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &name(&server), None).await.unwrap();
}

/// A registry that asks for Basic and then sends everybody to another https host.
async fn sends_away(to: &str) -> Faulty {
    let to = to.to_owned();
    Faulty::start(move |seen| {
        if seen.header("authorization") == Some(BASIC) {
            Reply::new(307)
                .header("Location", &format!("{to}{}", seen.path))
                .header("Set-Cookie", "session=1")
        } else {
            error(401, "UNAUTHORIZED", "who are you").header("WWW-Authenticate", "Basic realm=\"r\"")
        }
    })
    .await
}

#[tokio::test]
async fn a_location_that_is_no_ascii_is_followed() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| match seen.path.strip_prefix("/gr%C3%B6%C3%9Fe") {
        None if seen.path.ends_with("manifests/1") => Reply::new(307).header("Location", &format!("/größe{}", seen.path)),
        None => good(&app, seen),
        Some(path) => {
            let mut first = seen.clone();
            first.path = path.to_owned();
            good(&app, &first)
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &name(&server), None).await.unwrap();
}

/// A node sends what a redirect writes before its host; what is refused to us may be given to it.
#[tokio::test]
async fn a_redirect_that_names_a_user_proves_nothing_when_we_are_refused() {
    let app = image("amd64");
    for status in [401, 403, 404] {
        let app = app.clone();
        let server = Faulty::start(move |seen| match seen.path.strip_prefix("/as") {
            None if seen.path.contains("manifests") => {
                let to = format!("http://user:pass@{}/as{}", seen.header("host").unwrap(), seen.path);
                Reply::new(307).header("Location", &to)
            }
            None => good(&app, seen),
            Some(_) => error(status, "DENIED", "not you"),
        })
        .await;
        expect(&name(&server), Evidence::StoppedByGuard(GuardRule::CredentialNotSent)).await;
    }
}

#[tokio::test]
async fn credentials_do_not_follow_redirects() {
    let app = image("amd64");
    let tls = Tls::new(&["mirror.test"], Validity::Good);
    let mirror = Faulty::start_tls(&tls, move |seen| good(&app, seen)).await;
    let server = sends_away(&format!("https://user:pass@mirror.test:{}", mirror.port())).await;
    let with_mirror = || RegistrySettings {
        resolve: vec![("mirror.test".to_owned(), any_port())],
        roots: vec![tls.ca.clone().into_bytes()],
        ..settings()
    };
    let (registry, _) = look_ups(with_mirror());
    ask(&registry, &name(&server), alice()).await.unwrap();
    assert_eq!(mirror.lines().len(), 3);
    for seen in mirror.seen() {
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("cookie"), None);
        assert_eq!(seen.header("referer"), None);
    }

    // The other host asks for credentials: they are withheld, and nothing is concluded.
    let tls = Tls::new(&["mirror.test"], Validity::Good);
    let greedy = Faulty::start_tls(&tls, |_| {
        error(401, "UNAUTHORIZED", "give").header("WWW-Authenticate", "Basic realm=\"x\"")
    })
    .await;
    let server = sends_away(&format!("https://mirror.test:{}", greedy.port())).await;
    let (registry, _) = look_ups(RegistrySettings {
        roots: vec![tls.ca.into_bytes()],
        ..with_mirror()
    });
    let failure = ask(&registry, &name(&server), alice()).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::StoppedByGuard(GuardRule::CredentialNotSent));
    assert_eq!(failure.host, format!("mirror.test:{}", greedy.port()));
    assert!(greedy.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

/// Nodes run Go, which takes the header along to another port of the same host.
#[tokio::test]
async fn what_another_port_hides_from_strangers_is_not_known() {
    for status in [401, 403, 404] {
        let tls = Tls::new(&["127.0.0.1"], Validity::Good);
        let other = Faulty::start_tls(&tls, move |_| error(status, "MANIFEST_UNKNOWN", "not for you")).await;
        let (registry, _) = look_ups(RegistrySettings {
            roots: vec![tls.ca.clone().into_bytes()],
            ..settings()
        });
        let server = sends_away(&format!("https://127.0.0.1:{}", other.port())).await;
        let failure = ask(&registry, &name(&server), alice()).await.unwrap_err();
        assert_eq!(
            failure.evidence,
            Evidence::StoppedByGuard(GuardRule::CredentialNotSent),
            "{status}"
        );
        assert!(!other.seen().is_empty());
        assert!(other.seen().iter().all(|seen| seen.header("authorization").is_none()));
        // Without a credential there is nothing to withhold: the answer stands.
        let open = redirects_to(&format!("https://127.0.0.1:{}/v2/app/manifests/v1", other.port())).await;
        let failure = ask(&registry, &name(&open), None).await.unwrap_err();
        assert_ne!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Redirect), "{status}");
    }
}

/// A registry that names a token realm.
async fn names_realm(realm: &str) -> Faulty {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
    Faulty::start(move |_| error(401, "UNAUTHORIZED", "token please").header("WWW-Authenticate", &challenge)).await
}

#[tokio::test]
async fn realms_that_are_not_asked() {
    let trap = Faulty::start(|_| Reply::new(200).json(r#"{"token":"x","access_token":"x"}"#)).await;
    for (realm, host) in [
        (format!("http://{}/token", trap.host()), Some(trap.host())),
        ("http://169.254.169.254/token".to_owned(), Some("169.254.169.254".to_owned())),
        ("/token".to_owned(), None),
        ("ftp://127.0.0.1/token".to_owned(), Some("127.0.0.1".to_owned())),
    ] {
        let server = names_realm(&realm).await;
        for credential in [None, alice()] {
            let failure = fails(&name(&server), credential).await;
            assert_eq!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Realm), "{realm}");
            assert_eq!(failure.host, host.clone().unwrap_or_else(|| server.host()), "{realm}");
        }
        assert!(server.seen().iter().all(|seen| seen.header("authorization").is_none()));
    }
    assert!(trap.seen().is_empty());

    let server = names_realm("https://169.254.169.254/token").await;
    let failure = fails(&name(&server), alice()).await;
    assert!(
        matches!(failure.evidence, Evidence::StoppedByGuard(GuardRule::NeverAdmitted { .. })),
        "{failure:?}"
    );
    assert_eq!(failure.host, "169.254.169.254");
    let server = names_realm("https://192.168.7.7/token").await;
    let failure = fails(&name(&server), alice()).await;
    let range = "192.168.0.0/16".to_owned();
    assert_eq!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Address { range }));
}

#[tokio::test]
async fn a_token_server_does_not_pass_a_credential_on() {
    let tls = Tls::new(&["token.test", "trap.test"], Validity::Good);
    let trap = Faulty::start_tls(&tls, |_| Reply::new(200).json(r#"{"access_token":"x"}"#)).await;
    let away = format!("https://trap.test:{}/token", trap.port());
    for status in [302, 307, 308] {
        let away = away.clone();
        let tokens = Faulty::start_tls(&tls, move |_: &Seen| Reply::new(status).header("Location", &away)).await;
        let server = names_realm(&format!("https://token.test:{}/token", tokens.port())).await;
        let (registry, _) = look_ups(RegistrySettings {
            resolve: vec![("token.test".to_owned(), any_port()), ("trap.test".to_owned(), any_port())],
            roots: vec![tls.ca.clone().into_bytes()],
            ..settings()
        });
        let failure = ask(&registry, &name(&server), alice()).await.unwrap_err();
        if status != 302 {
            assert_eq!(failure.evidence, Evidence::StoppedByGuard(GuardRule::Redirect));
        }
        assert_eq!(tokens.lines()[0], "POST /token");
    }
    for seen in trap.seen() {
        assert_eq!(seen.header("authorization"), None);
        assert!(seen.body.is_empty(), "{}", seen.body);
    }
}
