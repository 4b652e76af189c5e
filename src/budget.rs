//! Memory that is accounted for as long as anything holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes, for all that are claimed of it at the same time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget(Arc<AtomicUsize>);

/// A part of a budget, given back when its last copy is gone. All claims are equal: what holds one is compared by what it is.
#[derive(Debug, Clone, Default)]
pub struct Claim(#[allow(dead_code, reason = "held for its Drop")] Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    left: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// So many bytes of it; `None` where less is left.
    pub fn claim(&self, bytes: usize) -> Option<Claim> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes))
            .ok()?;
        Some(Claim(Some(Arc::new(Held {
            left: Arc::clone(&self.0),
            bytes,
        }))))
    }
}

impl PartialEq for Claim {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Claim {}

impl Drop for Held {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_comes_back_with_the_last_copy() {
        let budget = Budget::new(10);
        let one = budget.claim(6).unwrap();
        let copy = one.clone();
        assert!(budget.claim(5).is_none());
        drop(one);
        assert!(budget.claim(5).is_none(), "a copy is left");
        drop(copy);
        assert!(budget.claim(10).is_some());
        assert_eq!(Claim::default(), budget.claim(1).unwrap());
    }
}
