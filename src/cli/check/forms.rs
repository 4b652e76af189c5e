//! The formats of the report, and where each is written: `-o FORMAT[=FILE]`.

use crate::report::text::{Colour, Detail};
use crate::report::{Entry, Report, github, gitlab, html, json, junit, markdown, sarif, text};
use anyhow::Context as _;
use clap::ValueEnum;
use std::path::PathBuf;
use std::str::FromStr;

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

/// The report in a format. `objects`: which images lead to exit code 1.
pub(super) fn render(
    report: &Report,
    format: Format,
    colour: Colour,
    detail: Detail,
    objects: impl Fn(&Entry) -> bool,
) -> anyhow::Result<String> {
    match format {
        Format::Json => json::render(report).context("the report cannot be written as JSON"),
        Format::Sarif => sarif::render(report).context("the report cannot be written as SARIF"),
        Format::Junit => junit::render(report, objects)
            .map(|text| text + "\n")
            .context("the report cannot be written as JUnit XML"),
        Format::Github => Ok(github::render(report)),
        Format::Gitlab => gitlab::render(report).context("the report cannot be written for GitLab"),
        Format::Markdown => Ok(markdown::render(report)),
        Format::Html => html::render(report).context("the report cannot be written as HTML"),
        Format::Text => Ok(text::render(report, colour, detail, objects)),
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
