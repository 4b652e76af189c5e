//! A transport that does not wait for ever.
//!
//! hyper has one timer for both the idle time between requests and the time a request's head may take. The first must be long (the API
//! server keeps connections), the second short (a head that dribbles in holds a connection and costs its sender nothing). So the
//! short ones are kept here, by what the bytes on the transport and the calls of the service tell.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Where a connection is in its cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Open, not a byte of a request yet.
    Opening = 0,
    /// A request's head has begun.
    Head = 1,
    /// The head is complete; the service has it, body included.
    Serving = 2,
    /// Between requests: hyper's idle timer holds.
    Waiting = 3,
    /// A deadline of ours passed; the connection is being closed.
    GivenUp = 4,
}

/// A connection's phase, shared by its transport and its service.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    pub(super) fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Opening,
            1 => Phase::Head,
            2 => Phase::Serving,
            3 => Phase::Waiting,
            _ => Phase::GivenUp,
        }
    }

    pub(super) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }
}

/// A transport with deadlines for the first byte, for a head, and for a peer that does not read.
#[derive(Debug)]
pub(super) struct Patient<T> {
    transport: T,
    progress: Progress,
    head: Duration,
    write: Duration,
    reading: Pin<Box<Sleep>>,
    /// Running while a write makes no progress.
    writing: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    /// `first_byte` runs from now.
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

    /// What a write or flush came to, with its deadline looked after.
    fn written<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.writing = None;
            return result;
        }
        let write = self.write;
        let timer = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(write)));
        ready!(timer.as_mut().poll(cx));
        self.progress.set(Phase::GivenUp);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read our answer",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.transport).poll_read(cx, buf);
        match (&result, self.progress.get()) {
            (Poll::Ready(Ok(())), Phase::Opening | Phase::Waiting) if buf.filled().len() > before => {
                self.progress.set(Phase::Head);
                let until = Instant::now() + self.head;
                self.reading.as_mut().reset(until);
                result
            }
            (Poll::Pending, Phase::Opening | Phase::Head) => {
                ready!(self.reading.as_mut().poll(cx));
                self.progress.set(Phase::GivenUp);
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the request's head took too long",
                )))
            }
            (Poll::Ready(_), _) | (Poll::Pending, Phase::Serving | Phase::Waiting | Phase::GivenUp) => result,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
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
