//! Keeps one server from harming the others or being overloaded: a limit on requests in flight, and a circuit breaker (contract 6).

use super::queue::{Crowded, Place, Queue};
use crate::limits;
use crate::runtime::answer::FaultKind;
use crate::runtime::containerd::hosts::is_loopback;
use crate::runtime::outcome::{ConnectionFault, TimeoutStage};
use crate::runtime::request::Origin;
use crate::telemetry::HostClass;
use moka::sync::Cache;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long a server is remembered while nobody asks it.
const REMEMBERED_FOR: Duration = Duration::from_mins(30);

/// The key of a server's limits: host, port, and whether an admin's `hosts.toml` names it. What keeps others from a server (an untrusted
/// certificate, an address) must not keep away those that a `hosts.toml` sends there.
type Key = (Arc<str>, u16, bool);

/// All servers that were contacted recently, and the requests to them.
pub(super) struct Servers {
    all: Cache<Key, Arc<Server>>,
    /// By where servers are: names and ports cost nothing.
    addresses: Cache<IpAddr, Queue>,
    acquainted: Queue,
    strangers: Queue,
}

/// One server.
pub(super) struct Server {
    queue: Queue,
    /// Bodies of it that are read and longer than usual.
    pub(super) long_bodies: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Failures that are the host's, in a row.
    failures: Failures,
    /// Failures of paths; other paths may be fine, and their askers are not to pay for it.
    paths: HashMap<Arc<str>, Failures>,
    answered: Option<Instant>,
    /// Where it was reached last.
    address: Option<IpAddr>,
}

/// Failures in a row, and the fault that answers further requests until a given time.
#[derive(Default)]
struct Failures {
    consecutive: u32,
    open: Option<(Instant, FaultKind, String)>,
}

impl Failures {
    /// After a pause, the first failure opens the breaker again.
    fn add(&mut self, kind: FaultKind, words: &str) {
        self.consecutive = self.consecutive.saturating_add(1);
        if self.consecutive >= limits::BREAKER_FAILURES {
            self.open = Some((Instant::now() + limits::BREAKER_OPEN, kind, words.to_owned()));
        }
    }

    fn stands(&self) -> Option<(FaultKind, String)> {
        let (until, kind, words) = self.open.as_ref()?;
        (Instant::now() < *until).then(|| (*kind, words.clone()))
    }
}

/// A request's places: at its server, at its address, and among all requests.
pub(super) struct Places {
    _server: Place,
    _address: Option<Place>,
    _all: Place,
}

impl Servers {
    /// With so many requests in flight, to all servers together.
    pub(super) fn new(requests: usize) -> Self {
        let others = limits::REQUESTS_TO_OTHERS.min(requests.div_ceil(4));
        let answering = limits::REQUESTS_TO_ANSWERING.min(requests - others).max(1);
        Self {
            all: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_idle(REMEMBERED_FOR)
                .build(),
            addresses: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_idle(REMEMBERED_FOR)
                .build(),
            acquainted: Queue::new(answering, limits::WAITING_IN_ALL),
            strangers: Queue::new(others, limits::WAITING_IN_ALL),
        }
    }

    /// The server at `origin`; `named` by an admin's `hosts.toml`.
    pub(super) fn get(&self, origin: &Origin, named: bool) -> Arc<Server> {
        let key = (Arc::clone(&origin.host), origin.port, named);
        let new = || {
            let server = Server::new();
            // An address that is written out is known before anything was sent there.
            if let Ok(address) = origin.host.trim_matches(['[', ']']).parse::<IpAddr>() {
                server.is_at(address.to_canonical());
            }
            Arc::new(server)
        };
        self.all.get_with(key, new)
    }

    /// Waits until a request to `server` for this path may start.
    pub(super) async fn enter(&self, server: &Server, path: &str) -> Result<Places, Crowded> {
        let of_server = server.queue.enter_for(repository(path)).await?;
        let address = server.state().address;
        let of_address = match address {
            Some(address) => {
                let new = || Queue::new(limits::REQUESTS_PER_ADDRESS, limits::WAITING_PER_HOST);
                Some(self.addresses.get_with(address, new).enter().await?)
            }
            None => None,
        };
        let queue = if server.is_acquainted() {
            &self.acquainted
        } else {
            &self.strangers
        };
        Ok(Places {
            _server: of_server,
            _address: of_address,
            _all: queue.enter().await?,
        })
    }
}

