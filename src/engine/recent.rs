//! Answers from a moment ago. The pods of one template arrive by the dozen and differ only in their names: the answer for the first one
//! holds for the others as long as nothing that it was based on has changed.

use super::Engine;
use crate::cluster::Facts;
use crate::policy::{Policies, Requester};
use crate::verdict::review_result::ReviewResult;
use crate::workload::{Node, Workload};
use sha2::{Digest as _, Sha256};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer holds. What registries said holds for longer (contract 6); everything else is compared.
const LATEST: Duration = Duration::from_secs(1);
/// How many are kept.
const PLACES: usize = 256;
/// The most images that an object may have for it.
const IMAGES: usize = 64;
/// The most that the texts of one may weigh, in bytes.
const WEIGHT: usize = 8 << 10;

/// What a review is about, as a digest: of the object all but its name and uid, and who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReviewKey([u8; 32]);

impl ReviewKey {
    /// `None` for an object with many images: its answer is not kept, since what it rests on takes memory.
    pub fn of(workload: &Workload, requester: &Requester) -> Option<Self> {
        let images: usize = workload.templates.iter().map(|template| template.uses.len()).sum();
        if images > IMAGES {
            return None;
        }
        let Workload {
            object,
            templates,
            annotations,
            controller,
            owner,
            uid: _,
        } = workload;
        let mut text = Text(Vec::with_capacity(1 << 10));
        (&object.api_version, &object.kind, &object.namespace).hash(&mut text);
        (templates, annotations, controller, owner, requester).hash(&mut text);
        Some(Self(Sha256::digest(&text.0).into()))
    }

    /// A number below `many` that differs from key to key.
    pub fn place(self, many: usize) -> usize {
        usize::from(self.0[0]) % many.max(1)
    }
}

/// Everything that an answer rests on, except what registries say and the time.
#[derive(Debug)]
pub struct Question {
    /// Of the key, and of what the cluster says.
    fingerprint: [u8; 32],
    engine: Weak<Engine>,
    policies: Weak<Policies>,
    /// `None` where no node is known.
    nodes: Option<Weak<Vec<Node>>>,
}

impl Question {
    /// What is asked when the object of a key is reviewed with these facts.
    pub fn of(key: ReviewKey, facts: &Facts, engine: &Arc<Engine>, policies: &Arc<Policies>) -> Self {
        let Facts {
            nodes,
            namespace,
            service_accounts,
            secrets,
            runtime_classes,
            complete,
            unconfirmed,
            image_streams,
        } = facts;
        let mut text = Text(Vec::with_capacity(1 << 9));
        text.write(&key.0);
        (namespace, service_accounts, secrets, runtime_classes).hash(&mut text);
        (complete, unconfirmed, image_streams).hash(&mut text);
        Self {
            fingerprint: Sha256::digest(&text.0).into(),
            engine: Arc::downgrade(engine),
            policies: Arc::downgrade(policies),
            nodes: (!nodes.is_empty()).then(|| Arc::downgrade(nodes)),
        }
    }

    fn place(&self) -> usize {
        usize::from(self.fingerprint[0]) % PLACES
    }
}

/// Pointers that are held, if only weakly, are not given to anything else.
impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        let nodes = match (&self.nodes, &other.nodes) {
            (Some(nodes), Some(other)) => nodes.ptr_eq(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.fingerprint == other.fingerprint && self.engine.ptr_eq(&other.engine) && self.policies.ptr_eq(&other.policies) && nodes
    }
}

/// Collects what is hashed, for a digest that nobody can find a second text for.
struct Text(Vec<u8>);

impl Hasher for Text {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// The answers of the last second.
#[derive(Debug)]
pub struct Recent(Mutex<Vec<Option<Remembered>>>);

#[derive(Debug)]
struct Remembered {
    question: Question,
    result: Arc<ReviewResult>,
    at: Instant,
}

impl Default for Recent {
    fn default() -> Self {
        Self(Mutex::new((0..PLACES).map(|_| None).collect()))
    }
}

impl Recent {
    /// The answer to the same question a moment ago.
    pub fn get(&self, question: &Question) -> Option<Arc<ReviewResult>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = kept.get(question.place())?.as_ref()?;
        (remembered.at.elapsed() < LATEST && remembered.question == *question).then(|| Arc::clone(&remembered.result))
    }

