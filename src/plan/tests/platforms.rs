//! Which platforms count: runtime classes, selectors of an operating system, gates, Windows builds, and what is only a guess.

use super::*;
use crate::runtime::Runtime;
use crate::workload::RuntimeClass;

fn class(object: &Value) -> RuntimeClass {
    RuntimeClass::from_json(object)
}

fn with_class(mut facts: Facts, name: &str, class: Visible<RuntimeClass>) -> Facts {
    facts.runtime_classes.insert(name.to_owned(), class);
    facts
}

fn arm_class() -> Visible<RuntimeClass> {
    Visible::Seen(Some(class(&json!({"handler": "runc", "scheduling": {
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "arch", "operator": "Equal", "value": "arm64", "effect": "NoSchedule"}]}}))))
}

fn on(kind: fn(&str, &[&str]) -> Value, more: &Value) -> Value {
    let mut object = kind("reg.example/a:1", &[]);
    let spec = if object["kind"] == "Pod" {
        &mut object["spec"]
    } else {
        &mut object["spec"]["template"]["spec"]
    };
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    object
}

fn tainted(name: &str, arch: &str) -> Node {
    let mut node = node(name, arch);
    node.taints = vec![crate::workload::node::Taint {
        key: "arch".to_owned(),
        value: arch.to_owned(),
        effect: "NoSchedule".to_owned(),
    }];
    node
}

fn known(nodes: Vec<Node>) -> Facts {
    Facts {
        nodes: Arc::new(nodes),
        ..facts()
    }
}

fn windows(build: &str) -> Node {
    Node::from_json(&json!({
        "metadata": {"name": "w", "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "windows"}},
        "status": {"nodeInfo": {"operatingSystem": "windows", "architecture": "amd64", "kernelVersion": build,
                                "containerRuntimeVersion": "containerd://2.3.1", "kubeletVersion": "v1.35.1"}},
    }))
}

fn entries(platforms: &[&str]) -> Content {
    let entry = |platform: &&str| IndexEntry {
        digest: String::new(),
        media_type: String::new(),
        platform: Some(Platform::parse(platform).unwrap()),
        size: 1,
    };
    Content::Index(platforms.iter().map(entry).collect())
}

// Field case 1.
#[test]
fn a_runtime_class_selects_nodes_that_a_pool_at_zero_will_bring() {
    let facts = with_class(facts(), "arm", arm_class());
    let object = on(deployment, &json!({"runtimeClassName": "arm"}));
    assert_eq!(judge(&object, &facts, &found(index(&["arm64"]))).outlook, Outlook::Pulls);
    let judgement = judge(&object, &facts, &found(index(&["amd64"])));
    assert_eq!(
        (judgement.outlook, causes(&judgement)),
        (Outlook::WillFail, vec![Cause::PlatformMismatch])
    );
}

// Field case 2.
#[test]
fn a_runtime_class_tolerates_the_taint_of_the_nodes_that_it_selects() {
    let facts = with_class(known(vec![tainted("a", "arm64"), node("b", "amd64")]), "arm", arm_class());
    let object = on(deployment, &json!({"runtimeClassName": "arm"}));
    let judgement = judge(&object, &facts, &found(index(&["amd64"])));
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::WillFail, Verdict::Deny));
    assert_eq!(judge(&object, &facts, &found(index(&["arm64"]))).outlook, Outlook::Pulls);
}

#[test]
fn admission_has_merged_it_into_a_pod_and_will_in_check() {
    let facts = with_class(known(vec![node("a", "arm64"), node("b", "amd64")]), "arm", arm_class());
    let object = on(pod, &json!({"runtimeClassName": "arm"}));
    let answer = found(index(&["amd64"]));
    assert_eq!(
        judge(&object, &facts, &answer).outlook,
        Outlook::MayFail,
        "what stands in the Pod holds"
    );
    let check = PlanSettings::bare(Admission::StillToCome);
    assert_eq!(
        judge_with(&object, &facts, &check, &answer).remove(0).outlook,
        Outlook::WillFail
    );
}

