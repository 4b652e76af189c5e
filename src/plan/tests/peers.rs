//! Nodes of k3s that give each other images.

use super::*;
use crate::plan::pools::Kind;
use crate::runtime::Pool;
use crate::runtime::containerd::peers::Shared;
use crate::runtime::outcome::NodeSettingsFault;
use crate::verdict::soften::PresenceRule;
use crate::workload::selector::{NodeSelector, Requirement};
use std::collections::BTreeSet;

/// A node with `images`, which takes part where it has `label`.
fn k3s(name: &str, label: Option<&str>, images: &[&str]) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64",
                                "containerRuntimeVersion": "containerd://2.1.5-k3s1", "kubeletVersion": "v1.34.2+k3s1"},
                   "images": [{"names": ["pause.example/pause:3"]}, {"names": images}]},
    });
    if let Some(label) = label {
        node["metadata"]["labels"][label] = "true".into();
    }
    Node::from_json(&node)
}

const LABEL: Option<&str> = Some("p2p.k3s.cattle.io/enabled");

fn cluster(nodes: Vec<Node>) -> Facts {
    Facts {
        nodes: Arc::new(nodes),
        ..facts()
    }
}

/// A pod of node `a` alone.
fn on_a(image: &str) -> Value {
    let mut object = pod(image, &[]);
    object["spec"]["nodeName"] = "a".into();
    object["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
    object
}

fn gone() -> Result<ImageFacts, Failure> {
    Err(failure(Evidence::TagUnknown { repository_exists: true }, 404))
}

fn judged(object: &Value, nodes: Vec<Node>, settings: &PlanSettings, answer: &Result<ImageFacts, Failure>) -> Judgement {
    judge_with(object, &cluster(nodes), settings, answer).remove(0)
}

fn sharing(names: &[&str]) -> PlanSettings {
    let shared = Arc::new(Shared::new(names.iter().map(|name| (*name).to_owned())));
    PlanSettings {
        shared: BTreeMap::from([(Pool::default(), shared)]),
        ..settings()
    }
}

const IMAGE: &str = "reg.example/a:1";

#[test]
fn an_image_that_only_a_peer_holds_is_not_denied() {
    for label in ["p2p.k3s.cattle.io/enabled", "p2p.rke2.cattle.io/enabled"] {
        let nodes = vec![k3s("a", Some(label), &[]), k3s("b", Some(label), &[IMAGE])];
        for names in [vec!["reg.example"], vec!["*"]] {
            for answer in [gone(), needs_login(), refused()] {
                let judgement = judged(&on_a(IMAGE), nodes.clone(), &sharing(&names), &answer);
                assert_eq!(judgement.outlook, Outlook::MayFail, "{judgement:?}");
                assert!(
                    judgement.findings[0].message.contains("at least one node holds it"),
                    "{judgement:?}"
                );
            }
        }
        // Which registries are shared is not known: all may be.
        assert_eq!(judged(&on_a(IMAGE), nodes, &settings(), &gone()).outlook, Outlook::MayFail);
    }
}

#[test]
fn what_nobody_shares_is_denied_as_ever() {
    let all = sharing(&["*"]);
    let holds = || k3s("b", LABEL, &[IMAGE]);
    for (settings, nodes, image, why) in [
        (
            &sharing(&["other.example"]),
            vec![k3s("a", LABEL, &[]), holds()],
            IMAGE,
            "it is not mirrored",
        ),
        (&all, vec![k3s("a", None, &[]), holds()], IMAGE, "the candidate does not ask"),
        (
            &all,
            vec![k3s("a", LABEL, &[]), k3s("b", None, &[IMAGE])],
            IMAGE,
            "the holder is not asked",
        ),
        (
            &all,
            vec![k3s("a", LABEL, &[]), k3s("b", LABEL, &[])],
            IMAGE,
            "nobody holds it",
        ),
        (
            &all,
            vec![k3s("a", LABEL, &[]), k3s("b", LABEL, &["reg.example/a:latest"])],
            "reg.example/a:latest",
            "nobody asks for latest",
        ),
    ] {
        let judgement = judged(&on_a(image), nodes, settings, &gone());
        assert_eq!(judgement.outlook, Outlook::WillFail, "{why}: {judgement:?}");
    }
}

#[test]
fn what_peers_may_hold_is_unknown() {
    let all = sharing(&["*"]);
    let many: Vec<String> = (0..60).map(|at| format!("reg.example/other:{at}")).collect();
    let full = Node {
        image_entries: many.len(),
        ..k3s("b", LABEL, &[])
    };
    let silent = Node {
        image_entries: 0,
        ..k3s("b", LABEL, &[])
    };
    for other in [full, silent] {
        let judgement = judged(&on_a(IMAGE), vec![k3s("a", LABEL, &[]), other], &all, &gone());
        assert_eq!(judgement.outlook, Outlook::Unknown, "{judgement:?}");
        assert!(
            judgement.findings[0].message.contains("one of them may hold it"),
            "{judgement:?}"
        );
    }
    // Content is shared by its digest, under whichever name it was pulled.
    let digest = format!("reg.example/a@sha256:{}", "a".repeat(64));
    let unknown = Err(failure(Evidence::DigestUnknown, 404));
    let judgement = judged(&on_a(&digest), vec![k3s("a", LABEL, &[])], &all, &unknown);
    assert_eq!(judgement.outlook, Outlook::Unknown, "{judgement:?}");
}

#[test]
fn a_list_with_as_many_names_of_an_image_as_a_kubelet_lists_may_lack_some() {
    let all = sharing(&["*"]);
    let names: Vec<String> = (0..5).map(|at| format!("reg.example/a:other{at}")).collect();
    let cut: Vec<&str> = names.iter().map(String::as_str).collect();
    for (listed, expected) in [(&cut[..], Outlook::Unknown), (&cut[..4], Outlook::WillFail)] {
        let nodes = vec![k3s("a", LABEL, &[]), k3s("b", LABEL, listed)];
        let judgement = judged(&on_a(IMAGE), nodes, &all, &gone());
        assert_eq!(judgement.outlook, expected, "{listed:?}: {judgement:?}");
    }
}

#[test]
fn latest_is_shared_where_the_node_was_started_with_that() {
    let all = sharing(&["*"]);
    let latest = "reg.example/a:latest";
    for (environment, expected) in [
        (r#"{"K3S_P2P_ENABLE_LATEST":"true","K3S_TOKEN":"********"}"#, Outlook::MayFail),
        (r#"{"K3S_P2P_ENABLE_LATEST":"false"}"#, Outlook::WillFail),
        ("no JSON", Outlook::WillFail),
    ] {
        let node = Node::from_json(&json!({
            "metadata": {"name": "a", "labels": {"p2p.k3s.cattle.io/enabled": "true"}, "annotations": {"k3s.io/node-env": environment}},
            "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": "containerd://2.1.5-k3s1"},
                       "images": [{"names": ["pause.example/pause:3"]}]},
        }));
        let judgement = judged(&on_a(latest), vec![node, k3s("b", LABEL, &[latest])], &all, &gone());
        assert_eq!(judgement.outlook, expected, "{environment}: {judgement:?}");
    }
}

/// Nodes of these pools, of which that of `reg.example` has only peers.
fn only_peers(nodes: &[Node], image: &str) -> Vec<Pool> {
    let mut settings = sharing(&["reg.example", "other.example"]);
    let shared = Shared {
        peers_only: BTreeSet::from(["reg.example".to_owned()]),
        ..Shared::clone(&settings.shared[&Pool::default()])
    };
    settings.shared.insert(Pool::default(), Arc::new(shared));
    let facts = cluster(nodes.to_vec());
    let object = pod(image, &[]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let plan = plan(&workload, &facts, &settings);
    assert_eq!(plan.checks.len(), 1);
    plan.checks[0].peers_only.to_vec()
}

#[test]
fn without_a_default_endpoint_nodes_ask_only_each_other() {
    let both = [k3s("a", LABEL, &[]), k3s("b", LABEL, &[])];
    assert_eq!(only_peers(&both, IMAGE), [Pool::default()]);
    assert_eq!(
        only_peers(&both, "reg.example/a:latest"),
        [Pool::default()],
        "nor for what they do not share"
    );
    assert_eq!(only_peers(&both, "other.example/a:1"), []);
    // Where one of them has no embedded registry, it asks the registry.
    assert_eq!(only_peers(&[k3s("a", LABEL, &[]), k3s("b", None, &[])], IMAGE), []);
    assert_eq!(only_peers(&[k3s("a", None, &[])], IMAGE), []);
}

#[test]
fn what_only_peers_may_give_hinges_on_what_they_hold() {
    let nobody = || {
        let evidence = Evidence::NodeSettings(NodeSettingsFault::PeersOnly);
        Err(Failure::plain(evidence, "reg.example".to_owned()))
    };
    let all = sharing(&["*"]);
    for (held, expected) in [(&[IMAGE][..], Outlook::MayFail), (&[], Outlook::WillFail)] {
        let nodes = vec![k3s("a", LABEL, &[]), k3s("b", LABEL, held)];
        let judgement = judged(&on_a(IMAGE), nodes, &all, &nobody());
        assert_eq!(judgement.outlook, expected, "{judgement:?}");
        assert!(judgement.findings[0].message.contains("ask only each other"), "{judgement:?}");
        let kubelet = judgement.findings[0].kubelet.as_ref().unwrap();
        assert!(kubelet.message.ends_with("reg.example/a:1: not found"), "{kubelet:?}");
    }
}

#[test]
fn what_nodes_hold_of_others_images_is_not_told_where_it_is_hidden() {
    let hide = PlanSettings {
        presence_rule: PresenceRule::Hide,
        ..sharing(&["*"])
    };
    for holds in [&[IMAGE][..], &[]] {
        let nodes = vec![k3s("a", LABEL, &[]), k3s("b", LABEL, holds)];
        assert_eq!(judged(&on_a(IMAGE), nodes, &hide, &needs_login()).outlook, Outlook::Unknown);
    }
}

#[test]
fn each_pool_shares_what_its_file_says() {
    let selector = NodeSelector(vec![Requirement {
        key: "kubernetes.io/hostname".to_owned(),
        operator: "In".to_owned(),
        values: vec!["a".to_owned()],
    }]);
    let pool = NodePool {
        name: Arc::from("edge"),
        selector,
        runtime: Kind::Containerd,
    };
    let mut settings = sharing(&["reg.example"]);
    settings.pools = Arc::new([pool]);
    settings.shared.insert(Pool(1), Arc::new(Shared::default()));
    let nodes = vec![k3s("a", LABEL, &[]), k3s("b", LABEL, &[IMAGE])];
    assert_eq!(judged(&on_a(IMAGE), nodes, &settings, &gone()).outlook, Outlook::WillFail);
}
