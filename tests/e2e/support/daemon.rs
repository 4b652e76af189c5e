//! Programs that run beside the tests and never outlive them.

use super::kubectl::LONG;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs `LOG CLEANUP PROGRAM ARGUMENTS...` until its input ends: that happens when the test process ends, however it ends, so a
/// panic, a signal or a `static` that is never dropped leaves nothing behind. Ctrl-C reaches the shell too, and is not its business.
const GUARD: &str = r#"
trap '' INT HUP
log=$1 cleanup=$2
shift 2
"$@" >"$log" 2>&1 &
child=$!
cat >/dev/null
eval "$cleanup" >/dev/null 2>&1
kill "$child" 2>/dev/null
wait "$child"
"#;

/// A program that runs until this is dropped or the test process ends.
pub(crate) struct Daemon {
    guard: Child,
    name: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program; its output goes to a log file. `cleanup` is a shell command that runs when it is time to stop, before it stops.
    pub(crate) fn start(name: &str, cleanup: &str, command: &[&str]) -> Self {
        let log = super::folder("logs").join(format!("{name}.log"));
        let guard = Command::new("sh")
            .args(["-c", GUARD, name])
            .arg(&log)
            .arg(cleanup)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            guard,
            name: name.to_owned(),
            log,
        }
    }

    /// Waits until a condition holds; else fails with the log.
    pub(crate) fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + LONG;
        while !holds() {
            assert!(
                Instant::now() < end,
                "{}: {what} took over {LONG:?}; its log:\n{}",
                self.name,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the program wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
