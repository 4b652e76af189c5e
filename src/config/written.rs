//! The settings file as written: the YAML's shape and nothing more. `Spanned` keeps the place of whatever may be refused later.

use serde::Deserialize;
use serde_saphyr::Spanned;

type Text = Spanned<String>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct File {
    pub(super) registries: Option<Registries>,
    pub(super) network: Option<Network>,
    pub(super) proxy: Option<Spanned<Proxy>>,
    pub(super) secrets: Option<Secrets>,
    pub(super) depth: Option<Depth>,
    pub(super) default_platforms: Option<Vec<Text>>,
    pub(super) exempt_annotations: Option<Vec<Text>>,
    pub(super) assume_always_pull: Option<bool>,
    pub(super) cache: Option<Cache>,
    pub(super) workloads: Option<Vec<Workload>>,
    pub(super) log: Option<Log>,
    pub(super) events: Option<Events>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Log {
    pub(super) level: Option<Level>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Not `off`: some readers of YAML take that for `false`, among them those that fill in charts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Events {
    All,
    Denied,
    None,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Registries {
    pub(super) hosts_dir: Option<Text>,
    pub(super) node_credentials: Option<Vec<Text>>,
    pub(super) credential_providers: Option<Spanned<CredentialProviders>>,
    pub(super) docker_config: Option<Text>,
    pub(super) rewrites: Option<Vec<Rewrite>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CredentialProviders {
    pub(super) config: Text,
    pub(super) bin_dir: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Rewrite {
    #[serde(rename = "match")]
    pub(super) pattern: Text,
    pub(super) to: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Network {
    pub(super) allow: Option<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Proxy {
    pub(super) https: Option<Text>,
    pub(super) no_proxy: Option<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Secrets {
    pub(super) access: Option<Access>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Access {
    Get,
    Cluster,
    Namespaces,
    None,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Depth {
    Manifest,
    Config,
    Layers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Cache {
    pub(super) max_bytes: Option<Text>,
    pub(super) max_stale: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Workload {
    #[serde(default)]
    pub(super) group: Option<Text>,
    pub(super) kind: Text,
    #[serde(default)]
    pub(super) pod_specs: Option<Vec<Text>>,
    #[serde(default)]
    pub(super) images: Option<Vec<Text>>,
}
