//! HTTPS for the API server, and a plain port for probes and scrapers.
//!
//! Malformed or abusive requests are stopped here: connections, handshakes, heads and bodies have limits of their own, and a handler that
//! panics or takes too long still answers. This module does not parse reviews: it passes bytes to the [`Reviewer`] and sends back its
//! [`Reply`].
//!
//! Life of a server: [`Server::bind`], then [`Server::run`] until its `stop` future completes. Then `/readyz` fails, connections are still
//! accepted for [`Limits::drain_delay`] (the cluster needs that long to route new ones elsewhere; somewhat longer while it still sends
//! some), the port closes, reviews in flight are answered, and `run` returns.

pub mod admission;
mod budget;
mod event;
pub mod health;
mod listen;
mod probes;
mod reviewer;
mod seen;
mod timeouts;
pub mod tls;

pub use admission::{Reply, Reviewer, Sent};
pub use health::Readiness;
pub use reviewer::reviewer;

use crate::limits;
use crate::telemetry::Metrics;
use admission::Webhook;
use listen::{Answers, Port};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Limits for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections on the webhook port. Beyond that, a new one replaces a silent one, an idle one, or the oldest after its
    /// answer.
    pub connections: usize,
    /// Open connections on the port of metrics and health.
    pub plain_connections: usize,
    /// Whether that port has a thread of its own: probes are answered whatever keeps the others busy.
    pub probes_apart: bool,
    /// From the TCP connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the first byte of a request.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between requests. Longer than the 90 s after which Go's HTTP client, and so the API server, closes an idle connection:
    /// whoever closes first may lose a request that is on its way.
    pub idle: Duration,
    /// From the end of the head to the end of the body.
    pub body: Duration,
    /// The size of a body, in bytes ([`limits::REVIEW_BODY`]). Of a longer one only the beginning is read.
    pub body_bytes: usize,
    /// The size of all bodies in memory together, in bytes. A body that does not fit waits.
    pub bodies_bytes: usize,
    /// From a request's head to its answer, body included; then 503. A longer `?timeout=` does not extend it.
    pub answer: Duration,
    /// How long a client may leave our answer unread.
    pub write: Duration,
    /// How long connections are accepted after the server was told to stop, and after the last request since then.
    pub drain_delay: Duration,
    /// How much longer than [`Limits::drain_delay`] requests may keep the port open.
    pub linger: Duration,
    /// How long reviews in flight may take after that.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: limits::WEBHOOK_CONNECTIONS,
            plain_connections: limits::PLAIN_CONNECTIONS,
            probes_apart: false,
            handshake: Duration::from_secs(5),
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            body: Duration::from_secs(5),
            body_bytes: limits::REVIEW_BODY,
            bodies_bytes: 40 << 20,
            answer: Duration::from_secs(10),
            write: Duration::from_secs(10),
            drain_delay: Duration::from_secs(3),
            linger: Duration::from_secs(6),
            drain: Duration::from_secs(15),
        }
    }
}

/// The parts of a server.
#[derive(Debug)]
pub struct Options {
    /// The address of the webhook port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address of the port for `/metrics`, `/healthz` and `/readyz`.
    pub metrics_listen: SocketAddr,
    /// The certificate for TLS handshakes.
    pub certificate: tls::Certificate,
    /// Who may connect to the webhook port; `None` for everybody.
    pub clients: Option<tls::Clients>,
    /// What `/readyz` checks, besides the certificate and whether the server is stopping.
    pub readiness: Readiness,
    /// The metrics to update.
    pub metrics: Metrics,
    /// The limits for clients.
    pub limits: Limits,
}

/// The stage of a server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Answering.
    Serving,
    /// Told to stop: not ready, but still answering.
    Leaving,
    /// Accepts no new connection; the open ones finish their request.
    Draining,
    /// Out of time: connections are dropped.
    Closed,
}

/// How a server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every connection finished by itself.
    Drained,
    /// Some were cut off after [`Limits::drain`].
    CutOff,
}

/// A server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The TLS library refuses its settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
}

