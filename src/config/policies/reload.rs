//! Reloads policy files that change while the process runs.

use super::{Files, PolicySet, read};
use crate::config::watch::{ReloadSignal, next_poll};
use crate::config::{Live, PolicyStore};
use crate::image::escape;
use crate::limits;
use crate::telemetry::{Metrics, PolicySource, Reload};
use crate::workload::Kinds;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// How many problems are logged one by one.
const LOGGED: usize = 20;

/// Polls the places forever. A changed and entirely valid set goes into the store. If it is not valid, the last good policies stay
/// in force, and log, metric (`policies_refused`) and `note` report it, the note until the files are valid again. A folder or file that
/// had policies and is now empty is not a valid set either. `now` is what was read at the start and is already in the store. `asked`
/// makes it read everything again. `kinds` are those that policies may name.
pub async fn watch_policy_files(
    places: Vec<PathBuf>,
    now: Files,
    store: PolicyStore,
    metrics: Metrics,
    note: Live<Option<String>>,
    kinds: Live<Kinds>,
    mut asked: ReloadSignal,
) {
    let places = Arc::new(places);
    let mut empty: BTreeSet<PathBuf> = now.empty().iter().cloned().collect();
    let mut written = now.written();
    let mut seen = now;
    loop {
        let again = next_poll(&mut asked).await;
        let Some(files) = changed(&places, (!again).then_some(&seen)).await else {
            continue;
        };
        seen = files;
        let folders = seen.empty().iter().filter(|folder| !empty.contains(*folder));
        let folders = folders.map(|folder| folder.display().to_string());
        let cut_off = seen.blank().filter(|file| written.contains(*file)).map(str::to_owned);
        let emptied: Vec<String> = folders.chain(cut_off).map(|place| escape(&place)).collect();
        if !emptied.is_empty() {
            // A lost mount, a half-finished rollout, a full disk: nobody removes all policies like this on purpose.
            let why = format!(
                "{} had policies and is now empty: the last good ones stay in force until a restart, or until it has new ones",
                emptied.join(", ")
            );
            metrics.reload(Reload::PoliciesRefused);
            tracing::warn!(places = ?emptied, "{why}");
            note.store(Some(why));
            continue;
        }
        let Some(set) = compiled(&seen, kinds.load()).await else {
            continue;
        };
        let folders = seen.empty();
        if !folders.is_empty() {
            tracing::warn!(?folders, "no policy files in these folders");
        }
        match set.sound() {
            Ok(policies) => {
                empty = seen.empty().iter().cloned().collect();
                written = seen.written();
                let count = policies.len();
                store.set_files(policies);
                metrics.policies(PolicySource::Files, count, 0);
                note.store(None);
                metrics.reload(Reload::PoliciesReplaced);
                tracing::info!(policies = count, "policy files reloaded");
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
                    "the changed policy files cannot be used; the last good ones stay in force"
                );
                let first = faults
                    .iter()
                    .next()
                    .map(|fault| format!("{}: {}", fault.place(), fault.sentence()));
                note.store(Some(format!(
                    "the changed files cannot be used, the last good ones stay in force ({} problems; {})",
                    faults.len(),
                    first.unwrap_or_default()
                )));
            }
        }
    }
}

/// The files, if they are not those that were `seen`, and have settled.
async fn changed(places: &Arc<Vec<PathBuf>>, seen: Option<&Files>) -> Option<Files> {
    let first = look(places).await?;
    if seen == Some(&first) {
        return None;
    }
    tokio::time::sleep(limits::FILE_SETTLE).await;
    // Still being written: wait for the next poll.
    look(places).await.filter(|second| *second == first)
}

async fn look(places: &Arc<Vec<PathBuf>>) -> Option<Files> {
    let places = Arc::clone(places);
    tokio::task::spawn_blocking(move || read(&places)).await.ok()
}

async fn compiled(files: &Files, kinds: Arc<Kinds>) -> Option<PolicySet> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || files.compile(&kinds)).await.ok()
}