    /// Keeps an answer that says nothing against any image: whatever else is found may have changed by the next question.
    pub fn keep(&self, question: Question, result: &Arc<ReviewResult>) {
        let fine = result.exempt.is_none()
            && result
                .images
                .iter()
                .all(|judged| judged.judgement.findings.is_empty() && !judged.judgement.stale);
        let texts = result
            .images
            .iter()
            .map(|judged| judged.image.path.as_str().len() + judged.image.name.len() + 2 * judged.image.image.len());
        if !fine || texts.sum::<usize>() > WEIGHT {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.get_mut(question.place()) {
            *place = Some(Remembered {
                question,
                result: Arc::clone(result),
                at: Instant::now(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, ServiceAccount, Visible};
    use crate::config::{Frontend, Live, PolicyStore, Settings};
    use crate::engine::{Gate, LookUps};
    use crate::plan::{self, Admission};
    use crate::providers::Providers;
    use crate::telemetry::Metrics;
    use crate::verdict::Judgement;
    use crate::verdict::review_result::{Handling, Judged, PolicyContext};
    use crate::workload::{Kinds, extract};
    use serde_json::{Value, json};

    fn engine() -> Arc<Engine> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let metrics = Metrics::new();
        Arc::new(Engine {
            registry: LookUps::new(Settings::default().registry(Frontend::Serve), metrics).unwrap(),
            settings: plan::PlanSettings::bare(Admission::HasRun),
            providers: Providers::default(),
        })
    }

    fn pod(name: &str, uid: &str, spec: &Value) -> Workload {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "uid": uid}, "spec": spec});
        extract(&pod, None, "shop", &Kinds::default()).unwrap()
    }

    fn spec(image: &str) -> Value {
        json!({"containers": [{"name": "c", "image": image}]})
    }

    fn nodes() -> Arc<Vec<Node>> {
        Arc::new(vec![Node::from_json(&json!({"metadata": {"name": "n"}}))])
    }

    #[test]
    fn only_the_names_of_objects_make_no_difference() {
        let (engine, policies, requester) = (engine(), Arc::new(Policies::default()), Requester::default());
        let workload = pod("a", "1", &spec("reg.example/a:1"));
        let facts = Facts::hidden(&workload.templates, "there is no cluster");
        let seen = Facts {
            nodes: nodes(),
            ..facts.clone()
        };
        let asked = |workload: &Workload, requester: &Requester| ReviewKey::of(workload, requester).unwrap();
        let question = |workload: &Workload, facts: &Facts| Question::of(asked(workload, &requester), facts, &engine, &policies);
        for facts in [&facts, &seen] {
            let other = pod("b", "2", &spec("reg.example/a:1"));
            assert_eq!(question(&workload, facts), question(&other, facts));
        }
        for other in [
            spec("reg.example/a:2"),
            json!({"containers": [{"name": "d", "image": "reg.example/a:1"}]}),
            json!({"containers": [{"name": "c", "image": "reg.example/a:1", "imagePullPolicy": "Always"}]}),
            json!({"containers": [{"name": "c", "image": "reg.example/a:1"}], "nodeSelector": {"kubernetes.io/arch": "arm64"}}),
            json!({"containers": [{"name": "c", "image": "reg.example/a:1"}], "imagePullSecrets": [{"name": "s"}]}),
        ] {
            assert_ne!(
                question(&workload, &facts),
                question(&pod("a", "1", &other), &facts),
                "{other}"
            );
        }
        let mut elsewhere = pod("a", "1", &spec("reg.example/a:1"));
        elsewhere.object.namespace = "other".to_owned();
        assert_ne!(question(&workload, &facts), question(&elsewhere, &facts));
        let mut account = facts.clone();
        let pulls = ServiceAccount {
            pull_secrets: vec!["s".to_owned()],
            version: "2".to_owned(),
        };
        account
            .service_accounts
            .insert("default".to_owned(), Visible::Seen(Some(pulls)));
        let other_nodes = Facts {
            nodes: nodes(),
            ..facts.clone()
        };
        for other in [&account, &other_nodes] {
            assert_ne!(question(&workload, &seen), question(&workload, other));
        }
        let somebody = Requester {
            user: "jane".to_owned(),
            groups: Vec::new(),
        };
        let first = question(&workload, &facts);
        for other in [
            Question::of(asked(&workload, &somebody), &facts, &engine, &policies),
            Question::of(asked(&workload, &requester), &facts, &self::engine(), &policies),
            Question::of(asked(&workload, &requester), &facts, &engine, &Arc::default()),
        ] {
            assert_ne!(first, other);
        }
    }

    /// The first answer and the second, to objects whose only image an UPDATE left as it was.
    async fn twice(gate: &Gate, workload: &Workload) -> [Arc<ReviewResult>; 2] {
        let until = Instant::now() + Duration::from_secs(5);
        let requester = Requester::default();
        let key = ReviewKey::of(workload, &requester);
        let first = gate.judge_and_keep(workload, &requester, key, until).await;
        [first, gate.judge_and_keep(workload, &requester, key, until).await]
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_again_while_it_rests_on_the_same() {
        let policies = PolicyStore::default();
        let engine = Live::new(Arc::into_inner(engine()).unwrap());
        let gate = Gate::new(engine, policies.clone(), Cluster::Absent);
        let mut workload = pod("a", "1", &spec("reg.example/a:1"));
        workload.templates[0].uses[0].unchanged = true;
        let [first, second] = twice(&gate, &workload).await;
        assert!(Arc::ptr_eq(&first, &second));
        policies.set_files(Vec::new());
        let [third, _] = twice(&gate, &workload).await;
        assert!(!Arc::ptr_eq(&second, &third), "other policies are in force");

        workload.templates[0].uses = vec![workload.templates[0].uses[0].clone(); IMAGES + 1];
        let [first, second] = twice(&gate, &workload).await;
        assert!(!Arc::ptr_eq(&first, &second), "too many images");
    }

    fn answer(workload: &Workload, judgement: Judgement) -> Arc<ReviewResult> {
        let image = workload.templates[0].uses[0].clone();
        Arc::new(ReviewResult {
            images: vec![Judged {
                image,
                reference: None,
                remark: None,
                judgement,
                handling: Handling::Judged,
            }],
            exempt: None,
            policies: PolicyContext::default(),
            checks: 1,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_fine_holds_for_a_second() {
        let (engine, policies) = (engine(), Arc::new(Policies::default()));
        let question = |workload: &Workload| {
            let facts = Facts::hidden(&workload.templates, "there is no cluster");
            let key = ReviewKey::of(workload, &Requester::default()).unwrap();
            Question::of(key, &facts, &engine, &policies)
        };
        let recent = Recent::default();
        let workload = pod("a", "1", &spec("reg.example/a:1"));
        assert!(recent.get(&question(&workload)).is_none());
        let first = answer(&workload, Judgement::allowed());
        recent.keep(question(&workload), &first);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(Arc::ptr_eq(&recent.get(&question(&workload)).unwrap(), &first));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(recent.get(&question(&workload)).is_none());

        let stale = Judgement {
            stale: true,
            ..Judgement::allowed()
        };
        recent.keep(question(&workload), &answer(&workload, stale));
        assert!(recent.get(&question(&workload)).is_none());
        let mut large = pod("a", "1", &spec("reg.example/a:1"));
        large.templates[0].uses[0].name = "c".repeat(WEIGHT);
        recent.keep(question(&large), &answer(&large, Judgement::allowed()));
        assert!(recent.get(&question(&large)).is_none());
    }
}
