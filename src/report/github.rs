//! `-o github`: workflow commands, which GitHub shows at the changed lines
//! (GitHub's documentation, "Workflow commands for GitHub Actions", defines format and escaping).

use super::group::{Group, groups};
use super::text::{self, Colour, Detail};
use super::{ImageStatus, Problem, Report, plain, relative};
use crate::image::escape;
use crate::verdict::message::explain_in_full;
use std::fmt::Write as _;

/// Annotations of one run. GitHub shows ten of a kind for a step, and readers read fewer.
const ANNOTATIONS: usize = 10;

/// A command for each image and cause: `error` for what is denied and for what cannot be read, then `warning` for the rest; the first
/// ten, and how many there are beyond. Then the report as text, for the log.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let groups = groups(&report.entries);
    let denied = groups
        .iter()
        .filter(|group| group.standing == ImageStatus::Denied)
        .map(Annotation::Group);
    let others = groups
        .iter()
        .filter(|group| group.standing != ImageStatus::Denied)
        .map(Annotation::Group);
    let problems = report.problems.iter().map(Annotation::Problem);
    let all: Vec<Annotation<'_>> = denied.chain(problems).chain(others).collect();
    for annotation in all.iter().take(ANNOTATIONS) {
        annotation.write(&mut out);
    }
    if let Some(more) = all.len().checked_sub(ANNOTATIONS).filter(|more| *more > 0) {
        let message = format!("{more} more: the log of this step has all of them");
        command(&mut out, "notice", &[("title", "pullgate")], &message);
    }
    out.push_str(&text::render(report, Colour::None, Detail::Usual, |_| false));
    out
}

enum Annotation<'a> {
    Group(&'a Group<'a>),
    Problem(&'a Problem),
}

impl Annotation<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Group(group) => {
                let Some(first) = group.entries.first() else { return };
                let (finding, decision) = group.root;
                let level = match group.standing {
                    ImageStatus::Denied => "error",
                    ImageStatus::Warned | ImageStatus::Unchecked | ImageStatus::Accepted | ImageStatus::Fine => "warning",
                };
                let title = format!("{}: {}", finding.cause.name(), super::title(first));
                let mut message = group.image.clone();
                explain_in_full(&mut message, finding, decision, "");
                for place in group.places().iter().skip(1).take(ANNOTATIONS) {
                    let _ = write!(message, "\nalso at {place}");
                }
                let file = first.source.as_ref().and_then(relative).map(escape);
                write(out, level, file.as_deref(), first.line, &title, &message);
            }
            Self::Problem(problem) => {
                let file = problem.file.as_deref().map(|file| escape(plain(file)));
                let file = file.filter(|file| file != "-");
                let title = "pullgate could not read everything";
                write(out, "error", file.as_deref(), problem.line, title, &problem.to_string());
            }
        }
    }
}

fn write(out: &mut String, level: &str, file: Option<&str>, line: Option<usize>, title: &str, message: &str) {
    let line = line.map(|line| line.to_string());
    let mut properties = Vec::new();
    if let Some(file) = file {
        properties.push(("file", file));
        properties.extend(line.as_deref().map(|line| ("line", line)));
    }
    properties.push(("title", title));
    command(out, level, &properties, message);
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
