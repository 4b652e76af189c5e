//! What only the node knows: its docker config, credential provider plugins, and (in `check`) credential helpers.

use super::*;
use crate::credentials::CredentialSource;
use crate::credentials::node::{NodeCredentials, Provided, StandIn};
use crate::policy::Matching;
use crate::verdict::soften::PresenceRule;

fn credential(user: &str) -> Credential {
    Credential {
        username: Hidden::new(user),
        password: Hidden::new("p"),
        ..Credential::default()
    }
}

fn entries(key: &str, user: &str) -> Arc<Vec<(String, Credential)>> {
    Arc::new(vec![(key.to_owned(), credential(user))])
}

/// The same for every repository of the object.
fn answers(object: &Value, facts: &Facts, settings: &PlanSettings, provided: &Provided) -> NodeCredentials {
    let workload = extract(object, None, "ns", &Kinds::default()).unwrap();
    let mut node = NodeCredentials::default();
    for wanted in plan(&workload, facts, settings).wanted {
        node.insert(wanted, provided.clone());
    }
    node
}

/// User names of what is offered, and their sources.
fn offered(object: &Value, facts: &Facts, settings: &PlanSettings, provided: &Provided) -> Vec<(String, Option<CredentialSource>)> {
    let workload = extract(object, None, "ns", &Kinds::default()).unwrap();
    let node = answers(object, facts, settings, provided);
    let plan = crate::plan::plan(&workload, facts, settings, &node, &Matching::none());
    plan.checks[0]
        .credentials
        .iter()
        .map(|offer| (offer.credential.username.expose().into_owned(), offer.source.clone()))
        .collect()
}

fn judged(object: &Value, facts: &Facts, provided: &Provided, answer: &Result<ImageFacts, Failure>) -> Judgement {
    judged_with(object, facts, &settings(), provided, answer)
}

fn judged_with(
    object: &Value,
    facts: &Facts,
    settings: &PlanSettings,
    provided: &Provided,
    answer: &Result<ImageFacts, Failure>,
) -> Judgement {
    let workload = extract(object, None, "ns", &Kinds::default()).unwrap();
    let node = answers(object, facts, settings, provided);
    let mut plan = crate::plan::plan(&workload, facts, settings, &node, &Matching::none());
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

#[test]
fn pod_then_docker_config_then_plugins() {
    let facts = with_secret(facts(), "regcred", PULL, GOOD);
    let settings = PlanSettings {
        docker_config: entries("reg.example", "docker"),
        ..settings()
    };
    let provided = Provided {
        plugins: vec![
            ("one".to_owned(), entries("reg.example", "plugin-1")),
            ("two".to_owned(), entries("reg.example/team", "plugin-2")),
            ("three".to_owned(), entries("other.example", "plugin-3")),
            ("four".to_owned(), entries("*.example", "plugin-4")),
        ],
        docker_config: Some(credential("helper")),
        ..Provided::default()
    };
    let secret = CredentialSource::Secret("regcred".to_owned());
    let plugin = |name: &str| CredentialSource::Provider(name.to_owned());
    let expect = [
        ("u", secret),
        ("helper", CredentialSource::DockerConfig),
        ("docker", CredentialSource::DockerConfig),
        // All plugins make one keyring: the longest key first, whoever gave it.
        ("plugin-2", plugin("two")),
        ("plugin-1", plugin("one")),
        ("plugin-4", plugin("four")),
    ]
    .map(|(user, source)| (user.to_owned(), Some(source)));
    let object = pod("reg.example/team/app:1", &["regcred"]);
    assert_eq!(offered(&object, &facts, &settings, &provided), expect);
}

#[test]
fn anonymous_only_where_nothing_is_held() {
    let object = pod("reg.example/app:1", &[]);
    let none = Provided {
        plugins: vec![("one".to_owned(), Arc::default())],
        ..Provided::default()
    };
    assert_eq!(offered(&object, &facts(), &settings(), &none), []);
    // An empty entry is a credential to the kubelet: no anonymous attempt of its own follows.
    let empty = Provided {
        plugins: vec![(
            "one".to_owned(),
            Arc::new(vec![("reg.example".to_owned(), Credential::default())]),
        )],
        ..Provided::default()
    };
    assert_eq!(offered(&object, &facts(), &settings(), &empty).len(), 1);
}

#[test]
fn a_plugin_that_gave_no_answer_makes_authentication_failures_unknown_and_nothing_else() {
    let why = "credential provider \"one\" could not be asked: it did not answer in time";
    let provided = Provided {
        unanswered: Some(why.to_owned()),
        ..Provided::default()
    };
    let object = pod("reg.example/app:1", &[]);
    for answer in [needs_login(), refused()] {
        let judgement = judged(&object, &facts(), &provided, &answer);
        assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Unknown, Verdict::Warn));
        assert!(judgement.findings[0].message.ends_with(why), "{:?}", judgement.findings);
    }
    let gone = Err(failure(Evidence::TagUnknown { repository_exists: true }, 404));
    assert_eq!(judged(&object, &facts(), &provided, &gone).outlook, Outlook::WillFail);
    assert_eq!(
        judged(&object, &facts(), &provided, &found(index(&["amd64"]))).outlook,
        Outlook::Pulls
    );
}

