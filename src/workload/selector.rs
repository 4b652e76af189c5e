//! Node selector terms (`matchExpressions`, `matchFields`).

use super::node::Node;

/// One term; its requirements are ANDed. An empty term matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Term {
    /// On labels.
    pub expressions: Vec<Requirement>,
    /// On fields (only `metadata.name` is known).
    pub fields: Vec<Requirement>,
}

/// `key operator values`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirement {
    /// Label key or field name.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`; anything else matches nothing.
    pub operator: String,
    /// Operands.
    pub values: Vec<String>,
}

impl Term {
    /// Whether the node satisfies the term.
    pub fn matches(&self, _node: &Node) -> bool {
        todo!()
    }
}
