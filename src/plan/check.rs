//! What is asked of registries for one object.

use crate::credentials::{Credential, CredentialSource};
use crate::image::Reference;
use crate::runtime::Depth;
use crate::runtime::Pool;
use crate::runtime::Puller;
use crate::runtime::kubelet::Sent;
use crate::runtime::request::Agents;
use std::sync::Arc;

/// A question: one image, and the credentials in the order in which a kubelet would try them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    /// The image.
    pub reference: Reference,
    /// The namespace of the pod: nodes may have settings for it.
    pub namespace: Arc<str>,
    /// The repository as the pod writes it, where nodes with CRI-O are asked about and take it for a short name
    /// ([`crate::runtime::Pull::short`]).
    pub short: Option<Arc<str>>,
    /// Tried in order, the first success wins. Empty: anonymous (and only then).
    pub credentials: Vec<Offer>,
    /// How far the look-up goes.
    pub depth: Depth,
    /// For whom. Sorted, each once.
    pub pullers: Arc<[Puller]>,
    /// As whom registries are asked.
    pub agents: Agents,
    /// The pools whose nodes ask only each other for it.
    pub peers_only: Arc<[Pool]>,
}

/// A credential, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Offer {
    /// What is sent.
    pub credential: Credential,
    /// Shown to people; `None` for the anonymous attempt that follows those with a stand-in.
    pub source: Option<CredentialSource>,
    /// Whether nodes would send it.
    pub sent: Sent,
}
