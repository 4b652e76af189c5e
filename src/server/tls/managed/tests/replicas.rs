//! Replicas at an API server.

use super::fake::{DAY, Fake, NOW, elapse, settle};
use crate::server::tls::managed::contents::{AUTHORITY_KEY, CERTIFICATE, KEY, NEXT, TRUST};
use crate::server::tls::managed::trust::Bundle;
use crate::server::tls::managed::{Budget, Lifetimes, Managed, Round};
use serde_json::json;
use std::time::Duration;

/// How long a CA must have been in every bundle before it signs; on the tests' clock.
const SETTLE_TIME: Duration = Duration::from_secs(30);

fn why(replica: &Managed) -> String {
    replica.readiness()().unwrap_err()
}

fn ready(replica: &Managed) {
    assert_eq!(replica.readiness()(), Ok(()));
    assert_eq!(replica.certificate().check(), Ok(()));
}

fn leaf(replica: &Managed) -> Vec<u8> {
    replica.certificate().leaf().unwrap().to_vec()
}

/// Rounds by each replica in turn, until none has anything left to do.
async fn settle_all(replicas: &mut [Managed]) {
    for _ in 0..3 {
        for replica in replicas.iter_mut() {
            settle(replica).await;
        }
    }
}

#[tokio::test]
async fn the_first_replica_makes_all_and_the_next_takes_it() {
    let fake = Fake::new().await;
    let mut replicas = [fake.replica(), fake.replica()];
    assert_eq!(why(&replicas[0]), "the Secret pullgate/pullgate-tls has not been read yet");
    assert_eq!(replicas[0].certificate().check(), Err("there is none yet".to_owned()));
    settle_all(&mut replicas).await;
    replicas.iter().for_each(ready);
    assert_eq!(leaf(&replicas[0]), leaf(&replicas[1]));
    assert_eq!(
        fake.held().writes,
        [("PATCH configuration 200".to_owned(), 1), ("POST secret 201".to_owned(), 1)].into()
    );
    assert_eq!(fake.held().strange, [""; 0]);
    let secret = fake.held().secret.clone().unwrap();
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let keys: Vec<_> = secret["data"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, [TRUST, AUTHORITY_KEY, CERTIFICATE, KEY]);
    // Weeks pass, and nothing is written.
    for _ in 0..50 {
        fake.pass(DAY);
        settle_all(&mut replicas).await;
    }
    assert_eq!(fake.all_writes(), 2);
    let metrics = replicas[0].metrics.encode();
    for line in [
        format!("pullgate_certificate_authority_expiry_timestamp_seconds {}", NOW + 730 * DAY),
        format!("pullgate_certificate_expiry_timestamp_seconds {}", NOW + 90 * DAY),
        // It is valid from an hour ago, for clocks that are behind.
        format!("pullgate_certificate_lifetime_seconds {}", 90 * DAY + 3600),
        r#"pullgate_certificate_renewals_total{step="create",reason="absent"} 1"#.to_owned(),
        r#"pullgate_certificate_renewals_total{step="registration",reason="differs"} 1"#.to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in:\n{metrics}");
    }
}

#[tokio::test]
async fn replicas_that_start_at_once_agree_on_one_secret() {
    let fake = Fake::new().await;
    let mut replicas = [fake.replica(), fake.replica(), fake.replica()];
    // All see that there is no Secret before any has made one.
    fake.gather(3);
    let [a, b, c] = &mut replicas;
    let rounds = tokio::join!(a.round(), b.round(), c.round());
    fake.gather_no_more();
    let mut rounds = [rounds.0, rounds.1, rounds.2];
    rounds.sort_by_key(|round| *round != Round::Wrote);
    assert_eq!(rounds, [Round::Wrote, Round::Overtaken, Round::Overtaken]);
    settle_all(&mut replicas).await;
    replicas.iter().for_each(ready);
    assert!(replicas.iter().all(|replica| leaf(replica) == leaf(&replicas[0])));
    assert_eq!((fake.count("POST secret 201"), fake.count("POST secret 409")), (1, 2));
    assert_eq!(fake.count("PATCH configuration 200"), 1);

    // The same for a renewal.
    fake.pass(61 * DAY);
    fake.gather(3);
    let [a, b, c] = &mut replicas;
    let rounds = tokio::join!(a.round(), b.round(), c.round());
    fake.gather_no_more();
    let wrote = [rounds.0, rounds.1, rounds.2]
        .iter()
        .filter(|round| **round == Round::Wrote)
        .count();
    assert_eq!(wrote, 1);
    settle_all(&mut replicas).await;
    assert_eq!((fake.count("PUT secret 201"), fake.count("PUT secret 409")), (1, 2));
    assert!(replicas.iter().all(|replica| leaf(replica) == leaf(&replicas[0])));
    replicas.iter().for_each(ready);
}

