use super::*;
use serde_json::json;

fn node(name: &str, labels: &Value, spec: &Value) -> Node {
    let os = labels["kubernetes.io/os"].as_str().unwrap_or("linux");
    Node::from_json(&json!({"metadata": {"name": name, "labels": labels}, "spec": spec,
        "status": {"nodeInfo": {"operatingSystem": os, "architecture": labels["kubernetes.io/arch"].as_str().unwrap_or("amd64")}}}))
}

/// Nodes of a mixed cluster.
fn cluster() -> Vec<Node> {
    vec![
        node(
            "amd",
            &json!({"kubernetes.io/arch": "amd64", "zone": "a", "cores": "8"}),
            &json!({}),
        ),
        node(
            "arm",
            &json!({"kubernetes.io/arch": "arm64", "zone": "b", "cores": "64"}),
            &json!({}),
        ),
        node(
            "gpu",
            &json!({"gpu": "yes"}),
            &json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}),
        ),
        node("win", &json!({"kubernetes.io/os": "windows"}), &json!({})),
        node("cordoned", &json!({"zone": "a"}), &json!({"unschedulable": true})),
        node(
            "down",
            &json!({}),
            &json!({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]}),
        ),
        node(
            "soft",
            &json!({}),
            &json!({"taints": [{"key": "soft", "effect": "PreferNoSchedule"}]}),
        ),
        node("virtual", &json!({"type": "virtual-kubelet"}), &json!({})),
        node("fargate", &json!({"eks.amazonaws.com/compute-type": "fargate"}), &json!({})),
    ]
}

fn names(nodes: &[&Node]) -> String {
    nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn check_spread(spec: &Value, spread: Spread, tolerated: &str, tainted: &str) {
    let nodes = cluster();
    let found = Scheduling::read(spec, spread).candidates(&nodes);
    assert_eq!(
        (names(&found.tolerated).as_str(), names(&found.tainted).as_str()),
        (tolerated, tainted),
        "{spec}"
    );
}

fn check(spec: &Value, tolerated: &str, tainted: &str) {
    check_spread(spec, Spread::Some, tolerated, tainted);
}

fn affinity(terms: &Value) -> Value {
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
    affinity(&json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
}

#[test]
fn without_constraints_all_but_virtual_nodes() {
    check(&json!({}), "amd arm win soft", "gpu cordoned down");
}

#[test]
fn virtual_nodes_are_counted_where_pods_may_land_on_them() {
    let mut nodes = cluster();
    let taints = json!([{"key": "virtual-kubelet.io/provider", "value": "azure", "effect": "NoSchedule"}]);
    nodes.push(node("azure", &json!({"pool": "azure"}), &json!({"taints": taints})));
    for (spec, opaque) in [
        (json!({}), 2),
        (json!({"nodeSelector": {"type": "virtual-kubelet"}}), 1),
        (json!({"nodeName": "fargate"}), 1),
        // No other node admits it, so it no longer matters whether the taint is tolerated.
        (json!({"nodeSelector": {"pool": "azure"}}), 1),
        (json!({"tolerations": [{"operator": "Exists"}]}), 3),
        (json!({"nodeSelector": {"zone": "a"}}), 0),
        (json!({"nodeName": "missing"}), 0),
    ] {
        let found = Scheduling::read(&spec, Spread::Some).candidates(&nodes);
        assert_eq!(found.opaque, opaque, "{spec}");
    }
}

#[test]
fn selectors_and_names() {
    check(&json!({"nodeSelector": {"zone": "a"}}), "amd", "cordoned");
    check(&json!({"nodeSelector": {"zone": "a", "cores": "8"}}), "amd", "");
    check(&json!({"nodeSelector": {"zone": "c"}}), "", "");
    check(&json!({"nodeName": "gpu"}), "gpu", "");
    check(&json!({"nodeName": "cordoned"}), "cordoned", "");
    check(&json!({"nodeName": "down"}), "", "down");
    check(&json!({"nodeName": "amd", "nodeSelector": {"zone": "b"}}), "", "");
    check(&json!({"nodeName": "missing"}), "", "");
    check(&json!({"os": {"name": "windows"}}), "win", "");
    check(&json!({"os": {"name": "linux"}}), "amd arm soft", "gpu cordoned down");
}

#[test]
fn affinity_operators() {
    check(&expression("zone", "In", &["a", "b"]), "amd arm", "cordoned");
    check(&expression("zone", "NotIn", &["a"]), "arm win soft", "gpu down");
    check(&expression("zone", "Exists", &[]), "amd arm", "cordoned");
    check(&expression("zone", "DoesNotExist", &[]), "win soft", "gpu down");
    check(&expression("cores", "Gt", &["8"]), "arm", "");
    check(&expression("cores", "Gt", &["7"]), "amd arm", "");
    check(&expression("cores", "Lt", &["64"]), "amd", "");
    for odd in [
        expression("zone", "In", &[]),
        expression("zone", "NotIn", &[]),
        expression("zone", "Exists", &["a"]),
        expression("zone", "Gt", &["1"]),
        expression("cores", "Gt", &["1", "2"]),
        expression("cores", "Lt", &["x"]),
        expression("missing", "Lt", &["1"]),
        expression("zone", "Near", &["a"]),
        affinity(&json!([])),
        affinity(&json!(null)),
        affinity(&json!([{}])),
        affinity(&json!([{"matchExpressions": [], "matchFields": []}])),
        affinity(&json!([{"matchFields": [{"key": "metadata.uid", "operator": "In", "values": ["amd"]}]}])),
        affinity(&json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["amd", "arm"]}]}])),
        affinity(&json!([{"matchFields": [{"key": "metadata.name", "operator": "Exists"}]}])),
    ] {
        check(&odd, "", "");
    }
}