impl Server {
    fn new() -> Self {
        Self {
            queue: Queue::new(limits::REQUESTS_PER_HOST, limits::WAITING_PER_HOST),
            long_bodies: Semaphore::new(limits::LONG_ANSWERS_PER_HOST),
            state: Mutex::new(State::default()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain data, right at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that answers for this path of the server now, because it failed too often in a row just before.
    pub(super) fn broken(&self, path: &str) -> Option<(FaultKind, String)> {
        let state = self.state();
        state.failures.stands().or_else(|| state.paths.get(part(path))?.stands())
    }

    /// It answered.
    pub(super) fn answered(&self, path: &str) {
        let mut state = self.state();
        state.failures = Failures::default();
        state.paths.remove(part(path));
        state.answered = Some(Instant::now());
    }

    /// Where it was reached.
    pub(super) fn is_at(&self, address: IpAddr) {
        self.state().address = Some(address);
    }

    /// Whether it answered recently, and has not just ceased to.
    fn is_acquainted(&self) -> bool {
        let state = self.state();
        let ceased = state.failures.consecutive >= limits::BREAKER_FAILURES;
        !ceased && state.answered.is_some_and(|at| at.elapsed() < limits::ANSWERING)
    }

    /// It did not answer.
    pub(super) fn failed(&self, path: &str, kind: FaultKind, words: &str) {
        if !is_silence(kind) {
            return;
        }
        let mut state = self.state();
        if is_of_host(kind) {
            state.failures.add(kind, words);
            return;
        }
        if state.paths.len() >= limits::PATHS_PER_HOST {
            let now = Instant::now();
            state
                .paths
                .retain(|_, failures| failures.open.as_ref().is_some_and(|(until, ..)| now < *until));
            if state.paths.len() >= limits::PATHS_PER_HOST {
                state.paths.clear();
            }
        }
        state.paths.entry(Arc::from(part(path))).or_default().add(kind, words);
    }
}

/// The part of a server that stands and falls together: a repository (`/v2/team/app`), or what is found at one path.
pub(super) fn part(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or_default();
    let end = ["/manifests/", "/blobs/", "/tags/"].iter().find_map(|part| path.rfind(part));
    match end {
        Some(end) if path.starts_with("/v2/") => path.get(..end).unwrap_or(path),
        Some(_) | None => path,
    }
}

/// The repository that a path is about; empty for what is about none, like a token.
fn repository(path: &str) -> &str {
    let part = part(path);
    if part.len() < path.len() && part.starts_with("/v2/") {
        part
    } else {
        ""
    }
}

/// Whether a failure shows something about the whole host: nobody came through to it. One that was reached and does not answer shows it of
/// what it was asked for.
pub(super) fn is_of_host(kind: FaultKind) -> bool {
    match kind {
        FaultKind::TimedOut(TimeoutStage::Response | TimeoutStage::Deadline)
        | FaultKind::Connection(ConnectionFault::Interrupted) => false,
        FaultKind::NameNotResolved
        | FaultKind::TimedOut(TimeoutStage::Connect | TimeoutStage::Handshake)
        | FaultKind::Connection(_)
        | FaultKind::Tls(_)
        | FaultKind::Unreadable
        | FaultKind::RedirectLoop
        | FaultKind::Internal => true,
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

    const PATH: &str = "/v2/a/manifests/1";
    const REFUSED: FaultKind = FaultKind::Connection(ConnectionFault::Refused);

    #[tokio::test(start_paused = true)]
    async fn the_breaker_opens_and_closes() {
        let server = Server::new();
        server.failed("/v2/a/manifests/1", REFUSED, "refused");
        server.failed("/v2/a/manifests/1", REFUSED, "refused");
        assert_eq!(server.broken("/v2/b/manifests/1"), None);
        server.answered("/v2/b/manifests/1");
        server.failed("/v2/a/manifests/1", REFUSED, "refused");
        server.failed("/v2/a/manifests/1", REFUSED, "refused");
        assert_eq!(server.broken("/v2/b/manifests/1"), None);
        server.failed("/v2/a/manifests/1", REFUSED, "refused again");
        assert_eq!(
            server.broken("/v2/b/manifests/1"),
            Some((REFUSED, "refused again".to_owned()))
        );
        tokio::time::advance(limits::BREAKER_OPEN).await;
        assert_eq!(server.broken("/v2/b/manifests/1"), None);
        server.failed("/v2/a/manifests/1", REFUSED, "still");
        assert!(
            server.broken("/v2/b/manifests/1").is_some(),
            "one failure after the pause opens it again"
        );
        server.answered("/v2/b/manifests/1");
        assert_eq!(server.broken("/v2/b/manifests/1"), None);
        for _ in 0..10 {
            server.failed("/v2/a/manifests/1", FaultKind::Internal, "");
            server.failed("/v2/a/manifests/1", FaultKind::Unreadable, "");
        }
        assert_eq!(server.broken("/v2/b/manifests/1"), None, "what is answered does not trip it");
    }

    #[tokio::test]
    async fn servers_that_never_answer_take_no_place_from_those_that_do() {
        let servers = Servers::new(limits::REQUESTS_TO_ANSWERING + limits::REQUESTS_TO_OTHERS);
        let silent: Vec<Server> = (0..=limits::REQUESTS_TO_OTHERS).map(|_| Server::new()).collect();
        let mut held = Vec::new();
        for server in &silent[..limits::REQUESTS_TO_OTHERS] {
            held.push(servers.enter(server, PATH).await.unwrap());
        }
        assert!(
            servers
                .enter(&silent[limits::REQUESTS_TO_OTHERS], PATH)
                .now_or_never()
                .is_none(),
            "one more waits"
        );
        let good = Server::new();
        good.answered("/v2/a/manifests/1");
        assert!(servers.enter(&good, PATH).now_or_never().unwrap().is_ok());
        for _ in 0..limits::BREAKER_FAILURES {
            good.failed("/v2/a/manifests/1", REFUSED, "refused");
        }
        assert!(servers.enter(&good, PATH).now_or_never().is_none(), "it has ceased to answer");
        drop(held);
        assert!(servers.enter(&good, PATH).now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn names_and_ports_of_one_address_share_its_places() {
        let servers = Servers::new(limits::REQUESTS_TO_ANSWERING + limits::REQUESTS_TO_OTHERS);
        let reached = |address: &str| {
            let server = Server::new();
            server.answered("/v2/a/manifests/1");
            server.is_at(address.parse().unwrap());
            server
        };
        let slow: Vec<Server> = (0..64).map(|_| reached("192.0.2.1")).collect();
        let mut held = Vec::new();
        for server in &slow {
            while let Some(Ok(places)) = servers.enter(server, PATH).now_or_never() {
                held.push(places);
            }
        }
        assert_eq!(held.len(), limits::REQUESTS_PER_ADDRESS);
        let other = reached("192.0.2.2");
        assert!(servers.enter(&other, PATH).now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn paths_that_hang_leave_the_others() {
        let server = Server::new();
        let late = FaultKind::TimedOut(TimeoutStage::Response);
        for path in ["/v2/a/manifests/1", "/v2/b/manifests/1", "/v2/c/blobs/x", "/token?scope=x"] {
            for _ in 0..limits::BREAKER_FAILURES {
                server.failed(path, late, "late");
            }
        }
        for broken in ["/v2/a/manifests/2", "/v2/c/manifests/1", "/token?scope=y"] {
            assert!(server.broken(broken).is_some(), "{broken}");
        }
        assert_eq!(server.broken("/v2/d/manifests/1"), None);
        server.answered("/v2/a/tags/list");
        assert_eq!(server.broken("/v2/a/manifests/1"), None);
        for path in 0..10_000 {
            server.failed(&format!("/v2/{path}/manifests/1"), late, "late");
        }
        assert!(server.state().paths.len() <= limits::PATHS_PER_HOST);
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
