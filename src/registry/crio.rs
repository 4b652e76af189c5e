//! CRI-O's settings for registries, as they are on the nodes: `registries.conf` alone, or a folder laid out as the nodes have it.
//!
//! The files are read again when a look-up needs them and a second has passed. As long as the bytes are the same, so is the configuration.
//! Files that CRI-O would refuse change nothing, as in a running CRI-O: the last good ones stay in force.

mod crio_conf;
mod folder;
pub(super) mod show;

use super::SetupError;
use super::clients::{TlsTrust, Verification};
use super::host_settings::{HostSettings, HostSettingsTable, WrittenHost};
use super::vault::Vault;
use crate::credentials::Credential;
use crate::image::Reference;
use crate::runtime::NodeConfig;
use crate::runtime::containerd::hosts::{Schemes, Server, contacted};
use crate::runtime::crio::auth::NodeAuth;
use crate::runtime::crio::node::{HostTrust, NodeSettings};
use crate::runtime::crio::openshift::{GlobalPullSecret, OperatorConfig};
use crate::runtime::crio::policy::Policy;
use crate::runtime::request::HostSettingsId;
use folder::{Certificates, Folder, Parsed};
use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the files that were read are believed.
const RECHECK: Duration = Duration::from_secs(1);

/// The files of some nodes.
pub(super) struct Crio {
    path: PathBuf,
    settings_table: Arc<HostSettingsTable>,
    known: Mutex<Known>,
}

/// The files that were read, and when.
#[derive(Clone)]
struct Known {
    at: Instant,
    id: [u8; 32],
    read: Result<Arc<Good>, Arc<str>>,
}

/// Files that can be used.
struct Good {
    /// For pods of a namespace that has no files of its own.
    settings: Arc<NodeSettings>,
    policies: BTreeMap<String, Arc<Policy>>,
    auths: BTreeMap<String, Arc<NodeAuth>>,
    /// Those that the settings speak of, for whoever sends them.
    credentials: Vec<Credential>,
    host_settings: Vec<(HostSettingsId, Arc<HostSettings>)>,
}

impl Crio {
    /// Reads them once. The error names file, line and column.
    pub(super) fn new(path: PathBuf, settings_table: &Arc<HostSettingsTable>) -> Result<Self, SetupError> {
        let folder = Folder::read(&path);
        match folder.parse() {
            Ok(parsed) => Ok(Self::with(
                path,
                folder.id,
                Ok(Good::of(parsed, settings_table)),
                settings_table,
            )),
            Err(problems) => Err(SetupError(problems.join("\n"))),
        }
    }

    /// What OpenShift's objects say, or why that is not known. No file is read.
    pub(super) fn by_openshift(config: Result<OperatorConfig, String>, settings_table: &Arc<HostSettingsTable>) -> Self {
        let read = config.map_err(Arc::from).map(|config| {
            let policy = config.policy.and_then(|policy| serde_json::from_value::<Policy>(policy).ok());
            let (auth, credentials) = match &config.pull_secret {
                GlobalPullSecret::Known(json) => NodeAuth::parse(json.bytes()).unwrap_or_else(|why| {
                    tracing::warn!(why, "the cluster's global pull secret cannot be used");
                    Default::default()
                }),
                GlobalPullSecret::None | GlobalPullSecret::Hidden => Default::default(),
            };
            let certificates = config.certificates.into_iter().map(|(host, pem)| {
                let certificates = Certificates {
                    roots: vec![pem.into_bytes()],
                    identity: None,
                };
                (host, Ok(certificates))
            });
            let parsed = Parsed {
                registries: config.conf,
                policy: policy.map(Arc::new),
                auth: Arc::new(auth),
                credentials,
                certificates: certificates.collect(),
                ..Parsed::default()
            };
            Good::of(parsed, settings_table)
        });
        Self::with(PathBuf::new(), [0; 32], read, settings_table)
    }

    /// The same for the nodes of a pool: broken files are logged, and nothing is concluded from them.
    pub(super) fn of_pool(name: &str, path: PathBuf, settings_table: &Arc<HostSettingsTable>) -> Self {
        let folder = Folder::read(&path);
        let read = folder
            .parse()
            .map(|parsed| Good::of(parsed, settings_table))
            .map_err(|problems| {
                for why in &problems {
                    tracing::warn!(
                        pool = name,
                        why,
                        "a pool's settings cannot be used; whether its nodes pull is not known"
                    );
                }
                Arc::from(problems.join("; "))
            });
        Self::with(path, folder.id, read, settings_table)
    }

    fn with(path: PathBuf, id: [u8; 32], read: Result<Good, Arc<str>>, settings_table: &Arc<HostSettingsTable>) -> Self {
        let (at, read) = (Instant::now(), read.map(Arc::new));
        Self {
            path,
            settings_table: Arc::clone(settings_table),
            known: Mutex::new(Known { at, id, read }),
        }
    }

    /// What the files say at this moment about an image of a pod of this namespace.
    pub(super) async fn config(&self, reference: &Reference, namespace: &str, vault: &Vault) -> NodeConfig {
        match self.read().await {
            Ok(good) => {
                for credential in &good.credentials {
                    vault.knows(credential);
                }
                for (id, host_settings) in &good.host_settings {
                    self.settings_table.keep(*id, host_settings);
                }
                NodeConfig::Crio(good.of_namespace(reference, namespace))
            }
            Err(why) => NodeConfig::Unreadable(why),
        }
    }

