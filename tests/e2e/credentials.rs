//! Private images: the secrets that pods and service accounts list, also those that were written a moment before.

use crate::support::kubectl::{Gated, LONG, Namespace, eventually};
use crate::support::objects::{app, pod, pod_spec, pod_spec_with_secrets, pull_secret};
use crate::support::registry::Registry;
use crate::support::{PASSWORD, USER, gate, registries};
use base64::Engine as _;
use serde_json::{Value, json};
use std::path::PathBuf;
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

/// From now on the node holds credentials of its own for a registry, in containerd's settings.
fn give_the_node_credentials(registry: &str) {
    let folder =
        std::env::var_os("PULLGATE_TEST_CLUSTER_DIR").map_or_else(|| PathBuf::from("/tmp/pullgate-cluster"), PathBuf::from);
    let folder = folder.join("certs.d").join(registry);
    std::fs::create_dir_all(&folder)
        .expect("this test writes the node's registry settings: it needs the cluster of tests/cluster/up");
    let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let server = format!("http://{registry}");
    let hosts =
        format!("server = \"{server}\"\n[host.\"{server}\"]\n[host.\"{server}\".header]\nauthorization = \"Basic {login}\"\n");
    std::fs::write(folder.join("hosts.toml"), hosts).unwrap();
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn what_pods_run_shows_that_the_nodes_hold_credentials() {
    let namespace = Namespace::new(Gated::No);
    let registry = Registry::with_password("nodes", USER, PASSWORD);
    registry.push(&[], &["shop/api:v1", "shop/api:v2", "shop/web:v1"]);
    give_the_node_credentials(&registry.host);
    let image = |name: &str| registry.image(&format!("shop/{name}"));
    let spec = |image: &str| {
        let mut spec = pod_spec(&[("app", image)]);
        spec["containers"][0]["imagePullPolicy"] = "Always".into();
        spec
    };
    namespace.apply(&[app("Deployment", "api", spec(&image("api:v1")))]).done();
    namespace.apply(&[pod("api", spec(&image("api:v1")))]).done();
    let ready = |image: &str| {
        eventually("ready replicas of the new template", Duration::from_mins(2), || {
            let deployment = &namespace.list("deployments")[0];
            let pods = namespace.list("pods");
            let ran = pods
                .iter()
                .filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true);
            let all = ran.filter(|pod| pod["spec"]["containers"][0]["image"] == image).count();
            let status = &deployment["status"];
            let counts = [&status["replicas"], &status["updatedReplicas"], &status["readyReplicas"]];
            (all >= 1
                && counts.iter().all(|count| **count == 1)
                && status["observedGeneration"] == deployment["metadata"]["generation"])
                .then_some(())
        });
    };
    ready(&image("api:v1"));
    eventually("the pod's start", Duration::from_mins(2), || {
        let pods = namespace.list("pods");
        let pod = pods.iter().find(|pod| pod["metadata"]["name"] == "api")?;
        pod["status"]["containerStatuses"][0]["state"]["running"]
            .is_object()
            .then_some(())
    });

    // The gate holds none: what nobody has pulled yet is denied.
    namespace.gate();
    namespace
        .apply(&[app("Deployment", "new", spec(&image("api:v2")))])
        .denied(&["NotFoundOrDenied"]);
    // Another repository of the same registry might be for other eyes.
    namespace
        .kubectl(&["set", "image", "deployment/api", &format!("app={}", image("web:v1"))])
        .denied(&["NotFoundOrDenied"]);
    let words = ["container app: ", "NotFoundOrDenied", "add it to nodeCredentials"];
    namespace
        .kubectl(&["set", "image", "deployment/api", &format!("app={}", image("api:v2"))])
        .warned(&words);
    namespace
        .kubectl(&["set", "image", "pod/api", &format!("app={}", image("api:v2"))])
        .warned(&words);
    // And the node pulls it.
    ready(&image("api:v2"));
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
