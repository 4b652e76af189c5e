//! Tests of policies: the review that [`super::Gate`] makes, with a cluster and a registry that show what a case says.

use crate::ask::{Ask, Log, Missing, Recall, Step, step};
use crate::cluster::{Facts, Namespace, ServiceAccount, Visible};
use crate::credentials::{Hidden, PullSecret, ReadOnce};
use crate::gate::{self, Fact, ReviewQuestion, counts_as, review};
use crate::image::{Platform, Reference};
use crate::plan::{Admission, Check, PlanSettings, matching};
use crate::policy::cases::{Case, CaseOutcome, PullPolicy, Secret, Simulation, simulate};
use crate::policy::{Circumstances, Matching, Policies, Requester, dates};
use crate::runtime::kubelet::{Attempt, Attempts};
use crate::verdict::Judgement;
use crate::workload::{Kinds, Node, Owner, OwnerKind, OwnerReference, extract};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What came of a case.
#[derive(Debug)]
pub struct Ran {
    /// What is said about the image.
    pub judgement: Judgement,
    /// Whether the registry was asked.
    pub asked: bool,
}

/// The name of the pull secret of cases that need one.
const SECRET: &str = "regcred";
/// What the only node runs.
const NODE: &str = "linux/amd64";

/// Runs a case, at a time unless it says one itself. In its cluster there is one node of linux/amd64; everything that is not in the case is not there.
pub fn run(case: &Case, policies: &Policies, now: Timestamp) -> Ran {
    let given = &case.given;
    let now = given.now.as_ref().and_then(|text| dates::parse(text).ok()).unwrap_or(now);
    let namespace = given.namespace.as_deref().unwrap_or("default");
    let kind = given.kind.as_deref().unwrap_or("Deployment");
    let reference = Reference::parse(&given.image);
    let shown = given.registry.parsed_outcome().unwrap_or(CaseOutcome::Pulls);
    let requester = Requester {
        user: given.user.clone().unwrap_or_default(),
        groups: given.groups.clone(),
    };
    let labels: Vec<(String, String)> = given.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut facts = facts(labels);
    let settings = PlanSettings::bare(Admission::HasRun);
    let circumstances = Circumstances {
        modes: &settings.modes,
        now,
    };

    let owners = Owners::of(case, kind);
    // First with nothing staged: which platforms the image is held against depends on the policies that are about it.
    let bare = object(&given.image, kind, Secret::None, PullPolicy::Default);
    let platforms = extract(&bare, None, namespace, &Kinds::default()).ok().map(|mut workload| {
        kind.clone_into(&mut workload.object.kind);
        workload.owner.clone_from(&owners.reference);
        let script = Script {
            facts: Arc::new(facts.clone()),
            owners: &owners,
            simulation: None,
        };
        let kinds = answered_by(&script, |ask| counts_as(&workload, &requester, policies, ask));
        let matching = matching(&workload, &facts, policies, &requester, &kinds, circumstances);
        let matching = reference
            .as_ref()
            .map_or_else(|_| Matching::none(), |name| matching.narrowed(name));
        served(&matching)
    });
    let node: Vec<Platform> = Platform::parse(NODE).into_iter().collect();
    let platforms = platforms.flatten().unwrap_or(node);
    let simulation = match &reference {
        Ok(reference) => Some(simulate(&given.registry, shown, reference, &platforms)),
        Err(_) => None,
    };
    let (secret, pull_policy) = simulation.as_ref().map_or((Secret::None, PullPolicy::Default), |simulation| {
        (simulation.secret, simulation.pull_policy)
    });
    if let Ok(reference) = &reference {
        add_secret(&mut facts, secret, reference);
    }
    let object = object(&given.image, kind, secret, pull_policy);
    let Ok(mut workload) = extract(&object, None, namespace, &Kinds::default()) else {
        return Ran {
            judgement: Judgement::allowed(),
            asked: false,
        };
    };
    // Kinds of one's own are matched by their name, and hold their pods as a Deployment does.
    kind.clone_into(&mut workload.object.kind);
    workload.owner.clone_from(&owners.reference);
    let review_of = gate::ReviewInput {
        workload: &workload,
        requester: &requester,
        settings: &settings,
        policies,
        now,
    };
    let script = Script {
        facts: Arc::new(facts),
        owners: &owners,
        simulation: simulation.as_ref(),
    };
    let answer = answered_by(&script, |ask| review(&review_of, ask));
    Ran {
        asked: answer.checks > 0,
        judgement: answer
            .images
            .into_iter()
            .next()
            .map_or_else(Judgement::allowed, |image| image.judgement),
    }
}

