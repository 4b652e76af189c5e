//! Policies from literals to verdicts: what is asked of a registry at all, and what is done about what it says.

use super::*;
use crate::credentials::CredentialSource;
use crate::policy::{Circumstances, Modes, Policies, Policy, PolicyLocation, Requester};
use crate::verdict::Told;

fn policy(name: &str, spec: &Value) -> Arc<Policy> {
    let object = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": name}, "spec": spec});
    Arc::new(Policy::compile(&object, PolicyLocation::Cluster).unwrap_or_else(|problems| panic!("{name}: {problems:?}")))
}

pub(super) fn circumstances(modes: &Modes) -> Circumstances<'_> {
    Circumstances {
        modes,
        now: jiff::Timestamp::UNIX_EPOCH,
    }
}

struct Asked {
    judgements: Vec<Judgement>,
    checks: usize,
}

fn ask_as(
    object: &Value,
    old: Option<&Value>,
    facts: &Facts,
    policies: &[Arc<Policy>],
    requester: &Requester,
    answer: &Result<ImageFacts, Failure>,
) -> Asked {
    let workload = extract(object, old, "ns", &Kinds::default()).expect("an object with images");
    let policies = Policies::new(policies.to_vec());
    let matching = matching(
        &workload,
        facts,
        &policies,
        requester,
        std::slice::from_ref(&workload.object.kind),
        circumstances(&Modes::default()),
    );
    let mut plan = crate::plan::plan(&workload, facts, &settings(), &NodeCredentials::default(), &matching);
    let outcome = || Attempts {
        attempts: vec![Attempt {
            source: None,
            result: answer.clone(),
        }],
        ..Attempts::default()
    };
    let outcomes: Vec<Attempts> = plan.checks.iter().map(|_| outcome()).collect();
    Asked {
        judgements: decide(&mut plan, &outcomes),
        checks: plan.checks.len(),
    }
}

fn ask(image: &str, policies: &[Arc<Policy>], answer: &Result<ImageFacts, Failure>) -> (Judgement, usize) {
    let mut asked = ask_as(&pod(image, &[]), None, &facts(), policies, &Requester::default(), answer);
    (asked.judgements.remove(0), asked.checks)
}

fn missing() -> Result<ImageFacts, Failure> {
    Err(failure(Evidence::TagUnknown { repository_exists: true }, 404))
}

fn down() -> Result<ImageFacts, Failure> {
    Err(failure(Evidence::ConnectionFailed(ConnectionFault::Refused), 0))
}

fn good() -> Result<ImageFacts, Failure> {
    found(index(&["amd64"]))
}

#[test]
fn a_name_that_is_denied_is_never_asked_for() {
    let rule = json!({"registries": {"allow": ["reg.example/**"]}});
    let (judgement, checks) = ask("nginx:1", &[policy("p", &rule)], &good());
    assert_eq!(
        (judgement.outlook, judgement.verdict, checks),
        (Outlook::NotAllowed, Verdict::Deny, 0)
    );
    assert_eq!(causes(&judgement), [Cause::RegistryNotAllowed]);
    assert!(
        judgement.findings[0].message.contains("docker.io/library/nginx"),
        "{judgement:?}"
    );
    let (judgement, checks) = ask("reg.example/a:1", &[policy("p", &rule)], &good());
    assert_eq!((judgement.verdict, checks), (Verdict::Allow, 1));
}

#[test]
fn where_a_rule_only_warns_or_is_tried_the_look_up_goes_on() {
    for (mode, verdict, told) in [("Warn", Verdict::Warn, Told::Yes), ("Audit", Verdict::Allow, Told::No)] {
        let rule = json!({"mode": mode, "registries": {"deny": ["docker.io/**"]}});
        let (judgement, checks) = ask("nginx:1", &[policy("p", &rule)], &good());
        assert_eq!((judgement.verdict, checks), (verdict, 1), "{mode}");
        assert_eq!(causes(&judgement), [Cause::RegistryNotAllowed]);
        assert_eq!(
            (judgement.decisions[0].told, judgement.decisions[0].enforced),
            (told, Verdict::Deny)
        );
        // What the registry says is not the policy's.
        let (judgement, _) = ask("nginx:1", &[policy("p", &rule)], &missing());
        assert_eq!(judgement.verdict, Verdict::Deny, "{mode}");
        assert_eq!(causes(&judgement), [Cause::RegistryNotAllowed, Cause::TagNotFound]);
        assert_eq!(
            (judgement.decisions[0].verdict, judgement.decisions[1].policy.as_ref()),
            (verdict, None)
        );
    }
}

