//! How the API server is found.

use super::watch::{SecretsAccess, Watched};
use crate::limits;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::PathBuf;
use std::time::Duration;

/// Which cluster, and what may be read there.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A kubeconfig file. Without it: the default one (`KUBECONFIG`, `~/.kube/config`), else the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; without it, the current one.
    pub context: Option<String>,
    /// How pull secrets are read.
    pub secrets: SecretsAccess,
}

/// No cluster can be reached. The Display is a sentence for the user; the source is for the log.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read or lacks what was asked for.
    #[error("the kubeconfig{} cannot be used: {source}", .path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file, if one was named.
        path: Option<PathBuf>,
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither a kubeconfig nor a pod's service account.
    #[error("no cluster is configured: {0}")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The configuration was read, but no client can be made from it.
    #[error("the cluster configuration cannot be used: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// Reads the configuration, makes a client and starts the watches. Does not wait for the API server: see
/// [`super::Cluster::wait_synced`].
pub(super) async fn connect(options: &Options) -> Result<Watched, ConnectError> {
    // A list that is never answered must not block a watch forever; a watch itself is renewed before that.
    let silence = Duration::from_secs(u64::from(crate::limits::WATCH_SECONDS) + 10);
    Ok(Watched::start(&client(options, silence).await?, options.secrets))
}

/// Reads the configuration and makes a client that waits at most `silence` for the next byte of an answer.
pub(super) async fn client(options: &Options, silence: Duration) -> Result<Client, ConnectError> {
    let mut config = config(options).await?;
    // The client's own retries wait up to 1000 s; the watches and readers have their own.
    config.default_retry = false;
    config.connect_timeout = Some(limits::API_SERVER);
    config.read_timeout = Some(silence);
    config.reset_reader_on_write = true;
    // A credential helper of the kubeconfig may block: run it on a thread that no signal handler needs.
    let made = tokio::task::spawn_blocking(move || Client::try_from(config)).await;
    made.unwrap_or_else(|died| Err(kube::Error::Service(died.into())))
        .map_err(|error| ConnectError::Client(Box::new(error)))
}

async fn config(options: &Options) -> Result<Config, ConnectError> {
    let wanted = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    let failed = |source| ConnectError::Kubeconfig {
        path: options.kubeconfig.clone(),
        source: Box::new(source),
    };
    let kubeconfig = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let config = match kubeconfig {
        Ok(kubeconfig) => Config::from_custom_kubeconfig(without_surroundings(kubeconfig), &wanted).await,
        Err(why) => Err(why),
    };
    let mut config = match config {
        Ok(config) => config,
        // In a pod there is none, and none was asked for.
        Err(_) if options.kubeconfig.is_none() && options.context.is_none() => {
            Config::infer().await.map_err(|error| ConnectError::Infer(Box::new(error)))?
        }
        Err(why) => return Err(failed(why)),
    };
    if config.proxy_url.as_ref().is_some_and(|url| url.host() == Some(NO_PROXY_HOST)) {
        config.proxy_url = None;
    }
    Ok(config)
}

/// A host that is not a proxy.
const NO_PROXY_HOST: &str = "none.invalid";

/// Sets the proxy of each cluster in a kubeconfig explicitly: otherwise the client takes that of `HTTPS_PROXY`, and fails if it
/// cannot parse it. The environment's proxy leads to registries, not to the API server.
fn without_surroundings(mut kubeconfig: Kubeconfig) -> Kubeconfig {
    let clusters = kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut());
    for cluster in clusters.filter(|cluster| cluster.proxy_url.as_ref().is_none_or(String::is_empty)) {
        cluster.proxy_url = Some(format!("http://{NO_PROXY_HOST}"));
    }
    kubeconfig
}
