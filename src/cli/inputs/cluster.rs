//! The cluster behind the inputs, and the gate that is built from both.

use super::Inputs;
use crate::cli::openshift::{self, Known};
use crate::cli::{engine, eprint, node_pools};
use crate::cluster::Cluster;
use crate::config::{Live, PolicyStore, Settings};
use crate::engine::{Engine, Gate};
use crate::image::escape;
use crate::workload::Kinds;
use anyhow::bail;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How to find a cluster.
pub(super) struct ClusterOptions {
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) context: Option<String>,
}

impl Inputs {
    /// The gate for the inputs and the cluster behind them, and remarks. If the cluster does not answer, half of the `time` that
    /// ends at `end` is left for the registries.
    pub(in crate::cli) async fn gate(self, end: Instant, time: Duration) -> anyhow::Result<(Gate, Vec<String>)> {
        let Self {
            mut said,
            settings,
            store,
            engine,
            directory,
            cluster_options,
            manifests: _,
        } = self;
        let Some(cluster_options) = cluster_options else {
            let cluster = Cluster::from(directory);
            said.extend(pools(&cluster, &settings));
            said.extend(openshift(&cluster, &settings, &engine).await);
            return Ok((Gate::new(engine, store, cluster), said));
        };
        let cluster = engine::connect(cluster_options.kubeconfig, cluster_options.context, &settings).await?;
        let known = end - time / 2;
        let kinds = Arc::clone(&engine.load().settings.kinds);
        let (_, remarks) = tokio::join!(
            cluster.wait_synced(known),
            load_cluster_policies(&cluster, &kinds, &store, known)
        );
        eprint(&taken(&cluster, &store).await);
        // A remark, not an error: the user did not ask for this and cannot fix it.
        said.extend(remarks);
        let cluster = Cluster::layered(directory, cluster);
        said.extend(pools(&cluster, &settings));
        said.extend(openshift(&cluster, &settings, &engine).await);
        Ok((Gate::new(engine, store, cluster), said))
    }

    /// What a gate is made of, with the cluster behind the inputs if there is one, and without that cluster's policies.
    pub(in crate::cli) async fn parts(self) -> anyhow::Result<(Live<Engine>, PolicyStore, Cluster)> {
        let engine = self.engine;
        let Some(ClusterOptions { kubeconfig, context }) = self.cluster_options else {
            return Ok((engine, self.store, Cluster::from(self.directory)));
        };
        let cluster = engine::connect(kubeconfig, context, &self.settings).await?;
        cluster.wait_synced(Instant::now() + Duration::from_secs(15)).await;
        Ok((engine, self.store, Cluster::layered(self.directory, cluster)))
    }

    /// The cluster alone, without the inputs, and a remark; does not wait for its watches.
    pub(in crate::cli) async fn cluster(self) -> anyhow::Result<(Live<Engine>, PolicyStore, Cluster, Option<String>)> {
        let Some(ClusterOptions { kubeconfig, context }) = self.cluster_options else {
            bail!("--cluster is missing");
        };
        let cluster = engine::connect(kubeconfig, context, &self.settings).await?;
        let engine = self.engine;
        let remark = openshift(&cluster, &self.settings, &engine).await;
        Ok((engine, self.store, cluster, remark))
    }
}

/// Which cluster it is, how many nodes it has, and which policies count: the first line of what `check --cluster` says, before it asks any
/// registry.
pub(in crate::cli) async fn taken(cluster: &Cluster, store: &PolicyStore) -> String {
    let unread = cluster.ready().into_iter().find(|readiness| readiness.what == "nodes");
    let unread = unread.and_then(|readiness| {
        readiness
            .note
            .or((!readiness.synced).then(|| "they were not listed in time".to_owned()))
    });
    let nodes = match unread {
        Some(why) => format!("its nodes are not known: {why}"),
        None => match cluster.facts("", &[], Instant::now()).await.nodes.len() {
            1 => "1 node".to_owned(),
            many => format!("{many} nodes"),
        },
    };
    let policies = store.load();
    let named: Vec<String> = policies
        .iter()
        .map(|policy| format!("{} ({})", policy.name, policy.mode().name()))
        .collect();
    let policies = match named.len() {
        0 => "no policies".to_owned(),
        _ => format!("policies: {}", named.join(", ")),
    };
    format!("cluster {}: {nodes}; {policies}", escape(cluster.title().unwrap_or_default()))
}

/// Loads the cluster's policies into the store. Returns remarks.
pub(in crate::cli) async fn load_cluster_policies(
    cluster: &Cluster,
    kinds: &Kinds,
    store: &PolicyStore,
    deadline: Instant,
) -> Vec<String> {
    let listed = tokio::time::timeout_at(deadline, cluster.policies(kinds)).await;
    let listed = listed.unwrap_or_else(|_| Err("the cluster's ImagePolicies could not be read in time".to_owned()));
    match listed {
        Ok(listed) => {
            store.set_cluster(listed.policies);
            listed.problems
        }
        Err(why) => vec![format!("{why}; this report does not include them")],
    }
}

/// Passes on to the look-ups what OpenShift's objects say; returns a remark if that is unknown or does not count.
async fn openshift(cluster: &Cluster, settings: &Settings, engine: &Live<Engine>) -> Option<String> {
    match openshift::pass_on(cluster, settings, &engine.load().registry).await {
        Known::Absent | Known::Read => None,
        Known::Overruled => {
            Some("registries.registriesConf is given: OpenShift's own objects about registries are ignored".to_owned())
        }
        Known::Unknown(why) => Some(why),
    }
}

/// What is odd about the settings' node pools, a sentence each.
fn pools(cluster: &Cluster, settings: &Settings) -> impl Iterator<Item = String> {
    node_pools::oddities(cluster, settings)
        .all
        .into_iter()
        .map(|oddity| oddity.text)
}
