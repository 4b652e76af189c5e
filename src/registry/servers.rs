//! What keeps one server from harming the others, or itself: requests in flight, and a breaker (contract 6).

use crate::limits;
use crate::runtime::answer::FaultKind;
use crate::runtime::containerd::hosts::is_loopback;
use crate::runtime::request::Origin;
use crate::telemetry::HostClass;
use moka::sync::Cache;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How long a server is remembered that nobody asks.
const REMEMBERED_FOR: Duration = Duration::from_mins(30);

/// So many at once, and so many that wait for it, in their order.
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

/// One who waits; counted out however it ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The key of a server's limits: host, port, and whether an admin's `hosts.toml` names it. What keeps others from a server (an untrusted
/// certificate, an address) must not keep away those that a `hosts.toml` sends there.
type Key = (Arc<str>, u16, bool);

/// All servers that were contacted recently, and the requests to them.
pub(super) struct Servers {
    all: Cache<Key, Arc<Server>>,
    acquainted: Queue,
    strangers: Queue,
}

/// One server.
pub(super) struct Server {
    queue: Queue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    consecutive: u32,
    answered: Option<Instant>,
    open: Option<(Instant, FaultKind, String)>,
}

/// A request's places: at its server, and among all requests.
pub(super) struct Places<'a> {
    _server: SemaphorePermit<'a>,
    _all: SemaphorePermit<'a>,
}

impl Servers {
    pub(super) fn new() -> Self {
        Self {
            all: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_idle(REMEMBERED_FOR)
                .build(),
            acquainted: Queue::new(limits::REQUESTS_TO_ANSWERING, limits::WAITING_IN_ALL),
            strangers: Queue::new(limits::REQUESTS_TO_OTHERS, limits::WAITING_IN_ALL),
        }
    }

    /// The server at `origin`; `named` by an admin's `hosts.toml`.
    pub(super) fn get(&self, origin: &Origin, named: bool) -> Arc<Server> {
        let key = (Arc::clone(&origin.host), origin.port, named);
        self.all.get_with(key, || Arc::new(Server::new()))
    }

    /// Waits until a request to `server` may start.
    pub(super) async fn enter<'a>(&'a self, server: &'a Server) -> Result<Places<'a>, Crowded> {
        let of_server = server.queue.enter().await?;
        let queue = if server.is_acquainted() {
            &self.acquainted
        } else {
            &self.strangers
        };
        Ok(Places {
            _server: of_server,
            _all: queue.enter().await?,
        })
    }
}

