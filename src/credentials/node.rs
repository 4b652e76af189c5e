//! What only the node knows, as values: what credential provider plugins (and, for `check`, credential helpers) gave for the
//! repositories of one object.

use super::Credential;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A repository whose node-level credentials are wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The repository, normalised: `docker.io/library/nginx`.
    pub name: String,
    /// Its registry as people write it: `docker.io`.
    pub registry: String,
    /// Whether the user's own docker config would stand in for what could not be seen.
    pub stand_in: StandIn,
}

/// Whether the docker config of the user of `check` is of use for a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StandIn {
    /// Everything is known without it.
    Idle,
    /// Something could not be seen, and nothing else is there to try.
    Wanted,
}

/// Credentials of one source, by key.
pub type Entries = Arc<Vec<(String, Credential)>>;

/// What was given for one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provided {
    /// By plugin, in the order of the configuration.
    pub plugins: Vec<(String, Entries)>,
    /// Why a node may hold more than was learned, as a clause.
    pub unanswered: Option<String>,
    /// From a credential helper of the docker config that is the node-level keyring (`--docker-config`).
    pub docker_config: Option<Credential>,
    /// From a credential helper of the user's own docker config, which stands in for what could not be seen.
    pub stand_in: Option<Credential>,
    /// Why that helper gave nothing, as a clause.
    pub stand_in_failed: Option<String>,
}

/// What was given for the repositories of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeCredentials {
    given: BTreeMap<Wanted, Provided>,
}

impl NodeCredentials {
    /// What was given for a repository.
    pub fn get(&self, wanted: &Wanted) -> Option<&Provided> {
        self.given.get(wanted)
    }

    /// Those that were not asked for yet.
    pub fn unasked(&self, wanted: &BTreeSet<Wanted>) -> Vec<Wanted> {
        wanted
            .iter()
            .filter(|wanted| !self.given.contains_key(wanted))
            .cloned()
            .collect()
    }

    /// Adds what was given.
    pub fn insert(&mut self, wanted: Wanted, provided: Provided) {
        self.given.insert(wanted, provided);
    }
}
