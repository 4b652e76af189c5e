//! Name resolution that returns only admitted addresses, so that every connection goes to an address that was checked.

use super::queue::{Crowded, Queue};
use super::transport::ResolveError;
use crate::limits;
use crate::net::Reach;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use hyper_util::client::legacy::connect::dns::Name;
use moka::sync::Cache;
use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::time::{Instant, timeout};

/// What the system says of a name: `getaddrinfo`, as on nodes.
type System = dyn Fn(&str) -> std::io::Result<Vec<SocketAddr>> + Send + Sync;

type Found = Result<Arc<[SocketAddr]>, ResolveError>;

/// Whether an earlier answer replaces one that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    StandsIn,
    DoesNot,
}

/// Names, and who may keep a thread of the resolver. Cheap to clone.
///
/// The system's resolver keeps a thread for as long as it waits for a name server, whoever has stopped waiting for it; names come from
/// users, and so may the name servers. So a name has one thread at most, threads are given by turns of the namespaces, and a name that has
/// resolved lately does not wait: if the answer is not there in a moment, the one before is used. The guard looks at it again.
#[derive(Clone)]
pub(super) struct Names {
    system: Arc<System>,
    last: Cache<String, Last>,
    threads: Arc<Mutex<HashMap<String, Shared<BoxFuture<'static, Found>>>>>,
    known: Queue,
    others: Queue,
}

/// The last answer for a name.
#[derive(Clone)]
struct Last {
    addresses: Arc<[SocketAddr]>,
    /// When a later one was waited for in vain.
    late: Option<Instant>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    pub(super) fn new() -> Self {
        Self::asking(Arc::new(|name| Ok((name, 0).to_socket_addrs()?.collect())))
    }

    fn asking(system: Arc<System>) -> Self {
        Self {
            system,
            last: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_live(limits::RESOLVED_BEFORE)
                .build(),
            threads: Arc::default(),
            known: Queue::new(limits::RESOLVING_KNOWN, limits::WAITING_IN_ALL),
            others: Queue::new(limits::RESOLVING_OTHERS, limits::WAITING_IN_ALL),
        }
    }

    /// The addresses of a name.
    async fn resolve(&self, name: &str, before: Before) -> Found {
        let Some(last) = self.last.get(name) else {
            return self.ask(name, &self.others).await;
        };
        let now = self.ask(name, &self.known);
        if before == Before::DoesNot {
            return now.await;
        }
        if last.late.is_some_and(|at| at.elapsed() < limits::RESOLVE_AGAIN) {
            return Ok(last.addresses);
        }
        if let Ok(found) = timeout(limits::RESOLVE_KNOWN, now).await {
            return found;
        }
        let late = Last {
            late: Some(Instant::now()),
            ..last.clone()
        };
        // It may have come in this moment; then this one is wrong for a moment more.
        self.last.insert(name.to_owned(), late);
        Ok(last.addresses)
    }

    /// The system's answer. Whoever stops to wait leaves the queue; a thread that has begun goes on.
    async fn ask(&self, name: &str, lane: &Queue) -> Found {
        if let Some(begun) = self.begun(name) {
            return begun.await;
        }
        let place = lane.enter().await.map_err(|Crowded| ResolveError::Crowded)?;
        let answer = {
            let mut threads = self.threads();
            // Another one may have been first.
            if let Some(begun) = threads.get(name) {
                begun.clone()
            } else {
                let (this, asked) = (self.clone(), name.to_owned());
                let thread = tokio::task::spawn_blocking(move || {
                    let _place = place;
                    let found = (this.system)(&asked);
                    let found: Found = found
                        .map(Arc::from)
                        .map_err(|error| ResolveError::NoSuchHost(Some(error.to_string())));
                    if let Ok(addresses) = &found {
                        let last = Last {
                            addresses: Arc::clone(addresses),
                            late: None,
                        };
                        this.last.insert(asked.clone(), last);
                    }
                    this.threads().remove(&asked);
                    found
                });
                let died = |_| Err(ResolveError::NoSuchHost(Some("the resolver's thread died".to_owned())));
                let answer = thread.map(move |found| found.unwrap_or_else(died)).boxed().shared();
                threads.insert(name.to_owned(), answer.clone());
                answer
            }
        };
        answer.await
    }

    fn begun(&self, name: &str) -> Option<Shared<BoxFuture<'static, Found>>> {
        self.threads().get(name).cloned()
    }

    fn threads(&self) -> MutexGuard<'_, HashMap<String, Shared<BoxFuture<'static, Found>>>> {
        // Whole at every step.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system's resolver behind static host entries, and the guard behind both.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    reach: Arc<Reach>,
    entries: Arc<HashMap<String, Vec<SocketAddr>>>,
    names: Names,
}

impl Guarded {
    pub(super) fn new(reach: Arc<Reach>, entries: &[(String, SocketAddr)], names: Names) -> Self {
        let mut map: HashMap<String, Vec<SocketAddr>> = HashMap::new();
        for (name, address) in entries {
            map.entry(name.to_ascii_lowercase()).or_default().push(*address);
        }
        Self {
            reach,
            entries: Arc::new(map),
            names,
        }
    }

    /// Whether a name has a static host entry.
    pub(super) fn is_static(&self, name: &str) -> bool {
        self.entries.contains_key(&name.to_ascii_lowercase())
    }

