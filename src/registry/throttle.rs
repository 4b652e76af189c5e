//! What keeps one registry from harming the others, or itself: requests in flight, a breaker and the memory of 429s (contract 6).

use super::cause::{self, Kind};
use super::host::{HostKey, Scheme};
use crate::credentials::Fingerprint;
use crate::limits;
use crate::runtime::outcome::Evidence;
use moka::Expiry;
use moka::future::Cache;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How long the scheme of a loopback host is remembered.
const SCHEME_FOR: Duration = Duration::from_mins(10);

/// How long not to ask again after a 429.
pub(super) fn wait(retry_after: Option<Duration>) -> Duration {
    retry_after
        .unwrap_or(limits::USUAL_RETRY_AFTER)
        .clamp(limits::SHORTEST_RETRY_AFTER, limits::LONGEST_RETRY_AFTER)
}

/// So many at once, and so many that wait for it, in their order.
#[derive(Debug)]
struct Queue {
    permits: Semaphore,
    waiting: AtomicUsize,
    most: usize,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

impl Queue {
    fn new(at_once: usize, most: usize) -> Self {
        Self {
            permits: Semaphore::new(at_once),
            waiting: AtomicUsize::new(0),
            most,
        }
    }

    async fn enter(&self) -> Result<SemaphorePermit<'_>, Crowded> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let waiting = Waiting(&self.waiting);
        if waiting.0.fetch_add(1, Ordering::Relaxed) >= self.most {
            return Err(Crowded);
        }
        // Never closed.
        self.permits.acquire().await.map_err(|_| Crowded)
    }
}

/// Somebody who waits, counted out however it ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The requests to all hosts.
#[derive(Debug)]
pub(super) struct Lanes {
    acquainted: Queue,
    strangers: Queue,
}

/// A request's places: its host's, and one of all.
#[derive(Debug)]
pub(super) struct Places<'a> {
    _host: SemaphorePermit<'a>,
    _all: SemaphorePermit<'a>,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            acquainted: Queue::new(limits::REQUESTS_TO_ANSWERING, limits::WAITING_IN_ALL),
            strangers: Queue::new(limits::REQUESTS_TO_OTHERS, limits::WAITING_IN_ALL),
        }
    }

    /// Waits until a request to `host` may start.
    pub(super) async fn enter<'a>(&'a self, host: &'a Host) -> Result<Places<'a>, Crowded> {
        let of_host = host.queue.enter().await?;
        let lane = if host.is_acquainted() {
            &self.acquainted
        } else {
            &self.strangers
        };
        Ok(Places {
            _host: of_host,
            _all: lane.enter().await?,
        })
    }
}

/// One host and port.
#[derive(Debug)]
pub(super) struct Host {
    /// Requests in flight.
    queue: Queue,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    consecutive: u32,
    answered: Option<Instant>,
    open: Option<(Instant, Evidence, String)>,
    scheme: Option<(Instant, Scheme)>,
}

impl Host {
    fn new() -> Self {
        Self {
            queue: Queue::new(limits::REQUESTS_PER_HOST, limits::WAITING_PER_HOST),
            state: Mutex::new(State::default()),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is plain data, right at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure that stands for this host now, when it failed too often in a row just before.
    pub(super) fn broken(&self) -> Option<(Evidence, String)> {
        let state = self.state();
        let (until, evidence, words) = state.open.as_ref()?;
        (Instant::now() < *until).then(|| (evidence.clone(), words.clone()))
    }

    /// The host answered.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.consecutive = 0;
        state.open = None;
        state.answered = Some(Instant::now());
    }

    /// Whether it answered of late, and not just ceased to.
    fn is_acquainted(&self) -> bool {
        let state = self.state();
        state.consecutive < limits::BREAKER_FAILURES && state.answered.is_some_and(|at| at.elapsed() < limits::ANSWERING)
    }

    /// The host did not answer. After a pause, the first failure opens the breaker again.
    pub(super) fn failed(&self, evidence: &Evidence, words: &str) {
        let transport = cause::kind(evidence) == Kind::Down && !matches!(evidence, Evidence::ServerError { .. });
        if !transport {
            return;
        }
        let mut state = self.state();
        state.consecutive = state.consecutive.saturating_add(1);
        if state.consecutive >= limits::BREAKER_FAILURES {
            state.open = Some((Instant::now() + limits::BREAKER_OPEN, evidence.clone(), words.to_owned()));
        }
    }

    /// The scheme that it was found to speak.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        let state = self.state();
        let (at, scheme) = state.scheme?;
        (at.elapsed() < SCHEME_FOR).then_some(scheme)
    }

    /// Remembers the scheme.
    pub(super) fn speaks(&self, scheme: Scheme) {
        self.state().scheme = Some((Instant::now(), scheme));
    }
}

/// All hosts that were contacted of late.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Cache<HostKey, Arc<Host>>);

impl Hosts {
    pub(super) fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_idle(Duration::from_mins(30))
                .build(),
        )
    }

    pub(super) async fn get(&self, key: HostKey) -> Arc<Host> {
        self.0.get_with(key, async { Arc::new(Host::new()) }).await
    }
}

/// What a 429 was about: Docker Hub counts GETs of manifests, while HEADs go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// HEADs and tokens: nothing can be asked.
    All,
    /// GETs.
    Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Throttled {
    host: String,
    fingerprint: Option<Fingerprint>,
    lane: Lane,
}

