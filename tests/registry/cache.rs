//! One flight, one tenant, and a registry that goes away.

use crate::faulty::{Faulty, Manner, Reply};
use crate::sample::{error, good, image};
use crate::support::*;
use pullgate::runtime::kubelet::Attempts;
use pullgate::runtime::outcome::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `alice:secret-password`
const BASIC: &str = "Basic YWxpY2U6c2VjcmV0LXBhc3N3b3Jk";

#[tokio::test]
async fn one_flight_for_many() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| good(&app, seen).manner(Manner::After(Duration::from_millis(50)))).await;
    let (registry, metrics) = look_ups(settings());
    let one = check(&format!("{}/team/app:1", server.host()), &[]);
    let reviews = (0..1000).map(|_| {
        let (registry, checks) = (registry.clone(), vec![one.clone(), one.clone()]);
        tokio::spawn(async move { registry.gather(&checks, soon()).await })
    });
    for review in futures_util::future::join_all(reviews).await {
        let outcomes = review.unwrap();
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes.iter().all(|outcome| outcome.attempts[0].result.is_ok()));
    }
    assert_eq!(server.lines().len(), 3, "{:?}", server.lines());
    let text = metrics.encode();
    assert!(text.contains(r#"cache="answers",result="miss"} 1"#), "{text}");
    assert!(text.contains(r#"cache="answers",result="joined"} 999"#), "{text}");
}

#[tokio::test]
async fn a_caller_that_leaves_fills_the_cache() {
    let app = image("amd64");
    let (answer, answers) = tokio::sync::watch::channel(false);
    let server = Faulty::start(move |seen| good(&app, seen).manner(Manner::When(answers.clone()))).await;
    let (registry, _) = look_ups(settings());
    let one = vec![check(&format!("{}/team/app:1", server.host()), &[])];
    let leader = tokio::spawn({
        let (registry, checks) = (registry.clone(), one.clone());
        async move { registry.gather(&checks, soon()).await }
    });
    until("the look-up begins", async || !server.seen().is_empty()).await;
    leader.abort();
    let late = registry
        .gather(&one, tokio::time::Instant::now() + Duration::from_millis(20))
        .await;
    let failure = late[0].attempts[0].result.as_ref().unwrap_err();
    assert_eq!(failure.evidence, Evidence::TimedOut(TimeoutStage::Deadline));
    answer.send(true).unwrap();
    until("the look-up goes on without its callers", async || server.lines().len() == 3).await;
    // Once it is known, even a deadline that has passed is met.
    until("the answer is kept", async || {
        let known = registry.gather(&one, tokio::time::Instant::now()).await;
        known[0].attempts[0].result.is_ok()
    })
    .await;
    assert_eq!(server.lines().len(), 3, "{:?}", server.lines());
}

#[tokio::test]
async fn nobody_learns_from_anothers_credential() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        if seen.header("authorization") == Some(BASIC) {
            good(&app, seen)
        } else {
            error(401, "UNAUTHORIZED", "who are you").header("WWW-Authenticate", "Basic realm=\"r\"")
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    let name = format!("{}/team/app:1", server.host());
    let facts = ask(&registry, &name, Some(credential("alice", "secret-password")))
        .await
        .unwrap();
    let anonymous = ask(&registry, &name, None).await.unwrap_err();
    assert_eq!(anonymous.evidence, Evidence::AuthenticationRequired { at: AuthStage::Basic });
    let refused = Evidence::CredentialRefused { at: AuthStage::Basic };
    let mallory = ask(&registry, &name, Some(credential("mallory", "secret-password")))
        .await
        .unwrap_err();
    assert_eq!(mallory.evidence, refused);
    // Knowing the digest does not help.
    let by_digest = format!("{}/team/app@{}", server.host(), facts.digest);
    let mallory = ask(&registry, &by_digest, Some(credential("mallory", "x")))
        .await
        .unwrap_err();
    assert_eq!(mallory.evidence, refused);
}

#[tokio::test]
async fn a_registry_that_lies_about_a_digest_learns_nothing() {
    let app = image("amd64");
    let (digest, kind) = (app.manifest.digest.clone(), app.manifest.media_type.clone());
    let honest = Faulty::start(move |seen| good(&app, seen)).await;
    let liar = Faulty::start(move |seen| match seen.method.as_str() {
        "HEAD" => Reply::new(200)
            .header("Content-Type", &kind)
            .header("Docker-Content-Digest", &digest)
            .header("Content-Length", "100"),
        _ => error(404, "MANIFEST_UNKNOWN", "x"),
    })
    .await;
    let (registry, _) = look_ups(settings());
    ask(&registry, &format!("{}/team/app:1", honest.host()), None).await.unwrap();
    let failure = ask(&registry, &format!("{}/team/app:1", liar.host()), None)
        .await
        .unwrap_err();
    assert_eq!(failure.evidence, Evidence::ContentInvalid(ContentFault::NotServed));
}

#[tokio::test]
async fn content_is_read_once() {
    let app = image("amd64");
    let server = Faulty::start(move |seen| {
        let mut seen = seen.clone();
        seen.path = seen.path.replace("manifests/stable", "manifests/1");
        good(&app, &seen)
    })
    .await;
    let (registry, _) = look_ups(settings());
    let first = ask(&registry, &format!("{}/team/app:1", server.host()), None).await.unwrap();
    server.forget();
    let second = ask(&registry, &format!("{}/team/app:stable", server.host()), None)
        .await
        .unwrap();
    assert_eq!(first, second);
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/stable"]);
}

/// Found by the simulation (seed 1002410): a repository that had been opened was denied as long as the token lived that was granted before.
#[tokio::test]
async fn a_denial_rests_on_no_right_that_was_written_into_an_old_token() {
    let app = image("amd64");
    let opened = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&opened);
    let server = Faulty::start(move |seen| {
        let host = seen.header("host").unwrap();
        let token = if is_open.load(Ordering::SeqCst) {
            "reads"
        } else {
            "reads-nothing"
        };
        match (seen.path.as_str(), seen.header("authorization")) {
            (path, _) if path.starts_with("/token") => Reply::new(200).json(&format!(r#"{{"token":"{token}","expires_in":300}}"#)),
            (_, None) => error(401, "UNAUTHORIZED", "log in").header(
                "WWW-Authenticate",
                &format!(r#"Bearer realm="http://{host}/token",service="s",scope="s""#),
            ),
            (_, Some("Bearer reads")) => good(&app, seen),
            _ => error(404, "NAME_UNKNOWN", "no such repository"),
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    let [first, second] = [2, 1].map(|tag| [check(&format!("{}/team/app:{tag}", server.host()), &[])]);
    let pulls = |attempts: &Attempts| attempts.attempts[0].result.is_ok();
    assert!(!pulls(&registry.gather(&first, soon()).await[0]));
    opened.store(true, Ordering::SeqCst);
    // At the time at which refusals from now would be forgotten. What the old token is shown from now on is newer.
    let begun = tokio::time::Instant::now() + Duration::from_secs(2);
    assert!(!pulls(&registry.gather(&second, soon()).await[0]));
    assert!(pulls(&registry.confirm(&second, begun, soon()).await[0]));
}

/// Found by the simulation (seed 1000200): a tag that was pushed again was denied for what it had been, for up to a minute.
#[tokio::test]
async fn a_denial_rests_on_no_old_answer() {
    let (before, after) = (image("arm64"), image("amd64"));
    let (pushed, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_pushed, is_open) = (Arc::clone(&pushed), Arc::clone(&open));
    let server = Faulty::start(move |seen| {
        if !is_open.load(Ordering::SeqCst) && seen.path.contains("/private/") {
            return error(401, "UNAUTHORIZED", "log in").header("WWW-Authenticate", "Basic realm=\"here\"");
        }
        let mut seen = seen.clone();
        seen.path = seen.path.replace("/private/", "/team/");
        good(if is_pushed.load(Ordering::SeqCst) { &after } else { &before }, &seen)
    })
    .await;
    let (registry, _) = look_ups(settings());
    let checks = ["team", "private"].map(|path| check(&format!("{}/{path}/app:1", server.host()), &[]));
    let first = registry.gather(&checks, soon()).await;
    let of = |attempts: &Attempts| attempts.attempts[0].result.as_ref().map(|facts| facts.digest.clone()).ok();
    assert!(of(&first[0]).is_some() && of(&first[1]).is_none());
    // At the time at which refusals from now would be forgotten.
    let begun = tokio::time::Instant::now() + Duration::from_secs(2);
    pushed.store(true, Ordering::SeqCst);
    open.store(true, Ordering::SeqCst);
    let remembered = registry.gather(&checks, soon()).await;
    assert_eq!(of(&remembered[0]), of(&first[0]));
    let confirmed = registry.confirm(&checks, begun, soon()).await;
    assert!(of(&confirmed[0]).is_some() && of(&confirmed[0]) != of(&first[0]));
    assert_eq!(of(&confirmed[1]), of(&confirmed[0]));
    let now = registry.gather(&checks, soon()).await;
    assert_eq!(of(&now[0]), of(&confirmed[0]), "what was confirmed is remembered");
    server.forget();
    registry.confirm(&checks, tokio::time::Instant::now(), soon()).await;
    assert!(
        server.lines().is_empty(),
        "what was just answered is not asked again: {:?}",
        server.lines()
    );
}

#[tokio::test]
async fn not_found_is_soon_forgotten() {
    let app = image("amd64");
    let pushed = Arc::new(AtomicBool::new(false));
    let there = Arc::clone(&pushed);
    let server = Faulty::start(move |seen| {
        if there.load(Ordering::SeqCst) {
            good(&app, seen)
        } else {
            error(404, "NAME_UNKNOWN", "no such repository")
        }
    })
    .await;
    let (registry, _) = look_ups(settings());
    let name = format!("{}/team/app:1", server.host());
    let began = std::time::Instant::now();
    ask(&registry, &name, None).await.unwrap_err();
    let asked = server.lines().len();
    ask(&registry, &name, None).await.unwrap_err();
    // On a machine that took so long for the two, they were no burst.
    let again = if began.elapsed() < Duration::from_secs(2) {
        asked
    } else {
        2 * asked
    };
    assert!(server.lines().len() <= again, "a burst asks once: {:?}", server.lines());
    pushed.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    ask(&registry, &name, None).await.unwrap();
}

/// Decided once for the burst, and afresh for whoever comes after it.
#[tokio::test]
async fn a_burst_is_refused_at_once() {
    let server = Faulty::start(|_| error(404, "NAME_UNKNOWN", "no such repository")).await;
    let (registry, _) = look_ups(settings());
    let checks = [check(&format!("{}/team/app:1", server.host()), &[])];
    registry.gather(&checks, soon()).await;
    let known = || registry.recall(&checks).all().map(|all| Arc::clone(&all[0]));
    let is_same = |one: &Option<Arc<_>>, other: &Option<Arc<_>>| {
        one.as_ref()
            .zip(other.as_ref())
            .is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    };
    // Two in a row that no pause has fallen between.
    assert!(
        (0..100).any(|_| is_same(&known(), &known())),
        "each of a burst is decided by itself"
    );
    let before = known();
    until("it is decided afresh", async || !is_same(&known(), &before)).await;
}

#[tokio::test]
async fn one_object_does_not_fill_the_queues() {
    let (registry, _) = look_ups(settings());
    let checks: Vec<_> = (0..3000).map(|n| check(&format!("169.254.0.1/app:{n}"), &[])).collect();
    let outcomes = registry.gather(&checks, soon()).await;
    let asked = |outcome: &pullgate::runtime::kubelet::Attempts| {
        let failure = outcome.attempts[0].result.as_ref().unwrap_err();
        matches!(failure.evidence, Evidence::StoppedByGuard(_))
    };
    assert_eq!(outcomes.len(), 3000);
    assert_eq!(outcomes.iter().filter(|outcome| asked(outcome)).count(), 1000);
    let last = outcomes.last().unwrap().attempts[0].result.as_ref().unwrap_err();
    assert_eq!(last.evidence, Evidence::TimedOut(TimeoutStage::Deadline));
}

#[tokio::test]
async fn many_hosts_at_once() {
    let slow = Faulty::start(|_| Reply::new(200).manner(Manner::Silence)).await;
    let app = image("amd64");
    let quick = Faulty::start(move |seen| good(&app, seen)).await;
    let (registry, _) = look_ups(settings());
    let mut checks: Vec<_> = (0..40)
        .map(|n| check(&format!("{}/team/app:{n}", slow.host()), &[]))
        .collect();
    checks.push(check(&format!("{}/team/app:1", quick.host()), &[]));
    // Sooner than a request gives up by itself.
    let outcomes = registry
        .gather(&checks, tokio::time::Instant::now() + Duration::from_secs(5))
        .await;
    assert!(
        outcomes[40].attempts[0].result.is_ok(),
        "one slow registry does not slow another"
    );
    assert!(slow.seen().len() <= 16, "{}", slow.seen().len());
    for outcome in &outcomes[..40] {
        let failure = outcome.attempts[0].result.as_ref().unwrap_err();
        assert_eq!(failure.evidence, Evidence::TimedOut(TimeoutStage::Deadline));
    }
}