impl Server {
    fn new() -> Self {
        Self {
            queue: Queue::new(limits::REQUESTS_PER_HOST, limits::WAITING_PER_HOST),
            state: Mutex::new(State::default()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain data, right at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that stands for this server now, when it failed too often in a row just before.
    pub(super) fn broken(&self) -> Option<(FaultKind, String)> {
        let state = self.state();
        let (until, kind, words) = state.open.as_ref()?;
        (Instant::now() < *until).then(|| (*kind, words.clone()))
    }

    /// It answered.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.consecutive = 0;
        state.open = None;
        state.answered = Some(Instant::now());
    }

    /// Whether it answered recently, and has not just ceased to.
    fn is_acquainted(&self) -> bool {
        let state = self.state();
        state.consecutive < limits::BREAKER_FAILURES && state.answered.is_some_and(|at| at.elapsed() < limits::ANSWERING)
    }

    /// It did not answer. After a pause, the first failure opens the breaker again.
    pub(super) fn failed(&self, kind: FaultKind, words: &str) {
        if !is_silence(kind) {
            return;
        }
        let mut state = self.state();
        state.consecutive = state.consecutive.saturating_add(1);
        if state.consecutive >= limits::BREAKER_FAILURES {
            state.open = Some((Instant::now() + limits::BREAKER_OPEN, kind, words.to_owned()));
        }
    }
}

/// Whether a server gave no answer at all.
pub(super) fn is_silence(kind: FaultKind) -> bool {
    match kind {
        FaultKind::NameNotResolved | FaultKind::Connection(_) | FaultKind::TimedOut(_) | FaultKind::Tls(_) => true,
        FaultKind::Unreadable | FaultKind::RedirectLoop | FaultKind::Internal => false,
    }
}

/// The label of a host in metrics.
pub(super) fn class(origin: &Origin) -> HostClass {
    let host = &*origin.host;
    let under = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let is_ecr = host.contains(".dkr.ecr.") && (under("amazonaws.com") || under("amazonaws.com.cn"));
    match host {
        _ if is_loopback(host) => HostClass::Loopback,
        _ if under("docker.io") => HostClass::DockerIo,
        _ if under("ghcr.io") => HostClass::GhcrIo,
        _ if under("quay.io") => HostClass::QuayIo,
        _ if under("gcr.io") => HostClass::Gcr,
        _ if under("pkg.dev") => HostClass::Gar,
        _ if is_ecr || under("public.ecr.aws") => HostClass::Ecr,
        _ if under("azurecr.io") || under("azurecr.cn") => HostClass::Acr,
        _ if under("registry.k8s.io") => HostClass::K8s,
        _ if under("mcr.microsoft.com") => HostClass::Mcr,
        _ => HostClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::outcome::ConnectionFault;
    use crate::runtime::request::Scheme;
    use futures_util::FutureExt as _;

    const REFUSED: FaultKind = FaultKind::Connection(ConnectionFault::Refused);

    #[tokio::test(start_paused = true)]
    async fn the_breaker_opens_and_closes() {
        let server = Server::new();
        server.failed(REFUSED, "refused");
        server.failed(REFUSED, "refused");
        assert_eq!(server.broken(), None);
        server.answered();
        server.failed(REFUSED, "refused");
        server.failed(REFUSED, "refused");
        assert_eq!(server.broken(), None);
        server.failed(REFUSED, "refused again");
        assert_eq!(server.broken(), Some((REFUSED, "refused again".to_owned())));
        tokio::time::advance(limits::BREAKER_OPEN).await;
        assert_eq!(server.broken(), None);
        server.failed(REFUSED, "still");
        assert!(server.broken().is_some(), "one failure after the pause opens it again");
        server.answered();
        assert_eq!(server.broken(), None);
        for _ in 0..10 {
            server.failed(FaultKind::Internal, "");
            server.failed(FaultKind::Unreadable, "");
        }
        assert_eq!(server.broken(), None, "what is answered does not trip it");
    }

    #[tokio::test]
    async fn servers_that_never_answer_take_no_place_from_those_that_do() {
        let servers = Servers::new();
        let silent: Vec<Server> = (0..=limits::REQUESTS_TO_OTHERS).map(|_| Server::new()).collect();
        let mut held = Vec::new();
        for server in &silent[..limits::REQUESTS_TO_OTHERS] {
            held.push(servers.enter(server).await.unwrap());
        }
        assert!(
            servers.enter(&silent[limits::REQUESTS_TO_OTHERS]).now_or_never().is_none(),
            "one more waits"
        );
        let good = Server::new();
        good.answered();
        assert!(servers.enter(&good).now_or_never().unwrap().is_ok());
        for _ in 0..limits::BREAKER_FAILURES {
            good.failed(REFUSED, "refused");
        }
        assert!(servers.enter(&good).now_or_never().is_none(), "it has ceased to answer");
        drop(held);
        assert!(servers.enter(&good).now_or_never().unwrap().is_ok());
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

    #[test]
    fn classes_are_a_closed_list() {
        for (host, label) in [
            ("registry-1.docker.io", "docker.io"),
            ("auth.docker.io", "docker.io"),
            ("notdocker.io", "other"),
            ("eu.gcr.io", "gcr"),
            ("europe-docker.pkg.dev", "gar"),
            ("1.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
            ("dkr.ecr.evil.example", "other"),
            ("public.ecr.aws", "ecr"),
            ("x.azurecr.io", "acr"),
            ("registry.k8s.io", "k8s"),
            ("mcr.microsoft.com", "mcr"),
            ("localhost:5000", "loopback"),
            ("[::1]:5000", "loopback"),
            ("10.0.0.1", "other"),
        ] {
            let origin = Origin::new(Scheme::Https, host).unwrap();
            assert_eq!(class(&origin).name(), label, "{host}");
        }
    }
}
