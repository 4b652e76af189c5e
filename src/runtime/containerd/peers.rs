//! The embedded registry of k3s and RKE2 (Spegel): nodes share the images that they hold, and ask each other before any registry
//! (`pkg/spegel` of k3s).

use crate::image::Reference;
use crate::runtime::containerd::hosts::is_loopback;
use std::collections::BTreeSet;

/// The labels of nodes that take part; their value is `true`.
pub const LABELS: [&str; 2] = ["p2p.k3s.cattle.io/enabled", "p2p.rke2.cattle.io/enabled"];

/// The registries whose images nodes give each other: the keys below `mirrors` in `registries.yaml`; `*` stands for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shared(BTreeSet<String>);

impl Shared {
    /// Of these names.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether the images of a registry are among them.
    pub fn has(&self, registry: &str) -> bool {
        self.0.contains(registry) || self.0.contains("*")
    }
}

/// Whether nodes ask each other for an image at all: not for one of a loopback registry, and for the tag `latest` only by its digest.
pub fn may_be_shared(reference: &Reference) -> bool {
    let latest = reference.digest().is_none() && reference.tag().is_none_or(|tag| tag == "latest");
    !latest && !is_loopback(reference.registry())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_share() {
        let some = Shared::new(["docker.io".to_owned(), "r.example:5000".to_owned()]);
        assert!(some.has("docker.io") && some.has("r.example:5000"));
        assert!(!some.has("r.example") && !some.has("quay.io"));
        assert!(Shared::new(["*".to_owned()]).has("quay.io"));
        let digest = format!("r.example/a@sha256:{}", "a".repeat(64));
        let tagged = format!("r.example/a:latest@sha256:{}", "a".repeat(64));
        for (image, shared) in [
            ("r.example/a:1", true),
            ("app:1", true),
            (digest.as_str(), true),
            (tagged.as_str(), true),
            ("r.example/a", false),
            ("r.example/a:latest", false),
            ("localhost:5000/a:1", false),
            ("127.0.0.1:5000/a:1", false),
        ] {
            assert_eq!(may_be_shared(&Reference::parse(image).unwrap()), shared, "{image}");
        }
    }
}