/// One replica's view of the Secret is old; the bundle that it would write is refused, because another was written since.
#[tokio::test]
async fn a_late_patch_does_not_bring_back_an_old_bundle() {
    let fake = Fake::new().await;
    let (mut early, late) = (fake.replica(), fake.replica());
    settle(&mut early).await;
    let seen = late.client.registration().await.unwrap().value.unwrap();
    let old = fake.trust().pem();
    fake.pass(490 * DAY);
    settle(&mut early).await;
    let both = fake.bundle(0);
    assert_eq!(both.certificates().len(), 2);
    let refused = late.client.register(&seen, &[(0, old)]).await;
    assert_eq!(refused, Err(crate::cluster::RequestError::Conflict));
    assert_eq!(fake.bundle(0), both);
}

#[tokio::test]
async fn a_new_ca_signs_only_after_its_time_in_every_bundle() {
    let fake = Fake::new().await;
    let mut replica = fake.replica();
    replica.settled = SETTLE_TIME;
    settle(&mut replica).await;
    fake.pass(59 * DAY);
    settle(&mut replica).await;
    let first = fake.trust();
    fake.pass(428 * DAY);
    // Its certificate has expired by now; a new one of the same CA is served at once.
    settle(&mut replica).await;
    ready(&replica);
    let before = leaf(&replica);
    assert!(!fake.secret(NEXT).is_empty());
    assert_eq!(fake.bundle(0).certificates().len(), 2);
    settle(&mut replica).await;
    assert_eq!(leaf(&replica), before);
    elapse(SETTLE_TIME).await;
    // A bundle that somebody spoils in between restarts the wait.
    fake.spoil_bundle(first.pem().as_bytes());
    assert_eq!(replica.round().await, Round::Wrote);
    assert_eq!(replica.round().await, Round::Done);
    assert_eq!((leaf(&replica), fake.secret(NEXT).is_empty()), (before.clone(), false));
    elapse(SETTLE_TIME).await;
    settle(&mut replica).await;
    assert!(fake.secret(NEXT).is_empty());
    assert_ne!(leaf(&replica), before);
    ready(&replica);
    assert_eq!(
        fake.bundle(0).certificates().len(),
        2,
        "replicas that are behind are still taken"
    );
    fake.pass(91 * DAY);
    settle(&mut replica).await;
    assert_eq!(fake.bundle(0).certificates().len(), 1);
    assert!(!fake.bundle(0).holds(&first.certificates()[0]));
    ready(&replica);
}

