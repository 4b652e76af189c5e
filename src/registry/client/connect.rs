//! How connections come about: an address that the guard admits, perhaps a proxy's tunnel, perhaps TLS.

use super::meter::{Carried, Metered};
use crate::registry::resolve::Guarded;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Service, ServiceExt as _};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How often the kernel checks that the other side is alive, and how long sent data may stay unacknowledged.
const KEEPALIVE: Duration = Duration::from_secs(15);
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The proxy that connections go through.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Through {
    pub(in crate::registry) at: Uri,
    /// `Proxy-Authorization`.
    pub(in crate::registry) authorization: Option<HeaderValue>,
}

/// Makes connections within a time limit, which includes the name's resolution and TLS.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Connector {
    transport: Transport,
    limit: Duration,
}

#[derive(Debug, Clone)]
enum Transport {
    Direct(HttpsConnector<Sockets>),
    Tunnelled(Box<HttpsConnector<Tunnel<HttpsConnector<Sockets>>>>),
}

impl Connector {
    pub(in crate::registry) fn new(resolver: &Guarded, tls: &Arc<ClientConfig>, proxy: Option<&Through>, limit: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(resolver.clone());
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(limit));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(KEEPALIVE));
        http.set_keepalive_retries(Some(3));
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let direct = HttpsConnector::from((Sockets(http), Arc::clone(tls)));
        let transport = match proxy {
            None => Transport::Direct(direct),
            Some(proxy) => {
                let tunnel = Tunnel::new(proxy.at.clone(), direct);
                let tunnel = match &proxy.authorization {
                    Some(authorization) => tunnel.with_auth(authorization.clone()),
                    None => tunnel,
                };
                Transport::Tunnelled(Box::new(HttpsConnector::from((tunnel, Arc::clone(tls)))))
            }
        };
        Self { transport, limit }
    }
}

impl Service<Uri> for Connector {
    type Response = Carried;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Carried, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Self { transport, limit } = self.clone();
        let connect = async {
            match transport {
                Transport::Direct(direct) => direct.oneshot(to).await.map(Carried::new),
                Transport::Tunnelled(tunnel) => (*tunnel).oneshot(to).await.map(Carried::new),
            }
        };
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            tokio::time::timeout(limit, connect).await.map_err(late)?
        })
    }
}

/// Sockets whose bytes are counted.
#[derive(Debug, Clone)]
struct Sockets(HttpConnector<Guarded>);

impl Service<Uri> for Sockets {
    type Response = TokioIo<Metered>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TokioIo<Metered>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move { Ok(TokioIo::new(Metered::new(connecting.await?.into_inner()))) })
    }
}
