//! One entry of what a policy exempts, compiled.

use super::selector::Glob;
use crate::image::Pattern;
use jiff::Timestamp;
use std::sync::Arc;

/// Exemptions that end together.
#[derive(Debug, Clone, Default)]
pub(super) struct Exemption {
    /// Where it is written: `exempt`, `exempt.entries[0]`.
    pub(super) path: String,
    pub(super) images: Vec<Pattern>,
    pub(super) namespaces: Vec<Glob>,
    pub(super) users: Vec<Glob>,
    pub(super) groups: Vec<Glob>,
    /// When it ends; `None`: never.
    pub(super) until: Option<Timestamp>,
    /// Why, in its author's words, escaped.
    pub(super) reason: Option<Arc<str>>,
}

impl Exemption {
    /// Whether it has ended.
    pub(super) fn ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// How many it names.
    pub(super) fn len(&self) -> usize {
        self.images.len() + self.namespaces.len() + self.users.len() + self.groups.len()
    }
}
