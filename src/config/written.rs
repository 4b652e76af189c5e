//! The settings file as written: the YAML's shape and nothing more. `Spanned` keeps the place of whatever may be refused later. The
//! descriptions are those of `pullgate schema config`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;

type Text = Spanned<String>;

/// The settings of pullgate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct File {
    /// How registries are reached, and what the nodes hold for them.
    pub(super) registries: Option<Registries>,
    /// Where look-ups may go.
    pub(super) network: Option<Network>,
    /// The proxy for https.
    #[schemars(with = "Option<Proxy>")]
    pub(super) proxy: Option<Spanned<Proxy>>,
    /// How pull secrets are read.
    pub(super) secrets: Option<Secrets>,
    /// How far look-ups go.
    pub(super) depth: Option<Depth>,
    /// Platforms (`linux/amd64`) where no node is known.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) default_platforms: Option<Vec<Text>>,
    /// Annotations (`key` or `key=value`) whose objects are not judged.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) exempt_annotations: Option<Vec<Text>>,
    /// Whether the `AlwaysPullImages` admission plugin is on.
    pub(super) assume_always_pull: Option<bool>,
    /// What the status of nodes counts for.
    pub(super) nodes: Option<Nodes>,
    /// What is remembered.
    pub(super) cache: Option<Cache>,
    /// Kinds that carry pods, beside those that are known.
    pub(super) workloads: Option<Vec<Workload>>,
    /// What is logged.
    pub(super) log: Option<Log>,
    /// Which reviews Kubernetes Events tell of.
    pub(super) events: Option<Events>,
}

/// What the status of nodes counts for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Nodes {
    /// Whether images that candidate nodes hold already soften a denial, or only where the namespace may read them (`hide`).
    pub(super) presence: Option<Presence>,
}

/// What images that nodes hold already count for.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Presence {
    Soften,
    Hide,
}

/// What is logged.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Log {
    /// From this level on.
    pub(super) level: Option<Level>,
}

/// A level of the log.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Which reviews Kubernetes Events tell of.
// Not `off`: some readers of YAML take that for `false`, among them those that fill in charts.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Events {
    All,
    Denied,
    None,
}

/// How registries are reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Registries {
    /// containerd's `certs.d` tree; several folders are separated by `:`.
    #[schemars(with = "Option<String>")]
    pub(super) hosts_dir: Option<Text>,
    /// Patterns of registries whose credentials the nodes may hold.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) node_credentials: Option<Vec<Text>>,
    /// The kubelet's credential provider plugins.
    #[schemars(with = "Option<CredentialProviders>")]
    pub(super) credential_providers: Option<Spanned<CredentialProviders>>,
    /// A docker `config.json` that stands for the nodes' own keyring.
    #[schemars(with = "Option<String>")]
    pub(super) docker_config: Option<Text>,
    /// What a mutating webhook does to the images of pods later; the first that matches holds.
    pub(super) rewrites: Option<Vec<Rewrite>>,
}

/// The kubelet's plugins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CredentialProviders {
    /// The kubelet's `CredentialProviderConfig`.
    #[schemars(with = "String")]
    pub(super) config: Text,
    /// The folder with the programs that it names.
    #[schemars(with = "String")]
    pub(super) bin_dir: Text,
}

/// One rewriting of names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Rewrite {
    /// A pattern on normalised names: `docker.io/**`.
    #[serde(rename = "match")]
    #[schemars(with = "String")]
    pub(super) pattern: Text,
    /// The new name, with the pattern's last wildcard in it: `harbor.corp/dockerhub/**`.
    #[schemars(with = "String")]
    pub(super) to: Text,
}

/// Where look-ups may go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Network {
    /// Private or loopback ranges (`10.0.0.0/8`) where registries live.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) allow: Option<Vec<Text>>,
}

/// A proxy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Proxy {
    /// Its URL.
    #[schemars(with = "Option<String>", extend("pattern" = r"^\s*[Hh][Tt][Tt][Pp][Ss]?://"))]
    pub(super) https: Option<Text>,
    /// What is reached without it, as `NO_PROXY` is written: domains, addresses, ranges, ports, `*`.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) no_proxy: Option<Vec<Text>>,
}

/// How pull secrets are read.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Secrets {
    /// `get`: by name; `cluster`: list and watch; `namespaces`: by name, where a Role allows it; `none`.
    pub(super) access: Option<Access>,
}

/// How pull secrets are read.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Access {
    /// By name, without the right to list.
    Get,
    /// List and watch, by type.
    Cluster,
    /// By name, where a Role allows it.
    Namespaces,
    /// Not at all.
    None,
}

/// How far look-ups go.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Depth {
    /// HEAD, and the manifest.
    Manifest,
    /// And every config that is needed.
    Config,
    /// And every layer.
    Layers,
}

/// What is remembered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Cache {
    /// How much is remembered (`64MiB`, or bytes).
    #[schemars(with = "Option<String>", extend("type" = ["string", "integer", "null"]))]
    pub(super) max_bytes: Option<Text>,
    /// How long an older good answer serves while a registry is down (`24h`).
    #[schemars(with = "Option<String>")]
    pub(super) max_stale: Option<Text>,
}

/// A kind that carries pods.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Workload {
    /// The API group; empty for the core group.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("pattern" = "^[a-z0-9.-]*$"))]
    pub(super) group: Option<Text>,
    /// The kind.
    #[schemars(with = "String", extend("pattern" = "^[A-Z][A-Za-z0-9]*$"))]
    pub(super) kind: Text,
    /// Where its pod specs are: `spec.sets[*].template.spec`.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) pod_specs: Option<Vec<Text>>,
    /// Where single images are: `spec.tool.image`.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) images: Option<Vec<Text>>,
    /// Whether its objects have a namespace. Default: `Namespaced`.
    #[serde(default)]
    pub(super) scope: Option<Scope>,
}

/// Whether objects of a kind have a namespace.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Scope {
    /// They have.
    Namespaced,
    /// They belong to the whole cluster.
    Cluster,
}
