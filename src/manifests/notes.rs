//! Sums up in a few lines what was skipped in the files.

use super::shown;
use crate::image::escape;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// The most lines that notes take, unless all are asked for.
const LINES: usize = 8;
/// How many notes of one kind are listed with their reasons.
const NAMED: usize = 3;

/// Why something was skipped, or is worth a remark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// A template of a Helm chart.
    HelmTemplate,
    /// A file with `{{` or `{%`.
    Template,
    /// A chart's values, or its `Chart.yaml`.
    ChartFile,
    /// A workflow of a CI system.
    Workflow,
    /// A compose file.
    Compose,
    /// JSON with comments.
    JsonWithComments,
    /// Other JSON.
    Json,
    /// Other YAML.
    Yaml,
    /// An object from which a controller renders a chart or a repository.
    Release,
    /// The same with `--render`, which says why it was not rendered.
    ReleaseElsewhere,
    /// A tag of a chart's values that YAML reads as a fraction.
    FractionTag,
    /// A chart whose dependencies are not in the tree.
    Dependencies,
    /// An overlay that takes in something from elsewhere.
    RemoteBase,
    /// A chart or an overlay that could not be rendered.
    Unrendered,
    /// A file or folder that a kustomization names and that does not exist.
    NotThere,
    /// A `RuntimeClass` that an object names and the set does not have.
    NoRuntimeClass,
    /// A built-in kind in a group, or in letters, in which Kubernetes does not have it.
    NoSuchKind,
    /// Values that SOPS has encrypted.
    Encrypted,
    /// A key that a mapping has twice.
    RepeatedKey,
    /// A comment that should accept a finding and does not.
    Comment,
    /// A Secret that the API server would refuse.
    RefusedSecret,
    /// Not text.
    NotText,
    /// Longer than what is read.
    TooLong,
    /// A folder or file that cannot be read.
    Unreadable,
    /// A FIFO, a socket or a device.
    NotRegular,
    /// A link that leads nowhere.
    DanglingLink,
    /// What is not about a file: credentials, `--complete`.
    Input,
}

