//! Images that the nodes hold already (docs/kubelet.md, docs/decisions/0005).

use super::*;
use crate::verdict::soften::PresenceRule;

/// A node with a kubelet of that version, and what it lists.
fn holder(kubelet: &str, images: &[&str]) -> Node {
    Node::from_json(&json!({
        "metadata": {"name": format!("n-{kubelet}"), "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64",
                                "containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": kubelet},
                   "images": [{"names": images}]},
    }))
}

fn cluster(nodes: Vec<Node>) -> Facts {
    Facts {
        nodes: Arc::new(nodes),
        ..facts()
    }
}

fn with_policy(policy: &str) -> Value {
    let mut object = pod("reg.example/a:1", &[]);
    object["spec"]["containers"][0]["imagePullPolicy"] = policy.into();
    object
}

fn gone() -> Result<ImageFacts, Failure> {
    Err(failure(Evidence::TagUnknown { repository_exists: true }, 404))
}

fn hide() -> PlanSettings {
    PlanSettings {
        presence_rule: PresenceRule::Hide,
        ..settings()
    }
}

const IMAGE: &[&str] = &["reg.example/a:1"];
const VERIFIES: &str = "a kubelet from 1.35 on starts it only if no kubelet pulled it with credentials other than the pod's";

#[test]
fn presence_softens_whatever_the_registry_says_as_far_as_the_kubelets_go() {
    let old = || holder("v1.34.2", IMAGE);
    let new = || holder("v1.37.2", IMAGE);
    let empty = || holder("v1.34.2", &[]);
    for (nodes, outlook, verifies) in [
        (vec![old()], Outlook::Pulls, false),
        (vec![holder("v1.30.14+k3s1", IMAGE)], Outlook::Pulls, false),
        (vec![old(), empty()], Outlook::MayFail, false),
        (vec![new()], Outlook::MayFail, true),
        (vec![old(), new()], Outlook::MayFail, true),
        (vec![new(), empty()], Outlook::MayFail, true),
        // Of kubelets that are not known, nothing is.
        (vec![holder("v1.29.3", IMAGE)], Outlook::MayFail, true),
        (vec![holder("v2.0.0", IMAGE)], Outlook::MayFail, true),
        (vec![holder("", IMAGE)], Outlook::MayFail, true),
        (vec![empty()], Outlook::WillFail, false),
    ] {
        let facts = cluster(nodes);
        for answer in [gone(), needs_login()] {
            let judgement = judge(&pod("reg.example/a:1", &[]), &facts, &answer);
            assert_eq!(judgement.outlook, outlook, "{:?}", facts.nodes);
            let finding = &judgement.findings[0];
            assert_eq!(finding.message.contains(VERIFIES), verifies, "{}", finding.message);
            assert!(
                facts.nodes.iter().all(|node| !finding.message.contains(&node.name)),
                "{}",
                finding.message
            );
        }
    }
}

#[test]
fn a_node_of_which_nothing_is_known_may_lack_it() {
    let virtual_node = Node::from_json(&json!({"metadata": {"name": "v", "labels": {"type": "virtual-kubelet"}}}));
    let facts = cluster(vec![holder("v1.34.2", IMAGE), virtual_node.clone()]);
    assert_eq!(judge(&with_policy("IfNotPresent"), &facts, &gone()).outlook, Outlook::MayFail);
    assert_eq!(judge(&with_policy("Never"), &facts, &gone()).outlook, Outlook::MayFail);
    let facts = cluster(vec![holder("v1.34.2", &[]), virtual_node]);
    assert_eq!(judge(&with_policy("Never"), &facts, &gone()).outlook, Outlook::Unknown);
}

#[test]
fn what_does_not_start_does_not_start_where_it_is_held() {
    let arm = found(Content::Image {
        platform: Some(platform("arm64")),
        body: Body::default(),
    });
    let facts = cluster(vec![holder("v1.34.2", IMAGE)]);
    assert_eq!(judge(&pod("reg.example/a:1", &[]), &facts, &arm).outlook, Outlook::FailsToRun);
}

#[test]
fn always_asks_the_registry_whatever_nodes_hold() {
    let facts = cluster(vec![holder("v1.34.2", IMAGE)]);
    assert_eq!(judge(&with_policy("Always"), &facts, &gone()).outlook, Outlook::WillFail);
}