/// A server with open ports: connections queue up from here on, and [`Server::run`] answers them.
#[derive(Debug)]
pub struct Server {
    webhook: Port,
    plain: Port,
    webhook_address: SocketAddr,
    metrics_address: SocketAddr,
    stage: watch::Sender<Stage>,
    /// The plain port stays open while the webhook port drains.
    plain_stage: watch::Sender<Stage>,
    limits: Limits,
}

impl Server {
    /// Opens both ports.
    pub async fn bind(options: Options, reviewer: Reviewer) -> Result<Self, BindError> {
        let Options {
            listen,
            metrics_listen,
            certificate,
            clients,
            readiness,
            metrics,
            limits,
        } = options;
        let (stage, watched) = watch::channel(Stage::Serving);
        let (plain_stage, plain_watched) = watch::channel(Stage::Serving);
        let (webhook, webhook_address) = open(listen).await?;
        let (plain, metrics_address) = open(metrics_listen).await?;
        let tls = certificate.server_config(clients.as_ref()).map_err(BindError::Tls)?;
        let readiness = readiness.with("certificate", move || certificate.check());
        Ok(Self {
            webhook: Port::new(
                webhook,
                Some(TlsAcceptor::from(tls)),
                Answers::Reviews(Webhook::new(reviewer, metrics.clone(), limits)),
                limits,
                listen::Counted::Yes(metrics.clone()),
                watched.clone(),
            ),
            plain: Port::new(
                plain,
                None,
                Answers::Pages(health::routes(metrics, readiness, watched)),
                Limits {
                    connections: limits.plain_connections,
                    ..limits
                },
                listen::Counted::No,
                plain_watched,
            ),
            webhook_address,
            metrics_address,
            stage,
            plain_stage,
            limits,
        })
    }

    /// The address of the webhook port.
    pub fn webhook_address(&self) -> SocketAddr {
        self.webhook_address
    }

    /// The address of the plain port.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// Serves until `stop` completes, then shuts down as described above. The plain port closes last, so that `/readyz` and
    /// `/metrics` answer until the end.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Ended {
        let Self {
            webhook,
            plain,
            webhook_address: _,
            metrics_address: _,
            stage,
            plain_stage,
            limits,
        } = self;
        let visited = webhook.last_request();
        let mut plain = if limits.probes_apart {
            probes::begin_apart(plain)
        } else {
            probes::begin(plain)
        };
        let mut accepting = tokio::spawn(webhook.run());
        stop.await;
        tracing::info!(
            drain_delay_ms = u64::try_from(limits.drain_delay.as_millis()).unwrap_or(u64::MAX),
            "told to stop: no longer ready"
        );
        stage.send_replace(Stage::Leaving);
        until_quiet(&visited, limits).await;
        stage.send_replace(Stage::Draining);
        let ended = match tokio::time::timeout(limits.drain, &mut accepting).await {
            Ok(_) => Ended::Drained,
            Err(_) => Ended::CutOff,
        };
        stage.send_replace(Stage::Closed);
        if ended == Ended::CutOff {
            tracing::warn!("reviews in flight were cut off: they took longer than the drain allows");
            // Dropping a connection takes no time; do not wait for a task that still does not end.
            let _ = tokio::time::timeout(Duration::from_secs(1), accepting).await;
        }
        plain_stage.send_replace(Stage::Draining);
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut plain).await;
        plain_stage.send_replace(Stage::Closed);
        tracing::info!("stopped");
        ended
    }
}

/// Completes when no request has come for the drain delay: a cluster that still sends requests does not know yet that this server
/// is stopping, and would lose them at a closed port. But not forever: a client that knows no other server must not keep us
/// running.
async fn until_quiet(visited: &watch::Receiver<Option<Instant>>, limits: Limits) {
    let mut end = Instant::now() + limits.drain_delay;
    let latest = end + limits.linger;
    loop {
        tokio::time::sleep_until(end).await;
        let later = visited.borrow().map(|last| (last + limits.drain_delay).min(latest));
        match later {
            Some(later) if later > end => end = later,
            Some(_) | None => return,
        }
    }
}

async fn open(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let fail = |source| BindError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}
