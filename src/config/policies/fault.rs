//! Problems of policy files, with their positions.

use crate::image::escape;
use std::fmt;
use std::path::Path;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, as named by the user.
    pub file: String,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// In characters, from 1; 0 for the file as a whole.
    pub column: usize,
    /// The field (`spec.mode`); empty if it concerns none.
    pub path: String,
    /// What is wrong: a sentence without its full stop.
    pub text: String,
    /// The line's text; empty if there is none to show.
    pub source: String,
    /// Whether the file could be read at all.
    pub kind: FaultKind,
}

/// The kind of problem, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It was read, and something in it is wrong.
    Problem,
    /// It could not be read.
    Unreadable,
}

/// How many characters of a line are shown.
const SHOWN: usize = 120;

impl Fault {
    /// A problem of a whole file.
    pub(super) fn of_file(path: &Path, text: String) -> Self {
        Self {
            file: path.display().to_string(),
            line: 0,
            column: 0,
            path: String::new(),
            text,
            source: String::new(),
            kind: FaultKind::Problem,
        }
    }

    pub(super) fn unreadable(path: &Path, text: String) -> Self {
        Self {
            kind: FaultKind::Unreadable,
            ..Self::of_file(path, text)
        }
    }

    /// `file:line:column`, or the file alone.
    pub fn place(&self) -> String {
        let file = escape(&self.file);
        if self.line == 0 {
            return file;
        }
        format!("{file}:{}:{}", self.line, self.column)
    }

    /// `spec.mode: the text`.
    pub fn sentence(&self) -> String {
        if self.path.is_empty() {
            escape(&self.text)
        } else {
            format!("{}: {}", escape(&self.path), escape(&self.text))
        }
    }

    /// The line, with a caret below the position; `None` if there is none to show.
    pub fn excerpt(&self) -> Option<String> {
        if self.line == 0 || self.source.trim().is_empty() {
            return None;
        }
        let at = self.column.max(1) - 1;
        // Long lines are cut around the position.
        let from = if at > SHOWN - 20 { at - SHOWN / 2 } else { 0 };
        let shown = self.source.chars().skip(from).take(SHOWN).map(plain);
        let (head, tail) = (if from > 0 { "…" } else { "" }, self.source.chars().count() > from + SHOWN);
        let line: String = shown.collect();
        let number = self.line.to_string();
        let tail = if tail { "…" } else { "" };
        Some(format!(
            "  {number} | {head}{}{tail}\n  {:width$} | {:indent$}^",
            line.trim_end(),
            "",
            "",
            width = number.len(),
            indent = at - from + head.chars().count(),
        ))
    }
}

/// Replaces characters one for one, so that the caret stays in place.
fn plain(c: char) -> char {
    let mut buffer = [0; 4];
    if c == '\t' {
        ' '
    } else if escape(c.encode_utf8(&mut buffer)).chars().eq([c]) {
        c
    } else {
        '\u{fffd}'
    }
}

/// The text of a line, from 1.
pub(super) fn line_of(text: &str, line: usize) -> String {
    // Longer lines are generated, and are cut around the position anyway.
    const LONGEST: usize = 64 << 10;
    let line = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .lines()
        .nth(line.saturating_sub(1));
    line.unwrap_or_default().chars().take(LONGEST).collect()
}

/// `file:line:column: path: text`, and the line with a caret.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.sentence())?;
        match self.excerpt() {
            Some(excerpt) => write!(f, "\n{excerpt}"),
            None => Ok(()),
        }
    }
}

/// All problems, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    shown: Vec<Fault>,
    more: usize,
}

impl Faults {
    /// How many problems are kept; the rest is only counted.
    const KEPT: usize = 1000;

    pub(super) fn push(&mut self, fault: Fault) {
        if self.shown.len() < Self::KEPT {
            self.shown.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shown.len() + self.more
    }

    /// How many were not kept.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Adds all problems of another set.
    pub fn join(&mut self, others: &Self) {
        self.extend(others.shown.iter().cloned());
        self.more += others.more;
    }

    /// The problems that were kept.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.shown.iter()
    }

    /// Adds problems found elsewhere.
    pub fn extend(&mut self, faults: impl IntoIterator<Item = Fault>) {
        faults.into_iter().for_each(|fault| self.push(fault));
        self.shown
            .sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    }
}

/// One below the other.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.shown.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
