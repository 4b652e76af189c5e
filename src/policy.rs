//! `ImagePolicy`: the written form ([`model`]), the checked form ([`Policy`], [`Policies`]), and how policies vote (contract 5).
//! Pure: values in, values out; files and the API server are read elsewhere.
//!
//! Three steps: JSON (from a file or the API server) is checked against the schema ([`schema`]), compiled ([`Policy::compile`]),
//! and applied to one image at a time ([`Policies::matching`] → [`Matching`]).

mod applies;
pub mod cases;
mod compiled;
pub mod dates;
mod exempt_entry;
mod exemptions;
pub mod explain;
pub mod export;
mod foreign;
mod kinds;
mod matching;
pub mod model;
mod modes;
mod names;
mod objections;
mod quantity;
mod refusals;
mod remarks;
pub mod schema;
mod selector;
mod votes;

pub use applies::{Requester, Subject};
pub use compiled::{DaysLeft, Policies, Policy, PolicyLocation};
pub use kinds::{built_in_kinds, kind};
pub use matching::{Demand, FindingsByPolicy, Matching, Raised};
pub use model::{ImagePolicy, ImagePolicySpec, Mode};
pub use modes::Modes;
pub use objections::{Objection, PerImagePolicies};
pub use refusals::{first_an_image, offer_digest};
pub use remarks::remarks;
pub use selector::NAME_LABEL;
pub use votes::{Ballot, Vote};

use std::fmt;

/// What votes depend on besides the policies.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The settings' `mode`.
    pub modes: &'a Modes,
    /// The time.
    pub now: jiff::Timestamp,
}

/// Something wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as Kubernetes writes paths: `spec.registries.allow[1]`.
    pub path: String,
    /// What is wrong and what to write instead: a sentence without its full stop.
    pub text: String,
    /// Which part of the field is meant.
    pub part: Part,
}

/// The part of a field that a problem points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The field's name.
    Key,
    /// The value.
    Value,
}

impl Problem {
    /// About a field's value.
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
