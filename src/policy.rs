//! Policies: what an `ImagePolicy` says ([`model`]), what it means ([`Policy`], [`Policies`]), and how it votes (DESIGN 5). Pure: values in,
//! values out; files and the API server are read elsewhere.
//!
//! In three steps: JSON (from a file or the API server) is held against the schema ([`schema`]), compiled ([`Policy::compile`]), and held
//! against one image at a time ([`Policies::matching`] → [`Jury`]).

mod compiled;
mod jury;
pub mod model;
mod names;
mod quantity;
pub mod schema;
mod selector;

pub use compiled::{Origin, Policies, Policy};
pub use jury::{Jury, Raised, Requester, Subject, Vote, offer_digest};
pub use model::{ImagePolicy, ImagePolicySpec, Mode};

use std::fmt;

/// Something wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as Kubernetes writes paths: `spec.registries.allow[1]`.
    pub path: String,
    /// What is wrong and what to write instead: a sentence without a full stop.
    pub text: String,
}

impl Problem {
    pub(crate) fn at(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
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
