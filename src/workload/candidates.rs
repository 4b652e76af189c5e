//! The nodes that a pod could be scheduled to (pull-semantics 7.3).

use super::{
    json,
    node::{Node, Taint},
    parameter,
    selector::{Requirement, Term},
};
use crate::image::Platform;
use serde_json::Value;

/// The parts of a `PodSpec` that select nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scheduling {
    /// `nodeName`.
    pub node_name: Option<String>,
    /// `nodeSelector`, sorted.
    pub node_selector: Vec<(String, String)>,
    /// `affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`; `None` when absent.
    pub required_affinity: Option<Vec<Term>>,
    /// `tolerations`.
    pub tolerations: Vec<Toleration>,
    /// `os.name`.
    pub os_name: Option<String>,
    /// Whether these are a DaemonSet's pods: one on every node, with the controller's own tolerations.
    pub spread: Spread,
    /// `hostNetwork` (a DaemonSet's pods then tolerate network-unavailable).
    pub host_network: bool,
    /// `runtimeClassName`.
    pub runtime_class: Option<String>,
    /// Whether its containers run in Hyper-V virtual machines. Set from its `RuntimeClass`, which is not read here.
    pub hyper_v: bool,
    /// Whether an operator picks nodes that the image serves before the scheduler does (`schedulingGates`).
    pub has_scheduling_gate: bool,
}

/// The gate of the multiarch tuning operator, which restricts a pod to the architectures of its images
/// (<https://github.com/openshift/multiarch-tuning-operator>).
const MULTIARCH_GATE: &str = "multiarch.openshift.io/scheduling-gate";

/// How pods are spread over the candidate nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Spread {
    /// The scheduler chooses some of the candidates.
    #[default]
    Some,
    /// A DaemonSet: every one of them.
    Every,
}

/// A toleration, as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
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
    /// Nodes admitted by nodeName, nodeSelector and required affinity, with all taints tolerated.
    pub tolerated: Vec<&'a Node>,
    /// Nodes admitted likewise, but with a taint that is not tolerated (or unschedulable).
    pub tainted: Vec<&'a Node>,
    /// How many virtual nodes, about which nothing is known, admit the pod: those whose taints it tolerates, or all if there is no
    /// other node.
    pub opaque: usize,
}

/// A selector with more platforms than this is treated as naming none.
const MOST_NAMED: usize = 32;

/// An affinity with more terms than this names no platforms.
const MOST_TERMS: usize = 64;

/// How many requirements and values of an affinity, and how many tolerations, are checked against every node. Real objects have a
/// few dozen; without a limit, an object of a megabyte would cost seconds in a cluster of thousands of nodes.
const MOST_COMPARED: usize = 1000;

/// The labels for the architecture, and those for the operating system.
const ARCH_LABELS: [&str; 2] = ["kubernetes.io/arch", "beta.kubernetes.io/arch"];
const OS_LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];

