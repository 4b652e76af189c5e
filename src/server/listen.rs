//! The accept loop: TCP, TLS and HTTP/1.1, each with its limits, until the last connection has drained.
//!
//! Written by hand because `axum::serve` sets no timer (and so has no deadline for heads), cannot do TLS, and counts no
//! connections.

mod connections;

use self::connections::{Connection, Connections, Slot};
use super::admission::Webhook;
use super::timeouts::{Noted, Phase, Progress, TimedTransport};
use super::{Limits, Stage};
use crate::limits;
use crate::telemetry::{BadRequest, ConnectionEnd, Metrics};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error as _;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// At the limit, if no connection is idle or silent, the oldest one is asked to close after this long, and then one more each time
/// it passes again.
const RECYCLE: Duration = Duration::from_millis(100);

/// At the limit, a connection that has not sent a whole head for this long is dropped in favour of a new one: real clients send at
/// once. A burst of handshakes takes a while; each time that no such connection is found, the next search is less patient.
const SILENT_TLS: Duration = Duration::from_secs(1);
/// The same for one that has not sent a byte, for one without TLS, and when patience has run out.
const MUTE: Duration = Duration::from_millis(100);

/// How long a connection may take to send its first byte while draining.
const DRAIN_FIRST_BYTE: Duration = Duration::from_secs(1);

/// The longest pause after failed accepts (mostly for lack of file descriptors).
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// At most this often, a client is logged that does not trust our certificate, or whose certificate we do not trust.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// Whether a port's connections are counted: the webhook's are; a scraper's own would only be noise.
#[derive(Debug, Clone)]
pub(super) enum Counted {
    Yes(Metrics),
    No,
}

impl Counted {
    fn opened(&self) {
        match self {
            Self::Yes(metrics) => metrics.connection_opened(),
            Self::No => {}
        }
    }

    fn closed(&self) {
        match self {
            Self::Yes(metrics) => metrics.connection_closed(),
            Self::No => {}
        }
    }

    fn refused(&self, reason: BadRequest) {
        match self {
            Self::Yes(metrics) => metrics.bad_request(reason),
            Self::No => {}
        }
    }

    fn ended(&self, reason: ConnectionEnd) {
        match self {
            Self::Yes(metrics) => metrics.connection_ended(reason),
            Self::No => {}
        }
    }
}

/// What answers the requests of a port.
#[derive(Clone)]
pub(super) enum Answers {
    /// Reviews.
    Reviews(Webhook),
    /// Metrics and health.
    Pages(Router),
}

impl Answers {
    async fn answer(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let request = request.map(Body::new);
        match self {
            Self::Reviews(webhook) => Ok(webhook.answer(request).await),
            Self::Pages(router) => router.oneshot(request).await,
        }
    }
}

/// An open port.
#[derive(Debug)]
pub(super) struct Port {
    listener: TcpListener,
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
    slots: Arc<Semaphore>,
}

/// What the connections of a port share.
struct Shared {
    tls: Option<TlsAcceptor>,
    answers: Answers,
    http: http1::Builder,
    limits: Limits,
    counted: Counted,
    stage: watch::Receiver<Stage>,
    /// When the last request came after the server was told to stop.
    last_request: watch::Sender<Option<Instant>>,
    connections: Connections,
    rejections: Throttle,
    malformed: Throttle,
    /// Separate: untrusted clients, which anyone can be, must not suppress the warning about our certificate.
    untrusted: Throttle,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Shared {
    /// How long a connection may stay without a request when the limit is reached.
    fn patience(&self) -> Duration {
        match self.tls {
            Some(_) => SILENT_TLS,
            None => MUTE,
        }
    }
}

impl Port {
    /// A port over `listener`; plain HTTP without `tls`.
    pub(super) fn new(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        answers: Answers,
        limits: Limits,
        counted: Counted,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // Also the timer for heads, which `TimedTransport` shortens.
            .header_read_timeout(limits.idle)
            .max_headers(limits::REQUEST_HEADERS)
            .max_header_size(limits::REQUEST_HEAD)
            .max_buf_size(limits::READ_BUFFER);
        Self {
            listener,
            slots: Arc::new(Semaphore::new(limits.connections)),
            shared: Arc::new(Shared {
                tls,
                answers,
                http,
                limits,
                counted,
                stage: stage.clone(),
                last_request: watch::Sender::new(None),
                connections: Connections::default(),
                rejections: Throttle::default(),
                malformed: Throttle::default(),
                untrusted: Throttle::default(),
            }),
            stage,
        }
    }

    /// When the last request came after the server was told to stop.
    pub(super) fn last_request(&self) -> watch::Receiver<Option<Instant>> {
        self.shared.last_request.subscribe()
    }

    /// The same, on the runtime that this is called on: the port may have been opened on another one.
    pub(super) async fn run_here(mut self) {
        match self.listener.into_std().and_then(TcpListener::from_std) {
            Ok(listener) => {
                self.listener = listener;
                self.run().await;
            }
            Err(error) => tracing::error!(%error, "a port cannot be served"),
        }
    }

