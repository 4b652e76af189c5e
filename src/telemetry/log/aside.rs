//! Log lines on their way out, on a thread of their own: whoever reads our log (a full disk, a stuck collector) must not hold up reviews.

use prometheus_client::metrics::counter::Counter;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait: some megabytes, and more than a burst of reviews at the limit of connections writes.
const WAITING: usize = 2048;

/// Lines that nobody could be given.
static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Where the process's own lines go.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Counts the lines that were lost.
pub(in crate::telemetry) fn lost() -> Counter {
    LOST.clone()
}

/// Waits until the lines so far are written, at most for `patience`. Where nothing is written aside, there is nothing to wait for.
pub fn finish(patience: Duration) {
    if let Some(lines) = LINES.get() {
        lines.finish(patience);
    }
}

/// Begins to write to `out`. Fails with a sentence when there can be no thread.
pub(super) fn begin(out: impl Write + Send + 'static) -> Result<Lines, String> {
    let lines = Lines::to(out)?;
    Ok(LINES.get_or_init(|| lines).clone())
}

/// What the thread is given.
enum Post {
    Line(Vec<u8>),
    /// Everything before it is written when its sender is dropped.
    Mark(SyncSender<()>),
}

/// Takes lines; never waits.
#[derive(Clone)]
pub(super) struct Lines(SyncSender<Post>);

impl Lines {
    fn to(out: impl Write + Send + 'static) -> Result<Self, String> {
        let (sender, receiver) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || deliver(&receiver, out))
            .map_err(|error| format!("the log's thread could not be started: {error}"))?;
        Ok(Self(sender))
    }

    fn finish(&self, patience: Duration) {
        let (mark, reached) = sync_channel(1);
        // A full queue has no place for a mark, and nobody takes anything from it.
        if self.0.try_send(Post::Mark(mark)).is_ok() {
            // An error is what is waited for: the mark is thrown away.
            let _ = reached.recv_timeout(patience);
        }
    }
}

fn deliver(lines: &Receiver<Post>, mut out: impl Write) {
    while let Ok(post) = lines.recv() {
        match post {
            // Nobody is left to tell when standard error is closed.
            Post::Line(line) => _ = out.write_all(&line).and_then(|()| out.flush()),
            Post::Mark(mark) => drop(mark),
        }
    }
}

/// One event is one write.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.try_send(Post::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => _ = LOST.inc(),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, mpsc};

    /// Writes when it is let.
    struct Stuck {
        go: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_holds_up_nobody_and_what_it_misses_is_counted() {
        let (go, stuck) = mpsc::channel();
        let written = Arc::default();
        let mut lines = Lines::to(Stuck {
            go: stuck,
            written: Arc::clone(&written),
        })
        .unwrap();
        let before = lost().get();
        for number in 0..WAITING * 2 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let missed = usize::try_from(lost().get() - before).unwrap();
        // One is in the thread's hands, perhaps.
        assert!((WAITING - 1..=WAITING).contains(&missed), "{missed}");
        // From here on everything is written.
        drop(go);
        // The queue may have been full still.
        while !String::from_utf8_lossy(&written.lock().unwrap()).contains("\n2047\n") {
            std::thread::yield_now();
        }
        lines.write_all(b"last\n").unwrap();
        lines.finish(Duration::from_mins(1));
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(written.starts_with("0\n1\n2\n") && written.ends_with("\nlast\n"));
        assert_eq!(written.lines().count(), WAITING * 2 - missed + 1);
    }
}
