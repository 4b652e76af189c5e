//! Whole judgements from literals: an object, what the cluster holds, what the registry answered.

use super::*;
use crate::cluster::{Namespace, ServiceAccount, Visible};
use crate::credentials::{Hidden, PullSecret, ReadOnce};
use crate::image::Digest;
use crate::runtime::content::{Body, Content, IndexEntry, Unpack};
use crate::runtime::kubelet::{Attempt, Attempts};
use crate::runtime::outcome::{AuthStage, ConnectionFault, Evidence, Failure, ImageFacts};
use crate::verdict::{Cause, Judgement, Outlook, Verdict};
use crate::workload::{Kinds, Node, extract};
use serde_json::{Value, json};
use std::collections::BTreeMap;

mod depth;
mod names;
mod peers;
mod platforms;
mod policies;
mod pools;
mod presence;
mod running;
mod volumes;

const GOOD: &str = r#"{"auths": {"reg.example": {"auth": "dTpw"}}}"#;

/// The plan of an object without policies, and without any credential that must be got from a plugin or helper.
fn plan<'a>(workload: &'a Workload, facts: &Facts, settings: &PlanSettings) -> Plan<'a> {
    super::plan(workload, facts, settings, &NodeCredentials::default(), &Matching::none())
}

fn settings() -> PlanSettings {
    PlanSettings {
        node_credentials: ["*.azurecr.io"].iter().collect(),
        ..PlanSettings::bare(Admission::HasRun)
    }
}

fn node(name: &str, arch: &str) -> Node {
    Node::from_json(&json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": arch, "kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": arch,
                                "containerRuntimeVersion": "containerd://1.7.1", "kubeletVersion": "v1.30.1"}},
    }))
}

fn facts() -> Facts {
    Facts {
        nodes: Arc::new(vec![node("n1", "amd64")]),
        namespace: Visible::Seen(Some(Namespace::default())),
        service_accounts: BTreeMap::from([("default".to_owned(), Visible::Seen(Some(ServiceAccount::default())))]),
        secrets: BTreeMap::new(),
        unconfirmed: None,
        runtime_classes: BTreeMap::new(),
        complete: true,
        image_streams: Arc::default(),
    }
}

fn with_secret(mut facts: Facts, name: &str, kind: &str, data: &str) -> Facts {
    let secret = PullSecret {
        name: name.to_owned(),
        kind: kind.to_owned(),
        data: Hidden::new(data),
        version: "1".to_owned(),
        opened: ReadOnce::default(),
    };
    facts.secrets.insert(name.to_owned(), Visible::Seen(Some(secret)));
    facts
}

fn absent(mut facts: Facts, name: &str) -> Facts {
    facts.secrets.insert(name.to_owned(), Visible::Seen(None));
    facts
}

const PULL: &str = "kubernetes.io/dockerconfigjson";

fn spec(image: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    json!({"containers": [{"name": "c", "image": image}], "imagePullSecrets": secrets})
}

fn pod(image: &str, secrets: &[&str]) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec(image, secrets)})
}

fn deployment(image: &str, secrets: &[&str]) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
           "spec": {"template": {"spec": spec(image, secrets)}}})
}