    /// Accepts until [`Stage::Draining`], then returns when the last connection has ended.
    pub(super) async fn run(self) {
        let Self {
            listener,
            shared,
            mut stage,
            slots,
        } = self;
        let mut spare = ReserveDescriptor::of(&shared);
        let mut patience = shared.patience();
        loop {
            // Both waits end when draining begins: a server at its limit must notice that too.
            let connection = tokio::select! {
                biased;
                () = reached(&mut stage, Stage::Draining) => break,
                connection = accept(&listener, &shared, &mut spare) => connection,
            };
            let slot = tokio::select! {
                biased;
                () = reached(&mut stage, Stage::Draining) => {
                    // A waiting connection is treated like those in the accept queue.
                    if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                        tokio::spawn(serve(connection, slot, Arc::clone(&shared)));
                    }
                    break;
                }
                slot = free_slot(&slots, &shared, &mut patience) => slot,
            };
            tokio::spawn(serve(connection, slot, Arc::clone(&shared)));
        }
        accept_backlog(listener, &slots, &shared);
        let all = u32::try_from(shared.limits.connections).unwrap_or(u32::MAX);
        // Every connection returns its slot when it ends.
        let _ = slots.acquire_many(all).await;
    }
}

/// Closes the port. Connections in the accept queue would be reset with it, so they are accepted first.
fn accept_backlog(listener: TcpListener, slots: &Arc<Semaphore>, shared: &Arc<Shared>) {
    let Ok(listener) = listener.into_std() else { return };
    while let Ok(slot) = Arc::clone(slots).try_acquire_owned()
        && let Ok((tcp, _)) = listener.accept()
        && let Ok(tcp) = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp))
    {
        tokio::spawn(serve(tcp, slot, Arc::clone(shared)));
    }
}

/// Completes when `stage` is at least `wanted`, or its server is gone.
async fn reached(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    let _ = stage.wait_for(|stage| *stage >= wanted).await;
}

/// A slot for one more connection. At the limit, unused connections go first, the oldest before the others: silent ones are
/// dropped, idle ones closed. Then busy ones are asked, one by one, to close after their answer. Anyone can hold connections open,
/// but must not keep out the API server or the probes.
async fn free_slot(slots: &Arc<Semaphore>, shared: &Shared, patience: &mut Duration) -> OwnedSemaphorePermit {
    let mut waited = false;
    loop {
        if slots.available_permits() > 0 {
            *patience = shared.patience();
        } else if shared.connections.evict(MUTE, *patience) == Slot::Free || waited && shared.connections.close_oldest() {
            shared.counted.ended(ConnectionEnd::Recycled);
        } else if waited {
            *patience = (*patience / 2).max(MUTE);
        }
        if let Ok(Ok(slot)) = tokio::time::timeout(RECYCLE, Arc::clone(slots).acquire_owned()).await {
            return slot;
        }
        waited = true;
    }
}

/// A file descriptor in reserve: it is given up so that the port of metrics and health can accept a connection when there are no others.
struct ReserveDescriptor {
    wanted: bool,
    held: Option<File>,
}

impl ReserveDescriptor {
    fn of(shared: &Shared) -> Self {
        let mut spare = Self {
            wanted: shared.tls.is_none(),
            held: None,
        };
        spare.fill();
        spare
    }

    fn fill(&mut self) {
        if self.wanted && self.held.is_none() {
            self.held = File::open("/dev/null").ok();
        }
    }

    /// Whether there was one to give up.
    fn give_up(&mut self) -> bool {
        self.held.take().is_some()
    }
}

/// `EMFILE` and `ENFILE`: nobody can open anything.
fn is_out_of_files(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(rustix::io::Errno::MFILE.raw_os_error()) || number == Some(rustix::io::Errno::NFILE.raw_os_error())
}

/// The next connection; on errors, waits a little, then longer. When descriptors have run out, silent connections lose theirs first.
async fn accept(listener: &TcpListener, shared: &Shared, spare: &mut ReserveDescriptor) -> TcpStream {
    let mut pause = Duration::from_millis(10);
    spare.fill();
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => return tcp,
            // The client went away while it queued: not our error.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) if is_out_of_files(&error) && spare.give_up() => {
                if shared.connections.evict(Duration::ZERO, Duration::ZERO) == Slot::Free {
                    shared.counted.ended(ConnectionEnd::Recycled);
                }
            }
            Err(error) => {
                if is_out_of_files(&error) && shared.connections.evict(MUTE, MUTE) == Slot::Free {
                    shared.counted.ended(ConnectionEnd::Recycled);
                }
                tracing::warn!(%error, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "cannot accept a connection");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// One connection, from TCP to its end.
async fn serve(tcp: TcpStream, slot: OwnedSemaphorePermit, shared: Arc<Shared>) {
    shared.counted.opened();
    let _counting = Counting {
        counted: &shared.counted,
        _slot: slot,
    };
    // Answers are single writes; waiting to fill a packet would only delay them.
    let _ = tcp.set_nodelay(true);
    let mut stage = shared.stage.clone();
    let guard = shared.connections.join();
    tokio::select! {
        () = reached(&mut stage, Stage::Closed) => {}
        () = guard.connection.abort.notified() => {}
        () = handshake_and_serve(tcp, &shared, &guard.connection) => {}
    }
}

/// Counts a connection as closed when it ends, however it ends.
struct Counting<'a> {
    counted: &'a Counted,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.counted.closed();
    }
}

