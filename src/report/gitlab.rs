//! `-o gitlab`: the code quality report of GitLab (its documentation, "Code Quality", "Import code quality results from a CI/CD job").

use super::sarif::fingerprint;
use super::{Entry, Report, plain, relative};
use crate::verdict::Verdict;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::io;

/// Writes an array with an item for each finding that is denied (`major`) or a warning (`minor`), and for what cannot be read (`critical`).
///
/// # Errors
/// Those of the writer.
pub fn render(report: &Report, mut out: impl io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, &Items(report))?;
    out.write_all(b"\n")
}

/// The items, each made as it is written.
struct Items<'a>(&'a Report);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unreadable = self.0.problems.iter().map(|problem| {
            let file = problem.file.as_deref().map_or("pullgate", plain);
            let message = problem.to_string();
            let print = crate::image::Digest::sha256(message.as_bytes()).to_string();
            item(&message, "unreadable", &print, "critical", file, problem.line)
        });
        let found = self.0.entries.iter().flat_map(|entry| {
            entry.open().filter_map(move |(finding, decision)| {
                let severity = match decision.verdict {
                    Verdict::Deny => "major",
                    Verdict::Warn => "minor",
                    Verdict::Allow => return None,
                };
                let message = format!("{}: {}; fix: {}", super::title(entry), finding.message, finding.fix);
                let print = fingerprint(entry, finding.cause);
                let name = finding.cause.name();
                Some(item(&message, name, &print, severity, file(entry), entry.line))
            })
        });
        serializer.collect_seq(unreadable.chain(found))
    }
}

/// GitLab refuses an item without a path.
fn file(entry: &Entry) -> &str {
    entry.source.as_ref().and_then(relative).unwrap_or("pullgate")
}

fn item(message: &str, name: &str, fingerprint: &str, severity: &str, file: &str, line: Option<usize>) -> Value {
    json!({
        "type": "issue",
        "description": message,
        "check_name": name,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": file, "lines": {"begin": line.unwrap_or(1)}},
    })
}
