//! What the pods of an object ran before an UPDATE says of the nodes' own credentials (docs/decisions/0005).

use super::*;
use crate::credentials::node::NodeCredentials;
use crate::policy::Matching;
use crate::verdict::soften::PresenceRule;

fn running(image: &str, secrets: &[&str]) -> Value {
    let mut object = deployment(image, secrets);
    object["metadata"]["generation"] = json!(1);
    object["status"] = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
    object
}

fn judged_with(
    new: &Value,
    old: &Value,
    facts: &Facts,
    settings: &PlanSettings,
    answer: &Result<ImageFacts, Failure>,
) -> Judgement {
    let workload = extract(new, Some(old), "ns", &Kinds::default()).unwrap();
    let mut plan = crate::plan::plan(&workload, facts, settings, &NodeCredentials::default(), &Matching::none());
    let source = plan.checks[0].credentials.first().and_then(|offer| offer.source.clone());
    let attempts = vec![Attempt {
        source,
        result: answer.clone(),
    }];
    decide(
        &mut plan,
        &[Attempts {
            attempts,
            ..Attempts::default()
        }],
    )
    .remove(0)
}

fn judged(new: &Value, old: &Value, facts: &Facts, answer: &Result<ImageFacts, Failure>) -> Judgement {
    judged_with(new, old, facts, &settings(), answer)
}

#[test]
fn pods_that_run_without_a_matching_secret_show_that_the_nodes_hold_credentials() {
    let other = r#"{"auths": {"other.example": {"auth": "dTpw"}}}"#;
    let facts = with_secret(facts(), "regcred", PULL, other);
    let forbidden = Err(failure(
        Evidence::Forbidden {
            with_credential: false,
            address_bound: false,
        },
        403,
    ));
    for secrets in [&[][..], &["regcred"]] {
        let old = running("reg.example/team/app:1", secrets);
        for answer in [needs_login(), forbidden.clone()] {
            let judgement = judged(&deployment("reg.example/team/app:2", secrets), &old, &facts, &answer);
            assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Unknown, Verdict::Warn));
            let finding = judgement.findings.last().unwrap();
            assert!(
                finding.message.ends_with(
                    "but pods of this object already run reg.example/team/app:1, and none of their pull secrets matches it: the nodes seem to hold credentials of their own"
                ),
                "{}",
                finding.message
            );
            assert!(
                finding
                    .fix
                    .ends_with("if the nodes hold credentials for reg.example, add it to nodeCredentials"),
                "{}",
                finding.fix
            );
        }
    }
}

#[test]
fn only_the_same_repository_counts() {
    // Beside a public repository of a host, private ones stand: docker.io has both.
    let old = running("reg.example/team/app:1", &[]);
    for image in [
        "reg.example/team/other:1",
        "reg.example/team/app2:1",
        "other.example/team/app:2",
    ] {
        let judgement = judged(&deployment(image, &[]), &old, &facts(), &needs_login());
        assert_eq!(
            (judgement.outlook, judgement.verdict),
            (Outlook::WillFail, Verdict::Deny),
            "{image}"
        );
    }
    // Names are compared as nodes read them.
    let old = running("docker.io/acme/app:1", &[]);
    let judgement = judged(
        &deployment(
            "acme/app@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            &[],
        ),
        &old,
        &facts(),
        &needs_login(),
    );
    assert_eq!(judgement.outlook, Outlook::Unknown);
    let judgement = judged(&deployment("index.docker.io/acme/app", &[]), &old, &facts(), &needs_login());
    assert_eq!(judgement.outlook, Outlook::Unknown);
}

