//! The only module that runs programs (but for a credential helper that a kubeconfig names, which kube runs): the kubelet's credential
//! provider plugins, named in the settings, and docker's credential helpers, named in the docker config of the user of `check`, git for
//! `check --since`, and Helm and kustomize for `check --render`. Nothing named by an object of the cluster is ever run.
//!
//! A program gets its input on standard input, writes to a pipe of limited size, and has a time limit. The standard error of those that
//! handle credentials is discarded, and their output is never logged: both may contain secrets.

mod flights;
mod git;
mod helpers;
mod orphans;
mod plugins;
mod renderers;
mod run;

pub use git::changed_since;
pub use renderers::{Renderer, Unrendered};

use crate::credentials::helper::Helpers;
use crate::credentials::node::{Provided, StandIn, WantedCredentials};
use crate::credentials::provider::Provider;
use crate::telemetry::Metrics;
use futures_util::future::join_all;
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;

/// Whose credentials a docker config with helpers provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandsFor {
    /// The nodes' own (`--docker-config`).
    Nodes,
    /// A stand-in for whatever could not be read: the user's own docker config.
    Unreadable,
}

/// All sources of node-level credentials that must be asked. Cheap to clone; clones share their caches. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Providers {
    plugins: Option<Arc<plugins::Plugins>>,
    helpers: Option<(StandsFor, Arc<helpers::Asked>)>,
}

/// The plugins cannot be used; a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);

impl Providers {
    /// Adds the plugins of a `CredentialProviderConfig`; their binaries are in `folder`.
    ///
    /// # Errors
    /// A sentence if a binary does not exist or cannot be executed: the kubelet would not start.
    pub fn with_plugins(self, providers: Vec<Provider>, folder: &Path, metrics: Metrics) -> Result<Self, SetupError> {
        let plugins = plugins::Plugins::new(providers, folder, metrics)?;
        Ok(Self {
            plugins: Some(Arc::new(plugins)),
            ..self
        })
    }

    /// Adds the credential helpers of a docker config.
    pub fn with_helpers(self, helpers: Helpers, stands_for: StandsFor) -> Self {
        if helpers.is_empty() {
            return self;
        }
        Self {
            helpers: Some((stands_for, Arc::new(helpers::Asked::new(helpers)))),
            ..self
        }
    }

    /// Whether there are none to ask.
    pub fn are_none(&self) -> bool {
        self.plugins.is_none() && self.helpers.is_none()
    }

    /// Asks for the credentials of these repositories, all at once. Takes at most half of the time left until `deadline`: the
    /// registries need the rest. What has not come by then counts as unanswered; the programs continue, and their answers are
    /// cached.
    pub async fn ask(&self, wanted: Vec<WantedCredentials>, deadline: Instant) -> Vec<(WantedCredentials, Provided)> {
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / 2;
        join_all(wanted.into_iter().map(|wanted| async {
            let provided = self.provided(&wanted, until).await;
            (wanted, provided)
        }))
        .await
    }

    async fn provided(&self, wanted: &WantedCredentials, until: Instant) -> Provided {
        let mut provided = Provided::default();
        if let Some(plugins) = &self.plugins {
            plugins.ask(&wanted.name, until, &mut provided).await;
        }
        match &self.helpers {
            Some((StandsFor::Nodes, helpers)) => match helpers.ask(&wanted.registry, until).await {
                Ok(found) => provided.docker_config = found,
                Err(why) => {
                    provided.unanswered.get_or_insert(why);
                }
            },
            Some((StandsFor::Unreadable, helpers)) if wanted.stand_in == StandIn::Wanted => {
                match helpers.ask(&wanted.registry, until).await {
                    Ok(found) => provided.stand_in = found,
                    Err(why) => provided.stand_in_failed = Some(why),
                }
            }
            Some((StandsFor::Unreadable, _)) | None => {}
        }
        provided
    }
}

#[cfg(test)]
mod tests;