#[test]
fn a_missing_digest_is_denied_and_offered() {
    let rule = json!({"tags": {"requireDigest": true}});
    let (judgement, checks) = ask("reg.example/a:1", &[policy("p", &rule)], &good());
    assert_eq!((judgement.verdict, checks), (Verdict::Deny, 1));
    let pinned = format!("reg.example/a:1@{}", Digest::sha256(b"x"));
    assert_eq!(judgement.findings[0].suggestions, std::slice::from_ref(&pinned));
    assert!(judgement.findings[0].fix.contains(&pinned));
    // Of what is not there no digest is to be written.
    let (judgement, _) = ask("reg.example/a:1", &[policy("p", &rule)], &missing());
    assert_eq!(causes(&judgement), [Cause::DigestRequired, Cause::TagNotFound]);
    assert!(!judgement.findings[0].fix.contains("sha256"), "{judgement:?}");
    // Where the registry does not say, it is denied all the same.
    let (judgement, _) = ask("reg.example/a:1", &[policy("p", &rule)], &down());
    assert_eq!(judgement.verdict, Verdict::Deny);
    assert!(judgement.findings[0].suggestions.is_empty());
    // Another rule that denies keeps the registry from being asked.
    let both = json!({"tags": {"requireDigest": true, "deny": ["1"]}});
    assert_eq!(ask("reg.example/a:1", &[policy("p", &both)], &good()).1, 0);
}

#[test]
fn the_severest_vote_wins_and_silence_is_no_vote() {
    let lenient = policy("lenient", &json!({"actions": {"WillFail": "Warn"}}));
    let strict = policy("strict", &json!({"actions": {"TagNotFound": "Deny"}}));
    let quiet = policy("quiet", &json!({}));
    let verdict = |policies: &[Arc<Policy>]| ask("reg.example/a:1", policies, &missing()).0.verdict;
    assert_eq!(verdict(&[]), Verdict::Deny);
    assert_eq!(verdict(std::slice::from_ref(&quiet)), Verdict::Deny);
    assert_eq!(verdict(&[Arc::clone(&lenient), Arc::clone(&quiet)]), Verdict::Warn);
    assert_eq!(verdict(&[lenient, quiet, strict]), Verdict::Deny);
    // What cannot be known is denied where a policy says so, and only there.
    let closed = policy("closed", &json!({"actions": {"Unknown": "Deny"}}));
    assert_eq!(ask("reg.example/a:1", &[closed], &down()).0.verdict, Verdict::Deny);
    assert_eq!(ask("reg.example/a:1", &[], &down()).0.verdict, Verdict::Warn);
}

#[test]
fn a_policy_that_is_tried_out_changes_nothing_else() {
    for mode in ["Audit", "Warn"] {
        let tried_out = policy("tried-out", &json!({"mode": mode}));
        assert_eq!(
            ask("reg.example/a:1", &[tried_out], &missing()).0,
            ask("reg.example/a:1", &[], &missing()).0
        );
    }
}

#[test]
fn platforms_and_sizes_that_are_tried_out_are_found_beside_the_nodes_own() {
    let index_of = |architectures: &[&str]| found(index(architectures));
    for (mode, verdict) in [("Audit", Verdict::Allow), ("Warn", Verdict::Warn), ("Enforce", Verdict::Warn)] {
        let both = policy("both", &json!({"mode": mode, "platforms": ["linux/amd64", "linux/arm64"]}));
        let (judgement, _) = ask("reg.example/a:1", std::slice::from_ref(&both), &index_of(&["amd64"]));
        assert_eq!(causes(&judgement), [Cause::PlatformMismatch], "{mode}");
        let decision = &judgement.decisions[0];
        assert_eq!(
            (judgement.verdict, decision.policy.as_deref(), decision.enforced),
            (verdict, Some("both"), Verdict::Warn),
            "{mode}"
        );
        // Serves neither: the nodes' own mismatch stays denied by default.
        let (judgement, _) = ask("reg.example/a:1", &[both], &index_of(&["s390x"]));
        assert_eq!(judgement.verdict, Verdict::Deny, "{mode}");
    }
    // Without the policy the image would not run on the nodes, which have amd64.
    let arm = |mode: &str| policy("arm", &json!({"mode": mode, "platforms": ["linux/arm64"]}));
    let verdict = |mode: &str| ask("reg.example/a:1", &[arm(mode)], &index_of(&["arm64"])).0.verdict;
    assert_eq!((verdict("Audit"), verdict("Enforce")), (Verdict::Deny, Verdict::Allow));
}

