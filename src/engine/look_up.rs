//! Looks up pulls at registries: from remembered answers if they suffice, otherwise in a task of its own that outlives the review that
//! started it.

use crate::ask::{Ask, Log, Missing, Question as _, Recall, Step, step};
use crate::diagnosis;
use crate::engine::{Transcripts, drive};
use crate::image::Reference;
use crate::limits;
use crate::plan::{Check, Offer};
use crate::registry::{NodeLogins, RegistrySettings, SetupError, Wire, on_behalf_of, share};
use crate::runtime::containerd::peers;
use crate::runtime::crio::node::NodeSettings;
use crate::runtime::crio::openshift::OperatorConfig;
use crate::runtime::kubelet::{self, Attempt, Attempts, OfferedCredential, PodPull};
use crate::runtime::outcome::{Evidence, Failure, TimeoutStage};
use crate::runtime::request::{Agents, Request, Who};
use crate::runtime::{Depth, NodeConfig, Pool, Puller};
use crate::telemetry::{CacheName, CacheResult, Metrics};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use moka::sync::Cache;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long better words are looked for once a pull has failed.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the result of a pull is used again: an image that many reviews name is decided once a second, not once a review. The answers
/// that it rests on are remembered for longer (contract 6).
const LATEST: Duration = Duration::from_secs(1);
/// The same of a pull that did not go well: while a registry is down, the pods of one controller arrive by the dozen. A denial does not rest
/// on it: what it rests on is asked for once more ([`LookUps::confirm`]).
const LATEST_FAILED: Duration = Duration::from_millis(50);
/// What an attempt that failed weighs, in bytes, roughly: its words are bounded.
const FAILURE: usize = 2 << 10;
/// The most that these may weigh, in bytes.
const LATEST_BYTES: u64 = 2 << 20;

/// A pull in flight, shared by everyone who waits for it.
type Flight = Shared<BoxFuture<'static, Arc<Attempts>>>;

/// What memory had of some checks.
#[derive(Debug)]
pub struct Recalled {
    /// By check; `None` where a registry must be asked.
    known: Vec<Option<Arc<Attempts>>>,
    /// By check, where nothing is known; `None` where the nodes' settings must be read first.
    pods: Vec<Option<PodPull>>,
    /// What may still be held for the object, in bytes.
    room: usize,
}

impl Recalled {
    /// The answers in the order of the checks, if all are known.
    pub fn all(&self) -> Option<Arc<[Arc<Attempts>]>> {
        self.known.iter().cloned().collect()
    }

    /// As much as there is room for.
    fn within(&mut self, attempts: Arc<Attempts>, registry: &str) -> Arc<Attempts> {
        let weight = attempts.weight();
        if weight > self.room {
            return Arc::new(too_much(registry));
        }
        self.room -= weight;
        attempts
    }
}

/// The key of a check's recent result: it contains whose credentials are used, not the credentials.
#[derive(PartialEq, Eq)]
struct Key {
    reference: Reference,
    namespace: Arc<str>,
    short: Option<Arc<str>>,
    offers: Vec<OfferedCredential>,
    depth: Depth,
    pullers: Arc<[Puller]>,
    agents: Agents,
    peers_only: Arc<[Pool]>,
}

impl Key {
    fn of(check: &Check) -> Self {
        let offered = |offer: &Offer| OfferedCredential {
            who: Who::of(&offer.credential),
            source: offer.source.clone(),
            sent: offer.sent,
        };
        Self {
            reference: check.reference.clone(),
            namespace: Arc::clone(&check.namespace),
            short: check.short.clone(),
            offers: check.credentials.iter().map(offered).collect(),
            depth: check.depth,
            pullers: Arc::clone(&check.pullers),
            agents: check.agents,
            peers_only: Arc::clone(&check.peers_only),
        }
    }
}

/// What tells most checks apart; the rest is left to the comparison.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reference.hash(state);
        self.namespace.hash(state);
        self.offers.first().map(|offer| offer.who.id).hash(state);
    }
}

