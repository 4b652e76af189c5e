//! What `check` and `pin` are given: manifests, settings, policies, credentials, a cluster. From there to the gate that answers.

use super::{engine, policies};
use crate::cluster::{Cluster, Completeness, Directory};
use crate::config::{self, Face, Live, Shelf};
use crate::gate::{Engine, Gate};
use crate::image::{Platform, escape};
use crate::manifests::{Manifests, Walk};
use crate::plan::{Admission, Platforms};
use crate::providers::StandsFor;
use crate::registry::Proxy;
use crate::runtime::Depth;
use crate::telemetry::Metrics;
use anyhow::bail;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Objects that are judged at the same time.
pub(super) const AT_ONCE: usize = 32;

/// The options that both commands have.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A manifest file, a folder of them, or `-` for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-", env = "PULLGATE_FILE")]
    pub(super) files: Vec<String>,
    /// Look into the folders of a folder too
    #[arg(short = 'R', long, env = "PULLGATE_RECURSIVE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) recursive: bool,
    /// Judge for these platforms, whatever the nodes are (repeatable) [default: the given Nodes', else linux/amd64]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',', env = "PULLGATE_PLATFORM")]
    platform: Vec<String>,
    /// The given Secrets and `ServiceAccounts` are all there are: what is not among them is missing
    #[arg(long, env = "PULLGATE_COMPLETE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) complete: bool,
    /// The settings file
    #[arg(long, value_name = "F", env = "PULLGATE_CONFIG")]
    config: Option<PathBuf>,
    /// A folder of policy files, or one file (repeatable)
    #[arg(long = "policies", value_name = "DIR", value_delimiter = ',', env = "PULLGATE_POLICIES")]
    policy_files: Vec<PathBuf>,
    /// A folder with a docker config.json, as the node-level keyring [default: the usual one of this user, as a stand-in]
    #[arg(long, value_name = "DIR", env = "PULLGATE_DOCKER_CONFIG")]
    docker_config: Option<PathBuf>,
    /// Where docker keeps this user's config
    #[arg(long, env = "DOCKER_CONFIG", hide = true)]
    usual_docker_config: Option<PathBuf>,
    /// The proxy for https, as programs have it from the environment; the settings file's stands before it
    #[arg(long, env = "HTTPS_PROXY", hide = true, hide_env_values = true)]
    https_proxy: Option<OsString>,
    /// The same in lower case
    #[arg(long, env = "https_proxy", hide = true, hide_env_values = true)]
    https_proxy_lower: Option<OsString>,
    /// Hosts that are reached without the proxy
    #[arg(long, env = "NO_PROXY", hide = true)]
    no_proxy: Option<OsString>,
    /// The same in lower case
    #[arg(long, env = "no_proxy", hide = true)]
    no_proxy_lower: Option<OsString>,
    /// This user's home
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
    /// Take facts and policies from the cluster of the kubeconfig; the given manifests stand before its objects
    #[arg(long, env = "PULLGATE_CLUSTER", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) cluster: bool,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "C", env = "PULLGATE_CONTEXT")]
    context: Option<String>,
    /// The kubeconfig [default: the usual one]
    #[arg(long, value_name = "F", env = "PULLGATE_KUBECONFIG", hide_env_values = true)]
    kubeconfig: Option<PathBuf>,
}

/// Everything, read.
pub(super) struct Given {
    /// What was read from files.
    pub(super) manifests: Manifests,
    /// What is to be told of the rest, a sentence each.
    pub(super) said: Vec<String>,
    settings: config::Settings,
    shelf: Shelf,
    engine: Engine,
    directory: Directory,
    /// Where to find a cluster, if one is to be asked.
    door: Option<Door>,
}

/// Where a cluster is found.
struct Door {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
}

