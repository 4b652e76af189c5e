//! What `/readyz` says, as far as was seen last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cheap to clone; the clones share it.
#[derive(Debug, Clone)]
pub(super) struct Judgement(Arc<Mutex<Seen>>);

#[derive(Debug)]
struct Seen {
    /// Whether the API server takes the served certificate.
    taken: Result<(), String>,
    /// What could not be read or written in the last round.
    trouble: Option<String>,
}

impl Judgement {
    /// Not ready, for this reason.
    pub(super) fn new(why: String) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            taken: Err(why),
            trouble: None,
        })))
    }

    pub(super) fn taken(&self, taken: Result<(), String>) {
        self.seen().taken = taken;
    }

    pub(super) fn trouble(&self, trouble: Option<String>) {
        self.seen().trouble = trouble;
    }

    /// Whether the API server takes the served certificate; else why not, and what stands in the way of mending it.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let seen = self.seen();
        match (&seen.taken, &seen.trouble) {
            (Ok(()), _) => Ok(()),
            (Err(why), None) => Err(why.clone()),
            (Err(why), Some(trouble)) => Err(format!("{why}; {trouble}")),
        }
    }

    /// What stands in the way of writing, where nothing needs mending now.
    pub(super) fn note(&self) -> Option<String> {
        let seen = self.seen();
        seen.trouble.clone().filter(|_| seen.taken.is_ok())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
