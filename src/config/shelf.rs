//! The policies that hold now, from both sources.

use super::Live;
use crate::policy::{Policies, Policy};
use std::sync::{Arc, Mutex, PoisonError};

/// Policies of files and of the cluster, put together. Cheap to clone; the clones share what is on it.
#[derive(Debug, Clone)]
pub struct Shelf {
    sources: Arc<Mutex<Sources>>,
    all: Live<Policies>,
}

#[derive(Debug, Default)]
struct Sources {
    files: Vec<Arc<Policy>>,
    cluster: Vec<Arc<Policy>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            sources: Arc::default(),
            all: Live::new(Policies::default()),
        }
    }
}

impl Shelf {
    /// The policies of this moment. Hold them for one review, so that a change does not split it.
    pub fn load(&self) -> Arc<Policies> {
        self.all.load()
    }

    /// Replaces the policies that came from files.
    pub fn set_files(&self, policies: Vec<Arc<Policy>>) {
        self.change(|sources| sources.files = policies);
    }

    /// Replaces the policies that came from the cluster.
    pub fn set_cluster(&self, policies: Vec<Arc<Policy>>) {
        self.change(|sources| sources.cluster = policies);
    }

    fn change(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        // Stored under the lock: of two changes at once, the later one holds both.
        let all = sources.files.iter().chain(&sources.cluster).cloned().collect();
        self.all.store(Policies::new(all));
    }
}