    #[cfg(test)]
    pub(super) fn stick(&self) -> Vec<super::queue::Place> {
        let place = |_| self.names.others.enter().now_or_never().unwrap().ok().unwrap();
        (0..limits::RESOLVING_OTHERS).map(place).collect()
    }

    /// Every address of `name`, admitted or not.
    pub(super) async fn all(&self, name: &str, before: Before) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(addresses) = self.entries.get(&name.to_ascii_lowercase()) {
            return Ok(addresses.clone());
        }
        Ok(self.names.resolve(name, before).await?.to_vec())
    }

    async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let found = self.all(name, Before::StandsIn).await?;
        let admitted = self
            .reach
            .choose(found, |address: &SocketAddr| address.ip())
            .map_err(|why| ResolveError::StoppedByGuard(why.into()))?;
        if admitted.is_empty() {
            return Err(ResolveError::NoSuchHost(None));
        }
        Ok(admitted)
    }
}

impl tower::Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = BoxFuture<'static, Result<Self::Response, ResolveError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let this = self.clone();
        async move { Ok(this.look_up(name.as_str()).await?.into_iter()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    const LONG: Duration = Duration::from_mins(1);

    /// A resolver that an attacker has a say in: `…-then-never` resolves once, and then not before the test ends; `never…` never does.
    struct Attacked {
        names: Names,
        /// How often each name was asked of the system.
        asked: Arc<Mutex<HashMap<String, usize>>>,
        hanging: Arc<AtomicUsize>,
        /// Lets them go.
        _end: mpsc::Sender<()>,
    }

    fn attacked() -> Attacked {
        let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let hanging = Arc::new(AtomicUsize::new(0));
        let (end, ended) = mpsc::channel::<()>();
        let ended = Mutex::new(ended);
        let (counts, waiting) = (Arc::clone(&asked), Arc::clone(&hanging));
        let over = Mutex::new(false);
        let system = move |name: &str| {
            let times = {
                let mut counts = counts.lock().unwrap();
                let times = counts.entry(name.to_owned()).or_default();
                *times += 1;
                *times
            };
            if name.starts_with("never") || (name.ends_with("-then-never") && times > 1) {
                waiting.fetch_add(1, Ordering::SeqCst);
                let mut over = over.lock().unwrap();
                if !*over {
                    // Ends when the sender does.
                    let _ = ended.lock().unwrap().recv();
                    *over = true;
                }
            }
            Ok(vec!["192.0.2.1:0".parse().unwrap()])
        };
        Attacked {
            names: Names::asking(Arc::new(system)),
            asked,
            hanging,
            _end: end,
        }
    }

    impl Attacked {
        fn asked(&self, name: &str) -> usize {
            self.asked.lock().unwrap().get(name).copied().unwrap_or_default()
        }

        /// Resolves names for whose answers nobody waits.
        async fn hang(&self, names: impl Iterator<Item = String>, wanted: usize) {
            for name in names {
                let this = self.names.clone();
                tokio::spawn(async move { this.resolve(&name, Before::DoesNot).await.map(|_| ()) });
            }
            while self.hanging.load(Ordering::SeqCst) < wanted {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn names_that_resolve_once_and_never_again_delay_no_name_that_has_resolved() {
        let attacked = attacked();
        let names = &attacked.names;
        names.resolve("registry.test", Before::StandsIn).await.unwrap();
        let evil = || (0..2 * limits::RESOLVING_KNOWN).map(|at| format!("{at}-then-never"));
        for name in evil() {
            names.resolve(&name, Before::StandsIn).await.unwrap();
        }
        attacked.hang(evil(), limits::RESOLVING_KNOWN).await;
        for _ in 0..100 {
            let found = timeout(LONG, names.resolve("registry.test", Before::StandsIn)).await.unwrap();
            assert_eq!(*found.unwrap(), ["192.0.2.1:0".parse().unwrap()]);
        }
        assert_eq!(
            attacked.asked("registry.test"),
            1,
            "there is no thread for it, and nobody waits for one"
        );
        assert!(
            names.resolve("registry.test", Before::DoesNot).now_or_never().is_none(),
            "what was known does not do for everybody"
        );
    }

    #[tokio::test]
    async fn names_that_never_resolve_take_no_place_from_those_that_have() {
        let attacked = attacked();
        let names = &attacked.names;
        names.resolve("registry.test", Before::StandsIn).await.unwrap();
        attacked
            .hang((0..1000).map(|at| format!("never-{at}")), limits::RESOLVING_OTHERS)
            .await;
        let found = timeout(LONG, names.resolve("registry.test", Before::DoesNot)).await.unwrap();
        assert!(found.is_ok());
        assert_eq!(attacked.asked("registry.test"), 2);
        assert_eq!(attacked.hanging.load(Ordering::SeqCst), limits::RESOLVING_OTHERS);
    }

    #[tokio::test]
    async fn a_name_that_hangs_holds_one_thread() {
        let attacked = attacked();
        attacked.hang(std::iter::repeat_n("never".to_owned(), 100), 1).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(attacked.asked("never"), 1);
        let found = timeout(LONG, attacked.names.resolve("registry.test", Before::StandsIn))
            .await
            .unwrap();
        assert!(found.is_ok(), "there is room for others");
    }
}
