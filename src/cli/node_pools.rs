//! Reports what looks wrong with the settings' node pools, in the log and in metrics.

use super::engine;
use crate::cluster::Cluster;
use crate::config::{Live, Settings};
use crate::plan::pools::{OddPools, Oddities};
use crate::telemetry::Metrics;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How often the nodes are checked again.
const AGAIN: Duration = Duration::from_secs(30);

/// What is odd about the pools, given the nodes of this cluster.
pub(super) fn oddities(cluster: &Cluster, settings: &Settings) -> Oddities {
    Oddities::of(&engine::pools(settings), &cluster.nodes())
}

/// Checks the pools forever. Each oddity is logged when it begins.
pub(super) async fn follow(cluster: Cluster, settings: Live<Settings>, metrics: Metrics) {
    let mut told: BTreeSet<OddPools> = BTreeSet::new();
    cluster.wait_synced(Instant::now() + AGAIN).await;
    loop {
        let odd = oddities(&cluster, &settings.load());
        for oddity in odd.all.iter().filter(|oddity| !told.contains(&oddity.about)) {
            tracing::warn!(why = %oddity.text, "the settings' nodePools do not fit the nodes");
        }
        told = odd.all.iter().map(|oddity| oddity.about.clone()).collect();
        metrics.node_pools(odd.empty, odd.claimed_twice);
        tokio::time::sleep(AGAIN).await;
    }
}
