//! How often to read, and how often to write.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// The most writes in a row: more than any rotation or repair needs.
const BURST: u32 = 10;
/// After those, one write per this time: enough to heal, too few to do harm when somebody else keeps writing the same thing.
const REFILL: Duration = Duration::from_mins(1);

/// The remaining writes to one object.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    refilled: Instant,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            left: BURST,
            refilled: Instant::now(),
        }
    }

    /// For tests that do more damage than a cluster.
    #[cfg(test)]
    pub(super) fn unlimited() -> Self {
        Self {
            left: u32::MAX,
            ..Self::new()
        }
    }

    /// Whether a write is left.
    pub(super) fn allows(&mut self) -> bool {
        while self.left < BURST && self.refilled.elapsed() >= REFILL {
            self.left += 1;
            self.refilled += REFILL;
        }
        if self.left == BURST {
            self.refilled = Instant::now();
        }
        self.left > 0
    }

    /// Uses one write.
    pub(super) fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

/// A random duration between `low` and `high`, so that replicas do not act in step.
pub(super) fn between(low: Duration, high: Duration) -> Duration {
    let parts = u32::try_from(RandomState::new().hash_one(0_u8) % 1000).unwrap_or_default();
    low + high.saturating_sub(low) * parts / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_a_minute() {
        let mut budget = Budget::new();
        let mut spent = 0;
        let mut spend_all = |budget: &mut Budget| {
            let before = spent;
            while budget.allows() {
                budget.spend();
                spent += 1;
            }
            spent - before
        };
        assert_eq!(spend_all(&mut budget), 10);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(spend_all(&mut budget), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(spend_all(&mut budget), 1);
        tokio::time::advance(Duration::from_mins(125)).await;
        assert_eq!(spend_all(&mut budget), 10, "unused writes do not accumulate");
        assert_eq!(spend_all(&mut budget), 0);
    }

    #[test]
    fn pauses_differ_and_stay_within_bounds() {
        let (low, high) = (Duration::from_secs(4), Duration::from_secs(6));
        let all: std::collections::BTreeSet<_> = (0..100).map(|_| between(low, high)).collect();
        assert!(all.len() > 10);
        assert!(all.iter().all(|pause| (low..=high).contains(pause)));
        assert_eq!(between(low, low), low);
    }
}
