//! `CredentialProviderConfig`, parsed and checked like the kubelet does.

use super::super::Hidden;
use super::super::keyring::is_pattern;
use super::ApiVersion;
use crate::go::duration;
use crate::image::escape;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// The identity that a plugin uses to get credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The node's, or that of whoever runs it.
    Node,
    /// The pod's service account, by a token that the kubelet requests for that pod (`tokenAttributes`). There is no such token
    /// before the pod exists, so pullgate cannot ask the plugin what a node would ask.
    ServiceAccount,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The name of its binary in the plugins' folder.
    pub name: String,
    /// The images it is asked for; never empty.
    pub match_images: Vec<String>,
    /// How long an answer is cached if it does not say so itself.
    pub default_cache: Duration,
    /// The API version to call it with.
    pub api_version: ApiVersion,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment in addition to the minimal one. The values may be secrets.
    pub env: Vec<(String, Hidden)>,
    /// The identity it uses.
    pub identity: Identity,
}

/// The versions of the file.
const VERSIONS: [&str; 3] = [
    "kubelet.config.k8s.io/v1",
    "kubelet.config.k8s.io/v1beta1",
    "kubelet.config.k8s.io/v1alpha1",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    providers: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    name: String,
    #[serde(default)]
    match_images: Vec<String>,
    default_cache_duration: Option<String>,
    #[serde(default)]
    api_version: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    token_attributes: Option<TokenAttributes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    /// Empty if omitted, as in Go.
    #[serde(default)]
    value: String,
}

/// Parsed to find mistakes; its meaning only matters to the kubelet (KEP-4412).
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TokenAttributes {
    service_account_token_audience: Option<String>,
    cache_type: Option<String>,
    require_service_account: Option<bool>,
    required_service_account_annotation_keys: Option<Vec<String>>,
    optional_service_account_annotation_keys: Option<Vec<String>>,
}

impl TokenAttributes {
    /// What the kubelet would reject in them (`validateCredentialProviderConfig` of 1.37), as clauses.
    fn wrong(self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.service_account_token_audience.is_none_or(|audience| audience.is_empty()) {
            wrong.push("serviceAccountTokenAudience is missing".to_owned());
        }
        let required = self.required_service_account_annotation_keys.unwrap_or_default();
        let optional = self.optional_service_account_annotation_keys.unwrap_or_default();
        match self.require_service_account {
            None => wrong.push("requireServiceAccount is missing".to_owned()),
            Some(false) if !required.is_empty() => {
                wrong.push("requireServiceAccount is false although requiredServiceAccountAnnotationKeys is set".to_owned());
            }
            Some(_) => {}
        }
        match self.cache_type.as_deref() {
            Some("ServiceAccount" | "Token") => {}
            Some(other) if !other.is_empty() => {
                wrong.push(format!("cacheType \"{}\" is neither ServiceAccount nor Token", escape(other)));
            }
            Some(_) | None => wrong.push("cacheType is missing".to_owned()),
        }
        let mut seen = BTreeSet::new();
        for key in required.iter().chain(&optional) {
            if !is_annotation_key(key) {
                wrong.push(format!("\"{}\" is not the key of an annotation", escape(key)));
            }
            if !seen.insert(key) {
                wrong.push(format!("annotation key \"{}\" appears twice", escape(key)));
            }
        }
        wrong
    }
}

/// `IsQualifiedName`, in lower case: a name of at most 63 characters, optionally after a DNS name and a slash.
fn is_annotation_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let ends_well = |part: &str| {
        let is_end = |c: char| c.is_ascii_alphanumeric();
        part.starts_with(is_end) && part.ends_with(is_end)
    };
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key.as_str()),
    };
    let is_name = name.len() <= 63 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && ends_well(name);
    let is_domain = |domain: &str| {
        let is_label = |label: &str| label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && ends_well(label);
        domain.len() <= 253 && domain.split('.').all(is_label)
    };
    is_name && prefix.is_none_or(is_domain)
}

