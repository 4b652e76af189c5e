//! `pullgate config`: commands for people who write the settings.

mod show;

use super::{DENIED, WRONG, engine, eprint, print};
use crate::cluster::Cluster;
use crate::config::{self, Frontend, Settings};
use crate::files;
use crate::image::escape;
use crate::limits;
use crate::plan::pools::Oddities;
use crate::registry;
use crate::runtime::crio::openshift::Objects;
use crate::workload::kinds::{Suggested, suggest};
use crate::workload::{Kinds, Node, Scope};
use crate::yaml;
use anyhow::bail;
use clap::{ArgGroup, Subcommand, ValueEnum};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report every problem of a settings file, and of the nodes' files that it names
    Validate(Validate),
    /// Print how a node, or a pool's nodes, reach their registries: mirrors in order, rewrites, which credential goes where, and the
    /// line of the file that says so
    Show(Show),
    /// Find custom kinds with pods or images, and print the `workloads` entries for them
    Suggest(Suggest),
}

#[derive(Debug, clap::Args)]
struct Validate {
    /// The settings file
    #[arg(value_name = "FILE", env = "PULLGATE_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    nodes: NodeSource,
}

/// Options of `config show`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("whose").args(["node", "pool"]))]
struct Show {
    /// The node [default: nodes of no pool]
    #[arg(long, value_name = "NAME", env = "PULLGATE_NODE")]
    node: Option<String>,
    /// The pool, by its name in nodePools
    #[arg(long, value_name = "NAME", env = "PULLGATE_POOL")]
    pool: Option<String>,
    /// For one image alone: what is asked for it, in order
    #[arg(long, value_name = "REF", env = "PULLGATE_IMAGE")]
    image: Option<String>,
    /// The settings file
    #[arg(long, value_name = "F", env = "PULLGATE_CONFIG")]
    config: Option<PathBuf>,
    /// The form
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Text, env = "PULLGATE_OUTPUT")]
    output: Format,
    #[command(flatten)]
    nodes: NodeSource,
}

/// The forms of `config show`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Where the nodes come from.
#[derive(Debug, clap::Args)]
struct NodeSource {
    /// A file or folder of Node manifests (`kubectl get nodes -o yaml`), or `-` for standard input; of OpenShift's objects about registries
    /// too (repeatable)
    #[arg(long, value_name = "FILE|DIR|-", env = "PULLGATE_NODES")]
    nodes: Vec<String>,
    /// Take them from the cluster of the kubeconfig
    #[arg(long, env = "PULLGATE_CLUSTER", value_parser = clap::builder::FalseyValueParser::new())]
    cluster: bool,
    /// The kubeconfig's context [default: the current one]
    #[arg(long, value_name = "C", env = "PULLGATE_CONTEXT")]
    context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "F", env = "PULLGATE_KUBECONFIG", hide_env_values = true)]
    kubeconfig: Option<PathBuf>,
}

/// How long to wait for the cluster's nodes.
const PATIENCE: Duration = Duration::from_secs(10);

impl NodeSource {
    fn is_given(&self) -> bool {
        self.cluster || !self.nodes.is_empty()
    }

    /// Reads the nodes, and OpenShift's objects if there are any.
    async fn read(self, settings: &Settings) -> anyhow::Result<(Arc<Vec<Node>>, Option<Objects>)> {
        if self.cluster {
            let cluster: Cluster = engine::connect(self.kubeconfig, self.context, settings).await?;
            if !cluster.wait_synced(Instant::now() + PATIENCE).await {
                bail!("the cluster's nodes could not be read in {} s", PATIENCE.as_secs());
            }
            let openshift = cluster.openshift().await.map_err(|why| anyhow::anyhow!("{why}"))?;
            return Ok((cluster.nodes(), openshift));
        }
        let mut errors = Vec::new();
        let documents = documents(&self.nodes, true, &mut errors);
        if !errors.is_empty() {
            bail!("{}", errors.join("\n"));
        }
        let mut openshift = Objects::default();
        let mut any = false;
        for document in &documents {
            any |= openshift.add(document);
            openshift.add_core(document);
        }
        let is_node = |document: &&Value| document.get("kind").and_then(Value::as_str) == Some("Node");
        let nodes = documents.iter().filter(is_node).map(Node::from_json).collect();
        Ok((Arc::new(nodes), any.then_some(openshift)))
    }
}

