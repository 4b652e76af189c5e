//! Image references by the rules of distribution/reference v0.6.0, the parser of kubelet and containerd.

use super::{Digest, Hint, escape::escape, grammar, hint, userinfo::mask_userinfo};
use std::fmt;
use std::sync::Arc;

/// A normalised image reference (`ParseNormalizedNamed`). Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference(Arc<grammar::Parts>);

/// What a node asks the registry for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A tag (`latest` if the reference has neither tag nor digest).
    Tag(String),
    /// A digest. A tag next to it is ignored.
    Digest(Digest),
}

/// The port after a reference's host. The grammar allows any number of digits (pull-semantics 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// A usable port.
    Number(u16),
    /// Over 65535: the name is valid, but no node can connect to it.
    OutOfRange,
}

impl Reference {
    /// Parses and normalises, with the errors in distribution/reference's own order.
    pub fn parse(input: &str) -> Result<Self, ReferenceError> {
        grammar::parse(input)
            .map(Self::from)
            .map_err(|fault| ReferenceError::new(input, fault))
    }

    /// As [`Self::parse`], without the cost of wording an error.
    pub(crate) fn parse_plain(input: &str) -> Option<Self> {
        grammar::parse(input).ok().map(Self::from)
    }

    /// The same tag and digest under another normalised name; `None` if `name` is not one.
    pub(crate) fn with_name(&self, name: &str) -> Option<Self> {
        let named =
            Self::parse_plain(name).filter(|named| named.tag().is_none() && named.digest().is_none() && named.name() == name)?;
        Some(Self::from(grammar::Parts {
            tag: self.0.tag.clone(),
            digest: self.0.digest.clone(),
            ..grammar::Parts::clone(&named.0)
        }))
    }

    /// The same name with this digest in the place of tag and digest.
    pub(crate) fn at_digest(&self, digest: Digest) -> Self {
        Self::from(grammar::Parts {
            tag: None,
            digest: Some(digest),
            ..grammar::Parts::clone(&self.0)
        })
    }

    /// The domain as distribution/reference has it; empty for names such as `exa_mple.com/foo`.
    pub fn domain(&self) -> &str {
        &self.0.domain
    }

    /// The path as distribution/reference has it (`library/nginx`).
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The tag as written, if any.
    pub fn tag(&self) -> Option<&str> {
        self.0.tag.as_deref()
    }

    /// The digest as written, if any.
    pub fn digest(&self) -> Option<&Digest> {
        self.0.digest.as_ref()
    }

    /// Domain and path, without tag or digest: `docker.io/library/nginx`. Keyrings and policies match on it.
    pub fn name(&self) -> String {
        if self.0.domain.is_empty() {
            self.0.path.clone()
        } else {
            format!("{}/{}", self.0.domain, self.0.path)
        }
    }

    /// The registry host, split off as containerd does: everything before the first `/` of [`Self::name`]
    /// (`docker.io`, `localhost:5000`, `exa_mple.com`).
    pub fn registry(&self) -> &str {
        if self.0.domain.is_empty() {
            self.0.path.split('/').next().unwrap_or_default()
        } else {
            &self.0.domain
        }
    }

    /// The repository within the registry: everything after the first `/` of [`Self::name`].
    pub fn repository(&self) -> &str {
        if self.0.domain.is_empty() {
            self.0.path.split_once('/').map_or("", |(_, repository)| repository)
        } else {
            &self.0.path
        }
    }

