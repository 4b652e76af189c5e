//! Lets a script happen, and looks at every answer.

use crate::check::{Held, Said, check};
use crate::cluster::Cluster;
use crate::node::Pulls;
use crate::script::{Event, HOSTS, Review, Script, user};
use crate::world::{Time, World};
use futures_util::future::join_all;
use pullgate::ask::{Nothing, Recall, Source};
use pullgate::cluster::Facts;
use pullgate::engine::{Engine, LookUps, Question, Recalled, Recent, ReviewKey, drive};
use pullgate::gate::{Fact, ReviewInput, ReviewQuestion, review};
use pullgate::net::Reach;
use pullgate::plan::{Admission, Check, PlanSettings};
use pullgate::policy::{Policies, Requester};
use pullgate::providers::Providers;
use pullgate::registry;
use pullgate::telemetry::Metrics;
use pullgate::verdict::review_result::ReviewResult;
use pullgate::verdict::{Judgement, Outlook, Verdict};
use pullgate::workload::{Workload, extract};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A lie told on purpose: the check that it is for must see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// What pulls is denied.
    Denies,
    /// What fails is said to pull.
    Allows,
    /// One namespace is given the secrets of another.
    SharesSecrets,
    /// Passwords are kept under the name of another registry.
    MovesSecrets,
    /// Answers come after their deadline.
    Dawdles,
    /// There is more memory than was said.
    Hoards,
    /// What was said to one namespace is said to the next one, too.
    Repeats,
    /// Each pull is looked up hundreds of times, and nothing is remembered.
    Insists,
    /// The task of a look-up dies.
    Dies,
}

#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether to tell what happens.
    pub tells: bool,
    pub lie: Option<Lie>,
    /// The secrets of this namespace are worth nothing at first.
    pub worthless: Option<usize>,
}