#[test]
fn affinity_terms() {
    check(
        &affinity(&json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["amd"]}]}])),
        "amd",
        "",
    );
    check(
        &affinity(
            &json!([{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["amd"]}],
            "matchExpressions": [{"key": "zone", "operator": "Exists"}]}]),
        ),
        "arm",
        "cordoned",
    );
    // Terms are alternatives; an empty one matches nothing.
    check(
        &affinity(
            &json!([{}, {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]},
            {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]),
        ),
        "arm",
        "gpu",
    );
    // An absurdly large affinity is assumed to admit all.
    let many: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(&expression("zone", "In", &many), "amd arm win soft", "gpu cordoned down");
}

#[test]
fn tolerations() {
    let with = |toleration: Value| json!({"nodeSelector": {"gpu": "yes"}, "tolerations": [toleration]});
    for (toleration, tolerated) in [
        (json!({"operator": "Exists"}), true),
        (json!({"operator": "Exists", "effect": "NoSchedule"}), true),
        (json!({"operator": "Exists", "effect": "NoExecute"}), false),
        (json!({"key": "gpu", "operator": "Exists"}), true),
        (json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}), true),
        (json!({"key": "gpu", "value": "yes"}), true),
        (
            json!({"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}),
            true,
        ),
        (json!({"key": "gpu", "value": "no"}), false),
        (json!({"key": "gpu"}), false),
        (json!({"key": "other", "operator": "Exists"}), false),
        (json!({"key": "gpu", "operator": "Maybe", "value": "yes"}), false),
        (json!({}), false),
        (json!(null), false),
    ] {
        let (yes, no) = if tolerated { ("gpu", "") } else { ("", "gpu") };
        check(&with(toleration), yes, no);
    }
    check(
        &json!({"nodeSelector": {"zone": "a"}, "tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}),
        "amd cordoned",
        "",
    );
}

#[test]
fn tolerations_that_compare() {
    let taint = Taint {
        key: "risk".to_owned(),
        value: "5".to_owned(),
        effect: "NoSchedule".to_owned(),
    };
    for (operator, value, tolerated) in [
        ("Gt", "4", true),
        ("Gt", "5", false),
        ("Lt", "6", true),
        ("Lt", "5", false),
        ("Lt", "x", false),
    ] {
        let toleration = Toleration::read(&json!({"key": "risk", "operator": operator, "value": value}));
        assert_eq!(toleration.tolerates(&taint), tolerated, "{operator} {value}");
    }
}

#[test]
fn a_daemon_set_tolerates_what_its_controller_adds() {
    check_spread(&json!({}), Spread::Every, "amd arm win cordoned soft", "gpu down");
    let nodes = [
        node(
            "starting",
            &json!({}),
            &json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]}),
        ),
        node(
            "full",
            &json!({}),
            &json!({"taints": [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]}),
        ),
        node(
            "offline",
            &json!({}),
            &json!({"taints": [{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]}),
        ),
    ];
    let found = |spec: &Value, spread| names(&Scheduling::read(spec, spread).candidates(&nodes).tolerated);
    assert_eq!(found(&json!({}), Spread::Every), "starting full");
    assert_eq!(found(&json!({"hostNetwork": true}), Spread::Every), "starting full offline");
    assert_eq!(found(&json!({"hostNetwork": true}), Spread::Some), "");
    // The controller checks taints even if the template names a node.
    check_spread(&json!({"nodeName": "gpu"}), Spread::Every, "", "gpu");
}

#[test]
fn platforms_that_selectors_name() {
    let named = |spec: &Value| {
        Scheduling::read(spec, Spread::Some)
            .named_platforms()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let with_os = |os: &str| json!({"nodeSelector": {"kubernetes.io/arch": "amd64"}, "os": {"name": os}});
    for (spec, expected) in [
        (json!({}), ""),
        (json!({"os": {"name": "windows"}}), ""),
        (json!({"nodeSelector": {"kubernetes.io/os": "linux"}}), ""),
        (json!({"nodeSelector": {"kubernetes.io/arch": "arm64"}}), "linux/arm64"),
        (json!({"nodeSelector": {"beta.kubernetes.io/arch": "arm"}}), "linux/arm"),
        (
            json!({"nodeSelector": {"kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "windows"}}),
            "windows/amd64",
        ),
        (with_os("windows"), "windows/amd64"),
        (
            json!({"nodeSelector": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}, "os": {"name": "windows"}}),
            "",
        ),
        (
            expression("kubernetes.io/arch", "In", &["amd64", "arm64", "amd64"]),
            "linux/amd64 linux/arm64",
        ),
        (expression("kubernetes.io/arch", "NotIn", &["amd64"]), ""),
        (
            affinity(
                &json!([{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]},
                {"key": "kubernetes.io/os", "operator": "In", "values": ["linux", "windows"]}]}]),
            ),
            "linux/amd64 linux/arm64 windows/amd64 windows/arm64",
        ),
        // A term that names no architecture admits any.
        (
            affinity(
                &json!([{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]},
                {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]),
            ),
            "",
        ),
        (
            affinity(
                &json!([{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}, {},
                {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["s390x"]}]}]),
            ),
            "linux/amd64 linux/s390x",
        ),
    ] {
        assert_eq!(named(&spec), expected, "{spec}");
    }
    let mut both = expression("kubernetes.io/arch", "In", &["amd64", "arm64"]);
    both["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    assert_eq!(named(&both), "linux/arm64");
    let many: Vec<String> = (0..5000).map(|n| format!("arch{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        named(&expression("kubernetes.io/arch", "In", &many)).split(' ').count(),
        MOST_NAMED
    );
}