/// Options of `config suggest`.
#[derive(Debug, clap::Args)]
struct Suggest {
    /// A file or folder with `CustomResourceDefinitions`, or `-` for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-", env = "PULLGATE_FILE")]
    files: Vec<String>,
    /// Search the folders recursively
    #[arg(short = 'R', long, env = "PULLGATE_RECURSIVE", value_parser = clap::builder::FalseyValueParser::new())]
    recursive: bool,
    /// Take the `CustomResourceDefinitions` of the cluster of the kubeconfig, with your own rights
    #[arg(long, env = "PULLGATE_CLUSTER", value_parser = clap::builder::FalseyValueParser::new())]
    cluster: bool,
    /// The kubeconfig's context [default: the current one]
    #[arg(long, value_name = "C", env = "PULLGATE_CONTEXT")]
    context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "F", env = "PULLGATE_KUBECONFIG", hide_env_values = true)]
    kubeconfig: Option<PathBuf>,
    /// The settings file, whose kinds are known already
    #[arg(long, value_name = "F", env = "PULLGATE_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let args = match args.command {
        Command::Validate(args) => return validate(args).await,
        Command::Show(args) => return show_routes(args).await,
        Command::Suggest(args) => args,
    };
    if args.files.is_empty() && !args.cluster {
        bail!("nothing to search: give CustomResourceDefinitions with -f FILE|DIR|-, or use --cluster");
    }
    let settings = match &args.config {
        Some(file) => config::Settings::read(file)?,
        None => config::Settings::default(),
    };
    let kinds = Kinds::with(&settings.workloads);
    let mut errors = Vec::new();
    let mut crds = documents(&args.files, args.recursive, &mut errors);
    if args.cluster {
        let cluster = engine::connect(args.kubeconfig, args.context, &settings).await?;
        match cluster.custom_resource_definitions().await {
            Ok(found) => crds.extend(found),
            Err(why) => errors.push(format!("the cluster's CustomResourceDefinitions cannot be listed ({why})")),
        }
    }
    let mut found: Vec<Suggested> = crds.iter().filter_map(|crd| suggest(crd, &kinds)).collect();
    found.sort_by(|a, b| (&a.group, &a.kind).cmp(&(&b.group, &b.kind)));
    found.dedup_by(|a, b| (&a.group, &a.kind) == (&b.group, &b.kind));
    print(&text(&found))?;
    if found.is_empty() {
        eprint("no kind shows pods or images that pullgate does not know");
    }
    for error in &errors {
        eprint(error);
    }
    Ok(if errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(WRONG)
    })
}

/// The objects of the files, with lists flattened.
fn documents(places: &[String], recursive: bool, errors: &mut Vec<String>) -> Vec<Value> {
    let mut open: Vec<PathBuf> = places.iter().rev().map(PathBuf::from).collect();
    let mut found = Vec::new();
    let mut given = places.len();
    while let Some(path) = open.pop() {
        let is_given = open.len() < given;
        given = given.min(open.len());
        if path.is_dir() && (is_given || recursive) {
            match std::fs::read_dir(&path) {
                Ok(entries) => {
                    let is_wanted = |entry: &std::fs::DirEntry| {
                        // Links to folders are not followed: they may form a loop.
                        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                        let name = entry.file_name();
                        let ending = Path::new(&name).extension().and_then(|ending| ending.to_str());
                        is_folder || (!entry.path().is_dir() && matches!(ending, Some("yaml" | "yml" | "json")))
                    };
                    let mut below: Vec<PathBuf> = entries.flatten().filter(is_wanted).map(|entry| entry.path()).collect();
                    below.sort();
                    open.extend(below.into_iter().rev());
                }
                Err(error) => errors.push(format!("{}: {error}", escape(&path.display().to_string()))),
            }
            continue;
        }
        if path.is_dir() {
            continue;
        }
        let read = if path.as_os_str() == "-" {
            files::read_stream(std::io::stdin(), limits::MANIFEST_FILE)
        } else {
            files::read_or_pipe(&path, limits::MANIFEST_FILE)
        };
        match read {
            Ok(bytes) => {
                for document in yaml::documents(&String::from_utf8_lossy(&bytes)).documents {
                    match document.value.get("items").and_then(Value::as_array) {
                        Some(items) => found.extend(items.iter().cloned()),
                        None => found.push(document.value),
                    }
                }
            }
            Err(error) => errors.push(format!("{}: {error}", escape(&path.display().to_string()))),
        }
    }
    found
}

/// The entries as written in a settings file.
fn text(found: &[Suggested]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let mut out = "workloads:\n".to_owned();
    for Suggested {
        group,
        kind,
        scope,
        pod_specs,
        images,
    } in found
    {
        let _ = writeln!(out, "  - group: {}\n    kind: {}", escape(group), escape(kind));
        if *scope == Scope::Cluster {
            out.push_str("    scope: Cluster\n");
        }
        for (key, paths) in [("podSpecs", pod_specs), ("images", images)] {
            if !paths.is_empty() {
                let _ = writeln!(out, "    {key}:");
            }
            for path in paths {
                let _ = writeln!(out, "      - \"{path}\"");
            }
        }
    }
    out
}

async fn show_routes(args: Show) -> anyhow::Result<ExitCode> {
    let settings = match &args.config {
        Some(file) => Settings::read(file)?,
        None => Settings::default(),
    };
    if args.node.is_some() && !args.nodes.is_given() {
        bail!("--node needs to know the nodes: give them with --nodes FILE|DIR|-, or use --cluster");
    }
    let (nodes, openshift) = args.nodes.read(&settings).await?;
    let whose = show::Whose {
        node: args.node.as_deref(),
        pool: args.pool.as_deref(),
        image: args.image.as_deref(),
    };
    let routes = show::routes(whose, &settings, &nodes, openshift)?;
    print(&match args.output {
        Format::Text => routes.text(),
        Format::Json => format!("{:#}\n", routes.json()),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn validate(args: Validate) -> anyhow::Result<ExitCode> {
    let Validate { config, nodes } = args;
    let lines: Vec<String> = match Settings::read(&config) {
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        Ok(settings) => {
            let mut lines = registry::faults(&settings.registry(Frontend::Check));
            let (nodes, _) = nodes.read(&settings).await?;
            let odd = Oddities::of(&engine::pools(&settings), &nodes);
            lines.extend(
                odd.all
                    .into_iter()
                    .map(|oddity| format!("{}: {}", config.display(), oddity.text)),
            );
            lines
        }
    };
    for line in &lines {
        print(&format!("{line}\n"))?;
    }
    if lines.is_empty() {
        print(&format!("{}: no problems\n", config.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let problems = if lines.len() == 1 { "problem" } else { "problems" };
    print(&format!("{} {problems}\n", lines.len()))?;
    Ok(ExitCode::from(DENIED))
}
