//! A process with the memory that the chart gives it.
#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each test target uses its own part; for whoever reads a test that failed"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The chart's limit (`resources.limits.memory`), in bytes.
pub(crate) const LIMIT: usize = 256 << 20;

/// A control group of one process, which the kernel ends at [`LIMIT`]; where this machine lets nobody make one, the most memory that the
/// process had resident is all that there is to look at ([`most_resident`]).
pub(crate) struct Confined {
    group: Option<PathBuf>,
}

impl Confined {
    pub(crate) fn new(process: u32) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pullgate-test-{}-{number}", std::process::id());
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = places(Path::new("/sys/fs/cgroup"), &own, &name)
            .into_iter()
            .find_map(|(group, limit)| confine(group, limit, process));
        match &group {
            Some(group) => println!("memory limit: {LIMIT} bytes, by the control group {}", group.display()),
            None => println!("memory limit: no control group can be made here, so VmHWM is looked at afterwards"),
        }
        Self { group }
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let Some(group) = &self.group else { return };
        // The process has been ended before; the kernel takes a moment.
        for _ in 0..50 {
            if fs::remove_dir(group).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Where a group of this name may be made, and the file of its limit: below our own or the first, of version 2 (also beside version 1, as
/// systemd has it) or 1. `own` is `/proc/self/cgroup` (`cgroups(7)`).
pub(crate) fn places(root: &Path, own: &str, name: &str) -> Vec<(PathBuf, &'static str)> {
    let path = |is: fn(&str) -> bool| {
        let mut lines = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        lines.find(|(controllers, _)| is(controllers)).map_or("/", |(_, path)| path)
    };
    let second = path(str::is_empty);
    let first = path(|controllers| controllers.split(',').any(|one| one == "memory"));
    let below = |root: &Path, path: &str| root.join(path.trim_start_matches('/')).join(name);
    let (unified, memory) = (root.join("unified"), root.join("memory"));
    vec![
        (below(root, second), "memory.max"),
        (root.join(name), "memory.max"),
        (below(&unified, second), "memory.max"),
        (below(&memory, first), "memory.limit_in_bytes"),
        (memory.join(name), "memory.limit_in_bytes"),
    ]
}

fn confine(group: PathBuf, limit: &str, process: u32) -> Option<PathBuf> {
    // Else a folder of another file system is made, or one without this controller.
    if !group.parent()?.join("cgroup.procs").exists() {
        return None;
    }
    fs::create_dir(&group).ok()?;
    let done = group.join(limit).exists()
        && fs::write(group.join(limit), LIMIT.to_string()).is_ok()
        && fs::write(group.join("cgroup.procs"), process.to_string()).is_ok();
    if !done {
        let _ = fs::remove_dir(&group);
        return None;
    }
    Some(group)
}

/// The most memory that a process ever had resident, in bytes.
pub(crate) fn most_resident(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.expect("the process lives: it was ended if it took more memory than its limit") << 10
}
