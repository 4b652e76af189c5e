//! Reviews of `serve` and `check`: answered by the cluster, the credential programs and the registries.

use crate::ask::{Recall, Source};
use crate::cluster::{Cluster, Facts};
use crate::config::{Live, PolicyStore};
use crate::engine::look_up::Recalled;
use crate::engine::recent::{Question, Recent, ReviewKey};
use crate::engine::{LookUps, drive};
use crate::gate::{self, Fact, ReviewInput, ReviewQuestion};
use crate::limits;
use crate::plan::{Check, PlanSettings};
use crate::policy::{Modes, Policies, Requester};
use crate::providers::Providers;
use crate::registry::{NodeLogins, on_behalf_of};
use crate::verdict::review_result::ReviewResult;
use crate::workload::{Kinds, Workload};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Whoever answers at the deadline needs a moment to say what is known by then.
const GRACE: Duration = Duration::from_millis(250);

/// What the settings file decides: how registries are asked, and how answers are read.
#[derive(Debug)]
pub struct Engine {
    /// The door to the registries, with its caches.
    pub registry: LookUps,
    /// What the plan needs to know.
    pub settings: PlanSettings,
    /// The programs that supply credentials which only a node has.
    pub providers: Providers,
}

/// The gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate {
    engine: Live<Engine>,
    policies: PolicyStore,
    cluster: Cluster,
    recent: Arc<Recent>,
}

/// What answers one review.
struct Sources<'a> {
    engine: &'a Engine,
    cluster: &'a Cluster,
    workload: &'a Workload,
    begun: Instant,
    deadline: Instant,
    /// As they were read last; `None` where they must be waited for.
    facts: Mutex<Option<Arc<Facts>>>,
    /// Whether anything was waited for, or read of an owner.
    waited: AtomicBool,
    /// What memory had for the pulls that are asked for next.
    recalled: Mutex<HashMap<ReviewQuestion, Recalled>>,
}

impl Gate {
    /// Puts the doors together. The engine and the policies may be replaced while reviews run.
    pub fn new(engine: Live<Engine>, policies: PolicyStore, cluster: Cluster) -> Self {
        Self {
            engine,
            policies,
            cluster,
            recent: Arc::default(),
        }
    }

    /// The kinds that are judged, as the settings have them now.
    pub fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.engine.load().settings.kinds)
    }

    /// The settings' `mode`, as it is now.
    pub fn modes(&self) -> Modes {
        self.engine.load().settings.modes.clone()
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.load()
    }

    /// The registry that is waited for the longest, and for how long.
    pub fn slowest(&self) -> Option<(String, Duration)> {
        self.engine.load().registry.slowest()
    }

    /// Judges one object that `requester` asks for. Ends at `deadline`, or a moment later; what is not known by then is `Unknown`.
    pub async fn judge(&self, workload: &Workload, requester: &Requester, deadline: Instant) -> ReviewResult {
        self.judge_at(workload, requester, deadline, Timestamp::now()).await
    }

    /// The same, by what policies say at another time.
    pub async fn judge_at(&self, workload: &Workload, requester: &Requester, deadline: Instant, now: Timestamp) -> ReviewResult {
        let review = self.begin(workload, deadline).await;
        self.decide(review, workload, requester, deadline, now).await.0
    }

    /// The same for `serve`: the answer is kept for a second for whatever else has the same `key`.
    pub async fn judge_and_keep(
        &self,
        workload: &Workload,
        requester: &Requester,
        key: Option<ReviewKey>,
        deadline: Instant,
    ) -> Arc<ReviewResult> {
        let review = self.begin(workload, deadline).await;
        let question = key.and_then(|key| review.question(key));
        if let Some(result) = question.as_ref().and_then(|question| self.kept(&review, question)) {
            return result;
        }
        let (result, waited) = self.decide(review, workload, requester, deadline, Timestamp::now()).await;
        let result = Arc::new(result);
        if let Some(question) = question.filter(|_| !waited) {
            self.recent.keep(question, &result);
        }
        result
    }

    /// The answer that was given within the last second, if whatever it rests on is still the same. It has nothing against any image.
    pub async fn recall(&self, key: ReviewKey, workload: &Workload, deadline: Instant) -> Option<Arc<ReviewResult>> {
        let review = self.begin(workload, deadline).await;
        self.kept(&review, &review.question(key)?)
    }

    fn kept(&self, review: &Begun, question: &Question) -> Option<Arc<ReviewResult>> {
        let result = self.recent.get(question)?;
        review.engine.registry.remembered(result.checks);
        Some(result)
    }

    /// What holds for one review.
    async fn begin(&self, workload: &Workload, deadline: Instant) -> Begun {
        let (engine, policies) = (self.engine.load(), self.policies.load());
        let registries_conf = engine.registry.registries_conf().await;
        let shared = engine.registry.shared().await;
        let logins = engine.registry.node_logins();
        let files = !registries_conf.is_empty() || !shared.is_empty() || !matches!(logins, NodeLogins::None);
        let facts = self
            .cluster
            .facts(&workload.object.namespace, &workload.templates, deadline)
            .now_or_never();
        Begun {
            settings: files.then(|| PlanSettings {
                registries_conf,
                shared,
                ..with_logins(&engine.settings, &logins)
            }),
            facts: facts.map(Arc::new),
            engine,
            policies,
        }
    }

    /// The answer, and whether anything was waited for.
    async fn decide(
        &self,
        review: Begun,
        workload: &Workload,
        requester: &Requester,
        deadline: Instant,
        now: Timestamp,
    ) -> (ReviewResult, bool) {
        let input = ReviewInput {
            workload,
            requester,
            settings: review.settings.as_ref().unwrap_or(&review.engine.settings),
            policies: &review.policies,
            now,
        };
        let sources = Sources {
            engine: &review.engine,
            cluster: &self.cluster,
            workload,
            deadline,
            begun: Instant::now(),
            facts: Mutex::new(review.facts),
            waited: AtomicBool::new(false),
            recalled: Mutex::default(),
        };
        let (result, _) = drive(&sources, deadline + GRACE, |ask| gate::review(&input, ask)).await;
        (result, sources.waited.into_inner())
    }
}

