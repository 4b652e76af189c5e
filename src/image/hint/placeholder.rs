//! Text that should have been replaced before the name got here.

use super::show;

/// How far to search for the end of a placeholder, in bytes.
const LONGEST: usize = 200;

/// The syntax of a placeholder, and who should have filled it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// `{{ .Values.image }}`.
    Template,
    /// `$(VAR)`: Kubernetes expands it in `command`, `args` and `env`, but not in `image` (pull-semantics 1.4).
    Kubernetes,
    /// `${VAR}` or `$VAR`.
    Shell,
    /// `%VAR%`.
    Percent,
    /// `<image>`.
    Angle,
    /// `@VAR@`, as in autoconf, `CMake` and many `sed` scripts.
    At,
    /// `{VAR}`, as in many scripts.
    Brace,
    /// `[YOUR NAME]` or `IMAGE_URL`: for a person.
    Words,
}

/// A placeholder in a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Placeholder<'a> {
    /// With its delimiters.
    pub text: &'a str,
    /// How it is written.
    pub syntax: Syntax,
}

impl Placeholder<'_> {
    /// How to fix it.
    pub(super) fn advice(&self) -> String {
        let text = show(self.text);
        match self.syntax {
            Syntax::Template => format!("render the template before applying it; the name still contains {text}"),
            Syntax::Kubernetes => {
                format!(
                    "replace {text} with its value before applying the object; Kubernetes does not expand variables in image names"
                )
            }
            Syntax::Shell => {
                format!(
                    "replace {text} with its value before applying the object (with envsubst, for example); nothing expands it later"
                )
            }
            Syntax::Percent | Syntax::Angle | Syntax::At | Syntax::Brace | Syntax::Words => {
                format!("replace the placeholder {text} with a value")
            }
        }
    }
}

/// The first placeholder in `name`.
pub fn find(name: &str) -> Option<Placeholder<'_>> {
    name.char_indices().find_map(|(at, c)| {
        let rest = name.get(at..)?;
        let (syntax, text) = match c {
            '$' if rest.starts_with("${{") => (Syntax::Template, closed(rest, "${{", "}}")?),
            '{' => {
                if let Some(text) = closed(rest, "{{", "}}").or_else(|| closed(rest, "{%", "%}")) {
                    (Syntax::Template, text)
                } else {
                    let is_name = |text: &&str| is_word(text.trim_matches(['{', '}']));
                    (Syntax::Brace, closed(rest, "{", "}").filter(is_name)?)
                }
            }
            '[' => {
                let is_word = |c: char| c.is_ascii_alphabetic() || matches!(c, '[' | ']' | ' ' | '_' | '-');
                (
                    Syntax::Words,
                    closed(rest, "[", "]").filter(|text| text.chars().all(is_word))?,
                )
            }
            '$' => {
                if let Some(text) = closed(rest, "$(", ")") {
                    (Syntax::Kubernetes, text)
                } else if let Some(text) = closed(rest, "${", "}") {
                    (Syntax::Shell, text)
                } else {
                    (Syntax::Shell, bare_variable(rest)?)
                }
            }
            '%' => (
                Syntax::Percent,
                closed(rest, "%", "%").filter(|text| is_word(text.trim_matches('%')))?,
            ),
            '<' => (Syntax::Angle, closed(rest, "<", ">")?),
            _ => return None,
        };
        Some(Placeholder { text, syntax })
    })
}

/// Words in capitals that a person should have replaced: `YOUR_REGISTRY`, `IMAGE_URL`, `YOUR ID`.
pub(super) fn in_capitals(name: &str) -> Option<Placeholder<'_>> {
    let part = name.split(['/', ':', '@']).find(|part| {
        let capitals = part.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b' '));
        capitals && part.starts_with(|c: char| c.is_ascii_uppercase()) && (part.contains(['_', ' ']) || part.starts_with("YOUR"))
    })?;
    Some(Placeholder {
        text: part,
        syntax: Syntax::Words,
    })
}

/// A `@VAR@` that cannot be part of credentials: those end in `@HOST`, and after this there is neither a host nor another `@`. Look for it
/// before credentials are removed.
pub(super) fn between_ats(name: &str) -> Option<Placeholder<'_>> {
    name.match_indices('@').find_map(|(at, _)| {
        let rest = name.get(at..)?;
        let text = closed(rest, "@", "@").filter(|text| is_word(text.trim_matches('@')))?;
        let behind = rest.get(text.len()..)?;
        ((behind.is_empty() || behind.starts_with(['/', ':'])) && !behind.contains('@')).then_some(Placeholder {
            text,
            syntax: Syntax::At,
        })
    })
}

/// The text from `open` to the next `close`, both included, if it starts with `open`.
fn closed<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let inner = text.strip_prefix(open)?;
    let end = inner.find(close)?;
    text.get(..open.len() + end + close.len())
        .filter(|text| text.len() <= LONGEST)
}

/// `$VAR`.
fn bare_variable(text: &str) -> Option<&str> {
    let word = text.strip_prefix('$')?;
    let end = word
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(word.len());
    let word = word.get(..end).filter(|word| is_word(word))?;
    text.get(..=word.len())
}

/// A variable's name.
fn is_word(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