/// The door to all registries. Cheap to clone.
#[derive(Clone)]
pub struct LookUps {
    wire: Wire,
    flights: Arc<Mutex<HashMap<PodPull, (Flight, Instant)>>>,
    /// Recent results of pulls, and until when they serve.
    latest: Cache<Key, (Arc<Attempts>, Instant)>,
    limit: Duration,
    metrics: Metrics,
    /// Where requests and answers are recorded, if anyone wants them.
    transcripts: OnceLock<Transcripts>,
}

impl std::fmt::Debug for LookUps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LookUps")
    }
}

impl LookUps {
    /// The configuration of CRI-O nodes, if no file in the settings gives it.
    pub fn set_openshift(&self, config: Option<Result<OperatorConfig, String>>) {
        self.wire.set_openshift(config);
    }

    /// Records requests and answers from now on.
    pub fn transcribe(&self, into: Transcripts) {
        // Whoever asked first has them.
        let _ = self.transcripts.set(into);
    }

    /// Opens it. The error is a sentence, or a line for each `hosts.toml` that cannot be used.
    pub fn new(settings: RegistrySettings, metrics: Metrics) -> Result<Self, SetupError> {
        let limit = settings.look_up_limit;
        Ok(Self {
            wire: Wire::new(settings, metrics.clone())?,
            flights: Arc::default(),
            latest: Cache::builder()
                .max_capacity(LATEST_BYTES)
                .weigher(|_, (attempts, _): &(Arc<Attempts>, Instant)| {
                    let others = attempts.others.iter().flat_map(|(_, attempts)| attempts);
                    let all = attempts.attempts.iter().chain(others);
                    let failed = all.filter(|attempt| attempt.result.is_err()).count();
                    u32::try_from(1024 + FAILURE * failed + attempts.weight()).unwrap_or(u32::MAX)
                })
                .time_to_live(LATEST)
                .build(),
            limit,
            metrics,
            transcripts: OnceLock::new(),
        })
    }