#[test]
fn policies_vote_on_a_name_that_does_not_parse_too() {
    let verdict = |spec: Value| ask("Nginx", &[policy("p", &spec)], &good()).0.verdict;
    assert_eq!(verdict(json!({})), Verdict::Deny);
    assert_eq!(verdict(json!({"mode": "Audit"})), Verdict::Deny);
    assert_eq!(
        verdict(json!({"mode": "Warn", "actions": {"WillFail": "Deny"}})),
        Verdict::Warn
    );
    assert_eq!(verdict(json!({"actions": {"InvalidImageName": "Allow"}})), Verdict::Allow);
    assert_eq!(verdict(json!({"actions": {"WillFail": "Warn"}})), Verdict::Warn);
    assert_eq!(
        verdict(json!({"exempt": {"images": ["**"]}, "actions": {"WillFail": "Warn"}})),
        Verdict::Warn
    );
}

#[test]
fn an_audited_policy_does_not_switch_off_another_policys_allow_list() {
    let list = policy("list", &json!({"registries": {"allow": ["reg.example/**"]}}));
    let audited = policy("audit", &json!({"mode": "Audit"}));
    let (judgement, checks) = ask("nginx:1", &[list, audited], &good());
    assert_eq!((judgement.verdict, checks), (Verdict::Deny, 0));
    assert_eq!(judgement.decisions[0].policy.as_deref(), Some("list"));
}

#[test]
fn exemptions_take_an_image_or_a_user_out_of_their_policy_only() {
    let list = policy(
        "list",
        &json!({"registries": {"allow": ["reg.example/**"]},
                "exempt": {"images": ["docker.io/library/busybox"], "users": ["system:serviceaccount:ci:*"], "groups": ["admins"]}}),
    );
    let other = policy("other", &json!({"tags": {"deny": ["latest"]}}));
    assert_eq!(
        ask("busybox:1", std::slice::from_ref(&list), &good()).0.verdict,
        Verdict::Allow
    );
    let (judgement, _) = ask("busybox", &[Arc::clone(&list), other], &good());
    assert_eq!(
        (judgement.verdict, causes(&judgement)),
        (Verdict::Deny, vec![Cause::TagNotAllowed])
    );
    for (user, group, verdict) in [
        ("system:serviceaccount:ci:deployer", "x", Verdict::Allow),
        ("jane", "admins", Verdict::Allow),
        ("jane", "x", Verdict::Deny),
        ("", "", Verdict::Deny),
    ] {
        let requester = Requester {
            user: user.to_owned(),
            groups: vec![group.to_owned()],
        };
        let policies = [Arc::clone(&list)];
        let asked = ask_as(&pod("nginx:1", &[]), None, &facts(), &policies, &requester, &good());
        assert_eq!(asked.judgements[0].verdict, verdict, "{user} {group}");
    }
}

#[test]
fn an_update_that_leaves_the_image_alone_is_held_against_no_name_rule() {
    let rule = [policy("p", &json!({"registries": {"deny": ["docker.io/**"]}}))];
    let (old, new) = (deployment("nginx:1", &[]), deployment("nginx:2", &[]));
    let verdict = |object: &Value| {
        let asked = ask_as(object, Some(&old), &facts(), &rule, &Requester::default(), &good());
        asked.judgements.first().map_or(Verdict::Allow, |judgement| judgement.verdict)
    };
    assert_eq!(verdict(&new), Verdict::Deny);
    let two = |second: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "nginx:1"}, {"name": "b", "image": second}]}}}})
    };
    let (old, new) = (two("reg.example/a:1"), two("reg.example/a:2"));
    let asked = ask_as(&new, Some(&old), &facts(), &rule, &Requester::default(), &good());
    let verdicts: Vec<Verdict> = asked.judgements.iter().map(|judgement| judgement.verdict).collect();
    assert_eq!((verdicts, asked.checks), (vec![Verdict::Allow, Verdict::Allow], 1));
}

