//! Room for bodies that are longer than usual, in bytes. A namespace takes three quarters of it at most: who names hosts that send long bodies
//! and never end keeps nobody else's from being read.

use super::queue::share;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Bytes of all such bodies that are read at the same time.
pub(super) struct LongAnswers {
    all: Semaphore,
    most_of_one: usize,
    /// What is left of their part to the namespaces that have bodies here.
    namespaces: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
}

/// A namespace's own part of it, taken before anything that others wait for.
pub(super) struct OwnPart(#[allow(dead_code, reason = "held for its Drop")] Option<OwnedSemaphorePermit>);

impl LongAnswers {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            all: Semaphore::new(bytes),
            most_of_one: bytes / 4 * 3,
            namespaces: Mutex::default(),
        }
    }

    /// Waits until the namespace of this task may have so many more bytes.
    pub(super) async fn own_part(&self, bytes: u32) -> OwnPart {
        let namespace = share();
        if namespace.is_empty() {
            return OwnPart(None);
        }
        let own = {
            let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(own) = namespaces.get(&namespace).and_then(Weak::upgrade) {
                own
            } else {
                namespaces.retain(|_, own| own.strong_count() > 0);
                let own = Arc::new(Semaphore::new(self.most_of_one));
                namespaces.insert(namespace, Arc::downgrade(&own));
                own
            }
        };
        // Never closed.
        OwnPart(own.acquire_many_owned(bytes).await.ok())
    }

    /// Waits for room for so many bytes.
    pub(super) async fn room(&self, bytes: u32) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.all.acquire_many(bytes).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::on_behalf_of;
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn one_namespace_leaves_room_for_others() {
        let answers = LongAnswers::new(4096);
        let enter = |name: &str| {
            let entered = async { (answers.own_part(1024).await, answers.room(1024).await) };
            on_behalf_of(Arc::from(name), entered).now_or_never()
        };
        let held: Vec<_> = std::iter::from_fn(|| enter("greedy")).collect();
        assert_eq!(held.len(), 3);
        let modest = enter("modest");
        assert!(modest.is_some(), "it does not wait behind another one");
        drop((held, modest));
        let all: Vec<_> = std::iter::from_fn(|| enter("")).collect();
        assert_eq!(all.len(), 4, "what works for nobody has no others to think of");
    }
}
