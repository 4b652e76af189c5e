//! How the API server is found.

use super::watch::{SecretsAccess, WATCH_SECONDS, Watched};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::PathBuf;
use std::time::Duration;

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Which cluster, and what may be read there.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A kubeconfig file. Without it: the usual one (`KUBECONFIG`, `~/.kube/config`), else the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; without it the current one.
    pub context: Option<String>,
    /// How pull secrets are read.
    pub secrets: SecretsAccess,
}

/// No cluster to talk to. The Display is a sentence for the reader; the source is for the log.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read or does not name what was asked for.
    #[error("the kubeconfig{} cannot be used: {source}", .path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file, where one was named.
        path: Option<PathBuf>,
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither a kubeconfig nor a service account of a pod.
    #[error("there is no cluster to talk to: {0}")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The settings were read and no client can be made of them.
    #[error("the cluster's settings cannot be used: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// Reads the settings, makes a client and starts the watches. It does not wait for the API server: see
/// [`super::Cluster::wait_synced`].
pub(super) async fn connect(options: &Options) -> Result<Watched, ConnectError> {
    // A list that is never answered must not hold a watch for ever; a watch itself is renewed before that.
    let silence = Duration::from_secs(u64::from(WATCH_SECONDS) + 10);
    Ok(Watched::start(&client(options, silence).await?, options.secrets))
}

/// Reads the settings and makes a client that waits for the next byte of an answer no longer than `silence`.
pub(super) async fn client(options: &Options, silence: Duration) -> Result<Client, ConnectError> {
    let mut config = config(options).await?;
    // The client's own retries wait up to 1000 s; the watches and readers have their own.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(silence);
    config.reset_reader_on_write = true;
    // A helper program of the kubeconfig is waited for: not on a thread that a signal needs.
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
    let (mut config, kubeconfig) = match (&options.kubeconfig, &options.context) {
        (Some(path), _) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &wanted)
                .await
                .map_err(failed)?;
            (config, Some(kubeconfig))
        }
        (None, Some(_)) => (
            Config::from_kubeconfig(&wanted).await.map_err(failed)?,
            Kubeconfig::read().ok(),
        ),
        (None, None) => (
            Config::infer().await.map_err(|error| ConnectError::Infer(Box::new(error)))?,
            Kubeconfig::read().ok(),
        ),
    };
    if !kubeconfig.is_some_and(|kubeconfig| names(&kubeconfig, config.proxy_url.as_ref())) {
        // The way to registries that the surroundings name is not the way to the API server. The client could not go it, and would
        // rather not begin.
        config.proxy_url = None;
    }
    Ok(config)
}

/// Whether a cluster of this kubeconfig asks for this proxy.
fn names(kubeconfig: &Kubeconfig, proxy: Option<&http::Uri>) -> bool {
    let clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    clusters
        .filter_map(|cluster| cluster.proxy_url.as_ref()?.parse().ok())
        .any(|asked: http::Uri| Some(&asked) == proxy)
}
