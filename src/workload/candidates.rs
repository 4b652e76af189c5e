//! Which nodes a pod could land on (pull-semantics 7.3).

use super::node::Node;

/// The parts of a PodSpec that choose nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scheduling {
    /// `nodeName`.
    pub node_name: Option<String>,
    /// `nodeSelector`, sorted.
    pub node_selector: Vec<(String, String)>,
    /// `affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`; `None` when absent.
    pub required_affinity: Option<Vec<super::selector::Term>>,
    /// `tolerations`.
    pub tolerations: Vec<Toleration>,
    /// `os.name`.
    pub os_name: Option<String>,
    /// Whether a DaemonSet's pods are meant: one on every node, with the controller's own tolerations.
    pub spread: Spread,
    /// `hostNetwork` (a DaemonSet's pods then tolerate network-unavailable).
    pub host_network: bool,
}

/// How pods spread over the candidate nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// The scheduler chooses some of the candidates.
    #[default]
    Some,
    /// A DaemonSet: every one of them.
    Every,
}

/// A toleration, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toleration {
    /// Empty with `Exists` tolerates everything.
    pub key: String,
    /// `Equal` (default) or `Exists`.
    pub operator: String,
    /// Compared with `Equal`.
    pub value: String,
    /// Empty tolerates every effect.
    pub effect: String,
}

/// The nodes that a pod could land on.
#[derive(Debug, Clone, Default)]
pub struct Candidates<'a> {
    /// Admitted by nodeName, nodeSelector and required affinity, and their taints are tolerated.
    pub tolerated: Vec<&'a Node>,
    /// Admitted likewise, but a taint is not tolerated (or the node is unschedulable).
    pub tainted: Vec<&'a Node>,
}

impl Scheduling {
    /// The candidates among `nodes`. Virtual nodes are left out.
    pub fn candidates<'a>(&self, _nodes: &'a [Node]) -> Candidates<'a> {
        todo!()
    }
    /// The platforms that `nodeSelector`, required affinity and `os.name` themselves name (`kubernetes.io/arch` with
    /// `kubernetes.io/os`, or their `beta.` forms); empty when no architecture is named.
    pub fn named_platforms(&self) -> Vec<crate::image::Platform> {
        todo!()
    }
}