#[tokio::test]
async fn a_deleted_secret_is_recreated_and_no_replica_is_left_behind() {
    let fake = Fake::new().await;
    let mut replicas = [fake.replica(), fake.replica()];
    for replica in &mut replicas {
        replica.settled = SETTLE_TIME;
    }
    settle_all(&mut replicas).await;
    let (old, before) = (fake.bundle(0), leaf(&replicas[0]));
    fake.held().secret = None;
    settle(&mut replicas[0]).await;
    assert_eq!(fake.bundle(0).certificates().len(), 2);
    assert!(fake.bundle(0).holds(&old.certificates()[0]));
    // Neither serves the new certificate yet, and both are still accepted.
    for replica in &replicas {
        assert_eq!(leaf(replica), before);
        assert_eq!(fake.takes(replica), Ok(()));
    }
    elapse(SETTLE_TIME).await;
    settle(&mut replicas[0]).await;
    assert_ne!(leaf(&replicas[0]), before);
    settle_all(&mut replicas).await;
    elapse(SETTLE_TIME).await;
    settle_all(&mut replicas).await;
    assert_eq!(leaf(&replicas[0]), leaf(&replicas[1]));
    replicas.iter().for_each(ready);
    fake.pass(3601);
    settle_all(&mut replicas).await;
    assert_eq!(fake.bundle(0).certificates().len(), 1);
    replicas.iter().for_each(ready);
}

#[tokio::test]
async fn a_wrong_an_emptied_and_a_repeated_bundle() {
    let fake = Fake::new().await;
    fake.configure(&[("a", "pullgate"), ("b", "other"), ("c", "pullgate")]);
    let mut replica = fake.replica();
    settle(&mut replica).await;
    ready(&replica);
    let right = fake.bundle(0);
    assert_eq!(
        (fake.bundle(2), fake.bundle(1).certificates().len()),
        (right.clone(), 0),
        "only what calls us"
    );
    let stranger = Fake::new().await;
    settle(&mut stranger.replica()).await;
    for wrong in [&b""[..], b"garbage", stranger.trust().pem().as_bytes()] {
        fake.spoil_bundle(wrong);
        let before = leaf(&replica);
        assert_eq!(replica.round().await, Round::Wrote);
        let said = why(&replica);
        assert!(
            said.contains("the API server would refuse the served certificate")
                && said.contains("the webhook a in the ValidatingWebhookConfiguration pullgate")
                && said.contains("was not signed by a currently valid CA in it"),
            "{said}"
        );
        settle(&mut replica).await;
        ready(&replica);
        assert_eq!((fake.bundle(0), leaf(&replica)), (right.clone(), before));
    }
    let writes = fake.all_writes();
    fake.spoil_bundle([right.pem(), "a comment\n".to_owned(), right.pem()].concat().as_bytes());
    settle(&mut replica).await;
    assert_eq!(fake.all_writes(), writes, "it trusts the same CAs");
}

#[tokio::test]
async fn a_registration_that_is_not_there_yet_is_waited_for() {
    let fake = Fake::new().await;
    fake.held().configuration = None;
    let mut replicas = [fake.replica(), fake.replica()];
    settle_all(&mut replicas).await;
    assert_eq!(
        why(&replicas[0]),
        "waiting for the ValidatingWebhookConfiguration pullgate: it does not exist"
    );
    fake.configure(&[("images.pullgate.dev", "other")]);
    settle_all(&mut replicas).await;
    assert_eq!(
        why(&replicas[1]),
        "no webhook of the ValidatingWebhookConfiguration pullgate names the Service pullgate/pullgate or a host of --tls-dns-name"
    );
    for _ in 0..2 {
        fake.configure(&[("images.pullgate.dev", "pullgate")]);
        settle_all(&mut replicas).await;
        replicas.iter().for_each(ready);
        fake.held().configuration = None;
        settle_all(&mut replicas).await;
        assert!(why(&replicas[0]).contains("it does not exist"));
    }
    assert_eq!(fake.count("POST secret 201"), 1);
}

#[tokio::test]
async fn webhooks_by_url_count_when_their_host_is_one_of_our_names() {
    let fake = Fake::new().await;
    fake.held().configuration.as_mut().unwrap()["webhooks"] = json!([
        {"name": "a", "clientConfig": {"url": "https://127.0.0.1:8443/validate"}},
        {"name": "b", "clientConfig": {"url": "https://Hooks.example/validate", "caBundle": ""}},
        {"name": "c", "clientConfig": {"url": "https://elsewhere.example/"}},
    ]);
    let mut replica = fake.replica_for(&["127.0.0.1", "hooks.example"], Lifetimes::default());
    settle(&mut replica).await;
    ready(&replica);
    let trust = fake.trust();
    assert_eq!(
        [0, 1, 2].map(|webhook| fake.bundle(webhook).same_as(&trust)),
        [true, true, false]
    );
}

