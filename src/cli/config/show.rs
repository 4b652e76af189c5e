//! `pullgate config show`: how given nodes reach their registries.

use crate::cli::engine;
use crate::config::{Frontend, PoolRegistries, Settings};
use crate::image::{Reference, escape};
use crate::plan::Runtimes;
use crate::plan::pools::usual_runtimes;
use crate::registry::{self, Row, Section};
use crate::runtime::crio::openshift::Objects;
use crate::runtime::{Pool, Runtime};
use crate::workload::Node;
use anyhow::bail;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Which nodes to show, and for which image.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whose<'a> {
    /// A node, by its name.
    pub(super) node: Option<&'a str>,
    /// The nodes of a pool, by its name. Neither: nodes of no pool.
    pub(super) pool: Option<&'a str>,
    /// The image as a pod names it; `None` for the way to all registries.
    pub(super) image: Option<&'a str>,
}

/// How the nodes reach registries, by runtime if they have several.
pub(super) struct Routes {
    who: String,
    /// The pool, its selector and where its files are.
    of: String,
    /// The name of the pool.
    pool: Option<String>,
    by_runtime: Vec<(String, Vec<Section>)>,
    kubelet: Section,
}

/// The way of a node, of a pool's nodes, or of nodes of no pool.
pub(super) fn routes(whose: Whose<'_>, settings: &Settings, nodes: &[Node], openshift: Option<Objects>) -> anyhow::Result<Routes> {
    let Whose { node, pool, image } = whose;
    let reference = match image {
        Some(image) => match Reference::parse(image) {
            Ok(reference) => Some(reference),
            Err(error) => bail!("{image:?} is not the name of an image: {error}"),
        },
        None => None,
    };
    let image = image
        .zip(reference.as_ref())
        .map(|(written, reference)| registry::Image { written, reference });
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
    let config = match openshift.filter(|_| settings.registries_conf.is_none()) {
        Some(objects) => match objects.operator_config() {
            Ok(config) => Some(config),
            Err(why) => {
                bail!("the machine config operator refuses the registry settings of this cluster, and nodes keep older ones: {why}")
            }
        },
        None => None,
    };
    let files = settings.registry(Frontend::Check);
    let mut by_runtime = Vec::new();
    for (named, runtime) in runtimes_of(&runtimes, pool, settings) {
        let sections = registry::show(&files, pool, runtime, config.as_ref(), image);
        by_runtime.push((named, sections.map_err(|faults| anyhow::anyhow!("{}", faults.join("\n")))?));
    }
    let own = usize::from(pool.0).checked_sub(1).and_then(|at| settings.node_pools.get(at));
    Ok(Routes {
        of: called(pool, settings, &who),
        who,
        pool: own.map(|own| own.name.clone()),
        by_runtime,
        kubelet: kubelet(settings),
    })
}

impl Routes {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (runtime, sections) in &self.by_runtime {
            if !out.is_empty() {
                out.push('\n');
            }
            let _ = writeln!(out, "{}: {}, {runtime}", self.who, self.of);
            write(&mut out, sections);
        }
        write(&mut out, std::slice::from_ref(&self.kubelet));
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let row = |row: &Row| {
            let mut shown = json!({"text": row.text, "at": row.at});
            if let (Some(fields), Some(credential)) = (shown.as_object_mut(), &row.credential) {
                fields.insert("asks".to_owned(), json!(row.asks));
                fields.insert("credential".to_owned(), json!(credential));
            }
            shown
        };
        let section = |section: &Section| {
            let rows: Vec<Value> = section.rows.iter().map(row).collect();
            json!({"title": section.title, "at": section.at, "rows": rows})
        };
        let way = |(runtime, sections): &(String, Vec<Section>)| {
            let sections: Vec<Value> = sections.iter().map(section).collect();
            json!({"runtime": runtime, "sections": sections})
        };
        let ways: Vec<Value> = self.by_runtime.iter().map(way).collect();
        json!({"of": self.who, "pool": self.pool, "ways": ways, "podCredentials": section(&self.kubelet)})
    }
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

/// The runtimes that nodes report, without duplicates.
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

/// The runtimes, as users name them; if no node reports one, those of the settings.
fn runtimes_of(said: &[String], pool: Pool, settings: &Settings) -> Vec<(String, Runtime)> {
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
        // One of each is enough: their files are the same.
        if !all.iter().any(|(other, _)| *other == named) {
            all.push((named, runtime));
        }
    }
    all
}

/// The pool, and where its configuration comes from.
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

/// Explains which credentials "the pod's" are.
fn kubelet(settings: &Settings) -> Section {
    let row = |text: String| Row { text, ..Row::default() };
    let mut rows = vec![row(
        "1. the pull secrets of the pod and of its service account, by their entries for the image".to_owned(),
    )];
    if let Some(file) = &settings.docker_config {
        rows.push(Row {
            text: format!("{}. the node's docker config, by its entries for the image", rows.len() + 1),
            at: Some(file.display().to_string()),
            ..Row::default()
        });
    }
    if let Some(providers) = &settings.credential_providers {
        rows.push(Row {
            text: format!(
                "{}. what the kubelet's credential providers give for the image",
                rows.len() + 1
            ),
            at: Some(providers.config.display().to_string()),
            ..Row::default()
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
mod tests;