#[test]
fn an_owner_reference_excuses_no_name() {
    let rule = [policy("p", &json!({"registries": {"deny": ["docker.io/**"]}}))];
    let owned = |image: &str| {
        let mut pod = pod(image, &[]);
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]);
        let asked = ask_as(&pod, None, &facts(), &rule, &Requester::default(), &missing());
        (asked.judgements[0].verdict, asked.checks)
    };
    assert_eq!(owned("nginx:1"), (Verdict::Deny, 0));
    assert_eq!(owned("reg.example/a:1"), (Verdict::Allow, 0));
}

#[test]
fn labels_that_are_not_known_may_warn_and_not_deny() {
    let rule = json!({"match": {"namespaceSelector": {"matchLabels": {"env": "prod"}}}, "registries": {"deny": ["docker.io/**"]}});
    let verdict = |namespace: Visible<Namespace>| {
        let facts = Facts { namespace, ..facts() };
        let asked = ask_as(
            &pod("nginx:1", &[]),
            None,
            &facts,
            &[policy("p", &rule)],
            &Requester::default(),
            &good(),
        );
        asked.judgements[0].verdict
    };
    let labelled = |value: &str| {
        Visible::Seen(Some(Namespace {
            labels: vec![("env".to_owned(), value.to_owned())],
            ..Namespace::default()
        }))
    };
    assert_eq!(verdict(labelled("prod")), Verdict::Deny);
    assert_eq!(verdict(labelled("dev")), Verdict::Allow);
    assert_eq!(verdict(Visible::Hidden("why".to_owned())), Verdict::Warn);
    // The label that every namespace has is known without looking.
    let by_name = json!({"match": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ns"}}},
                         "registries": {"deny": ["docker.io/**"]}});
    assert_eq!(ask("nginx:1", &[policy("p", &by_name)], &good()).0.verdict, Verdict::Deny);
}

#[test]
fn platforms_of_a_policy_stand_instead_of_the_nodes() {
    let both = policy("p", &json!({"platforms": ["linux/amd64", "linux/arm64"]}));
    let (judgement, _) = ask("reg.example/a:1", std::slice::from_ref(&both), &good());
    assert_eq!(causes(&judgement), [Cause::PlatformMismatch]);
    assert_eq!(judgement.outlook, Outlook::MayFail);
    assert_eq!(ask("reg.example/a:1", &[], &good()).0.outlook, Outlook::Pulls);
    assert_eq!(
        ask("reg.example/a:1", &[both], &found(index(&["amd64", "arm64"]))).0.outlook,
        Outlook::Pulls
    );
}

#[test]
fn what_an_audited_policy_asks_for_does_not_make_another_policy_object() {
    let enforced = policy(
        "enforced",
        &json!({"platforms": ["linux/amd64"], "actions": {"PlatformMismatch": "Deny"}}),
    );
    let strict = policy(
        "strict",
        &json!({"platforms": ["linux/arm64"], "actions": {"WillFail": "Deny"}}),
    );
    let outspoken = policy("outspoken", &json!({"actions": {"PlatformMismatch": "Deny"}}));
    let audited = |platforms: &[&str]| policy("audit", &json!({"mode": "Audit", "platforms": platforms}));
    for (policies, expected) in [
        (vec![enforced.clone()], Verdict::Allow),
        (
            vec![enforced.clone(), audited(&["linux/amd64", "linux/arm64"])],
            Verdict::Allow,
        ),
        // It has no platforms of its own, and said what is to be done about any.
        (vec![outspoken, audited(&["linux/amd64", "linux/arm64"])], Verdict::Deny),
        // Nor does an audited one take anything back.
        (vec![strict.clone()], Verdict::Deny),
        (vec![strict.clone(), audited(&["linux/amd64"])], Verdict::Deny),
        (vec![enforced, strict], Verdict::Deny),
    ] {
        let (judgement, checks) = ask("reg.example/a:1", &policies, &good());
        assert_eq!((judgement.verdict, checks), (expected, 1), "{policies:?} {judgement:?}");
    }
}

