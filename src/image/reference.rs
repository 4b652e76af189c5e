//! Image references by the rules of distribution/reference v0.6.0, the parser of kubelet and containerd.

use super::{Digest, Hint};
use std::fmt;

/// A normalised image reference (`ParseNormalizedNamed`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What a node asks the registry for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A tag (`latest` where the reference names neither tag nor digest).
    Tag(String),
    /// A digest. A tag beside it is never looked at.
    Digest(Digest),
}

impl Reference {
    /// Parses and normalises, with the error kinds in distribution/reference's own order.
    pub fn parse(_input: &str) -> Result<Self, ReferenceError> {
        todo!()
    }
    /// The domain as distribution/reference has it; empty for names such as `exa_mple.com/foo`.
    pub fn domain(&self) -> &str {
        &self.domain
    }
    /// The path as distribution/reference has it (`library/nginx`).
    pub fn path(&self) -> &str {
        &self.path
    }
    /// The tag as written, if any.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
    /// The digest as written, if any.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
    /// Domain and path, without tag or digest: `docker.io/library/nginx`. What keyrings and policies match on.
    pub fn name(&self) -> String {
        todo!()
    }
    /// The registry host, as containerd splits it off: everything before the first `/` of [`Self::name`]
    /// (`docker.io`, `localhost:5000`, `exa_mple.com`).
    pub fn registry(&self) -> &str {
        todo!()
    }
    /// The repository within the registry: everything after the first `/` of [`Self::name`].
    pub fn repository(&self) -> &str {
        todo!()
    }
    /// What is asked of the registry: the digest, else the tag, else `latest`.
    pub fn target(&self) -> Target {
        todo!()
    }
}

/// The canonical form: name, tag and digest; `:latest` where there is neither.
impl fmt::Display for Reference {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// Why a reference was refused. The Display of [`ReferenceError`] is the Go parser's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReferenceErrorKind {
    /// `cannot specify 64-byte hexadecimal strings`
    HexOnly,
    /// `repository name (X) must be lowercase`
    UpperCase,
    /// `invalid reference format`
    Format,
    /// `repository name must not be more than 255 characters`
    TooLong,
    /// `unsupported digest algorithm`
    DigestAlgorithm,
    /// `invalid checksum digest length`
    DigestLength,
    /// `invalid checksum digest format`
    DigestFormat,
}

/// A refused reference: which rule, the parser's text, and what was probably meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceError {
    /// Which rule refused it.
    pub kind: ReferenceErrorKind,
    /// The text of the Go parser, as it ends up in the kubelet's message.
    pub text: String,
    /// What was probably meant.
    pub hint: Option<Hint>,
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ReferenceError {}
