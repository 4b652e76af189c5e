//! A Secret as a source of credentials.

use super::{Credential, CredentialSource, Hidden, Keyring, ParseError, parse_docker_config, parse_dockercfg};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// The type of a pull secret; [`data_key`] is the key of its data.
pub const DOCKERCONFIGJSON: &str = "kubernetes.io/dockerconfigjson";
/// The type of a pull secret of the legacy form.
pub const DOCKERCFG: &str = "kubernetes.io/dockercfg";

/// A Secret, reduced to what a pull needs. Its data is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PullSecret {
    /// `metadata.name`.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// The decoded value of `.dockerconfigjson` (or `.dockercfg` for that type); empty if the key is missing.
    pub data: Hidden,
    /// `metadata.uid` and `resourceVersion`, to detect changes.
    pub version: String,
    /// What was read of it.
    pub opened: ReadOnce,
}

/// What a Secret says, read when it is first wanted: a review plans several times. A clone reads for itself, so what is kept of a Secret for
/// long takes no more memory than its text.
#[derive(Default)]
pub struct ReadOnce(OnceLock<Arc<Opened>>);

/// A Secret as a pull sees it.
#[derive(Debug)]
pub struct Opened {
    /// How the kubelet treats it.
    pub contents: Contents,
    /// Its entries by their keys; none unless it is usable.
    pub keyring: Arc<Keyring>,
    /// Where its passwords are, if it is usable and has none.
    pub password_location: Option<PasswordLocation>,
}

impl PullSecret {
    /// What it says.
    pub fn open(&self) -> &Arc<Opened> {
        self.opened.0.get_or_init(|| {
            let contents = inspect(self);
            let mut keyring = Keyring::default();
            let mut place = None;
            if let Contents::Usable(entries) = &contents {
                keyring.add(&CredentialSource::Secret(self.name.clone()), entries);
                place = password_location(self);
            }
            Arc::new(Opened {
                contents,
                keyring: Arc::new(keyring),
                password_location: place,
            })
        })
    }
}

impl Clone for ReadOnce {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for ReadOnce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadOnce")
    }
}

/// It follows from the rest.
impl PartialEq for ReadOnce {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ReadOnce {}

impl Hash for ReadOnce {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// How the kubelet treats a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Its entries, in document order (there may be none).
    Usable(Vec<(String, Credential)>),
    /// Not a pull secret: silently ignored.
    WrongType {
        /// Its type.
        kind: String,
    },
    /// A pull secret that cannot be parsed, which fails every pull of the pod.
    Malformed(ParseError),
}

/// The data key that the kubelet reads in a Secret of this type; `None` for types that it ignores (4.2).
pub fn data_key(kind: &str) -> Option<&'static str> {
    match kind {
        DOCKERCONFIGJSON => Some(".dockerconfigjson"),
        DOCKERCFG => Some(".dockercfg"),
        _ => None,
    }
}

/// Reads a Secret like the kubelet does (4.2, 4.3). A pull secret whose key is missing or empty is silently ignored by the kubelet;
/// here it has no entries.
pub fn inspect(secret: &PullSecret) -> Contents {
    let parsed = match secret.kind.as_str() {
        DOCKERCONFIGJSON | DOCKERCFG if secret.data.is_empty() => Ok(Vec::new()),
        DOCKERCONFIGJSON => parse_docker_config(secret.data.bytes()),
        DOCKERCFG => parse_dockercfg(secret.data.bytes()),
        _ => {
            return Contents::WrongType {
                kind: secret.kind.clone(),
            };
        }
    };
    match parsed {
        Ok(entries) => Contents::Usable(entries),
        Err(error) => Contents::Malformed(error),
    }
}

/// Where the password may be if a docker config's entries have none. No node looks there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordLocation {
    /// In a credential store of the machine on which it was made: `credsStore`, or one of `credHelpers`.
    Store(String),
    /// It is an identity token.
    IdentityToken,
}

#[derive(Deserialize)]
struct Desktop {
    #[serde(default, rename = "credsStore")]
    store: serde_json::Value,
    #[serde(default, rename = "credHelpers")]
    helpers: serde_json::Value,
    #[serde(default)]
    auths: BTreeMap<String, serde_json::Value>,
}

/// Where a pull secret without passwords says they are. `None` if it does not say, or cannot be read.
pub fn password_location(secret: &PullSecret) -> Option<PasswordLocation> {
    let desktop: Desktop = serde_json::from_slice(secret.data.bytes()).ok()?;
    let text = |value: &serde_json::Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let token = |entry: &serde_json::Value| entry.get("identitytoken").is_some_and(|token| text(token).is_some());
    if desktop.auths.values().any(token) {
        return Some(PasswordLocation::IdentityToken);
    }
    let helper = || desktop.helpers.as_object()?.values().find_map(text);
    text(&desktop.store).or_else(helper).map(PasswordLocation::Store)
}
