//! Lets a script happen, and looks at every answer.

use crate::check::{Said, check};
use crate::cluster::Cluster;
use crate::node::Pulls;
use crate::script::{Event, HOSTS, Review, Script, user};
use crate::world::{Time, World};
use pullgate::ask::{Nothing, Recall, Source};
use pullgate::cluster::Facts;
use pullgate::engine::{LookUps, drive};
use pullgate::gate::{About, Case, Fact, review};
use pullgate::net::Reach;
use pullgate::plan::{Admission, Check, Settings};
use pullgate::policy::{Policies, Requester};
use pullgate::registry;
use pullgate::telemetry::Metrics;
use pullgate::verdict::answer::Answer;
use pullgate::verdict::{Judgement, Outlook, Verdict};
use pullgate::workload::{Workload, extract};
use serde_json::{Value, json};
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
static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings::bare(Admission::HasRun));

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
    look_ups: LookUps,
    metrics: Metrics,
    lag: Time,
}

struct Simulation {
    script: Script,
    options: Options,
    world: Arc<World>,
    processes: Mutex<Vec<Arc<Process>>>,
    pulls: Mutex<Pulls>,
    said: Mutex<Vec<Said>>,
    last: Mutex<Option<Vec<Judgement>>>,
}

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
        processes: Mutex::default(),
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
        let settings = registry::Settings {
            reach: Reach::Everything,
            cache_bytes: match self.options.lie {
                Some(Lie::Hoards) => self.script.cache_bytes * 100,
                _ => self.script.cache_bytes,
            },
            network: Some(network),
            ..registry::Settings::default()
        };
        let metrics = Metrics::new();
        Arc::new(Process {
            look_ups: LookUps::new(settings, metrics.clone()).unwrap(),
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
                    let process = Arc::clone(&locked(&self.processes)[review.replica]);
                    let (this, review, at) = (Arc::clone(self), review.clone(), *at);
                    under_way.spawn(async move { this.review(&review, &process, at).await });
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

    async fn review(&self, review: &Review, process: &Process, at: Time) {
        let start = {
            let mut inside = self.world.inside();
            let now = inside.now();
            inside.reviews.retain(|(_, begun)| begun + 60_000 > now);
            inside.reviews.push((review.namespace, now));
            now
        };
        let mut answer = self.answer(review, process).await;
        match self.options.lie {
            Some(Lie::Dawdles) => tokio::time::sleep(Duration::from_millis(review.deadline + 300)).await,
            Some(Lie::Denies) => answer.images.iter_mut().for_each(|judged| {
                if judged.judgement.outlook == Outlook::Pulls {
                    judged.judgement.verdict = Verdict::Deny;
                }
            }),
            Some(Lie::Allows) => answer.images.iter_mut().for_each(|judged| {
                if judged.judgement.outlook == Outlook::WillFail {
                    judged.judgement.outlook = Outlook::Pulls;
                    judged.judgement.verdict = Verdict::Allow;
                }
            }),
            Some(Lie::Repeats) => {
                let own: Vec<Judgement> = answer.images.iter().map(|judged| judged.judgement.clone()).collect();
                if let Some(before) = locked(&self.last).replace(own) {
                    for (judged, before) in answer.images.iter_mut().zip(before) {
                        judged.judgement = before;
                    }
                }
            }
            _ => {}
        }
        let mut inside = self.world.inside();
        let end = inside.now();
        if end > start + review.deadline + GRACE {
            inside.wrong(
                "deadline",
                format!("a review of {} ms took {} ms", review.deadline, end - start),
            );
        }
        let said = Said::new(review, at, start, end, &answer);
        inside.tell(|| format!("    {said}"));
        check(
            &mut inside,
            &mut locked(&self.pulls),
            self.script.depth,
            process.lag,
            review,
            &said,
        );
        drop(inside);
        locked(&self.said).push(said);
    }

    async fn answer(&self, review_of: &Review, process: &Process) -> Answer {
        let namespace = crate::cluster::NAMESPACES[review_of.namespace];
        let workload = extract(&object(review_of), None, namespace, &SETTINGS.kinds).unwrap();
        let settings = Settings {
            depth: self.script.depth,
            ..SETTINGS.clone()
        };
        let deadline = Instant::now() + Duration::from_millis(review_of.deadline);
        let sources = Sources {
            simulation: self,
            process,
            review: review_of,
            workload: &workload,
            deadline,
            facts: Mutex::default(),
        };
        let case = Case {
            workload: &workload,
            requester: &Requester::default(),
            settings: &settings,
            policies: &Policies::default(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let until = deadline + Duration::from_millis(250);
        drive(&sources, until, |ask| review(&case, ask)).await.0
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
    workload: &'a Workload,
    deadline: Instant,
    facts: Mutex<Option<Facts>>,
}

impl Sources<'_> {
    fn given(&self, cluster: &Cluster) -> Facts {
        let own = self.review.namespace;
        let mut cluster = cluster.clone();
        match self.simulation.options.lie {
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
        cluster.facts(own, &self.review.lists)
    }

    async fn pulls(&self, checks: &[Check], until: Instant) -> Fact {
        let namespace = Arc::from(self.workload.object.namespace.as_str());
        if self.simulation.options.lie == Some(Lie::Insists) {
            for _ in 0..400 {
                let look_ups = &self.simulation.process(self.review.replica).look_ups;
                look_ups.finish(look_ups.recall(checks), checks, until).await;
            }
        }
        let look_ups = &self.process.look_ups;
        let pulled = registry::on_behalf_of(namespace, look_ups.finish(look_ups.recall(checks), checks, until));
        Fact::Pulls(pulled.await.into())
    }
}

impl Recall<About> for Sources<'_> {
    fn recall(&self, about: &About) -> Option<Fact> {
        match about {
            About::Facts => {
                let shown = self.simulation.world.inside().cluster_before(self.process.lag);
                let facts = self.given(&shown);
                *locked(&self.facts) = Some(facts.clone());
                Some(Fact::Facts(Arc::new(facts)))
            }
            About::NodeCredentials(_) => Some(Fact::NodeCredentials(Arc::new([]))),
            About::Pulls(checks) | About::Elsewhere(checks) => self.process.look_ups.recall(checks).all().map(Fact::Pulls),
            About::Again(_) | About::Owner(_) => Recall::<About>::recall(&Nothing, about),
        }
    }
}

impl Source<About> for Sources<'_> {
    async fn fetch(&self, about: About) -> (About, Fact) {
        let fact = match &about {
            About::Again(objects) => {
                let before = locked(&self.facts).clone();
                let now = Arc::clone(self.simulation.world.inside().cluster());
                match before {
                    Some(before) => {
                        let fresh = now.reread(&before, self.review.namespace, objects);
                        *locked(&self.facts) = Some(fresh.clone());
                        Fact::Facts(Arc::new(fresh))
                    }
                    None => Fact::Late,
                }
            }
            About::Pulls(checks) => self.pulls(checks, self.deadline).await,
            About::Elsewhere(checks) => {
                let until = self.deadline.min(Instant::now() + Duration::from_millis(1500));
                self.pulls(checks, until).await
            }
            About::Facts | About::Owner(_) | About::NodeCredentials(_) => Fact::Late,
        };
        (about, fact)
    }
}