fn failure(evidence: Evidence, status: u16) -> Failure {
    Failure {
        status: Some(status),
        ..Failure::plain(evidence, "reg.example".to_owned())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where failures stand")]
fn found(content: Content) -> Result<ImageFacts, Failure> {
    Ok(ImageFacts {
        digest: Digest::sha256(b"x"),
        media_type: String::new(),
        content,
        quota: None,
        authenticated: false,
        stale: false,
        builds: Vec::new(),
    })
}

fn platform(arch: &str) -> Platform {
    Platform::parse(&format!("linux/{arch}")).unwrap()
}

fn index(archs: &[&str]) -> Content {
    let entry = |arch: &&str| IndexEntry {
        digest: String::new(),
        media_type: String::new(),
        platform: Some(platform(arch)),
        size: 1,
    };
    Content::Index(archs.iter().map(entry).collect())
}

/// Every check gets the same answer, once per credential (or once anonymously).
fn judge_with(object: &Value, facts: &Facts, settings: &PlanSettings, answer: &Result<ImageFacts, Failure>) -> Vec<Judgement> {
    let workload = extract(object, None, "ns", &Kinds::default()).expect("an object with images");
    let mut plan = plan(&workload, facts, settings);
    let outcomes: Vec<Attempts> = plan
        .checks
        .iter()
        .map(|check| {
            let mut sources: Vec<_> = check.credentials.iter().map(|offer| offer.source.clone()).collect();
            if sources.is_empty() {
                sources.push(None);
            }
            Attempts {
                attempts: sources
                    .into_iter()
                    .map(|source| Attempt {
                        source,
                        result: answer.clone(),
                    })
                    .collect(),
                ..Attempts::default()
            }
        })
        .collect();
    decide(&mut plan, &outcomes)
}

fn judge(object: &Value, facts: &Facts, answer: &Result<ImageFacts, Failure>) -> Judgement {
    judge_with(object, facts, &settings(), answer).remove(0)
}

fn causes(judgement: &Judgement) -> Vec<Cause> {
    judgement.findings.iter().map(|finding| finding.cause).collect()
}

fn needs_login() -> Result<ImageFacts, Failure> {
    Err(failure(Evidence::AuthenticationRequired { at: AuthStage::Basic }, 401))
}

fn refused() -> Result<ImageFacts, Failure> {
    Err(failure(
        Evidence::CredentialRefused {
            at: AuthStage::TokenServer,
        },
        401,
    ))
}

#[test]
fn a_secret_without_entries_says_where_they_are() {
    let data = r#"{"auths": {}, "credsStore": "osxkeychain"}"#;
    let facts = with_secret(facts(), "regcred", PULL, data);
    let judgement = judge(&pod("reg.example/app:1", &["regcred"]), &facts, &needs_login());
    assert_eq!(causes(&judgement), [Cause::PullSecretNoMatch, Cause::NotFoundOrDenied]);
    let message = &judgement.findings[0].message;
    assert!(
        message.contains("made on a machine that keeps them in its credential store (\"osxkeychain\")"),
        "{message}"
    );
}

#[test]
fn an_entry_without_a_password_says_where_that_is() {
    for (data, why) in [
        (
            r#"{"auths": {"reg.example": {}}, "credsStore": "desktop"}"#,
            "it was made on a machine that keeps them in its credential store (\"desktop\"), which no node has",
        ),
        (
            r#"{"auths": {"reg.example": {"auth": "MDAwMDo=", "identitytoken": "t"}}}"#,
            "it holds an identity token, which kubelets do not read",
        ),
        (
            r#"{"auths": {"reg.example": {}}}"#,
            "without a user name and password; nodes ask without a credential",
        ),
    ] {
        let facts = with_secret(facts(), "regcred", PULL, data);
        let judgement = judge(&pod("reg.example/app:1", &["regcred"]), &facts, &needs_login());
        assert_eq!(
            causes(&judgement),
            [Cause::PullSecretNoMatch, Cause::NotFoundOrDenied],
            "{data}"
        );
        let finding = &judgement.findings[0];
        assert!(finding.message.contains(why), "{}", finding.message);
        assert!(
            finding
                .fix
                .contains("kubectl create secret docker-registry regcred --docker-server=reg.example")
        );
        let public = judge(&pod("reg.example/app:1", &["regcred"]), &facts, &found(index(&["amd64"])));
        assert_eq!(causes(&public), [], "nothing is sent of it, and nothing is needed");
    }
}

#[test]
fn a_missing_secret_may_come_on_a_template_and_stands_on_a_pod() {
    let facts = absent(facts(), "regcred");
    let template = judge(&deployment("reg.example/a:1", &["regcred"]), &facts, &needs_login());
    assert_eq!((template.outlook, template.verdict), (Outlook::MayFail, Verdict::Warn));
    let pod = judge(&pod("reg.example/a:1", &["regcred"]), &facts, &needs_login());
    assert_eq!((pod.outlook, pod.verdict), (Outlook::WillFail, Verdict::Deny));
    assert_eq!(causes(&pod), [Cause::PullSecretMissing, Cause::NotFoundOrDenied]);
    assert!(pod.findings[0].fix.starts_with("create secret \"regcred\""), "{pod:?}");
}

#[test]
fn a_missing_secret_beside_a_public_image_is_allowed() {
    let facts = absent(facts(), "regcred");
    let judgement = judge(&pod("reg.example/a:1", &["regcred"]), &facts, &found(index(&["amd64"])));
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Pulls, Verdict::Allow));
    assert_eq!(causes(&judgement), [Cause::PullSecretMissing]);
}

