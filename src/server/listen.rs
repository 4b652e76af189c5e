//! The accept loop: TCP, TLS and HTTP/1.1, each with its limits, until the last connection has drained.
//!
//! Written by hand because `axum::serve` sets no timer (so no head deadline at all), knows no TLS, and counts no connections.

mod roster;

use self::roster::{Room, Roster, Seat};
use super::patience::{Patient, Phase, Progress};
use super::{Limits, Stage};
use crate::limits;
use crate::telemetry::{ConnectionEnd, Metrics};
use axum::Router;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error as _;
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

/// At the limit, and where nobody is idle or silent, the oldest connection is asked to close after this long, and then another one each
/// time it passes.
const RECYCLE: Duration = Duration::from_millis(100);

/// At the limit, a connection that has sent no whole head for this long is dropped for the next: whoever has something to ask, asks at
/// once. A burst of handshakes takes a while.
const SILENT_TLS: Duration = Duration::from_secs(1);
const SILENT_PLAIN: Duration = Duration::from_millis(100);

/// Once draining, a connection without a byte of a request is given this long.
const LAST_CALL: Duration = Duration::from_secs(1);

/// The longest pause after failed accepts (out of file descriptors, mostly).
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// A client that does not trust our certificate, or whose own we do not trust, is reported this often at most.
const DISTRUST_EVERY: Duration = Duration::from_mins(1);

/// Whether a port's connections show in the metrics: the webhook's do, a scraper's own would only be noise.
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

    fn ended(&self, reason: ConnectionEnd) {
        match self {
            Self::Yes(metrics) => metrics.connection_ended(reason),
            Self::No => {}
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

/// What every connection of a port uses.
struct Shared {
    tls: Option<TlsAcceptor>,
    router: Router,
    http: http1::Builder,
    limits: Limits,
    counted: Counted,
    stage: watch::Receiver<Stage>,
    /// When the last request came after the server was told to stop.
    visited: watch::Sender<Option<Instant>>,
    roster: Roster,
    distrust: Throttle,
    /// Of its own: strangers, whom anyone can play, must not silence what is said of our certificate.
    strangers: Throttle,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Port {
    /// A port over `listener`; plain HTTP without `tls`.
    pub(super) fn new(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        router: Router,
        limits: Limits,
        counted: Counted,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // Also the head's timer, which `Patient` makes shorter.
            .header_read_timeout(limits.idle)
            .max_headers(limits::REQUEST_HEADERS)
            .max_header_size(limits::REQUEST_HEAD)
            .max_buf_size(limits::READ_BUFFER);
        Self {
            listener,
            slots: Arc::new(Semaphore::new(limits.connections)),
            shared: Arc::new(Shared {
                tls,
                router,
                http,
                limits,
                counted,
                stage: stage.clone(),
                visited: watch::Sender::new(None),
                roster: Roster::default(),
                distrust: Throttle::default(),
                strangers: Throttle::default(),
            }),
            stage,
        }
    }

    /// When the last request came since the server was told to stop; `None` for none.
    pub(super) fn visited(&self) -> watch::Receiver<Option<Instant>> {
        self.shared.visited.subscribe()
    }

    /// Accepts until [`Stage::Draining`], then returns when the last connection has ended.
    pub(super) async fn run(self) {
        let Self {
            listener,
            shared,
            mut stage,
            slots,
        } = self;
        loop {
            // Both waits end when draining begins: a server at its limit must still hear that it shall stop.
            let connection = tokio::select! {
                biased;
                () = reached(&mut stage, Stage::Draining) => break,
                connection = accept(&listener) => connection,
            };
            let slot = tokio::select! {
                biased;
                () = reached(&mut stage, Stage::Draining) => {
                    // Who was waiting is no worse off than who is in the port's queue.
                    if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                        tokio::spawn(attend(connection, slot, Arc::clone(&shared)));
                    }
                    break;
                }
                slot = free_slot(&slots, &shared) => slot,
            };
            tokio::spawn(attend(connection, slot, Arc::clone(&shared)));
        }
        answer_the_queue(listener, &slots, &shared);
        let all = u32::try_from(shared.limits.connections).unwrap_or(u32::MAX);
        // Every connection gives its slot back when it ends.
        let _ = slots.acquire_many(all).await;
    }
}

/// Closes the port. Who has connected and was not accepted yet would be reset with it, and is accepted first.
fn answer_the_queue(listener: TcpListener, slots: &Arc<Semaphore>, shared: &Arc<Shared>) {
    let Ok(listener) = listener.into_std() else { return };
    while let Ok(slot) = Arc::clone(slots).try_acquire_owned()
        && let Ok((tcp, _)) = listener.accept()
        && let Ok(tcp) = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp))
    {
        tokio::spawn(attend(tcp, slot, Arc::clone(shared)));
    }
}

/// Ends when `stage` is at least `wanted`, or its server is gone.
async fn reached(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    let _ = stage.wait_for(|stage| *stage >= wanted).await;
}