    /// Asks all `checks` at once; the answers are in their order. Returns at `deadline` at the latest: what is not known by then is
    /// [`TimeoutStage::Deadline`]. What was begun goes on and is remembered.
    pub async fn gather(&self, checks: &[Check], deadline: Instant) -> Vec<Attempts> {
        let answers = self.finish(self.recall(checks), checks, deadline).await;
        answers.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    /// So many pulls were known without asking for any of them.
    pub fn remembered(&self, checks: usize) {
        self.metrics.caches(CacheName::Answers, CacheResult::Hit, checks);
    }

    /// What memory has of `checks`.
    pub fn recall(&self, checks: &[Check]) -> Recalled {
        let mut recalled = Recalled {
            known: Vec::with_capacity(checks.len()),
            pods: Vec::new(),
            room: limits::FOUND_PER_OBJECT,
        };
        for check in checks.iter().take(limits::LOOK_UPS_PER_OBJECT) {
            let key = Key::of(check);
            let latest = self.latest.get(&key).filter(|(_, until)| Instant::now() < *until);
            let (known, pod) = if let Some((attempts, _)) = latest {
                (Some(attempts), None)
            } else {
                // Nothing of it needs the deadline, or it is read in `finish`.
                let pod = self.pod(check).now_or_never();
                (pod.as_ref().and_then(|pod| self.known(key, pod)), pod)
            };
            if known.is_some() {
                self.metrics.cache(CacheName::Answers, CacheResult::Hit);
            }
            let known = known.map(|attempts| recalled.within(attempts, check.reference.registry()));
            recalled.known.push(known);
            recalled.pods.push(pod);
        }
        for check in checks.iter().skip(limits::LOOK_UPS_PER_OBJECT) {
            let most = format!("pullgate looks up {} images of one object", limits::LOOK_UPS_PER_OBJECT);
            recalled
                .known
                .push(Some(Arc::new(unasked(check.reference.registry(), Some(most)))));
            recalled.pods.push(None);
        }
        recalled
    }

    /// What memory has for one pull.
    fn known(&self, key: Key, pod: &PodPull) -> Option<Arc<Attempts>> {
        let Step::Done(attempts) = step(&mut Log::default(), &self.wire, |ask| explained(pod, ask)) else {
            return None;
        };
        let attempts = Arc::new(self.or_stale(pod, attempts));
        let good = |attempt: &Attempt| match &attempt.result {
            // A broken part may be repaired at any moment.
            Ok(facts) => {
                !facts.stale
                    && facts
                        .builds
                        .iter()
                        .all(|build| build.content.is_ok() && build.troubles.is_empty())
            }
            Err(_) => false,
        };
        let is_good = attempts.attempts.iter().all(good) && attempts.others.is_empty();
        let serves = if is_good { LATEST } else { LATEST_FAILED };
        self.latest.insert(key, (Arc::clone(&attempts), Instant::now() + serves));
        Some(attempts)
    }

    /// Asks for what memory did not have of these `checks`, as [`Self::gather`] does.
    pub async fn finish(&self, mut recalled: Recalled, checks: &[Check], deadline: Instant) -> Vec<Arc<Attempts>> {
        let mut open: Vec<(usize, PodPull)> = Vec::new();
        let pods = std::mem::take(&mut recalled.pods);
        for (at, (pod, check)) in pods.into_iter().zip(checks).enumerate() {
            if matches!(recalled.known.get(at), Some(None)) {
                let pod = match pod {
                    Some(pod) => Some(pod),
                    // The nodes' settings could not be read in time.
                    None => tokio::time::timeout_at(deadline, self.pod(check)).await.ok(),
                };
                open.extend(pod.map(|pod| (at, pod)));
            }
        }
        #[expect(
            clippy::mutable_key_type,
            reason = "a compiled pattern has a cache inside, which no comparison looks at"
        )]
        let mut known: HashMap<&PodPull, usize> = HashMap::new();
        // Each pull once, in the order of the checks.
        let mut each: Vec<(&PodPull, Vec<usize>)> = Vec::new();
        for (at, pod) in &open {
            let place = *known.entry(pod).or_insert(each.len());
            match each.get_mut(place) {
                Some((_, places)) => places.push(*at),
                None => each.push((pod, vec![*at])),
            }
        }
        // A loop, since the compiler takes no closure over borrowed pulls for one that may be sent.
        let mut look_ups = Vec::new();
        for (pod, places) in &each {
            look_ups.push(async move { (pod, places, self.one(pod, deadline).await) });
        }
        let mut begun = futures_util::stream::iter(look_ups).buffer_unordered(limits::LOOK_UPS_AT_ONCE);
        while let Some((pod, places, outcome)) = begun.next().await {
            let outcome = recalled.within(outcome, pod.reference.registry());
            for at in places {
                if let Some(known) = recalled.known.get_mut(*at) {
                    *known = Some(Arc::clone(&outcome));
                }
            }
        }
        drop(begun);
        let answers = recalled.known.into_iter().zip(checks);
        answers
            .map(|(known, check)| known.unwrap_or_else(|| Arc::new(unasked(check.reference.registry(), None))))
            .collect()
    }

    /// Asks `checks` once more for a review that began at `begun`, without what memory has from well before, except what cannot change: a tag's digest is
    /// remembered for longer than a denial may rest on it.
    pub async fn confirm(&self, checks: &[Check], begun: Instant, deadline: Instant) -> Vec<Arc<Attempts>> {
        let until = deadline.min(Instant::now() + self.limit);
        // A loop, since the compiler takes no closure over borrowed checks for one that may be sent.
        let mut look_ups = Vec::new();
        for (at, check) in checks.iter().enumerate().take(limits::LOOK_UPS_PER_OBJECT) {
            look_ups.push(async move {
                let registry = check.reference.registry();
                let pull = async {
                    let pod = self.pod(check).await;
                    let (attempts, _) = drive(&self.wire.without_older(begun), until, |ask| explained(&pod, ask)).await;
                    self.or_stale(&pod, attempts)
                };
                let bounded = tokio::time::timeout_at(deadline, AssertUnwindSafe(pull).catch_unwind());
                let attempts = match bounded.await {
                    Ok(Ok(attempts)) => attempts,
                    Ok(Err(_panic)) => self.panicked(registry),
                    // The nodes' settings could not be read in time.
                    Err(_) => unasked(registry, None),
                };
                (at, Arc::new(attempts))
            });
        }
        let mut confirmed: Vec<Arc<Attempts>> = checks
            .iter()
            .map(|check| Arc::new(unasked(check.reference.registry(), None)))
            .collect();
        let mut room = Recalled {
            known: Vec::new(),
            pods: Vec::new(),
            room: limits::FOUND_PER_OBJECT,
        };
        let mut pulls = futures_util::stream::iter(look_ups).buffer_unordered(limits::LOOK_UPS_AT_ONCE);
        while let Some((at, attempts)) = pulls.next().await {
            if let (Some(place), Some(check)) = (confirmed.get_mut(at), checks.get(at)) {
                self.latest.invalidate(&Key::of(check));
                *place = room.within(attempts, check.reference.registry());
            }
        }
        drop(pulls);
        confirmed
    }

    fn panicked(&self, registry: &str) -> Attempts {
        self.metrics.panicked();
        tracing::error!("a registry look-up panicked; its image is judged as unknown");
        Attempts::ended(Evidence::Internal, registry)
    }

    /// The registry of the pull that is under way for the longest, and for how long.
    pub fn slowest(&self) -> Option<(String, Duration)> {
        let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let (pod, (_, begun)) = flights.iter().min_by_key(|(_, (_, begun))| *begun)?;
        Some((pod.reference.registry().to_owned(), begun.elapsed()))
    }

    /// The configuration of nodes with CRI-O by pool, where it is known.
    pub async fn registries_conf(&self) -> BTreeMap<Pool, Arc<NodeSettings>> {
        self.wire.registries_conf().await
    }

    /// The registries whose images nodes of k3s give each other, pool by pool, where it is known.
    pub async fn shared(&self) -> BTreeMap<Pool, Arc<peers::Shared>> {
        self.wire.shared().await
    }

    /// What OpenShift's kubelets log in with, beside the pods' own.
    pub fn node_logins(&self) -> NodeLogins {
        self.wire.node_logins()
    }

    /// The pull that a check asks about. Waits for the nodes' settings, where those are files that may have changed.
    async fn pod(&self, check: &Check) -> PodPull {
        let mut configs = BTreeMap::new();
        let pools = check.pullers.iter().map(|puller| puller.pool);
        for pool in pools.chain(check.pullers.is_empty().then(Pool::default)) {
            if let Entry::Vacant(vacant) = configs.entry(pool) {
                let mut read = self.wire.node_configs(pool, &check.reference, &check.namespace).await;
                if check.peers_only.contains(&pool) {
                    read.containerd = NodeConfig::PeersOnly;
                }
                vacant.insert(read);
            }
        }
        let offered = |offer: &Offer| OfferedCredential {
            who: self.wire.knows(&offer.credential),
            source: offer.source.clone(),
            sent: offer.sent,
        };
        PodPull {
            reference: check.reference.clone(),
            offers: check.credentials.iter().map(offered).collect(),
            short: check.short.clone(),
            pullers: Arc::clone(&check.pullers),
            configs,
            until: check.depth,
            agents: check.agents,
        }
    }

    /// One pull that memory does not know.
    async fn one(&self, pod: &PodPull, deadline: Instant) -> Arc<Attempts> {
        if Instant::now() < deadline {
            let (flight, result) = self.join(pod);
            self.metrics.cache(CacheName::Answers, result);
            if let Ok(attempts) = tokio::time::timeout_at(deadline, flight).await {
                return attempts;
            }
        }
        let late = at_once(&self.wire, pod);
        Arc::new(self.or_stale(pod, late))
    }

    /// The pull that is under way, or a new one.
    fn join(&self, pod: &PodPull) -> (Flight, CacheResult) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((flight, _)) = flights.get(pod) {
            return (flight.clone(), CacheResult::Joined);
        }
        let (this, own) = (self.clone(), pod.clone());
        let task = tokio::spawn(on_behalf_of(share(), async move {
            let pulled = AssertUnwindSafe(this.pull(&own)).catch_unwind().await;
            this.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
            pulled.unwrap_or_else(|_panic| this.panicked(own.reference.registry()))
        }));
        let registry = pod.reference.registry().to_owned();
        let flight = async move {
            let done = task.await;
            // The runtime is shutting down; panics are caught within.
            Arc::new(done.unwrap_or_else(|_| Attempts::ended(Evidence::Internal, &registry)))
        };
        let flight = flight.boxed().shared();
        flights.insert(pod.clone(), (flight.clone(), Instant::now()));
        (flight, CacheResult::Miss)
    }

    async fn pull(&self, pod: &PodPull) -> Attempts {
        let (attempts, answers) = drive(&self.wire, Instant::now() + self.limit, |ask| kubelet::pull(pod, ask)).await;
        if let Some(transcripts) = self.transcripts.get() {
            transcripts.add(pod, answers);
        }
        let until = Instant::now() + PATIENCE.min(self.limit);
        let (attempts, _) = drive(&self.wire, until, |ask| {
            let mut told = attempts.clone();
            tell(pod, &mut told, ask)?;
            Ok(told)
        })
        .await;
        self.or_stale(pod, attempts)
    }

    /// If the registry is in trouble, the remembered answer, unless it is too old.
    fn or_stale(&self, pod: &PodPull, attempts: Attempts) -> Attempts {
        let down = |attempt: &Attempt| match &attempt.result {
            Err(failure) => failure.evidence.is_down(),
            // Of a part of it nothing is known.
            Ok(facts) => facts.builds.iter().any(|build| {
                let failed = build.content.as_ref().err().into_iter().chain(&build.troubles);
                failed.into_iter().any(|failure| failure.evidence.is_down())
            }),
        };
        if !attempts.attempts.iter().any(down) {
            return attempts;
        }
        let mut old = at_once(&self.wire.stale(), pod);
        if old.attempts.iter().any(down) {
            return attempts;
        }
        match old.attempts.last_mut().map(|attempt| &mut attempt.result) {
            Some(Ok(facts)) => {
                self.metrics.cache(CacheName::Answers, CacheResult::Stale);
                facts.stale = true;
                facts.quota = None;
                old
            }
            Some(Err(_)) | None => attempts,
        }
    }
}

