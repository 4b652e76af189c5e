//! The settings' `mode`, by namespace: what becomes of a finding on which no policy votes.

use super::Subject;
use super::applies::{Certainty, selected};
use super::model::{LabelSelector, Mode};
use super::selector::Selector;

/// The settings' `mode`. The first entry that selects the namespace holds; where none does, `Enforce`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modes(Vec<(Selector, Mode)>);

impl Modes {
    /// The same mode in every namespace.
    pub fn everywhere(mode: Mode) -> Self {
        Self(vec![(Selector::default(), mode)])
    }

    /// Adds an entry. The error is a clause that says what is wrong with the selector.
    pub fn add(&mut self, namespaces: &LabelSelector, mode: Mode) -> Result<(), String> {
        let mut problems = Vec::new();
        let selector = Selector::compile(namespaces, "namespaceSelector", &mut problems);
        if let Some(problem) = problems.first() {
            return Err(problem.to_string());
        }
        self.0.push((selector, mode));
        Ok(())
    }

    /// The mode for an object. Where labels are not known, so that several entries are possible, the strictest of them that does not deny.
    pub fn of(&self, subject: &Subject<'_>) -> Mode {
        let mut possible: Vec<Mode> = Vec::new();
        let mut settled = Mode::Enforce;
        for (selector, mode) in &self.0 {
            match selected(selector, subject) {
                Ok(Certainty::Certain) => {
                    settled = *mode;
                    break;
                }
                Ok(Certainty::Uncertain) => possible.push(*mode),
                Err(_) => {}
            }
        }
        if possible.iter().all(|mode| *mode == settled) {
            return settled;
        }
        let strictest = possible.into_iter().max().unwrap_or(settled).max(settled);
        strictest.min(Mode::Warn)
    }

    /// Whether it is `Enforce` everywhere.
    pub fn enforce_everywhere(&self) -> bool {
        self.0.iter().all(|(_, mode)| *mode == Mode::Enforce)
    }

    /// In a few words: `Warn`; `by namespace (2 entries)`.
    pub fn described(&self) -> String {
        match self.0.as_slice() {
            [] => Mode::Enforce.name().to_owned(),
            [(selector, mode)] if selector.requirements().is_empty() => mode.name().to_owned(),
            entries => format!("by namespace ({} entries)", entries.len()),
        }
    }
}