impl Scheduling {
    /// Reads the parts of a `PodSpec` that select nodes.
    pub(super) fn read(spec: &Value, spread: Spread) -> Self {
        let required = json::at(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
        Self {
            node_name: json::non_empty(spec, "nodeName").map(str::to_owned),
            node_selector: json::pairs(spec, "nodeSelector"),
            required_affinity: required
                .filter(|required| required.is_object())
                .map(|required| json::list(required, "nodeSelectorTerms").iter().map(Term::read).collect()),
            tolerations: json::list(spec, "tolerations").iter().map(Toleration::read).collect(),
            os_name: json::at(spec, "os.name")
                .and_then(Value::as_str)
                .filter(|os| !os.is_empty())
                .map(str::to_owned),
            spread,
            host_network: spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or_default(),
            hyper_v: false,
            runtime_class: json::non_empty(spec, "runtimeClassName").map(str::to_owned),
            has_scheduling_gate: json::list(spec, "schedulingGates")
                .iter()
                .any(|gate| json::text(gate, "name") == Some(MULTIARCH_GATE)),
        }
    }

    /// Drops everything that contains a parameter (`{{x}}`, `$(x)`): which nodes it will select is not known.
    pub(super) fn leave_out_parameters(&mut self) {
        let known = |text: &String| parameter::find(text).is_none();
        self.node_name = self.node_name.take().filter(known);
        self.os_name = self.os_name.take().filter(known);
        self.runtime_class = self.runtime_class.take().filter(known);
        self.node_selector.retain(|(key, value)| known(key) && known(value));
        let all_known = |terms: &Vec<Term>| {
            let mut requirements = terms.iter().flat_map(Term::requirements);
            requirements.all(|requirement| known(&requirement.key) && requirement.values.iter().all(known))
        };
        self.required_affinity = self.required_affinity.take().filter(all_known);
    }

    /// How much there is to check against a node.
    pub(super) fn weight(&self) -> usize {
        let terms = self.required_affinity.iter().flatten().map(Term::weight);
        self.node_selector.len() + self.tolerations.len() + terms.fold(0, usize::saturating_add)
    }

    /// What it takes in memory, with so many bytes for each entry besides its text.
    pub(super) fn bytes(&self, entry: usize) -> usize {
        let selector = self.node_selector.iter().map(|(key, value)| key.len() + value.len());
        let requirements = self.required_affinity.iter().flatten().flat_map(Term::requirements);
        let affinity = requirements.map(|one| one.key.len() + one.values.iter().map(String::len).sum::<usize>());
        let tolerations = self.tolerations.iter().map(|one| one.key.len() + one.value.len());
        self.weight() * entry + selector.chain(affinity).chain(tolerations).sum::<usize>()
    }

    /// The candidates among `nodes`. Virtual nodes are only counted.
    ///
    /// An affinity of more than a thousand requirements and values is assumed to admit every node: more candidates can only soften
    /// a finding.
    pub fn candidates<'a>(&self, nodes: &'a [Node]) -> Candidates<'a> {
        let affinity = self
            .required_affinity
            .as_deref()
            .filter(|terms| terms.iter().map(Term::weight).fold(0, usize::saturating_add) <= MOST_COMPARED);
        let mut candidates = Candidates::default();
        let mut tainted_opaque = 0;
        for node in nodes.iter().filter(|node| self.admits(affinity, node)) {
            match (node.is_virtual(), self.tolerates(node)) {
                (false, true) => candidates.tolerated.push(node),
                (false, false) => candidates.tainted.push(node),
                (true, true) => candidates.opaque += 1,
                (true, false) => tainted_opaque += 1,
            }
        }
        if candidates.tolerated.is_empty() && candidates.tainted.is_empty() {
            candidates.opaque += tainted_opaque;
        }
        candidates
    }

    /// nodeName, nodeSelector, required affinity and `os.name`: what the scheduler checks, and the kubelet again.
    fn admits(&self, affinity: Option<&[Term]>, node: &Node) -> bool {
        self.node_name.as_ref().is_none_or(|name| *name == node.name)
            && self.node_selector.iter().all(|(key, value)| node.label(key) == Some(value))
            && affinity.is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
            && self.admits_os(node)
    }

    /// The scheduler ignores `os.name`, but a kubelet of another operating system refuses the pod
    /// (pull-semantics 7.3, item 5). A node of unknown system may be any.
    fn admits_os(&self, node: &Node) -> bool {
        match (&self.os_name, &node.platform) {
            (Some(wanted), Some(platform)) => platform.os.is_empty() || platform.os.eq_ignore_ascii_case(wanted),
            (None, _) | (_, None) => true,
        }
    }

    /// Whether every taint that would keep the pod away is tolerated. With `nodeName`, the scheduler is bypassed and only the
    /// kubelet checks, for `NoExecute`; the DaemonSet controller checks all taints either way.
    fn tolerates(&self, node: &Node) -> bool {
        let by_name = self.node_name.is_some() && self.spread == Spread::Some;
        let unschedulable = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            value: String::new(),
            effect: "NoSchedule".to_owned(),
        };
        let cordon = node.unschedulable.then_some(&unschedulable);
        node.taints
            .iter()
            .chain(cordon)
            .filter(|taint| taint.effect == "NoExecute" || (taint.effect == "NoSchedule" && !by_name))
            .all(|taint| {
                self.tolerations
                    .iter()
                    .take(MOST_COMPARED)
                    .any(|toleration| toleration.tolerates(taint))
                    || self.controller_tolerates(taint)
            })
    }

    /// The tolerations that the DaemonSet controller adds (`AddOrUpdateDaemonPodTolerations`).
    fn controller_tolerates(&self, taint: &Taint) -> bool {
        self.spread == Spread::Every
            && match (taint.key.as_str(), taint.effect.as_str()) {
                ("node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable", "NoExecute")
                | (
                    "node.kubernetes.io/disk-pressure"
                    | "node.kubernetes.io/memory-pressure"
                    | "node.kubernetes.io/pid-pressure"
                    | "node.kubernetes.io/unschedulable",
                    "NoSchedule",
                ) => true,
                ("node.kubernetes.io/network-unavailable", "NoSchedule") => self.host_network,
                _ => false,
            }
    }

    /// The platforms that `nodeSelector`, required affinity and `os.name` select themselves (`kubernetes.io/arch` with
    /// `kubernetes.io/os`, or their `beta.` forms); empty if no architecture is selected, or not by every term.
    ///
    /// Such an `arm` has no variant: labels do not contain it.
    pub fn named_platforms(&self) -> Vec<Platform> {
        let any = [Term::default()];
        let terms = self.required_affinity.as_deref().map_or(&any[..], |terms| terms);
        if terms.len() > MOST_TERMS {
            return Vec::new();
        }
        let mut platforms: Vec<Platform> = Vec::new();
        // An empty term matches nothing, unless it stands for a missing affinity.
        for term in terms
            .iter()
            .filter(|term| self.required_affinity.is_none() || !term.is_empty())
        {
            let Some(architectures) = self.named(term, &ARCH_LABELS) else {
                return Vec::new();
            };
            let systems = match (self.named(term, &OS_LABELS), &self.os_name) {
                (Some(named), Some(os)) => named.into_iter().filter(|named| named.eq_ignore_ascii_case(os)).collect(),
                (Some(named), None) => named,
                (None, Some(os)) => vec![os.as_str()],
                (None, None) => vec!["linux"],
            };
            for os in systems.iter().take(MOST_NAMED) {
                for architecture in architectures.iter().take(MOST_NAMED) {
                    let platform = Platform::of_node(os, architecture, "");
                    if platforms.len() < MOST_NAMED && !platforms.contains(&platform) {
                        platforms.push(platform);
                    }
                }
            }
        }
        platforms
    }

    /// The operating systems that `nodeSelector`, required affinity and `os.name` select; empty if none is selected, or not by every
    /// term.
    pub fn named_systems(&self) -> Vec<String> {
        let any = [Term::default()];
        let terms = self.required_affinity.as_deref().map_or(&any[..], |terms| terms);
        let mut systems: Vec<String> = Vec::new();
        for term in terms
            .iter()
            .take(MOST_TERMS)
            .filter(|term| self.required_affinity.is_none() || !term.is_empty())
        {
            match (self.named(term, &OS_LABELS), &self.os_name) {
                (Some(named), _) => systems.extend(named.into_iter().map(str::to_lowercase)),
                (None, Some(os)) => systems.push(os.to_lowercase()),
                (None, None) => return Vec::new(),
            }
        }
        systems.sort_unstable();
        systems.dedup();
        systems.truncate(MOST_NAMED);
        systems
    }

    /// The values that nodeSelector and a term's `In` admit for any of `labels`; `None` if neither mentions one.
    fn named<'a>(&'a self, term: &'a Term, labels: &[&str]) -> Option<Vec<&'a str>> {
        let selected = self
            .node_selector
            .iter()
            .filter(|(key, _)| labels.contains(&key.as_str()))
            .map(|(_, value)| vec![value.as_str()]);
        let required = term
            .expressions
            .iter()
            .filter(|requirement| labels.contains(&requirement.key.as_str()) && requirement.operator == "In")
            .map(|Requirement { values, .. }| values.iter().take(MOST_NAMED).map(String::as_str).collect());
        selected
            .chain(required)
            .reduce(|some: Vec<&str>, others| some.into_iter().filter(|value| others.contains(value)).collect())
    }
}

impl Toleration {
    pub(super) fn read(toleration: &Value) -> Self {
        Self {
            key: json::string(toleration, "key"),
            operator: json::string(toleration, "operator"),
            value: json::string(toleration, "value"),
            effect: json::string(toleration, "effect"),
        }
    }

    /// Whether it tolerates a taint (`Toleration.ToleratesTaint`; `Gt` and `Lt` since Kubernetes 1.35, if the feature is on: if it
    /// is off, the API server refuses them).
    fn tolerates(&self, taint: &Taint) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator.as_str() {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                "Gt" => number(&taint.value)
                    .zip(number(&self.value))
                    .is_some_and(|(taint, bound)| taint > bound),
                "Lt" => number(&taint.value)
                    .zip(number(&self.value))
                    .is_some_and(|(taint, bound)| taint < bound),
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests;