struct Until;

impl Expiry<Throttled, Instant> for Until {
    fn expire_after_create(&self, _key: &Throttled, until: &Instant, _now: std::time::Instant) -> Option<Duration> {
        Some(until.saturating_duration_since(Instant::now()))
    }

    fn expire_after_update(
        &self,
        _key: &Throttled,
        until: &Instant,
        _now: std::time::Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(until.saturating_duration_since(Instant::now()))
    }
}

/// Who was told to wait, and until when.
#[derive(Debug, Clone)]
pub(super) struct Throttle(Cache<Throttled, Instant>);

impl Throttle {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(limits::REMEMBERED).expire_after(Until).build())
    }

    /// Remembers a 429.
    pub(super) async fn remember(&self, host: &str, fingerprint: Option<Fingerprint>, lane: Lane, retry_after: Option<Duration>) {
        let key = Throttled {
            host: host.to_owned(),
            fingerprint,
            lane,
        };
        self.0.insert(key, Instant::now() + wait(retry_after)).await;
    }

    /// How long to wait still, if at all.
    pub(super) async fn left(&self, host: &str, fingerprint: Option<Fingerprint>, lane: Lane) -> Option<Duration> {
        let key = Throttled {
            host: host.to_owned(),
            fingerprint,
            lane,
        };
        let left = self.0.get(&key).await?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::outcome::ConnectionFault;
    use futures_util::FutureExt as _;

    const REFUSED: Evidence = Evidence::ConnectionFailed(ConnectionFault::Refused);

    #[tokio::test(start_paused = true)]
    async fn the_breaker_opens_and_closes() {
        let host = Host::new();
        host.failed(&REFUSED, "refused");
        host.failed(&REFUSED, "refused");
        assert_eq!(host.broken(), None);
        host.answered();
        host.failed(&REFUSED, "refused");
        host.failed(&REFUSED, "refused");
        assert_eq!(host.broken(), None);
        host.failed(&REFUSED, "refused again");
        assert_eq!(host.broken(), Some((REFUSED, "refused again".to_owned())));
        tokio::time::advance(limits::BREAKER_OPEN).await;
        assert_eq!(host.broken(), None);
        host.failed(&REFUSED, "still");
        assert!(host.broken().is_some(), "one failure after the pause opens it again");
        host.answered();
        assert_eq!(host.broken(), None);
    }

    #[tokio::test]
    async fn hosts_that_never_answer_take_no_place_from_those_that_do() {
        let lanes = Lanes::new();
        let silent: Vec<Host> = (0..=limits::REQUESTS_TO_OTHERS).map(|_| Host::new()).collect();
        let mut held = Vec::new();
        for host in &silent[..limits::REQUESTS_TO_OTHERS] {
            held.push(lanes.enter(host).await.unwrap());
        }
        assert!(
            lanes.enter(&silent[limits::REQUESTS_TO_OTHERS]).now_or_never().is_none(),
            "one more waits"
        );
        let good = Host::new();
        good.answered();
        assert!(lanes.enter(&good).now_or_never().unwrap().is_ok());
        for _ in 0..limits::BREAKER_FAILURES {
            good.failed(&REFUSED, "refused");
        }
        assert!(lanes.enter(&good).now_or_never().is_none(), "it has ceased to answer");
        drop(held);
        assert!(lanes.enter(&good).now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_counted_out() {
        let queue = Queue::new(1, 2);
        let inside = queue.enter().await.unwrap();
        let (mut one, mut two) = (Box::pin(queue.enter()), Box::pin(queue.enter()));
        assert!(futures_util::poll!(&mut one).is_pending() && futures_util::poll!(&mut two).is_pending());
        assert_eq!(queue.enter().await.err(), Some(Crowded));
        drop(two);
        let mut three = Box::pin(queue.enter());
        assert!(futures_util::poll!(&mut three).is_pending(), "there is room again");
        drop(inside);
        assert!(one.await.is_ok());
        assert!(three.await.is_ok());
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_do_not_trip_the_breaker() {
        let host = Host::new();
        for _ in 0..10 {
            host.failed(&Evidence::Internal, "");
        }
        assert_eq!(host.broken(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_bounded_and_kept_apart() {
        assert_eq!(wait(None), limits::USUAL_RETRY_AFTER);
        assert_eq!(wait(Some(Duration::ZERO)), limits::SHORTEST_RETRY_AFTER);
        assert_eq!(wait(Some(Duration::from_hours(5))), limits::LONGEST_RETRY_AFTER);

        let throttle = Throttle::new();
        throttle
            .remember("r.example", None, Lane::Content, Some(Duration::from_secs(30)))
            .await;
        assert_eq!(
            throttle.left("r.example", None, Lane::Content).await,
            Some(Duration::from_secs(30))
        );
        assert_eq!(throttle.left("r.example", None, Lane::All).await, None);
        assert_eq!(throttle.left("s.example", None, Lane::Content).await, None);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(throttle.left("r.example", None, Lane::Content).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn schemes_are_forgotten() {
        let host = Host::new();
        assert_eq!(host.scheme(), None);
        host.speaks(Scheme::Http);
        assert_eq!(host.scheme(), Some(Scheme::Http));
        tokio::time::advance(SCHEME_FOR).await;
        assert_eq!(host.scheme(), None);
    }
}
