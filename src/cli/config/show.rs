//! `pullgate config show`: how given nodes reach their registries.

use crate::cli::engine;
use crate::config::{Frontend, PoolRegistries, Settings};
use crate::image::escape;
use crate::plan::Runtimes;
use crate::plan::pools::usual_runtimes;
use crate::registry::{self, Row, Section};
use crate::runtime::crio::openshift::Objects;
use crate::runtime::{Pool, Runtime};
use crate::workload::Node;
use anyhow::bail;
use std::fmt::Write as _;

/// The way of a node, of a pool's nodes, or of nodes of no pool.
pub(super) fn text(
    node: Option<&str>,
    pool: Option<&str>,
    settings: &Settings,
    nodes: &[Node],
    openshift: Option<Objects>,
) -> anyhow::Result<String> {
    let of_pool = |node: &Node| place(settings.node_pools.iter().position(|pool| pool.selector.selects(node)));
    let (who, pool, runtimes) = match (node, pool) {
        (Some(name), _) => {
            let Some(node) = nodes.iter().find(|node| node.name == name) else {
                bail!(
                    "there is no node {name:?}{}",
                    among(nodes.iter().map(|node| node.name.as_str()))
                );
            };
            (format!("node {}", escape(name)), of_pool(node), vec![node.runtime.clone()])
        }
        (None, Some(name)) => {
            let Some(at) = settings.node_pools.iter().position(|pool| pool.name == name) else {
                let names = settings.node_pools.iter().map(|pool| pool.name.as_str());
                bail!("the settings have no node pool {name:?}{}", among(names));
            };
            let pool = place(Some(at));
            (
                format!("pool {}", escape(name)),
                pool,
                kinds(nodes, |node| of_pool(node) == pool),
            )
        }
        (None, None) => {
            let pool = Pool::default();
            (
                "nodes of no pool".to_owned(),
                pool,
                kinds(nodes, |node| of_pool(node) == pool),
            )
        }
    };
    let told = match openshift.filter(|_| settings.registries_conf.is_none()) {
        Some(objects) => match objects.told() {
            Ok(told) => Some(told),
            Err(why) => {
                bail!("the machine config operator refuses the registry settings of this cluster, and nodes keep older ones: {why}")
            }
        },
        None => None,
    };
    let files = settings.registry(Frontend::Check);
    let mut out = String::new();
    for (named, runtime) in by_runtime(&runtimes, pool, settings) {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{who}: {}, {named}", called(pool, settings, &who));
        let sections =
            registry::show(&files, pool, runtime, told.as_ref()).map_err(|faults| anyhow::anyhow!("{}", faults.join("\n")))?;
        write(&mut out, &sections);
    }
    write(&mut out, &[kubelet(settings)]);
    Ok(out)
}

fn place(at: Option<usize>) -> Pool {
    Pool(at.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or_default())
}

/// Some of the names, to choose from.
fn among<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SOME: usize = 10;
    let mut names: Vec<String> = names.map(escape).collect();
    names.sort();
    let more = names.len().saturating_sub(SOME);
    names.truncate(SOME);
    match (names.is_empty(), more) {
        (true, _) => ": none is known".to_owned(),
        (false, 0) => format!("; known: {}", names.join(", ")),
        (false, more) => format!("; known: {} and {more} more", names.join(", ")),
    }
}