fn explained(pod: &PodPull, ask: &mut Ask<'_, Request>) -> Result<Attempts, Missing> {
    let mut attempts = kubelet::pull(pod, ask)?;
    tell(pod, &mut attempts, ask)?;
    Ok(attempts)
}

/// Improves the wording of failures.
fn tell(pod: &PodPull, attempts: &mut Attempts, ask: &mut Ask<'_, Request>) -> Result<(), Missing> {
    let others = attempts.others.iter_mut().map(|(_, attempts)| attempts);
    let all: Vec<&mut Attempt> = std::iter::once(&mut attempts.attempts).chain(others).flatten().collect();
    ask.each(all, |ask, attempt| {
        if let Err(failure) = &attempt.result {
            attempt.result = Err(diagnosis::explain(&pod.reference, failure, ask)?);
        }
        Ok(())
    })?;
    Ok(())
}

/// What memory knows without a request; the rest is late.
fn at_once(memory: &dyn Recall<Request>, pod: &PodPull) -> Attempts {
    let mut log = Log::default();
    loop {
        match step(&mut log, memory, |ask| kubelet::pull(pod, ask)) {
            Step::Done(attempts) => return attempts,
            Step::Ask(questions) => {
                for question in questions {
                    let late = question.late();
                    log.insert(question, late);
                }
            }
        }
    }
}

/// More was found than is kept for one object.
fn too_much(registry: &str) -> Attempts {
    let failure = Failure {
        detail: Some("the manifests of this object's images take more memory than one object may use".to_owned()),
        ..Failure::plain(Evidence::TimedOut(TimeoutStage::Deadline), registry.to_owned())
    };
    Attempts {
        attempts: vec![Attempt {
            source: None,
            result: Err(failure),
        }],
        ..Attempts::default()
    }
}

/// An image that is not asked for, or not in time.
fn unasked(registry: &str, detail: Option<String>) -> Attempts {
    let unasked = Failure {
        detail,
        ..Failure::plain(Evidence::TimedOut(TimeoutStage::Deadline), registry.to_owned())
    };
    Attempts {
        attempts: vec![Attempt {
            source: None,
            result: Err(unasked),
        }],
        ..Attempts::default()
    }
}
