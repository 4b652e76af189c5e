//! Nodes of k3s that give each other images.

use super::*;
use crate::plan::pools::Kind;
use crate::runtime::Pool;
use crate::runtime::containerd::peers::Shared;
use crate::verdict::soften::PresenceRule;
use crate::workload::selector::{NodeSelector, Requirement};

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

fn judged(object: &Value, nodes: Vec<Node>, settings: &Settings, answer: &Result<ImageFacts, Failure>) -> Judgement {
    judge_with(object, &cluster(nodes), settings, answer).remove(0)
}

fn sharing(names: &[&str]) -> Settings {
    let shared = Arc::new(Shared::new(names.iter().map(|name| (*name).to_owned())));
    Settings {
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
                assert!(judgement.findings[0].message.contains("some node holds it"), "{judgement:?}");
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
fn what_nodes_hold_of_others_images_is_not_told_where_it_is_hidden() {
    let hide = Settings {
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
