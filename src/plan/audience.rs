//! Who will have to pull: candidate nodes, else the platforms that stand in for them (pull-semantics 7.3, 7.4 and 7.2).

use super::{Platforms, Settings};
use crate::image::platform::{ALL, personalities};
use crate::image::{Platform, Reference};
use crate::verdict::platforms::{Audience, Group, Need, Origin};
use crate::verdict::soften::{Presence, Verification};
use crate::workload::Node;
use crate::workload::candidates::{Candidates, Scheduling, Spread};
use std::collections::HashMap;

/// The first kubelet that is supported, and the first that verifies pulls of images it holds (`KubeletEnsureSecretPulledImages`).
const FIRST: u32 = 30;
const FIRST_TO_VERIFY: u32 = 35;

/// The audience of a template.
pub(super) fn audience(scheduling: &Scheduling, candidates: &Candidates<'_>, settings: &Settings) -> Audience {
    let every = match scheduling.spread {
        Spread::Some => Need::Any,
        Spread::Every => Need::Every,
    };
    if let Platforms::Exactly(platforms) = &settings.platforms {
        return stand_ins(platforms.iter().cloned(), Origin::Configured, every);
    }
    if !candidates.tolerated.is_empty() || !candidates.tainted.is_empty() || candidates.opaque > 0 {
        let mut audience = Audience {
            origin: Origin::Nodes,
            unknown: candidates.opaque,
            every,
            ..Audience::default()
        };
        for node in &candidates.tolerated {
            if let Some(group) = group_of(&mut audience, node) {
                group.tolerated += 1;
                group.storage.extend(node.ephemeral_storage);
            }
        }
        for node in &candidates.tainted {
            if let Some(group) = group_of(&mut audience, node) {
                group.tainted += 1;
            }
        }
        return audience;
    }
    let named = scheduling.named_platforms();
    if !named.is_empty() {
        return stand_ins(named.into_iter(), Origin::Selectors, every);
    }
    match &settings.platforms {
        Platforms::Default(platforms) | Platforms::Exactly(platforms) => {
            stand_ins(platforms.iter().cloned(), Origin::Configured, every)
        }
        Platforms::Guess => {
            let usual = Platform {
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                ..Platform::default()
            };
            stand_ins(std::iter::once(usual), Origin::Assumed, every)
        }
    }
}

/// The audience that a policy asks for (`spec.platforms`), instead of the nodes.
pub(super) fn of_policy(scheduling: &Scheduling, platforms: &[Platform]) -> Audience {
    let every = match scheduling.spread {
        Spread::Some => Need::Any,
        Spread::Every => Need::Every,
    };
    stand_ins(platforms.iter().cloned(), Origin::Configured, every)
}

fn stand_ins(platforms: impl Iterator<Item = Platform>, origin: Origin, every: Need) -> Audience {
    let groups = platforms
        .map(|platform| Group {
            platform,
            personalities: ALL.to_vec(),
            tolerated: 1,
            tainted: 0,
            names: Vec::new(),
            storage: Vec::new(),
        })
        .collect();
    Audience {
        groups,
        origin,
        unknown: 0,
        every,
    }
}

/// The group that a node belongs to. `None`, and counted, where its platform is not known.
fn group_of<'a>(audience: &'a mut Audience, node: &Node) -> Option<&'a mut Group> {
    let Some(platform) = &node.platform else {
        audience.unknown += 1;
        return None;
    };
    let personalities = personalities(&node.runtime);
    let at = audience
        .groups
        .iter()
        .position(|group| group.platform == *platform && group.personalities == personalities);
    let at = at.unwrap_or_else(|| {
        audience.groups.push(Group {
            platform: platform.clone(),
            personalities: personalities.to_vec(),
            tolerated: 0,
            tainted: 0,
            names: Vec::new(),
            storage: Vec::new(),
        });
        audience.groups.len() - 1
    });
    let every = audience.every;
    let group = audience.groups.get_mut(at)?;
    if every == Need::Every {
        group.names.push(node.name.clone());
    }
    Some(group)
}

/// What the nodes that the pods of a template will land on hold, as far as is known.
pub(super) struct Holders<'a> {
    nodes: Vec<&'a Node>,
    /// Nodes by what they list, where many images ask: an object may have thousands, and a cluster as many nodes.
    index: Option<HashMap<&'a str, usize>>,
    every_list_is_complete: bool,
    verification: Verification,
    /// Virtual nodes, of which nothing is known.
    opaque: usize,
}

impl<'a> Holders<'a> {
    /// Of the candidates those whose taints are tolerated, else all; for so many images.
    pub(super) fn new(candidates: Candidates<'a>, images: usize) -> Self {
        /// As many as a node lists: looking each up costs as much as reading all lists once.
        const MANY: usize = 50;
        let nodes = if candidates.tolerated.is_empty() {
            candidates.tainted
        } else {
            candidates.tolerated
        };
        let index = (images > MANY).then(|| {
            let mut index = HashMap::new();
            for node in &nodes {
                let mut last = None;
                // Sorted: what stands twice stands side by side.
                for name in &node.images {
                    if last.replace(name) != Some(name) {
                        *index.entry(name.as_str()).or_insert(0) += 1;
                    }
                }
            }
            index
        });
        Self {
            every_list_is_complete: nodes.iter().all(|node| node.images_complete()),
            verification: if nodes.iter().all(|node| lets_everybody(&node.kubelet)) {
                Verification::Never
            } else {
                Verification::Possible
            },
            opaque: candidates.opaque,
            nodes,
            index,
        }
    }

    /// How many of them list the image.
    fn holding(&self, reference: &Reference) -> usize {
        let name = Node::lists_as(reference);
        match &self.index {
            Some(index) => index.get(name.as_str()).copied().unwrap_or_default(),
            None => self.nodes.iter().filter(|node| node.lists(&name)).count(),
        }
    }

    /// Whether none of them has it, for sure.
    pub(super) fn surely_lack(&self, reference: &Reference) -> bool {
        !self.nodes.is_empty() && self.opaque == 0 && self.every_list_is_complete && self.holding(reference) == 0
    }

    /// Whether they hold it already.
    pub(super) fn presence(&self, reference: &Reference) -> Presence {
        let holding = self.holding(reference);
        if holding == 0 {
            Presence::Nowhere
        } else if holding < self.nodes.len() || self.opaque > 0 {
            Presence::Some(self.verification)
        } else {
            Presence::All(self.verification)
        }
    }
}

/// Whether a kubelet surely lets every pod have what it holds.
fn lets_everybody(kubelet: &str) -> bool {
    minor(kubelet).is_some_and(|minor| minor < FIRST_TO_VERIFY)
}

/// The minor version of `v1.34.2`; `None` for one that cannot be read, or whose rules are not known here: it may do anything.
pub(super) fn minor(kubelet: &str) -> Option<u32> {
    let minor = kubelet.strip_prefix("v1.")?.split('.').next()?.parse().ok()?;
    (minor >= FIRST).then_some(minor)
}
