//! What `check` found, for people and for machines (DESIGN 4).

pub mod json;
pub mod text;

use crate::verdict::Verdict;
use crate::verdict::answer::Judged;
use crate::workload::ObjectId;

/// Where an object was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file as it was given; `-` for standard input.
    pub file: String,
    /// Which document of it, from 0.
    pub document: usize,
}

/// One image of the report.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it was read from; `None` for `--image`.
    pub source: Option<Source>,
    /// The line of the image in that file, from 1.
    pub line: Option<usize>,
    /// The object; `None` for `--image`.
    pub object: Option<ObjectId>,
    /// What the gate said.
    pub judged: Judged,
}

/// How many images got which verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, schemars::JsonSchema)]
pub struct Summary {
    /// All of them.
    pub images: usize,
    /// Nothing to object to.
    pub allow: usize,
    /// Warned.
    pub warn: usize,
    /// Denied.
    pub deny: usize,
}

/// Counts the verdicts.
pub fn summary(entries: &[Entry]) -> Summary {
    let mut summary = Summary {
        images: entries.len(),
        ..Summary::default()
    };
    for entry in entries {
        match entry.judged.judgement.verdict {
            Verdict::Allow => summary.allow += 1,
            Verdict::Warn => summary.warn += 1,
            Verdict::Deny => summary.deny += 1,
        }
    }
    summary
}