/// The platforms that the policies ask for, enforced or not; `None` if none does.
fn served(matching: &Matching) -> Option<Vec<Platform>> {
    let mut all: Vec<Platform> = matching
        .demands()
        .into_iter()
        .filter_map(|demand| demand.platforms)
        .flatten()
        .collect();
    all.sort();
    all.dedup();
    (!all.is_empty()).then_some(all)
}

/// Runs what asks.
fn answered_by<T>(script: &Script<'_>, run: impl FnMut(&mut Ask<'_, ReviewQuestion>) -> Result<T, Missing>) -> T {
    let Step::Done(answer) = step(&mut Log::default(), script, run) else {
        unreachable!("a script answers everything")
    };
    answer
}

/// The owners of an object, from the nearest to the root.
#[derive(Default)]
struct Owners {
    reference: Option<OwnerReference>,
    /// By kind; none exists if the case says so.
    existing: BTreeMap<String, Owner>,
}

impl Owners {
    fn of(case: &Case, kind: &str) -> Self {
        let Some(given) = &case.given.owner else {
            return Self::default();
        };
        let Some(root) = OwnerKind::named(&given.kind) else {
            return Self::default();
        };
        let refer = |kind: OwnerKind| OwnerReference {
            api_version: kind.api_version(),
            kind: kind.name().to_owned(),
            name: "owner".to_owned(),
            uid: kind.name().to_owned(),
        };
        let image = given.image.as_ref().unwrap_or(&case.given.image);
        let owner = |kind: OwnerKind, owner: Option<OwnerReference>| Owner {
            uid: kind.name().to_owned(),
            images: BTreeSet::from([image.clone()]),
            owner,
        };
        // What stands between a root and a Pod; a Job of a CronJob has none between.
        let between = OwnerKind::ALL.into_iter().find(|kind| kind.usual_owner() == Some(root));
        let between = between.filter(|between| between.name() != kind);
        let mut owners = Self {
            reference: Some(refer(between.unwrap_or(root))),
            existing: BTreeMap::new(),
        };
        if given.exists.unwrap_or(true) {
            let mut add = |kind: OwnerKind, above| owners.existing.insert(kind.name().to_owned(), owner(kind, above));
            add(root, None);
            if let Some(between) = between {
                add(between, Some(refer(root)));
            }
        }
        owners
    }
}

/// What a case says, as the answers to a review.
struct Script<'a> {
    owners: &'a Owners,
    facts: Arc<Facts>,
    simulation: Option<&'a Simulation>,
}

impl Recall<ReviewQuestion> for Script<'_> {
    fn recall(&self, about: &ReviewQuestion) -> Option<Fact> {
        Some(match about {
            ReviewQuestion::Facts | ReviewQuestion::Again(_) => Fact::Facts(Arc::clone(&self.facts)),
            ReviewQuestion::Owner(reference) => Fact::Owner(Visible::Seen(self.owners.existing.get(&reference.kind).cloned())),
            ReviewQuestion::NodeCredentials(_) => Fact::NodeCredentials(Arc::new([])),
            ReviewQuestion::Pulls(checks) | ReviewQuestion::Confirm(checks) => Fact::Pulls(
                checks
                    .iter()
                    .map(|check| Arc::new(answered(check, self.simulation)))
                    .collect(),
            ),
            ReviewQuestion::Elsewhere(checks) => Fact::Pulls(checks.iter().map(|_| Arc::default()).collect()),
        })
    }
}

