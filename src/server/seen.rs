//! Reviews that were read a moment ago. Another one of the same pod template is recognised by its bytes and need not be read.

use crate::engine::ReviewKey;
use crate::review::{Names, Pattern, Review};
use crate::workload::{Kinds, Workload};
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many reviews are known at a time.
const PATTERNS: usize = 32;
/// The longest body of one, in bytes.
const LONGEST: usize = 32 << 10;
/// How many subjects are remembered, so that a pattern is only made for the second review of a subject.
const KEYS: usize = 256;

/// The reviews that are known. The newest come first.
#[derive(Debug)]
pub(super) struct Seen {
    keys: Mutex<Vec<Option<ReviewKey>>>,
    known: ArcSwap<Vec<Arc<Known>>>,
}

/// A review that was read.
#[derive(Debug)]
pub(super) struct Known {
    pattern: Pattern,
    /// The kinds that were known when it was read.
    kinds: Arc<Kinds>,
    review: Review,
    /// Its object.
    pub(super) workload: Workload,
    /// What it is about.
    pub(super) key: ReviewKey,
}

impl Known {
    /// A review with other names.
    pub(super) fn named(&self, names: &Names<'_>) -> Review {
        Review {
            uid: names.uid.to_owned(),
            name: names.name.to_owned(),
            ..self.review.clone()
        }
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            keys: Mutex::new(vec![None; KEYS]),
            known: ArcSwap::default(),
        }
    }
}

impl Seen {
    /// The known review that this body repeats, and its own names.
    pub(super) fn find<'a>(&self, body: &'a [u8], kinds: &Arc<Kinds>) -> Option<(Arc<Known>, Names<'a>)> {
        let known = self.known.load();
        let mut current = known.iter().filter(|known| Arc::ptr_eq(&known.kinds, kinds));
        current.find_map(|known| Some((Arc::clone(known), known.pattern.fits(body)?)))
    }

    /// Records a review that was read, with its object. From the second one of the same subject on, it is recognised.
    pub(super) fn note(&self, body: &[u8], review: &Review, workload: &Workload, key: ReviewKey, kinds: &Arc<Kinds>) {
        if body.len() > LONGEST || !self.again(key) {
            return;
        }
        let Some(pattern) = Pattern::of(body, review, kinds) else {
            return;
        };
        let mut review = review.clone();
        review.forget_objects();
        let known = Arc::new(Known {
            pattern,
            kinds: Arc::clone(kinds),
            review,
            workload: workload.clone(),
            key,
        });
        self.known.rcu(|before| {
            let others = before.iter().filter(|other| other.key != key).take(PATTERNS - 1);
            std::iter::once(&known).chain(others).cloned().collect::<Vec<_>>()
        });
    }

    /// Whether there was a review of this subject before.
    fn again(&self, key: ReviewKey) -> bool {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let place = key.place(KEYS);
        keys.get_mut(place).is_some_and(|last| last.replace(key) == Some(key))
    }
}