#[test]
fn a_wrong_type_stands_on_a_template_too() {
    let facts = with_secret(facts(), "regcred", "Opaque", GOOD);
    let judgement = judge(&deployment("reg.example/a:1", &["regcred"]), &facts, &needs_login());
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::WillFail, Verdict::Deny));
    assert_eq!(causes(&judgement), [Cause::PullSecretWrongType, Cause::NotFoundOrDenied]);
}

#[test]
fn a_refused_secret_is_named() {
    let facts = with_secret(facts(), "regcred", PULL, GOOD);
    let judgement = judge(&deployment("reg.example/a:1", &["regcred"]), &facts, &refused());
    assert_eq!(causes(&judgement), [Cause::CredentialRefused]);
    assert!(
        judgement.findings[0].message.contains("secret \"regcred\""),
        "{}",
        judgement.findings[0].message
    );
}

#[test]
fn a_secret_for_another_registry_is_named_only_when_the_pull_fails() {
    let facts = with_secret(
        facts(),
        "regcred",
        PULL,
        r#"{"auths": {"reg.example:5000": {"auth": "dTpw"}}}"#,
    );
    let fails = judge(&pod("reg.example/a:1", &["regcred"]), &facts, &needs_login());
    assert_eq!(causes(&fails), [Cause::PullSecretNoMatch, Cause::NotFoundOrDenied]);
    assert!(
        fails.findings[0].message.contains("reg.example:5000"),
        "{}",
        fails.findings[0].message
    );
    let pulls = judge(&pod("reg.example/a:1", &["regcred"]), &facts, &found(index(&["amd64"])));
    assert_eq!(causes(&pulls), []);
}

