use super::*;
use serde_json::json;

#[test]
fn a_node_in_full() {
    let node = Node::from_json(&json!({
        "metadata": {"name": "n1", "labels": {"b": "2", "a": "1", "kubernetes.io/arch": "edited"}},
        "spec": {"unschedulable": true, "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]},
        "status": {
            "nodeInfo": {"operatingSystem": "linux", "architecture": "arm64", "kernelVersion": "6.1", "containerRuntimeVersion": "containerd://2.3.4",
                "kubeletVersion": "v1.36.2"},
            "allocatable": {"ephemeral-storage": "18242267924Ki"},
            "images": [{"names": ["docker.io/library/nginx@sha256:9", "docker.io/library/nginx:1.25"]}, {"names": ["<none>@<none>", "busybox"]}, {"names": null}],
        }
    }));
    assert_eq!(node.name, "n1");
    assert_eq!(node.label("a"), Some("1"));
    assert_eq!(node.label("c"), None);
    assert!(node.unschedulable);
    assert_eq!(
        node.taints,
        [Taint {
            key: "k".into(),
            value: "v".into(),
            effect: "NoSchedule".into()
        }]
    );
    assert_eq!(
        node.platform.as_ref().map(ToString::to_string).as_deref(),
        Some("linux/arm64")
    );
    assert_eq!(
        (node.runtime.as_str(), node.kubelet.as_str()),
        ("containerd://2.3.4", "v1.36.2")
    );
    assert_eq!(
        node.images,
        ["docker.io/library/nginx:1.25", "docker.io/library/busybox:latest"]
            .into_iter()
            .collect()
    );
    assert_eq!((node.image_entries, node.images_complete()), (3, true));
    assert_eq!(node.ephemeral_storage, Some(18_242_267_924 * 1024));
    assert!(!node.shares_latest);
}

#[test]
fn a_kubelet_lists_five_names_of_an_image() {
    let listed = |many: usize| {
        let names: Vec<String> = (0..many).map(|at| format!("r.example/a:{at}")).collect();
        Node::from_json(&json!({"status": {"images": [{"names": ["r.example/b:1"]}, {"names": names}]}}))
    };
    assert!(listed(4).images_complete());
    assert!(!listed(5).images_complete());
}

#[test]
fn k3s_writes_its_environment_down() {
    let shares =
        |annotation: &str, text: &str| Node::from_json(&json!({"metadata": {"annotations": {annotation: text}}})).shares_latest;
    assert!(shares("k3s.io/node-env", r#"{"K3S_P2P_ENABLE_LATEST": "1"}"#));
    assert!(shares("rke2.io/node-env", r#"{"RKE2_P2P_ENABLE_LATEST": "true"}"#));
    assert!(!shares("rke2.io/node-env", r#"{"K3S_P2P_ENABLE_LATEST": "true"}"#));
    assert!(!shares("k3s.io/node-env", r#"{"K3S_P2P_ENABLE_LATEST": "yes"}"#));
    assert!(!shares("k3s.io/node-env", "["));
}

#[test]
fn odd_nodes() {
    for odd in [
        json!(null),
        json!([]),
        json!({"metadata": 1, "spec": "x", "status": {"nodeInfo": [], "images": [1, {"names": [1]}]}}),
    ] {
        let node = Node::from_json(&odd);
        assert_eq!((node.name.as_str(), node.platform, node.images.keys().count()), ("", None, 0));
    }
}

#[test]
fn platforms() {
    let platform = |labels: Value, info: Value| {
        let node = Node::from_json(&json!({"metadata": {"labels": labels}, "status": {"nodeInfo": info}}));
        node.platform.map(|platform| platform.to_string())
    };
    let labels = json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
    assert_eq!(platform(labels.clone(), json!({})).as_deref(), Some("linux/amd64"));
    assert_eq!(
        platform(labels, json!({"operatingSystem": "linux", "architecture": "s390x"})).as_deref(),
        Some("linux/s390x")
    );
    let beta = json!({"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "arm"});
    assert_eq!(platform(beta, json!({"operatingSystem": ""})).as_deref(), Some("linux/arm"));
    assert_eq!(platform(json!({"kubernetes.io/os": "linux"}), json!({})), None);
    let windows = json!({"operatingSystem": "windows", "architecture": "amd64", "kernelVersion": "10.0.20348.2340"});
    assert_eq!(
        platform(json!({}), windows).as_deref(),
        Some("windows(10.0.20348.2340)/amd64")
    );
    let build =
        json!({"kubernetes.io/os": "windows", "kubernetes.io/arch": "amd64", "node.kubernetes.io/windows-build": "10.0.17763"});
    assert_eq!(platform(build, json!({})).as_deref(), Some("windows(10.0.17763)/amd64"));
}

#[test]
fn images_that_a_node_holds() {
    let (one, two) = ("a".repeat(64), "b".repeat(64));
    let node = Node::from_json(&json!({"status": {"images": [{"names": [
        format!("docker.io/library/nginx@sha256:{one}"), "docker.io/library/nginx:1.25", "nginx:1.26", format!("ghcr.io/x:1@sha256:{two}"),
        "exa_mple.com/foo:1"]}]}}));
    for (image, held) in [
        ("nginx:1.25", true),
        ("docker.io/library/nginx:1.25", true),
        ("index.docker.io/nginx:1.26", true),
        ("nginx", false),
        ("nginx:1.27", false),
        (&format!("nginx@sha256:{one}"), true),
        // The tag beside a digest does not count.
        (&format!("nginx:9.9@sha256:{one}"), true),
        (&format!("nginx:1.25@sha256:{two}"), false),
        (&format!("ghcr.io/x@sha256:{two}"), true),
        ("ghcr.io/x:1", false),
        ("exa_mple.com/foo:1", true),
    ] {
        assert_eq!(node.holds(&Reference::parse(image).expect(image)), held, "{image}");
    }
}

#[test]
fn virtual_nodes() {
    for labels in [
        json!({"type": "virtual-kubelet"}),
        json!({"eks.amazonaws.com/compute-type": "fargate"}),
        json!({"type": "kwok"}),
    ] {
        assert!(Node::from_json(&json!({"metadata": {"labels": labels}})).is_virtual());
    }
    let tainted = json!({"spec": {"taints": [{"key": "virtual-kubelet.io/provider", "value": "azure", "effect": "NoSchedule"}]}});
    assert!(Node::from_json(&tainted).is_virtual());
    assert!(!Node::from_json(&json!({"metadata": {"labels": {"type": "worker"}}})).is_virtual());
}

#[test]
fn quantities() {
    for (text, expected) in [
        ("47233297124", Some(47_233_297_124)),
        ("1Ki", Some(1024)),
        ("1.5Gi", Some(1_610_612_736)),
        ("2k", Some(2000)),
        ("1e3", Some(1000)),
        ("1E3", Some(1000)),
        ("1E", Some(1_000_000_000_000_000_000)),
        ("2500m", Some(2)),
        ("999m", Some(0)),
        (".5Ki", Some(512)),
        ("5.", Some(5)),
        ("0", Some(0)),
        ("15Ei", Some(15 << 60)),
        ("100Ei", None),
        ("1e400", None),
        ("1e-400", None),
        ("1e2147483648", None),
        ("-1", None),
        ("", None),
        (".", None),
        ("1.2.3", None),
        ("1KB", None),
        ("Ki", None),
        ("99999999999999999999999999999999999999999999", None),
    ] {
        assert_eq!(written_quantity(&json!(text)), expected, "{text}");
    }
    assert_eq!(written_quantity(&json!(5)), Some(5));
    assert_eq!(written_quantity(&json!(null)), None);
}
