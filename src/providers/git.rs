//! Which files changed since a commit, for `check --since`. git runs on the user's machine, and only because the user asked for it.

use super::run::{Belongs, Bounds, run};
use crate::credentials::helper::Exit;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;

/// A diff of names takes a second in the largest repositories.
const LONGEST: Duration = Duration::from_mins(1);

/// The files that differ from where `reference` branched off, and those that git does not know yet; absolute paths.
///
/// # Errors
/// A sentence that says why there is no answer.
pub async fn changed_since(reference: &str) -> Result<BTreeSet<PathBuf>, String> {
    if reference.is_empty() || reference.starts_with('-') {
        return Err(format!("--since: {reference:?} is not a commit"));
    }
    let top = git(&["rev-parse", "--show-toplevel"], "this folder is not in a git repository").await?;
    let top = PathBuf::from(OsStr::from_bytes(top.trim_ascii_end()));
    let unknown = format!("git does not know {reference:?} here (a shallow clone has no history: fetch it)");
    // Where it branched off: what others changed since then does not count. Without a common ancestor, the commit itself.
    let base = match git(&["merge-base", reference, "HEAD"], &unknown).await {
        Ok(base) => String::from_utf8_lossy(&base).trim().to_owned(),
        Err(_) => reference.to_owned(),
    };
    let diff = [
        "diff",
        "--no-ext-diff",
        "--no-textconv",
        "--no-renames",
        "--diff-filter=d",
        "--name-only",
        "-z",
        &base,
        "--",
    ];
    let changed = git(&diff, &unknown).await?;
    let untracked = git(
        &["ls-files", "--others", "--exclude-standard", "--full-name", "-z", ":/"],
        &unknown,
    )
    .await?;
    let names = [changed, untracked].concat();
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| top.join(OsStr::from_bytes(name))).collect())
}

async fn git(arguments: &[&str], failed: &str) -> Result<Vec<u8>, String> {
    let mut command = Command::new("git");
    // A repository's own settings may name programs.
    command
        .args(["-c", "core.fsmonitor=false", "-c", "core.quotePath=false"])
        .args(arguments);
    let ended = run(command, Belongs::ToUser, Vec::new(), Bounds::usual(LONGEST)).await;
    let ended = ended.map_err(|fault| format!("--since needs git: {}", fault.clause()))?;
    match ended.exit {
        Exit::Succeeded => Ok(ended.printed),
        Exit::Failed => Err(format!("--since: {failed}")),
    }
}
