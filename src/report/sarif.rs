//! `-o sarif`: SARIF 2.1.0 (OASIS), the subset that code scanning uses.

use super::{Entry, Source, paragraph, relative, title};
use crate::verdict::{Cause, Decision, Finding, Verdict};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use url::Url;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hit {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Value,
    locations: Vec<Value>,
    partial_fingerprints: Value,
    properties: Value,
}

/// One run with a rule for each cause that occurs and a result for each finding: `error` if denied, `warning` for a warning, `note`
/// if a policy allows it. Unreadable inputs are notifications of the invocation, which then was not successful (SARIF 3.20.14 and
/// 3.20.21).
///
/// # Errors
/// Only those of serde.
pub fn render(entries: &[Entry], errors: &[String]) -> Result<String, serde_json::Error> {
    let found = || {
        entries
            .iter()
            .flat_map(|entry| entry.judged.judgement.ruled().map(move |ruled| (entry, ruled)))
    };
    let causes: BTreeSet<Cause> = found().map(|(_, (finding, _))| finding.cause).collect();
    let causes: Vec<Cause> = causes.into_iter().collect();
    let results: Vec<Hit> = found()
        .map(|(entry, (finding, decision))| hit(&causes, entry, finding, decision))
        .collect();
    let report = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "pullgate",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": causes.iter().map(|cause| rule(*cause)).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": errors.is_empty(),
                "toolExecutionNotifications": errors.iter().map(|error| json!({
                    "level": "error", "message": {"text": error},
                })).collect::<Vec<_>>(),
            }],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    Ok(text)
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
        rule_id: finding.cause.name(),
        rule_index: causes.iter().position(|cause| *cause == finding.cause).unwrap_or_default(),
        level: match decision.verdict {
            Verdict::Deny => "error",
            Verdict::Warn => "warning",
            Verdict::Allow => "note",
        },
        message: json!({"text": paragraph(entry, finding, decision)}),
        locations: vec![location(entry)],
        partial_fingerprints: json!({"pullgate/v1": fingerprint(entry, finding.cause)}),
        properties: json!({
            "outlook": finding.outlook.name(),
            "verdict": decision.verdict.name(),
            "policy": decision.policy.as_deref(),
            "reference": entry.judged.reference.as_ref().map(ToString::to_string),
            "digest": judgement.digest.as_ref().map(crate::image::Digest::as_str),
            "suggestions": finding.suggestions,
        }),
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
fn uri(source: &Source) -> Option<String> {
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
fn fingerprint(entry: &Entry, cause: Cause) -> String {
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
