//! Single flight: callers that ask for the same key share one task, which continues if a caller goes away, and whose panic only
//! affects that key.

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

type Flight<V> = Shared<BoxFuture<'static, Option<V>>>;

/// What happens to a flight once it has its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landed {
    /// It is removed: the next caller starts a new one.
    Forgotten,
    /// It stays, so that its answer is used for good.
    Kept,
}

/// The flights by key.
pub(super) struct Flights<K, V> {
    flights: Arc<Mutex<HashMap<K, Flight<V>>>>,
    landed: Landed,
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}

/// Removes a flight when its task ends, however it ends.
struct Remove<K: Hash + Eq, V> {
    flights: Arc<Mutex<HashMap<K, Flight<V>>>>,
    key: K,
    landed: Landed,
}

impl<K: Hash + Eq, V> Drop for Remove<K, V> {
    fn drop(&mut self) {
        if self.landed == Landed::Forgotten {
            self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        }
    }
}

impl<K, V> Flights<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(landed: Landed) -> Self {
        Self {
            flights: Arc::default(),
            landed,
        }
    }

    /// Joins the flight of `key`, or starts it with `load`. `None` if its task panicked.
    pub(super) fn join<F>(&self, key: &K, load: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return flight.clone();
        }
        // Its removal needs the lock held here, so it comes after the insertion.
        let remove = Remove {
            flights: Arc::clone(&self.flights),
            key: key.clone(),
            landed: self.landed,
        };
        let load = load();
        let task = tokio::spawn(async move {
            let _remove = remove;
            load.await
        });
        let flight = task.map(Result::ok).boxed().shared();
        flights.insert(key.clone(), flight.clone());
        flight
    }
}
