//! Runs one program.

use super::orphans;
use crate::credentials::helper::Exit;
use crate::limits;
use futures_util::future::join;
use rustix::process::{Pid, Signal};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Why a program returned nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The program does not exist.
    Missing,
    /// It could not be started or read from.
    Broken,
    /// It printed too much.
    TooMuch,
    /// It ran too long.
    TooLong,
}

impl Fault {
    /// A clause about `it`.
    pub(super) fn clause(self) -> &'static str {
        match self {
            Self::Missing => "it is not installed",
            Self::Broken => "it could not be run",
            Self::TooMuch => "it printed too much",
            Self::TooLong => "it did not answer in time",
        }
    }
}

/// How a program ended, and what it printed.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// A clause about `it`: `it ended with exit status 1`.
    pub(super) status: String,
    pub(super) printed: Vec<u8>,
    /// Its standard error, as far as it was kept.
    pub(super) complained: Vec<u8>,
}

/// What bounds a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How long it may run.
    pub(super) time: Duration,
    /// Bytes that it may print.
    pub(super) output: u64,
    /// Bytes of its standard error that are kept. Of programs that handle secrets nobody reads any.
    pub(super) complaints: u64,
}

impl Bounds {
    /// Those of a program that handles credentials.
    pub(super) const fn usual(time: Duration) -> Self {
        Self {
            time,
            output: limits::PROGRAM_OUTPUT,
            complaints: 0,
        }
    }
}

/// Who a program belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// The user of `check`, whom it may ask for input: it stays in our process group, so that Ctrl-C reaches it, and is killed with its
    /// children.
    ToUser,
    /// Us: it gets its own process group, and is killed with everything it started.
    ToUs,
}

/// A program that is killed when this is dropped, with what it started.
struct Group(Option<Pid>, Belongs);

impl Drop for Group {
    fn drop(&mut self) {
        let Some(leader) = self.0 else { return };
        // The leader was not waited for, so its id was not reused. If it is gone there is nothing to kill.
        match self.1 {
            Belongs::ToUs => _ = rustix::process::kill_process_group(leader, Signal::KILL),
            Belongs::ToUser => orphans::end_with_children(leader),
        }
    }
}

impl Group {
    fn of(child: &Child, belongs: Belongs) -> Self {
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Self(leader, belongs)
    }

    /// It ended by itself; what it left running gets as much time as a program (see `orphans`).
    fn ended(&mut self) {
        self.0 = None;
    }
}

/// Runs a program with `input` on standard input. It is killed if it runs too long, prints too much, or nobody waits for it any
/// more.
pub(super) async fn run(mut command: Command, belongs: Belongs, input: Vec<u8>, bounds: Bounds) -> Result<Ended, Fault> {
    match belongs {
        Belongs::ToUs => command.process_group(0),
        Belongs::ToUser => &mut command,
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(if bounds.complaints == 0 {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .kill_on_drop(true);
    let fault = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::Missing,
        _ => Fault::Broken,
    };
    let (mut child, _running) = match belongs {
        Belongs::ToUs => orphans::spawn(&mut command).map(|(child, running)| (child, Some(running))),
        Belongs::ToUser => command.spawn().map(|child| (child, None)),
    }
    .map_err(fault)?;
    // Dropped before `child` is.
    let mut group = Group::of(&child, belongs);
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A program may answer without reading its input.
            let _ = stdin.write_all(&input).await;
        }
    };
    let read = async move {
        let mut printed = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(bounds.output + 1).read_to_end(&mut printed).await?;
        }
        Ok::<_, std::io::Error>(printed)
    };
    let stderr = child.stderr.take();
    let complain = async move {
        let mut kept = Vec::new();
        if let Some(mut stderr) = stderr {
            // A read error only loses the message. The rest is read too, so that the program does not block.
            let _ = (&mut stderr).take(bounds.complaints).read_to_end(&mut kept).await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        kept
    };
    let all = async {
        let whole = async {
            let printed = read.await.map_err(|_| Fault::Broken)?;
            // Reported at once: a program that prints without end never closes its standard error.
            if printed.len() as u64 > bounds.output {
                return Err(Fault::TooMuch);
            }
            Ok(printed)
        };
        let written = join(write, complain);
        let (((), complained), printed) = {
            let mut written = std::pin::pin!(written);
            let mut whole = std::pin::pin!(whole);
            tokio::select! {
                printed = &mut whole => (if printed.is_ok() { written.await } else { ((), Vec::new()) }, printed),
                done = &mut written => (done, whole.await),
            }
        };
        let printed = printed?;
        let status = child.wait().await.map_err(|_| Fault::Broken)?;
        group.ended();
        Ok(Ended {
            exit: if status.success() { Exit::Succeeded } else { Exit::Failed },
            status: format!("it ended with {status}"),
            printed,
            complained,
        })
    };
    tokio::time::timeout(bounds.time, all).await.unwrap_or(Err(Fault::TooLong))
}
