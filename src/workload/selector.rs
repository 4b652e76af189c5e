//! Node selector terms (`matchExpressions`, `matchFields`), and label selectors on nodes.

use super::{json, node::Node};
use serde_json::Value;
use std::fmt;

/// One term; all its requirements must hold. An empty term matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Term {
    /// On labels.
    pub expressions: Vec<Requirement>,
    /// On fields (only `metadata.name` is known).
    pub fields: Vec<Requirement>,
}

/// `key operator values`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Requirement {
    /// Label key or field name.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`; anything else matches nothing.
    pub operator: String,
    /// Operands.
    pub values: Vec<String>,
}

impl Term {
    /// Reads one of `nodeSelectorTerms`.
    pub(super) fn read(term: &Value) -> Self {
        let requirements = |field| json::list(term, field).iter().map(Requirement::read).collect();
        Self {
            expressions: requirements("matchExpressions"),
            fields: requirements("matchFields"),
        }
    }

    /// All its requirements.
    pub(super) fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.expressions.iter().chain(&self.fields)
    }

    /// Whether it has no requirement; such a term matches nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.expressions.is_empty() && self.fields.is_empty()
    }

    /// The most comparisons that it takes.
    pub(super) fn weight(&self) -> usize {
        self.expressions
            .iter()
            .chain(&self.fields)
            .fold(1, |sum, requirement| sum.saturating_add(1 + requirement.values.len()))
    }

    /// Whether the node satisfies the term.
    pub fn matches(&self, node: &Node) -> bool {
        !self.is_empty()
            && self
                .expressions
                .iter()
                .all(|requirement| requirement.matches_label(node.label(&requirement.key)))
            && self.fields.iter().all(|requirement| requirement.matches_field(node))
    }
}

impl Requirement {
    fn read(requirement: &Value) -> Self {
        Self {
            key: json::string(requirement, "key"),
            operator: json::string(requirement, "operator"),
            values: json::texts(requirement, "values"),
        }
    }

    /// On a label's value (`labels.Requirement.Matches`). Anything the API server would refuse matches nothing.
    fn matches_label(&self, label: Option<&str>) -> bool {
        let among = |label: &str| self.values.iter().any(|value| value == label);
        match (self.operator.as_str(), self.values.as_slice()) {
            ("In", [_, ..]) => label.is_some_and(among),
            ("NotIn", [_, ..]) => !label.is_some_and(among),
            ("Exists", []) => label.is_some(),
            ("DoesNotExist", []) => label.is_none(),
            ("Gt", [bound]) => compare(label, bound).is_some_and(|(label, bound)| label > bound),
            ("Lt", [bound]) => compare(label, bound).is_some_and(|(label, bound)| label < bound),
            _ => false,
        }
    }

    /// On a field: only `metadata.name`, with `In` or `NotIn` and one value (`nodeSelectorRequirementsAsFieldSelector`).
    fn matches_field(&self, node: &Node) -> bool {
        match (self.key.as_str(), self.operator.as_str(), self.values.as_slice()) {
            ("metadata.name", "In", [name]) => node.name == *name,
            ("metadata.name", "NotIn", [name]) => node.name != *name,
            _ => false,
        }
    }
}

/// A label selector on nodes (`labels.Selector` in apimachinery). All its requirements must hold; without one it selects every node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeSelector(pub Vec<Requirement>);

/// Whether nodes that have some labels, and others that are not known, are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// None of them.
    Never,
    /// It depends on the other labels.
    Perhaps,
    /// All of them.
    Always,
}

impl NodeSelector {
    /// Whether it selects nodes that have these labels.
    pub fn fit(&self, labels: &[(String, String)]) -> Fit {
        let mut fit = Fit::Always;
        for requirement in &self.0 {
            match labels.iter().find(|(key, _)| *key == requirement.key) {
                Some((_, value)) if requirement.matches_label(Some(value)) => {}
                Some(_) => return Fit::Never,
                None => fit = Fit::Perhaps,
            }
        }
        fit
    }

    /// Whether `other` clearly selects all nodes that this one selects: this one has all of its requirements.
    pub fn is_within(&self, other: &Self) -> bool {
        other.0.iter().all(|requirement| self.0.contains(requirement))
    }

    /// Whether it selects the node.
    pub fn selects(&self, node: &Node) -> bool {
        self.0
            .iter()
            .all(|requirement| requirement.matches_label(node.label(&requirement.key)))
    }
}

/// As `kubectl -l` takes it: `pool=gpu,!spot`.
impl fmt::Display for NodeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Requirement { key, operator, values }) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match (operator.as_str(), values.as_slice()) {
                ("In", [value]) => write!(f, "{comma}{key}={value}")?,
                ("NotIn", [value]) => write!(f, "{comma}{key}!={value}")?,
                ("Exists", _) => write!(f, "{comma}{key}")?,
                ("DoesNotExist", _) => write!(f, "{comma}!{key}")?,
                ("NotIn", values) => write!(f, "{comma}{key} notin ({})", values.join(","))?,
                (_, values) => write!(f, "{comma}{key} in ({})", values.join(","))?,
            }
        }
        Ok(())
    }
}

/// Both as integers, the way `Gt` and `Lt` compare.
fn compare(label: Option<&str>, bound: &str) -> Option<(i64, i64)> {
    Some((label?.parse().ok()?, bound.parse().ok()?))
}
