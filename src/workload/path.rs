//! JSON paths in Kubernetes notation: `spec.template.spec.containers[0].image`.

use crate::image::escape;
use std::fmt;

/// A field path within an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(String);

impl FieldPath {
    /// The object itself (an empty path).
    pub fn root() -> Self {
        Self(String::new())
    }
    /// This path and a dotted field below it (`spec.template`).
    pub fn field(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self([&self.0, ".", name].concat())
        }
    }
    /// This path and an index.
    pub fn index(&self, at: usize) -> Self {
        Self(format!("{}[{at}]", self.0))
    }
    /// This path and a map key, which may be any text: `spec.sets.worker`, `spec.sets[a.b]`; escaped, and cut off after 63
    /// characters.
    pub fn key(&self, key: &str) -> Self {
        const SHOWN: usize = 63;
        if !key.is_empty() && key.len() <= SHOWN && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return self.field(key);
        }
        let start: String = key.chars().take(SHOWN).collect();
        let end = if start.len() < key.len() { "…" } else { "" };
        Self(format!("{}[{}{end}]", self.0, escape(&start)))
    }
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
