//! How much a node would fetch, and whether that is too much (contract 3 `ImageTooLarge`).

use super::audience::Audience;
use super::{Cause, Finding, FindingEvidence, Outlook};
use crate::image::escape;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// A number of bytes; shown in binary units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// `731 B`, `2.4 MiB`, `1.0 GiB`: rounded down to a tenth.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let Self(bytes) = *self;
        if bytes < 1024 {
            return write!(f, "{bytes} B");
        }
        let power = bytes.ilog2() / 10;
        let unit = usize::try_from(power).ok().and_then(|power| UNITS.get(power - 1));
        let tenths = (u128::from(bytes) * 10) >> (power * 10);
        write!(f, "{}.{} {}", tenths / 10, tenths % 10, unit.unwrap_or(&"EiB"))
    }
}

/// What nodes of one platform would fetch: config and layers, compressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Size {
    /// The nodes'.
    pub platform: String,
    /// The largest that any of their runtimes would choose.
    pub bytes: u64,
}

/// The largest that a policy admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Compressed, for one node.
    pub bytes: Bytes,
    /// The policy's name.
    pub policy: Arc<str>,
}

/// An image that is larger than a policy admits.
pub(super) fn over_limit(sizes: &[Size], limit: &Limit) -> Option<Finding> {
    let largest = sizes.iter().max_by_key(|size| size.bytes)?;
    let Limit { bytes, policy } = limit;
    (largest.bytes > bytes.0).then(|| {
        finding(
            format!(
                "the image is {} compressed (for {}), but policy \"{}\" allows at most {bytes}",
                Bytes(largest.bytes),
                largest.platform,
                escape(policy)
            ),
            format!(
                "make the image smaller than {bytes}, or raise size.max in policy \"{}\"",
                escape(policy)
            ),
        )
    })
}

/// An image that is larger than what candidate nodes can hold. What it takes unpacked is not known, and more.
pub(super) fn over_storage(sizes: &[Size], audience: &Audience) -> Option<Finding> {
    let mut small: Vec<(u64, &Size)> = Vec::new();
    for group in &audience.groups {
        let platform = group.platform.to_string();
        let Some(size) = sizes.iter().find(|size| size.platform == platform) else {
            continue;
        };
        let less = group.storage.iter().filter(|storage| **storage < size.bytes);
        small.extend(less.map(|storage| (*storage, size)));
    }
    let (least, size) = small.iter().min_by_key(|(storage, _)| *storage)?;
    let known: usize = audience.groups.iter().map(|group| group.storage.len()).sum();
    Some(finding(
        format!(
            "the image is {} compressed (for {}), and {} of {known} candidate nodes can store less (the smallest has {} of ephemeral storage)",
            Bytes(size.bytes),
            size.platform,
            small.len(),
            Bytes(*least)
        ),
        "select nodes with more ephemeral storage, or make the image smaller".to_owned(),
    ))
}

fn finding(message: String, fix: String) -> Finding {
    Finding {
        cause: Cause::ImageTooLarge,
        outlook: Outlook::MayFail,
        message,
        fix,
        kubelet: None,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_words() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (2 << 20, "2.0 MiB"),
            ((5 << 30) + (1 << 29), "5.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }
}