impl NoteKind {
    /// A stable name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::HelmTemplate => "HelmTemplate",
            Self::Template => "Template",
            Self::ChartFile => "ChartFile",
            Self::Workflow => "Workflow",
            Self::Compose => "Compose",
            Self::JsonWithComments => "JsonWithComments",
            Self::Json => "Json",
            Self::Yaml => "Yaml",
            Self::Release | Self::ReleaseElsewhere => "Release",
            Self::FractionTag => "FractionTag",
            Self::Dependencies => "Dependencies",
            Self::RemoteBase => "RemoteBase",
            Self::Unrendered => "Unrendered",
            Self::NotThere => "NotThere",
            Self::NoRuntimeClass => "NoRuntimeClass",
            Self::NoSuchKind => "NoSuchKind",
            Self::Encrypted => "Encrypted",
            Self::RepeatedKey => "RepeatedKey",
            Self::Comment => "Comment",
            Self::RefusedSecret => "RefusedSecret",
            Self::NotText => "NotText",
            Self::TooLong => "TooLong",
            Self::Unreadable => "Unreadable",
            Self::NotRegular => "NotRegular",
            Self::DanglingLink => "DanglingLink",
            Self::Input => "Input",
        }
    }

    /// What it is, in the singular and in the plural.
    fn noun(self) -> (&'static str, &'static str) {
        match self {
            Self::HelmTemplate => ("Helm template", "Helm templates"),
            Self::Template => ("template that is not rendered", "templates that are not rendered"),
            Self::ChartFile => (
                "file of a Helm chart (values, Chart.yaml)",
                "files of Helm charts (values, Chart.yaml)",
            ),
            Self::Workflow => ("CI workflow", "CI workflows"),
            Self::Compose => ("compose file", "compose files"),
            Self::JsonWithComments => ("JSON file with comments", "JSON files with comments"),
            Self::Json => ("JSON file that is not Kubernetes", "JSON files that are not Kubernetes"),
            Self::Yaml => ("YAML file that is not Kubernetes", "YAML files that are not Kubernetes"),
            Self::FractionTag => (
                "tag that is a number to YAML, which drops its last zeros, not judged",
                "tags that are numbers to YAML, which drops their last zeros, not judged",
            ),
            Self::Release | Self::ReleaseElsewhere => (
                "HelmRelease or Application whose images only its controller renders",
                "HelmReleases and Applications whose images only their controllers render",
            ),
            Self::Dependencies => (
                "chart whose dependencies are not in the tree, not rendered",
                "charts whose dependencies are not in the tree, not rendered",
            ),
            Self::RemoteBase => (
                "overlay that takes in something from elsewhere, not rendered",
                "overlays that take in something from elsewhere, not rendered",
            ),
            Self::Unrendered => (
                "chart or overlay that could not be rendered",
                "charts and overlays that could not be rendered",
            ),
            Self::NotThere => (
                "file that a kustomization names and that is not there",
                "files that kustomizations name and that are not there",
            ),
            Self::NoRuntimeClass => (
                "RuntimeClass that is not among the manifests: its nodeSelector and tolerations are not known",
                "RuntimeClasses that are not among the manifests: their nodeSelectors and tolerations are not known",
            ),
            Self::NoSuchKind => (
                "object of a kind that Kubernetes does not have, not judged",
                "objects of kinds that Kubernetes does not have, not judged",
            ),
            Self::Encrypted => ("encrypted (SOPS) file", "encrypted (SOPS) files"),
            Self::RepeatedKey => (
                "key given twice: the last one counts",
                "keys given twice: the last one counts",
            ),
            Self::Comment => ("comment that accepts nothing", "comments that accept nothing"),
            Self::RefusedSecret => (
                "Secret that the API server would refuse",
                "Secrets that the API server would refuse",
            ),
            Self::NotText => ("file that is not UTF-8 text", "files that are not UTF-8 text"),
            Self::TooLong => ("file that is too long", "files that are too long"),
            Self::Unreadable => ("file or folder that cannot be read", "files or folders that cannot be read"),
            Self::NotRegular => ("FIFO, socket or device", "FIFOs, sockets or devices"),
            Self::DanglingLink => ("link that leads nowhere", "links that lead nowhere"),
            Self::Input => ("remark", "remarks"),
        }
    }

    /// What to do, if there is something.
    fn advice(self) -> Option<&'static str> {
        match self {
            Self::HelmTemplate => Some("render them, or use --render"),
            Self::Template => Some("render them first"),
            Self::Release => Some("--render renders those whose chart is in the repository"),
            Self::FractionTag => Some("quote such tags"),
            Self::Dependencies => Some("helm dependency build puts them there"),
            Self::NoRuntimeClass => Some("give them with --facts"),
            _ => None,
        }
    }

    /// Whether the first few are listed, each with its reason.
    fn is_named(self) -> bool {
        matches!(
            self,
            Self::Dependencies
                | Self::RemoteBase
                | Self::Unrendered
                | Self::Release
                | Self::ReleaseElsewhere
                | Self::FractionTag
                | Self::NotThere
                | Self::NoRuntimeClass
                | Self::NoSuchKind
        )
    }

    /// Whether each note is a whole sentence, printed as it is.
    fn is_said_alone(self) -> bool {
        self == Self::Input
    }
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The kind.
    pub passed: NoteKind,
    /// The file, made safe to show; empty where there is none.
    pub file: String,
    /// The line, from 1, if it is about one.
    pub line: Option<usize>,
    /// More about it: the chart of a template, the key, the reason.
    pub what: String,
}

impl Note {
    pub(super) fn of(passed: NoteKind, path: &Path) -> Self {
        Self::about(passed, &path.display().to_string())
    }

    /// About a file, as given.
    pub fn about(passed: NoteKind, file: &str) -> Self {
        Self {
            passed,
            file: escape(file.strip_prefix("./").unwrap_or(file)),
            line: None,
            what: String::new(),
        }
    }

    /// With a reason.
    pub fn because(mut self, what: &str) -> Self {
        self.what = escape(what);
        self
    }

    pub(super) fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    pub(super) fn in_chart(mut self, chart: &Path) -> Self {
        self.what = shown(chart);
        self
    }

    /// A sentence that is not about a file.
    pub fn input(sentence: String) -> Self {
        Self {
            passed: NoteKind::Input,
            file: String::new(),
            line: None,
            what: sentence,
        }
    }

