//! Sizes as policies write them.

use crate::workload::node;

/// `2Gi`, `500M`, `1048576`: a Kubernetes quantity in bytes. The error is a clause for the person who wrote it.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    match node::quantity(text) {
        Some(0) => Err(format!("{text:?} lets no image pass")),
        Some(bytes) => Ok(bytes),
        None => Err(format!(
            "{text:?} is no size; write a number and a unit of Kubernetes quantities, as 2Gi or 500M"
        )),
    }
}
