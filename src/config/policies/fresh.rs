//! Policy files that change while the process runs.

use super::{Files, PolicySet, read};
use crate::config::{Live, Shelf};
use crate::limits;
use crate::telemetry::{Metrics, PolicySource, Reload};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Faults that are logged one by one.
const LOGGED: usize = 20;

/// Polls the places for ever. When what they hold changes and is sound as a whole, it goes on the shelf; when it is not, the last good
/// policies go on to hold, and log, metric (`policies_refused`) and `note` say so, the note until the files are sound again. `now` is
/// what was read at the start and is on the shelf already.
pub async fn keep_policies_fresh(places: Vec<PathBuf>, now: Files, shelf: Shelf, metrics: Metrics, note: Live<Option<String>>) {
    let places = Arc::new(places);
    let mut seen = now;
    loop {
        tokio::time::sleep(limits::FILE_POLL).await;
        let Some(files) = changed(&places, &seen).await else {
            continue;
        };
        seen = files;
        let Some(set) = compiled(&seen).await else { continue };
        let folders = seen.empty();
        if !folders.is_empty() {
            tracing::warn!(?folders, "there are no policy files in these folders");
        }
        match set.sound() {
            Ok(policies) => {
                let count = policies.len();
                shelf.set_files(policies);
                metrics.policies(PolicySource::Files, count, 0);
                note.store(None);
                metrics.reload(Reload::PoliciesReplaced);
                tracing::info!(policies = count, "policy files were read again and hold from now on");
            }
            Err(faults) => {
                for fault in faults.iter().take(LOGGED) {
                    tracing::warn!(
                        file = %fault.file,
                        line = fault.line,
                        column = fault.column,
                        why = %fault.sentence(),
                        "a policy file cannot be used{}",
                        fault.excerpt().map(|excerpt| format!("\n{excerpt}")).unwrap_or_default()
                    );
                }
                metrics.reload(Reload::PoliciesRefused);
                let at_fault: BTreeSet<&str> = faults.iter().map(|fault| fault.file.as_str()).collect();
                metrics.policies_refused(PolicySource::Files, at_fault.len());
                tracing::warn!(
                    faults = faults.len(),
                    "the changed policy files cannot be used; the last good ones hold"
                );
                let first = faults
                    .iter()
                    .next()
                    .map(|fault| format!("{}: {}", fault.place(), fault.sentence()));
                note.store(Some(format!(
                    "the changed files cannot be used, the last good ones hold ({} wrong; {})",
                    faults.len(),
                    first.unwrap_or_default()
                )));
            }
        }
    }
}

/// The files, if they differ from what was seen before and have settled.
async fn changed(places: &Arc<Vec<PathBuf>>, seen: &Files) -> Option<Files> {
    let first = look(places).await?;
    if first == *seen {
        return None;
    }
    tokio::time::sleep(limits::FILE_SETTLE).await;
    // Still being written: the next poll looks again.
    look(places).await.filter(|second| *second == first)
}

async fn look(places: &Arc<Vec<PathBuf>>) -> Option<Files> {
    let places = Arc::clone(places);
    tokio::task::spawn_blocking(move || read(&places)).await.ok()
}

async fn compiled(files: &Files) -> Option<PolicySet> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || files.compile()).await.ok()
}
