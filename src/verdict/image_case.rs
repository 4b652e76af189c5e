//! What the judgement of one image depends on.

use super::finding::Finding;
use super::platforms::{Audience, Use};
use super::size::Limit;
use super::soften::Context;
pub use super::wording::Naming;
use crate::image::Reference;
use crate::runtime::Setup;
use crate::runtime::outcome::{Failure, ImageFacts};

/// One attempt at the registry.
#[derive(Debug, Clone, Copy)]
pub struct LabelledAttempt<'a> {
    /// Whose credential, as a phrase (`secret "regcred"`); `None` for the anonymous attempt.
    pub with: Option<&'a str>,
    /// The result.
    pub result: &'a Result<ImageFacts, Failure>,
}

/// Something about the pod's pull secrets that matters if the pull fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretNote {
    /// Listed, and not in the namespace.
    Missing {
        /// Its name.
        name: String,
    },
    /// Listed, and not among manifests that need not be the whole namespace.
    NotGiven {
        /// Its name.
        name: String,
    },
    /// Listed, and of a type the kubelet ignores.
    WrongType {
        /// Its name.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A secret has an entry for this repository, and no password in it: the kubelet takes it for a credential, and containerd sends nothing.
    Empty {
        /// The secret.
        name: String,
        /// Where the password is, as a clause, if the secret shows it.
        elsewhere: Option<String>,
    },
    /// Secrets were read, none has an entry for this repository.
    NoMatch {
        /// The secrets that were read.
        names: Vec<String>,
        /// The nearest key and why it does not match, as a clause.
        nearest: Option<String>,
    },
}

/// Everything about one image use that its judgement depends on.
#[derive(Debug, Clone)]
pub struct ImageCase<'a> {
    /// The image.
    pub reference: &'a Reference,
    /// The namespace, for the words.
    pub namespace: &'a str,
    /// Whether it names its registry.
    pub naming: Naming,
    /// What uses it.
    pub used_by: Use,
    /// The nodes that have to pull it.
    pub audience: &'a Audience,
    /// What may soften the outlook.
    pub context: &'a Context,
    /// About the pull secrets.
    pub secrets: &'a [SecretNote],
    /// The attempts of most setups, in order.
    pub attempts: &'a [LabelledAttempt<'a>],
    /// The attempts of setups with another result.
    pub others: &'a [(Setup, Vec<LabelledAttempt<'a>>)],
    /// The configuration file of each setup.
    pub settings: &'a [(Setup, String)],
    /// What stops the pull before it starts (a malformed secret), unless the nodes hold the image already.
    pub malformed_secret: Option<&'a Finding>,
    /// The largest that a policy admits.
    pub size_limit: Option<&'a Limit>,
}
