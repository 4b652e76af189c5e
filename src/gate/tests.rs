//! The order of a review, over answers that are given.

use super::*;
use crate::ask::{Log, Nothing, Recall, Step, step};
use crate::cluster::{Namespace, ServiceAccount};
use crate::credentials::{Hidden, PullSecret, ReadOnce};
use crate::plan::Admission;
use crate::runtime::outcome::{AuthStage, Evidence};
use crate::verdict::{Cause, Outlook, Verdict};
use crate::workload::{Kinds, extract};
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A registry that wants a password, and a cluster whose secret comes to light when it is looked for again.
#[expect(clippy::struct_excessive_bools, reason = "each is a case of its own")]
struct Cluster {
    labels: Vec<(String, String)>,
    comes: bool,
    /// When it is asked again, the API server is silent.
    silent: bool,
    /// The secret is cut off, nothing asks for a password, and when it is read again nothing comes.
    malformed: bool,
    /// When the registry is asked again, it wants no password any more.
    opens: bool,
    asked: RefCell<Vec<String>>,
}

impl Cluster {
    fn new(labels: &[(&str, &str)], comes: bool) -> Self {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self {
            labels: labels.collect(),
            comes,
            silent: false,
            malformed: false,
            opens: false,
            asked: RefCell::default(),
        }
    }

    fn facts(&self, secret: bool) -> Fact {
        let found = secret.then(|| PullSecret {
            name: "regcred".to_owned(),
            kind: "kubernetes.io/dockerconfigjson".to_owned(),
            data: Hidden::new(r#"{"auths":{"reg.example":{"auth":"dXNlcjpwYXNz"}}}"#),
            version: "1".to_owned(),
            opened: ReadOnce::default(),
        });
        let found = if self.malformed {
            found.map(|secret| PullSecret {
                data: Hidden::new("{"),
                ..secret
            })
        } else {
            found
        };
        Fact::Facts(Arc::new(Facts {
            nodes: Arc::default(),
            namespace: Visible::Seen(Some(Namespace {
                labels: self.labels.clone(),
                ..Namespace::default()
            })),
            service_accounts: BTreeMap::from([("default".to_owned(), Visible::Seen(Some(ServiceAccount::default())))]),
            secrets: BTreeMap::from([("regcred".to_owned(), Visible::Seen(found))]),
            runtime_classes: BTreeMap::new(),
            complete: true,
            image_streams: Arc::default(),
            unconfirmed: None,
        }))
    }
}

impl Recall<ReviewQuestion> for Cluster {
    fn recall(&self, about: &ReviewQuestion) -> Option<Fact> {
        let (name, fact) = match about {
            ReviewQuestion::Facts => ("facts".to_owned(), self.facts(self.malformed)),
            ReviewQuestion::Again(objects) => {
                let mut fact = self.facts(self.comes);
                if let (true, Fact::Facts(facts)) = (self.silent, &mut fact) {
                    Arc::make_mut(facts).unconfirmed = Some("nobody confirms it".to_owned());
                }
                if let (true, Fact::Facts(facts)) = (self.malformed, &mut fact) {
                    let hidden = Visible::Hidden("the API server does not answer".to_owned());
                    Arc::make_mut(facts).secrets.insert("regcred".to_owned(), hidden);
                }
                (format!("again {objects:?}"), fact)
            }
            ReviewQuestion::NodeCredentials(_) => ("node credentials".to_owned(), Fact::NodeCredentials(Arc::new([]))),
            ReviewQuestion::Pulls(checks) | ReviewQuestion::Confirm(checks) => {
                let confirms = matches!(about, ReviewQuestion::Confirm(_));
                let outcome = |check: &Check| match check.credentials.len() {
                    _ if self.malformed || confirms && self.opens => Attempts::default(),
                    0 => Attempts::ended(Evidence::AuthenticationRequired { at: AuthStage::Basic }, "reg.example"),
                    _ => Attempts::default(),
                };
                let with: Vec<usize> = checks.iter().map(|check| check.credentials.len()).collect();
                (
                    format!("{} with {with:?}", if confirms { "confirms" } else { "pulls" }),
                    Fact::Pulls(checks.iter().map(outcome).map(Arc::new).collect()),
                )
            }
            ReviewQuestion::Owner(_) => ("owner".to_owned(), Fact::Late),
            ReviewQuestion::Elsewhere(_) => ("elsewhere".to_owned(), Fact::Late),
        };
        self.asked.borrow_mut().push(name);
        Some(fact)
    }
}

fn workload() -> Workload {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "imagePullSecrets": [{"name": "regcred"}], "containers": [{"name": "c", "image": "reg.example/app:1"}]}});
    extract(&pod, None, "default", &Kinds::default()).unwrap()
}

