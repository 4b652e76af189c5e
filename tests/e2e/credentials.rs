//! Private images: the secrets that pods and service accounts list, also those that were written a moment before.

use crate::support::kubectl::{Gated, LONG, Namespace, eventually};
use crate::support::objects::{app, pod, pod_spec, pod_spec_with_secrets, pull_secret};
use crate::support::{PASSWORD, USER, gate, registries};
use base64::Engine as _;
use serde_json::{Value, json};
use std::time::Duration;

fn image() -> String {
    registries().private.image("shop/api:v1.0")
}

fn secret(password: &str) -> Value {
    pull_secret("pull", &registries().private.host, USER, password)
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_private_image_needs_the_pods_secret() {
    let namespace = Namespace::new(Gated::Yes);
    let without = pod_spec(&[("app", &image())]);
    namespace
        .apply(&[pod("without", without.clone())])
        .denied(&["container app: ", "NotFoundOrDenied", "fix: "]);
    namespace
        .apply(&[app("Deployment", "without", without)])
        .denied(&["NotFoundOrDenied"]);

    namespace.apply(&[secret(PASSWORD)]).allowed();
    let with = pod_spec_with_secrets(&image(), &["pull"]);
    namespace.apply(&[pod("with", with.clone())]).allowed();
    namespace.apply(&[app("Deployment", "with", with)]).allowed();
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_secret_counts_as_soon_as_it_is_written() {
    // One file: the API server asks us about the second object before any watch has told us of the first.
    for _ in 0..5 {
        let namespace = Namespace::new(Gated::Yes);
        namespace
            .apply(&[secret(PASSWORD), pod("app", pod_spec_with_secrets(&image(), &["pull"]))])
            .allowed();
    }
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_corrected_secret_counts_as_soon_as_it_is_written() {
    let namespace = Namespace::new(Gated::Yes);
    let app = pod("app", pod_spec_with_secrets(&image(), &["pull"]));
    namespace.apply(&[secret("wrong")]).allowed();
    namespace
        .apply(std::slice::from_ref(&app))
        .denied(&["CredentialRefused", "fix: "]);
    // What was just read for that denial is believed for 2 s; an older reading is not.
    std::thread::sleep(Duration::from_secs(2));
    namespace.apply(&[secret(PASSWORD), app]).allowed();
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_service_accounts_secrets_count_for_templates() {
    let namespace = Namespace::new(Gated::Yes);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "puller"},
                         "imagePullSecrets": [{"name": "pull"}]});
    let mut spec = pod_spec(&[("app", &image())]);
    spec["serviceAccountName"] = "puller".into();
    namespace
        .apply(&[secret(PASSWORD), account, app("Deployment", "app", spec)])
        .allowed();
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_templates_missing_secret_may_still_come() {
    let namespace = Namespace::new(Gated::Yes);
    let spec = pod_spec_with_secrets(&image(), &["pull"]);
    namespace.apply(&[pod("app", spec.clone())]).denied(&["PullSecretMissing"]);
    namespace
        .apply(&[app("Deployment", "app", spec)])
        .warned(&["container app: ", "PullSecretMissing"]);
    namespace.apply(&[secret(PASSWORD)]).allowed();
    eventually("a ready replica", LONG, || {
        namespace
            .list("deployments")
            .iter()
            .any(|deployment| deployment["status"]["readyReplicas"] == 1)
            .then_some(())
    });
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn nothing_secret_is_logged() {
    let namespace = Namespace::new(Gated::Yes);
    let wrong = "a-wrong-password";
    let output = namespace
        .apply(&[secret(wrong), pod("app", pod_spec_with_secrets(&image(), &["pull"]))])
        .denied(&["CredentialRefused"]);
    let (log, metrics) = (gate().log(), gate().metrics());
    assert!(!log.is_empty(), "one line a review");
    for password in [PASSWORD, wrong] {
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
        for text in [&log, &metrics, &output.stderr] {
            assert!(
                !text.contains(password) && !text.contains(&encoded),
                "a credential of the test was written:\n{text}"
            );
        }
    }
}
