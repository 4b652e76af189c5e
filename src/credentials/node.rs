//! Credentials that only the node has, as values: what credential provider plugins (and, for `check`, credential helpers) returned
//! for the repositories of one object.

use super::Credential;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A repository whose node-level credentials are needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WantedCredentials {
    /// The repository, normalised: `docker.io/library/nginx`.
    pub name: String,
    /// Its registry as users write it: `docker.io`.
    pub registry: String,
    /// Whether the user's own docker config would stand in for credentials that could not be read.
    pub stand_in: StandIn,
}

/// Whether the docker config of the user of `check` helps with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StandIn {
    /// It is not needed: everything is known.
    Idle,
    /// Something could not be read, and there is nothing else to try.
    Wanted,
}

/// Credentials of one source, by key.
pub type Entries = Arc<Vec<(String, Credential)>>;

/// The credentials for one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provided {
    /// By plugin, in the order of the configuration.
    pub plugins: Vec<(String, Entries)>,
    /// Why a node may have more than these, as a clause.
    pub unanswered: Option<String>,
    /// From a credential helper of the docker config with the nodes' own credentials (`--docker-config`).
    pub docker_config: Option<Credential>,
    /// From a credential helper of the user's own docker config, as a stand-in for what could not be read.
    pub stand_in: Option<Credential>,
    /// Why that helper returned nothing, as a clause.
    pub stand_in_failed: Option<String>,
}

/// The credentials for the repositories of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeCredentials {
    given: BTreeMap<WantedCredentials, Provided>,
}

impl NodeCredentials {
    /// The credentials for a repository.
    pub fn get(&self, wanted: &WantedCredentials) -> Option<&Provided> {
        self.given.get(wanted)
    }

    /// Adds an answer.
    pub fn insert(&mut self, wanted: WantedCredentials, provided: Provided) {
        self.given.insert(wanted, provided);
    }
}
