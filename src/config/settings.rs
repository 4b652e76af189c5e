//! The checked settings: typed, with their defaults.

use super::pools::{self, NodePool};
use super::problem::{self, Error, Problem};
use super::{file, modes, values, workloads};
use crate::cluster::EventFilter;
use crate::files;
use crate::image::{Pattern, Platform, Rewrite};
use crate::limits;
use crate::net::{Cidr, Reach};
use crate::policy::Modes;
use crate::registry::{self, K3sFile, Proxy};
use crate::runtime::{Depth, Runtime};
use crate::telemetry::log::Level;
use crate::verdict::soften::PresenceRule;
use crate::workload::Configured;
use http::HeaderValue;
use serde_saphyr::Spanned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Registries whose credentials nodes commonly have themselves (those of the cloud providers; contract 3): the default of
/// `registries.nodeCredentials`.
pub const DEFAULT_NODE_CREDENTIALS: [&str; 7] = [
    "*.dkr.ecr.*.amazonaws.com",
    "*.dkr.ecr.*.amazonaws.com.cn",
    "*.azurecr.io",
    "*.azurecr.cn",
    "gcr.io",
    "*.gcr.io",
    "*.pkg.dev",
];

/// Which command contacts the registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frontend {
    /// `pullgate serve`: public addresses, and the ranges of `network.allow`.
    Serve,
    /// `pullgate check`: any address that the user's machine can reach.
    Check,
}

/// How pull secrets are read from the cluster (`secrets.access`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretAccess {
    /// By name, one at a time; needs no right to list.
    #[default]
    Get,
    /// Listed and watched across the cluster, by type.
    Cluster,
    /// By name, in the namespaces where a Role allows it.
    Namespaces,
    /// Not at all.
    None,
}

/// Cache limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// The size of all caches together, in bytes.
    pub max_bytes: u64,
    /// How long a good answer may be used while its registry is down.
    pub max_stale: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_stale: Duration::from_hours(24),
        }
    }
}

/// The kubelet's credential provider plugins (`registries.credentialProviders`). Relative paths start at the settings file's
/// folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialProviders {
    /// The `CredentialProviderConfig`.
    pub config: PathBuf,
    /// The folder with the plugins' binaries.
    pub bin_dir: PathBuf,
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Patterns of registries for which the nodes may have credentials, in the format of the kubelet's `matchImages`; `*` alone is
    /// every registry.
    pub node_credentials: Vec<String>,
    /// containerd's `hosts.toml` trees; the first one with a folder for a registry wins. Relative paths start at the settings
    /// file's folder.
    pub hosts_dirs: Vec<PathBuf>,
    /// The `User-Agent` of requests to registries; `None`: that of the runtime which would ask, followed by ours.
    pub user_agent: Option<HeaderValue>,
    /// A docker config with the nodes' own credentials. A relative path starts at the settings file's folder.
    pub docker_config: Option<PathBuf>,
    /// The kubelet's credential provider plugins.
    pub credential_providers: Option<CredentialProviders>,
    /// Private or loopback ranges that contain registries.
    pub network_allow: Vec<Cidr>,
    /// The proxy for https registries that are not on loopback; `None`: connect directly.
    pub proxy: Option<Proxy>,
    /// How pull secrets are read.
    pub secret_access: SecretAccess,
    /// How much of an image is checked.
    pub depth: Depth,
    /// Platforms to check when no node is known; `None` if the file does not say.
    pub default_platforms: Option<Vec<Platform>>,
    /// Annotations (`key` or `key=value`) that exempt an object.
    pub exempt_annotations: Vec<String>,
    /// Treat every image as if its pull policy were `Always` (the `AlwaysPullImages` admission plugin is on; pull-semantics 2.4).
    pub assume_always_pull: bool,
    /// The effect of images that nodes already hold.
    pub presence_rule: PresenceRule,
    /// Cache limits.
    pub cache: Cache,
    /// How mutating webhooks will rewrite image names; the first matching rule applies.
    pub rewrites: Vec<Rewrite>,
    /// Kinds with pod specs or images, besides the built-in ones.
    pub workloads: Vec<Configured>,
    /// The log level; `None`: as on the command line.
    pub log_level: Option<Level>,
    /// Which reviews become Kubernetes Events.
    pub events: EventFilter,
    /// CRI-O's `registries.conf` of nodes that belong to no pool: the file, or a folder laid out as the nodes have it.
    pub registries_conf: Option<PathBuf>,
    /// The `registries.yaml` of nodes with k3s or RKE2 that belong to no pool.
    pub k3s: Option<K3sFile>,
    /// Nodes with their own way to reach registries.
    pub node_pools: Vec<NodePool>,
    /// The runtimes of nodes that do not report one; `None`: any containerd.
    pub default_runtimes: Option<Vec<Runtime>>,
    /// What pullgate does about findings on which no policy votes.
    pub modes: Modes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_credentials: DEFAULT_NODE_CREDENTIALS.map(str::to_owned).to_vec(),
            hosts_dirs: Vec::new(),
            user_agent: None,
            docker_config: None,
            credential_providers: None,
            network_allow: Vec::new(),
            proxy: None,
            secret_access: SecretAccess::default(),
            depth: Depth::Manifest,
            default_platforms: None,
            exempt_annotations: Vec::new(),
            assume_always_pull: false,
            presence_rule: PresenceRule::default(),
            cache: Cache::default(),
            rewrites: Vec::new(),
            workloads: Vec::new(),
            log_level: None,
            events: EventFilter::default(),
            registries_conf: None,
            k3s: None,
            node_pools: Vec::new(),
            default_runtimes: None,
            modes: Modes::default(),
        }
    }
}

