//! Writes log lines on a thread of their own: a stalled reader (a full disk, a stuck collector) must not hold up
//! reviews.

use prometheus_client::metrics::counter::Counter;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that may wait: more than a burst of reviews at the limit of connections writes.
const CAPACITY: usize = 2 << 20;

/// A buffer that grew beyond this is given back.
const KEPT: usize = 256 << 10;

/// How long the thread lets lines gather after it has written some: under load it is woken for a batch, not for each line.
const PAUSE: Duration = Duration::from_millis(20);

/// Lines that were dropped because too many were waiting, or that could not be written.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Writes the log lines of the process.
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

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Whether the thread sleeps until there is something.
    idle: bool,
    /// Whether somebody is waiting for the lines to be written.
    hurry: bool,
    /// Batches that the thread has taken, and those that it has written.
    taken: u64,
    written: u64,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write, or a reason to hurry.
    more: Condvar,
    /// A batch was written.
    done: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Consistent at every step, so a poisoned lock does no harm.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Swaps the lines that wait for the empty `batch`, once there are any.
    fn take(&self, batch: &mut Vec<u8>) {
        let mut waiting = self.lock();
        while waiting.lines.is_empty() {
            waiting.idle = true;
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.taken += 1;
        std::mem::swap(&mut waiting.lines, batch);
    }

    /// Notes that the batch is written, and lets more gather.
    fn rest(&self) {
        let mut waiting = self.lock();
        waiting.written = waiting.taken;
        self.done.notify_all();
        let pause = self
            .more
            .wait_timeout_while(waiting, PAUSE, |waiting| !waiting.hurry)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut waiting, _) = pause;
        waiting.hurry = false;
    }
}

/// Takes lines; never waits for a reader.
#[derive(Clone)]
pub(super) struct LineWriter(Arc<Shared>);

impl LineWriter {
    fn to(out: impl Write + Send + 'static) -> Result<Self, String> {
        let shared = Arc::new(Shared::default());
        let lines = Self(Arc::clone(&shared));
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_out(&shared, out))
            .map_err(|error| format!("the log's thread could not be started: {error}"))?;
        Ok(lines)
    }

    fn flush_pending(&self, timeout: Duration) {
        let mut waiting = self.0.lock();
        // The waiting lines will be in the next batch.
        let until = waiting.taken + u64::from(!waiting.lines.is_empty());
        waiting.hurry = true;
        self.0.more.notify_one();
        let _ = self
            .0
            .done
            .wait_timeout_while(waiting, timeout, |waiting| waiting.written < until);
    }
}

fn write_out(shared: &Shared, mut out: impl Write) {
    let mut batch = Vec::new();
    loop {
        shared.take(&mut batch);
        // Standard error is closed, or its disk is full: only the metric can tell.
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            let lines = batch.split(|byte| *byte == b'\n').count().saturating_sub(1);
            DROPPED.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
        }
        batch.clear();
        batch.shrink_to(KEPT);
        shared.rest();
    }
}

/// One event is one write.
impl Write for &LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.lines.len() + line.len() > CAPACITY {
            DROPPED.inc();
            return Ok(line.len());
        }
        waiting.lines.extend_from_slice(line);
        if std::mem::take(&mut waiting.idle) {
            drop(waiting);
            self.0.more.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// All tests share the counter.
    static COUNTING: Mutex<()> = Mutex::new(());

    /// Writes only once it is allowed to.
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

    /// A full disk.
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
        let lines = LineWriter::to(Full).unwrap();
        let _alone = COUNTING.lock().unwrap();
        let before = dropped().get();
        for _ in 0..10 {
            (&lines).write_all(b"x\n").unwrap();
        }
        lines.flush_pending(Duration::from_mins(1));
        assert!(dropped().get() - before >= 10);
    }

    #[test]
    fn a_stuck_reader_holds_up_nobody_and_what_it_misses_is_counted() {
        let (go, stuck) = mpsc::channel();
        let written = Arc::default();
        let lines = LineWriter::to(Stuck {
            go: stuck,
            written: Arc::clone(&written),
        })
        .unwrap();
        let _alone = COUNTING.lock().unwrap();
        let before = dropped().get();
        let line = |number: usize| format!("{number:0>99}\n");
        let sent = 3 * CAPACITY / line(0).len();
        for number in 0..sent {
            (&lines).write_all(line(number).as_bytes()).unwrap();
        }
        let missed = usize::try_from(dropped().get() - before).unwrap();
        // The thread may have taken the first lines, and be stuck with them.
        assert!((sent / 3 - 2..=sent / 3 * 2 + 2).contains(&missed), "{missed}");
        // From here on everything is written.
        drop(go);
        lines.flush_pending(Duration::from_mins(1));
        (&lines).write_all(b"last\n").unwrap();
        lines.flush_pending(Duration::from_mins(1));
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let first: String = (0..3).map(line).collect();
        assert!(written.starts_with(&first) && written.ends_with("\nlast\n"));
        assert_eq!(written.lines().count(), sent - missed + 1);
    }

    #[test]
    fn lines_are_written_in_batches() {
        let (writes, written) = mpsc::channel();
        let (go, held) = mpsc::channel::<()>();
        struct Batches(mpsc::Sender<usize>, mpsc::Receiver<()>);
        impl Write for Batches {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.1.recv();
                self.0.send(bytes.len()).unwrap();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = LineWriter::to(Batches(writes, held)).unwrap();
        for _ in 0..1000 {
            (&lines).write_all(b"line\n").unwrap();
        }
        drop(go);
        lines.flush_pending(Duration::from_mins(1));
        let batches: Vec<usize> = written.try_iter().collect();
        assert!(batches.len() <= 2 && batches.iter().sum::<usize>() == 5000, "{batches:?}");
    }
}
