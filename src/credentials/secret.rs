//! A Secret as a source of credentials.

use super::{Credential, Hidden, ParseError};

/// A Secret, reduced to what a pull needs. Its data is hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSecret {
    /// `metadata.name`.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// The decoded value of `.dockerconfigjson` (or `.dockercfg` for that type); empty when the key is missing.
    pub data: Hidden,
    /// `metadata.uid` and `resourceVersion`, to notice that it changed.
    pub version: String,
}

/// What the kubelet makes of a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Entries, in document order (none is fine).
    Usable(Vec<(String, Credential)>),
    /// Not a pull secret: ignored in silence.
    WrongType {
        /// Its type.
        kind: String,
    },
    /// A pull secret whose parser error poisons the pod.
    Malformed(ParseError),
}

/// Looks into a Secret as the kubelet does (4.2, 4.3).
pub fn inspect(_secret: &PullSecret) -> Contents {
    todo!()
}
