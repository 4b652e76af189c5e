//! Problems of a settings file, with their positions.

use crate::yaml::unknown;
use serde_saphyr::{Location, UserMessageFormatter};
use std::fmt;
use std::path::PathBuf;

/// A settings file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file as named by the user.
    pub file: PathBuf,
    /// All problems, in the order of the file; never empty.
    pub problems: Vec<Problem>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line from 1; 0 if the problem has no position (the file cannot be read).
    pub line: u64,
    /// Column from 1, in characters; 0 if the problem has no position.
    pub column: u64,
    /// A sentence for the user, without its full stop.
    pub text: String,
}

impl Problem {
    /// A problem of the whole file.
    pub(super) fn of_file(text: impl Into<String>) -> Self {
        Self {
            line: 0,
            column: 0,
            text: text.into(),
        }
    }

    /// A problem at a position.
    pub(super) fn at(place: Location, text: impl Into<String>) -> Self {
        Self {
            line: place.line(),
            column: place.column(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.file.display())?;
            if problem.line > 0 {
                write!(f, ":{}:{}", problem.line, problem.column)?;
            }
            write!(f, ": {}", problem.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns the YAML parser's error into a problem; for an unknown key or value, suggests the nearest known one.
pub(super) fn from_yaml(error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error as Yaml;
    let error = error.without_snippet();
    let text = match error {
        Yaml::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Yaml::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
        // The parser's enum keeps growing: for the rest, its own sentence will do.
        other => plain(other),
    };
    match error.location() {
        Some(place) => Problem::at(place, text),
        None => Problem::of_file(text),
    }
}

/// The parser's sentence without the position, which we print in front.
fn plain(error: &serde_saphyr::Error) -> String {
    // For users; the other wording gives advice to programmers.
    let text = error.render_with_formatter(&UserMessageFormatter);
    let first = text.lines().next().unwrap_or_default();
    let said = match error.location() {
        Some(place) => {
            let suffix = format!(" at line {}, column {}", place.line(), place.column());
            first.strip_suffix(&suffix).unwrap_or(first)
        }
        None => first,
    };
    // The parser names the YAML event it expected; users think in keys and lists.
    match said {
        "expected mapping start" => "expected `key: value`".to_owned(),
        "expected sequence start" => "expected a list, such as [a, b]".to_owned(),
        said => said.to_owned(),
    }
}
