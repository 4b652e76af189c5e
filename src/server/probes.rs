//! A thread for the port of health and metrics and nothing else: whatever keeps those busy that serve reviews, a probe is answered.

use super::listen::Port;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Serves `port` on a thread of its own, or here where the system gives none. Completes when it is closed.
pub(super) fn begin_apart(port: Port) -> BoxFuture<'static, ()> {
    let (ended, end) = oneshot::channel::<()>();
    // The thread takes it, if there is one.
    let port = Arc::new(Mutex::new(Some(port)));
    let taken = Arc::clone(&port);
    let take = |port: &Mutex<Option<Port>>| port.lock().unwrap_or_else(PoisonError::into_inner).take();
    let thread = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        std::thread::Builder::new().name("probes".to_owned()).spawn(move || {
            if let Some(port) = take(&taken) {
                runtime.block_on(port.run_here());
            }
            drop(ended);
        })
    });
    match thread {
        // Nothing is ever sent: it ends with the thread.
        Ok(_) => end.map(drop).boxed(),
        Err(_) => take(&port).map_or_else(|| end.map(drop).boxed(), begin),
    }
}

/// Serves `port` in a task.
pub(super) fn begin(port: Port) -> BoxFuture<'static, ()> {
    tokio::spawn(port.run()).map(drop).boxed()
}
