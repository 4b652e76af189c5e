//! Who would have to pull an image: the candidate nodes of its pods, by platform and runtime.

use super::Outlook;
use crate::image::Platform;
use crate::image::platform::IndexRules;
use crate::runtime::{Pool, Puller, Runtime, Setup};
use std::sync::Arc;

/// Nodes of one kind among the candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their platform.
    pub platform: Platform,
    /// Their runtimes; where those can pull in more than one way, each of them.
    pub runtimes: Vec<Runtime>,
    /// Their pool.
    pub pool: Pool,
    /// How many admit the pod.
    pub tolerated: usize,
    /// How many would, but for a taint.
    pub tainted: usize,
    /// Their names; filled for DaemonSets only, whose messages name the nodes that they miss.
    pub names: Vec<String>,
    /// The allocatable ephemeral storage, in bytes, of each node that admits the pod and reports it.
    pub storage: Vec<u64>,
}

/// Where the platforms come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlatformSource {
    /// Real candidate nodes.
    Nodes,
    /// No such node is known; the selectors name the architectures.
    Selectors,
    /// No such node is known, and the selectors name no more than the operating system: builds of it for any architecture will do.
    System,
    /// No such node is known; somebody wrote `defaultPlatforms` or `--platform`.
    Configured,
    /// No such node is known and no setting names one: a guess, which denies nothing.
    #[default]
    Assumed,
    /// The same, with all platforms that an index names in place of the guess: what fails for each of them fails everywhere.
    Builds,
}

/// All nodes that may have to pull the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    /// By platform; empty when nothing can be said.
    pub groups: Vec<Group>,
    /// Where they come from.
    pub source: PlatformSource,
    /// Candidate nodes whose platform is not known: they may be served.
    pub unknown: usize,
    /// Whether a DaemonSet puts a pod on each of them.
    pub every: Need,
    /// The names of the pools that there are.
    pub pools: Arc<[Arc<str>]>,
    /// Why the pods may land on nodes that are not among these, as a clause: a finding about platforms is then at most `MayFail`.
    pub doubt: Option<String>,
    /// Whether something picks, of these, nodes that the image serves (an operator that holds a scheduling gate).
    pub picked: bool,
}

impl Audience {
    /// The worst that may be said about platforms: a guess denies nothing.
    pub fn cap(&self) -> Outlook {
        match self.source {
            PlatformSource::Assumed => Outlook::MayFail,
            _ if self.doubt.is_some() => Outlook::MayFail,
            PlatformSource::Nodes
            | PlatformSource::Selectors
            | PlatformSource::System
            | PlatformSource::Configured
            | PlatformSource::Builds => Outlook::WillFail,
        }
    }

    /// Whether it is enough that some of them are served: of an operating system's architectures, or of the nodes that an operator
    /// picks from.
    pub fn some_will_do(&self) -> bool {
        self.picked || self.source == PlatformSource::System
    }

    /// The setups of all of them, each once.
    pub fn setups(&self) -> Vec<Setup> {
        let mut all: Vec<Setup> = self.groups.iter().flat_map(of_group).map(|puller| puller.setup()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// How many of the candidates must be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// The scheduler chooses.
    #[default]
    Any,
    /// A DaemonSet.
    Every,
}

/// What uses the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Use {
    /// A container: it must run.
    #[default]
    Container,
    /// An image volume: nothing of it runs.
    Volume,
}

/// Everyone who may pull: each group's platform in its possible variants, with each runtime that it may have, by pool. Sorted, each once.
pub fn pullers(audience: &Audience) -> Vec<Puller> {
    let mut all: Vec<Puller> = audience.groups.iter().flat_map(of_group).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The pullers of one group.
pub fn of_group(group: &Group) -> Vec<Puller> {
    let with_each = |platform: Platform| {
        group.runtimes.iter().map(move |runtime| Puller {
            platform: platform.clone(),
            runtime: *runtime,
            pool: group.pool,
        })
    };
    group.platform.possible().into_iter().flat_map(with_each).collect()
}

impl Group {
    /// How their runtimes choose from an index; each once.
    pub fn index_rules(&self) -> Vec<IndexRules> {
        let mut all: Vec<IndexRules> = self.runtimes.iter().map(|runtime| runtime.index_rules()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::containerd::Containerd;

    #[test]
    fn everyone_who_may_pull() {
        let (local, transfer) = (Runtime::Containerd(Containerd::local()), Runtime::today());
        let group = |platform: Platform, runtimes: &[Runtime]| Group {
            platform,
            runtimes: runtimes.to_vec(),
            pool: Pool::default(),
            tolerated: 1,
            tainted: 0,
            names: Vec::new(),
            storage: Vec::new(),
        };
        let audience = Audience {
            groups: vec![
                group(Platform::of_node("linux", "arm", ""), &[local]),
                group(Platform::of_node("linux", "amd64", ""), &[transfer, local]),
                group(Platform::of_node("linux", "amd64", ""), &[local]),
            ],
            every: Need::Any,
            ..Audience::default()
        };
        let all: Vec<String> = pullers(&audience)
            .iter()
            .map(|puller| format!("{} {:?}", puller.platform, puller.runtime.index_rules()))
            .collect();
        assert_eq!(
            all,
            [
                "linux/amd64 ContainerdClient",
                "linux/amd64 ContainerdTransfer",
                "linux/arm/v5 ContainerdClient",
                "linux/arm/v6 ContainerdClient",
                "linux/arm/v7 ContainerdClient",
                "linux/arm/v8 ContainerdClient"
            ]
        );
    }
}
