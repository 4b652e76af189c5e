//! The inputs of `check` and `pin`: manifests, settings, policies, credentials.

mod cluster;

pub(super) use cluster::{load_cluster_policies, taken};

use super::early::Early;
use super::{engine, policies};
use crate::cluster::{Cluster, Completeness, Directory};
use crate::config::project::Project;
use crate::config::{self, Frontend, Live, PolicyStore};
use crate::engine::{Engine, Gate, Transcripts};
use crate::image::{Platform, escape};
use crate::limits;
use crate::manifests::{Filter, Keep, Manifests, Note, NoteKind, Notes, ReadOptions, Rendering, Tell, Walk};
use crate::plan::{Admission, Platforms, Runtimes};
use crate::providers::StandsFor;
use crate::registry::Proxy;
use crate::report::Problem;
use crate::runtime::{Depth, Runtime};
use crate::telemetry::Metrics;
use crate::workload::{Kinds, Template, Workload};
use anyhow::bail;
use cluster::ClusterOptions;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;

/// How many objects are checked at the same time.
pub(super) const AT_ONCE: usize = limits::JUDGED_AT_ONCE;

/// The options that both commands share.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct Options {
    /// A manifest file, a folder of them, or `-` for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-", env = "PULLGATE_FILE")]
    pub(super) files: Vec<String>,
    /// The same, without -f
    #[arg(value_name = "FILE|DIR|-")]
    places: Vec<String>,
    /// The name of standard input in the report
    #[arg(long, value_name = "NAME", default_value = "-", env = "PULLGATE_STDIN_NAME")]
    stdin_name: String,
    /// Search the folders recursively
    #[arg(short = 'R', long, env = "PULLGATE_RECURSIVE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) recursive: bool,
    /// In folders, read only files that match this glob, as in a .gitignore (repeatable)
    #[arg(long, value_name = "GLOB", value_delimiter = ',', env = "PULLGATE_INCLUDE")]
    include: Vec<String>,
    /// In folders, skip files that match this glob, as in a .gitignore (repeatable)
    #[arg(long, value_name = "GLOB", value_delimiter = ',', env = "PULLGATE_EXCLUDE")]
    exclude: Vec<String>,
    /// In folders, also read files that .gitignore excludes
    #[arg(long, env = "PULLGATE_NO_GITIGNORE", value_parser = clap::builder::FalseyValueParser::new())]
    no_gitignore: bool,
    /// Files that are ours and not manifests; not an option
    #[arg(skip)]
    pub(super) ours: Vec<PathBuf>,
    /// When the run ends, for those who ask for images while files are still being read; not an option
    #[arg(skip)]
    pub(super) early: Option<Ahead>,
    /// Treat whatever was skipped in the files as an error
    #[arg(long, env = "PULLGATE_STRICT", value_parser = clap::builder::FalseyValueParser::new())]
    strict: bool,
    /// Check for these platforms, whatever the nodes are (repeatable) [default: the nodes' or those that selectors name, else linux/amd64 as
    /// a guess that denies nothing]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',', env = "PULLGATE_PLATFORM")]
    platform: Vec<String>,
    /// Check for these container runtimes, whatever the nodes run: containerd, crio, crio@1.33.2 (repeatable) [default: those of the given
    /// Nodes, else containerd]
    #[arg(long, value_name = "RUNTIME[@VERSION]", value_delimiter = ',', env = "PULLGATE_RUNTIME")]
    runtime: Vec<String>,
    /// A file or folder of Node manifests (`kubectl get nodes -o yaml`): the nodes of the cluster (repeatable)
    #[arg(long, value_name = "FILE|DIR", env = "PULLGATE_NODES")]
    nodes: Vec<String>,
    /// A file or folder of Secrets, `ServiceAccounts`, Namespaces and Nodes to judge by; what else is in it is not judged (repeatable)
    #[arg(long, value_name = "FILE|DIR", env = "PULLGATE_FACTS")]
    facts: Vec<String>,
    /// The given Secrets, `ServiceAccounts` and Nodes are complete: any other is missing
    #[arg(long, env = "PULLGATE_COMPLETE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) complete: bool,
    /// The settings file
    #[arg(long, value_name = "F", env = "PULLGATE_CONFIG")]
    config: Option<PathBuf>,
    /// A folder of policy files, or one file (repeatable)
    #[arg(long = "policies", value_name = "DIR", value_delimiter = ',', env = "PULLGATE_POLICIES")]
    pub(super) policy_files: Vec<PathBuf>,
    /// A folder with a docker config.json, as the nodes' own credentials [default: this user's, as a stand-in]
    #[arg(long, value_name = "DIR", env = "PULLGATE_DOCKER_CONFIG")]
    docker_config: Option<PathBuf>,
    /// Where docker keeps this user's config
    #[arg(long, env = "DOCKER_CONFIG", hide = true)]
    usual_docker_config: Option<PathBuf>,
    /// The same as a text, as GitLab gives it to its jobs
    #[arg(long, env = "DOCKER_AUTH_CONFIG", hide = true, hide_env_values = true)]
    docker_auth_config: Option<OsString>,
    /// Where podman, skopeo and buildah keep this user's logins
    #[arg(long, env = "REGISTRY_AUTH_FILE", hide = true)]
    registry_auth_file: Option<PathBuf>,
    /// The proxy for https, from the environment; the settings file takes precedence
    #[arg(long, env = "HTTPS_PROXY", hide = true, hide_env_values = true)]
    https_proxy: Option<OsString>,
    /// The same in lower case
    #[arg(long, env = "https_proxy", hide = true, hide_env_values = true)]
    https_proxy_lower: Option<OsString>,
    /// Hosts to reach without the proxy
    #[arg(long, env = "NO_PROXY", hide = true)]
    no_proxy: Option<OsString>,
    /// The same in lower case
    #[arg(long, env = "no_proxy", hide = true)]
    no_proxy_lower: Option<OsString>,
    /// This user's home
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
    /// Take facts and policies from the cluster of the kubeconfig; the given manifests take precedence over its objects
    #[arg(long, env = "PULLGATE_CLUSTER", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) cluster: bool,
    /// The kubeconfig's context [default: the current one]
    #[arg(long, value_name = "C", env = "PULLGATE_CONTEXT")]
    context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "F", env = "PULLGATE_KUBECONFIG", hide_env_values = true)]
    kubeconfig: Option<PathBuf>,
}

