//! A node, reduced to what decides about pulls.

use crate::image::Platform;

/// The facts of one node; trimmed on arrival.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`, sorted by key.
    pub labels: Vec<(String, String)>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// From `status.nodeInfo` (operatingSystem, architecture; on Windows `kernelVersion` as os.version); falls back on the labels
    /// `kubernetes.io/os` and `kubernetes.io/arch`. `None` when neither is there.
    pub platform: Option<Platform>,
    /// `status.nodeInfo.containerRuntimeVersion`.
    pub runtime: String,
    /// `status.nodeInfo.kubeletVersion`.
    pub kubelet: String,
    /// `status.images[*].names`, normalised names as listed.
    pub images: Vec<String>,
    /// Entries in `status.images`; 50 or more means the list may be cut.
    pub image_entries: usize,
    /// `status.allocatable["ephemeral-storage"]` in bytes, if it parses.
    pub ephemeral_storage: Option<u64>,
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl Node {
    /// Reads a Node object (untyped JSON); odd fields are left out, never an error.
    pub fn from_json(_node: &serde_json::Value) -> Self {
        todo!()
    }
    /// A label's value.
    pub fn label(&self, _key: &str) -> Option<&str> {
        todo!()
    }
    /// A virtual node (virtual-kubelet, Fargate, ACI): opaque to us.
    pub fn is_virtual(&self) -> bool {
        todo!()
    }
    /// Whether the image list is complete (fewer than the kubelet's default cap of 50 entries).
    pub fn images_complete(&self) -> bool {
        self.image_entries < 50
    }
    /// Whether the node lists this image (normalised; by digest alone where the reference has one).
    pub fn holds(&self, _reference: &crate::image::Reference) -> bool {
        todo!()
    }
}
