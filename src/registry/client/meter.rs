//! Counts what a server sends, and ends the connection when it is too much. Without it, all that lies between the parts that have limits of
//! their own is endless: interim answers, zeros before the length of a chunk, records of TLS without content.

use crate::limits;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use std::io::{Error, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much was read since the last request, and the limit.
#[derive(Debug)]
pub(in crate::registry) struct Meter {
    read: AtomicUsize,
    allowed: AtomicUsize,
}

impl Meter {
    fn new() -> Self {
        Self {
            read: AtomicUsize::new(0),
            allowed: AtomicUsize::new(limits::ANSWER_HEAD),
        }
    }

    /// A request is sent: what follows is the head of an answer.
    fn begin(&self) {
        self.read.store(0, Ordering::Relaxed);
        self.allowed.store(limits::ANSWER_HEAD, Ordering::Relaxed);
    }

    /// The head has been read: a body follows, of which `bytes` are wanted. Its frames may take as much again; registries send chunks of
    /// kilobytes.
    pub(super) fn allow_body(&self, bytes: usize) {
        let read = self.read.load(Ordering::Relaxed);
        let allowed = read.saturating_add(2 * bytes).saturating_add(limits::ANSWER_HEAD);
        self.allowed.store(allowed, Ordering::Relaxed);
    }

    /// Nothing more is read.
    pub(super) fn cut(&self) {
        self.read.store(1, Ordering::Relaxed);
        self.allowed.store(0, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.read.load(Ordering::Relaxed) > self.allowed.load(Ordering::Relaxed)
    }
}

/// A socket whose bytes are counted, below TLS. Of much that arrives at once only so much is read in one turn: a thread serves many of them.
#[derive(Debug)]
pub(super) struct Metered {
    tcp: TcpStream,
    meter: Arc<Meter>,
    turn: usize,
}

impl Metered {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            meter: Arc::new(Meter::new()),
            turn: 0,
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        if this.meter.is_over() {
            return Poll::Ready(Err(Error::other("the server sends more than an answer can hold")));
        }
        if this.turn >= limits::READ_PER_TURN {
            this.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.tcp).poll_read(context, buffer);
        if read.is_pending() {
            this.turn = 0;
        }
        ready!(read)?;
        let more = buffer.filled().len() - before;
        this.turn += more;
        this.meter.read.fetch_add(more, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

impl Connection for Metered {
    fn connected(&self) -> Connected {
        self.tcp.connected().extra(Arc::clone(&self.meter))
    }
}

/// What HTTP is spoken over: a socket, or TLS over it.
pub(super) trait Stream: Read + Write + Connection + Unpin + Send {}

impl<T: Read + Write + Connection + Unpin + Send> Stream for T {}

/// A connection above TLS, where it is seen when a request begins: below, a server could make us write by asking for new keys.
pub(in crate::registry) struct Carried {
    stream: Box<dyn Stream>,
    meter: Option<Arc<Meter>>,
}

impl Carried {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        let mut extras = http::Extensions::new();
        stream.connected().get_extras(&mut extras);
        Self {
            stream: Box::new(stream),
            meter: extras.get().cloned(),
        }
    }
}

impl Read for Carried {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<Result<()>> {
        Pin::new(&mut *self.stream).poll_read(context, buffer)
    }
}

impl Write for Carried {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if let Some(meter) = &self.meter {
            meter.begin();
        }
        Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}

impl Connection for Carried {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}
