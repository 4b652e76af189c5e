//! Passes OpenShift's objects about registries on to the look-ups.

use crate::cluster::Cluster;
use crate::config::{Live, Settings};
use crate::engine::{Engine, LookUps};
use std::time::Duration;

/// How often `serve` reads them again.
const AGAIN: Duration = Duration::from_secs(30);

/// What is known about the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// There are none.
    Absent,
    /// They were read, and count.
    Read,
    /// The settings take precedence over them.
    Overruled,
    /// They cannot be read, or the operator would refuse them; a sentence.
    Unknown(String),
}

/// Reads the objects and passes what they tell nodes on to the look-ups.
pub(super) async fn pass_on(cluster: &Cluster, settings: &Settings, registry: &LookUps) -> Known {
    let (config, known) = match cluster.openshift().await {
        Ok(None) => (None, Known::Absent),
        Ok(Some(_)) if settings.registries_conf.is_some() => (None, Known::Overruled),
        Ok(Some(objects)) => match objects.operator_config() {
            Ok(config) => (Some(Ok(config)), Known::Read),
            Err(why) => {
                let why = format!(
                    "the machine config operator refuses the registry settings of this cluster, and nodes keep older ones: {why}"
                );
                (Some(Err(why.clone())), Known::Unknown(why))
            }
        },
        Err(why) => {
            let why = format!("OpenShift's registry settings are not known, so CRI-O nodes are judged without them: {why}");
            (None, Known::Unknown(why))
        }
    };
    registry.set_openshift(config);
    known
}

/// The same, forever; logs what has changed.
pub(super) async fn follow(cluster: Cluster, settings: Live<Settings>, live: Live<Engine>) {
    let mut before = Known::Absent;
    loop {
        let known = pass_on(&cluster, &settings.load(), &live.load().registry).await;
        if known != before {
            match &known {
                Known::Absent => tracing::info!("the cluster no longer has OpenShift's registry settings"),
                Known::Read => {
                    tracing::info!("CRI-O nodes are judged by the cluster's mirror sets and images.config.openshift.io/cluster");
                }
                Known::Overruled => tracing::info!(
                    "registries.registriesConf is given: the cluster's mirror sets and images.config.openshift.io/cluster are ignored"
                ),
                Known::Unknown(why) => tracing::warn!(why, "OpenShift's registry settings cannot be used"),
            }
            before = known;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
