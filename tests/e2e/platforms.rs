//! Images for other nodes than the cluster has.

use crate::support::kubectl::{Gated, LONG, Namespace, eventually, kubectl};
use crate::support::objects::{app, pod, pod_spec};
use crate::support::registries;
use serde_json::json;

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_daemon_set_whose_index_serves_no_node_is_denied() {
    let namespace = Namespace::new(Gated::Yes);
    let spec = |name: &str| pod_spec(&[("agent", &registries().open.image(name))]);
    namespace.apply(&[app("DaemonSet", "agent", spec("shop/arm:v1"))]).denied(&[
        "container agent: ",
        "PlatformMismatch: ",
        "no match for platform in manifest",
        "fix: ",
    ]);
    namespace.apply(&[app("DaemonSet", "agent", spec("shop/many:v1"))]).allowed();
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_single_manifest_of_another_architecture_is_a_warning() {
    let namespace = Namespace::new(Gated::Yes);
    let spec = pod_spec(&[("app", &registries().open.image("shop/armsingle:v1"))]);
    namespace
        .apply(&[pod("app", spec)])
        .warned(&["container app: ", "ArchitectureMismatch: "]);
}

/// A node of another architecture, by its object alone: the API server and the gate believe it, no kubelet stands behind it.
struct ArmNode;

impl ArmNode {
    const NAME: &str = "pullgate-e2e-arm64";

    fn new() -> Self {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": Self::NAME, "labels": {
                "kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": Self::NAME}},
            "status": {
                "nodeInfo": {
                    "architecture": "arm64", "operatingSystem": "linux", "kubeletVersion": "v1.37.2",
                    "containerRuntimeVersion": "containerd://2.4.2", "kernelVersion": "6.1.0", "osImage": "none", "bootID": "",
                    "machineID": "", "systemUUID": ""},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}]}});
        kubectl(&["apply", "-f", "-"], &node.to_string()).done();
        Self
    }
}

impl Drop for ArmNode {
    fn drop(&mut self) {
        kubectl(&["delete", "node", Self::NAME], "");
    }
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_daemon_set_that_misses_some_nodes_is_a_warning() {
    let namespace = Namespace::alone(Gated::Yes);
    let open = &registries().open;
    open.push(&["--index", "--platform", "linux/amd64"], &["shop/amd:v1"]);
    let mut spec = pod_spec(&[("agent", &open.image("shop/amd:v1"))]);
    let apply = |spec| {
        namespace
            .apply_with(&["--dry-run=server"], &[app("DaemonSet", "agent", spec)])
            .done()
    };
    let settled = |what: &str, warns: bool, spec: &serde_json::Value| {
        eventually(what, LONG, || {
            let stderr = apply(spec.clone()).stderr;
            (stderr.contains("PlatformMismatch: ") == warns).then_some(stderr)
        })
    };

    settled("no warning with amd64 nodes only", false, &spec);
    let node = ArmNode::new();
    let warning = settled("a warning for the new node", true, &spec);
    assert!(
        warning.contains("Warning: container agent: ") && warning.contains("arm64"),
        "{warning}"
    );
    let anywhere = spec.clone();
    spec["nodeSelector"] = json!({"kubernetes.io/arch": "amd64"});
    settled("no warning where the selector keeps to amd64", false, &spec);
    drop(node);
    // The next test must not meet the node any more.
    settled("no warning once the node has gone", false, &anywhere);
}
