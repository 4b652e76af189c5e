//! Pulls of images, asked of registries: over what is remembered where that is enough, else by a task of its own that outlives the review
//! that began it.

use crate::ask::{Ask, Log, Missing, Question as _, Recall, Step, step};
use crate::diagnosis;
use crate::engine::drive;
use crate::limits;
use crate::plan::{Check, Offer};
use crate::registry::{Settings, SetupError, Wire, on_behalf_of, share};
use crate::runtime::Pool;
use crate::runtime::kubelet::{self, Attempt, Attempts, Offered, PodPull};
use crate::runtime::outcome::{Evidence, Failure, TimeoutStage};
use crate::runtime::request::Request;
use crate::telemetry::{CacheName, CacheResult, Metrics};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a pull that failed is asked about for better words.
const PATIENCE: Duration = Duration::from_secs(3);

/// A pull that is under way, for everybody who waits for it.
type Flight = Shared<BoxFuture<'static, Arc<Attempts>>>;

/// The door to all registries. Cheap to clone.
#[derive(Clone)]
pub struct LookUps {
    wire: Wire,
    flights: Arc<Mutex<HashMap<PodPull, Flight>>>,
    limit: Duration,
    metrics: Metrics,
}

impl std::fmt::Debug for LookUps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LookUps")
    }
}

impl LookUps {
    /// Opens it. The error is a sentence, or a line for each `hosts.toml` that cannot be used.
    pub fn new(settings: Settings, metrics: Metrics) -> Result<Self, SetupError> {
        let limit = settings.look_up_limit;
        Ok(Self {
            wire: Wire::new(settings, metrics.clone())?,
            flights: Arc::default(),
            limit,
            metrics,
        })
    }

    /// Asks all `checks` at once; the answers are in their order. Returns at `deadline` at the latest: what is not known by then is
    /// [`TimeoutStage::Deadline`]. What was begun goes on and is remembered.
    pub async fn gather(&self, checks: &[Check], deadline: Instant) -> Vec<Attempts> {
        let mut pods: Vec<Option<PodPull>> = Vec::with_capacity(checks.len());
        for check in checks {
            pods.push(self.pod(check, deadline).await);
        }
        let mut places: HashMap<&PodPull, usize> = HashMap::new();
        let mut distinct: Vec<&PodPull> = Vec::new();
        let place: Vec<Option<usize>> = pods
            .iter()
            .map(|pod| {
                let pod = pod.as_ref()?;
                Some(*places.entry(pod).or_insert_with(|| {
                    distinct.push(pod);
                    distinct.len() - 1
                }))
            })
            .collect();
        // A loop, since the compiler takes no closure over borrowed pulls for one that may be sent.
        let mut look_ups = Vec::new();
        for (at, pod) in distinct.into_iter().take(limits::LOOK_UPS_PER_OBJECT).enumerate() {
            look_ups.push(async move { (at, pod.reference.registry(), self.one(pod, deadline).await) });
        }
        let mut begun = futures_util::stream::iter(look_ups).buffer_unordered(limits::LOOK_UPS_AT_ONCE);
        let mut outcomes: Vec<(usize, Arc<Attempts>)> = Vec::new();
        let mut room = limits::FOUND_PER_OBJECT;
        while let Some((at, registry, outcome)) = begun.next().await {
            let weight = outcome.weight();
            let outcome = if weight <= room {
                outcome
            } else {
                Arc::new(too_much(registry))
            };
            room = room.saturating_sub(weight);
            outcomes.push((at, outcome));
        }
        drop(begun);
        outcomes.sort_unstable_by_key(|(at, _)| *at);
        place
            .into_iter()
            .zip(checks)
            .map(|(at, check)| {
                let found = at.and_then(|at| outcomes.get(at));
                found.map_or_else(|| beyond(check.reference.registry()), |(_, outcome)| Attempts::clone(outcome))
            })
            .collect()
    }

    /// The pull that a check asks about. `None`: the nodes' settings could not be read in time.
    async fn pod(&self, check: &Check, deadline: Instant) -> Option<PodPull> {
        let mut configs = BTreeMap::new();
        let pools = check.pullers.iter().map(|puller| puller.pool);
        for pool in pools.chain(check.pullers.is_empty().then(Pool::default)) {
            if let Entry::Vacant(vacant) = configs.entry(pool) {
                let read = self.wire.node_configs(pool, &check.reference, &check.namespace);
                vacant.insert(tokio::time::timeout_at(deadline, read).await.ok()?);
            }
        }
        let offered = |offer: &Offer| Offered {
            who: self.wire.knows(&offer.credential),
            source: offer.source.clone(),
            sent: offer.sent,
        };
        Some(PodPull {
            reference: check.reference.clone(),
            offers: check.credentials.iter().map(offered).collect(),
            short: check.short.clone(),
            pullers: check.pullers.clone(),
            configs,
            until: check.depth,
        })
    }

