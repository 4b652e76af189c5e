//! The settings file as written: the shape of the YAML and nothing more. `Spanned` keeps the position of values that may be refused
//! later. The descriptions are those of `pullgate schema config`.

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

type Text = Spanned<String>;

/// The settings of pullgate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct File {
    /// How far pullgate goes where no policy votes: `Enforce`, `Warn` or `Audit`; or a list, of which the first entry that selects the
    /// namespace holds. Where nothing is written, `Enforce`.
    #[schemars(with = "Option<ModeSchema>")]
    pub(super) mode: Option<Spanned<Modes>>,
    /// How registries are reached, and which credentials the nodes have for them.
    pub(super) registries: Option<Registries>,
    /// Which addresses pullgate may connect to.
    pub(super) network: Option<Network>,
    /// The proxy for https.
    #[schemars(with = "Option<Proxy>")]
    pub(super) proxy: Option<Spanned<Proxy>>,
    /// How pull secrets are read.
    pub(super) secrets: Option<Secrets>,
    /// How much of an image is checked.
    pub(super) depth: Option<Depth>,
    /// Platforms (`linux/amd64`) to check when no node is known.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) default_platforms: Option<Vec<Text>>,
    /// Container runtimes (`containerd`, `crio`, `crio@1.33.2`) to check for when no node says which it has.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) default_runtimes: Option<Vec<Text>>,
    /// Nodes that reach registries differently from `registries`. A node belongs to the first pool that selects it.
    #[schemars(with = "Option<Vec<NodePool>>")]
    pub(super) node_pools: Option<Vec<NodePool>>,
    /// Annotations (`key` or `key=value`) whose objects are not checked.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) exempt_annotations: Option<Vec<Text>>,
    /// Whether the `AlwaysPullImages` admission plugin is on.
    pub(super) assume_always_pull: Option<bool>,
    /// How the status of nodes is used.
    pub(super) nodes: Option<Nodes>,
    /// What is cached.
    pub(super) cache: Option<Cache>,
    /// Kinds with pod specs or images, besides the built-in ones.
    pub(super) workloads: Option<Vec<Workload>>,
    /// What is logged.
    pub(super) log: Option<Log>,
    /// Which reviews become Kubernetes Events.
    pub(super) events: Option<Events>,
}

/// How far pullgate goes where no policy votes.
#[derive(Debug)]
pub(super) enum Modes {
    /// In every namespace; not checked yet.
    Everywhere(String),
    /// By namespace.
    Listed(Vec<Spanned<ModeEntry>>),
}

/// The same, for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "for its schema only")]
enum ModeSchema {
    /// In every namespace.
    Everywhere(Mode),
    /// By namespace; the first entry that selects it holds.
    Listed(Vec<ModeEntry>),
}

/// A mode.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Mode {
    /// What fails is denied.
    Enforce,
    /// What fails is a warning.
    Warn,
    /// What fails is logged and counted.
    Audit,
}

/// The mode of some namespaces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ModeEntry {
    /// Which namespaces, by their labels (`kubernetes.io/metadata.name` is the name). Default: all.
    #[serde(default)]
    pub(super) namespace_selector: Option<NamespaceSelector>,
    /// Their mode.
    pub(super) mode: Mode,
}

/// A label selector as in Kubernetes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct NamespaceSelector {
    /// Labels and their values.
    pub(super) match_labels: Option<BTreeMap<String, String>>,
    /// Requirements on labels.
    pub(super) match_expressions: Option<Vec<Requirement>>,
}