/// What those who ask early must know.
#[derive(Debug)]
pub(super) struct Ahead {
    /// When the run ends.
    pub(super) until: Instant,
    /// The files whose objects are judged; `None`: all.
    pub(super) changed: Option<BTreeSet<PathBuf>>,
}

/// All inputs, read.
pub(super) struct Inputs {
    /// The manifests.
    pub(super) manifests: Manifests,
    /// Remarks on the other inputs, one sentence each.
    pub(super) said: Vec<String>,
    settings: config::Settings,
    store: PolicyStore,
    engine: Live<Engine>,
    directory: Directory,
    /// How to find the cluster, if one was asked for.
    cluster_options: Option<ClusterOptions>,
}

impl Options {
    /// Adds the places that were given without `-f` to the others.
    pub(super) fn gather_places(&mut self) {
        self.files.append(&mut self.places);
    }

    /// Takes from the repository's own file what the command line does not say.
    pub(super) fn take_project(&mut self, project: &Project) {
        if self.files.is_empty() {
            self.files.clone_from(&project.files);
            self.recursive |= project.recursive;
        }
        self.include.extend(project.include.iter().cloned());
        self.exclude.extend(project.exclude.iter().cloned());
    }

    /// Reads all inputs. `namespace` is for objects that name none; `depth` overrides the settings.
    pub(super) async fn read(
        self,
        namespace: &str,
        admission: Admission,
        depth: Option<Depth>,
        keep: Keep,
        rendering: &Rendering,
    ) -> anyhow::Result<Inputs> {
        let Self {
            files,
            places: _,
            stdin_name,
            recursive,
            include,
            exclude,
            no_gitignore,
            ours,
            early,
            strict,
            platform,
            runtime,
            nodes,
            facts,
            complete,
            config,
            policy_files,
            docker_config,
            usual_docker_config,
            docker_auth_config,
            registry_auth_file,
            https_proxy,
            https_proxy_lower,
            no_proxy,
            no_proxy_lower,
            home,
            cluster,
            context,
            kubeconfig,
        } = self;
        if context.is_some() && !cluster {
            bail!("--context selects a cluster of the kubeconfig: add --cluster");
        }
        let mut said = Vec::new();
        let mut settings = match &config {
            Some(file) => config::Settings::read(file)?,
            None => config::Settings::default(),
        };
        if settings.proxy.is_none() {
            let given = |upper: Option<OsString>, lower: Option<OsString>| {
                let text = upper.filter(|text| !text.is_empty()).or(lower).unwrap_or_default();
                text.to_string_lossy().into_owned()
            };
            let (proxy, remark) = proxy(&given(https_proxy, https_proxy_lower), &given(no_proxy, no_proxy_lower));
            settings.proxy = proxy;
            said.extend(remark);
        }
        let store = PolicyStore::default();
        store.set_files(policies::load_some(&policy_files, &Kinds::with(&settings.workloads))?);
        let usual_folder = usual_docker_config.or_else(|| home.map(|home| home.join(".docker")));
        if let Some(depth) = depth {
            settings.depth = depth;
        }
        let metrics = Metrics::new();
        let mut engine = engine::build(&settings, Frontend::Check, admission, &metrics)?;
        let sift = Filter {
            no_gitignore,
            include,
            exclude,
            ours,
        };
        if let Some(platforms) = platforms(&platform)? {
            engine.settings.platforms = Platforms::Exactly(platforms);
        }
        if let Some(runtimes) = runtimes(&runtime)? {
            engine.settings.runtimes = Runtimes::Exactly(runtimes);
        }
        match docker_config {
            Some(folder) => {
                let engine::UserConfig { entries, helpers, .. } = engine::UserConfig::of_folder(&folder)?;
                engine.settings.docker_config = Arc::new(entries);
                engine.providers = engine.providers.with_helpers(helpers, StandsFor::Nodes);
            }
            // The user's own login says nothing about a cluster or about a complete set.
            None if complete || cluster => {
                let unused = engine::UserConfig::usual(usual_folder, registry_auth_file, docker_auth_config);
                if complete && unused.has_login() {
                    let sentence = "your docker login is not used, because --complete says that the manifests have all credentials";
                    said.push(sentence.to_owned());
                }
            }
            None => {
                let usual = engine::UserConfig::usual(usual_folder, registry_auth_file, docker_auth_config);
                said.extend(usual.ignored);
                engine.settings.stand_in = Arc::new(usual.entries);
                engine.providers = engine.providers.with_helpers(usual.helpers, StandsFor::Unreadable);
            }
        }
        let engine = Live::new(engine);
        let kinds = Arc::clone(&engine.load().settings.kinds);
        let reading = ReadOptions {
            walk: if recursive { Walk::Recursive } else { Walk::Flat },
            sift: &sift,
            namespace,
            stdin_name: &stdin_name,
            kinds: &kinds,
            keep,
            render: rendering.all,
        };
        let by_facts = Manifests::read(&facts, &reading);
        let completeness = if complete {
            Completeness::Complete
        } else {
            Completeness::Partial
        };
        let given = |read: &Manifests| Directory::from_objects(read.objects.iter().map(|manifest| &manifest.object), completeness);
        let facts = given(&by_facts);
        let by_nodes = (!nodes.is_empty()).then(|| Manifests::read(&nodes, &reading));
        // The cluster's nodes, if the user says which they are.
        let its_nodes = match &by_nodes {
            Some(read) => Some(given(read)),
            None => Some(facts.clone()).filter(|facts| !facts.nodes().is_empty()),
        };
        // A cluster's policies and mirrors must be known first; with rendering, the files are not what is judged.
        let may_ask = !cluster && !rendering.all;
        let early = early.filter(|_| may_ask).map(|early| {
            let mut known = facts;
            if let Some(nodes) = &its_nodes {
                known.set_nodes(nodes);
            }
            let asking = Early::begin(Gate::new(engine.clone(), store.clone(), Cluster::from(known)), early.until);
            (asking, early.changed)
        });
        let tell = early.as_ref().map(|(asking, changed)| {
            move |place: Option<&Path>, workload: Workload| {
                let counts = changed
                    .as_ref()
                    .is_none_or(|changed| place.is_some_and(|place| changed.contains(place)));
                // In a complete set, an account that is still to be read decides about the credentials.
                let usual = |template: &Template| template.needs.service_account == "default";
                if counts && (!complete || workload.templates.iter().all(usual)) {
                    asking.ask(workload);
                }
            }
        });
        let mut manifests = Manifests::read_and_tell(&files, &reading, tell.as_ref().map(|tell| tell as Tell<'_>));
        drop(early);
        manifests.render(rendering, &reading, &files).await;
        manifests.errors.extend(by_facts.errors);
        manifests.objects.extend(by_facts.objects);
        let mut directory = given(&manifests);
        directory.add_owners(manifests.subjects.iter().map(|subject| &subject.workload));
        if let Some(read) = by_nodes {
            manifests.errors.extend(read.errors);
        }
        if let Some(its_nodes) = &its_nodes {
            if its_nodes.nodes().is_empty() {
                let sentence = format!("--nodes: there is no Node in {}", escape(&nodes.join(", ")));
                manifests.errors.push(Problem::from(sentence));
            }
            let unknown: Vec<String> = its_nodes
                .nodes()
                .iter()
                .filter(|node| node.platform.is_none())
                .map(|node| escape(&node.name))
                .collect();
            if !unknown.is_empty() {
                said.push(format!(
                    "no image is checked for {}: neither status.nodeInfo nor the label kubernetes.io/arch says which architecture it has",
                    unknown.join(", ")
                ));
            }
            directory.set_nodes(its_nodes);
        } else if !complete && !directory.nodes().is_empty() {
            // They may be fixtures or examples: the user has not said that this is the cluster.
            said.push(match directory.nodes().len() {
                1 => "a Node among the manifests is ignored: if it is the cluster's, say so with --nodes or --complete".to_owned(),
                many => format!(
                    "{many} Nodes among the manifests are ignored: if they are the cluster's, say so with --nodes or --complete"
                ),
            });
            directory.set_nodes(&Directory::default());
        }

        if !cluster {
            manifests.note_runtime_classes(|name| directory.has_runtime_class(name));
        }
        // A Secret that the API server would refuse must not look like a missing one.
        for rejected in directory.rejected() {
            let Some(of) = manifests.objects.get(rejected.object) else {
                continue;
            };
            if of.named {
                let error = Problem::in_file(&of.source.file, None, escape(&rejected.why));
                manifests.errors.push(error);
            } else {
                let note = Note::about(NoteKind::RefusedSecret, &of.source.file).because(&rejected.why);
                manifests.notes.push(note);
            }
        }
        if strict {
            let noted = manifests.notes.iter().map(|note| Problem::from(note.sentence()));
            manifests.errors.extend(noted);
            manifests.notes = Notes::default();
        }
        Ok(Inputs {
            manifests,
            said,
            settings,
            store,
            engine,
            directory,
            cluster_options: cluster.then_some(ClusterOptions { kubeconfig, context }),
        })
    }
}

impl Inputs {
    /// The kinds that are judged, and that policies may name.
    pub(super) fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.engine.load().settings.kinds)
    }

