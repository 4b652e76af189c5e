//! What an invalid name was probably meant to be.

pub(super) mod placeholder;
mod reason;
mod repair;

use super::{ReferenceErrorKind, grammar, userinfo};

/// Longer names are not examined: no rule or habit makes an image name this long.
const LONGEST: usize = 4096;

/// A suggestion for a refused reference: one sentence, and the corrected name if there is only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What to do, as an imperative sentence without its full stop. Safe to print: escaped, and without credentials.
    pub advice: String,
    /// The name that was probably meant, if it is valid.
    pub corrected: Option<String>,
}

impl Hint {
    fn advice(advice: impl Into<String>) -> Self {
        Self {
            advice: advice.into(),
            corrected: None,
        }
    }
}

/// What was probably meant by `input`, which the parser refused with `kind`. `None` if we know no better than the parser.
///
/// Never repeats credentials: they are removed before anything else looks at the name.
pub(super) fn hint(input: &str, kind: ReferenceErrorKind) -> Option<Hint> {
    if input.len() > LONGEST {
        return Some(Hint::advice(format!(
            "give a shorter name; this one has {} bytes",
            input.len()
        )));
    }
    if input.trim().is_empty() {
        return Some(Hint::advice(
            "give an image name; this one is empty (often a variable that was not set)",
        ));
    }
    if kind == ReferenceErrorKind::HexOnly {
        return Some(Hint::advice(
            "add the repository, as in NAME@sha256:DIGEST; 64 hexadecimal digits alone are an image ID, which registries do not know",
        ));
    }
    let without_credentials = userinfo::remove(input);
    let name = without_credentials.as_deref().unwrap_or(input);
    if let Some(placeholder) = placeholder::between_ats(input)
        .or_else(|| placeholder::find(name))
        .or_else(|| placeholder::in_capitals(name))
    {
        return Some(Hint::advice(placeholder.advice()));
    }
    let mut repairs = repair::Repairs::new(name);
    if without_credentials.is_some() {
        repairs.note("remove the credentials from the name and put them into an image pull secret");
    }
    repairs.run();
    let corrected = grammar::parse(&repairs.name).is_ok();
    if !corrected && let Some(reason) = reason::of(&repairs.name) {
        repairs.note(reason);
    }
    let advice = repairs.advice()?;
    Some(Hint {
        advice,
        corrected: corrected.then_some(repairs.name),
    })
}

/// A fragment of the name, for use within a sentence.
fn show(fragment: &str) -> String {
    let short: String = fragment.chars().take(60).collect();
    let dots = if short.len() < fragment.len() { "…" } else { "" };
    format!("`{}{dots}`", super::escape(&short))
}

#[cfg(test)]
mod tests;
