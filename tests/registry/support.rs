//! Asking, and what to expect.

use pullgate::credentials::{Credential, CredentialSource, Hidden};
use pullgate::engine::LookUps;
use pullgate::image::Reference;
use pullgate::net::Reach;
use pullgate::plan::Check;
use pullgate::plan::Offer;
use pullgate::registry::RegistrySettings;
use pullgate::runtime::Depth;
use pullgate::runtime::kubelet::Attempts;
use pullgate::runtime::kubelet::Sent;
use pullgate::runtime::request::Agents;
use pullgate::telemetry::Metrics;
use pullgate::verdict::{Evidence, Failure, ImageFacts};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a look-up may take in all; a single request gets 6 s.
pub const LOOK_UP: Duration = Duration::from_mins(1);

/// Settings that reach loopback. Their patience is a busy machine's: tests of what takes too long bring a shorter one.
pub fn settings() -> RegistrySettings {
    RegistrySettings {
        reach: Reach::Listed(vec!["127.0.0.0/8".parse().unwrap()]),
        look_up_limit: LOOK_UP,
        ..RegistrySettings::default()
    }
}

/// Look-ups of our own, with their metrics.
pub fn look_ups(settings: RegistrySettings) -> (LookUps, Metrics) {
    let metrics = Metrics::new();
    (LookUps::new(settings, metrics.clone()).unwrap(), metrics)
}

pub fn credential(user: &str, password: &str) -> Credential {
    Credential {
        username: Hidden::new(user),
        password: Hidden::new(password),
        identity_token: Hidden::default(),
    }
}

pub fn check(reference: &str, credentials: &[(&str, Credential)]) -> Check {
    Check {
        short: None,
        namespace: "default".into(),
        reference: Reference::parse(reference).unwrap(),
        credentials: credentials
            .iter()
            .map(|(name, credential)| Offer {
                credential: credential.clone(),
                source: Some(CredentialSource::Secret((*name).to_owned())),
                sent: Sent::default(),
            })
            .collect(),
        depth: Depth::Manifest,
        pullers: Arc::default(),
        agents: Agents::default(),
        peers_only: Arc::default(),
    }
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

/// One check, all its attempts.
pub async fn outcome(registry: &LookUps, check: Check) -> Attempts {
    let mut outcomes = registry.gather(&[check], soon()).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// The last attempt with one credential or none.
pub async fn ask(registry: &LookUps, reference: &str, credential: Option<Credential>) -> Result<ImageFacts, Failure> {
    let credentials: Vec<(&str, Credential)> = credential.into_iter().map(|c| ("pull", c)).collect();
    let mut outcome = outcome(registry, check(reference, &credentials)).await;
    outcome.attempts.pop().unwrap().result
}

/// Asks with fresh look-ups, and expects a failure.
pub async fn fails(reference: &str, credential: Option<Credential>) -> Failure {
    let (registry, _) = look_ups(settings());
    ask(&registry, reference, credential).await.expect_err("a failure")
}

/// Asks anonymously with fresh look-ups, and expects this evidence.
pub async fn expect(reference: &str, evidence: Evidence) -> Failure {
    let failure = fails(reference, None).await;
    assert_eq!(failure.evidence, evidence, "{failure:?}");
    failure
}

/// No part of a failure shows any of these.
pub fn assert_silent(failure: &Failure, secrets: &[&str]) {
    let shown = format!("{failure:?}");
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// Waits until `condition` holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + LOOK_UP;
    while !condition().await {
        assert!(Instant::now() < end, "not in {LOOK_UP:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
