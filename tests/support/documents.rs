//! The repository's documents, as a test reads them.
#![allow(dead_code, reason = "each test target uses its own part")]

use std::collections::BTreeSet;

/// The places within a document that a link may name, as they are made of its headings.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |title: &str| {
        let kept = title
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .collect::<String>();
        kept.replace(' ', "-")
    };
    headings(text).map(anchor).collect()
}

/// The headings of a document, without their marks. What stands in code blocks is none.
pub(crate) fn headings(text: &str) -> impl Iterator<Item = &str> {
    let outside = text.split("```").step_by(2).flat_map(str::lines);
    outside.filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?.trim()))
}
