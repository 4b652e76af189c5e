//! Nodes that share the images they hold with each other: the embedded registry of k3s and RKE2.

use super::Settings;
use super::audience::pool_of;
use crate::image::Reference;
use crate::runtime::Pool;
use crate::runtime::containerd::peers::{LABELS, may_be_shared};
use crate::verdict::soften;
use crate::workload::Node;
use crate::workload::candidates::Candidates;
use std::collections::BTreeSet;

/// Whom the candidate nodes of a template ask for images before any registry.
#[derive(Default)]
pub(super) struct Peers<'a> {
    /// The pools of candidates that ask.
    pools: BTreeSet<Pool>,
    /// Who is asked: every node of the cluster that takes part.
    nodes: Vec<&'a Node>,
}

impl<'a> Peers<'a> {
    pub(super) fn of(candidates: &Candidates<'_>, nodes: &'a [Node], settings: &Settings) -> Self {
        let all = candidates.tolerated.iter().chain(&candidates.tainted);
        let pools: BTreeSet<Pool> = all
            .filter(|node| takes_part(node))
            .map(|node| pool_of(node, settings))
            .collect();
        let nodes = if pools.is_empty() {
            Vec::new()
        } else {
            nodes.iter().filter(|node| takes_part(node)).collect()
        };
        Self { pools, nodes }
    }

    /// Whether one of them has an image. Where no `registries.yaml` says which registries are shared, all may be.
    pub(super) fn have(&self, reference: &Reference, settings: &Settings) -> soften::Peers {
        let shared = |pool: &Pool| {
            settings
                .shared
                .get(pool)
                .is_none_or(|shared| shared.has(reference.registry()))
        };
        if !may_be_shared(reference) || !self.pools.iter().any(shared) {
            return soften::Peers::None;
        }
        let name = Node::lists_as(reference);
        if self.nodes.iter().any(|node| node.lists(&name)) {
            soften::Peers::Hold
        // Whatever has a digest is shared by it, under whichever name a node has pulled it.
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
