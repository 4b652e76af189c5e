//! Threads for connections to registries and nothing else. The HTTP library reads from a registry for long stretches: one that floods us
//! with `100 Continue` keeps a thread busy for seconds at a time, and that must not be a thread that answers reviews or health probes.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, JoinHandle};

/// How many: they take turns with the others by the system's scheduler, however few processors there are.
const THREADS: usize = 4;

/// `None` where the system gives no threads.
static IO_THREADS: OnceLock<Option<Runtime>> = OnceLock::new();

/// Gives connections their threads from now on. Without it they run where they are used: a command has no reviews to answer, and starts
/// sooner with fewer threads.
pub fn start_io_threads() {
    IO_THREADS.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("registries")
            .enable_all()
            .build()
            .ok()
    });
}

/// Work on these threads; it ends when this is dropped.
pub(super) struct IoTask<T>(JoinHandle<T>);

/// Begins `work` there.
pub(super) fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> IoTask<T> {
    IoTask(match IO_THREADS.get() {
        Some(Some(runtime)) => runtime.spawn(work),
        Some(None) | None => tokio::spawn(work),
    })
}

impl<T> Future for IoTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for IoTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
