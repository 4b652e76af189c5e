//! The findings of `check`, formatted for people and for machines (contract 4).

pub mod diff;
pub mod github;
pub mod json;
pub mod junit;
pub mod sarif;
#[cfg(test)]
mod tests;
pub mod text;

use crate::verdict::answer::Judged;
use crate::verdict::message::{explain, image_of, object_of, user_of};
use crate::verdict::{Decision, Finding, Verdict};
use crate::workload::ObjectId;

/// Where an object was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file as given; `-` for standard input.
    pub file: String,
    /// The document's index in it.
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
    /// The gate's answer.
    pub judged: Judged,
}

/// The number of images by verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, schemars::JsonSchema)]
pub struct Summary {
    /// All images.
    pub images: usize,
    /// Allowed.
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

impl Entry {
    /// The most severe finding, by what is done about it and then by outlook.
    pub fn worst(&self) -> Option<(&Finding, &Decision)> {
        // Among equals the first, in the order in which they were found.
        let ruled: Vec<_> = self.judged.judgement.ruled().collect();
        ruled
            .into_iter()
            .rev()
            .max_by_key(|(finding, decision)| (decision.verdict, finding.outlook))
    }
}

impl Summary {
    /// `3 images: 1 allowed, 1 warned, 1 denied`
    pub fn sentence(self) -> String {
        let noun = if self.images == 1 { "image" } else { "images" };
        let Self {
            images,
            allow,
            warn,
            deny,
        } = self;
        format!("{images} {noun}: {allow} allowed, {warn} warned, {deny} denied")
    }
}

/// An image's user, on one line: `Deployment shop/api, container api`; without an object, the image.
fn title(entry: &Entry) -> String {
    match &entry.object {
        Some(object) => format!("{}, {}", object_of(object), user_of(&entry.judged.image)),
        None => image_of(&entry.judged),
    }
}

/// A complete finding, over several lines, without a final newline.
fn paragraph(entry: &Entry, finding: &Finding, decision: &Decision) -> String {
    let mut text = match &entry.object {
        Some(_) => format!("{}: {}", user_of(&entry.judged.image), image_of(&entry.judged)),
        None => image_of(&entry.judged),
    };
    explain(&mut text, finding, decision, "");
    text
}

/// The file for tools that link to its lines: without a leading `./`; `None` for standard input.
fn relative(source: &Source) -> Option<&str> {
    let file = source.file.trim_start_matches("./");
    (file != "-").then_some(file)
}
