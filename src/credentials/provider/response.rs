//! `CredentialProviderResponse`: the output of a plugin.

use super::super::{Credential, Hidden};
use super::ApiVersion;
use crate::go::duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which images an answer applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// The requested image.
    Image,
    /// Every image of its registry.
    Registry,
    /// Every image that the plugin is asked for.
    Global,
}

/// The cache key of a plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CacheKey {
    /// An image, without tag and digest.
    Image(String),
    /// A host with its port.
    Registry(String),
    /// Everything.
    Global,
}

impl CacheKey {
    /// The key of an answer.
    pub fn of(scope: CacheScope, name: &str) -> Self {
        match scope {
            CacheScope::Image => Self::Image(name.to_owned()),
            CacheScope::Registry => Self::Registry(name.split('/').next().unwrap_or_default().to_owned()),
            CacheScope::Global => Self::Global,
        }
    }

    /// The keys under which an answer for an image may be cached, in the order in which the kubelet looks.
    pub fn all(name: &str) -> [Self; 3] {
        [CacheScope::Image, CacheScope::Registry, CacheScope::Global].map(|scope| Self::of(scope, name))
    }
}

/// A plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Which images it applies to.
    pub scope: CacheScope,
    /// How long to cache it: zero means not at all, `None` as long as the configuration says.
    pub lifetime: Option<Duration>,
    /// Credentials by key, as in a docker config. Empty if the plugin has none.
    pub entries: Vec<(String, Credential)>,
}

/// Why an answer is not used. Never quotes the answer: it may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFault {
    /// Not a valid `CredentialProviderResponse` in JSON (nor with unknown fields: the kubelet parses strictly).
    Unreadable,
    /// A different kind of object.
    Kind,
    /// A different version from the request's.
    Version,
    /// `cacheKeyType` is not Image, Registry or Global.
    CacheKeyType,
}

impl ResponseFault {
    /// A clause for log and message.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Unreadable => "its answer is not a CredentialProviderResponse in JSON",
            Self::Kind => "its answer is not of kind CredentialProviderResponse",
            Self::Version => "its answer has a different apiVersion from the request",
            Self::CacheKeyType => "its answer has no valid cacheKeyType",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    cache_key_type: String,
    cache_duration: Option<String>,
    auth: Option<BTreeMap<String, Option<Auth>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    username: Option<String>,
    password: Option<String>,
}

/// Parses a plugin's output; `asked` is the version of the request.
///
/// # Errors
/// If the kubelet would not use it.
pub fn parse_response(printed: &[u8], asked: ApiVersion) -> Result<Response, ResponseFault> {
    let meta: Meta = serde_json::from_slice(printed).map_err(|_| ResponseFault::Unreadable)?;
    if meta.api_version != asked.name() {
        return Err(ResponseFault::Version);
    }
    if meta.kind != "CredentialProviderResponse" {
        return Err(ResponseFault::Kind);
    }
    let written: Written = serde_json::from_slice(printed).map_err(|_| ResponseFault::Unreadable)?;
    let scope = match written.cache_key_type.as_str() {
        "Image" => CacheScope::Image,
        "Registry" => CacheScope::Registry,
        "Global" => CacheScope::Global,
        _ => return Err(ResponseFault::CacheKeyType),
    };
    let lifetime = match written.cache_duration.as_deref() {
        None => None,
        Some(text) => Some(duration::at_least_zero(text).ok_or(ResponseFault::Unreadable)?),
    };
    let entries = written
        .auth
        .unwrap_or_default()
        .into_iter()
        .map(|(key, auth)| {
            let Auth { username, password } = auth.unwrap_or_default();
            let credential = Credential {
                username: Hidden::new(username.unwrap_or_default()),
                password: Hidden::new(password.unwrap_or_default()),
                identity_token: Hidden::default(),
            };
            (key, credential)
        })
        .collect();
    Ok(Response {
        scope,
        lifetime,
        entries,
    })
}
