//! Image volumes (docs/kubelet.md).

use super::*;

/// A pod with an image volume `v`, which the containers of `field` mount (`""`: none).
fn with_volume(reference: &str, field: &str) -> Value {
    let mounts = |own: &str| json!([{"name": if own == field { "v" } else { "other" }, "mountPath": "/v"}]);
    let container = |name: &str, field: &str| json!({"name": name, "image": "reg.example/app:1", "volumeMounts": mounts(field)});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "initContainers": [container("i", "initContainers")], "containers": [container("c", "containers")],
        "ephemeralContainers": [container("e", "ephemeralContainers")],
        "volumes": [{"name": "v", "image": {"reference": reference}}]}})
}

/// What is said of the volume, where everything else pulls.
fn volume(object: &Value, answer: &Result<ImageFacts, Failure>) -> Judgement {
    let workload = extract(object, None, "ns", &Kinds::default()).unwrap();
    let facts = facts();
    let mut plan = plan(&workload, &facts, &settings());
    let outcome = |check: &Check| {
        let result = match check.reference.repository() {
            "app" => found(index(&["amd64"])),
            _ => answer.clone(),
        };
        Attempts {
            attempts: vec![Attempt { source: None, result }],
            ..Attempts::default()
        }
    };
    let outcomes: Vec<Attempts> = plan.checks.iter().map(outcome).collect();
    let mut judgements = decide(&mut plan, &outcomes);
    let volume = judgements.pop().unwrap();
    assert!(judgements.iter().all(|judgement| judgement.findings.is_empty()));
    volume
}

fn gone() -> Result<ImageFacts, Failure> {
    Err(failure(Evidence::TagUnknown { repository_exists: true }, 404))
}

#[test]
fn one_that_a_container_mounts_fails_as_the_containers_own_image_would() {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (reference, answer, cause) in [
            ("reg.example/model:1", gone(), Cause::TagNotFound),
            ("reg.example/model:1", needs_login(), Cause::NotFoundOrDenied),
            ("reg.example/model:1", found(index(&["arm64"])), Cause::PlatformMismatch),
            ("NOT A NAME", gone(), Cause::InvalidImageName),
        ] {
            let judgement = volume(&with_volume(reference, field), &answer);
            assert_eq!(
                (judgement.outlook, causes(&judgement)),
                (Outlook::WillFail, vec![cause]),
                "{field}"
            );
            assert_eq!(judgement.verdict, Verdict::Deny);
        }
    }
}

#[test]
fn one_that_no_container_mounts_keeps_no_pod_from_running() {
    for (reference, answer) in [
        ("reg.example/model:1", gone()),
        ("reg.example/model:1", needs_login()),
        ("reg.example/model:1", found(index(&["arm64"]))),
        ("reg.example/model:1", Err(failure(Evidence::RateLimited, 429))),
        ("NOT A NAME", gone()),
    ] {
        let judgement = volume(&with_volume(reference, ""), &answer);
        assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Pulls, Verdict::Allow));
        let message = &judgement.findings[0].message;
        assert!(
            message.ends_with("no container mounts this volume: its pods run anyway, and the kubelet only writes an event"),
            "{message}"
        );
    }
    let mut never = with_volume("reg.example/model:1", "");
    never["spec"]["volumes"][0]["image"]["pullPolicy"] = "Never".into();
    assert_eq!(volume(&never, &gone()).outlook, Outlook::Pulls);
    let fine = volume(&with_volume("reg.example/model:1", ""), &found(index(&["amd64"])));
    assert!(fine.findings.is_empty(), "{fine:?}");
}

#[test]
fn an_artifact_may_be_mounted_and_a_single_manifest_of_another_platform_too() {
    let mounted = with_volume("reg.example/model:1", "containers");
    for (unpack, outlook) in [
        (Unpack::Nothing, Outlook::Pulls),
        (Unpack::Foreign, Outlook::Pulls),
        (Unpack::Partly, Outlook::MayFail),
    ] {
        let artifact = found(Content::Artifact {
            kind: "application/x".to_owned(),
            unpack,
            body: Body::default(),
        });
        let judgement = volume(&mounted, &artifact);
        assert_eq!((judgement.outlook, causes(&judgement)), (outlook, vec![Cause::NotAnImage]));
        let crio = Facts {
            nodes: Arc::new(vec![Node {
                runtime: "cri-o://1.36.3".to_owned(),
                ..node("n1", "amd64")
            }]),
            ..facts()
        };
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "image": "", "volumeMounts": [{"name": "v"}]}],
            "volumes": [{"name": "v", "image": {"reference": "reg.example/model:1"}}]}});
        let on_crio = judge_with(&object, &crio, &settings(), &artifact).pop().unwrap();
        assert!(on_crio.findings.is_empty(), "{on_crio:?}");
    }
    let schema1 = volume(&mounted, &found(Content::Schema1));
    assert_eq!(
        causes(&schema1),
        [Cause::NotAnImage],
        "containerd does not pull it for a volume either"
    );
    let arm = found(Content::Image {
        platform: Some(platform("arm64")),
        body: Body::default(),
    });
    assert_eq!(volume(&mounted, &arm).outlook, Outlook::Pulls);
}

#[test]
fn its_pull_policy_is_that_of_a_containers_image() {
    let mut object = with_volume("reg.example/model:1", "containers");
    let mut holder = node("n1", "amd64");
    holder.images = ["reg.example/model:1", "reg.example/model:latest"].into_iter().collect();
    let facts = Facts {
        nodes: Arc::new(vec![holder]),
        ..facts()
    };
    let outlook = |object: &Value| judge_with(object, &facts, &settings(), &gone()).last().unwrap().outlook;
    assert_eq!(outlook(&object), Outlook::Pulls, "a tag: IfNotPresent");
    object["spec"]["volumes"][0]["image"]["pullPolicy"] = "Always".into();
    assert_eq!(outlook(&object), Outlook::WillFail);
    let latest = with_volume("reg.example/model", "containers");
    assert_eq!(outlook(&latest), Outlook::WillFail, "no tag: Always");
}

#[test]
fn an_update_that_mounts_it_has_it_judged() {
    let old = with_volume("reg.example/model:1", "");
    let new = with_volume("reg.example/model:1", "containers");
    let workload = extract(&new, Some(&old), "ns", &Kinds::default()).unwrap();
    let facts = facts();
    let plan = plan(&workload, &facts, &settings());
    let asked: Vec<&str> = plan.checks.iter().map(|check| check.reference.repository()).collect();
    assert_eq!(asked, ["model"]);
}
