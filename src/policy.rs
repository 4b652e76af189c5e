//! Policies: what an `ImagePolicy` says ([`model`]), what it means ([`Policy`], [`Policies`]), and how it votes (contract 5). Pure: values in,
//! values out; files and the API server are read elsewhere.
//!
//! In three steps: JSON (from a file or the API server) is held against the schema ([`schema`]), compiled ([`Policy::compile`]), and held
//! against one image at a time ([`Policies::matching`] → [`Jury`]).

mod about;
mod compiled;
pub mod explain;
pub mod export;
mod jury;
pub mod model;
mod names;
mod quantity;
mod refusals;
pub mod schema;
mod selector;
pub mod trial;

pub use about::{Requester, Subject};
pub use compiled::{Origin, Policies, Policy};
pub use jury::{Demand, Jury, Own, Raised, Vote};
pub use model::{ImagePolicy, ImagePolicySpec, Mode};
pub use refusals::offer_digest;
pub use selector::NAME_LABEL;

use std::fmt;

/// Something wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as Kubernetes writes paths: `spec.registries.allow[1]`.
    pub path: String,
    /// What is wrong and what to write instead: a sentence without a full stop.
    pub text: String,
    /// What of the field is meant.
    pub part: Part,
}

/// What of a field a problem is about, for whoever points at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The field's name.
    Key,
    /// What is written there.
    Value,
}

impl Problem {
    /// About what a field holds.
    pub(crate) fn at(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
            part: Part::Value,
        }
    }

    /// About a field that should not be there.
    pub(crate) fn at_key(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            part: Part::Key,
            ..Self::at(path, text)
        }
    }
}

/// `spec.mode: the text`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests;