#[test]
fn a_runtime_class_that_cannot_be_seen_denies_nothing_and_is_named() {
    let answer = found(index(&["arm64"]));
    let object = on(deployment, &json!({"runtimeClassName": "arm"}));
    let partial = Facts {
        complete: false,
        ..facts()
    };
    for (facts, why) in [
        (
            with_class(facts(), "arm", Visible::Seen(None)),
            "RuntimeClass \"arm\", which may choose other nodes, does not exist",
        ),
        (
            with_class(partial, "arm", Visible::Seen(None)),
            "is not among the given manifests",
        ),
        (
            with_class(
                facts(),
                "arm",
                Visible::Hidden("pullgate may not read RuntimeClasses".to_owned()),
            ),
            "pullgate may not read RuntimeClasses",
        ),
        (facts(), "does not exist"),
    ] {
        let judgement = judge(&object, &facts, &answer);
        assert_eq!((judgement.outlook, judgement.verdict), (Outlook::MayFail, Verdict::Warn));
        assert!(
            judgement.findings[0].message.contains(why),
            "{}",
            judgement.findings[0].message
        );
    }
}

// Field cases 3 and 4.
#[test]
fn nothing_known_about_nodes_denies_for_no_platform() {
    let nowhere = known(Vec::new());
    for (spec, platforms, outlook) in [
        (
            json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
            &["windows/amd64"][..],
            Outlook::Pulls,
        ),
        (
            json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
            &["windows(10.0.20348.1)/arm64", "linux/amd64"],
            Outlook::Pulls,
        ),
        (
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            &["linux/arm64"],
            Outlook::Pulls,
        ),
        (json!({"os": {"name": "linux"}}), &["linux/s390x"], Outlook::Pulls),
        (
            json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
            &["linux/amd64", "linux/arm64"],
            Outlook::WillFail,
        ),
        (json!({}), &["linux/arm64"], Outlook::MayFail),
        (json!({}), &["windows/amd64"], Outlook::MayFail),
    ] {
        let judgement = judge(&on(deployment, &spec), &nowhere, &found(entries(platforms)));
        assert_eq!(judgement.outlook, outlook, "{spec} {platforms:?}");
    }
    let affinity = |systems: &[&str]| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": systems}]}]}}}})
    };
    let on_affinity = |systems: &[&str], platforms: &[&str]| {
        judge(&on(deployment, &affinity(systems)), &nowhere, &found(entries(platforms))).outlook
    };
    assert_eq!(on_affinity(&["windows", "linux"], &["linux/arm64"]), Outlook::Pulls);
    assert_eq!(on_affinity(&["windows"], &["linux/arm64"]), Outlook::WillFail);
}

#[test]
fn platforms_that_are_written_hold_for_the_system_that_is_selected() {
    let written = PlanSettings {
        platforms: Platforms::Default(vec![platform("amd64"), Platform::parse("windows/amd64").unwrap()]),
        ..settings()
    };
    let nowhere = known(Vec::new());
    let object = on(deployment, &json!({"nodeSelector": {"kubernetes.io/os": "windows"}}));
    let outlook = |platforms: &[&str]| {
        judge_with(&object, &nowhere, &written, &found(entries(platforms)))
            .remove(0)
            .outlook
    };
    assert_eq!(outlook(&["windows/amd64"]), Outlook::Pulls);
    assert_eq!(outlook(&["windows/arm64", "linux/amd64"]), Outlook::WillFail);
}

#[test]
fn a_single_image_for_one_architecture_of_the_system_runs() {
    let single = |platform: &str| {
        found(Content::Image {
            platform: Some(Platform::parse(platform).unwrap()),
            body: Body::default(),
        })
    };
    let object = on(deployment, &json!({"nodeSelector": {"kubernetes.io/os": "windows"}}));
    assert_eq!(
        judge(&object, &known(Vec::new()), &single("windows/arm64")).outlook,
        Outlook::Pulls
    );
    assert_eq!(
        judge(&object, &known(Vec::new()), &single("linux/amd64")).outlook,
        Outlook::FailsToRun
    );
}