/// What nodes say that they run, each once.
fn kinds(nodes: &[Node], wanted: impl Fn(&Node) -> bool) -> Vec<String> {
    let mut kinds: Vec<String> = nodes
        .iter()
        .filter(|node| wanted(node))
        .map(|node| node.runtime.clone())
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The runtimes, as people name them; where no node says it, by the settings.
fn by_runtime(said: &[String], pool: Pool, settings: &Settings) -> Vec<(String, Runtime)> {
    let known = said.iter().filter_map(|said| {
        let runtime = Runtime::of_node(said)?.into_iter().next()?;
        Some((escape(&said.replacen("://", " ", 1)), runtime))
    });
    let mut all: Vec<(String, Runtime)> = known.collect();
    if !all.is_empty() {
        return all;
    }
    let written = match &settings.default_runtimes {
        Some(runtimes) => Runtimes::Default(runtimes.clone()),
        None => Runtimes::Guess,
    };
    let pools = engine::pools(settings);
    let own = usize::from(pool.0).checked_sub(1).and_then(|at| pools.get(at));
    let runtimes = match own {
        Some(pool) => pool.runtimes(&written),
        None if settings.registries_conf.is_some() && settings.default_runtimes.is_none() => {
            let mut both = Runtime::unknown();
            both.extend(Runtime::usual_crio());
            both
        }
        None => usual_runtimes(&written),
    };
    for runtime in runtimes {
        let named = match runtime {
            Runtime::Containerd(_) => "containerd".to_owned(),
            Runtime::Crio(crio) => {
                let (major, minor, patch) = (crio.version.0, crio.version.1, crio.version.2);
                format!("CRI-O {major}.{minor}.{patch}")
            }
        };
        // One of a kind is enough: their files are the same.
        if !all.iter().any(|(other, _)| *other == named) {
            all.push((named, runtime));
        }
    }
    all
}

/// The pool, and where its way comes from.
fn called(pool: Pool, settings: &Settings, who: &str) -> String {
    let own = usize::from(pool.0).checked_sub(1).and_then(|at| settings.node_pools.get(at));
    let Some(own) = own else {
        return if who.starts_with("node ") {
            "of no pool"
        } else {
            "by registries"
        }
        .to_owned();
    };
    let files = match &own.registries {
        PoolRegistries::HostsDirs(dirs) => {
            let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            format!("hostsDir {}", dirs.join(":"))
        }
        PoolRegistries::RegistriesConf(path) => format!("registriesConf {}", path.display()),
        PoolRegistries::K3s(file) => format!("k3sRegistries {}", file.path.display()),
    };
    let selector = escape(&own.selector.to_string());
    if who.starts_with("node ") {
        format!("pool {} ({selector}), {files}", escape(&own.name))
    } else {
        format!("{selector}, {files}")
    }
}

/// Whose credentials "the pod's" are.
fn kubelet(settings: &Settings) -> Section {
    let row = |text: String| Row { text, at: None };
    let mut rows = vec![row(
        "1. the pull secrets of the pod and of its service account, by their entries for the image".to_owned(),
    )];
    if let Some(file) = &settings.docker_config {
        rows.push(Row {
            text: format!("{}. the node's docker config, by its entries for the image", rows.len() + 1),
            at: Some(file.display().to_string()),
        });
    }
    if let Some(providers) = &settings.credential_providers {
        rows.push(Row {
            text: format!(
                "{}. what the kubelet's credential providers give for the image",
                rows.len() + 1
            ),
            at: Some(providers.config.display().to_string()),
        });
    }
    if !settings.node_credentials.is_empty() {
        let patterns: Vec<String> = settings.node_credentials.iter().map(|pattern| escape(pattern)).collect();
        rows.push(row(format!(
            "not known here, for registries whose credentials nodes have themselves: {}",
            patterns.join(", ")
        )));
    }
    Section {
        title: "the pod's credentials, as the kubelet tries them".to_owned(),
        at: None,
        rows,
    }
}

/// Two columns: what, and where it is written.
fn write(out: &mut String, sections: &[Section]) {
    const WIDEST: usize = 100;
    let texts = sections.iter().flat_map(|section| {
        let rows = section
            .rows
            .iter()
            .filter(|row| row.at.is_some())
            .map(|row| row.text.chars().count() + 2);
        rows.chain([section.title.chars().count()])
    });
    let width = texts.filter(|width| *width <= WIDEST).max().unwrap_or_default();
    let mut line = |text: &str, at: Option<&String>| {
        let _ = match at {
            Some(at) => writeln!(out, "{text:width$}  {}", escape(at)),
            None => writeln!(out, "{text}"),
        };
    };
    for section in sections {
        line(&section.title, section.at.as_ref());
        for row in &section.rows {
            line(&format!("  {}", row.text), row.at.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn files(all: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in all {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn settings(folder: &Path) -> Settings {
        Settings::read(&folder.join("settings.yaml")).unwrap()
    }

    fn node(name: &str, runtime: &str, pool: &str) -> Node {
        Node::from_json(&json!({
            "metadata": {"name": name, "labels": {"pool": pool}},
            "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": runtime}},
        }))
    }

    /// What is printed, without the folder, runs of spaces as one, and without the kubelet's part.
    #[track_caller]
    fn shown(folder: &Path, node: Option<&str>, pool: Option<&str>, nodes: &[Node]) -> Vec<String> {
        let text = text(node, pool, &settings(folder), nodes, None).unwrap();
        assert!(!text.contains("hunter2"), "no secret may be printed: {text}");
        let text = text.replace(&format!("{}/", folder.display()), "");
        let (text, _) = text.split_once("the pod's credentials, as the kubelet").unwrap();
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn a_node_with_k3s() {
        let folder = files(&[
            (
                "settings.yaml",
                "nodePools:\n- name: edge\n  selector: {pool: edge}\n  registries: {k3sRegistries: registries.yaml, disableDefaultEndpoint: true}\n",
            ),
            (
                "registries.yaml",
                "mirrors:\n  docker.io:\n    endpoint:\n      - \"https://mirror.example:5000\"\n    rewrite:\n      \"^team/\": \"proj/\"\n  quay.io:\n\
                 configs:\n  mirror.example:5000:\n    auth: {username: u, password: hunter2}\n    tls: {ca_file: ca.pem}\n",
            ),
        ]);
        let nodes = [
            node("a", "containerd://2.1.5-k3s1", "edge"),
            node("b", "containerd://2.4.2", "other"),
        ];
        assert_eq!(
            shown(folder.path(), Some("a"), None, &nodes),
            [
                "node a: pool edge (pool=edge), k3sRegistries registries.yaml, containerd 2.1.5-k3s1",
                "docker.io registries.yaml:2",
                "1. https://mirror.example:5000/v2, ca ca.pem, rewrites \"^team/\" to \"proj/\"; credential: the pod's, else that of \
                 configs[\"mirror.example:5000\"] in line 9 registries.yaml:4",
                "the registry itself is not asked (disableDefaultEndpoint)",
                "before all of them, other nodes, where the node has the embedded registry (label p2p.k3s.cattle.io/enabled)",
                "mirror.example:5000 registries.yaml:9",
                "1. https://mirror.example:5000/v2, ca ca.pem; credential: the pod's, else that of configs[\"mirror.example:5000\"] in line 9 \
                 registries.yaml:9",
                "every other registry",
                "1. the registry itself; credential: the pod's",
            ]
        );
        assert_eq!(
            shown(folder.path(), Some("b"), None, &nodes),
            [
                "node b: of no pool, containerd 2.4.2",
                "every registry",
                "1. the registry itself; credential: the pod's"
            ]
        );
        let unknown = text(Some("c"), None, &settings(folder.path()), &nodes, None).unwrap_err();
        assert_eq!(unknown.to_string(), "there is no node \"c\"; known: a, b");
        let unknown = text(None, Some("x"), &settings(folder.path()), &nodes, None).unwrap_err();
        assert_eq!(unknown.to_string(), "the settings have no node pool \"x\"; known: edge");
    }

    #[test]
    fn a_pool_with_cri_o() {
        let folder = files(&[
            (
                "settings.yaml",
                "defaultRuntimes: [crio@1.36.3]\nnodePools:\n- name: gpu\n  selector: {pool: gpu}\n  registries: {registriesConf: gpu}\n",
            ),
            (
                "gpu/registries.conf",
                "unqualified-search-registries = ['a.example', 'b.example']\n[[registry]]\nlocation = 'quay.io'\nblocked = true\n\
                 [[registry.mirror]]\nlocation = 'mirror.example/quay'\npull-from-mirror = 'digest-only'\n",
            ),
            (
                "gpu/registries.conf.d/10-short.conf",
                "[aliases]\n'app' = 'quay.io/team/app'\n",
            ),
            (
                "gpu/auth.json",
                "{\n  \"auths\": {\n    \"mirror.example/quay\": {\"auth\": \"dTpodW50ZXIy\"}\n  }\n}\n",
            ),
            (
                "gpu/policy.json",
                "{\"default\": [{\"type\": \"reject\"}],\n \"transports\": {\"docker\": {\n  \"quay.io\": [{\"type\": \"insecureAcceptAnything\"}]}}}\n",
            ),
        ]);
        assert_eq!(
            shown(folder.path(), None, Some("gpu"), &[]),
            [
                "pool gpu: pool=gpu, registriesConf gpu, CRI-O 1.36.3",
                "short names",
                "app is quay.io/team/app gpu/registries.conf.d/10-short.conf:2",
                "others fail: of several search registries (a.example, b.example) none is taken gpu/registries.conf:1",
                "quay.io gpu/registries.conf:2",
                "1. mirror.example/quay, for digests only; credential: the node's, key \"mirror.example/quay\" gpu/registries.conf:5",
                "2. the registry itself is blocked gpu/registries.conf:2",
                "every other registry",
                "1. the registry itself; credential: the pod's, else the node's for that HOST:PORT",
                "the node's credentials gpu/auth.json",
                "\"mirror.example/quay\" of auths gpu/auth.json:3",
                "what may run (policy.json) gpu/policy.json",
                "quay.io: insecureAcceptAnything gpu/policy.json:3",
                "all others: reject gpu/policy.json:1",
            ]
        );
    }

    #[test]
    fn nodes_of_no_pool_with_a_tree() {
        let folder = files(&[
            ("settings.yaml", "registries: {hostsDir: certs.d}\n"),
            (
                "certs.d/docker.io/hosts.toml",
                "server = \"https://registry-1.docker.io\"\n\n[host.\"https://mirror.example\"]\n  capabilities = [\"pull\"]\n  skip_verify = true\n\
                 [host.\"https://mirror.example\".header]\n  x-token = [\"hunter2\"]\n",
            ),
            ("certs.d/r.example_5000_/ca.crt", ""),
            ("certs.d/broken.example/hosts.toml", "[host\n"),
        ]);
        assert_eq!(
            shown(folder.path(), None, None, &[node("a", "containerd://2.4.2", "x")]),
            [
                "nodes of no pool: by registries, containerd 2.4.2",
                "broken.example certs.d/broken.example",
                "hosts.toml is not used: certs.d/broken.example/hosts.toml:1:6: unclosed table, expected `]`",
                "1. the registry itself; credential: the pod's",
                "docker.io certs.d/docker.io/hosts.toml",
                "1. https://mirror.example/v2, for content and digests only, certificate not checked, with header x-token; credential: the \
                 pod's certs.d/docker.io/hosts.toml:3",
                "2. https://registry-1.docker.io/v2; credential: the pod's certs.d/docker.io/hosts.toml:1",
                "r.example:5000 certs.d/r.example_5000_",
                "1. the registry itself, ca ca.crt; credential: the pod's",
                "every other registry",
                "1. the registry itself; credential: the pod's",
            ]
        );
    }
}