async fn handshake_and_serve(tcp: TcpStream, shared: &Shared, connection: &Connection) {
    let Some(tls) = &shared.tls else {
        return serve_http(tcp, shared, connection).await;
    };
    match tokio::time::timeout(
        shared.limits.handshake,
        tls.accept(Noted::new(tcp, connection.progress.clone())),
    )
    .await
    {
        Ok(Ok(stream)) => serve_http(stream, shared, connection).await,
        Ok(Err(error)) if lacks_trusted_certificate(&error) => {
            shared.counted.ended(ConnectionEnd::ClientRefused);
            if shared.untrusted.allows() {
                tracing::warn!(
                    %error,
                    "refused a client without a certificate from --tls-client-ca; if it was the API server, check which certificate it presents"
                );
            }
        }
        Ok(Err(error)) => {
            shared.counted.ended(ConnectionEnd::HandshakeFailed);
            if rejects_our_certificate(&error) && shared.rejections.allows() {
                tracing::warn!(
                    %error,
                    "a client does not trust our certificate: check that the webhook's caBundle contains the CA that signed it"
                );
            } else {
                tracing::debug!(%error, "a TLS handshake failed");
            }
        }
        Err(_) => {
            shared.counted.ended(ConnectionEnd::HandshakeTimeout);
            tracing::debug!("a TLS handshake took too long");
        }
    }
}

/// Whether the client ended the handshake because of our certificate.
fn rejects_our_certificate(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::AlertReceived(
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
        ))
    )
}

/// Whether the client's own certificate was missing or untrusted.
fn lacks_trusted_certificate(error: &io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
    )
}

/// Serves requests on an established transport.
async fn serve_http<T: AsyncRead + AsyncWrite + Unpin>(transport: T, shared: &Shared, connection: &Connection) {
    let Limits {
        first_byte, head, write, ..
    } = shared.limits;
    let progress = connection.progress.clone();
    let transport = TimedTransport::new(transport, progress.clone(), first_byte, head, write);
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        progress.set(Phase::Serving);
        if *shared.stage.borrow() != Stage::Serving {
            shared.last_request.send_replace(Some(Instant::now()));
        }
        let answer = shared.answers.clone().answer(request);
        let progress = progress.clone();
        async move {
            let mut response = answer.await?;
            if *shared.stage.borrow() != Stage::Serving {
                // Makes a client move its keep-alive connections to another replica.
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            progress.set(Phase::Waiting);
            Ok::<_, Infallible>(response)
        }
    });
    let mut stage = shared.stage.clone();
    let mut http = std::pin::pin!(shared.http.serve_connection(TokioIo::new(transport), service));
    let finished = tokio::select! {
        biased;
        result = http.as_mut() => Some(result),
        () = connection.close.notified() => None,
        // Asked to close, hyper closes a connection without any request at once, though one may be on its way.
        () = reached(&mut stage, Stage::Draining) => tokio::time::timeout(DRAIN_FIRST_BYTE, until_first_byte(http.as_mut(), &progress))
            .await
            .unwrap_or(None),
    };
    let result = if let Some(result) = finished {
        result
    } else {
        // Idle connections close at once, others after their answer.
        http.as_mut().graceful_shutdown();
        http.await
    };
    // hyper reports no error before the first byte of a request.
    if progress.get() == Phase::TimedOut || result.as_ref().is_err_and(hyper::Error::is_timeout) {
        shared.counted.ended(ConnectionEnd::Timeout);
    }
    if let Err(error) = result {
        // hyper has answered with 400 or 431 itself.
        if error.is_parse() {
            shared.counted.refused(BadRequest::Head);
            if shared.malformed.allows() {
                tracing::warn!(reason = BadRequest::Head.name(), %error, "a request was refused: its head cannot be parsed, or is too long");
            }
        }
        tracing::debug!(%error, cause = error.source().map(tracing::field::display), "a connection was interrupted");
    }
}

/// Completes with the connection, or with `None` on the first byte of its first request.
async fn until_first_byte<C: Future>(mut http: Pin<&mut C>, progress: &Progress) -> Option<C::Output> {
    std::future::poll_fn(|cx| match http.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if matches!(progress.get(), Phase::Opening | Phase::Greeting) => Poll::Pending,
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Limits how often a message is logged.
#[derive(Debug, Default)]
struct Throttle(Mutex<Option<Instant>>);

impl Throttle {
    fn allows(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = last.is_none_or(|last| now.duration_since(last) >= LOG_EVERY);
        if may {
            *last = Some(now);
        }
        may
    }
}