    /// Gives a namespace these labels, whatever else is known about it.
    pub(super) fn label_namespace(&mut self, name: &str, labels: Vec<(String, String)>) {
        self.directory.set_namespace(name, labels);
    }

    /// Records what registries are asked and answer, once there is a gate.
    pub(super) fn transcribe(&mut self) -> Transcripts {
        let transcripts = Transcripts::default();
        self.engine.load().registry.transcribe(transcripts.clone());
        transcripts
    }

    /// The names of the pools of nodes, in the order of the settings.
    pub(super) fn pools(&self) -> Vec<String> {
        self.settings.node_pools.iter().map(|pool| pool.name.clone()).collect()
    }
}

/// The environment's proxy, and a remark. An unusable one is not an error of the command: it is meant for all programs, and may be
/// of a kind (SOCKS) that others support. Registries exempt from the proxy are reached.
fn proxy(url: &str, exceptions: &str) -> (Option<Proxy>, Option<String>) {
    if url.trim().is_empty() {
        return (None, None);
    }
    let exceptions: Vec<&str> = exceptions.split(',').collect();
    match Proxy::new(url, &exceptions) {
        Ok(proxy) => (Some(proxy), None),
        Err(why) => {
            let fault = format!("the proxy of HTTPS_PROXY cannot be used: {why}");
            let remark = format!("{fault}; registries behind it are not asked (proxy.https in the settings file takes precedence)");
            (Some(Proxy::unusable(&fault, &exceptions)), Some(remark))
        }
    }
}

fn runtimes(given: &[String]) -> anyhow::Result<Option<Vec<Runtime>>> {
    if given.is_empty() {
        return Ok(None);
    }
    let named: Result<Vec<Vec<Runtime>>, String> = given.iter().map(|text| Runtime::named(text)).collect();
    named
        .map(|named| Some(named.concat()))
        .map_err(|why| anyhow::anyhow!("--runtime: {why}"))
}

fn platforms(given: &[String]) -> anyhow::Result<Option<Vec<Platform>>> {
    if given.is_empty() {
        return Ok(None);
    }
    // As docker and containerd take it: an architecture alone is one of Linux.
    const ARCHITECTURES: &[&str] = &[
        "386", "aarch64", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x", "x86_64",
    ];
    let whole = |text: &String| {
        if ARCHITECTURES.contains(&text.as_str()) {
            format!("linux/{text}")
        } else {
            text.clone()
        }
    };
    let parsed: Result<Vec<Platform>, String> = given.iter().map(|text| Platform::parse(&whole(text))).collect();
    parsed.map(Some).map_err(|why| anyhow::anyhow!("--platform: {why}"))
}