    /// What they say about every image, whatever the namespace; `None` where they cannot be used.
    pub(super) async fn settings(&self) -> Option<Arc<NodeSettings>> {
        self.read().await.ok().map(|good| Arc::clone(&good.settings))
    }

    async fn read(&self) -> Result<Arc<Good>, Arc<str>> {
        let mut known = self.known.lock().await;
        let no_file = self.path.as_os_str().is_empty();
        if no_file || known.at.elapsed() < RECHECK {
            return known.read.clone();
        }
        let (path, settings_table, old) = (self.path.clone(), Arc::clone(&self.settings_table), known.clone());
        let read = tokio::task::spawn_blocking(move || {
            let folder = Folder::read(&path);
            if folder.id == old.id {
                return old;
            }
            let read = match folder.parse() {
                Ok(parsed) => {
                    tracing::info!(path = %path.display(), "the settings of CRI-O nodes have changed and are now in force");
                    Ok(Arc::new(Good::of(parsed, &settings_table)))
                }
                Err(problems) => {
                    for why in &problems {
                        tracing::warn!(
                            why,
                            "the changed settings of CRI-O nodes cannot be used; the last good ones stay in force"
                        );
                    }
                    old.read.map_err(|_| Arc::from(problems.join("; ")))
                }
            };
            Known {
                id: folder.id,
                read,
                ..old
            }
        });
        if let Ok(read) = read.await {
            *known = read;
        }
        known.at = Instant::now();
        known.read.clone()
    }
}

/// What is wrong in the files of a node, and what its CRI-O ignores or fails on, with places.
pub(super) fn problems(path: &Path) -> Vec<String> {
    let folder = Folder::read(path);
    match folder.parse() {
        Ok(parsed) => folder.notes(&parsed),
        Err(problems) => problems,
    }
}

impl Good {
    fn of(parsed: Parsed, all: &HostSettingsTable) -> Self {
        let Parsed {
            registries,
            policy,
            policies,
            auth,
            auths,
            credentials,
            mut certificates,
            files,
        } = parsed;
        // Every host that an admin has written may live at a private address.
        let host = |location: &str| location.split('/').next().unwrap_or_default().to_owned();
        let mut named: BTreeSet<String> = certificates.keys().cloned().collect();
        for registry in &registries.registries {
            named.insert(host(&registry.location));
            named.extend(registry.mirrors.iter().map(|mirror| host(&mirror.location)));
        }
        named.extend(registries.search.iter().cloned());
        named.extend(registries.aliases.values().map(|name| host(name)));
        let mut in_use = Vec::new();
        let mut hosts = BTreeMap::new();
        for name in named.into_iter().filter(|name| !name.is_empty()) {
            let certificates = certificates.remove(&name).unwrap_or_else(|| Ok(Certificates::default()));
            let mut register = |certificates: &Certificates, insecure: bool| {
                let (id, host_settings) = host_settings(&name, certificates, insecure, all)?;
                in_use.push((id, host_settings));
                Ok::<_, String>(id)
            };
            let both = certificates.and_then(|certificates| Ok((register(&certificates, false)?, register(&certificates, true)?)));
            let host = match both {
                Ok((secure, insecure)) => HostTrust {
                    secure,
                    insecure,
                    broken: None,
                },
                Err(why) => {
                    tracing::warn!(
                        registry.host = name.escape_debug().to_string(),
                        why,
                        "the certificates of a registry cannot be used"
                    );
                    HostTrust {
                        broken: Some(Arc::from(why)),
                        ..HostTrust::default()
                    }
                }
            };
            hosts.insert(name, host);
        }
        Self {
            settings: Arc::new(NodeSettings {
                registries,
                hosts,
                policy,
                auth,
                files,
            }),
            policies,
            auths,
            credentials,
            host_settings: in_use,
        }
    }

    /// For the pods of a namespace: its own configuration replaces the one for all.
    fn of_namespace(&self, reference: &Reference, namespace: &str) -> Arc<NodeSettings> {
        let policy = self.policies.get(namespace);
        let auth = if self.auths.is_empty() {
            None
        } else {
            let mut key = format!("{namespace}-");
            for byte in Sha256::digest(reference.name()) {
                let _ = write!(key, "{byte:02x}");
            }
            self.auths.get(&key)
        };
        if policy.is_none() && auth.is_none() {
            return Arc::clone(&self.settings);
        }
        let mut own = NodeSettings::clone(&self.settings);
        own.policy = policy.cloned().or(own.policy);
        own.auth = auth.cloned().unwrap_or(own.auth);
        Arc::new(own)
    }
}

/// The settings for TLS with which a host is asked.
fn host_settings(
    host: &str,
    certificates: &Certificates,
    insecure: bool,
    all: &HostSettingsTable,
) -> Result<(HostSettingsId, Arc<HostSettings>), String> {
    let schemes = if insecure { Schemes::HttpsThenHttp } else { Schemes::Https };
    let server = Server::new(contacted(host), schemes, "/v2", None).ok_or("its name and port do not form an address")?;
    let special = insecure || !certificates.roots.is_empty() || certificates.identity.is_some();
    let tls = special.then(|| TlsTrust {
        verification: if insecure { Verification::None } else { Verification::Full },
        roots: certificates.roots.clone(),
        identity: certificates.identity.clone(),
        ..TlsTrust::default()
    });
    all.register(WrittenHost {
        server: &server,
        named: true,
        headers: HeaderMap::new(),
        tls,
    })
}