/// The JSON Schema (2020-12) of a settings file.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let schema = settings.into_generator().into_root_schema_for::<file::File>();
    let mut schema = schema.to_value();
    schema["$id"] = "https://pullgate.dev/schema/config.json".into();
    schema["title"] = "pullgate settings".into();
    schema
}

impl Settings {
    /// Reads a settings file. The error gives file, line and column of every problem.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let unreadable = |text: String| Error {
            file: file.to_owned(),
            problems: vec![Problem::of_file(text)],
        };
        let bytes = files::read_or_pipe(file, limits::SETTINGS_FILE).map_err(|error| unreadable(error.to_string()))?;
        Self::from_bytes(file, &bytes)
    }

    /// The settings in `bytes`; `file` is where they came from.
    pub fn from_bytes(file: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let fail = |problems| Error {
            file: file.to_owned(),
            problems,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| fail(vec![Problem::of_file("the file is not UTF-8 text")]))?;
        let options = serde_saphyr::options! { with_snippet: false };
        // An empty document, or one with comments only, leaves every optional key unset.
        let written: Option<file::File> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| fail(vec![problem::from_yaml(&error)]))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut reading = Reading {
            folder,
            problems: Vec::new(),
        };
        let settings = reading.settings(written.unwrap_or_default());
        if reading.problems.is_empty() {
            Ok(settings)
        } else {
            reading.problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(fail(reading.problems))
        }
    }

    /// The files that these settings name, to be reloaded when they change.
    pub fn files(&self) -> Vec<PathBuf> {
        let providers = self.credential_providers.iter().map(|providers| &providers.config);
        self.docker_config.iter().chain(providers).cloned().collect()
    }

    /// The settings of lookups.
    pub fn registry(&self, frontend: Frontend) -> registry::RegistrySettings {
        registry::RegistrySettings {
            reach: match frontend {
                Frontend::Serve => Reach::Listed(self.network_allow.clone()),
                Frontend::Check => Reach::Everything,
            },
            cache_bytes: self.cache.max_bytes,
            max_stale: self.cache.max_stale,
            look_up_limit: limits::LOOK_UP,
            hosts_dirs: self.hosts_dirs.clone(),
            registries_conf: self.registries_conf.clone(),
            k3s: self.k3s.clone(),
            pools: self.node_pools.iter().map(NodePool::files).collect(),
            proxy: self.proxy.clone(),
            user_agent: self.user_agent.clone(),
            ..registry::RegistrySettings::default()
        }
    }
}

