//! `-o github`: workflow commands, which GitHub shows at the changed lines
//! (GitHub's documentation, "Workflow commands for GitHub Actions", defines format and escaping).

use super::{Entry, paragraph, relative, summary, title};
use crate::image::escape;
use crate::verdict::Verdict;
use std::fmt::Write as _;

/// A command for each finding that is denied (`error`) or a warning (`warning`) and for each unreadable input, then the counts as
/// text. Allowed images are only counted.
pub fn render(entries: &[Entry], errors: &[String]) -> String {
    let mut out = String::new();
    for error in errors {
        command(&mut out, "error", &[("title", "pullgate could not read everything")], error);
    }
    for entry in entries {
        for (finding, decision) in entry.judged.judgement.ruled() {
            let level = match decision.verdict {
                Verdict::Deny => "error",
                Verdict::Warn => "warning",
                Verdict::Allow => continue,
            };
            let file = entry.source.as_ref().and_then(relative).map(escape);
            let line = entry.line.map(|line| line.to_string());
            let title = format!("{}: {}", finding.cause.name(), title(entry));
            let mut properties = Vec::new();
            if let Some(file) = &file {
                properties.push(("file", file.as_str()));
                properties.extend(line.as_deref().map(|line| ("line", line)));
            }
            properties.push(("title", title.as_str()));
            command(&mut out, level, &properties, &paragraph(entry, finding, decision));
        }
    }
    let _ = writeln!(out, "{}", summary(entries).sentence());
    out
}

/// `::error file=F,line=1,title=T::MESSAGE`
fn command(out: &mut String, name: &str, properties: &[(&str, &str)], message: &str) {
    let properties: Vec<String> = properties
        .iter()
        .map(|(key, value)| format!("{key}={}", data(value).replace(':', "%3A").replace(',', "%2C")))
        .collect();
    let _ = writeln!(out, "::{name} {}::{}", properties.join(","), data(message));
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
