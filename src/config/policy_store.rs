//! The policies in force, from both sources.

use super::Live;
use crate::policy::{Policies, Policy};
use std::sync::{Arc, Mutex, PoisonError};

/// The policies of files and of the cluster, merged. Cheap to clone; clones share the content.
#[derive(Debug, Clone)]
pub struct PolicyStore {
    sources: Arc<Mutex<Sources>>,
    all: Live<Policies>,
}

#[derive(Debug, Default)]
struct Sources {
    files: Vec<Arc<Policy>>,
    cluster: Vec<Arc<Policy>>,
}

impl Default for PolicyStore {
    fn default() -> Self {
        Self {
            sources: Arc::default(),
            all: Live::new(Policies::default()),
        }
    }
}

impl PolicyStore {
    /// The current policies. Hold them for a whole review, so that a change does not split the review.
    pub fn load(&self) -> Arc<Policies> {
        self.all.load()
    }

    /// Replaces the policies from files.
    pub fn set_files(&self, policies: Vec<Arc<Policy>>) {
        self.change(|sources| sources.files = policies);
    }

    /// Replaces the policies from the cluster.
    pub fn set_cluster(&self, policies: Vec<Arc<Policy>>) {
        self.change(|sources| sources.cluster = policies);
    }

    fn change(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        // Stored under the lock: of two concurrent changes, the later one contains both.
        let all = sources.files.iter().chain(&sources.cluster).cloned().collect();
        self.all.store(Policies::new(all));
    }
}