#[tokio::test]
async fn replicas_with_other_names_do_not_fight() {
    let fake = Fake::new().await;
    let mut replicas = [
        fake.replica_for(&["old.example"], Lifetimes::default()),
        fake.replica_for(&["new.example"], Lifetimes::default()),
    ];
    settle_all(&mut replicas).await;
    let writes = fake.all_writes();
    for _ in 0..10 {
        settle_all(&mut replicas).await;
    }
    assert_eq!(fake.all_writes(), writes);
    replicas.iter().for_each(ready);
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_takes_nothing_that_works() {
    let fake = Fake::new().await;
    let refuse = |what: &'static str| fake.held().refused = [what].into();
    let mut fresh = fake.replica();
    for (what, expected) in [
        (
            "GET secret",
            "the Secret pullgate/pullgate-tls has not been read yet; pullgate may not get the Secret pullgate/pullgate-tls (403)",
        ),
        (
            "POST secret",
            "the Secret pullgate/pullgate-tls holds no certificate that can be served yet; \
             pullgate may not create the Secret pullgate/pullgate-tls (403)",
        ),
    ] {
        refuse(what);
        settle(&mut fresh).await;
        assert_eq!(why(&fresh), expected);
    }
    refuse("PATCH configuration");
    settle(&mut fresh).await;
    let said = why(&fresh);
    assert!(
        said.ends_with("; pullgate may not patch the ValidatingWebhookConfiguration pullgate (403)"),
        "{said}"
    );
    settle(&mut fresh).await;
    assert_eq!(why(&fresh), said, "said once");
    refuse("nothing");
    settle(&mut fresh).await;
    ready(&fresh);
    let note = fresh.note();
    for (what, noted) in [
        (
            "GET secret",
            Some("pullgate may not get the Secret pullgate/pullgate-tls (403)"),
        ),
        (
            "GET configuration",
            Some("pullgate may not get the ValidatingWebhookConfiguration pullgate (403)"),
        ),
        ("PATCH configuration", None),
        ("PUT secret", None),
    ] {
        refuse(what);
        fake.pass(10);
        settle(&mut fresh).await;
        ready(&fresh);
        assert_eq!(note().as_deref(), noted);
    }
    let before = leaf(&fresh);
    refuse("PUT secret");
    fake.pass(70 * DAY);
    settle(&mut fresh).await;
    ready(&fresh);
    assert_eq!(leaf(&fresh), before);
    assert!(
        fresh
            .metrics
            .encode()
            .contains(r#"pullgate_certificate_failures_total{reason="secret_write"} 2"#),
        "{}",
        fresh.metrics.encode()
    );
    // The registration cannot be read, and the Secret is a different one: nobody knows whether it would be accepted.
    refuse("GET configuration");
    fake.held().secret = None;
    settle(&mut fresh).await;
    assert_eq!(leaf(&fresh), before);
    ready(&fresh);
    refuse("nothing");
    settle(&mut fresh).await;
    ready(&fresh);
}

#[tokio::test]
async fn somebody_elses_secret_is_not_written_to() {
    let fake = Fake::new().await;
    settle(&mut fake.replica()).await;
    fake.spoil(AUTHORITY_KEY, None);
    let ours = fake.held().secret.clone().unwrap();
    let marked = |annotations: serde_json::Value| {
        let mut secret = ours.clone();
        secret["metadata"]["annotations"] = annotations;
        fake.held().secret = Some(secret);
    };
    let writes = fake.count("PUT secret 201");
    for (annotations, expected) in [
        (
            json!({}),
            "contains a certificate that pullgate did not create: delete it, or set another with --tls-secret",
        ),
        (json!({"cert-manager.io/certificate-name": "x"}), "is managed by cert-manager"),
    ] {
        marked(annotations);
        let mut replica = fake.replica();
        settle(&mut replica).await;
        assert!(why(&replica).contains(expected), "{}", why(&replica));
        assert_eq!(fake.count("PUT secret 201"), writes);
    }
    // An empty one that the chart made is filled, and its other contents stay.
    let mut replica = fake.replica();
    fake.held().secret = Some(json!({
        "metadata": {"name": "pullgate-tls", "resourceVersion": "x", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "type": "Opaque", "data": {"note": "aGk="},
    }));
    settle(&mut replica).await;
    ready(&replica);
    let secret = fake.held().secret.clone().unwrap();
    assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
    assert_eq!((&secret["type"], &secret["data"]["note"]), (&json!("Opaque"), &json!("aGk=")));
}

#[tokio::test]
async fn a_helper_that_writes_the_bundle_too_is_not_fought() {
    let fake = Fake::new().await;
    fake.held().configuration.as_mut().unwrap()["metadata"]["annotations"] = json!({"cert-manager.io/inject-ca-from": "a/b"});
    let mut replica = fake.replica();
    settle(&mut replica).await;
    assert!(why(&replica).ends_with("has annotations of cert-manager, which also writes its caBundle: remove them"));
    assert_eq!(fake.count("PATCH configuration 200"), 0);
    // If something rewrites the bundle without saying so, it is corrected ten times, and then once a minute.
    let other = Fake::new().await;
    let mut replica = other.replica();
    replica.registration_writes = Budget::new();
    for _ in 0..20 {
        settle(&mut replica).await;
        other.spoil_bundle(b"");
    }
    assert_eq!(other.count("PATCH configuration 200"), 10);
    settle(&mut replica).await;
    assert!(why(&replica).contains("at most once a minute"), "{}", why(&replica));
}

#[tokio::test]
async fn it_runs_by_itself() {
    let fake = Fake::new().await;
    let replica = fake.replica();
    let (readiness, certificate, status) = (replica.readiness(), replica.certificate(), replica.status.clone());
    let running = tokio::spawn(replica.run());
    let ready = tokio::time::timeout(Duration::from_mins(1), status.becomes_ready()).await;
    ready.expect("ready within a minute");
    assert_eq!((readiness(), certificate.check()), (Ok(()), Ok(())));
    running.abort();
    let trust = Bundle::parse(&fake.secret(TRUST));
    assert!(fake.bundle(0).same_as(&trust));
}

/// Its `Date` is three years after this machine's time, or before; the API server's clock is the one that counts, once it has said so twice.
#[tokio::test]
async fn an_api_server_that_is_years_off_keeps_nobody_from_serving() {
    for years in [3, -3] {
        let fake = Fake::new().await;
        fake.held().date = jiff::Timestamp::now().as_second() + years * 365 * DAY;
        let mut replica = fake.replica_that_doubts();
        assert_eq!(replica.round().await, Round::Done);
        assert_eq!(fake.all_writes(), 0, "nothing is made for a time that was told once");
        settle(&mut replica).await;
        ready(&replica);
        assert_eq!(fake.takes(&replica), Ok(()));
    }
}

/// One of two API servers behind a balancer is years off.
#[tokio::test]
async fn a_single_date_that_is_years_off_changes_nothing() {
    let fake = Fake::new().await;
    let right = jiff::Timestamp::now().as_second();
    fake.held().date = right;
    let mut replica = fake.replica_that_doubts();
    settle(&mut replica).await;
    ready(&replica);
    let (served, writes) = (leaf(&replica), fake.all_writes());
    for wrong in [0, right + 100 * 365 * DAY, right - 10 * 365 * DAY] {
        fake.held().date = wrong;
        assert_eq!(replica.round().await, Round::Done);
        fake.held().date = right;
        assert_eq!(replica.round().await, Round::Done);
        ready(&replica);
        assert_eq!((leaf(&replica), fake.all_writes()), (served.clone(), writes));
    }
}