    /// `k8s/a.yaml:7: YAML file that is not Kubernetes`.
    pub fn sentence(&self) -> String {
        if self.passed.is_said_alone() {
            return self.what.clone();
        }
        let line = self.line.map_or_else(String::new, |line| format!(":{line}"));
        let what = match (self.passed, self.what.as_str()) {
            (_, "") => String::new(),
            (NoteKind::HelmTemplate, chart) => format!(" of {chart}"),
            (_, what) => format!(" ({what})"),
        };
        format!("{}{line}: {}{what}", self.file, self.passed.noun().0)
    }
}

/// All remarks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes(BTreeSet<Note>);

impl Notes {
    /// Adds one, unless it is there already.
    pub fn push(&mut self, note: Note) {
        self.0.insert(note);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps only those for which `keep` is true.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Note) -> bool) {
        self.0.retain(keep);
    }

    /// Each, sorted by kind and file.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0.iter()
    }

    /// One line per kind, with a count, the most frequent first; at most [`LINES`]: the rarest kinds share the last.
    pub fn summary(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .0
            .iter()
            .filter(|note| note.passed.is_said_alone())
            .map(Note::sentence)
            .collect();
        let mut kinds: BTreeMap<NoteKind, Vec<&Note>> = BTreeMap::new();
        for note in self.0.iter().filter(|note| !note.passed.is_said_alone()) {
            kinds.entry(note.passed).or_default().push(note);
        }
        let mut kinds: Vec<(NoteKind, Vec<&Note>)> = kinds.into_iter().collect();
        kinds.sort_by_key(|(passed, notes)| (std::cmp::Reverse(notes.len()), *passed));
        let room = LINES.saturating_sub(lines.len()).max(1);
        let rest = if kinds.len() > room {
            kinds.split_off(room - 1)
        } else {
            Vec::new()
        };
        lines.extend(kinds.iter().map(|(passed, notes)| line(*passed, notes)));
        if !rest.is_empty() {
            let named: Vec<String> = rest.iter().map(|(passed, notes)| counted(*passed, notes.len())).collect();
            lines.push(format!("{} (-v names them)", named.join(", ")));
        }
        lines
    }
}

impl Extend<Note> for Notes {
    fn extend<T: IntoIterator<Item = Note>>(&mut self, notes: T) {
        self.0.extend(notes);
    }
}

fn counted(passed: NoteKind, count: usize) -> String {
    let (one, many) = passed.noun();
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `212 Helm templates in 9 charts: render them`.
fn line(passed: NoteKind, notes: &[&Note]) -> String {
    let mut text = counted(passed, notes.len());
    if passed == NoteKind::HelmTemplate {
        let charts: BTreeSet<&str> = notes.iter().map(|note| note.what.as_str()).collect();
        let noun = if charts.len() == 1 { "chart" } else { "charts" };
        let _ = write!(text, " in {} {noun}", charts.len());
    } else if passed.is_named() {
        let named = notes.iter().take(NAMED).map(|note| match note.what.as_str() {
            "" => note.file.clone(),
            what => {
                let line = note.line.filter(|_| {
                    matches!(
                        passed,
                        NoteKind::NoRuntimeClass | NoteKind::NoSuchKind | NoteKind::FractionTag
                    )
                });
                let line = line.map_or_else(String::new, |line| format!(":{line}"));
                format!("{}{line}: {what}", note.file)
            }
        });
        let named: Vec<String> = named.collect();
        let more = if notes.len() > NAMED { "; …" } else { "" };
        let _ = write!(text, " ({}{more})", named.join("; "));
    } else if let [only] = notes {
        let line = only.line.map_or_else(String::new, |line| format!(":{line}"));
        let what = if only.what.is_empty() {
            String::new()
        } else {
            format!(": {}", only.what)
        };
        let _ = write!(text, " ({}{line}{what})", only.file);
    } else if let Some(first) = notes.first().filter(|_| notes.len() <= 3 || passed == NoteKind::RepeatedKey) {
        let line = first.line.map_or_else(String::new, |line| format!(":{line}"));
        let _ = write!(text, " (first: {}{line})", first.file);
    }
    if let Some(advice) = passed.advice() {
        text.push_str(": ");
        text.push_str(advice);
    }
    text
}
