//! Sizes as policies write them.

use crate::workload::node;

/// `2Gi`, `500M`, `1048576`: a Kubernetes quantity in bytes. The error is a clause for its author.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    // Kubernetes accepts more (`500m`, `1e9`), but nobody means those as a size; the CRD's schema accepts the same.
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(number.len()..).unwrap_or_default();
    let plain = match number.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(number),
    };
    let known = plain && matches!(unit, "" | "k" | "M" | "G" | "T" | "Ki" | "Mi" | "Gi" | "Ti");
    match node::quantity(text).filter(|_| known) {
        Some(0) => Err(format!("with {text:?} no image passes")),
        Some(bytes) => Ok(bytes),
        None => Err(format!(
            "{text:?} is not a size; write a Kubernetes quantity such as 2Gi or 500M"
        )),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