#[test]
fn another_container_of_the_repository_counts() {
    let old = running("reg.example/team/app:1", &[]);
    let mut new = old.clone();
    let containers = new["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "side", "image": "reg.example/team/app:side"}));
    let workload = extract(&new, Some(&old), "ns", &Kinds::default()).unwrap();
    let (facts, settings) = (facts(), settings());
    let mut plan = plan(&workload, &facts, &settings);
    let attempts = vec![Attempt {
        source: None,
        result: needs_login(),
    }];
    let judgements = decide(
        &mut plan,
        &[Attempts {
            attempts,
            ..Attempts::default()
        }],
    );
    assert_eq!(judgements[0].outlook, Outlook::Pulls, "unchanged");
    assert_eq!(judgements[1].outlook, Outlook::Unknown);
}

#[test]
fn a_matching_credential_stands_for_what_a_node_would_try() {
    // The kubelet does not fall back, and containerd does not look at its own settings where it is sent any credential.
    let old = running("reg.example/app:1", &["regcred"]);
    let new = deployment("reg.example/app:2", &["regcred"]);
    let empty = r#"{"auths": {"reg.example": {}}}"#;
    for data in [GOOD, empty] {
        let facts = with_secret(facts(), "regcred", PULL, data);
        for answer in [refused(), needs_login()] {
            let judgement = judged(&new, &old, &facts, &answer);
            assert_eq!(
                (judgement.outlook, judgement.verdict),
                (Outlook::WillFail, Verdict::Deny),
                "{data}"
            );
        }
    }
    let malformed = with_secret(facts(), "regcred", PULL, "{");
    let workload = extract(&new, Some(&old), "ns", &Kinds::default()).unwrap();
    let settings = settings();
    let mut plan = plan(&workload, &malformed, &settings);
    let judgement = decide::<Attempts>(&mut plan, &[]).remove(0);
    assert_eq!(
        (causes(&judgement), judgement.outlook),
        (vec![Cause::PullSecretMalformed], Outlook::WillFail)
    );
}

#[test]
fn what_has_nothing_to_do_with_credentials_stands() {
    let old = running("reg.example/app:1", &[]);
    let gone = Err(failure(Evidence::TagUnknown { repository_exists: true }, 404));
    let judgement = judged(&deployment("reg.example/app:2", &[]), &old, &facts(), &gone);
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::WillFail, Verdict::Deny));
}

#[test]
fn a_rollout_that_never_had_a_pod_shows_nothing() {
    let mut old = running("reg.example/app:1", &[]);
    old["status"]["updatedReplicas"] = json!(0);
    let judgement = judged(&deployment("reg.example/app:2", &[]), &old, &facts(), &needs_login());
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::WillFail, Verdict::Deny));
}

#[test]
fn what_nodes_list_is_not_told_for_it_where_it_is_hidden() {
    let old = running("reg.example/app:1", &[]);
    let new = deployment("reg.example/app:2", &[]);
    let mut node = json!({
        "metadata": {"name": "n1", "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64",
                                "containerRuntimeVersion": "containerd://1.7.1", "kubeletVersion": "v1.30.1"}},
    });
    let hide = PlanSettings {
        presence_rule: PresenceRule::Hide,
        ..settings()
    };
    let without = judged_with(&new, &old, &facts(), &hide, &needs_login());
    node["status"]["images"] = json!([{"names": ["reg.example/app:2"]}]);
    let mut facts = facts();
    facts.nodes = Arc::new(vec![Node::from_json(&node)]);
    assert_eq!(judged_with(&new, &old, &facts, &hide, &needs_login()), without);
}

#[test]
fn rewritten_names_are_compared_as_nodes_see_them() {
    let settings = PlanSettings {
        rewrites: vec![Rewrite::new(crate::image::Pattern::parse("docker.io/**").unwrap(), "reg.example/hub/**").unwrap()],
        ..settings()
    };
    let old = running("acme/app:1", &[]);
    let judgement = judged_with(
        &deployment("reg.example/hub/acme/app:2", &[]),
        &old,
        &facts(),
        &settings,
        &needs_login(),
    );
    assert_eq!(judgement.outlook, Outlook::Unknown);
}

#[test]
fn the_very_image_that_its_pods_run_is_on_nodes_whatever_they_list() {
    // An update of the policy or of what chooses nodes, of an image that the registry has lost; a node lists 50 images.
    let mut old = running("reg.example/app:1", &[]);
    old["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    let gone = Err(failure(Evidence::TagUnknown { repository_exists: true }, 404));
    let judgement = judged(&deployment("reg.example/app:1", &[]), &old, &facts(), &gone);
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::MayFail, Verdict::Warn));
    assert_eq!(
        judged(&deployment("reg.example/app:2", &[]), &old, &facts(), &gone).outlook,
        Outlook::WillFail
    );
    // `Always` asks the registry all the same.
    let mut always = old.clone();
    always["spec"]["template"]["spec"]["nodeSelector"] = json!({"pool": "b"});
    assert_eq!(judged(&always, &old, &facts(), &gone).outlook, Outlook::WillFail);
}

#[test]
fn what_only_the_node_still_holds_is_no_proof_for_the_next_version() {
    // v1 was pulled by a secret that v2 does not list any longer.
    let facts = with_secret(facts(), "regcred", PULL, r#"{"auths": {"reg.example": {"auth": "dTpw"}}}"#);
    let old = running("reg.example/team/app:1", &["regcred"]);
    let judgement = judged(&deployment("reg.example/team/app:2", &[]), &old, &facts, &needs_login());
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::WillFail, Verdict::Deny));
    // The secret has changed since, and is refused now.
    let judgement = judged(&deployment("reg.example/team/app:2", &["regcred"]), &old, &facts, &refused());
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::WillFail, Verdict::Deny));
}
