//! What nodes are told about registries, pool by pool.

use super::crio::{self, Crio};
use super::host_settings::HostSettingsTable;
use super::nodes::{self, Nodes};
use super::vault::Vault;
use super::{PoolFiles, RegistrySettings, SetupError};
use crate::credentials::{Credential, parse_docker_config};
use crate::image::Reference;
use crate::runtime::containerd::peers::Shared;
use crate::runtime::crio::node::NodeSettings;
use crate::runtime::crio::openshift::{GlobalPullSecret, OperatorConfig};
use crate::runtime::{NodeConfig, NodeConfigs, Pool};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// All pools: first the nodes of none, then each in its order.
pub(super) struct NodeFiles {
    all: Vec<Files>,
    /// The configuration of CRI-O nodes by the cluster's own objects, if no file gives it.
    openshift: RwLock<Option<Arc<Crio>>>,
    /// What OpenShift's kubelets log in with, beside the pods' own.
    logins: RwLock<NodeLogins>,
    settings_table: Arc<HostSettingsTable>,
}

/// What kubelets log in with, beside the pods' own credentials.
#[derive(Debug, Clone, Default)]
pub enum NodeLogins {
    /// Nothing more than the settings say.
    #[default]
    None,
    /// These too, by the keys of a docker config.
    These(Arc<Vec<(String, Credential)>>),
    /// Something that is not known, for any registry.
    Unknown,
}

/// The configuration of the nodes of one pool.
struct Files {
    hosts: Option<Nodes>,
    crio: Option<Crio>,
}

impl NodeFiles {
    /// Reads everything once. What nodes of no pool have must be sound: the error names file and line. A pool whose files are not is told to
    /// the log, and nothing is concluded of its nodes.
    pub(super) fn new(
        usual: PoolFiles,
        pools: Vec<PoolFiles>,
        settings_table: &Arc<HostSettingsTable>,
    ) -> Result<Self, SetupError> {
        let PoolFiles {
            hosts_dirs,
            registries_conf,
            k3s,
            name: _,
        } = usual;
        let usual = Files {
            hosts: match (hosts_dirs.as_slice(), k3s) {
                ([], None) => None,
                ([], Some(file)) => Some(Nodes::of_k3s(file, Arc::clone(settings_table))?),
                _ => Some(Nodes::new(hosts_dirs, Arc::clone(settings_table))?),
            },
            crio: registries_conf.map(|path| Crio::new(path, settings_table)).transpose()?,
        };
        let of_pool = |pool: PoolFiles| Files {
            hosts: match (pool.hosts_dirs.as_slice(), pool.k3s) {
                ([], None) => None,
                ([], Some(file)) => Some(Nodes::of_k3s_pool(&pool.name, file, Arc::clone(settings_table))),
                _ => Some(Nodes::of_pool(&pool.name, pool.hosts_dirs, Arc::clone(settings_table))),
            },
            crio: pool
                .registries_conf
                .map(|path| Crio::of_pool(&pool.name, path, settings_table)),
        };
        Ok(Self {
            all: std::iter::once(usual).chain(pools.into_iter().map(of_pool)).collect(),
            openshift: RwLock::default(),
            logins: RwLock::default(),
            settings_table: Arc::clone(settings_table),
        })
    }

    /// Sets the configuration of CRI-O nodes, if no file gives it.
    pub(super) fn set_openshift(&self, config: Option<Result<OperatorConfig, String>>) {
        let secret = config
            .as_ref()
            .and_then(|config| config.as_ref().ok())
            .map(|config| &config.pull_secret);
        let logins = match secret {
            None | Some(GlobalPullSecret::None) => NodeLogins::None,
            Some(GlobalPullSecret::Hidden) => NodeLogins::Unknown,
            Some(GlobalPullSecret::Known(json)) => {
                parse_docker_config(json.bytes()).map_or(NodeLogins::Unknown, |entries| NodeLogins::These(Arc::new(entries)))
            }
        };
        *self.logins.write().unwrap_or_else(PoisonError::into_inner) = logins;
        let crio = config.map(|config| Arc::new(Crio::by_openshift(config, &self.settings_table)));
        *self.openshift.write().unwrap_or_else(PoisonError::into_inner) = crio;
    }

