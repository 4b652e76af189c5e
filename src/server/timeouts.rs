//! A transport with deadlines.
//!
//! hyper has a single timer for the idle time between requests and for the time that a request's head may take. The first must be
//! long (the API server keeps connections open), the second short (a slowly sent head ties up a connection at no cost to the
//! sender). So the short deadlines are enforced here, from the bytes on the transport and the calls of the service.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The phase of a connection's request cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Open, without a byte yet.
    Opening = 0,
    /// Receiving a request's head.
    Head = 1,
    /// The head is complete; the service is handling the request, body included.
    Serving = 2,
    /// Between requests: hyper's idle timer applies.
    Waiting = 3,
    /// One of our deadlines has passed; the connection is being closed.
    TimedOut = 4,
    /// TLS has begun; there is no byte of a request yet.
    Greeting = 5,
}

/// A connection's phase, shared by its transport and its service.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    born: Instant,
    /// When the phase began, in milliseconds after that.
    since: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Shared {
            phase: AtomicU8::new(Phase::Opening as u8),
            born: Instant::now(),
            since: AtomicU64::new(0),
        }))
    }
}

impl Progress {
    pub(super) fn get(&self) -> Phase {
        match self.0.phase.load(Ordering::Acquire) {
            0 => Phase::Opening,
            1 => Phase::Head,
            2 => Phase::Serving,
            3 => Phase::Waiting,
            4 => Phase::TimedOut,
            _ => Phase::Greeting,
        }
    }

    pub(super) fn set(&self, phase: Phase) {
        let since = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.since.store(since, Ordering::Release);
        self.0.phase.store(phase as u8, Ordering::Release);
    }

    /// How long the phase has lasted.
    pub(super) fn lasts(&self) -> Duration {
        let since = Duration::from_millis(self.0.since.load(Ordering::Acquire));
        self.0.born.elapsed().saturating_sub(since)
    }
}

/// A transport below TLS that notes its first byte.
#[derive(Debug)]
pub(super) struct Noted<T> {
    transport: T,
    progress: Progress,
}

impl<T> Noted<T> {
    pub(super) fn new(transport: T, progress: Progress) -> Self {
        Self { transport, progress }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.transport).poll_read(cx, buf);
        if buf.filled().len() > before && self.progress.get() == Phase::Opening {
            self.progress.set(Phase::Greeting);
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, data)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

/// A transport with deadlines for the first byte, for a head, and for a client that does not read.
#[derive(Debug)]
pub(super) struct TimedTransport<T> {
    transport: T,
    progress: Progress,
    head: Duration,
    write: Duration,
    reading: Pin<Box<Sleep>>,
    /// Running while a write makes no progress.
    writing: Option<Pin<Box<Sleep>>>,
}

impl<T> TimedTransport<T> {
    /// `first_byte` starts now.
    pub(super) fn new(transport: T, progress: Progress, first_byte: Duration, head: Duration, write: Duration) -> Self {
        Self {
            transport,
            progress,
            head,
            write,
            reading: Box::pin(tokio::time::sleep(first_byte)),
            writing: None,
        }
    }

    /// The result of a write or flush, checked against the write deadline.
    fn written<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.writing = None;
            return result;
        }
        let write = self.write;
        let timer = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(write)));
        ready!(timer.as_mut().poll(cx));
        self.progress.set(Phase::TimedOut);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read our answer",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TimedTransport<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.transport).poll_read(cx, buf);
        match (&result, self.progress.get()) {
            (Poll::Ready(Ok(())), Phase::Opening | Phase::Greeting | Phase::Waiting) if buf.filled().len() > before => {
                self.progress.set(Phase::Head);
                let until = Instant::now() + self.head;
                self.reading.as_mut().reset(until);
                result
            }
            (Poll::Pending, Phase::Opening | Phase::Greeting | Phase::Head) => {
                ready!(self.reading.as_mut().poll(cx));
                self.progress.set(Phase::TimedOut);
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the request's head took too long",
                )))
            }
            (Poll::Ready(_), _) | (Poll::Pending, Phase::Serving | Phase::Waiting | Phase::TimedOut) => result,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TimedTransport<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.transport).poll_write(cx, data);
        self.written(cx, result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.transport).poll_write_vectored(cx, data);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.transport).poll_flush(cx);
        self.written(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.transport).poll_shutdown(cx);
        self.written(cx, result)
    }
}
