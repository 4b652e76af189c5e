//! The only room that talks to the API server. It turns objects into compact facts on arrival and hands out one consistent
//! view a review. Two real sources (a watched cluster, a folder of manifests) and none.

mod convert;
mod directory;
pub mod facts;

pub use directory::{Completeness, Directory, LoadError, Problem, Rejected};
pub use facts::{Facts, Namespace, ServiceAccount, Visible};

use crate::workload::Template;
use tokio::time::Instant;

/// Where facts about the cluster come from. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Cluster {
    /// No cluster: everything but the built-in defaults is hidden.
    Absent,
}

/// An object to read again, because a finding would rest on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// The review's namespace.
    Namespace,
    /// A service account of it.
    ServiceAccount(String),
    /// A Secret of it.
    Secret(String),
}

impl Cluster {
    /// What a review of `templates` in `namespace` needs: nodes, the namespace, each template's service account (for templates
    /// that list no pull secret) and the pull secrets that those and the templates list. What cannot be read by `deadline` is hidden.
    pub async fn facts(&self, _namespace: &str, _templates: &[Template], _deadline: Instant) -> Facts {
        todo!()
    }

    /// The same, with `objects` read afresh from the API server (read your writes: DESIGN 6): one `get` each, single flight, 2 s at
    /// most, remembered for 2 s. What cannot be read becomes hidden. Sources that have nothing fresher return the facts unchanged.
    pub async fn reread(
        &self,
        facts: &Facts,
        _namespace: &str,
        _templates: &[Template],
        _objects: &[Object],
        _deadline: Instant,
    ) -> Facts {
        facts.clone()
    }
}