/// The same answer for every credential that is tried, or once without any.
fn answered(check: &Check, simulation: Option<&Simulation>) -> Attempts {
    let mut sources: Vec<_> = check.credentials.iter().map(|offer| offer.source.clone()).collect();
    if sources.is_empty() {
        sources.push(None);
    }
    let attempt = |source| {
        Some(Attempt {
            source,
            result: simulation?.answer.clone(),
        })
    };
    Attempts {
        attempts: sources.into_iter().filter_map(attempt).collect(),
        ..Attempts::default()
    }
}

fn object(image: &str, kind: &str, secret: Secret, pull_policy: PullPolicy) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": image}]});
    if secret != Secret::None {
        spec["imagePullSecrets"] = json!([{"name": SECRET}]);
    }
    if pull_policy == PullPolicy::Never {
        spec["containers"][0]["imagePullPolicy"] = "Never".into();
    }
    let metadata = json!({"name": "test"});
    match kind {
        "Pod" => json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}),
        "CronJob" => json!({"apiVersion": "batch/v1", "kind": kind, "metadata": metadata,
                            "spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}}),
        _ => json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": spec}}}),
    }
}

fn facts(labels: Vec<(String, String)>) -> Facts {
    let node = Node::from_json(&json!({
        "metadata": {"name": "node", "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64",
                                "containerRuntimeVersion": "containerd://2.0.0", "kubeletVersion": "v1.33.0"},
                   "images": []},
    }));
    Facts {
        nodes: Arc::new(vec![node]),
        namespace: Visible::Seen(Some(Namespace {
            labels,
            ..Namespace::default()
        })),
        service_accounts: BTreeMap::from([("default".to_owned(), Visible::Seen(Some(ServiceAccount::default())))]),
        secrets: BTreeMap::new(),
        runtime_classes: BTreeMap::new(),
        complete: true,
        image_streams: Arc::default(),
        unconfirmed: None,
    }
}

