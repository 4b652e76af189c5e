//! `-o sarif`: SARIF 2.1.0 (OASIS), the subset that code scanning uses.

use super::{Entry, Report, SourceDocument, paragraph, relative, title};
use crate::verdict::{Cause, Decision, Finding, Verdict};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use url::Url;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// A log with its one run. Its keys, and those of what is in it, are in the order of the alphabet, as `json!` has them.
#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    runs: [Run<'a>; 1],
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    column_kind: &'static str,
    invocations: Value,
    results: Results<'a>,
    tool: Value,
}

/// The results, each made as it is written.
struct Results<'a> {
    causes: Vec<Cause>,
    entries: &'a [Entry],
}

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = found(self.entries);
        serializer.collect_seq(found.map(|(entry, finding, decision)| hit(&self.causes, entry, finding, decision)))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hit {
    level: &'static str,
    locations: Vec<Value>,
    message: Value,
    partial_fingerprints: Value,
    properties: Value,
    rule_id: &'static str,
    rule_index: usize,
    /// What a baseline or a comment accepts (SARIF 3.35).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Value>,
}

/// Writes one run with a rule for each cause that occurs and a result for each finding: `error` if denied, `warning` for a warning,
/// `note` if a policy allows it. Unreadable inputs are notifications of the invocation, which then was not successful (SARIF 3.20.14
/// and 3.20.21).
///
/// # Errors
/// Those of the writer.
pub fn render(report: &Report, mut out: impl io::Write) -> io::Result<()> {
    let entries = &report.entries;
    let causes: BTreeSet<Cause> = found(entries).map(|(_, finding, _)| finding.cause).collect();
    let causes: Vec<Cause> = causes.into_iter().collect();
    let log = Log {
        schema: SCHEMA,
        runs: [Run {
            column_kind: "unicodeCodePoints",
            invocations: json!([{
                "executionSuccessful": report.problems.is_empty(),
                "toolExecutionNotifications": notifications(report),
            }]),
            tool: json!({"driver": {
                "name": "pullgate",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": causes.iter().map(|cause| rule(*cause)).collect::<Vec<_>>(),
            }}),
            results: Results { causes, entries },
        }],
        version: "2.1.0",
    };
    serde_json::to_writer_pretty(&mut out, &log)?;
    out.write_all(b"\n")
}

/// All findings, accepted ones too.
fn found(entries: &[Entry]) -> impl Iterator<Item = (&Entry, &Finding, &Decision)> {
    entries.iter().flat_map(|entry| {
        let ruled = entry.judged.judgement.ruled();
        ruled.map(move |(finding, decision)| (entry, finding, decision))
    })
}

/// What could not be read, and the remarks on the input.
fn notifications(report: &Report) -> Vec<Value> {
    let notification = |level: &str, text: &str, file: Option<&str>, line: Option<usize>| {
        let mut notification = json!({"level": level, "message": {"text": text}});
        let source = file.map(|file| SourceDocument {
            file: file.to_owned(),
            document: 0,
        });
        if let Some(uri) = source.as_ref().and_then(uri) {
            let mut place = json!({"artifactLocation": {"uri": uri}});
            if let Some(line) = line {
                place["region"] = json!({"startLine": line});
            }
            notification["locations"] = json!([{"physicalLocation": place}]);
        }
        notification
    };
    let problems = report.problems.iter();
    let problems = problems.map(|problem| notification("error", &problem.to_string(), problem.file.as_deref(), problem.line));
    let notes = report.notes.iter();
    let notes = notes.map(|note| notification("note", &note.message, note.file.as_deref(), note.line));
    problems.chain(notes).collect()
}

fn rule(cause: Cause) -> Value {
    json!({
        "id": cause.name(),
        "shortDescription": {"text": cause.sentence()},
        "help": {"text": format!("See {} in docs/causes.md of pullgate for the evidence, what a kubelet shows, and how to fix it.", cause.name())},
    })
}

fn hit(causes: &[Cause], entry: &Entry, finding: &Finding, decision: &Decision) -> Hit {
    let judgement = &entry.judged.judgement;
    Hit {
        level: match decision.verdict {
            Verdict::Deny => "error",
            Verdict::Warn => "warning",
            Verdict::Allow => "note",
        },
        locations: vec![location(entry)],
        message: json!({"text": paragraph(entry, finding, decision)}),
        partial_fingerprints: json!({"pullgate/v1": fingerprint(entry, finding.cause)}),
        properties: json!({
            "outlook": finding.outlook.name(),
            "verdict": decision.verdict.name(),
            "policy": decision.policy.as_deref(),
            "reference": entry.judged.reference.as_ref().map(ToString::to_string),
            "digest": judgement.digest.as_ref().map(crate::image::Digest::as_str),
            "suggestions": finding.suggestions,
        }),
        rule_id: finding.cause.name(),
        rule_index: causes.iter().position(|cause| *cause == finding.cause).unwrap_or_default(),
        suppressions: entry
            .accepted_by(finding.cause)
            .map(|by| json!({"kind": if by == "the baseline" { "external" } else { "inSource" }, "justification": by}))
            .into_iter()
            .collect(),
    }
}

fn location(entry: &Entry) -> Value {
    let mut location = json!({"logicalLocations": [{
        "fullyQualifiedName": title(entry), "kind": if entry.object.is_some() { "member" } else { "resource" },
    }]});
    if let Some(uri) = entry.source.as_ref().and_then(uri) {
        // Everything read from a file has a line, and code scanning requires one.
        location["physicalLocation"] = json!({
            "artifactLocation": {"uri": uri},
            "region": {"startLine": entry.line.unwrap_or(1)},
        });
    }
    location
}

/// The file as a URI, relative if given so (RFC 3986, with `/` between its parts).
fn uri(source: &SourceDocument) -> Option<String> {
    let file = relative(source)?;
    let mut url = Url::parse("file:///").ok()?;
    url.path_segments_mut()
        .ok()?
        .clear()
        .extend(file.trim_start_matches('/').split('/'));
    Some(if file.starts_with('/') {
        url.to_string()
    } else {
        url.path().trim_start_matches('/').to_owned()
    })
}

/// Identifies the same finding across runs, even if its line has moved.
pub(super) fn fingerprint(entry: &Entry, cause: Cause) -> String {
    let mut hash = Sha256::new();
    let file = entry.source.as_ref().map(|source| source.file.as_str());
    for part in [
        file.unwrap_or_default(),
        &title(entry),
        entry.judged.image.path.as_str(),
        cause.name(),
    ] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