fn run(memory: &dyn Recall<ReviewQuestion>, log: &mut Log<ReviewQuestion>) -> Step<ReviewQuestion, ReviewResult> {
    let (workload, requester, policies) = (workload(), Requester::default(), Policies::default());
    let settings = PlanSettings::bare(Admission::HasRun);
    let input = ReviewInput {
        workload: &workload,
        requester: &requester,
        settings: &settings,
        policies: &policies,
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    step(log, memory, |ask| review(&input, ask))
}

fn reviewed(cluster: &Cluster) -> ReviewResult {
    let Step::Done(result) = run(cluster, &mut Log::default()) else {
        panic!("everything is answered")
    };
    result
}

#[test]
fn an_ignored_namespace_asks_no_registry() {
    let cluster = Cluster::new(&[IGNORE_LABEL], false);
    let result = reviewed(&cluster);
    assert_eq!(result.exempt, Some(Exemption::Namespace));
    assert_eq!(*cluster.asked.borrow(), ["facts"]);
}

#[test]
fn a_secret_that_is_missing_is_looked_for_again_before_it_denies() {
    let cluster = Cluster::new(&[], true);
    let result = reviewed(&cluster);
    assert_eq!(result.images[0].judgement.verdict, Verdict::Allow);
    let asked = cluster.asked.borrow();
    let order: Vec<&str> = asked.iter().map(String::as_str).collect();
    assert_eq!(
        order,
        [
            "facts",
            "node credentials",
            "pulls with [0]",
            "again [Namespace, Secret(\"regcred\")]",
            "pulls with [1]"
        ]
    );
}

#[test]
fn what_stays_missing_is_looked_for_once() {
    let cluster = Cluster::new(&[], false);
    let result = reviewed(&cluster);
    let judgement = &result.images[0].judgement;
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::WillFail, Verdict::Deny));
    let again = cluster
        .asked
        .borrow()
        .iter()
        .filter(|asked| asked.starts_with("again"))
        .count();
    assert_eq!(again, 1);
}

#[test]
fn before_a_denial_the_registry_is_asked_once_more() {
    for opens in [false, true] {
        let cluster = Cluster {
            opens,
            ..Cluster::new(&[], false)
        };
        let verdict = reviewed(&cluster).images[0].judgement.verdict;
        assert_eq!(verdict, if opens { Verdict::Allow } else { Verdict::Deny });
        let asked = cluster.asked.borrow();
        assert_eq!(asked.last().map(String::as_str), Some("confirms with [0]"));
        assert_eq!(asked.iter().filter(|asked| asked.starts_with("confirms")).count(), 1);
    }
}

#[test]
fn what_a_silent_api_server_does_not_confirm_denies_nothing() {
    let cluster = Cluster {
        silent: true,
        ..Cluster::new(&[], false)
    };
    let result = reviewed(&cluster);
    let judgement = &result.images[0].judgement;
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Unknown, Verdict::Warn));
    let message = &judgement.findings[0].message;
    assert!(message.ends_with("; nobody confirms it"), "{message}");
}

/// Found by the simulation (seed 31 of 60 events): the image was said to pull.
#[test]
fn a_broken_secret_that_cannot_be_read_again_is_not_forgotten() {
    let cluster = Cluster {
        malformed: true,
        ..Cluster::new(&[], true)
    };
    let result = reviewed(&cluster);
    let judgement = &result.images[0].judgement;
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Unknown, Verdict::Warn));
    let finding = &judgement.findings[0];
    assert_eq!(finding.cause, Cause::PullSecretMalformed);
    assert!(finding.message.ends_with("; it could not be read again"), "{finding:?}");
}

#[test]
fn what_is_late_denies_nothing() {
    let mut log = Log::default();
    let result = loop {
        match run(&Nothing, &mut log) {
            Step::Done(result) => break result,
            Step::Ask(questions) => {
                for question in questions {
                    let late = question.late();
                    log.insert(question, late);
                }
            }
        }
    };
    let judgement = &result.images[0].judgement;
    assert_eq!(judgement.outlook, Outlook::Unknown);
    assert!(
        judgement.findings.iter().all(|finding| finding.cause == Cause::Timeout),
        "{judgement:?}"
    );
}