    /// Whether runtimes would take `written` for the ID of a local image: `sha256:` and up to 64 hexadecimal digits (containerd
    /// accepts the beginning of an ID, `digestset`), nothing else. By the grammar, it is the tag of a repository called sha256.
    pub fn is_image_id(written: &str) -> bool {
        written
            .strip_prefix("sha256:")
            .is_some_and(|hex| (1..=64).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    }

    /// Whether `written` is the whole of such an ID: no registry has an image of that name.
    pub fn is_whole_image_id(written: &str) -> bool {
        const WHOLE: usize = "sha256:".len() + 64;
        written.len() == WHOLE && Self::is_image_id(written)
    }

    /// The port after the host, if there is one.
    pub fn port(&self) -> Option<Port> {
        let registry = self.registry();
        let after_host = registry.rsplit_once(']').map_or(registry, |(_, rest)| rest);
        let (_, port) = after_host.split_once(':')?;
        // All digits by the grammar: the only possible error is a number that is too large.
        Some(port.parse().map_or(Port::OutOfRange, Port::Number))
    }

    /// What to ask the registry for: the digest, or else the tag, or else `latest`.
    pub fn target(&self) -> Target {
        match (&self.0.digest, &self.0.tag) {
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, Some(tag)) => Target::Tag(tag.clone()),
            (None, None) => Target::Tag("latest".to_owned()),
        }
    }
}

impl From<grammar::Parts> for Reference {
    fn from(parts: grammar::Parts) -> Self {
        Self(Arc::new(parts))
    }
}

/// The canonical form: name, tag and digest; `:latest` if there is neither.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.domain.is_empty() {
            write!(f, "{}/", self.0.domain)?;
        }
        f.write_str(&self.0.path)?;
        match (&self.0.tag, &self.0.digest) {
            (None, None) => f.write_str(":latest"),
            (Some(tag), None) => write!(f, ":{tag}"),
            (None, Some(digest)) => write!(f, "@{digest}"),
            (Some(tag), Some(digest)) => write!(f, ":{tag}@{digest}"),
        }
    }
}

/// Why a reference was refused. The Display of [`ReferenceError`] is the Go parser's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReferenceErrorKind {
    /// `invalid repository name (X), cannot specify 64-byte hexadecimal strings`
    HexOnly,
    /// `invalid reference format: repository name (X) must be lowercase`; for upper case that is only found in the whole,
    /// `repository name must be lowercase`
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

/// A refused reference: the rule, the parser's text, and what was probably meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceError {
    /// The rule that refused it.
    pub kind: ReferenceErrorKind,
    /// The text of the Go parser, as in the kubelet's message; on one line, and with credentials masked.
    pub text: String,
    /// What was probably meant.
    pub hint: Option<Hint>,
}

impl ReferenceError {
    fn new(input: &str, fault: grammar::Fault) -> Self {
        Self {
            kind: fault.kind(),
            text: text(input, fault),
            hint: hint::hint(input, fault.kind()),
        }
    }
}

/// The Go parser's text. It repeats a part of the name, taken from the masked name: no credential gets into it.
fn text(input: &str, fault: grammar::Fault) -> String {
    use ReferenceErrorKind as Kind;
    let masked = mask_userinfo(input);
    match fault {
        grammar::Fault::UpperCaseElsewhere => "repository name must be lowercase".to_owned(),
        grammar::Fault::Kind(Kind::HexOnly) => {
            format!("invalid repository name ({masked}), cannot specify 64-byte hexadecimal strings")
        }
        grammar::Fault::Kind(Kind::UpperCase) => {
            let (_, remainder) = grammar::split_domain(&masked);
            format!(
                "invalid reference format: repository name ({}) must be lowercase",
                escape(grammar::remote_name(&remainder))
            )
        }
        grammar::Fault::Kind(Kind::Format) => "invalid reference format".to_owned(),
        grammar::Fault::Kind(Kind::TooLong) => {
            format!("repository name must not be more than {} characters", grammar::LONGEST_PATH)
        }
        grammar::Fault::Kind(Kind::DigestAlgorithm) => "unsupported digest algorithm".to_owned(),
        grammar::Fault::Kind(Kind::DigestLength) => "invalid checksum digest length".to_owned(),
        grammar::Fault::Kind(Kind::DigestFormat) => "invalid checksum digest format".to_owned(),
    }
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ReferenceError {}