/// What holds for one review, whatever changes meanwhile.
struct Begun {
    engine: Arc<Engine>,
    policies: Arc<Policies>,
    /// The settings, with what the nodes' files say; `None` where they say nothing.
    settings: Option<PlanSettings>,
    /// `None` where the API server must be asked.
    facts: Option<Arc<Facts>>,
}

impl Begun {
    /// `None` where answers are not kept.
    fn question(&self, key: ReviewKey) -> Option<Question> {
        let facts = self.facts.as_ref().filter(|_| self.settings.is_none())?;
        Some(Question::of(key, facts, &self.engine, &self.policies))
    }
}

/// The settings, with what nodes log in with beside them.
fn with_logins(settings: &PlanSettings, logins: &NodeLogins) -> PlanSettings {
    let mut settings = settings.clone();
    match logins {
        NodeLogins::None => {}
        NodeLogins::These(entries) if settings.docker_config.is_empty() => settings.docker_config = Arc::clone(entries),
        NodeLogins::These(entries) => {
            Arc::make_mut(&mut settings.docker_config).extend(entries.iter().cloned());
        }
        NodeLogins::Unknown => settings.node_credentials = std::iter::once("*").collect(),
    }
    settings
}

impl Sources<'_> {
    async fn answer(&self, about: &ReviewQuestion) -> Fact {
        let (engine, deadline) = (self.engine, self.deadline);
        let namespace = self.workload.object.namespace.as_str();
        let templates = &self.workload.templates;
        match about {
            ReviewQuestion::Facts => self.keep(self.cluster.facts(namespace, templates, deadline).await),
            ReviewQuestion::Again(objects) => {
                let before = self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Some(before) = before else { return Fact::Late };
                let fresh = self.cluster.reread(&before, namespace, templates, objects, deadline).await;
                self.keep(fresh)
            }
            ReviewQuestion::Owner(reference) => Fact::Owner(self.cluster.owner(namespace, reference, deadline).await),
            ReviewQuestion::NodeCredentials(wanted) => {
                let given = engine.providers.ask(wanted.clone(), deadline).await;
                Fact::NodeCredentials(given.into())
            }
            ReviewQuestion::Pulls(checks) => self.pulls(about, checks, deadline).await,
            ReviewQuestion::Confirm(checks) => {
                let namespace = Arc::from(namespace);
                let confirmed = engine.registry.confirm(checks, self.begun, deadline);
                Fact::Pulls(on_behalf_of(namespace, confirmed).await.into())
            }
            ReviewQuestion::Elsewhere(checks) => {
                // It may not take long.
                let until = deadline.min(Instant::now() + limits::ELSEWHERE);
                self.pulls(about, checks, until).await
            }
        }
    }

    /// Registries, which serve namespaces in turn.
    async fn pulls(&self, about: &ReviewQuestion, checks: &[Check], until: Instant) -> Fact {
        let recalled = self.recalled.lock().unwrap_or_else(PoisonError::into_inner).remove(about);
        let registry = &self.engine.registry;
        let recalled = recalled.unwrap_or_else(|| registry.recall(checks));
        let namespace = Arc::from(self.workload.object.namespace.as_str());
        let pulled = on_behalf_of(namespace, registry.finish(recalled, checks, until));
        Fact::Pulls(pulled.await.into())
    }

    fn keep(&self, facts: Facts) -> Fact {
        let facts = Arc::new(facts);
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&facts));
        Fact::Facts(facts)
    }
}

impl Recall<ReviewQuestion> for Sources<'_> {
    /// What is known at once, so that a review of known images ends in one run.
    fn recall(&self, about: &ReviewQuestion) -> Option<Fact> {
        match about {
            ReviewQuestion::Facts => {
                let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
                facts.map(Fact::Facts)
            }
            ReviewQuestion::Owner(reference) => {
                self.waited.store(true, Ordering::Relaxed);
                let owner = self.cluster.owner(&self.workload.object.namespace, reference, self.deadline);
                Some(Fact::Owner(owner.now_or_never()?))
            }
            // To be read again.
            ReviewQuestion::Again(_) | ReviewQuestion::Confirm(_) => None,
            ReviewQuestion::NodeCredentials(_) => self.engine.providers.are_none().then(|| Fact::NodeCredentials(Arc::new([]))),
            ReviewQuestion::Pulls(checks) | ReviewQuestion::Elsewhere(checks) => {
                let recalled = self.engine.registry.recall(checks);
                let all = recalled.all().map(Fact::Pulls);
                if all.is_none() {
                    let mut waiting = self.recalled.lock().unwrap_or_else(PoisonError::into_inner);
                    waiting.insert(about.clone(), recalled);
                }
                all
            }
        }
    }
}

impl Source<ReviewQuestion> for Sources<'_> {
    async fn fetch(&self, about: ReviewQuestion) -> (ReviewQuestion, Fact) {
        self.waited.store(true, Ordering::Relaxed);
        let fact = self.answer(&about).await;
        (about, fact)
    }
}