/// Parses a `CredentialProviderConfig` (YAML or JSON; v1, v1beta1 or v1alpha1), with its providers in order.
///
/// # Errors
/// Everything that would keep the kubelet from starting, as sentences; never the value of a variable.
pub fn parse_provider_config(text: &str) -> Result<Vec<Provider>, Vec<String>> {
    let options = serde_saphyr::options! { with_snippet: false };
    let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|error| vec![unreadable(&error)])?;
    let mut wrong = Vec::new();
    if file.kind != "CredentialProviderConfig" {
        wrong.push(format!("kind is \"{}\", not CredentialProviderConfig", escape(&file.kind)));
    }
    if !VERSIONS.contains(&file.api_version.as_str()) {
        wrong.push(format!(
            "apiVersion \"{}\" is not one of {}",
            escape(&file.api_version),
            VERSIONS.join(", ")
        ));
    }
    if file.providers.is_empty() {
        wrong.push("there are no providers".to_owned());
    }
    let mut names = BTreeSet::new();
    let mut providers = Vec::new();
    for (place, written) in file.providers.into_iter().enumerate() {
        if written.token_attributes.is_some() && file.api_version != VERSIONS[0] {
            wrong.push(format!(
                "providers[{place}].tokenAttributes requires apiVersion {} of the file",
                VERSIONS[0]
            ));
        }
        if !names.insert(written.name.clone()) {
            wrong.push(format!("providers[{place}].name \"{}\" appears twice", escape(&written.name)));
        }
        let mut said = Vec::new();
        let provider = provider(written, &mut said);
        wrong.extend(said.into_iter().map(|why| format!("providers[{place}].{why}")));
        providers.extend(provider);
    }
    if wrong.is_empty() { Ok(providers) } else { Err(wrong) }
}

/// The parser's sentence, without quoting the file: a variable's value may be a secret.
fn unreadable(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Yaml;
    let error = error.without_snippet();
    let what = match error {
        Yaml::SerdeUnknownField { field, .. } => format!("unknown key \"{}\"", escape(field)),
        Yaml::SerdeMissingField { field, .. } => format!("the key {field} is missing"),
        // The parser's enum keeps growing.
        _ => "not a CredentialProviderConfig".to_owned(),
    };
    match error.location() {
        Some(place) => format!("line {}, column {}: {what}", place.line(), place.column()),
        None => what,
    }
}

fn provider(written: Written, wrong: &mut Vec<String>) -> Option<Provider> {
    // Destructured, so that a new key cannot be forgotten.
    let Written {
        name,
        match_images,
        default_cache_duration,
        api_version,
        args,
        env,
        token_attributes,
    } = written;
    let before = wrong.len();
    if !is_program(&name) {
        wrong.push(format!(
            "name \"{}\" is not a valid program name: no slash, no space, neither \".\" nor \"..\"",
            escape(&name)
        ));
    }
    if match_images.is_empty() {
        wrong.push("matchImages is empty".to_owned());
    }
    for pattern in match_images.iter().filter(|pattern| !is_pattern(pattern)) {
        wrong.push(format!(
            "matchImages: \"{}\" is not a host with port and path",
            escape(pattern)
        ));
    }
    let default_cache = match default_cache_duration.as_deref() {
        None => {
            wrong.push("defaultCacheDuration is missing".to_owned());
            None
        }
        Some(text) => {
            let parsed = duration::not_negative(text);
            if parsed.is_none() {
                wrong.push(format!(
                    "defaultCacheDuration \"{}\" is not a duration such as 12h or 0s",
                    escape(text)
                ));
            }
            parsed
        }
    };
    let version = ApiVersion::ALL.into_iter().find(|version| version.name() == api_version);
    if version.is_none() {
        wrong.push(format!(
            "apiVersion \"{}\" is not one of {}",
            escape(&api_version),
            ApiVersion::ALL.map(ApiVersion::name).join(", ")
        ));
    }
    let env = env.unwrap_or_default();
    for variable in &env {
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) {
            wrong.push(format!("env: \"{}\" is not a valid variable name", escape(&variable.name)));
        }
        if variable.value.contains('\0') {
            wrong.push(format!("env: the value of {} contains a NUL", escape(&variable.name)));
        }
    }
    let args = args.unwrap_or_default();
    if args.iter().any(|arg| arg.contains('\0')) {
        wrong.push("args: an argument contains a NUL".to_owned());
    }
    let identity = match token_attributes {
        Some(attributes) => {
            wrong.extend(attributes.wrong().into_iter().map(|why| format!("tokenAttributes: {why}")));
            if version.is_some_and(|version| version != ApiVersion::V1) {
                wrong.push(format!("tokenAttributes requires apiVersion {}", ApiVersion::V1.name()));
            }
            Identity::ServiceAccount
        }
        None => Identity::Node,
    };
    if wrong.len() > before {
        return None;
    }
    Some(Provider {
        name,
        match_images,
        default_cache: default_cache?,
        api_version: version?,
        args,
        env: env
            .into_iter()
            .map(|variable| (variable.name, Hidden::new(variable.value)))
            .collect(),
        identity,
    })
}

/// Whether a name stays in the folder it is joined to.
pub(crate) fn is_program(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', ' ', '\0'])
}
