//! Challenges, tokens and what their refusals prove (pull-semantics 5.3 and 6.3).

use crate::faulty::{Faulty, Reply, Seen, Tls, Validity};
use crate::sample::{Image, error, good, image};
use crate::support::*;
use pullgate::credentials::{Credential, Hidden};
use pullgate::plan::Check;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::kubelet::Sent;
use pullgate::runtime::outcome::*;
use pullgate::verdict::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PASSWORD: &str = "correct-horse-battery";
/// `alice:correct-horse-battery`
const BASIC: &str = "Basic YWxpY2U6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5";

fn alice() -> Option<Credential> {
    Some(credential("alice", PASSWORD))
}

/// The Bearer challenge of a registry that is its own token server.
fn challenge(seen: &Seen, extra: &str) -> String {
    let host = seen.header("host").unwrap();
    format!(r#"Bearer realm="http://{host}/token",service="the service"{extra}"#)
}

fn unauthorized(challenges: &[&str]) -> Reply {
    challenges
        .iter()
        .fold(error(401, "UNAUTHORIZED", "authentication required"), |reply, challenge| {
            reply.header("WWW-Authenticate", challenge)
        })
}

/// A registry whose token server answers as told, and which takes the token `good-token`.
async fn registry_with(tokens: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Faulty {
    let app = image("amd64");
    Faulty::start(move |seen| with_tokens(&app, seen, &tokens)).await
}

fn with_tokens(app: &Image, seen: &Seen, tokens: &impl Fn(&Seen) -> Reply) -> Reply {
    if seen.path.starts_with("/token") {
        tokens(seen)
    } else if seen.header("authorization") == Some("Bearer good-token") {
        good(app, seen)
    } else {
        unauthorized(&[&challenge(seen, "")])
    }
}

fn name(server: &Faulty) -> String {
    format!("{}/team/app:1", server.host())
}

async fn expect_with(server: &Faulty, credential: Option<Credential>, evidence: Evidence) -> Failure {
    let failure = fails(&name(server), credential).await;
    assert_eq!(failure.evidence, evidence, "{failure:?}");
    assert_silent(&failure, &[PASSWORD, BASIC.trim_start_matches("Basic "), "good-token"]);
    failure
}

#[tokio::test]
async fn anonymous_token() {
    let server = registry_with(|_| Reply::new(200).json(r#"{"token":"good-token"}"#)).await;
    let (registry, _) = look_ups(settings());
    let facts = ask(&registry, &name(&server), None).await.unwrap();
    assert!(!facts.authenticated);
    let seen = server.seen();
    assert_eq!(seen[0].line(), "HEAD /v2/team/app/manifests/1");
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(
        seen[1].line(),
        "GET /token?scope=repository%3Ateam%2Fapp%3Apull&service=the+service"
    );
    assert_eq!(seen[1].header("authorization"), None);
    assert_eq!(seen[2].line(), "HEAD /v2/team/app/manifests/1");
    assert_eq!(
        seen.len(),
        5,
        "the token serves for the manifest and the config: {:?}",
        server.lines()
    );
}

#[tokio::test]
async fn nothing_is_asked_with_what_kubelets_do_not_send() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.header("authorization") == Some(BASIC) {
            good(&app, seen)
        } else {
            unauthorized(&["Basic realm=\"r\""])
        }
    })
    .await;
    for (sent, every_kubelet) in [(Sent::Never, true), (Sent::BySome, false)] {
        let (registry, _) = look_ups(settings());
        let mut check = check(
            &name(&server),
            &[("latin", credential("alice", "é")), ("good", credential("alice", PASSWORD))],
        );
        check.credentials[0].sent = sent;
        let alone = Check {
            credentials: check.credentials[..1].to_vec(),
            ..check.clone()
        };
        let before = server.seen().len();
        let attempts = outcome(&registry, alone).await.attempts;
        let failure = attempts[0].result.as_ref().unwrap_err();
        assert_eq!(failure.evidence, Evidence::CredentialNotText { every_kubelet });
        assert_eq!((attempts.len(), server.seen().len()), (1, before));
        // The next one is tried, and nobody's is not.
        let attempts = outcome(&registry, check).await.attempts;
        assert!(attempts[0].result.is_err() && attempts[1].result.is_ok(), "{attempts:?}");
        assert_eq!(attempts.len(), 2);
    }
}

#[tokio::test]
async fn a_password_in_another_encoding_is_sent_as_it_is() {
    let server = registry_with(|_| Reply::new(200).json(r#"{"access_token":"good-token"}"#)).await;
    let (registry, _) = look_ups(settings());
    let latin = Credential {
        username: Hidden::new("ci"),
        password: Hidden::new(b"s\xe9same".as_slice()),
        ..Credential::default()
    };
    ask(&registry, &name(&server), Some(latin)).await.unwrap();
    let body = &server.seen()[1].body;
    assert!(body.contains("&password=s%E9same&"), "{body}");
}

#[tokio::test]
async fn password_token() {
    let server = registry_with(|_| Reply::new(200).json(r#"{"access_token":"good-token"}"#)).await;
    let (registry, _) = look_ups(settings());
    let facts = ask(&registry, &name(&server), alice()).await.unwrap();
    assert!(facts.authenticated);
    let seen = server.seen();
    assert_eq!(
        seen[0].header("authorization"),
        None,
        "the first request is always unauthenticated"
    );
    assert_eq!(seen[1].line(), "POST /token");
    assert_eq!(
        seen[1].body,
        "client_id=containerd-client&grant_type=password&password=correct-horse-battery&username=alice\
         &scope=repository%3Ateam%2Fapp%3Apull&service=the+service"
    );
    assert_eq!(seen[1].header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn refresh_token() {
    let server = registry_with(|_| Reply::new(200).json(r#"{"access_token":"good-token"}"#)).await;
    let (registry, _) = look_ups(settings());
    let identity = Credential {
        identity_token: Hidden::new("an-identity-token"),
        ..Credential::default()
    };
    ask(&registry, &name(&server), Some(identity)).await.unwrap();
    assert_eq!(
        server.seen()[1].body,
        "client_id=containerd-client&grant_type=refresh_token&refresh_token=an-identity-token\
         &scope=repository%3Ateam%2Fapp%3Apull&service=the+service"
    );
}

#[tokio::test]
async fn post_falls_back_to_get() {
    for status in [400, 401, 404, 405] {
        let server = registry_with(move |seen| match seen.method.as_str() {
            "POST" => Reply::new(status),
            _ if seen.header("authorization") == Some(BASIC) => Reply::new(200).json(r#"{"token":"good-token"}"#),
            _ => Reply::new(403),
        })
        .await;
        let (registry, _) = look_ups(settings());
        ask(&registry, &name(&server), alice())
            .await
            .unwrap_or_else(|failure| panic!("{status}: {failure:?}"));
    }
    for status in [403, 429, 500] {
        let server = registry_with(move |_| Reply::new(status)).await;
        fails(&name(&server), alice()).await;
        assert_eq!(server.lines().len(), 2, "{status} is final: {:?}", server.lines());
    }
}

#[tokio::test]
async fn scopes_of_the_challenge_are_added() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.path.starts_with("/token") {
            Reply::new(200).json(r#"{"token":"good-token"}"#)
        } else if seen.header("authorization").is_some() {
            good(&app, seen)
        } else {
            unauthorized(&[&challenge(seen, r#",scope="repository:docker-local/team/app:pull""#)])
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &name(&server), None).await.unwrap();
    assert_eq!(
        server.lines()[1],
        "GET /token?scope=repository%3Adocker-local%2Fteam%2Fapp%3Apull&scope=repository%3Ateam%2Fapp%3Apull&service=the+service"
    );
}

#[tokio::test]
async fn refusals_of_the_token_server() {
    let required = Evidence::AuthenticationRequired {
        at: AuthStage::TokenServer,
    };
    let refused = Evidence::CredentialRefused {
        at: AuthStage::TokenServer,
    };
    for status in [401, 403] {
        let server = registry_with(move |_| error(status, "DENIED", "requested access to the resource is denied")).await;
        let failure = expect_with(&server, None, required.clone()).await;
        assert_eq!(failure.status, Some(status));
        assert_eq!(failure.code.as_deref(), Some("DENIED"));
        let request = failure.request.unwrap();
        assert_eq!(request.method, "GET");
        assert_eq!(
            request.url,
            format!(
                "http://{}/token?scope=repository%3Ateam%2Fapp%3Apull&service=the+service",
                server.host()
            )
        );
        expect_with(&server, alice(), refused.clone()).await;
    }
    let server = registry_with(|_| Reply::new(429).header("Retry-After", "90").body("slow down")).await;
    let failure = expect_with(&server, alice(), Evidence::RateLimited).await;
    assert!(failure.retry_after.unwrap() > Duration::from_secs(30));
    assert_eq!(failure.request.unwrap().purpose, Purpose::OauthToken);
    // The firewall of ACR.
    let walled = Evidence::Forbidden {
        address_bound: true,
        with_credential: true,
    };
    let server = registry_with(|_| error(403, "DENIED", "client with IP '192.0.2.1' is not allowed access")).await;
    expect_with(&server, alice(), walled).await;
    let server = registry_with(|_| Reply::new(500)).await;
    expect_with(&server, alice(), Evidence::ServerError { token_server: true }).await;
    let server = registry_with(|_| Reply::new(418)).await;
    expect_with(&server, alice(), Evidence::Rejected(Rejection::TokenStatus)).await;
    let server = registry_with(|_| Reply::new(400)).await;
    expect_with(&server, alice(), Evidence::Rejected(Rejection::TokenStatus)).await;
    let server = registry_with(|_| error(400, "UNAUTHORIZED", "bad password")).await;
    expect_with(&server, alice(), refused).await;
}

#[tokio::test]
async fn answers_without_a_token() {
    for body in [
        "<html>Sign in</html>",
        "",
        "{}",
        r#"{"token":""}"#,
        r#"{"token":"two\nlines","access_token":"x\ny"}"#,
    ] {
        let server = registry_with(move |_| Reply::new(200).body(body)).await;
        expect_with(&server, None, Evidence::Rejected(Rejection::NoToken)).await;
        expect_with(&server, alice(), Evidence::Rejected(Rejection::NoToken)).await;
    }
    let server = registry_with(|_| Reply::new(200).body(vec![b'x'; 200_000])).await;
    expect_with(&server, None, Evidence::Rejected(Rejection::NoToken)).await;
    // A runtime reads any length.
    let long = format!(r#"{{"x":"{}","token":"good-token"}}"#, "x".repeat(200_000));
    let server = registry_with(move |_| Reply::new(200).json(&long)).await;
    expect_with(&server, None, Evidence::ServerError { token_server: true }).await;
}

#[tokio::test]
async fn a_fresh_token_and_401_again() {
    let refuses = async |extra: &'static str, code: &'static str| {
        Faulty::start(move |seen| {
            if seen.path.starts_with("/token") {
                Reply::new(200).json(r#"{"token":"weak-token","access_token":"weak-token"}"#)
            } else {
                error(401, code, "no").header("WWW-Authenticate", &challenge(seen, extra))
            }
        })
        .await
    };
    let lacks = |with_credential, error| Evidence::InsufficientScope { with_credential, error };
    // Docker Hub.
    let hub = refuses(r#",error="insufficient_scope""#, "UNAUTHORIZED").await;
    expect_with(&hub, None, lacks(false, ScopeError::Named)).await;
    expect_with(&hub, alice(), lacks(true, ScopeError::Named)).await;
    // Quay.
    let quay = refuses("", "UNAUTHORIZED").await;
    let required = Evidence::AuthenticationRequired { at: AuthStage::Registry };
    expect_with(&quay, None, required).await;
    let failure = expect_with(&quay, alice(), lacks(true, ScopeError::Unnamed)).await;
    assert_eq!(failure.code.as_deref(), Some("UNAUTHORIZED"));
    assert_eq!(failure.status, Some(401));
    // A registry that does not take its own token server's tokens.
    let broken = refuses(r#",error="invalid_token""#, "UNAUTHORIZED").await;
    expect_with(&broken, alice(), Evidence::Rejected(Rejection::UnauthorizedAgain)).await;
}

#[tokio::test]
async fn harbor_answers_a_weak_token_with_basic() {
    let server = Faulty::start(|seen| {
        if seen.path.starts_with("/token") {
            Reply::new(200).json(r#"{"token":"weak-token","access_token":"weak-token"}"#)
        } else if seen.header("authorization").is_some() {
            unauthorized(&["Basic realm=\"harbor\""])
        } else {
            unauthorized(&[&challenge(seen, "")])
        }
    })
    .await;
    expect_with(&server, None, Evidence::AuthenticationRequired { at: AuthStage::Basic }).await;
    let lacks = Evidence::InsufficientScope {
        with_credential: true,
        error: ScopeError::Unnamed,
    };
    expect_with(&server, alice(), lacks).await;
    let sent: Vec<_> = server
        .seen()
        .iter()
        .filter_map(|seen| seen.header("authorization").map(str::to_owned))
        .collect();
    assert!(sent.contains(&BASIC.to_owned()), "{sent:?}");
}

#[tokio::test]
async fn basic() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.header("authorization") == Some(BASIC) {
            good(&app, seen)
        } else {
            unauthorized(&["Basic realm=\"r\""])
        }
    })
    .await;
    let required = Evidence::AuthenticationRequired { at: AuthStage::Basic };
    expect_with(&server, None, required.clone()).await;
    expect_with(&server, Some(credential("alice", "")), required.clone()).await;
    expect_with(&server, Some(credential("", "")), required).await;
    let refused = Evidence::CredentialRefused { at: AuthStage::Basic };
    let failure = expect_with(&server, Some(credential("alice", "stale-password")), refused).await;
    assert_eq!(failure.status, Some(401));
    assert_silent(&failure, &["stale-password"]);

    let (registry, _) = look_ups(settings());
    let two = check(
        &name(&server),
        &[
            ("stale", credential("alice", "stale-password")),
            ("good", credential("alice", PASSWORD)),
        ],
    );
    let outcome = outcome(&registry, two).await;
    assert_eq!(outcome.attempts.len(), 2);
    assert!(outcome.attempts[0].result.is_err());
    assert!(outcome.attempts[1].result.as_ref().unwrap().authenticated);
}

#[tokio::test]
async fn challenges_that_cannot_be_answered() {
    for challenges in [vec![], vec!["Negotiate"], vec!["Digest realm=\"x\", nonce=\"y\""], vec![""]] {
        let server = Faulty::start(move |_| unauthorized(&challenges)).await;
        for credential in [None, alice()] {
            expect_with(&server, credential, Evidence::Rejected(Rejection::NoUsableChallenge)).await;
        }
        assert!(server.seen().iter().all(|seen| seen.header("authorization").is_none()));
    }
    let server = Faulty::start(|_| unauthorized(&["Bearer service=\"x\"", "Basic realm=\"x\""])).await;
    expect_with(&server, alice(), Evidence::Rejected(Rejection::NoRealm)).await;
}

#[tokio::test]
async fn bearer_is_preferred_to_basic() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.path.starts_with("/token") {
            Reply::new(200).json(r#"{"access_token":"good-token"}"#)
        } else if seen.header("authorization") == Some("Bearer good-token") {
            good(&app, seen)
        } else {
            unauthorized(&["Basic realm=\"r\"", &challenge(seen, "")])
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &name(&server), alice()).await.unwrap();
    assert!(server.seen().iter().all(|seen| seen.header("authorization") != Some(BASIC)));
}

#[tokio::test]
async fn forbidden_with_a_credential() {
    let server = Faulty::start(|seen| {
        if seen.header("authorization").is_some() {
            error(
                403,
                "DENIED",
                "your password correct-horse-battery is fine, your rights are not",
            )
        } else {
            unauthorized(&["Basic realm=\"r\""])
        }
    })
    .await;
    let evidence = Evidence::Forbidden {
        address_bound: false,
        with_credential: true,
    };
    let failure = expect_with(&server, alice(), evidence).await;
    assert_eq!(
        failure.detail.as_deref(),
        Some("your password *** is fine, your rights are not")
    );
}

/// A token server on another host, https.
#[tokio::test]
async fn a_token_server_elsewhere() {
    let tls = Tls::new(&["token.test"], Validity::Good);
    let tokens = Faulty::start_tls(&tls, |_| Reply::new(200).json(r#"{"access_token":"good-token"}"#)).await;
    let realm = format!("https://token.test:{}/token", tokens.port());
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.header("authorization") == Some("Bearer good-token") {
            good(&app, seen)
        } else {
            unauthorized(&[&format!("Bearer realm=\"{realm}\",service=\"s\"")])
        }
    })
    .await;
    let (registry, _) = look_ups(RegistrySettings {
        resolve: vec![("token.test".to_owned(), "127.0.0.1:0".parse().unwrap())],
        roots: vec![tls.ca.into_bytes()],
        ..settings()
    });
    assert!(ask(&registry, &name(&server), alice()).await.unwrap().authenticated);
    assert_eq!(tokens.lines(), ["POST /token"]);
}

#[tokio::test]
async fn tokens_are_kept_by_credential_and_renewed_when_refused() {
    let issued = Arc::new(AtomicUsize::new(0));
    let current = Arc::clone(&issued);
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.path.starts_with("/token") {
            let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
            Reply::new(200).json(&format!(
                r#"{{"access_token":"token-{n}","token":"token-{n}","expires_in":300}}"#
            ))
        } else if seen.header("authorization") == Some(&format!("Bearer token-{}", issued.load(Ordering::SeqCst))) {
            let mut seen = seen.clone();
            seen.path = seen
                .path
                .replace("manifests/2", "manifests/1")
                .replace("manifests/3", "manifests/1");
            good(&app, &seen)
        } else {
            unauthorized(&[&challenge(seen, "")])
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    let of = |tag: &str| format!("{}/team/app:{tag}", server.host());
    ask(&registry, &of("1"), alice()).await.unwrap();
    ask(&registry, &of("2"), alice()).await.unwrap();
    assert_eq!(current.load(Ordering::SeqCst), 1, "the token is kept");
    ask(&registry, &of("2"), None).await.unwrap();
    assert_eq!(current.load(Ordering::SeqCst), 2, "anonymous callers get their own");
    ask(&registry, &of("3"), alice()).await.unwrap();
    assert_eq!(
        current.load(Ordering::SeqCst),
        3,
        "a kept token that is refused is renewed once"
    );
}

#[tokio::test]
async fn a_token_that_expires_at_once_is_not_kept() {
    let server = registry_with(|_| Reply::new(200).json(r#"{"token":"good-token","expires_in":1}"#)).await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &name(&server), None).await.unwrap();
    ask(&registry, &format!("{}/team/app:2", server.host()), None)
        .await
        .unwrap_err();
    let tokens = server.lines().iter().filter(|line| line.starts_with("GET /token")).count();
    assert_eq!(tokens, 2);
}