#[test]
fn a_plugin_that_gave_no_answer_is_no_leave_to_tell_what_nodes_hold() {
    let mut node = json!({
        "metadata": {"name": "n1", "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64",
                                "containerRuntimeVersion": "containerd://1.7.1", "kubeletVersion": "v1.30.1"}},
    });
    node["status"]["images"] = json!([{"names": ["reg.example/app:1"]}]);
    let mut facts = facts();
    facts.nodes = Arc::new(vec![Node::from_json(&node)]);
    let mut object = pod("reg.example/app:1", &[]);
    object["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    let provided = Provided {
        unanswered: Some("the plugin failed".to_owned()),
        ..Provided::default()
    };
    let hide = PlanSettings {
        presence_rule: PresenceRule::Hide,
        ..settings()
    };
    let judgement = judged_with(&object, &facts, &hide, &provided, &needs_login());
    assert_eq!(judgement.outlook, Outlook::Unknown);
    assert!(!judgement.findings[0].message.contains("hold"), "{:?}", judgement.findings);
}

#[test]
fn what_nodes_list_of_a_registry_tells_nothing_about_other_images_of_it() {
    // docs/decisions/0005: the same answer whether or not some node holds another image of that registry.
    let object = pod("reg.example/app:1", &[]);
    let without = judged(&object, &facts(), &Provided::default(), &needs_login());
    let mut node = json!({
        "metadata": {"name": "n1", "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64",
                                "containerRuntimeVersion": "containerd://1.7.1", "kubeletVersion": "v1.30.1"}},
    });
    node["status"]["images"] = json!([{"names": ["reg.example/other:1", "reg.example/app:2"]}]);
    let mut facts = facts();
    facts.nodes = Arc::new(vec![Node::from_json(&node)]);
    assert_eq!(judged(&object, &facts, &Provided::default(), &needs_login()), without);
}

#[test]
fn the_users_helper_stands_in_only_for_what_could_not_be_seen() {
    let mut hidden = facts();
    hidden.complete = false;
    let provided = Provided {
        stand_in: Some(credential("helper")),
        ..Provided::default()
    };
    let object = pod("reg.example/app:1", &["regcred"]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let wanted = plan(&workload, &hidden, &settings()).wanted;
    assert_eq!(wanted.first().unwrap().stand_in, StandIn::Wanted);
    let users: Vec<String> = offered(&object, &hidden, &settings(), &provided)
        .into_iter()
        .map(|(user, _)| user)
        .collect();
    assert_eq!(users, ["helper", ""], "an anonymous attempt follows");

    let seen = with_secret(hidden.clone(), "regcred", PULL, GOOD);
    assert_eq!(
        plan(&workload, &seen, &settings()).wanted.first().unwrap().stand_in,
        StandIn::Idle
    );
    let complete = absent(facts(), "regcred");
    assert_eq!(
        plan(&workload, &complete, &settings()).wanted.first().unwrap().stand_in,
        StandIn::Idle
    );

    let failed = Provided {
        stand_in_failed: Some("docker-credential-x could not be asked".to_owned()),
        ..Provided::default()
    };
    let judgement = judged(&object, &hidden, &failed, &needs_login());
    assert_eq!(judgement.outlook, Outlook::Unknown);
    let message = &judgement.findings.last().unwrap().message;
    assert!(
        message.contains("not among the given manifests; docker-credential-x could not be asked"),
        "{message}"
    );
}

#[test]
fn nothing_is_wanted_for_images_that_are_not_asked_about() {
    let mut never = pod("reg.example/app:1", &[]);
    never["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    for object in [never, pod("Not A Name", &[])] {
        let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
        assert!(plan(&workload, &facts(), &settings()).wanted.is_empty());
    }
}
