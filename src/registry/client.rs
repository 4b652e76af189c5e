//! The HTTP client: HTTP/1.1, one request a connection at a time, by the guard's addresses only. Whatever a server sends is bounded in bytes
//! ([`meter`]), interim answers in number as well, and no connection keeps its thread for longer than a short stretch.

mod connect;
mod meter;

pub(super) use connect::{Connector, Through};

use crate::limits;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, HttpInfo, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use meter::Meter;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Idle connections that are kept of one host, and for how long.
const IDLE: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// A client. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client(legacy::Client<Connector, Full<Bytes>>);

/// Why there is no answer. The chain of its sources says more.
#[derive(Debug)]
pub(super) enum Error {
    /// Before or while the head of the answer was read.
    Sending(legacy::Error),
    /// While its body was.
    Reading(hyper::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sending(error) => error.fmt(f),
            Self::Reading(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sending(error) => Some(error),
            Self::Reading(error) => Some(error),
        }
    }
}

impl Error {
    /// Whether no connection came about.
    pub(super) fn is_connect(&self) -> bool {
        matches!(self, Self::Sending(error) if error.is_connect())
    }
}

/// An answer whose body may still be on its way.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// How long the body is, where that is said.
    pub(super) length: Option<u64>,
    /// The address that answered, or the proxy's.
    pub(super) from: Option<IpAddr>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Sent(Incoming, Option<Arc<Meter>>),
    /// Of a network that is simulated.
    Simulated(Option<Bytes>),
}

impl Client {
    pub(super) fn new(connector: Connector) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(IDLE_FOR)
            // Also the bound of one head.
            .http1_max_buf_size(limits::ANSWER_BUFFER);
        Self(builder.build(connector))
    }

    /// Sends a request. Returns as soon as the head of the answer is there.
    pub(super) fn send(
        &self,
        mut request: http::Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Received, Error>> + Send + 'static {
        let connection = capture_connection(&mut request);
        let interim = AtomicUsize::new(0);
        hyper::ext::on_informational(&mut request, move |_| {
            if interim.fetch_add(1, Ordering::Relaxed) >= limits::INTERIM_ANSWERS
                && let Some(meter) = meter_of(&connection)
            {
                meter.cut();
            }
        });
        let answer = self.0.request(request);
        async move {
            let (head, body) = answer.await.map_err(Error::Sending)?.into_parts();
            Ok(Received {
                status: head.status,
                headers: head.headers,
                length: body.size_hint().exact(),
                from: head.extensions.get().map(|info: &HttpInfo| info.remote_addr().ip()),
                body: Body::Sent(body, head.extensions.get().cloned()),
            })
        }
    }
}

fn meter_of(connection: &CaptureConnection) -> Option<Arc<Meter>> {
    let mut extras = http::Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.get().cloned()
}

impl Received {
    /// An answer that is whole.
    pub(super) fn simulated(response: http::Response<Vec<u8>>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            length: Some(body.len() as u64),
            from: None,
            body: Body::Simulated((!body.is_empty()).then(|| body.into())),
        }
    }

    /// Makes room for a body of which `bytes` are read.
    pub(super) fn make_room(&self, bytes: usize) {
        if let Body::Sent(_, Some(meter)) = &self.body {
            meter.allow_body(bytes);
        }
    }

    /// The next part of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let body = match &mut self.body {
            Body::Sent(body, _) => body,
            Body::Simulated(bytes) => return Ok(bytes.take()),
        };
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(Error::Reading)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