/// What came of a world.
#[derive(Debug, Default)]
pub struct Report {
    /// The check, and what it saw.
    pub wrongs: Vec<(&'static str, String)>,
    pub story: Vec<String>,
    pub said: Vec<Said>,
    pub requests: u64,
    /// Nodes' pulls that were looked at.
    pub pulls: usize,
}

/// Read once a process, as in `serve`: with them comes the table of kinds.
static SETTINGS: LazyLock<PlanSettings> = LazyLock::new(|| PlanSettings::bare(Admission::HasRun));
static REQUESTER: LazyLock<Requester> = LazyLock::new(Requester::default);

/// How much longer than its deadline a review may take, in milliseconds (`engine/live.rs`, `GRACE`), and a moment.
const GRACE: Time = 250 + 5;
/// Requests for each review, on average; a pull of three images with three credentials by five runtimes takes some hundred.
const REQUESTS: u64 = 300;

pub fn run(script: &Script, options: &Options) -> Report {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(live(script, options))
}

struct Process {
    engine: Arc<Engine>,
    recent: Recent,
    metrics: Metrics,
    lag: Time,
}

/// What the watches show: by version of the cluster, namespace and listed secrets.
type Shown = HashMap<(usize, usize, Vec<&'static str>), Arc<Facts>>;

struct Simulation {
    script: Script,
    options: Options,
    world: Arc<World>,
    policies: Arc<Policies>,
    processes: Mutex<Vec<Arc<Process>>>,
    shown: Mutex<Shown>,
    pulls: Mutex<Pulls>,
    said: Mutex<Vec<Said>>,
    last: Mutex<Option<Vec<Judgement>>>,
}

/// Facts that are kept in memory.
const SHOWN: usize = 64;
/// Between two batches of pods, in milliseconds.
const BATCH: u64 = 5;

async fn live(script: &Script, options: &Options) -> Report {
    let mut content = script.content.clone();
    let mut passwords = script.passwords.clone();
    if let Some(namespace) = options.worthless {
        for registry in 0..content.registries.len() {
            let other = format!("pw-other{registry}");
            content.passwords.insert((registry, user(namespace)), other.clone());
            passwords.push((registry, namespace, other));
        }
    }
    let world = World::new(script.seed, content, script.cluster.clone(), options.tells);
    for (registry, namespace, password) in &passwords {
        world.inside().know_password(password, *registry, *namespace);
    }
    world.inside().dies = options.lie == Some(Lie::Dies);
    let simulation = Arc::new(Simulation {
        script: script.clone(),
        options: options.clone(),
        world,
        policies: Arc::default(),
        processes: Mutex::default(),
        shown: Mutex::default(),
        pulls: Mutex::default(),
        said: Mutex::default(),
        last: Mutex::default(),
    });
    for replica in 0..script.replicas.len() {
        let process = simulation.process(replica);
        locked(&simulation.processes).push(process);
    }
    simulation.happen().await;
    let mut inside = simulation.world.inside();
    Report {
        wrongs: std::mem::take(&mut inside.wrongs),
        story: inside.story.take().unwrap_or_default(),
        said: std::mem::take(&mut *locked(&simulation.said)),
        requests: inside.requests,
        pulls: locked(&simulation.pulls).len(),
    }
}

pub fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulation {
    fn process(&self, replica: usize) -> Arc<Process> {
        let network: Arc<dyn registry::Network> = Arc::<World>::clone(&self.world);
        let settings = registry::RegistrySettings {
            reach: Reach::Everything,
            cache_bytes: match self.options.lie {
                Some(Lie::Hoards) => self.script.cache_bytes * 100,
                _ => self.script.cache_bytes,
            },
            network: Some(network),
            ..registry::RegistrySettings::default()
        };
        let metrics = Metrics::new();
        Arc::new(Process {
            engine: Arc::new(Engine {
                registry: LookUps::new(settings, metrics.clone()).unwrap(),
                settings: PlanSettings {
                    depth: self.script.depth,
                    ..SETTINGS.clone()
                },
                providers: Providers::default(),
            }),
            recent: Recent::default(),
            metrics,
            lag: self.script.replicas[replica].lag,
        })
    }

    async fn happen(self: &Arc<Self>) {
        let began = Instant::now();
        let mut under_way = tokio::task::JoinSet::new();
        for (at, event) in &self.script.events {
            tokio::time::sleep_until(began + Duration::from_millis(*at)).await;
            event.happen(&mut self.world.inside());
            match event {
                Event::Review(review) => {
                    let (this, applied) = (Arc::clone(self), Applied::new(review.clone(), *at));
                    under_way.spawn(async move { this.apply(&applied).await });
                }
                Event::Restart { replica } => {
                    self.look_at(&locked(&self.processes)[*replica]);
                    let process = self.process(*replica);
                    locked(&self.processes)[*replica] = process;
                }
                _ => {}
            }
            tokio::task::yield_now().await;
            while let Some(ended) = under_way.try_join_next() {
                ended.unwrap();
            }
        }
        while let Some(ended) = under_way.join_next().await {
            ended.unwrap();
        }
        for process in locked(&self.processes).iter() {
            self.look_at(process);
        }
        let reviews = locked(&self.said).len() as u64;
        let mut inside = self.world.inside();
        if inside.requests > REQUESTS * reviews + 1_000 {
            let text = format!("{} requests for {reviews} reviews", inside.requests);
            inside.wrong("steps", text);
        }
    }

    /// Whether a process is as it should be.
    fn look_at(&self, process: &Process) {
        let text = process.metrics.encode();
        let sum = |name: &str| -> u64 {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
            lines.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
        };
        let (kept, panics) = (sum("pullgate_cache_weight_bytes{"), sum("pullgate_panics_total"));
        let mut inside = self.world.inside();
        if kept > self.script.cache_bytes {
            inside.wrong(
                "memory",
                format!("{kept} bytes are remembered, of {}", self.script.cache_bytes),
            );
        }
        if panics > 0 {
            inside.wrong("panics", format!("{panics} look-ups died"));
        }
    }

    /// Makes pods of a template as a controller does: one, then two at once, then four, and so on as long as none is denied
    /// (`slowStartBatch` in `pkg/controller/replicaset/replica_set.go`).
    async fn apply(&self, applied: &Applied) {
        let (mut made, wanted) = (0, applied.review.pods);
        while made < wanted {
            let batch = made..wanted.min(2 * made + 1);
            made = batch.end;
            let answers = join_all(batch.map(|pod| self.review(applied, pod))).await;
            if made == wanted || answers.contains(&false) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(BATCH)).await;
        }
    }

    /// Whether the pod is let in.
    async fn review(&self, applied: &Applied, pod: usize) -> bool {
        let review = &applied.review;
        let process = {
            let processes = locked(&self.processes);
            Arc::clone(&processes[(review.replica + pod) % processes.len()])
        };
        let start = {
            let mut inside = self.world.inside();
            let now = inside.now();
            inside.asked[review.namespace] = Some(now);
            now
        };
        let mut answer = self.answer(applied, &process).await;
        if let Some(lie) = self.options.lie {
            self.lie(lie, review, Arc::make_mut(&mut answer)).await;
        }
        let mut inside = self.world.inside();
        let end = inside.now();
        if end > start + review.deadline + GRACE {
            inside.wrong(
                "deadline",
                format!("a review of {} ms took {} ms", review.deadline, end - start),
            );
        }
        let said = Said {
            at: applied.at,
            namespace: review.namespace,
            start,
            end,
            answer,
        };
        inside.tell(|| format!("    {said}"));
        let lets_in = said
            .answer
            .images
            .iter()
            .all(|judged| judged.judgement.verdict != Verdict::Deny);
        check(
            &mut inside,
            &mut locked(&self.pulls),
            self.script.depth,
            process.lag,
            applied,
            &said,
        );
        drop(inside);
        locked(&self.said).push(said);
        lets_in
    }

    async fn lie(&self, lie: Lie, review: &Review, answer: &mut ReviewResult) {
        match lie {
            Lie::Dawdles => tokio::time::sleep(Duration::from_millis(review.deadline + 300)).await,
            Lie::Denies => answer.images.iter_mut().for_each(|judged| {
                if judged.judgement.outlook == Outlook::Pulls {
                    judged.judgement.verdict = Verdict::Deny;
                }
            }),
            Lie::Allows => answer.images.iter_mut().for_each(|judged| {
                if judged.judgement.outlook == Outlook::WillFail {
                    judged.judgement.outlook = Outlook::Pulls;
                    judged.judgement.verdict = Verdict::Allow;
                }
            }),
            Lie::Repeats => {
                let own: Vec<Judgement> = answer.images.iter().map(|judged| judged.judgement.clone()).collect();
                if let Some(before) = locked(&self.last).replace(own) {
                    for (judged, before) in answer.images.iter_mut().zip(before) {
                        judged.judgement = before;
                    }
                }
            }
            Lie::SharesSecrets | Lie::MovesSecrets | Lie::Hoards | Lie::Insists | Lie::Dies => {}
        }
    }

    /// As `serve` answers (`Gate::judge_and_keep`).
    async fn answer(&self, applied: &Applied, process: &Process) -> Arc<ReviewResult> {
        let deadline = Instant::now() + Duration::from_millis(applied.review.deadline);
        let facts = self.shown(&applied.review, process.lag);
        let question = Question::of(applied.key, &facts, &process.engine, &self.policies);
        if let Some(answer) = process.recent.get(&question) {
            return answer;
        }
        let sources = Sources {
            simulation: self,
            process,
            review: &applied.review,
            begun: Instant::now(),
            deadline,
            facts: Mutex::new(facts),
            recalled: Mutex::default(),
            waited: AtomicBool::new(false),
        };
        let input = ReviewInput {
            workload: &applied.workload,
            requester: &REQUESTER,
            settings: &process.engine.settings,
            policies: &self.policies,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let until = deadline + Duration::from_millis(250);
        let answer = Arc::new(drive(&sources, until, |ask| review(&input, ask)).await.0);
        if !sources.waited.into_inner() {
            process.recent.keep(question, &answer);
        }
        answer
    }

    /// What the watches of a replica have shown of a namespace.
    fn shown(&self, review: &Review, lag: Time) -> Arc<Facts> {
        let (version, cluster) = self.world.inside().cluster_before(lag);
        let mut shown = locked(&self.shown);
        if shown.len() >= SHOWN {
            shown.clear();
        }
        let key = (version, review.namespace, review.lists.clone());
        Arc::clone(shown.entry(key).or_insert_with(|| Arc::new(self.given(&cluster, review))))
    }

    fn given(&self, cluster: &Cluster, review: &Review) -> Facts {
        let own = review.namespace;
        let mut cluster = cluster.clone();
        match self.options.lie {
            Some(Lie::SharesSecrets) => cluster.namespaces[own] = cluster.namespaces[(own + 1) % 3].clone(),
            Some(Lie::MovesSecrets) => {
                for secret in cluster.namespaces[own].secrets.values_mut() {
                    for (key, _, _) in &mut secret.entries {
                        let at = HOSTS.iter().position(|host| key == host).unwrap_or_default();
                        HOSTS[(at + 1) % HOSTS.len()].clone_into(key);
                    }
                }
            }
            _ => {}
        }
        cluster.facts(own, &review.lists)
    }
}

/// A template that somebody has applied.
pub struct Applied {
    pub review: Review,
    /// When.
    pub at: Time,
    workload: Workload,
    key: ReviewKey,
    /// What was held against nodes already.
    pub held: Mutex<Held>,
}

impl Applied {
    fn new(review: Review, at: Time) -> Self {
        let namespace = crate::cluster::NAMESPACES[review.namespace];
        let workload = extract(&object(&review), None, namespace, &SETTINGS.kinds).unwrap();
        Self {
            key: ReviewKey::of(&workload, &REQUESTER).unwrap(),
            workload,
            review,
            at,
            held: Mutex::default(),
        }
    }
}

fn object(review: &Review) -> Value {
    let containers: Vec<Value> = review
        .images
        .iter()
        .enumerate()
        .map(|(at, image)| json!({"name": format!("c{at}"), "image": image}))
        .collect();
    let secrets: Vec<Value> = review.lists.iter().map(|name| json!({"name": name})).collect();
    let mut spec = json!({"containers": containers, "imagePullSecrets": secrets});
    if let Some(only) = review.only {
        spec["nodeSelector"] = json!({"kubernetes.io/arch": only});
    }
    let metadata = json!({"name": "app"});
    if review.pod {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    } else {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": spec}}})
    }
}

/// What answers one review, as `engine/live.rs` has it, with the cluster of the world.
struct Sources<'a> {
    simulation: &'a Simulation,
    process: &'a Process,
    review: &'a Review,
    begun: Instant,
    deadline: Instant,
    facts: Mutex<Arc<Facts>>,
    recalled: Mutex<HashMap<ReviewQuestion, Recalled>>,
    waited: AtomicBool,
}

impl Sources<'_> {
    async fn pulls(&self, about: &ReviewQuestion, checks: &[Check], until: Instant) -> Fact {
        let namespace = Arc::from(crate::cluster::NAMESPACES[self.review.namespace]);
        if self.simulation.options.lie == Some(Lie::Insists) {
            for _ in 0..400 {
                let look_ups = &self.simulation.process(self.review.replica).engine.registry;
                look_ups.finish(look_ups.recall(checks), checks, until).await;
            }
        }
        let look_ups = &self.process.engine.registry;
        let recalled = locked(&self.recalled).remove(about);
        let recalled = recalled.unwrap_or_else(|| look_ups.recall(checks));
        let pulled = registry::on_behalf_of(namespace, look_ups.finish(recalled, checks, until));
        Fact::Pulls(pulled.await.into())
    }
}

