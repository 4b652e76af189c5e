//! The kubelet's keyring: key normalisation, matching and order (pull-semantics 4.4).

use super::Credential;

/// Where a credential came from; shown to people, never its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A Secret of the pod's namespace, by name.
    Secret(String),
    /// The docker config of the node (or of the user who runs `check`).
    DockerConfig,
}

/// A credential under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key as written under `auths`.
    pub key: String,
    /// Where it came from.
    pub source: Source,
    /// The credential.
    pub credential: Credential,
}

/// A key that came close to a repository, and why it does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The key as written.
    pub key: String,
    /// Where it stands.
    pub source: Source,
    /// Why it does not match, as a clause: `its port is 5000, the image's registry has none`.
    pub why: String,
}

/// All credentials of a pod.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    entries: Vec<Entry>,
}

impl Keyring {
    /// Adds the entries of one source, in document order.
    pub fn add(&mut self, _source: &Source, _entries: &[(String, Credential)]) {
        todo!()
    }
    /// The credentials for a repository (normalised name, `docker.io/library/nginx`), in the order the kubelet tries them.
    /// Duplicates kept.
    pub fn lookup(&self, _name: &str) -> Vec<&Entry> {
        todo!()
    }
    /// The key that comes closest to matching, when [`Self::lookup`] finds none.
    pub fn nearest(&self, _name: &str) -> Option<NearMiss> {
        todo!()
    }
    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Whether the kubelet's `matchImages`-style pattern (`*.dkr.ecr.*.amazonaws.com`) covers a repository; `*` alone covers all.
/// Used for `nodeCredentials`.
pub fn pattern_covers(_pattern: &str, _name: &str) -> bool {
    todo!()
}
