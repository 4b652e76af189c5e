//! Node pools: which of them the pods of a template may land on when no node is known, and what looks wrong with the pools.

use super::{PlanSettings, Runtimes};
use crate::image::escape;
use crate::runtime::{Pool, Runtime};
use crate::workload::Node;
use crate::workload::candidates::Scheduling;
use crate::workload::selector::{Fit, NodeSelector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Nodes that reach registries in a way of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePool {
    /// For people.
    pub name: Arc<str>,
    /// Its nodes, as far as no pool before it has them.
    pub selector: NodeSelector,
    /// Whose files its registries are: what its nodes run, where none is known.
    pub runtime: Kind,
}

/// A kind of container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `hosts.toml` trees, k3s' `registries.yaml`.
    Containerd,
    /// `registries.conf`.
    Crio,
}

impl Kind {
    fn is_of(self, runtime: Runtime) -> bool {
        match runtime {
            Runtime::Containerd(_) => self == Self::Containerd,
            Runtime::Crio(_) => self == Self::Crio,
        }
    }

    /// Where the settings say no version.
    fn usual(self) -> Vec<Runtime> {
        match self {
            Self::Containerd => Runtime::unknown(),
            Self::Crio => Runtime::usual_crio(),
        }
    }
}

/// What the pods of a template may be pulled by where no node is known: each pool that their node selector does not rule out, and nodes of
/// no pool.
pub(super) fn stand_ins(scheduling: &Scheduling, settings: &PlanSettings) -> Vec<(Vec<Runtime>, Pool)> {
    let mut setups = Vec::new();
    for (at, pool) in (1..).zip(settings.pools.iter()) {
        let fit = pool.selector.fit(&scheduling.node_selector);
        if fit != Fit::Never {
            setups.push((pool.runtimes(&settings.runtimes), Pool(at)));
        }
        if fit == Fit::Always {
            return setups;
        }
    }
    setups.push((usual_runtimes(&settings.runtimes), Pool::default()));
    setups
}

/// What nodes run that do not say it.
pub fn usual_runtimes(written: &Runtimes) -> Vec<Runtime> {
    match written {
        Runtimes::Default(runtimes) | Runtimes::Exactly(runtimes) if !runtimes.is_empty() => runtimes.clone(),
        Runtimes::Default(_) | Runtimes::Exactly(_) | Runtimes::Guess => Runtime::unknown(),
    }
}

impl NodePool {
    /// What its nodes run, if none is known.
    pub fn runtimes(&self, written: &Runtimes) -> Vec<Runtime> {
        let given = match written {
            Runtimes::Exactly(runtimes) => runtimes.clone(),
            Runtimes::Default(runtimes) => runtimes.iter().filter(|one| self.runtime.is_of(**one)).copied().collect(),
            Runtimes::Guess => Vec::new(),
        };
        if given.is_empty() { self.runtime.usual() } else { given }
    }
}

/// Problems of the pools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Oddities {
    /// Each of them.
    pub all: Vec<Oddity>,
    /// Pools without a node.
    pub empty: usize,
    /// Nodes that more than one pool selects.
    pub claimed_twice: usize,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddity {
    /// What it is about, which stays the same while nodes come and go.
    pub about: OddPools,
    /// A sentence.
    pub text: String,
}

/// Of which pools something is odd, by their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OddPools {
    /// One that selects no node.
    Empty(Arc<str>),
    /// The one that counts, and one that selects the same nodes.
    Both(Arc<str>, Arc<str>),
}