    async fn one(&self, pod: &PodPull, deadline: Instant) -> Arc<Attempts> {
        if let Step::Done(attempts) = step(&mut Log::default(), &self.wire, |net| explained(pod, net)) {
            self.metrics.cache(CacheName::Answers, CacheResult::Hit);
            return Arc::new(self.or_stale(pod, attempts));
        }
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
        if let Some(flight) = flights.get(pod) {
            return (flight.clone(), CacheResult::Joined);
        }
        let (this, own) = (self.clone(), pod.clone());
        let task = tokio::spawn(on_behalf_of(share(), async move {
            let pulled = AssertUnwindSafe(this.pull(&own)).catch_unwind().await;
            this.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
            pulled.unwrap_or_else(|_panic| {
                this.metrics.panicked();
                tracing::error!("a registry look-up panicked; its image is judged as unknown");
                Attempts::ended(Evidence::Internal, own.reference.registry())
            })
        }));
        let registry = pod.reference.registry().to_owned();
        let flight = async move {
            let done = task.await;
            // The runtime is shutting down; panics are caught within.
            Arc::new(done.unwrap_or_else(|_| Attempts::ended(Evidence::Internal, &registry)))
        };
        let flight = flight.boxed().shared();
        flights.insert(pod.clone(), flight.clone());
        (flight, CacheResult::Miss)
    }

    async fn pull(&self, pod: &PodPull) -> Attempts {
        let (attempts, _) = drive(&self.wire, Instant::now() + self.limit, |net| kubelet::pull(pod, net)).await;
        let until = Instant::now() + PATIENCE.min(self.limit);
        let (attempts, _) = drive(&self.wire, until, |net| {
            let mut told = attempts.clone();
            tell(pod, &mut told, net)?;
            Ok(told)
        })
        .await;
        self.or_stale(pod, attempts)
    }

    /// Where the registry is in trouble, what was remembered of it, if that is not too old.
    fn or_stale(&self, pod: &PodPull, attempts: Attempts) -> Attempts {
        let down = |attempt: &Attempt| matches!(&attempt.result, Err(failure) if is_down(&failure.evidence));
        if !attempts.attempts.iter().any(down) {
            return attempts;
        }
        let mut old = at_once(&self.wire.stale(), pod);
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

/// Whether an older answer may stand in: the registry, or the way to it, is in trouble. Throttling and our own rules are not.
fn is_down(evidence: &Evidence) -> bool {
    match evidence {
        Evidence::SentOn { fails, .. } => is_down(fails),
        Evidence::NameNotResolved
        | Evidence::ConnectionFailed(_)
        | Evidence::TimedOut(_)
        | Evidence::Tls(_)
        | Evidence::ServerError { .. } => true,
        _ => false,
    }
}

fn explained(pod: &PodPull, net: &mut Ask<'_, Request>) -> Result<Attempts, Missing> {
    let mut attempts = kubelet::pull(pod, net)?;
    tell(pod, &mut attempts, net)?;
    Ok(attempts)
}

/// Betters the words of what failed.
fn tell(pod: &PodPull, attempts: &mut Attempts, net: &mut Ask<'_, Request>) -> Result<(), Missing> {
    let others = attempts.others.iter_mut().map(|(_, attempts)| attempts);
    let all: Vec<&mut Attempt> = std::iter::once(&mut attempts.attempts).chain(others).flatten().collect();
    net.each(all, |net, attempt| {
        if let Err(failure) = &attempt.result {
            attempt.result = Err(diagnosis::explain(&pod.reference, failure, net)?);
        }
        Ok(())
    })?;
    Ok(())
}

/// What is known without asking anybody; the rest is late.
fn at_once(memory: &dyn Recall<Request>, pod: &PodPull) -> Attempts {
    let mut log = Log::default();
    loop {
        match step(&mut log, memory, |net| kubelet::pull(pod, net)) {
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

/// What was found is more than is held of one object.
fn too_much(registry: &str) -> Attempts {
    let failure = Failure {
        detail: Some("the manifests of this object's images take more memory than is given to one object".to_owned()),
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

/// An image that is not asked for.
fn beyond(registry: &str) -> Attempts {
    let unasked = Failure {
        detail: Some(format!("of one object, {} images are looked up", limits::LOOK_UPS_PER_OBJECT)),
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
