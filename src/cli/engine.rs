//! Builds the engine of a command from the settings.

use crate::cluster::{CertificateClient, Cluster, ConnectError, ObjectNames, Options, SecretReading};
use crate::config::{CredentialProviders, Frontend, NodePool, PoolRegistries, SecretAccess, Settings};
use crate::credentials::helper::Helpers;
use crate::credentials::provider::parse_provider_config;
use crate::credentials::{Credential, ParseError, parse_docker_config, parse_user_config};
use crate::engine::Engine;
use crate::engine::LookUps;
use crate::files;
use crate::image::escape;
use crate::limits;
use crate::plan::pools::Kind;
use crate::plan::{self, Admission, AlwaysPull, Platforms, Runtimes};
use crate::providers::Providers;
use crate::telemetry::Metrics;
use crate::workload::Kinds;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Builds the registry client, the providers and the plan's settings.
pub(super) fn build(settings: &Settings, frontend: Frontend, admission: Admission, metrics: &Metrics) -> anyhow::Result<Engine> {
    let registry = LookUps::new(settings.registry(frontend), metrics.clone())?;
    build_around(registry, settings, admission, metrics)
}

/// The same with an existing registry client, which keeps its caches.
pub(super) fn build_around(
    registry: LookUps,
    settings: &Settings,
    admission: Admission,
    metrics: &Metrics,
) -> anyhow::Result<Engine> {
    let docker_config = match &settings.docker_config {
        Some(file) => Arc::new(node_docker_config(file).context("registries.dockerConfig")?),
        None => Arc::default(),
    };
    let providers = match &settings.credential_providers {
        Some(providers) => credential_providers(providers, metrics).context("registries.credentialProviders")?,
        None => Providers::default(),
    };
    Ok(Engine {
        registry,
        providers,
        settings: plan::PlanSettings {
            node_credentials: settings.node_credentials.iter().collect(),
            platforms: match &settings.default_platforms {
                Some(platforms) => Platforms::Default(platforms.clone()),
                None => Platforms::Guess,
            },
            runtimes: match &settings.default_runtimes {
                Some(runtimes) => Runtimes::Default(runtimes.clone()),
                None => Runtimes::Guess,
            },
            pools: pools(settings).into(),
            registries_conf: BTreeMap::new(),
            shared: BTreeMap::new(),
            assume_always_pull: if settings.assume_always_pull {
                AlwaysPull::Assumed
            } else {
                AlwaysPull::AsWritten
            },
            docker_config,
            stand_in: Arc::default(),
            admission,
            exempt_annotations: settings.exempt_annotations.clone(),
            kinds: Arc::new(Kinds::with(&settings.workloads)),
            depth: settings.depth,
            rewrites: settings.rewrites.clone(),
            presence_rule: settings.presence_rule,
            modes: settings.modes.clone(),
        },
    })
}

/// The pools, as the plan knows them.
pub(super) fn pools(settings: &Settings) -> Vec<plan::NodePool> {
    let pool = |pool: &NodePool| plan::NodePool {
        name: Arc::from(pool.name.as_str()),
        selector: pool.selector.clone(),
        runtime: match pool.registries {
            PoolRegistries::RegistriesConf(_) => Kind::Crio,
            PoolRegistries::HostsDirs(_) | PoolRegistries::K3s(_) => Kind::Containerd,
        },
    };
    settings.node_pools.iter().map(pool).collect()
}

/// Connects to a cluster; does not wait for it.
pub(super) async fn connect(kubeconfig: Option<PathBuf>, context: Option<String>, settings: &Settings) -> anyhow::Result<Cluster> {
    let secrets = match settings.secret_access {
        SecretAccess::Cluster => SecretReading::Cluster,
        SecretAccess::None => SecretReading::None,
        // By name in both cases; where there is no Role, the API server refuses.
        SecretAccess::Get | SecretAccess::Namespaces => SecretReading::Get,
    };
    let options = Options {
        kubeconfig,
        context,
        secrets,
    };
    Cluster::connect(&options).await.map_err(|error| no_cluster(&error))
}

/// The client for certificates kept in the cluster; does not wait for the API server.
pub(super) async fn certificate_client(kubeconfig: Option<PathBuf>, names: ObjectNames) -> anyhow::Result<CertificateClient> {
    let options = Options {
        kubeconfig,
        ..Options::default()
    };
    CertificateClient::connect(&options, names)
        .await
        .map_err(|error| no_cluster(&error))
}

fn no_cluster(error: &ConnectError) -> anyhow::Error {
    tracing::debug!(?error, "cannot connect to a cluster");
    anyhow::anyhow!("{error}")
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    files::read_or_pipe(file, limits::SETTINGS_FILE).with_context(|| format!("{} cannot be read", file.display()))
}

/// The kubelet's `CredentialProviderConfig`, with its plugins.
fn credential_providers(settings: &CredentialProviders, metrics: &Metrics) -> anyhow::Result<Providers> {
    let CredentialProviders { config, bin_dir } = settings;
    let bytes = read(config)?;
    let wrong = |why: String| anyhow::anyhow!("{}: {why}", config.display());
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8 text".to_owned()))?;
    let providers = parse_provider_config(text).map_err(|all| wrong(all.join("; ")))?;
    Ok(Providers::default().with_plugins(providers, bin_dir, metrics.clone())?)
}

/// A docker `config.json` of a node: read as the kubelet reads it, without helpers and identity tokens.
fn node_docker_config(file: &Path) -> anyhow::Result<Vec<(String, Credential)>> {
    parse_docker_config(&read(file)?).map_err(|error| refused(file, error))
}

