//! Content digests (`sha256:…`), as go-digest validates them.

use std::fmt;

/// A validated digest: a registered algorithm (sha256, sha384, sha512) and lower-case hex of its exact length.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Parses `algorithm:hex`. `None` when go-digest would refuse it.
    pub fn parse(_text: &str) -> Option<Self> {
        todo!()
    }
    /// The sha256 digest of `bytes`.
    pub fn sha256(_bytes: &[u8]) -> Self {
        todo!()
    }
    /// Whether `bytes` have this digest (sha256, sha384 and sha512).
    pub fn matches(&self, _bytes: &[u8]) -> bool {
        todo!()
    }
    /// `sha256`, `sha384` or `sha512`.
    pub fn algorithm(&self) -> &str {
        todo!()
    }
    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
