//! Writes log lines on a thread of their own: a stalled reader (a full disk, a stuck collector) must not hold up
//! reviews.

use prometheus_client::metrics::counter::Counter;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait: some megabytes, and more than a burst of reviews at the limit of connections writes.
const CAPACITY: usize = 2048;

/// Lines that were dropped because the queue was full, or that could not be written.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Where the process's own lines go.
static WRITER: OnceLock<LineWriter> = OnceLock::new();

/// Counts the lines that were dropped.
pub(in crate::telemetry) fn dropped() -> Counter {
    DROPPED.clone()
}

/// Waits until the lines so far are written, at most for `timeout`. Returns at once if lines are written directly.
pub fn flush_pending(timeout: Duration) {
    if let Some(lines) = WRITER.get() {
        lines.flush_pending(timeout);
    }
}

/// Starts writing to `out`. Fails if the thread cannot be started.
pub(super) fn begin(out: impl Write + Send + 'static) -> Result<LineWriter, String> {
    let lines = LineWriter::to(out)?;
    Ok(WRITER.get_or_init(|| lines).clone())
}

/// What the thread receives.
enum Message {
    Line(Vec<u8>),
    /// Everything before it is written when its sender is dropped.
    Flushed(SyncSender<()>),
}

/// Takes lines; never waits.
#[derive(Clone)]
pub(super) struct LineWriter(SyncSender<Message>);

impl LineWriter {
    fn to(out: impl Write + Send + 'static) -> Result<Self, String> {
        let (sender, receiver) = sync_channel(CAPACITY);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_out(&receiver, out))
            .map_err(|error| format!("the log's thread could not be started: {error}"))?;
        Ok(Self(sender))
    }

    fn flush_pending(&self, timeout: Duration) {
        let (flushed, reached) = sync_channel(1);
        // A full queue has no room for the marker, and nobody takes anything from it.
        if self.0.try_send(Message::Flushed(flushed)).is_ok() {
            // The expected result is an error: the thread has dropped the marker.
            let _ = reached.recv_timeout(timeout);
        }
    }
}

fn write_out(lines: &Receiver<Message>, mut out: impl Write) {
    while let Ok(message) = lines.recv() {
        match message {
            // Standard error is closed, or its disk is full: the metric is left to tell.
            Message::Line(line) => {
                if out.write_all(&line).and_then(|()| out.flush()).is_err() {
                    DROPPED.inc();
                }
            }
            Message::Flushed(flushed) => drop(flushed),
        }
    }
}

/// One event is one write.
impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.try_send(Message::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => _ = DROPPED.inc(),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, mpsc};

    /// All tests share the counter.
    static COUNTING: Mutex<()> = Mutex::new(());

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

    /// A disk without room.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted() {
        let mut lines = LineWriter::to(Full).unwrap();
        let _alone = COUNTING.lock().unwrap();
        let before = dropped().get();
        for _ in 0..10 {
            lines.write_all(b"x\n").unwrap();
        }
        lines.flush_pending(Duration::from_mins(1));
        assert!(dropped().get() - before >= 10);
    }

    #[test]
    fn a_stuck_reader_holds_up_nobody_and_what_it_misses_is_counted() {
        let (go, stuck) = mpsc::channel();
        let written = Arc::default();
        let mut lines = LineWriter::to(Stuck {
            go: stuck,
            written: Arc::clone(&written),
        })
        .unwrap();
        let _alone = COUNTING.lock().unwrap();
        let before = dropped().get();
        for number in 0..CAPACITY * 2 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let missed = usize::try_from(dropped().get() - before).unwrap();
        // One is in the thread's hands, perhaps.
        assert!((CAPACITY - 1..=CAPACITY).contains(&missed), "{missed}");
        // From here on everything is written.
        drop(go);
        // The queue may have been full still.
        while !String::from_utf8_lossy(&written.lock().unwrap()).contains("\n2047\n") {
            std::thread::yield_now();
        }
        lines.write_all(b"last\n").unwrap();
        lines.flush_pending(Duration::from_mins(1));
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(written.starts_with("0\n1\n2\n") && written.ends_with("\nlast\n"));
        assert_eq!(written.lines().count(), CAPACITY * 2 - missed + 1);
    }
}