impl Oddities {
    /// Of pools on these nodes; where none is known, of what holds for any.
    pub fn of(pools: &[NodePool], nodes: &[Node]) -> Self {
        if nodes.is_empty() {
            return Self::of_selectors(pools);
        }
        let mut odd = Self::default();
        // By the pool that counts and the other one: how many nodes, and one of them.
        let mut claims: BTreeMap<(usize, usize), (usize, &str)> = BTreeMap::new();
        let (mut selected, mut owning) = (BTreeSet::new(), BTreeSet::new());
        for node in nodes {
            let selecting = pools.iter().enumerate().filter(|(_, pool)| pool.selector.selects(node));
            let selecting: Vec<usize> = selecting.map(|(at, _)| at).collect();
            selected.extend(selecting.iter().copied());
            let Some((first, others)) = selecting.split_first() else {
                continue;
            };
            owning.insert(*first);
            odd.claimed_twice += usize::from(!others.is_empty());
            for other in others {
                claims.entry((*first, *other)).or_insert((0, &node.name)).0 += 1;
            }
        }
        odd.empty = pools.len() - owning.len();
        for (_, pool) in pools.iter().enumerate().filter(|(at, _)| !selected.contains(at)) {
            let (name, selector, many) = (escape(&pool.name), escape(&pool.selector.to_string()), nodes.len());
            let text = format!("node pool \"{name}\": its selector ({selector}) selects none of {many} nodes");
            let about = OddPools::Empty(Arc::clone(&pool.name));
            odd.all.push(Oddity { about, text });
        }
        for ((first, at), (count, example)) in claims {
            let (Some(first), Some(other)) = (pools.get(first), pools.get(at)) else {
                continue;
            };
            let about = OddPools::Both(Arc::clone(&first.name), Arc::clone(&other.name));
            let (first, other, example) = (escape(&first.name), escape(&other.name), escape(example));
            let which = match count {
                1 => format!("node \"{example}\" is"),
                many => format!("{many} nodes, such as \"{example}\", are"),
            };
            let rest = if owning.contains(&at) {
                String::new()
            } else {
                format!("; that leaves none to \"{other}\"")
            };
            let text = format!(
                "{which} selected by the node pools \"{first}\" and \"{other}\": \"{first}\" counts, which stands first{rest}"
            );
            odd.all.push(Oddity { about, text });
        }
        odd
    }

    fn of_selectors(pools: &[NodePool]) -> Self {
        let mut odd = Self::default();
        for (at, pool) in pools.iter().enumerate() {
            let before = pools.iter().take(at).find(|other| pool.selector.is_within(&other.selector));
            if let Some(before) = before {
                odd.empty += 1;
                let (name, other) = (escape(&pool.name), escape(&before.name));
                odd.all.push(Oddity {
                    about: OddPools::Empty(Arc::clone(&pool.name)),
                    text: format!(
                        "node pool \"{name}\" can have no node: \"{other}\", which stands before it, selects all of them"
                    ),
                });
            }
        }
        odd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::selector::Requirement;
    use serde_json::json;

    fn pool(name: &str, labels: &[(&str, &str)]) -> NodePool {
        let requirement = |(key, value): &(&str, &str)| Requirement {
            key: (*key).to_owned(),
            operator: "In".to_owned(),
            values: vec![(*value).to_owned()],
        };
        NodePool {
            name: Arc::from(name),
            selector: NodeSelector(labels.iter().map(requirement).collect()),
            runtime: Kind::Containerd,
        }
    }

    fn node(name: &str, labels: &serde_json::Value) -> Node {
        Node::from_json(&json!({"metadata": {"name": name, "labels": labels}}))
    }

    fn said(odd: &Oddities) -> Vec<&str> {
        odd.all.iter().map(|oddity| oddity.text.as_str()).collect()
    }

    #[test]
    fn selectors_without_a_node_and_nodes_of_two_pools_are_said() {
        let pools = [
            pool("gpu", &[("gpu", "yes")]),
            pool("edge", &[("zone", "edge")]),
            pool("none", &[("x", "y")]),
        ];
        let nodes = [
            node("a", &json!({"gpu": "yes", "zone": "edge"})),
            node("b", &json!({"gpu": "yes"})),
            node("c", &json!({"zone": "edge"})),
        ];
        let odd = Oddities::of(&pools, &nodes);
        assert_eq!((odd.empty, odd.claimed_twice), (1, 1));
        assert_eq!(
            said(&odd),
            [
                "node pool \"none\": its selector (x=y) selects none of 3 nodes",
                "node \"a\" is selected by the node pools \"gpu\" and \"edge\": \"gpu\" counts, which stands first",
            ]
        );
        let left = Oddities::of(&pools[..2], &nodes[..2]);
        assert_eq!((left.empty, left.claimed_twice), (1, 1));
        assert!(
            said(&left)[0].ends_with("which stands first; that leaves none to \"edge\""),
            "{left:?}"
        );
        assert_eq!(Oddities::of(&pools[..2], &nodes[1..]), Oddities::default());
    }

    #[test]
    fn without_nodes_a_selector_that_another_one_covers_is_said() {
        let pools = [
            pool("all", &[("gpu", "yes")]),
            pool("some", &[("zone", "edge"), ("gpu", "yes")]),
            pool("other", &[("zone", "edge")]),
        ];
        let odd = Oddities::of(&pools, &[]);
        assert_eq!(
            said(&odd),
            ["node pool \"some\" can have no node: \"all\", which stands before it, selects all of them"]
        );
    }
}
