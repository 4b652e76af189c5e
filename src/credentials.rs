//! Pull secrets, docker configs and the kubelet's keyring (pull-semantics 4). Pure.

mod base64;
mod docker_config;
mod endpoint;
mod glob;
pub mod helper;
pub mod keyring;
mod nearest;
pub mod node;
pub mod provider;
mod secret;

pub(crate) use base64::decode_padded as decode_secret_data;
pub use docker_config::{ParseError, parse_docker_config, parse_dockercfg, parse_user_config};
pub use keyring::{CredentialSource, Entry, Keyring, NearMiss, RegistryPatterns};
pub use secret::{
    Contents, DOCKERCFG, DOCKERCONFIGJSON, Opened, PasswordLocation, PullSecret, ReadOnce, data_key, inspect, password_location,
};

use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

/// Secret text: its `Debug` shows nothing. Bytes, because a password in an `auth` may have any encoding, and a node sends it
/// unchanged.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Hidden(Vec<u8>);

impl Hidden {
    /// Hides `text`.
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Self(text.into())
    }
    /// The bytes themselves; only for sending.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
    /// As text, with U+FFFD for invalid bytes; must never be shown.
    pub fn expose(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A credential for a registry, like CRI's `AuthConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Credential {
    /// User name; empty with an empty password counts as a credential for the kubelet and as anonymous for containerd.
    pub username: Hidden,
    /// Password.
    pub password: Hidden,
    /// `OAuth2` refresh token, only from a user's docker config (the kubelet ignores it in Secrets).
    pub identity_token: Hidden,
}

/// Tells credentials apart, within this process: a keyed digest that reveals nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fingerprint")
    }
}

impl Credential {
    /// The fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        let parts = [&self.username, &self.password, &self.identity_token];
        Fingerprint(keyed_hash(parts.map(Hidden::bytes)))
    }

    /// Whether it is UTF-8. Since 1.34, kubelets cannot pass other bytes to the runtime, because their gRPC checks for UTF-8.
    pub fn is_text(&self) -> bool {
        let mut parts = [&self.username, &self.password, &self.identity_token].into_iter();
        parts.all(|part| str::from_utf8(&part.0).is_ok())
    }

    /// Whether containerd would send nothing of it: the user name comes first and then needs a password, and the identity token
    /// only counts without a user name (pull-semantics 4.5).
    pub fn is_anonymous(&self) -> bool {
        if self.username.is_empty() {
            self.identity_token.is_empty()
        } else {
            self.password.is_empty()
        }
    }
}

/// A sha256 of parts that may be secret, with a key of this process before them: a password cannot be guessed from it.
pub(crate) fn keyed_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    // Each of these is keyed by the system's random numbers.
    static KEY: LazyLock<[u64; 4]> = LazyLock::new(|| std::array::from_fn(|at| RandomState::new().hash_one(at)));
    let mut hash = Sha256::new();
    for word in *KEY {
        hash.update(word.to_be_bytes());
    }
    for part in parts {
        // The lengths keep ("ab", "c") apart from ("a", "bc").
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
