//! The formats of the report, and where each is written: `-o FORMAT[=FILE]`.

use crate::cli::{print, print_by};
use crate::report::text::{Colour, Detail};
use crate::report::{Entry, Report, github, gitlab, html, json, junit, markdown, sarif, terminal, text};
use crate::verdict::{Outlook, Verdict};
use anyhow::Context as _;
use clap::ValueEnum;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::str::FromStr;
use terminal_size::Width;

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For machines: pullgate.dev/report/v1
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// `JUnit` XML, for CI systems that list test results
    Junit,
    /// GitHub workflow commands, shown at the changed lines
    Github,
    /// GitLab's code quality report
    Gitlab,
    /// For a comment on a pull request
    Markdown,
    /// One page for a browser
    Html,
}

/// A format, and the file for it; without one, standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) format: Format,
    pub(super) file: Option<PathBuf>,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, file) = match text.split_once('=') {
            Some((_, "")) => return Err(format!("{text:?} has no file name after its =")),
            Some((format, file)) => (format, Some(PathBuf::from(file))),
            None => (text, None),
        };
        let format = Format::from_str(format, false).map_err(|_| {
            let known = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            let known: Vec<String> = known.map(|value| value.get_name().to_owned()).collect();
            format!("{format:?} is not a format; use {}", known.join(", "))
        })?;
        Ok(Self { format, file })
    }
}

/// When to exit with 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FailOn {
    /// Something is denied
    Deny,
    /// Something is denied or causes a warning
    Warn,
    /// Something is denied, or its outcome is unknown
    Unknown,
}

impl FailOn {
    /// Whether an image leads to exit code 1.
    pub(super) fn objects(self, entry: &Entry) -> bool {
        entry.verdict() == Verdict::Deny
            || match self {
                Self::Deny => false,
                Self::Warn => entry.verdict() == Verdict::Warn,
                Self::Unknown => entry.outlook() == Outlook::Unknown,
            }
    }
}

/// How a report is written.
#[derive(Debug)]
pub(super) struct Forms {
    /// The forms, one without a file at most.
    pub(super) all: Vec<Form>,
    pub(super) colour: Colour,
    pub(super) detail: Detail,
    pub(super) fail_on: FailOn,
    /// Where GitHub takes the summary of a job.
    pub(super) summary: Option<PathBuf>,
}

impl Forms {
    /// Writes the reports, those with a file first.
    ///
    /// # Errors
    /// If a file or standard output cannot be written.
    pub(super) fn write(&self, report: &Report) -> anyhow::Result<()> {
        let for_github = self.all.iter().any(|form| form.format == Format::Github);
        if let Some(file) = self.summary.as_ref().filter(|_| for_github) {
            let opened = OpenOptions::new().append(true).create(true).open(file);
            let written = opened.and_then(|mut file| file.write_all(markdown::render(report).as_bytes()));
            written.with_context(|| format!("GITHUB_STEP_SUMMARY: {} cannot be written", file.display()))?;
        }
        let mut shown = None;
        for Form { format, file } in &self.all {
            let Some(file) = file else {
                shown = Some(*format);
                continue;
            };
            let written = File::create(file).and_then(|opened| {
                let mut out = BufWriter::new(opened);
                self.render(report, *format, Colour::None, &mut out)?;
                out.flush()
            });
            written.with_context(|| format!("{} cannot be written", file.display()))?;
        }
        let Some(format) = shown else { return Ok(()) };
        // A text for people is made to fit a terminal.
        let fitted = (format == Format::Text && self.colour == Colour::Ansi).then(|| {
            let (Width(columns), _) = terminal_size::terminal_size()?;
            let folder = std::env::current_dir().ok()?;
            let text = text::render(report, self.colour, self.detail, |entry| self.fail_on.objects(entry));
            Some(terminal::fit(&text, usize::from(columns), &folder))
        });
        match fitted.flatten() {
            Some(text) => print(&text),
            None => print_by(|out| self.render(report, format, self.colour, out)),
        }
    }

    /// Writes the report in a form.
    fn render(&self, report: &Report, format: Format, colour: Colour, mut out: impl Write) -> io::Result<()> {
        let objects = |entry: &Entry| self.fail_on.objects(entry);
        match format {
            Format::Json => json::render(report, out),
            Format::Sarif => sarif::render(report, out),
            Format::Junit => junit::render(report, objects, out),
            Format::Github => out.write_all(github::render(report).as_bytes()),
            Format::Gitlab => gitlab::render(report, out),
            Format::Markdown => out.write_all(markdown::render(report).as_bytes()),
            Format::Html => html::render(report, out),
            Format::Text => out.write_all(text::render(report, colour, self.detail, objects).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_a_format_and_perhaps_a_file() {
        let sarif = Form {
            format: Format::Sarif,
            file: Some(PathBuf::from("a=b.sarif")),
        };
        assert_eq!("sarif=a=b.sarif".parse(), Ok(sarif));
        assert_eq!("text".parse::<Form>().unwrap().file, None);
        assert!("sarif=".parse::<Form>().unwrap_err().contains("has no file name"));
        assert!(
            "xml"
                .parse::<Form>()
                .unwrap_err()
                .contains("use text, json, sarif, junit, github, gitlab, markdown, html")
        );
    }
}
