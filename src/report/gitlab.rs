//! `-o gitlab`: the code quality report of GitLab (its documentation, "Code Quality", "Import code quality results from a CI/CD job").

use super::sarif::fingerprint;
use super::{Entry, Report, relative};
use crate::verdict::Verdict;
use serde_json::{Value, json};

/// An array with an item for each finding that is denied (`major`) or a warning (`minor`), and for what cannot be read (`critical`).
///
/// # Errors
/// Only those of serde.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let mut items: Vec<Value> = Vec::new();
    for problem in &report.problems {
        let file = problem.file.as_deref().unwrap_or("pullgate").trim_start_matches("./");
        let message = problem.to_string();
        let print = crate::image::Digest::sha256(message.as_bytes()).to_string();
        items.push(item(&message, "unreadable", &print, "critical", file, problem.line));
    }
    for entry in &report.entries {
        for (finding, decision) in entry.open() {
            let severity = match decision.verdict {
                Verdict::Deny => "major",
                Verdict::Warn => "minor",
                Verdict::Allow => continue,
            };
            let message = format!("{}: {}; fix: {}", super::title(entry), finding.message, finding.fix);
            let print = fingerprint(entry, finding.cause);
            items.push(item(
                &message,
                finding.cause.name(),
                &print,
                severity,
                file(entry),
                entry.line,
            ));
        }
    }
    let mut text = serde_json::to_string_pretty(&items)?;
    text.push('\n');
    Ok(text)
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