/// A slot for one more connection. At the limit, those that have nothing to ask must go, the oldest first: ones that stay silent are
/// dropped, idle ones close; and then the others are asked one by one to finish and close, until one does. Anyone may hold connections
/// open, and must not shut out the API server with them, or the probes.
async fn free_slot(slots: &Arc<Semaphore>, shared: &Shared) -> OwnedSemaphorePermit {
    let silent = match shared.tls {
        Some(_) => SILENT_TLS,
        None => SILENT_PLAIN,
    };
    let mut waited = false;
    loop {
        let full = slots.available_permits() == 0;
        if full && (shared.roster.make_room(silent) == Room::Made || waited && shared.roster.recycle_oldest()) {
            shared.counted.ended(ConnectionEnd::Recycled);
        }
        if let Ok(Ok(slot)) = tokio::time::timeout(RECYCLE, Arc::clone(slots).acquire_owned()).await {
            return slot;
        }
        waited = true;
    }
}

/// The next connection; waits a little, then longer, while the system refuses to give one.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut pause = Duration::from_millis(10);
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => return tcp,
            // The peer went away while it queued: nothing is wrong on our side.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::warn!(%error, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "cannot accept a connection");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_BACKOFF);
            }
        }
    }
}

/// One connection, from TCP to its end.
async fn attend(tcp: TcpStream, slot: OwnedSemaphorePermit, shared: Arc<Shared>) {
    shared.counted.opened();
    let _present = Present {
        counted: &shared.counted,
        _slot: slot,
    };
    // Answers are single writes; waiting to fill a packet only delays them.
    let _ = tcp.set_nodelay(true);
    let mut stage = shared.stage.clone();
    let member = shared.roster.join();
    tokio::select! {
        () = reached(&mut stage, Stage::Closed) => {}
        () = member.seat.out.notified() => {}
        () = converse(tcp, &shared, &member.seat) => {}
    }
}

/// Counts a connection out when it ends, however it ends.
struct Present<'a> {
    counted: &'a Counted,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.counted.closed();
    }
}

async fn converse(tcp: TcpStream, shared: &Shared, seat: &Seat) {
    let Some(tls) = &shared.tls else {
        return exchange(tcp, shared, seat).await;
    };
    match tokio::time::timeout(shared.limits.handshake, tls.accept(tcp)).await {
        Ok(Ok(stream)) => exchange(stream, shared, seat).await,
        Ok(Err(error)) if is_a_stranger(&error) => {
            shared.counted.ended(ConnectionEnd::ClientRefused);
            if shared.strangers.may_speak() {
                tracing::warn!(
                    %error,
                    "a client without a certificate of --tls-client-ca was refused: if it was the API server, which one does it show?"
                );
            }
        }
        Ok(Err(error)) => {
            shared.counted.ended(ConnectionEnd::HandshakeFailed);
            if distrusts_us(&error) && shared.distrust.may_speak() {
                tracing::warn!(
                    %error,
                    "a client does not trust our certificate: does the webhook's caBundle hold the CA that signed it?"
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

/// Whether the peer ended the handshake because of our certificate.
fn distrusts_us(error: &io::Error) -> bool {
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

/// Whether the peer's own certificate was missing, or not to be trusted.
fn is_a_stranger(error: &io::Error) -> bool {
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
    )
}

/// Requests and answers on an open transport.
async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(transport: T, shared: &Shared, seat: &Seat) {
    let Limits {
        first_byte, head, write, ..
    } = shared.limits;
    let progress = seat.progress.clone();
    let transport = Patient::new(transport, progress.clone(), first_byte, head, write);
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        progress.set(Phase::Serving);
        if *shared.stage.borrow() != Stage::Serving {
            shared.visited.send_replace(Some(Instant::now()));
        }
        let answer = shared.router.clone().oneshot(request);
        let progress = progress.clone();
        async move {
            let mut response = answer.await?;
            if *shared.stage.borrow() != Stage::Serving {
                // So that a client that keeps its connections moves to another replica.
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            progress.set(Phase::Waiting);
            Ok::<_, Infallible>(response)
        }
    });
    let mut stage = shared.stage.clone();
    let mut connection = std::pin::pin!(shared.http.serve_connection(TokioIo::new(transport), service));
    let finished = tokio::select! {
        biased;
        result = connection.as_mut() => Some(result),
        () = seat.bell.notified() => None,
        // Told to close, hyper closes at once what has not said anything yet. Its request may be on its way.
        () = reached(&mut stage, Stage::Draining) => tokio::time::timeout(LAST_CALL, spoken(connection.as_mut(), &progress))
            .await
            .unwrap_or(None),
    };
    let result = if let Some(result) = finished {
        result
    } else {
        // Idle ones close at once, the others after their answer.
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    // hyper says nothing of an error before the first byte of a request.
    if progress.get() == Phase::GivenUp || result.as_ref().is_err_and(hyper::Error::is_timeout) {
        shared.counted.ended(ConnectionEnd::Timeout);
    }
    if let Err(error) = result {
        tracing::debug!(%error, cause = error.source().map(tracing::field::display), "a connection broke off");
    }
}

/// Ends with the connection, or with `None` once there is a first byte of its first request.
async fn spoken<C: Future>(mut connection: Pin<&mut C>, progress: &Progress) -> Option<C::Output> {
    std::future::poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if progress.get() == Phase::Opening => Poll::Pending,
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Lets a message through once in a while.
#[derive(Debug, Default)]
struct Throttle(Mutex<Option<Instant>>);

impl Throttle {
    fn may_speak(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = last.is_none_or(|last| now.duration_since(last) >= DISTRUST_EVERY);
        if may {
            *last = Some(now);
        }
        may
    }
}
