//! A finding: one cause at one image, in words.

use super::{Cause, Outlook};
use schemars::JsonSchema;
use serde::Serialize;

/// What a kubelet would show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kubelet {
    /// `state.waiting.reason`.
    pub reason: String,
    /// `state.waiting.message`, in the words of the newest containerd among the candidate nodes.
    pub message: String,
}

/// What proves a finding.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(rename = "Proof")]
pub struct FindingEvidence {
    /// The host that answered or failed.
    pub host: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// The registry's error code.
    pub code: Option<String>,
    /// The URL that was asked, without its query, where the nodes' settings make another one of it than the image's name says.
    pub url: Option<String>,
}

/// One cause at one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// The cause.
    pub cause: Cause,
    /// The outlook after softening.
    pub outlook: Outlook,
    /// What, and why in the registry's own words. Names from the object are escaped.
    pub message: String,
    /// What to do next.
    pub fix: String,
    /// What the kubelet would show; `None` where it would show nothing, or where that is not known.
    pub kubelet: Option<Kubelet>,
    /// What proves it.
    pub evidence: FindingEvidence,
    /// Closest existing tags, best first.
    pub suggestions: Vec<String>,
}

impl Finding {
    /// Keeps what counts about a finding, without its text. Of an object with thousands of findings, the first are given in full.
    pub fn forget_words(&mut self) {
        self.message = String::from("more findings than are listed");
        self.fix = String::from("mend the first");
        self.kubelet = None;
        self.evidence = FindingEvidence::default();
        self.suggestions = Vec::new();
    }
}
