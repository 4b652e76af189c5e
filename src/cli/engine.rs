//! From settings to the engine that a command needs.

use crate::cluster::{Cluster, Options, SecretsAccess};
use crate::config::{Face, SecretAccess, Settings};
use crate::credentials::{Credential, parse_user_config};
use crate::gate::Engine;
use crate::image::escape;
use crate::plan::{self, Admission, AlwaysPull, Platforms};
use crate::registry::Registry;
use crate::telemetry::Metrics;
use crate::workload::Kinds;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Builds the registry door and the plan's settings.
pub(super) fn build(settings: &Settings, face: Face, admission: Admission, metrics: &Metrics) -> anyhow::Result<Engine> {
    let docker_config = match &settings.docker_config {
        Some(file) => Arc::new(docker_config(file)?),
        None => Arc::default(),
    };
    Ok(Engine {
        registry: Registry::new(settings.registry(face), metrics.clone())?,
        settings: plan::Settings {
            node_credentials: settings.node_credentials.clone(),
            platforms: match &settings.default_platforms {
                Some(platforms) => Platforms::Default(platforms.clone()),
                None => Platforms::Guess,
            },
            assume_always_pull: if settings.assume_always_pull {
                AlwaysPull::Assumed
            } else {
                AlwaysPull::AsWritten
            },
            docker_config,
            stand_in: Arc::default(),
            admission,
            exempt_annotations: settings.exempt_annotations.clone(),
            kinds: Arc::new(Kinds::with(&settings.workloads)),
            rewrites: settings.rewrites.clone(),
        },
    })
}

/// Connects to a cluster; does not wait for it.
pub(super) async fn connect(kubeconfig: Option<PathBuf>, context: Option<String>, settings: &Settings) -> anyhow::Result<Cluster> {
    let secrets = match settings.secret_access {
        SecretAccess::Cluster => SecretsAccess::Cluster,
        SecretAccess::None => SecretsAccess::None,
        // By name either way; where no Role allows it, the API server says so.
        SecretAccess::Get | SecretAccess::Namespaces => SecretsAccess::Get,
    };
    let options = Options {
        kubeconfig,
        context,
        secrets,
    };
    Cluster::connect(&options).await.map_err(|error| {
        tracing::debug!(?error, "no cluster");
        anyhow::anyhow!("{error}")
    })
}

/// Reads a docker `config.json`: its `auths`, and the identity tokens that only a user's own file can have.
pub(super) fn docker_config(file: &Path) -> anyhow::Result<Vec<(String, Credential)>> {
    let bytes = std::fs::read(file).with_context(|| format!("the docker config {} cannot be read", file.display()))?;
    parse_user_config(&bytes).map_err(|error| {
        let entry = error
            .entry
            .map_or_else(String::new, |entry| format!(" (entry \"{}\")", escape(&entry)));
        anyhow::anyhow!("{}: {}{entry}", file.display(), escape(&error.text))
    })
}

/// The docker config of a folder, which may have none, as docker has it.
pub(super) fn docker_folder(folder: &Path) -> anyhow::Result<Vec<(String, Credential)>> {
    let file = folder.join("config.json");
    if file.exists() {
        return docker_config(&file);
    }
    anyhow::ensure!(folder.is_dir(), "--docker-config: {} is no folder", folder.display());
    Ok(Vec::new())
}

/// The docker config that this user has, if any. One that cannot be read stands in for nothing, and is told of.
pub(super) fn usual_docker_config(folder: Option<PathBuf>) -> Vec<(String, Credential)> {
    let Some(file) = folder.map(|folder| folder.join("config.json")).filter(|file| file.is_file()) else {
        return Vec::new();
    };
    docker_config(&file).unwrap_or_else(|error| {
        tracing::warn!("{error:#}; it is left out");
        Vec::new()
    })
}