fn refused(file: &Path, ParseError { text, entry }: ParseError) -> anyhow::Error {
    let entry = entry.map_or_else(String::new, |entry| format!(" (entry \"{}\")", escape(&entry)));
    anyhow::anyhow!("{}: {}{entry}", file.display(), escape(&text))
}

/// A user's docker config: its `auths`, and the helpers for everything else.
#[derive(Debug, Default)]
pub(super) struct UserConfig {
    /// Credentials by key.
    pub(super) entries: Vec<(String, Credential)>,
    /// The credential helpers.
    pub(super) helpers: Helpers,
    /// What could not be read of it, a sentence each.
    pub(super) ignored: Vec<String>,
}

impl UserConfig {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = read(file)?;
        Ok(Self {
            entries: parse_user_config(&bytes).map_err(|error| refused(file, error))?,
            helpers: Helpers::parse(&bytes),
            ignored: Vec::new(),
        })
    }

    /// The docker config in a folder; like docker, accepts that there is none.
    pub(super) fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("config.json");
        if file.exists() {
            return Self::read(&file);
        }
        anyhow::ensure!(folder.is_dir(), "--docker-config: {} is not a folder", folder.display());
        Ok(Self::default())
    }

    /// This user's logins, if any: what `DOCKER_AUTH_CONFIG` holds comes first, as for docker; `REGISTRY_AUTH_FILE` takes the place of
    /// docker's own file, as for podman and skopeo. What cannot be read is ignored, and listed in `ignored`.
    pub(super) fn usual(folder: Option<PathBuf>, auth_file: Option<PathBuf>, held: Option<OsString>) -> Self {
        let ignored = |error: anyhow::Error| vec![format!("{error:#}; it is ignored")];
        let file = auth_file.or_else(|| folder.map(|folder| folder.join("config.json")));
        let mut usual = match file.filter(|file| file.is_file()) {
            Some(file) => Self::read(&file).unwrap_or_else(|error| Self {
                ignored: ignored(error),
                ..Self::default()
            }),
            None => Self::default(),
        };
        if let Some(held) = held.filter(|held| !held.is_empty()) {
            let parsed = parse_user_config(held.as_encoded_bytes());
            let mut entries = parsed.unwrap_or_else(|error| {
                usual.ignored.extend(ignored(refused(Path::new("DOCKER_AUTH_CONFIG"), error)));
                Vec::new()
            });
            entries.append(&mut usual.entries);
            usual.entries = entries;
            if usual.helpers == Helpers::default() {
                usual.helpers = Helpers::parse(held.as_encoded_bytes());
            }
        }
        usual
    }

    /// Whether there is a login in it.
    pub(super) fn has_login(&self) -> bool {
        !self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_config_is_read_as_docker_reads_it_and_a_nodes_as_the_kubelet_does() {
        let json = br#"{"auths": {"a.io": {"auth": "dTpw"}, "b.io": {}, "c.io": {"identitytoken": "t"}}, "credsStore": "pass"}"#;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, json).unwrap();
        let keys = |entries: &[(String, Credential)]| entries.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        let user = UserConfig::of_folder(folder.path()).unwrap();
        assert_eq!(
            keys(&user.entries),
            ["a.io", "c.io"],
            "docker leaves an empty entry where a helper holds the password"
        );
        assert_eq!(user.entries[1].1.identity_token.expose(), "t");
        assert!(user.helpers.call("b.io").is_some());

        let node = node_docker_config(&file).unwrap();
        assert_eq!(
            keys(&node),
            ["a.io", "b.io", "c.io"],
            "an empty entry is a credential to the kubelet"
        );
        assert!(node[2].1.is_anonymous(), "which knows no identity tokens");

        std::fs::write(&file, "[]").unwrap();
        assert!(UserConfig::of_folder(folder.path()).is_err());
        assert!(
            UserConfig::usual(Some(folder.path().to_owned()), None, None)
                .entries
                .is_empty()
        );
        let broken = UserConfig::usual(None, Some(file.clone()), Some(OsString::from("{")));
        let [of_file, of_variable] = &broken.ignored[..] else {
            panic!("{:?}", broken.ignored)
        };
        assert!(
            of_file.contains("config.json: ") && of_file.ends_with("it is ignored"),
            "{of_file}"
        );
        assert!(of_variable.starts_with("DOCKER_AUTH_CONFIG: "), "{of_variable}");
        let held = OsString::from(r#"{"auths": {"d.io": {"auth": "dTpw"}}}"#);
        std::fs::write(&file, json).unwrap();
        let usual = UserConfig::usual(None, Some(file.clone()), Some(held));
        assert_eq!(keys(&usual.entries), ["d.io", "a.io", "c.io"]);
        let held = OsString::from(r#"{"auths": {"e.io": {"auth": "dTpw", "identitytoken": "t"}}, "credsStore": "pass"}"#);
        let usual = UserConfig::usual(None, None, Some(held));
        assert!(usual.helpers.call("b.io").is_some(), "as GitLab has it");
        let [(_, token), (_, password)] = &usual.entries[..] else {
            panic!("{:?}", keys(&usual.entries))
        };
        assert!(
            token.username.is_empty() && token.identity_token.expose() == "t",
            "the token goes first"
        );
        assert_eq!(password.password.expose(), "p");
        assert!(UserConfig::of_folder(&file).is_err(), "a file is no folder");
    }
}