// Not `untagged`: that would lose the places of the entries.
impl<'de> Deserialize<'de> for Modes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Modes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("Enforce, Warn, Audit or a list of {namespaceSelector, mode}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Modes, E> {
                Ok(Modes::Everywhere(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Modes, E> {
                Ok(Modes::Everywhere(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Modes, E> {
                Ok(Modes::Everywhere(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Modes, E> {
                Ok(Modes::Everywhere(value.to_string()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Modes, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    entries.push(entry);
                }
                Ok(Modes::Listed(entries))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Nodes that reach registries in a way of their own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NodePool {
    /// What it is called in findings. Default: its selector.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(super) name: Option<Text>,
    /// Which nodes it has.
    #[schemars(with = "Selector")]
    pub(super) selector: Spanned<Selector>,
    /// How they reach registries.
    #[schemars(with = "PoolRegistries")]
    pub(super) registries: Spanned<PoolRegistries>,
}

/// A label selector as in Kubernetes; or labels alone, as in a Service's selector.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Selector {
    /// Labels and their values.
    pub(super) match_labels: Option<BTreeMap<String, String>>,
    /// Requirements on labels.
    pub(super) match_expressions: Option<Vec<Requirement>>,
    /// Short form of `matchLabels`.
    #[serde(flatten)]
    pub(super) labels: BTreeMap<String, String>,
}

/// A requirement on a label.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Requirement {
    /// The label's key.
    pub(super) key: String,
    /// How `values` are used.
    pub(super) operator: Operator,
    /// For `In` and `NotIn`.
    #[serde(default)]
    pub(super) values: Option<Vec<String>>,
}

/// How a requirement's values are used.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// How the nodes of a pool reach registries: by one of these.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct PoolRegistries {
    /// containerd's `certs.d` tree; separate several folders with `:`.
    #[schemars(with = "Option<String>")]
    pub(super) hosts_dir: Option<Text>,
    /// CRI-O's `registries.conf`, or a folder laid out as the nodes have it.
    #[schemars(with = "Option<String>")]
    pub(super) registries_conf: Option<Text>,
    /// The `registries.yaml` of k3s or RKE2.
    #[schemars(with = "Option<String>")]
    pub(super) k3s_registries: Option<Text>,
    /// Whether k3s or RKE2 runs with `--disable-default-registry-endpoint`: registries with mirrors in `k3sRegistries` are not asked themselves.
    pub(super) disable_default_endpoint: Option<bool>,
}

/// How the status of nodes is used.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Nodes {
    /// Whether images that candidate nodes already hold soften a denial, or only if the namespace may pull them (`hide`).
    pub(super) presence: Option<Presence>,
}

/// The effect of images that nodes already hold.
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
    /// This level and above.
    pub(super) level: Option<Level>,
}

/// A log level.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Which reviews become Kubernetes Events.
// Not `off`: some YAML parsers read that as `false`, among them those that fill in charts.
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
#[expect(clippy::struct_field_names, reason = "the names are those of files on nodes")]
pub(super) struct Registries {
    /// containerd's `certs.d` tree; separate several folders with `:`.
    #[schemars(with = "Option<String>")]
    pub(super) hosts_dir: Option<Text>,
    /// CRI-O's `registries.conf`, or a folder laid out as the nodes have it.
    #[schemars(with = "Option<String>")]
    pub(super) registries_conf: Option<Text>,
    /// The `registries.yaml` of k3s or RKE2.
    #[schemars(with = "Option<String>")]
    pub(super) k3s_registries: Option<Text>,
    /// Whether k3s or RKE2 runs with `--disable-default-registry-endpoint`: registries with mirrors in `k3sRegistries` are not asked themselves.
    pub(super) disable_default_endpoint: Option<bool>,
    /// Patterns of registries for which the nodes may have credentials.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) node_credentials: Option<Vec<Text>>,
    /// The kubelet's credential provider plugins.
    #[schemars(with = "Option<CredentialProviders>")]
    pub(super) credential_providers: Option<Spanned<CredentialProviders>>,
    /// A docker `config.json` with the nodes' own credentials.
    #[schemars(with = "Option<String>")]
    pub(super) docker_config: Option<Text>,
    /// The `User-Agent` of requests to registries; by default the runtime's that would ask, followed by `(compatible; pullgate/VERSION)`.
    #[schemars(with = "Option<String>")]
    pub(super) user_agent: Option<Text>,
    /// How a mutating webhook will rewrite the images of pods; the first matching rule applies.
    pub(super) rewrites: Option<Vec<Rewrite>>,
}

/// The kubelet's plugins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CredentialProviders {
    /// The kubelet's `CredentialProviderConfig`.
    #[schemars(with = "String")]
    pub(super) config: Text,
    /// The folder with the plugins' binaries.
    #[schemars(with = "String")]
    pub(super) bin_dir: Text,
}

/// One rewrite rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Rewrite {
    /// A pattern on normalised names: `docker.io/**`.
    #[serde(rename = "match")]
    #[schemars(with = "String")]
    pub(super) pattern: Text,
    /// The new name, with the pattern's last wildcard: `harbor.corp/dockerhub/**`.
    #[schemars(with = "String")]
    pub(super) to: Text,
}

/// Which addresses pullgate may connect to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Network {
    /// Private or loopback ranges (`10.0.0.0/8`) that contain registries.
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
    /// What to reach without it, in the format of `NO_PROXY`: domains, addresses, ranges, ports, `*`.
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

/// How much of an image is checked.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Depth {
    /// HEAD, and the manifest.
    Manifest,
    /// Also every config that is needed.
    Config,
    /// Also every layer.
    Layers,
}

/// What is cached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Cache {
    /// The size limit (`64MiB`, or bytes).
    #[schemars(with = "Option<String>", extend("type" = ["string", "integer", "null"]))]
    pub(super) max_bytes: Option<Text>,
    /// How long an old answer may be used while a registry is down (`24h`).
    #[schemars(with = "Option<String>")]
    pub(super) max_stale: Option<Text>,
}

/// A kind with pod specs or images.
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
    /// The paths of its pod specs: `spec.sets[*].template.spec`.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) pod_specs: Option<Vec<Text>>,
    /// The paths of single images: `spec.tool.image`.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) images: Option<Vec<Text>>,
    /// Whether its objects belong to a namespace. Default: `Namespaced`.
    #[serde(default)]
    pub(super) scope: Option<Scope>,
}

/// Whether objects of a kind belong to a namespace.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Scope {
    /// They do.
    Namespaced,
    /// They are cluster-scoped.
    Cluster,
}