// Field case 17.
#[test]
fn a_multiarch_gate_picks_nodes_that_are_served() {
    let nodes = known(vec![node("a", "arm64"), node("b", "amd64")]);
    let answer = found(index(&["arm64"]));
    let gate = |name: &str| on(deployment, &json!({"schedulingGates": [{"name": name}]}));
    let gated = gate("multiarch.openshift.io/scheduling-gate");
    assert_eq!(judge(&gated, &nodes, &answer).outlook, Outlook::Pulls);
    assert_eq!(judge(&gate("example.com/gate"), &nodes, &answer).outlook, Outlook::MayFail);
    assert_eq!(
        judge(&gated, &facts(), &answer).outlook,
        Outlook::WillFail,
        "there is no node to pick"
    );
    let single = found(Content::Image {
        platform: Some(platform("arm64")),
        body: Body::default(),
    });
    assert_eq!(judge(&gated, &nodes, &single).outlook, Outlook::Pulls);
}

// Field case 18.
#[test]
fn windows_builds() {
    let object = on(deployment, &json!({"nodeSelector": {"kubernetes.io/os": "windows"}}));
    for (node, image, outlook) in [
        ("10.0.26200.7171", "10.0.26100.7171", Outlook::Pulls),
        ("10.0.26200.7171", "10.0.26200.1", Outlook::Pulls),
        // Since containerd/platforms v1.0.0-rc.2, and until v1.0.0-rc.5, its own build's generation only.
        ("10.0.26200.7171", "10.0.20348.1", Outlook::MayFail),
        ("10.0.26100.1", "10.0.20348.1", Outlook::Pulls),
        ("10.0.26100.1", "10.0.26200.1", Outlook::WillFail),
        ("10.0.25398.1", "10.0.20348.1", Outlook::Pulls),
        ("10.0.20348.1", "10.0.26100.1", Outlook::WillFail),
        ("10.0.20348.1", "10.0.17763.1", Outlook::WillFail),
        ("10.0.17763.1", "10.0.17763.9", Outlook::Pulls),
    ] {
        let answer = found(entries(&[&format!("windows({image})/amd64")]));
        assert_eq!(
            judge(&object, &known(vec![windows(node)]), &answer).outlook,
            outlook,
            "{image} on {node}"
        );
    }
}

#[test]
fn a_virtual_machine_of_hyper_v_has_a_build_of_its_own() {
    let hyper_v =
        class(&json!({"handler": "runhcs-wcow-hypervisor", "scheduling": {"nodeSelector": {"kubernetes.io/os": "windows"}}}));
    let process =
        class(&json!({"handler": "runhcs-wcow-process", "scheduling": {"nodeSelector": {"kubernetes.io/os": "windows"}}}));
    let answer = found(entries(&["windows(10.0.17763.1)/amd64"]));
    for kind in [deployment, pod] {
        let object = on(
            kind,
            &json!({"runtimeClassName": "w", "nodeSelector": {"kubernetes.io/os": "windows"}}),
        );
        let outlook = |class: &RuntimeClass| {
            let facts = with_class(known(vec![windows("10.0.20348.1")]), "w", Visible::Seen(Some(class.clone())));
            judge(&object, &facts, &answer).outlook
        };
        assert_eq!(outlook(&hyper_v), Outlook::Pulls);
        assert_eq!(outlook(&process), Outlook::WillFail);
    }
}

#[test]
fn every_architecture_of_a_system_is_asked_for_at_depth() {
    let object = on(deployment, &json!({"nodeSelector": {"kubernetes.io/os": "windows"}}));
    let workload = extract(&object, None, "ns", &Kinds::default()).expect("an object with images");
    let deep = PlanSettings {
        depth: Depth::Config,
        ..settings()
    };
    let nowhere = known(Vec::new());
    let plan = plan(&workload, &nowhere, &deep);
    let today: Vec<String> = plan.checks[0]
        .pullers
        .iter()
        .filter(|puller| puller.runtime == Runtime::today())
        .map(|puller| puller.platform.to_string())
        .collect();
    assert_eq!(today, ["windows/amd64", "windows/arm64"]);
}
