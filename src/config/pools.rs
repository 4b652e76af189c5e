//! `nodePools`: groups of nodes with their own registry configuration.

use super::file;
use super::problem::Problem;
use crate::registry::{K3sFile, PoolFiles};
use crate::runtime::containerd::k3s::DefaultEndpoint;
use crate::workload::selector::{NodeSelector, Requirement};
use std::path::{Path, PathBuf};

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePool {
    /// To show to users.
    pub name: String,
    /// Its nodes, without those of the pools before it.
    pub selector: NodeSelector,
    /// How they reach registries.
    pub registries: PoolRegistries,
}

impl NodePool {
    /// Its files.
    pub(super) fn files(&self) -> PoolFiles {
        let mut files = PoolFiles {
            name: self.name.clone(),
            ..PoolFiles::default()
        };
        match &self.registries {
            PoolRegistries::HostsDirs(dirs) => files.hosts_dirs.clone_from(dirs),
            PoolRegistries::RegistriesConf(path) => files.registries_conf = Some(path.clone()),
            PoolRegistries::K3s(file) => files.k3s = Some(file.clone()),
        }
        files
    }
}

/// How the nodes of a pool reach registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolRegistries {
    /// By containerd's `hosts.toml` trees, the first that has a folder for a registry wins.
    HostsDirs(Vec<PathBuf>),
    /// By CRI-O's `registries.conf`: the file, or a folder laid out as the nodes have it.
    RegistriesConf(PathBuf),
    /// By the `registries.yaml` of k3s or RKE2.
    K3s(K3sFile),
}

/// Checks the list; problems are added to `problems`. Relative paths start at `folder`.
pub(super) fn read(list: Vec<file::NodePool>, folder: &Path, problems: &mut Vec<Problem>) -> Vec<NodePool> {
    let mut pools: Vec<NodePool> = Vec::new();
    for written in list {
        let file::NodePool {
            name,
            selector: written_selector,
            registries,
        } = written;
        let selector = match selector(written_selector.value) {
            Ok(selector) => selector,
            Err(why) => {
                problems.push(Problem::at(written_selector.referenced, why));
                continue;
            }
        };
        let (named_at, name) = match name {
            Some(name) => (name.referenced, name.value.trim().to_owned()),
            None => (written_selector.referenced, selector.to_string()),
        };
        if name.is_empty() || name.contains(char::is_control) {
            problems.push(Problem::at(
                named_at,
                "a pool's name must not be empty, and has no control characters",
            ));
        } else if pools.iter().any(|other| other.name == name) {
            problems.push(Problem::at(named_at, format!("two pools are called {name:?}")));
        }
        let place = registries.referenced;
        match self::registries(registries.value, folder) {
            Ok(registries) => pools.push(NodePool {
                name,
                selector,
                registries,
            }),
            Err(why) => problems.push(Problem::at(place, why)),
        }
    }
    pools
}

fn selector(written: file::Selector) -> Result<NodeSelector, String> {
    let file::Selector {
        match_labels,
        match_expressions,
        labels,
    } = written;
    let labels = match_labels.into_iter().flatten().chain(labels);
    let mut requirements: Vec<Requirement> = labels
        .map(|(key, value)| Requirement {
            key,
            operator: "In".to_owned(),
            values: vec![value],
        })
        .collect();
    for file::Requirement { key, operator, values } in match_expressions.into_iter().flatten() {
        let values = values.unwrap_or_default();
        let (operator, wants) = match operator {
            file::Operator::In => ("In", true),
            file::Operator::NotIn => ("NotIn", true),
            file::Operator::Exists => ("Exists", false),
            file::Operator::DoesNotExist => ("DoesNotExist", false),
        };
        match (wants, values.is_empty()) {
            (true, true) => return Err(format!("{operator} on {key:?} needs values")),
            (false, false) => return Err(format!("{operator} on {key:?} takes no values")),
            (true, false) | (false, true) => {}
        }
        requirements.push(Requirement {
            key,
            operator: operator.to_owned(),
            values,
        });
    }
    if requirements.is_empty() {
        return Err("a pool needs a selector with at least one label; settings for every node belong in registries".to_owned());
    }
    Ok(NodeSelector(requirements))
}

fn registries(written: file::PoolRegistries, folder: &Path) -> Result<PoolRegistries, String> {
    let file::PoolRegistries {
        hosts_dir,
        registries_conf,
        k3s_registries,
        disable_default_endpoint,
    } = written;
    let given = |path: Option<serde_saphyr::Spanned<String>>| path.map(|path| path.value).filter(|path| !path.trim().is_empty());
    if disable_default_endpoint.is_some() && k3s_registries.is_none() {
        return Err(NEEDS_K3S_REGISTRIES.to_owned());
    }
    match (given(hosts_dir), given(registries_conf), given(k3s_registries)) {
        (Some(paths), None, None) => Ok(PoolRegistries::HostsDirs(hosts_dirs(&paths, folder))),
        (None, Some(path), None) => Ok(PoolRegistries::RegistriesConf(folder.join(path))),
        (None, None, Some(path)) => Ok(PoolRegistries::K3s(k3s_file(&path, disable_default_endpoint, folder))),
        _ => Err("a pool needs one of hostsDir, registriesConf and k3sRegistries".to_owned()),
    }
}

/// The problem of a `disableDefaultEndpoint` without `k3sRegistries`.
pub(super) const NEEDS_K3S_REGISTRIES: &str = "disableDefaultEndpoint belongs to k3sRegistries";

/// A `registries.yaml`, and the setting that belongs to it.
pub(super) fn k3s_file(path: &str, disable_default_endpoint: Option<bool>, folder: &Path) -> K3sFile {
    K3sFile {
        path: folder.join(path),
        default_endpoint: match disable_default_endpoint {
            Some(true) => DefaultEndpoint::Disabled,
            Some(false) | None => DefaultEndpoint::Asked,
        },
    }
}

/// Several are separated by `:`, as in containerd's own `config_path`.
pub(super) fn hosts_dirs(paths: &str, folder: &Path) -> Vec<PathBuf> {
    let given = paths.split(':').map(str::trim).filter(|path| !path.is_empty());
    given.map(|path| folder.join(path)).collect()
}