#[test]
fn a_malformed_secret_poisons_every_image_and_asks_no_registry() {
    let facts = with_secret(facts(), "regcred", PULL, r#"{"auths": {"x.io": {"auth": "%%%"}}}"#);
    let object = pod("docker.io/library/nginx:1", &["regcred"]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    assert!(plan(&workload, &facts, &settings()).checks.is_empty());
    let judgement = judge(&object, &facts, &found(index(&["amd64"])));
    assert_eq!(causes(&judgement), [Cause::PullSecretMalformed]);
    assert_eq!(judgement.verdict, Verdict::Deny);
    assert_eq!(
        judgement.findings[0].kubelet.as_ref().unwrap().reason,
        "ErrImagePull",
        "the node's kubelet is older than 1.33"
    );
}

#[test]
fn a_credential_that_is_no_text_is_not_sent_by_todays_kubelets() {
    use crate::runtime::kubelet::Sent;
    // `u:` and é in Latin-1.
    let latin = r#"{"auths": {"reg.example": {"auth": "dTrp"}}}"#;
    let object = pod("reg.example/a:1", &["regcred"]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    for (kubelets, sent) in [
        (&[][..], Sent::Never),
        (&["v1.34.0"], Sent::Never),
        (&["v1.33.9"], Sent::Always),
        (&["v1.33.9", "v1.37.2"], Sent::BySome),
        (&["odd"], Sent::BySome),
    ] {
        let mut facts = with_secret(facts(), "regcred", PULL, latin);
        let like = facts.nodes[0].clone();
        let nodes = kubelets.iter().map(|kubelet| Node {
            kubelet: (*kubelet).to_owned(),
            ..like.clone()
        });
        facts.nodes = Arc::new(nodes.collect());
        assert_eq!(
            plan(&workload, &facts, &settings()).checks[0].credentials[0].sent,
            sent,
            "{kubelets:?}"
        );
        let facts = with_secret(facts, "regcred", PULL, GOOD);
        assert_eq!(
            plan(&workload, &facts, &settings()).checks[0].credentials[0].sent,
            Sent::Always
        );
    }
    let mut facts = with_secret(facts(), "regcred", PULL, latin);
    let virtual_node = Node::from_json(&json!({"metadata": {"name": "v", "labels": {"type": "virtual-kubelet"}}}));
    for nodes in [vec![virtual_node.clone()], vec![facts.nodes[0].clone(), virtual_node]] {
        facts.nodes = Arc::new(nodes);
        assert_eq!(
            plan(&workload, &facts, &settings()).checks[0].credentials[0].sent,
            Sent::BySome,
            "nothing is known of a virtual node's kubelet"
        );
    }
}

// Which Go an older kubelet was built with cannot be seen.
#[test]
fn a_class_in_a_key_may_be_a_pattern_to_older_kubelets() {
    let unknown = |kubelets: &[&str], key: &str| {
        let secret = format!(r#"{{"auths": {{"{key}": {{"auth": "dTpw"}}}}}}"#);
        let mut facts = with_secret(facts(), "regcred", PULL, &secret);
        let like = facts.nodes[0].clone();
        let nodes = kubelets.iter().map(|kubelet| Node {
            kubelet: (*kubelet).to_owned(),
            ..like.clone()
        });
        facts.nodes = Arc::new(nodes.collect());
        let judgement = judge(&pod("reg7.example/a:1", &["regcred"]), &facts, &needs_login());
        let says = format!("takes the key \"{key}\" in secret \"regcred\" for a pattern");
        let says = judgement.findings.iter().any(|finding| finding.message.contains(&says));
        assert_eq!(says, judgement.outlook == Outlook::Unknown, "{key}: {:?}", judgement.findings);
        says
    };
    for (kubelets, expected) in [
        (&["v1.36.0"][..], false),
        (&["v1.37.2", "v1.36.1"], false),
        (&["v1.35.9"], true),
        (&["v1.30.14+k3s1", "v1.37.2"], true),
        (&["odd"], true),
        (&[], true),
    ] {
        assert_eq!(unknown(kubelets, "reg[67].example"), expected, "{kubelets:?}");
    }
    for (key, expected) in [
        ("https://reg[67].example/v1/", true),
        ("reg[0-9].example/a", true),
        ("*[67].exampl[a-z]", true),
        ("[reg7.example]:443", false),
        ("reg[^6].example", false),
        ("reg[68].example", false),
        ("reg[67].example:5000", false),
        ("[rs]eg7.example", false),
    ] {
        assert_eq!(unknown(&["v1.34.2"], key), expected, "{key}");
    }
}

#[test]
fn a_credential_that_only_some_kubelets_send_might_have_worked() {
    let mut facts = with_secret(facts(), "one", PULL, GOOD);
    facts = with_secret(facts, "two", PULL, r#"{"auths": {"reg.example": {"auth": "dTrp"}}}"#);
    let object = pod("reg.example/a:1", &["one", "two"]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let mut plan = plan(&workload, &facts, &settings());
    let failed = |evidence| Failure {
        evidence,
        ..needs_login().unwrap_err()
    };
    let refused = Evidence::CredentialRefused { at: AuthStage::Registry };
    for (first, outlook) in [
        (refused.clone(), Outlook::MayFail),
        (Evidence::RepositoryUnknown, Outlook::MayFail),
        (Evidence::RateLimited, Outlook::Unknown),
    ] {
        let attempts = [failed(first), failed(Evidence::CredentialNotText { every_kubelet: false })];
        let sources = plan.checks[0].credentials.iter().map(|offer| offer.source.clone());
        let attempts = sources.zip(attempts).map(|(source, failure)| Attempt {
            source,
            result: Err(failure),
        });
        let attempts: Vec<Attempt> = attempts.collect();
        let judgement = decide(
            &mut plan,
            &[Attempts {
                attempts,
                ..Attempts::default()
            }],
        )
        .remove(0);
        assert_eq!(judgement.outlook, outlook);
    }
}

#[test]
fn service_accounts_count_for_templates_only_once_admission_has_run() {
    let mut facts = with_secret(facts(), "regcred", PULL, GOOD);
    let account = ServiceAccount {
        pull_secrets: vec!["regcred".to_owned()],
        ..ServiceAccount::default()
    };
    facts
        .service_accounts
        .insert("default".to_owned(), Visible::Seen(Some(account)));
    let offers = |object: &Value, settings: &PlanSettings| {
        let workload = extract(object, None, "ns", &Kinds::default()).unwrap();
        plan(&workload, &facts, settings).checks[0].credentials.len()
    };
    let still_to_come = PlanSettings {
        admission: Admission::StillToCome,
        ..settings()
    };
    assert_eq!(offers(&deployment("reg.example/a:1", &[]), &settings()), 1);
    assert_eq!(
        offers(&pod("reg.example/a:1", &[]), &settings()),
        0,
        "admission gave this pod nothing"
    );
    assert_eq!(offers(&pod("reg.example/a:1", &[]), &still_to_come), 1);
    assert_eq!(
        offers(&deployment("reg.example/a:1", &[""]), &settings()),
        0,
        "a list of one empty name inherits nothing"
    );
}

#[test]
fn what_may_not_be_read_makes_authentication_failures_unknown_and_nothing_else() {
    let mut facts = facts();
    facts
        .secrets
        .insert("regcred".to_owned(), Visible::Hidden("pullgate may not read it".to_owned()));
    let object = pod("reg.example/a:1", &["regcred"]);
    let login = judge(&object, &facts, &needs_login());
    assert_eq!((login.outlook, login.verdict), (Outlook::Unknown, Verdict::Warn));
    assert!(login.findings[0].message.contains("may not read"));
    let tag = judge(
        &object,
        &facts,
        &Err(failure(Evidence::TagUnknown { repository_exists: true }, 404)),
    );
    assert_eq!(tag.outlook, Outlook::WillFail);
}

#[test]
fn an_incomplete_set_proves_no_absence() {
    let mut facts = absent(facts(), "regcred");
    facts.complete = false;
    let judgement = judge(&pod("reg.example/a:1", &["regcred"]), &facts, &needs_login());
    assert_eq!(judgement.outlook, Outlook::Unknown);
    assert!(causes(&judgement).contains(&Cause::PullSecretMissing));
    let said = &judgement.findings[0].message;
    assert!(
        !said.contains("not in namespace") && said.contains("not among the given manifests"),
        "{said}"
    );
    let fix = &judgement.findings[0].fix;
    assert!(
        fix.starts_with("if the cluster has it, give it (--facts), or log in (docker login reg.example)"),
        "{fix}"
    );
}

#[test]
fn a_users_login_stands_in_and_an_anonymous_attempt_follows() {
    let mut facts = absent(facts(), "regcred");
    facts.complete = false;
    let credential = crate::credentials::parse_docker_config(GOOD.as_bytes()).unwrap();
    let settings = PlanSettings {
        stand_in: Arc::new(credential),
        ..settings()
    };
    let object = pod("reg.example/a:1", &["regcred"]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let mut plan = plan(&workload, &facts, &settings);
    assert_eq!(plan.checks[0].credentials.len(), 2);
    assert!(plan.checks[0].credentials[1].credential.is_anonymous());
    assert_eq!(plan.checks[0].credentials[1].source, None);
    let attempts = [refused(), needs_login()];
    let sources = plan.checks[0].credentials.iter().map(|offer| offer.source.clone());
    let attempts = sources.zip(attempts).map(|(source, result)| Attempt { source, result });
    let outcome = Attempts {
        attempts: attempts.collect(),
        ..Attempts::default()
    };
    let judgement = decide(&mut plan, &[outcome]).remove(0);
    let line = |result: Result<ImageFacts, Failure>| {
        let line = judge_with(&object, &facts, &self::settings(), &result)
            .remove(0)
            .findings
            .pop()
            .unwrap()
            .kubelet;
        line.unwrap().message
    };
    let shown = judgement.findings.last().unwrap().kubelet.clone().unwrap().message;
    assert_eq!(
        shown,
        line(refused()),
        "no kubelet asks with a credential and then without one"
    );
    assert_ne!(shown, line(needs_login()));
}

#[test]
fn node_credentials_soften_authentication_failures_even_refused_ones() {
    let facts = with_secret(
        facts(),
        "regcred",
        PULL,
        r#"{"auths": {"corp.azurecr.io": {"auth": "dTpw"}}}"#,
    );
    for answer in [needs_login(), refused()] {
        let judgement = judge(&pod("corp.azurecr.io/a:1", &["regcred"]), &facts, &answer);
        assert_eq!(judgement.outlook, Outlook::Unknown);
    }
    let scanner = judge(
        &pod("corp.azurecr.io/a:1", &[]),
        &facts,
        &Err(failure(
            Evidence::Forbidden {
                address_bound: false,
                with_credential: false,
            },
            412,
        )),
    );
    assert_eq!(scanner.outlook, Outlook::WillFail, "a scanner's block holds for everyone");
}

#[test]
fn node_credentials_that_only_older_kubelets_match_soften_where_one_may_be() {
    let like = facts().nodes[0].clone();
    for (kubelet, expected) in [("v1.36.0", Outlook::WillFail), ("v1.35.9", Outlook::Unknown)] {
        let mut facts = facts();
        let kubelet = kubelet.to_owned();
        facts.nodes = Arc::new(vec![Node { kubelet, ..like.clone() }]);
        let settings = PlanSettings {
            node_credentials: ["reg[67].example"].iter().collect(),
            ..settings()
        };
        let outlook = |image: &str| {
            judge_with(&pod(image, &[]), &facts, &settings, &needs_login())
                .remove(0)
                .outlook
        };
        assert_eq!(outlook("reg7.example/a:1"), expected);
        assert_eq!(outlook("reg8.example/a:1"), Outlook::WillFail);
    }
}

#[test]
fn what_is_not_known_outweighs_a_refusal() {
    let facts = with_secret(facts(), "a", PULL, GOOD);
    let facts = with_secret(facts, "b", PULL, r#"{"auths": {"reg.example": {"auth": "dTpwMg=="}}}"#);
    let object = pod("reg.example/a:1", &["a", "b"]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let mut plan = plan(&workload, &facts, &settings());
    let attempt = |at: usize, result| Attempt {
        source: plan.checks[0].credentials[at].source.clone(),
        result,
    };
    let outcome = Attempts {
        attempts: vec![attempt(0, refused()), attempt(1, Err(failure(Evidence::RateLimited, 429)))],
        ..Attempts::default()
    };
    let judgement = decide(&mut plan, &[outcome]).remove(0);
    assert_eq!(causes(&judgement), [Cause::RateLimited]);
    assert_eq!(judgement.verdict, Verdict::Warn);
}

#[test]
fn objects_of_judged_controllers_are_passed_over_and_strangers_at_most_warned() {
    let owned = |kind: &str, api: &str| {
        let mut object = pod("reg.example/a:1", &[]);
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": api, "kind": kind, "name": "o", "controller": true}]);
        object
    };
    let missing = Err(failure(Evidence::TagUnknown { repository_exists: true }, 404));
    let replica_set = owned("ReplicaSet", "apps/v1");
    let workload = extract(&replica_set, None, "ns", &Kinds::default()).unwrap();
    assert!(plan(&workload, &facts(), &settings()).checks.is_empty());
    assert_eq!(judge(&replica_set, &facts(), &missing).verdict, Verdict::Allow);
    let stranger = judge(&owned("Rollout", "argoproj.io/v1alpha1"), &facts(), &missing);
    assert_eq!((stranger.outlook, stranger.verdict), (Outlook::MayFail, Verdict::Warn));
    let bad_name = judge_with(
        &{
            let mut object = owned("Rollout", "argoproj.io/v1alpha1");
            object["spec"]["containers"][0]["image"] = "UPPER/Case".into();
            object
        },
        &facts(),
        &settings(),
        &missing,
    );
    assert_eq!(bad_name[0].verdict, Verdict::Warn);
}

#[test]
fn a_debug_container_in_a_pod_of_a_judged_controller_is_judged() {
    let mut old = pod("reg.example/a:1", &[]);
    old["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "controller": true}]);
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "reg.example/debug:1"}]);
    let workload = extract(&new, Some(&old), "ns", &Kinds::default()).unwrap();
    let plan = plan(&workload, &facts(), &settings());
    let asked: Vec<&str> = plan.checks.iter().map(|check| check.reference.repository()).collect();
    assert_eq!(asked, ["debug"]);
}

#[test]
fn platforms() {
    let mixed = |nodes: &[(&str, &str)]| {
        let mut facts = facts();
        facts.nodes = Arc::new(nodes.iter().map(|(name, arch)| node(name, arch)).collect());
        facts
    };
    let amd = pod("reg.example/a:1", &[]);
    let mut selecting = amd.clone();
    selecting["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    let outlook = |object: &Value, nodes: &[(&str, &str)], archs: &[&str]| {
        let judgement = judge(object, &mixed(nodes), &found(index(archs)));
        (judgement.outlook, judgement.findings.first().map(|finding| finding.cause))
    };
    let mismatch = Some(Cause::PlatformMismatch);
    assert_eq!(outlook(&amd, &[("n1", "amd64")], &["amd64", "arm64"]), (Outlook::Pulls, None));
    assert_eq!(outlook(&amd, &[("n1", "amd64")], &["arm64"]), (Outlook::WillFail, mismatch));
    assert_eq!(
        outlook(&amd, &[("n1", "amd64"), ("n2", "arm64")], &["arm64"]),
        (Outlook::MayFail, mismatch)
    );
    assert_eq!(
        outlook(&selecting, &[("n1", "amd64"), ("n2", "arm64")], &["arm64"]),
        (Outlook::Pulls, None)
    );
    assert_eq!(
        outlook(&selecting, &[("n1", "amd64")], &["amd64"]),
        (Outlook::WillFail, mismatch),
        "the selector names arm64"
    );
    assert_eq!(
        outlook(&amd, &[], &["arm64"]),
        (Outlook::MayFail, mismatch),
        "a guess denies nothing"
    );
    assert_eq!(outlook(&amd, &[("n1", "amd64")], &[]), (Outlook::WillFail, mismatch));
    let configured = PlanSettings {
        platforms: Platforms::Default(vec![platform("amd64")]),
        ..settings()
    };
    let judged = judge_with(&amd, &mixed(&[]), &configured, &found(index(&["arm64"]))).remove(0);
    assert_eq!(judged.outlook, Outlook::WillFail);
}

/// While a registry is down the tag may have been pushed again.
#[test]
fn what_a_registry_had_once_is_no_ground_for_a_denial() {
    let mut facts = facts();
    facts.nodes = Arc::new(vec![node("n1", "amd64")]);
    for (stale, outlook, verdict) in [
        (false, Outlook::WillFail, Verdict::Deny),
        (true, Outlook::Unknown, Verdict::Warn),
    ] {
        let had = found(index(&["arm64"])).map(|found| ImageFacts { stale, ..found });
        let judgement = judge(&pod("reg.example/a:1", &[]), &facts, &had);
        assert_eq!((judgement.outlook, judgement.verdict), (outlook, verdict), "{judgement:?}");
        assert_eq!(causes(&judgement).first(), Some(&Cause::PlatformMismatch));
    }
}

#[test]
fn taints_make_it_may_fail_and_daemon_sets_name_their_nodes() {
    let mut facts = facts();
    let tainted = Node::from_json(&json!({
        "metadata": {"name": "arm", "labels": {"kubernetes.io/arch": "arm64"}},
        "spec": {"taints": [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "arm64", "containerRuntimeVersion": "containerd://1.7.1"}}}));
    facts.nodes = Arc::new(vec![node("n1", "amd64"), tainted]);
    let only_tainted = judge(&pod("reg.example/a:1", &[]), &facts, &found(index(&["arm64"])));
    assert_eq!(only_tainted.outlook, Outlook::MayFail);
    let served = judge(&pod("reg.example/a:1", &[]), &facts, &found(index(&["amd64"])));
    assert_eq!(served.outlook, Outlook::Pulls, "no pod lands on the tainted node");

    facts.nodes = Arc::new(vec![node("n1", "amd64"), node("n2", "arm64")]);
    let mut daemon = deployment("reg.example/a:1", &[]);
    daemon["kind"] = "DaemonSet".into();
    let judgement = judge(&daemon, &facts, &found(index(&["amd64"])));
    assert_eq!(judgement.outlook, Outlook::MayFail);
    assert!(
        judgement.findings[0].message.contains("misses n2"),
        "{}",
        judgement.findings[0].message
    );
    let other = judge(&deployment("reg.example/a:1", &[]), &facts, &found(index(&["amd64"])));
    assert!(
        !other.findings[0].message.contains("n2"),
        "only DaemonSets name nodes: {}",
        other.findings[0].message
    );
}

#[test]
fn single_manifests_of_another_platform_pull_and_do_not_run() {
    let arm = found(Content::Image {
        platform: Some(platform("arm64")),
        body: Body::default(),
    });
    let judgement = judge(&pod("reg.example/a:1", &[]), &facts(), &arm);
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::FailsToRun, Verdict::Warn));
    assert_eq!(causes(&judgement), [Cause::ArchitectureMismatch]);
    let fits = judge(
        &pod("reg.example/a:1", &[]),
        &facts(),
        &found(Content::Image {
            platform: Some(platform("amd64")),
            body: Body::default(),
        }),
    );
    assert_eq!(fits.outlook, Outlook::Pulls);
}

#[test]
fn the_same_question_is_asked_once() {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "a", "image": "nginx:1"}, {"name": "b", "image": "docker.io/library/nginx:1"}, {"name": "c", "image": "nginx:2"}]}});
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    assert_eq!(plan(&workload, &facts(), &settings()).checks.len(), 2);
}