impl Options {
    /// Reads it all. `namespace` stands in for objects that name none; `depth` stands before the settings'.
    pub(super) fn take(self, namespace: &str, admission: Admission, depth: Option<Depth>) -> anyhow::Result<Given> {
        let Self {
            files,
            recursive,
            platform,
            complete,
            config,
            policy_files,
            docker_config,
            usual_docker_config,
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
            bail!("--context names a cluster of the kubeconfig: add --cluster");
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
        let policy_shelf = Shelf::default();
        policy_shelf.set_files(policies::load_some(&policy_files)?);
        let usual_folder = usual_docker_config.or_else(|| home.map(|home| home.join(".docker")));
        let walk = if recursive { Walk::Recursive } else { Walk::Flat };
        let mut manifests = Manifests::read(&files, walk, namespace);
        let completeness = if complete {
            Completeness::Complete
        } else {
            Completeness::Partial
        };
        let directory = Directory::from_objects(manifests.objects.iter().map(|manifest| &manifest.object), completeness);

        // What the API server would refuse must not pass for a secret that is not there.
        for rejected in directory.rejected() {
            let file = manifests
                .objects
                .get(rejected.object)
                .map_or("-", |manifest| &manifest.source.file);
            let error = format!("{}: {}", escape(file), escape(&rejected.why));
            manifests.errors.push(error);
        }

        if let Some(depth) = depth {
            settings.depth = depth;
        }
        let metrics = Metrics::new();
        let mut engine = engine::build(&settings, Face::Check, admission, &metrics)?;
        if let Some(platforms) = platforms(&platform)? {
            engine.settings.platforms = Platforms::Exactly(platforms);
        } else if engine.settings.platforms == Platforms::Guess && !cluster {
            let usual = Platform {
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                ..Platform::default()
            };
            engine.settings.platforms = Platforms::Default(vec![usual]);
        }
        match docker_config {
            Some(folder) => {
                let engine::UserConfig { entries, helpers } = engine::UserConfig::of_folder(&folder)?;
                engine.settings.docker_config = Arc::new(entries);
                engine.providers = engine.providers.with_helpers(helpers, StandsFor::TheNodes);
            }
            // A user's own login proves nothing about a cluster, or a set that is said to be everything.
            None if complete || cluster => {}
            None => {
                let engine::UserConfig { entries, helpers } = engine::UserConfig::usual(usual_folder);
                engine.settings.stand_in = Arc::new(entries);
                engine.providers = engine.providers.with_helpers(helpers, StandsFor::TheUnseen);
            }
        }
        Ok(Given {
            manifests,
            said,
            settings,
            shelf: policy_shelf,
            engine,
            directory,
            door: cluster.then_some(Door { kubeconfig, context }),
        })
    }
}

impl Given {
    /// The gate to what was given and, behind it, to the cluster; and what is to be told. A cluster that does not answer leaves the
    /// registries half of the `patience` that ends at `end`.
    pub(super) async fn gate(self, end: Instant, patience: Duration) -> anyhow::Result<(Gate, Vec<String>)> {
        let Self {
            mut said,
            settings,
            shelf,
            engine,
            directory,
            door,
            manifests: _,
        } = self;
        let engine = Live::new(engine);
        let Some(door) = door else {
            return Ok((Gate::new(engine, shelf, Cluster::from(directory)), said));
        };
        let cluster = engine::connect(door.kubeconfig, door.context, &settings).await?;
        let known = end - patience / 2;
        let (_, remarks) = tokio::join!(cluster.wait_synced(known), take_policies(&cluster, &shelf, known));
        // Not this user's to mend, and not what was asked for: a word, and no error.
        said.extend(remarks);
        Ok((Gate::new(engine, shelf, Cluster::layered(directory, cluster)), said))
    }

    /// The cluster by itself, without what was given; not waited for.
    pub(super) async fn cluster(self) -> anyhow::Result<(Live<Engine>, Shelf, Cluster)> {
        let Some(Door { kubeconfig, context }) = self.door else {
            bail!("no cluster is asked for: add --cluster");
        };
        let cluster = engine::connect(kubeconfig, context, &self.settings).await?;
        Ok((Live::new(self.engine), self.shelf, cluster))
    }
}

/// Puts the cluster's policies on the shelf. Returns what is to be said of them.
pub(super) async fn take_policies(cluster: &Cluster, shelf: &Shelf, deadline: Instant) -> Vec<String> {
    let listed = tokio::time::timeout_at(deadline, cluster.policies()).await;
    let listed = listed.unwrap_or_else(|_| Err("the cluster's ImagePolicies could not be read in time".to_owned()));
    match listed {
        Ok(listed) => {
            shelf.set_cluster(listed.policies);
            listed.problems
        }
        Err(why) => vec![format!("{why}; what they say is not in this report")],
    }
}

/// The proxy of the environment, and what is to be said of it. One that cannot be used is no fault of the command: it is there for all
/// programs, and may be of a kind (SOCKS) that some know. Registries that it is not for are reached.
fn proxy(url: &str, exceptions: &str) -> (Option<Proxy>, Option<String>) {
    if url.trim().is_empty() {
        return (None, None);
    }
    let exceptions: Vec<&str> = exceptions.split(',').collect();
    match Proxy::new(url, &exceptions) {
        Ok(proxy) => (Some(proxy), None),
        Err(why) => {
            let fault = format!("the proxy of HTTPS_PROXY cannot be used: {why}");
            let remark = format!("{fault}; registries behind it are not asked (proxy.https of the settings file stands before it)");
            (Some(Proxy::unusable(&fault, &exceptions)), Some(remark))
        }
    }
}

fn platforms(given: &[String]) -> anyhow::Result<Option<Vec<Platform>>> {
    if given.is_empty() {
        return Ok(None);
    }
    let parsed: Result<Vec<Platform>, String> = given.iter().map(|text| Platform::parse(text)).collect();
    parsed.map(Some).map_err(|why| anyhow::anyhow!("--platform: {why}"))
}
