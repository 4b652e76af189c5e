//! Cleans up after programs. As process 1 of a container, pullgate inherits every child whose parent has ended; elsewhere it asks the
//! kernel for them. It ends those that left their process group (`setsid`), and waits for all of them so that none stays a zombie.

use crate::limits;
use rustix::process::{Pid, Signal, WaitOptions, getpgrp, getpid, kill_process, set_child_subreaper, waitpid};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How often to look for them while there are any.
const EVERY: Duration = Duration::from_secs(1);

/// Our running programs, by process id: other code waits for them.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// Whether somebody is looking for orphans.
static LOOKING: Mutex<bool> = Mutex::new(false);

/// A running program. Dropping it starts the search for what the program left behind.
#[derive(Debug)]
pub(super) struct Running(Option<i32>);

/// Starts a program; its orphans are ours from now on.
pub(super) fn spawn(command: &mut Command) -> std::io::Result<(Child, Running)> {
    static ADOPT: Once = Once::new();
    // A failure does no harm: the kernel lacks this, or we are process 1 anyway.
    ADOPT.call_once(|| _ = set_child_subreaper(Some(getpid())));
    // Locked while it starts, so that it is not taken for an orphan before it is recorded.
    let mut running = running();
    let child = command.spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    running.extend(id);
    Ok((child, Running(id)))
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            running().remove(&id);
        }
        look();
    }
}

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks for orphans until there are none.
fn look() {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let mut looking = LOOKING.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::replace(&mut *looking, true) {
        return;
    }
    runtime.spawn(async {
        let _end = Ended;
        let mut seen = HashMap::new();
        loop {
            let swept = tokio::task::spawn_blocking(move || {
                let left = sweep(&mut seen, limits::PROGRAM);
                (seen, left)
            });
            let Ok((still, left)) = swept.await else { return };
            seen = still;
            if left == 0 && running().is_empty() {
                return;
            }
            tokio::time::sleep(EVERY).await;
        }
    });
}

/// Clears [`LOOKING`] when dropped, so that the next caller starts a new search.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        *LOOKING.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// Waits for the orphans that have ended, and ends those that were first seen longer ago than `patience`. Returns how many are left.
fn sweep(seen: &mut HashMap<i32, Instant>, patience: Duration) -> usize {
    let (own, group) = (getpid().as_raw_nonzero().get(), getpgrp().as_raw_nonzero().get());
    let mut left = HashMap::new();
    for process in processes().filter(|process| process.parent == own && process.group != group) {
        // Our programs and their children have other groups; a child in our own group is somebody else's to wait for.
        if running().contains(&process.id) {
            continue;
        }
        let Some(id) = Pid::from_raw(process.id) else { continue };
        if process.has_ended {
            let _ = waitpid(Some(id), WaitOptions::NOHANG);
            continue;
        }
        let since = seen.get(&process.id).copied().unwrap_or_else(Instant::now);
        if since.elapsed() >= patience {
            let _ = kill_process(id, Signal::KILL);
        }
        left.insert(process.id, since);
    }
    *seen = left;
    seen.len()
}

/// Kills a process and its descendants, as far as their parents still run.
pub(super) fn end_with_children(process: Pid) {
    let all: Vec<Process> = processes().collect();
    let mut family = vec![process.as_raw_nonzero().get()];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(
            all.iter()
                .filter(|process| process.parent == parent)
                .map(|process| process.id),
        );
        at += 1;
    }
    for id in family.into_iter().filter_map(Pid::from_raw) {
        let _ = kill_process(id, Signal::KILL);
    }
}

/// Fields of `/proc/PID/stat` (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq, Eq)]
struct Process {
    id: i32,
    parent: i32,
    group: i32,
    /// It is a zombie.
    has_ended: bool,
}

fn processes() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        Process::parse(id, &std::fs::read_to_string(entry.path().join("stat")).ok()?)
    })
}

impl Process {
    /// Fields are counted from after the program's name, which may contain spaces and parentheses.
    fn parse(id: i32, stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let has_ended = matches!(fields.next()?, "Z" | "X");
        Some(Self {
            id,
            has_ended,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read() {
        let stat = "12 (a) b) c) Z 7 9 9 0 -1";
        let process = Process {
            id: 12,
            parent: 7,
            group: 9,
            has_ended: true,
        };
        assert_eq!(Process::parse(12, stat), Some(process));
        assert_eq!(Process::parse(12, "12 (a"), None);
        let own = getpid().as_raw_nonzero().get();
        assert!(processes().any(|process| process.id == own && !process.has_ended));
    }

    #[tokio::test]
    async fn what_left_the_group_is_ended_and_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pid");
        let mut command = Command::new("sh");
        let script = format!(
            "setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000' & while ! [ -e {0} ]; do :; done",
            note.display()
        );
        command
            .args(["-c", &script])
            .process_group(0)
            .stdout(std::process::Stdio::null());
        let (mut child, running) = spawn(&mut command).unwrap();
        child.wait().await.unwrap();
        let left: i32 = std::fs::read_to_string(note).unwrap().trim().parse().unwrap();
        let of = |id| processes().find(|process| process.id == id);
        let mut seen = HashMap::new();
        assert!(
            of(left).is_some_and(|process| process.parent == getpid().as_raw_nonzero().get()),
            "it is ours now"
        );
        sweep(&mut seen, limits::PROGRAM);
        assert!(of(left).is_some_and(|process| !process.has_ended), "it has its time");
        assert!(seen.contains_key(&left));
        while of(left).is_some() {
            sweep(&mut seen, Duration::ZERO);
            tokio::task::yield_now().await;
        }
        drop(running);
    }
}