/// Checks the file and collects all problems instead of stopping at the first.
struct Reading<'a> {
    folder: &'a Path,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn settings(&mut self, file: file::File) -> Settings {
        // Destructured, so that a new key cannot be forgotten.
        let file::File {
            mode,
            registries,
            network,
            proxy,
            secrets,
            depth,
            default_platforms,
            default_runtimes,
            node_pools,
            exempt_annotations,
            assume_always_pull,
            nodes,
            cache,
            workloads,
            log,
            events,
        } = file;
        let file::Registries {
            hosts_dir,
            registries_conf,
            k3s_registries,
            disable_default_endpoint,
            node_credentials,
            credential_providers,
            docker_config,
            user_agent,
            rewrites,
        } = registries.unwrap_or_default();
        let file::Cache { max_bytes, max_stale } = cache.unwrap_or_default();
        let defaults = Settings::default();
        match (&k3s_registries, &hosts_dir) {
            (Some(path), Some(_)) => {
                let why = "k3s writes the hosts.toml tree itself; give one of hostsDir and k3sRegistries";
                self.problems.push(Problem::at(path.referenced, why));
            }
            (None, _) if disable_default_endpoint.is_some() => self.problems.push(Problem::of_file(pools::NEEDS_K3S_REGISTRIES)),
            (None | Some(_), _) => {}
        }

        Settings {
            modes: mode.map_or(defaults.modes, |modes| modes::read(modes, &mut self.problems)),
            node_credentials: node_credentials.map_or(defaults.node_credentials, |list| self.each(list, host_pattern)),
            hosts_dirs: hosts_dir
                .and_then(|path| self.one(path, non_empty))
                .map_or_else(Vec::new, |paths| pools::hosts_dirs(&paths, self.folder)),
            registries_conf: registries_conf
                .and_then(|path| self.one(path, non_empty))
                .map(|path| self.folder.join(path)),
            k3s: k3s_registries
                .and_then(|path| self.one(path, non_empty))
                .map(|path| pools::k3s_file(&path, disable_default_endpoint, self.folder)),
            node_pools: node_pools.map_or_else(Vec::new, |list| pools::read(list, self.folder, &mut self.problems)),
            default_runtimes: default_runtimes.map(|list| {
                let named: Vec<Vec<Runtime>> = self.each(list, |text| Runtime::named(&text));
                named.concat()
            }),
            user_agent: user_agent.and_then(|text| self.one(text, |text| values::user_agent(&text))),
            docker_config: docker_config
                .and_then(|path| self.one(path, non_empty))
                .map(|path| self.folder.join(path)),
            credential_providers: self.credential_providers(credential_providers),
            network_allow: network
                .and_then(|network| network.allow)
                .map_or_else(Vec::new, |list| self.each(list, |text| values::cidr(&text))),
            proxy: self.proxy(proxy),
            secret_access: match secrets.and_then(|secrets| secrets.access) {
                None | Some(file::Access::Get) => SecretAccess::Get,
                Some(file::Access::Cluster) => SecretAccess::Cluster,
                Some(file::Access::Namespaces) => SecretAccess::Namespaces,
                Some(file::Access::None) => SecretAccess::None,
            },
            depth: match depth {
                None | Some(file::Depth::Manifest) => Depth::Manifest,
                Some(file::Depth::Config) => Depth::Config,
                Some(file::Depth::Layers) => Depth::Layers,
            },
            default_platforms: default_platforms.map(|list| self.each(list, |text| Platform::parse(&text))),
            exempt_annotations: exempt_annotations.map_or_else(Vec::new, |list| self.each(list, annotation)),
            assume_always_pull: assume_always_pull.unwrap_or(defaults.assume_always_pull),
            presence_rule: match nodes.and_then(|nodes| nodes.presence) {
                None | Some(file::Presence::Soften) => PresenceRule::Soften,
                Some(file::Presence::Hide) => PresenceRule::Hide,
            },
            cache: Cache {
                max_bytes: max_bytes
                    .and_then(|text| self.one(text, |text| values::bytes(&text)))
                    .unwrap_or(defaults.cache.max_bytes),
                max_stale: max_stale
                    .and_then(|text| self.one(text, |text| values::duration(&text)))
                    .unwrap_or(defaults.cache.max_stale),
            },
            rewrites: rewrites.map_or_else(Vec::new, |list| {
                list.into_iter().filter_map(|rule| self.rewrite(rule)).collect()
            }),
            workloads: workloads.map_or_else(Vec::new, |list| workloads::read(list, &mut self.problems)),
            log_level: log.and_then(|log| log.level).map(|level| match level {
                file::Level::Error => Level::Error,
                file::Level::Warn => Level::Warn,
                file::Level::Info => Level::Info,
                file::Level::Debug => Level::Debug,
                file::Level::Trace => Level::Trace,
            }),
            events: match events {
                None | Some(file::Events::All) => EventFilter::All,
                Some(file::Events::Denied) => EventFilter::Denied,
                Some(file::Events::None) => EventFilter::None,
            },
        }
    }

    /// The value of `text`, or a problem at its position.
    fn one<T>(&mut self, text: Spanned<String>, read: impl Fn(String) -> Result<T, String>) -> Option<T> {
        let place = text.referenced;
        match read(text.value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problems.push(Problem::at(place, why));
                None
            }
        }
    }

    fn each<T>(&mut self, list: Vec<Spanned<String>>, read: impl Fn(String) -> Result<T, String>) -> Vec<T> {
        list.into_iter().filter_map(|text| self.one(text, &read)).collect()
    }

    fn credential_providers(&mut self, providers: Option<Spanned<file::CredentialProviders>>) -> Option<CredentialProviders> {
        let file::CredentialProviders { config, bin_dir } = providers?.value;
        let (config, bin_dir) = (self.one(config, non_empty), self.one(bin_dir, non_empty));
        Some(CredentialProviders {
            config: self.folder.join(config?),
            bin_dir: self.folder.join(bin_dir?),
        })
    }

    fn rewrite(&mut self, rule: file::Rewrite) -> Option<Rewrite> {
        let file::Rewrite { pattern, to } = rule;
        let Some(pattern) = self.one(pattern, |text| Pattern::parse(&text)) else {
            // Without a valid pattern, the name can still be checked.
            self.one(to, |to| Pattern::parse(&to));
            return None;
        };
        self.one(to, |to| Rewrite::new(pattern.clone(), &to))
    }

    fn proxy(&mut self, proxy: Option<Spanned<file::Proxy>>) -> Option<Proxy> {
        let file::Proxy { https, no_proxy } = proxy?.value;
        let direct: Vec<String> = self.each(no_proxy.unwrap_or_default(), no_proxy_entry);
        // The URL is not repeated in a problem: it may contain a password.
        self.one(https?, |text| {
            if text.contains("://") {
                Proxy::new(&text, &direct)
            } else {
                Err("a proxy's URL begins with http:// or https:// and names a host".to_owned())
            }
        })
    }
}

fn non_empty(text: String) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("must not be empty".to_owned())
    } else {
        Ok(text)
    }
}

/// A pattern in the format of the kubelet's `matchImages`: a host with `*` in its labels, a port, a path; no scheme.
fn host_pattern(text: String) -> Result<String, String> {
    let text = non_empty(text)?;
    if text.contains("://") {
        return Err(format!("{text:?} has a scheme; write the host alone"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{text:?} contains white space"));
    }
    Ok(text)
}

/// An entry of `noProxy`. Programs that read `NO_PROXY` ignore meaningless entries; here they are errors.
fn no_proxy_entry(text: String) -> Result<String, String> {
    let text = host_pattern(text)?;
    if Proxy::is_exception(&text) {
        Ok(text)
    } else {
        Err(format!(
            "{text:?} matches nothing; write a domain, an address, a range (10.0.0.0/8) or *, with or without a port"
        ))
    }
}

/// `key`, or `key=value` for that value only.
fn annotation(text: String) -> Result<String, String> {
    let key = text.split_once('=').map_or(text.as_str(), |(key, _)| key);
    if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{text:?} is neither an annotation's name nor name=value"));
    }
    Ok(text)
}
