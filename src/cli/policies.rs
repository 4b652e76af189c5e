//! Policy files, for the commands that use them.

use crate::config::Settings;
use crate::config::policies::{Files, PolicySet, folders, read};
use crate::policy::Policy;
use crate::workload::Kinds;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kinds that policies may name, with those of a settings file.
pub(super) fn kinds(config: Option<&Path>) -> anyhow::Result<Kinds> {
    Ok(match config {
        Some(file) => Kinds::with(&Settings::read(file)?.workloads),
        None => Kinds::default(),
    })
}

/// The policies in these places, and the files. The error lists every problem.
pub(super) fn load(places: &[PathBuf], kinds: &Kinds) -> anyhow::Result<(Files, Vec<Arc<Policy>>)> {
    let files = read(places);
    let sound = files
        .compile(kinds)
        .sound()
        .map_err(|faults| anyhow::anyhow!("the policies cannot be used\n{faults}"))?;
    Ok((files, sound))
}

/// The same; a folder without policies is an error.
pub(super) fn load_some(places: &[PathBuf], kinds: &Kinds) -> anyhow::Result<Vec<Arc<Policy>>> {
    let (files, sound) = load(places, kinds)?;
    some(&files)?;
    Ok(sound)
}

/// The policies of the places, valid or not: one set for all places, but one set per subfolder for a folder of folders (samples,
/// teams). A folder without policies is an error.
pub(super) fn look(places: &[PathBuf], kinds: &Kinds) -> anyhow::Result<Vec<PolicySet>> {
    let (mut sets, mut together) = (Vec::new(), Vec::new());
    for place in places {
        let below = folders(place);
        if below.is_empty() {
            together.push(place.clone());
        }
        sets.extend(below.into_iter().map(|folder| read(&[folder]).compile(kinds)));
    }
    if !together.is_empty() {
        let files = read(&together);
        some(&files)?;
        sets.insert(0, files.compile(kinds));
    }
    Ok(sets)
}

fn some(files: &Files) -> anyhow::Result<()> {
    match files.empty().first() {
        Some(folder) => anyhow::bail!(
            "{}: no .yaml, .yml or .json file in this folder (subfolders are not searched)",
            folder.display()
        ),
        None => Ok(()),
    }
}
