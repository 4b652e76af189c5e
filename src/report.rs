//! The findings of `check`, formatted for people and for machines (contract 4).

pub mod diff;
pub mod github;
pub mod gitlab;
mod group;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod sarif;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod text;

use crate::image::escape;
use crate::verdict::message::{explain_in_full, image_of, object_of, user_of};
use crate::verdict::review_result::Judged;
use crate::verdict::{Cause, Decision, Finding, Outlook, Verdict};
use crate::workload::ObjectId;
use std::fmt;

/// Everything that a run has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// The images that were judged.
    pub entries: Vec<Entry>,
    /// The images that were not.
    pub skipped: Vec<Skipped>,
    /// Remarks on the input.
    pub notes: Vec<Note>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// An image that was not judged.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// The image, as it would stand among the judged ones.
    pub entry: Entry,
    /// Why, as a clause.
    pub why: String,
}

/// A remark on the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A stable name for what it is about.
    pub kind: &'static str,
    /// The file, if it is about one.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// A sentence without its full stop.
    pub message: String,
}

/// What could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// The file as given, if it is about one.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// A sentence without its full stop; names the line, not the file.
    pub message: String,
}

impl Problem {
    /// About a file.
    pub fn in_file(file: &str, line: Option<usize>, message: impl Into<String>) -> Self {
        Self {
            file: Some(file.to_owned()),
            line,
            message: message.into(),
        }
    }
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self {
            message,
            ..Self::default()
        }
    }
}

/// `k8s/a.yaml: line 3, column 5: the message`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}", escape(plain(file)), self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Where an object was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDocument {
    /// The file as given; `-` for standard input.
    pub file: String,
    /// The document's index in it.
    pub document: usize,
}

/// One image of the report.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it was read from; `None` for `--image`.
    pub source: Option<SourceDocument>,
    /// The line of the image in that file, from 1.
    pub line: Option<usize>,
    /// The value of a chart (`image.repository`), the entry of a kustomization or the template that it comes from, if it is not written there
    /// itself.
    pub origin: Option<String>,
    /// The object; `None` for `--image`.
    pub object: Option<ObjectId>,
    /// The gate's answer.
    pub judged: Judged,
    /// The causes that a baseline or a comment accepts, and by which of them.
    pub accepted: Vec<(Cause, String)>,
}

/// The state of an image in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageStatus {
    /// Denied.
    Denied,
    /// There is something to do.
    Warned,
    /// It could not be checked.
    Unchecked,
    /// All findings about it are accepted.
    Accepted,
    /// It pulls.
    Fine,
}

/// How many images are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All that were judged.
    pub images: usize,
    /// Those that pull.
    pub fine: usize,
    /// Denied.
    pub denied: usize,
    /// Those with a warning.
    pub warned: usize,
    /// Those that could not be checked.
    pub unchecked: usize,
    /// Those whose findings were accepted.
    pub accepted: usize,
    /// Those that were not judged.
    pub skipped: usize,
}

impl Report {
    /// Counts.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally {
            images: self.entries.len(),
            skipped: self.skipped.len(),
            ..Tally::default()
        };
        for entry in &self.entries {
            *match entry.standing() {
                ImageStatus::Denied => &mut tally.denied,
                ImageStatus::Warned => &mut tally.warned,
                ImageStatus::Unchecked => &mut tally.unchecked,
                ImageStatus::Accepted => &mut tally.accepted,
                ImageStatus::Fine => &mut tally.fine,
            } += 1;
        }
        tally
    }
}

impl Tally {
    /// `5 images: 2 pull, 1 denied, 1 with a warning, 1 could not be checked; 3 skipped`: what is zero is left out.
    pub fn sentence(self) -> String {
        let noun = if self.images == 1 { "image" } else { "images" };
        let parts = [
            (self.fine, if self.fine == 1 { "pulls" } else { "pull" }),
            (self.denied, "denied"),
            (self.warned, "with a warning"),
            (self.unchecked, "could not be checked"),
            (self.accepted, "accepted"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let colon = if parts.is_empty() { "" } else { ": " };
        let skipped = match self.skipped {
            0 => String::new(),
            count => format!("; {count} skipped"),
        };
        format!("{} {noun}{colon}{}{skipped}", self.images, parts.join(", "))
    }
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
    /// What accepts a finding (a baseline or a comment), if anything.
    pub fn accepted_by(&self, cause: Cause) -> Option<&str> {
        let found = self.accepted.iter().find(|(accepted, _)| *accepted == cause);
        found.map(|(_, by)| by.as_str())
    }

    /// The findings that nothing accepts.
    pub fn open(&self) -> impl Iterator<Item = (&Finding, &Decision)> {
        let ruled = self.judged.judgement.ruled();
        ruled.filter(|(finding, _)| self.accepted_by(finding.cause).is_none())
    }

    /// What is done about it, without what is accepted.
    pub fn verdict(&self) -> Verdict {
        if self.accepted.is_empty() {
            return self.judged.judgement.verdict;
        }
        self.open()
            .map(|(_, decision)| decision.verdict)
            .max()
            .unwrap_or(Verdict::Allow)
    }

    /// What would happen, without what is accepted.
    pub fn outlook(&self) -> Outlook {
        if self.accepted.is_empty() {
            return self.judged.judgement.outlook;
        }
        self.open()
            .map(|(finding, _)| finding.outlook)
            .max()
            .unwrap_or(Outlook::Pulls)
    }

    /// The state of the image.
    pub fn standing(&self) -> ImageStatus {
        match (self.verdict(), self.outlook()) {
            (Verdict::Deny, _) => ImageStatus::Denied,
            (Verdict::Warn | Verdict::Allow, Outlook::Unknown) => ImageStatus::Unchecked,
            (Verdict::Warn, Outlook::Pulls) | (Verdict::Allow, _) if !self.accepted.is_empty() => ImageStatus::Accepted,
            (Verdict::Warn, Outlook::Pulls) | (Verdict::Allow, _) => ImageStatus::Fine,
            (Verdict::Warn, _) => ImageStatus::Warned,
        }
    }

    /// The most severe finding, by what is done about it and then by outlook.
    pub fn worst(&self) -> Option<(&Finding, &Decision)> {
        // Among equals the first, in the order in which they were found.
        let ruled: Vec<_> = self.open().collect();
        ruled
            .into_iter()
            .rev()
            .max_by_key(|(finding, decision)| (decision.verdict, finding.outlook))
    }

    /// `k8s/api.yaml:23: Deployment shop/api, container api`; nothing for `--image`.
    pub fn place(&self) -> Option<String> {
        let object = self.object.as_ref()?;
        let origin = self
            .origin
            .as_ref()
            .map_or_else(String::new, |origin| format!(" ({})", escape(origin)));
        let at = match (&self.source, self.line) {
            (Some(source), Some(line)) => format!("{}:{line}{origin}: ", escape(file_of(source))),
            (Some(source), None) => format!("{}{origin}: ", escape(file_of(source))),
            (None, _) => String::new(),
        };
        Some(format!("{at}{}, {}", object_of(object), user_of(&self.judged.image)))
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
    explain_in_full(&mut text, finding, decision, "");
    text
}

/// A file as it is shown: without a leading `./`, which only says that somebody searched `.`.
pub fn plain(file: &str) -> &str {
    file.trim_start_matches("./")
}

/// The file of a source as it is shown.
fn file_of(source: &SourceDocument) -> &str {
    plain(&source.file)
}

/// The file for tools that link to its lines; `None` for standard input.
fn relative(source: &SourceDocument) -> Option<&str> {
    Some(file_of(source)).filter(|file| *file != "-")
}
