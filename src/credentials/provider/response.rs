//! `CredentialProviderResponse`: what a plugin prints.

use super::super::{Credential, Hidden};
use super::ApiVersion;
use crate::go::duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// For what a plugin's answer holds beside the image that it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// For that image only.
    Image,
    /// For every image of its registry.
    Registry,
    /// For every image that the plugin is asked for.
    Global,
}

/// Under what an answer of one plugin is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CacheKey {
    /// An image, without tag and digest.
    Image(String),
    /// A host with its port.
    Registry(String),
    /// All of them.
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

    /// The keys under which an answer for an image may be kept, in the order in which the kubelet looks.
    pub fn all(name: &str) -> [Self; 3] {
        [CacheScope::Image, CacheScope::Registry, CacheScope::Global].map(|scope| Self::of(scope, name))
    }
}

/// A plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// For what it holds.
    pub scope: CacheScope,
    /// How long it is kept: zero is not at all; `None` is as long as the configuration says.
    pub lifetime: Option<Duration>,
    /// Credentials by key, as in a docker config. Empty where the plugin has none.
    pub entries: Vec<(String, Credential)>,
}

/// Why an answer is not used. None of them shows anything of the answer: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFault {
    /// Not the JSON of a `CredentialProviderResponse` (unknown fields count: the kubelet reads it strictly).
    Unreadable,
    /// Another kind of object.
    Kind,
    /// Another version than it was asked in.
    Version,
    /// `cacheKeyType` is none of Image, Registry, Global.
    CacheKeyType,
}

impl ResponseFault {
    /// A clause for log and message.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Unreadable => "its answer is not a CredentialProviderResponse in JSON",
            Self::Kind => "its answer is of another kind than CredentialProviderResponse",
            Self::Version => "its answer has another apiVersion than the question",
            Self::CacheKeyType => "its answer has no cacheKeyType that the kubelet knows",
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

/// Reads what a plugin printed; `asked` is the version of the request.
///
/// # Errors
/// Where the kubelet would not use it.
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
