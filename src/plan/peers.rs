//! Nodes that share the images they hold with each other: the embedded registry of k3s and RKE2.

use super::PlanSettings;
use super::audience::pool_of;
use crate::image::Reference;
use crate::runtime::Pool;
use crate::runtime::containerd::peers::{LABELS, Latest, may_be_shared};
use crate::verdict::soften;
use crate::workload::Node;
use crate::workload::candidates::Candidates;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whom the candidate nodes of a template ask for images before any registry.
#[derive(Default)]
pub(super) struct Peers<'a> {
    /// The pools of candidates that ask, and whether each candidate of the pool does.
    pools: BTreeMap<Pool, bool>,
    /// Whether they ask for the tag `latest`.
    latest: Latest,
    /// Every node of the cluster that takes part.
    nodes: Vec<&'a Node>,
}

impl<'a> Peers<'a> {
    pub(super) fn of(candidates: &Candidates<'_>, nodes: &'a [Node], settings: &PlanSettings) -> Self {
        let all = || candidates.tolerated.iter().chain(&candidates.tainted);
        let mut pools: BTreeMap<Pool, bool> = all()
            .filter(|node| takes_part(node))
            .map(|node| (pool_of(node, settings), true))
            .collect();
        if pools.is_empty() {
            return Self::default();
        }
        for node in all().filter(|node| !takes_part(node)) {
            if let Some(each) = pools.get_mut(&pool_of(node, settings)) {
                *each = false;
            }
        }
        let asks_for_latest = all().any(|node| takes_part(node) && node.shares_latest);
        Self {
            pools,
            nodes: nodes.iter().filter(|node| takes_part(node)).collect(),
            latest: if asks_for_latest { Latest::Shared } else { Latest::Own },
        }
    }

    /// The pools whose candidate nodes ask only each other for an image, whatever its registry would answer.
    pub(super) fn only(&self, reference: &Reference, settings: &PlanSettings) -> Arc<[Pool]> {
        let only = |pool: &Pool| {
            let shared = settings.shared.get(pool);
            shared.is_some_and(|shared| shared.has_only_peers(reference.registry()))
        };
        let each = self.pools.iter().filter_map(|(pool, each)| each.then_some(*pool));
        each.filter(only).collect()
    }

    /// Whether one of them has an image. Where no `registries.yaml` says which registries are shared, all may be.
    pub(super) fn have(&self, reference: &Reference, settings: &PlanSettings) -> soften::Peers {
        let shared = |pool: &Pool| {
            settings
                .shared
                .get(pool)
                .is_none_or(|shared| shared.has(reference.registry()))
        };
        if !may_be_shared(reference, self.latest) || !self.pools.keys().any(shared) {
            return soften::Peers::None;
        }
        let name = Node::lists_as(reference);
        if self.nodes.iter().any(|node| node.lists(&name)) {
            soften::Peers::Hold
        // For a tag, Spegel gives what containerd has as an image of that name (`Resolve` of its store), and those are the images that a
        // kubelet lists. Whatever has a digest is shared by it, under whichever name a node has pulled it.
        } else if reference.digest().is_some() || self.nodes.iter().any(|node| !lists_all(node)) {
            soften::Peers::MayHold
        } else {
            soften::Peers::Lack
        }
    }
}

fn takes_part(node: &Node) -> bool {
    LABELS.iter().any(|label| node.label(label) == Some("true"))
}

/// Whether a node says everything that it holds. One that runs holds something.
fn lists_all(node: &Node) -> bool {
    node.image_entries > 0 && node.images_complete()
}