#[test]
fn never_asks_no_registry() {
    let object = with_policy("Never");
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    assert!(plan(&workload, &facts(), &settings()).checks.is_empty());
    let mut many = holder("v1.37.2", &[]);
    many.image_entries = 50;
    for (nodes, outlook, message) in [
        (
            vec![holder("v1.37.2", &[])],
            Outlook::MayFail,
            "no node that the pods could land on holds the image",
        ),
        (vec![holder("v1.37.2", IMAGE)], Outlook::MayFail, VERIFIES),
        (
            vec![holder("v1.34.2", IMAGE), holder("v1.34.2", &[])],
            Outlook::MayFail,
            "some candidate nodes hold the image already",
        ),
        (vec![many], Outlook::Unknown, "whether the nodes hold the image is not known"),
        (vec![], Outlook::Unknown, "whether the nodes hold the image is not known"),
    ] {
        let judgement = judge(&object, &cluster(nodes), &needs_login());
        assert_eq!(judgement.outlook, outlook, "{message}");
        assert_eq!(causes(&judgement), [Cause::NeverPulled]);
        let said = &judgement.findings[0].message;
        assert!(
            said.starts_with("imagePullPolicy is Never; ") && said.ends_with(message),
            "{said}"
        );
    }
    let held = judge(&object, &cluster(vec![holder("v1.34.2", IMAGE)]), &needs_login());
    assert_eq!((held.outlook, held.findings.len()), (Outlook::Pulls, 0));
}

#[test]
fn a_malformed_secret_stops_no_kubelet_that_starts_what_it_holds() {
    let broken = |nodes| with_secret(cluster(nodes), "regcred", PULL, r#"{"auths": {"x.io": {"auth": "%%%"}}}"#);
    let object = pod("reg.example/a:1", &["regcred"]);
    for (kubelet, outlook) in [("v1.34.2", Outlook::Pulls), ("v1.37.2", Outlook::MayFail)] {
        let facts = broken(vec![holder(kubelet, IMAGE)]);
        let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
        assert!(plan(&workload, &facts, &settings()).checks.is_empty());
        let judgement = judge(&object, &facts, &found(index(&["amd64"])));
        assert_eq!(
            (judgement.outlook, causes(&judgement)),
            (outlook, vec![Cause::PullSecretMalformed])
        );
        // To be hidden, it counts only once the registry has shown that the namespace may read the image.
        let judged = |answer| judge_with(&object, &facts, &hide(), &answer).remove(0).outlook;
        assert_eq!(judged(found(index(&["amd64"]))), outlook);
        assert_eq!(judged(needs_login()), Outlook::WillFail);
    }
    let judgement = judge(&object, &broken(vec![holder("v1.34.2", &[])]), &found(index(&["amd64"])));
    assert_eq!(judgement.outlook, Outlook::WillFail);
}

#[test]
fn where_it_is_hidden_nobody_learns_what_nodes_hold_of_images_that_cannot_be_read() {
    let judged = |object: &Value, images: &[&str], answer: &Result<ImageFacts, Failure>| {
        let facts = cluster(vec![holder("v1.34.2", images)]);
        judge_with(object, &facts, &hide(), answer).remove(0)
    };
    let object = pod("reg.example/a:1", &[]);
    for (unproven, outlook) in [
        (needs_login(), Outlook::WillFail),
        (refused(), Outlook::WillFail),
        // Nor does it where the registry has not shown that this namespace may read the image: anyone can wear out a quota.
        (Err(failure(Evidence::RateLimited, 429)), Outlook::Unknown),
        (
            Err(failure(Evidence::ServerError { token_server: false }, 503)),
            Outlook::Unknown,
        ),
        (
            Err(failure(Evidence::ConnectionFailed(ConnectionFault::Refused), 0)),
            Outlook::Unknown,
        ),
    ] {
        let held = judged(&object, IMAGE, &unproven);
        assert_eq!(held.outlook, outlook);
        assert_eq!(held, judged(&object, &[], &unproven));
    }
    assert_eq!(judged(&object, IMAGE, &gone()).outlook, Outlook::Pulls, "anybody may read it");
    let never = with_policy("Never");
    assert_eq!(judged(&never, IMAGE, &gone()).outlook, Outlook::Unknown);
    assert_eq!(judged(&never, &[], &gone()), judged(&never, IMAGE, &gone()));
}
