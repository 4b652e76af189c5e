//! The embedded registry of k3s and RKE2 (Spegel): nodes share the images that they hold, and ask each other before any registry
//! (`pkg/spegel` of k3s).

use crate::image::Reference;
use crate::runtime::containerd::hosts::is_loopback;
use std::collections::BTreeSet;

/// The labels of nodes that take part; their value is `true`.
pub const LABELS: [&str; 2] = ["p2p.k3s.cattle.io/enabled", "p2p.rke2.cattle.io/enabled"];

/// The registries whose images nodes share: the keys below `mirrors` in `registries.yaml`; `*` stands for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shared {
    /// The keys.
    pub mirrors: BTreeSet<String>,
    /// The keys in `configs` that have settings: each has a `hosts.toml` of its own, so that `*` does not apply to it.
    pub configs: BTreeSet<String>,
    /// The mirrors for which only other nodes are asked: they have no endpoint, and the default endpoint is disabled.
    pub peers_only: BTreeSet<String>,
}

impl Shared {
    /// With these mirrors.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self {
            mirrors: names.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The key that applies to a registry.
    fn key<'a>(&self, registry: &'a str) -> Option<&'a str> {
        if self.mirrors.contains(registry) {
            Some(registry)
        } else {
            (self.mirrors.contains("*") && !self.configs.contains(registry)).then_some("*")
        }
    }

    /// Whether nodes share the images of a registry.
    pub fn has(&self, registry: &str) -> bool {
        self.key(registry).is_some()
    }

    /// Whether nodes that take part ask only each other for images of this registry.
    pub fn has_only_peers(&self, registry: &str) -> bool {
        self.key(registry).is_some_and(|key| self.peers_only.contains(key)) && !is_loopback(registry)
    }
}

/// Whether nodes ask each other for an image at all. They do not for loopback registries, and for the tag `latest` only by its digest
/// unless `K3S_P2P_ENABLE_LATEST` is set.
pub fn may_be_shared(reference: &Reference, latest: Latest) -> bool {
    let is_latest = reference.digest().is_none() && reference.tag().is_none_or(|tag| tag == "latest");
    (!is_latest || latest == Latest::Shared) && !is_loopback(reference.registry())
}

/// Whether nodes ask each other for the tag `latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Latest {
    /// They do not.
    #[default]
    Own,
    /// They do.
    Shared,
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
        let hidden = Shared {
            configs: BTreeSet::from(["quay.io".to_owned()]),
            peers_only: BTreeSet::from(["*".to_owned()]),
            ..Shared::new(["*".to_owned(), "docker.io".to_owned()])
        };
        assert!(hidden.has("ghcr.io") && hidden.has_only_peers("ghcr.io"));
        assert!(
            hidden.has("docker.io") && !hidden.has_only_peers("docker.io"),
            "its own key counts"
        );
        assert!(
            !hidden.has("quay.io") && !hidden.has_only_peers("quay.io"),
            "it has a hosts.toml of its own"
        );
        assert!(!hidden.has_only_peers("localhost:5000"));
        let latest = Reference::parse("r.example/a").unwrap();
        assert!(may_be_shared(&latest, Latest::Shared));
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
            assert_eq!(
                may_be_shared(&Reference::parse(image).unwrap(), Latest::Own),
                shared,
                "{image}"
            );
        }
    }
}