fn add_secret(facts: &mut Facts, secret: Secret, reference: &Reference) {
    const PULL: &str = "kubernetes.io/dockerconfigjson";
    let entry = |registry: &str| json!({"auths": {registry: {"auth": "dXNlcjpwYXNz"}}}).to_string();
    let (kind, data) = match secret {
        Secret::None => return,
        Secret::Missing => {
            facts.secrets.insert(SECRET.to_owned(), Visible::Seen(None));
            return;
        }
        Secret::WrongType => ("Opaque", entry(reference.registry())),
        Secret::Malformed => (PULL, "{".to_owned()),
        Secret::NoMatch => (PULL, entry("another.example")),
        Secret::Good => (PULL, entry(reference.registry())),
    };
    let secret = PullSecret {
        name: SECRET.to_owned(),
        kind: kind.to_owned(),
        data: Hidden::new(data),
        version: "1".to_owned(),
        opened: ReadOnce::default(),
    };
    facts.secrets.insert(SECRET.to_owned(), Visible::Seen(Some(secret)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, PolicyLocation, cases::PolicyTest};
    use crate::verdict::{Cause, Outlook, Verdict};

    fn case(given: &Value) -> Case {
        let document = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicyTest", "spec": {"cases": [
            {"name": "c", "given": given, "expect": {"verdict": "Allow"}}]}});
        let mut test = PolicyTest::read(&document).unwrap_or_else(|problems| panic!("{problems:?}"));
        test.cases.remove(0)
    }

    fn policies(spec: &Value) -> Policies {
        let object = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec});
        Policies::new(vec![Arc::new(Policy::compile(&object, PolicyLocation::Cluster).unwrap())])
    }

    #[test]
    fn every_outcome_that_may_be_written_comes_about_by_its_own_rules() {
        let size = policies(&json!({"size": {"max": "1Gi"}}));
        let mut staged = 0;
        for cause in Cause::ALL {
            let given = json!({"image": "reg.example/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                               "registry": {"outcome": cause.name()}});
            let document = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicyTest", "spec": {"cases": [
                {"name": "c", "given": given, "expect": {"verdict": "Allow"}}]}});
            let Ok(test) = PolicyTest::read(&document) else { continue };
            staged += 1;
            let ran = run(&test.cases[0], &size, Timestamp::UNIX_EPOCH);
            let causes: Vec<Cause> = ran.judgement.findings.iter().map(|finding| finding.cause).collect();
            assert!(causes.contains(cause), "{}: {:?}", cause.name(), ran.judgement);
        }
        assert_eq!(staged, Cause::ALL.len() - 4);
    }

    #[test]
    fn the_softening_of_real_reviews_holds_here_too() {
        let none = Policies::default();
        let outlook = |given: Value| run(&case(&given), &none, Timestamp::UNIX_EPOCH).judgement.outlook;
        assert_eq!(outlook(json!({"image": "a.b/c:1"})), Outlook::Pulls);
        assert_eq!(
            outlook(json!({"image": "a.b/c:1", "registry": {"outcome": "Pulls"}})),
            Outlook::Pulls
        );
        assert_eq!(
            outlook(json!({"image": "a.b/c:1", "registry": {"outcome": "TagNotFound"}})),
            Outlook::WillFail
        );
        assert_eq!(
            outlook(json!({"image": "A b", "registry": {"outcome": "TagNotFound"}})),
            Outlook::WillFail
        );
        // A template's secret may still come; a pod's comes too late.
        assert_eq!(
            outlook(json!({"image": "a.b/c:1", "registry": {"outcome": "PullSecretMissing"}})),
            Outlook::MayFail
        );
        let pod = json!({"image": "a.b/c:1", "kind": "Pod", "registry": {"outcome": "PullSecretMissing"}});
        assert_eq!(outlook(pod), Outlook::WillFail);
        assert_eq!(
            outlook(json!({"image": "a.b/c:1", "registry": {"platforms": ["linux/arm64"]}})),
            Outlook::WillFail
        );
        for kind in ["CronJob", "Rollout", "StatefulSet"] {
            let rule = policies(&json!({"match": {"kinds": [kind]}, "tags": {"deny": ["latest"]}}));
            let ran = run(&case(&json!({"image": "a.b/c", "kind": kind})), &rule, Timestamp::UNIX_EPOCH);
            assert_eq!((ran.judgement.verdict, ran.asked), (Verdict::Deny, false), "{kind}");
        }
    }

    #[test]
    fn the_pod_of_an_owner_counts_as_the_owner_and_a_forged_one_as_a_pod() {
        let rule = policies(&json!({"match": {"excludeKinds": ["Job", "CronJob"]}, "tags": {"requireDigest": true}}));
        let verdict = |given: Value| run(&case(&given), &rule, Timestamp::UNIX_EPOCH).judgement.verdict;
        let controller = "system:serviceaccount:kube-system:job-controller";
        for (given, expected) in [
            (json!({"image": "a.b/c:1", "kind": "Pod"}), Verdict::Deny),
            (
                json!({"image": "a.b/c:1", "kind": "Pod", "owner": {"kind": "Job"}}),
                Verdict::Allow,
            ),
            (
                json!({"image": "a.b/c:1", "kind": "Pod", "owner": {"kind": "CronJob"}}),
                Verdict::Allow,
            ),
            (
                json!({"image": "a.b/c:1", "kind": "Job", "owner": {"kind": "CronJob"}}),
                Verdict::Allow,
            ),
            (
                json!({"image": "a.b/c:1", "kind": "Pod", "owner": {"kind": "Deployment"}}),
                Verdict::Deny,
            ),
            (
                json!({"image": "a.b/c:1", "kind": "Pod", "owner": {"kind": "Job", "exists": false}}),
                Verdict::Deny,
            ),
            (
                json!({"image": "a.b/c:1", "kind": "Pod", "owner": {"kind": "Job", "image": "a.b/other:1"}}),
                Verdict::Deny,
            ),
            (
                json!({"image": "a.b/c:1", "kind": "Pod", "user": controller, "owner": {"kind": "Job", "image": "a.b/other:1"}}),
                Verdict::Allow,
            ),
            (
                json!({"image": "a.b/c:1", "kind": "Pod", "user": "jane", "owner": {"kind": "Job", "image": "a.b/other:1"}}),
                Verdict::Deny,
            ),
        ] {
            assert_eq!(verdict(given.clone()), expected, "{given}");
        }
    }
}
