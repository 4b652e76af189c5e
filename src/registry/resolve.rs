//! Name resolution that hands out admitted addresses only, so that a connection goes to what was vetted.

use super::transport::ResolveError;
use crate::limits;
use crate::net::Reach;
use moka::future::Cache;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a name that did resolve is remembered.
const REMEMBERED: Duration = Duration::from_mins(30);

/// Who may keep a thread of the resolver.
#[derive(Debug, Clone)]
pub(super) struct Threads {
    resolved: Cache<String, ()>,
    known: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Threads {
    pub(super) fn new() -> Self {
        Self {
            resolved: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_idle(REMEMBERED)
                .build(),
            known: Arc::new(Semaphore::new(limits::RESOLVING_KNOWN)),
            others: Arc::new(Semaphore::new(limits::RESOLVING_OTHERS)),
        }
    }

    /// The system's answer. Whoever stops to wait leaves the queue; a thread that has begun goes on.
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        let lane = if self.resolved.contains_key(name) {
            &self.known
        } else {
            &self.others
        };
        // Never closed.
        let place = Arc::clone(lane).acquire_owned().await.ok();
        let asked = name.to_owned();
        let look_up = tokio::task::spawn_blocking(move || {
            let _place = place;
            let found = (asked.as_str(), 0).to_socket_addrs()?;
            Ok::<_, std::io::Error>(found.collect::<Vec<_>>())
        });
        let found = look_up.await.map_err(std::io::Error::other)??;
        self.resolved.insert(name.to_owned(), ()).await;
        Ok(found)
    }
}

/// The system's resolver behind static host entries, and the guard behind both.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    reach: Arc<Reach>,
    entries: Arc<HashMap<String, Vec<SocketAddr>>>,
    threads: Threads,
}

impl Guarded {
    pub(super) fn new(reach: Arc<Reach>, entries: &[(String, SocketAddr)], threads: Threads) -> Self {
        let mut map: HashMap<String, Vec<SocketAddr>> = HashMap::new();
        for (name, address) in entries {
            map.entry(name.to_ascii_lowercase()).or_default().push(*address);
        }
        Self {
            reach,
            entries: Arc::new(map),
            threads,
        }
    }

    /// Whether a name has a static host entry.
    pub(super) fn is_static(&self, name: &str) -> bool {
        self.entries.contains_key(&name.to_ascii_lowercase())
    }

    #[cfg(test)]
    pub(super) fn stick(&self) -> tokio::sync::OwnedSemaphorePermit {
        let places = u32::try_from(limits::RESOLVING_OTHERS).unwrap();
        Arc::clone(&self.threads.others).try_acquire_many_owned(places).unwrap()
    }

    /// Every address of `name`, admitted or not.
    pub(super) async fn all(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(addresses) = self.entries.get(&name.to_ascii_lowercase()) {
            return Ok(addresses.clone());
        }
        let found = self.threads.resolve(name).await;
        found.map_err(|error| ResolveError::NoSuchHost(Some(error)))
    }

    async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let found = self.all(name).await?;
        let admitted = self
            .reach
            .choose(found, |address: &SocketAddr| address.ip())
            .map_err(|refused| ResolveError::Refused(refused.into()))?;
        if admitted.is_empty() {
            return Err(ResolveError::NoSuchHost(None));
        }
        Ok(admitted)
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.look_up(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn names_that_resolved_before_need_not_wait_for_those_that_never_do() {
        let threads = Threads::new();
        threads.resolve("localhost").await.unwrap();
        let places = u32::try_from(limits::RESOLVING_OTHERS).unwrap();
        let _stuck = threads.others.acquire_many(places).await.unwrap();
        assert!(threads.resolve("stuck.invalid").now_or_never().is_none());
        let found = tokio::time::timeout(Duration::from_mins(1), threads.resolve("localhost")).await;
        assert!(!found.unwrap().unwrap().is_empty());
    }
}