#[test]
fn doubts_name_what_a_finding_rests_on() {
    let facts = absent(with_secret(facts(), "used", PULL, GOOD), "gone");
    let object = pod("reg.example/a:1", &["used", "gone"]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let mut plan = plan(&workload, &facts, &settings());
    let outcome = |result| Attempts {
        attempts: vec![Attempt { source: None, result }],
        ..Attempts::default()
    };
    let judgements = decide(&mut plan, &[outcome(refused())]);
    let doubted = doubts(&plan, &judgements, &facts);
    let names: Vec<String> = doubted.into_iter().map(|object| format!("{object:?}")).collect();
    assert_eq!(names, ["Namespace", "Secret(\"gone\")", "Secret(\"used\")"]);
    let only_gone = pod("reg.example/a:1", &["gone"]);
    let workload = extract(&only_gone, None, "ns", &Kinds::default()).unwrap();
    let mut hidden = self::plan(&workload, &facts, &settings());
    let missing = Err(failure(Evidence::RepositoryUnknown, 404));
    let judgements = decide(&mut hidden, &[outcome(missing)]);
    let doubted = doubts(&hidden, &judgements, &facts);
    assert!(
        doubted.contains(&crate::cluster::Object::Secret("gone".to_owned())),
        "a 404 without the listed secret"
    );
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let missing = Err(failure(Evidence::RepositoryUnknown, 404));
    let mut with_both = self::plan(&workload, &facts, &settings());
    let judgements = decide(&mut with_both, &[outcome(missing)]);
    assert!(
        doubts(&with_both, &judgements, &facts).contains(&crate::cluster::Object::Secret("used".to_owned())),
        "a 404 with a secret that may have been written again"
    );
    let unreachable = Err(failure(Evidence::ConnectionFailed(ConnectionFault::Refused), 0));
    let judgements = decide(&mut plan, &[outcome(unreachable)]);
    assert!(doubts(&plan, &judgements, &facts).is_empty());
}

#[test]
fn a_namespace_that_cannot_be_read_may_be_exempt() {
    let missing = Err(failure(Evidence::TagUnknown { repository_exists: true }, 404));
    let object = pod("reg.example/a:1", &[]);
    let mut facts = facts();
    facts.namespace = Visible::Hidden("pullgate may not read namespaces".to_owned());
    let judgement = judge(&object, &facts, &missing);
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Unknown, Verdict::Warn));
    let message = &judgement.findings[0].message;
    assert!(
        message.ends_with("pullgate does not know whether the namespace is exempt: pullgate may not read namespaces"),
        "{message}"
    );
    // Where there is no cluster there is no label, and what does not exist stays definite.
    facts.complete = false;
    assert_eq!(judge(&object, &facts, &missing).outlook, Outlook::WillFail);
}

mod many;
mod node_level;

#[test]
fn the_same_credential_under_two_names_is_named_as_each_pod_names_it() {
    let facts = with_secret(with_secret(facts(), "a", PULL, GOOD), "b", PULL, GOOD);
    let task = |secret: &str| json!({"template": {"spec": spec("reg.example/a:1", &[secret])}});
    let object = json!({"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": {"name": "j"},
                        "spec": {"tasks": [task("a"), task("b")]}});
    let judged = judge_with(&object, &facts, &settings(), &refused());
    for (judgement, name) in judged.iter().zip(["a", "b"]) {
        let message = &judgement.findings[0].message;
        assert!(message.contains(&format!("secret \"{name}\"")), "{message}");
    }
    assert_eq!(judged.len(), 2);
}