    /// What OpenShift's kubelets log in with, beside the pods' own.
    pub(super) fn logins(&self) -> NodeLogins {
        self.logins.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn by_openshift(&self, reference: &Reference, namespace: &str, vault: &Vault) -> NodeConfig {
        let crio = self.openshift.read().unwrap_or_else(PoisonError::into_inner).clone();
        match crio {
            Some(crio) => crio.config(reference, namespace, vault).await,
            None => NodeConfig::Default,
        }
    }

    /// The configuration of nodes with CRI-O by pool, where it is known.
    pub(super) async fn registries_conf(&self) -> BTreeMap<Pool, Arc<NodeSettings>> {
        let mut all = BTreeMap::new();
        let by_openshift = self.openshift.read().unwrap_or_else(PoisonError::into_inner).clone();
        let usual = self.all.first().and_then(|files| files.crio.as_ref());
        for (at, files) in self.all.iter().enumerate() {
            let Some(crio) = files.crio.as_ref().or(usual).or(by_openshift.as_deref()) else {
                continue;
            };
            if let (Some(settings), Ok(at)) = (crio.settings().await, u16::try_from(at)) {
                all.insert(Pool(at), settings);
            }
        }
        all
    }

    /// The registries whose images nodes of k3s give each other, pool by pool, where it is known.
    pub(super) async fn shared(&self) -> BTreeMap<Pool, Arc<Shared>> {
        let mut all = BTreeMap::new();
        let usual = self.all.first().and_then(|files| files.hosts.as_ref());
        for (at, files) in self.all.iter().enumerate() {
            let Some(hosts) = files.hosts.as_ref().or(usual) else {
                continue;
            };
            if let (Some(shared), Ok(at)) = (hosts.shared().await, u16::try_from(at)) {
                all.insert(Pool(at), shared);
            }
        }
        all
    }

    /// The configuration of the nodes of a pool for an image of a pod in this namespace, as of now.
    pub(super) async fn configs(&self, pool: Pool, reference: &Reference, namespace: &str, vault: &Vault) -> NodeConfigs {
        let (own, usual) = (self.all.get(usize::from(pool.0)), self.all.first());
        let hosts = own.and_then(|files| files.hosts.as_ref());
        let crio = own.and_then(|files| files.crio.as_ref());
        NodeConfigs {
            containerd: match hosts.or(usual.and_then(|files| files.hosts.as_ref())) {
                Some(hosts) => hosts.config(reference.registry(), vault).await,
                None => NodeConfig::Default,
            },
            containerd_from: match hosts.or(usual.and_then(|files| files.hosts.as_ref())) {
                Some(hosts) => hosts.from(reference.registry()).await,
                None => None,
            },
            crio: match crio.or(usual.and_then(|files| files.crio.as_ref())) {
                Some(crio) => crio.config(reference, namespace, vault).await,
                None => self.by_openshift(reference, namespace, vault).await,
            },
        }
    }
}

/// Everything that is wrong in the nodes' files that the settings name, and what nodes pass over in them: file, line, column and why.
pub fn faults(settings: &RegistrySettings) -> Vec<String> {
    let usual = PoolFiles {
        hosts_dirs: settings.hosts_dirs.clone(),
        registries_conf: settings.registries_conf.clone(),
        k3s: settings.k3s.clone(),
        name: String::new(),
    };
    let mut faults = Vec::new();
    for files in std::iter::once(&usual).chain(&settings.pools) {
        faults.extend(files.hosts_dirs.iter().flat_map(|root| nodes::problems(root)));
        faults.extend(files.registries_conf.iter().flat_map(|path| crio::problems(path)));
        faults.extend(files.k3s.iter().flat_map(nodes::k3s_problems));
    }
    faults.dedup();
    faults
}

#[cfg(test)]
#[path = "node_files_tests.rs"]
mod tests;