#[test]
fn a_short_name_that_is_not_on_docker_hub_is_offered_from_the_allow_list() {
    let hub = policy(
        "hub",
        &json!({"registries": {"allow": ["docker.io/**", "reg.example/team/**", "other.example/**"]}}),
    );
    let closed = policy("closed", &json!({"registries": {"deny": ["other.example/**"]}}));
    let policies = Policies::new(vec![hub, closed]);
    let facts = with_secret(facts(), "regcred", PULL, GOOD);
    let object = pod("app:1", &["regcred"]);
    let workload = extract(&object, None, "ns", &Kinds::default()).expect("an object with images");
    let matching = matching(
        &workload,
        &facts,
        &policies,
        &Requester::default(),
        std::slice::from_ref(&workload.object.kind),
        circumstances(&Modes::default()),
    );
    let mut plan = crate::plan::plan(&workload, &facts, &settings(), &NodeCredentials::default(), &matching);
    let outcome = |result: Result<ImageFacts, Failure>| Attempts {
        attempts: vec![Attempt { source: None, result }],
        ..Attempts::default()
    };
    // Of an image that is there nothing more is asked.
    let judgements = decide(&mut plan, &[outcome(good())]);
    assert_eq!(hints(&plan, &judgements), []);
    let mut judgements = decide(&mut plan, &[outcome(missing())]);
    let asked = hints(&plan, &judgements);
    let names: Vec<String> = asked.iter().map(|(_, check)| check.reference.to_string()).collect();
    assert_eq!(
        names,
        ["reg.example/team/app:1", "reg.example/team/library/app:1"],
        "a place that another policy refuses is no place"
    );
    let secrets: Vec<&CredentialSource> = asked[0].1.credentials.iter().flat_map(|offer| &offer.source).collect();
    assert_eq!(secrets, [&CredentialSource::Secret("regcred".to_owned())]);
    let before = judgements.clone();
    offer(&mut judgements, &asked, &[outcome(missing()).into()]);
    assert_eq!(judgements, before);
    offer(&mut judgements, &asked, &[outcome(good()).into()]);
    assert!(
        judgements[0].findings[0]
            .fix
            .starts_with("write reg.example/team/app:1, which exists; or "),
        "{judgements:?}"
    );
    assert_eq!(judgements[0].findings[0].suggestions[0], "reg.example/team/app:1");
}
/// What twenty policies say of tens of thousands of images is told in full of the first ones only; the verdict is that of all of them.
#[test]
fn of_many_images_only_the_severest_objection_is_told_and_all_are_denied() {
    const IMAGES: usize = 23_000;
    let deny = json!({"registries": {"deny": ["evil.example/**"]}, "tags": {"deny": ["v*"], "requireDigest": true}});
    let with_mode = |mode: &str| {
        let mut spec = deny.clone();
        spec["mode"] = mode.into();
        spec
    };
    let policies: Vec<_> = (0..20)
        // The one in force is not the first.
        .map(|at| policy(&format!("p{at:02}"), &with_mode(if at == 13 { "Enforce" } else { "Audit" })))
        .collect();
    let container = |at: usize| json!({"name": format!("c{at}"), "image": format!("evil.example/app{at}:v1")});
    let object = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": (0..IMAGES).map(container).collect::<Vec<_>>()}});
    let asked = ask_as(&object, None, &facts(), &policies, &Requester::default(), &good());
    assert_eq!((asked.judgements.len(), asked.checks), (IMAGES, 0));
    assert!(asked.judgements.iter().all(|judgement| judgement.verdict == Verdict::Deny));
    let told: usize = asked.judgements.iter().map(|judgement| judgement.findings.len()).sum();
    assert!(told < limits::FINDINGS_PER_OBJECT + IMAGES, "{told}");
    let last = asked.judgements.last().unwrap();
    assert_eq!(last.findings.len(), 1);
    assert_eq!(last.decisions[0].policy.as_deref(), Some("p13"));
    assert!(last.findings[0].message.contains("than are listed"), "{last:?}");
    assert_eq!(asked.judgements[0].findings.len(), 60);
}
