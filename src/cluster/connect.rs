//! How the API server is found.

use super::last_contact::LastContact;
use super::watch::{SecretReading, Watched};
use crate::limits;
use http_body_util::BodyExt as _;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::PathBuf;
use std::time::Duration;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};

/// Which cluster, and what may be read there.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A kubeconfig file. Without it: the default one (`KUBECONFIG`, `~/.kube/config`), else the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; without it, the current one.
    pub context: Option<String>,
    /// How pull secrets are read.
    pub secrets: SecretReading,
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
    let heard = LastContact::default();
    let (client, title) = client_that_notes(options, silence, heard.clone()).await?;
    Ok(Watched::recording_contact(&client, options.secrets, heard, title).listen())
}

/// Reads the configuration and makes a client that waits at most `silence` for the next byte of an answer.
pub(super) async fn client(options: &Options, silence: Duration) -> Result<Client, ConnectError> {
    client_that_notes(options, silence, LastContact::default())
        .await
        .map(|(client, _)| client)
}

async fn client_that_notes(options: &Options, silence: Duration, heard: LastContact) -> Result<(Client, String), ConnectError> {
    let (mut config, context) = config(options).await?;
    let server = config.cluster_url.to_string();
    let server = server.trim_end_matches('/');
    let title = context.map_or_else(|| server.to_owned(), |context| format!("{context} ({server})"));
    // The client's own retries wait up to 1000 s; the watches and readers have their own.
    config.default_retry = false;
    config.connect_timeout = Some(limits::API_SERVER);
    config.read_timeout = Some(silence);
    config.reset_reader_on_write = true;
    // A credential helper of the kubeconfig may block: run it on a thread that no signal handler needs.
    let made = tokio::task::spawn_blocking(move || build(config, heard)).await;
    made.unwrap_or_else(|died| Err(kube::Error::Service(died.into())))
        .map(|client| (client, title))
        .map_err(|error| ConnectError::Client(Box::new(error)))
}

/// The client as kube builds it, with two differences: it keeps few idle connections and notices those that were cut silently, and it
/// records in `heard` when something arrives.
fn build(config: Config, heard: LastContact) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    // kube does this before its first TLS connection; an error means that it is done already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (idle, interval, times) = limits::API_KEEPALIVE;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(idle));
    tcp.set_keepalive_interval(Some(interval));
    tcp.set_keepalive_retries(Some(times));
    tcp.set_tcp_user_timeout(Some(limits::API_USER_TIMEOUT));
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let connections = hyper_util::client::legacy::Builder::new(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(limits::API_IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(connections)
        .map_response(move |response: http::Response<hyper::body::Incoming>| {
            heard.now();
            let heard = heard.clone();
            response.map(|body| {
                body.map_frame(move |frame| {
                    heard.now();
                    frame
                })
            })
        });
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// The configuration, and the kubeconfig's context that it comes from.
async fn config(options: &Options) -> Result<(Config, Option<String>), ConnectError> {
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
    let mut context = options.context.clone();
    let config = match kubeconfig {
        Ok(kubeconfig) => {
            context = context.or_else(|| kubeconfig.current_context.clone());
            Config::from_custom_kubeconfig(without_environment_proxy(kubeconfig), &wanted).await
        }
        Err(why) => Err(why),
    };
    let mut config = match config {
        Ok(config) => config,
        // No kubeconfig, and the user asked for none: this may be a pod.
        Err(_) if options.kubeconfig.is_none() && options.context.is_none() => {
            context = None;
            Config::infer().await.map_err(|error| ConnectError::Infer(Box::new(error)))?
        }
        Err(why) => return Err(failed(why)),
    };
    if config.proxy_url.as_ref().is_some_and(|url| url.host() == Some(NO_PROXY_HOST)) {
        config.proxy_url = None;
    }
    Ok((config, context))
}

/// Stands for "no proxy" in a kubeconfig.
const NO_PROXY_HOST: &str = "none.invalid";

/// Sets the proxy of each cluster in a kubeconfig explicitly: otherwise the client takes that of `HTTPS_PROXY`, and fails if it
/// cannot parse it. The environment's proxy leads to registries, not to the API server.
fn without_environment_proxy(mut kubeconfig: Kubeconfig) -> Kubeconfig {
    let clusters = kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut());
    for cluster in clusters.filter(|cluster| cluster.proxy_url.as_ref().is_none_or(String::is_empty)) {
        cluster.proxy_url = Some(format!("http://{NO_PROXY_HOST}"));
    }
    kubeconfig
}