impl Recall<ReviewQuestion> for Sources<'_> {
    fn recall(&self, about: &ReviewQuestion) -> Option<Fact> {
        match about {
            ReviewQuestion::Facts => Some(Fact::Facts(Arc::clone(&locked(&self.facts)))),
            ReviewQuestion::NodeCredentials(_) => Some(Fact::NodeCredentials(Arc::new([]))),
            ReviewQuestion::Pulls(checks) | ReviewQuestion::Elsewhere(checks) => {
                let recalled = self.process.engine.registry.recall(checks);
                let all = recalled.all().map(Fact::Pulls);
                if all.is_none() {
                    locked(&self.recalled).insert(about.clone(), recalled);
                }
                all
            }
            ReviewQuestion::Again(_) | ReviewQuestion::Confirm(_) | ReviewQuestion::Owner(_) => {
                Recall::<ReviewQuestion>::recall(&Nothing, about)
            }
        }
    }
}

impl Source<ReviewQuestion> for Sources<'_> {
    async fn fetch(&self, about: ReviewQuestion) -> (ReviewQuestion, Fact) {
        self.waited.store(true, Ordering::Relaxed);
        let fact = match &about {
            ReviewQuestion::Again(objects) => {
                let now = Arc::clone(self.simulation.world.inside().cluster());
                let mut facts = locked(&self.facts);
                *facts = Arc::new(now.reread(&facts, self.review.namespace, objects));
                Fact::Facts(Arc::clone(&facts))
            }
            ReviewQuestion::Pulls(checks) => self.pulls(&about, checks, self.deadline).await,
            ReviewQuestion::Confirm(checks) => {
                let namespace = Arc::from(crate::cluster::NAMESPACES[self.review.namespace]);
                let confirmed = self.process.engine.registry.confirm(checks, self.begun, self.deadline);
                Fact::Pulls(registry::on_behalf_of(namespace, confirmed).await.into())
            }
            ReviewQuestion::Elsewhere(checks) => {
                let until = self.deadline.min(Instant::now() + Duration::from_millis(1500));
                self.pulls(&about, checks, until).await
            }
            ReviewQuestion::Facts | ReviewQuestion::Owner(_) | ReviewQuestion::NodeCredentials(_) => Fact::Late,
        };
        (about, fact)
    }
}
