//! Policy files for the commands that judge by them.

use crate::config::policies::{Files, PolicySet, folders, read};
use crate::policy::Policy;
use std::path::PathBuf;
use std::sync::Arc;

/// The policies of these places, with the files as they were read. The error is everything that is wrong with them.
pub(super) fn load(places: &[PathBuf]) -> anyhow::Result<(Files, Vec<Arc<Policy>>)> {
    let files = read(places);
    let sound = files
        .compile()
        .sound()
        .map_err(|faults| anyhow::anyhow!("the policies cannot be used\n{faults}"))?;
    Ok((files, sound))
}

/// The same, where a folder without policies is a mistake.
pub(super) fn load_some(places: &[PathBuf]) -> anyhow::Result<Vec<Arc<Policy>>> {
    let (files, sound) = load(places)?;
    some(&files)?;
    Ok(sound)
}

/// What the places say, sound or not: together they are one set, but of a folder of folders each is one by itself (samples, teams). A
/// folder without policies is a mistake.
pub(super) fn look(places: &[PathBuf]) -> anyhow::Result<Vec<PolicySet>> {
    let (mut sets, mut together) = (Vec::new(), Vec::new());
    for place in places {
        let below = folders(place);
        if below.is_empty() {
            together.push(place.clone());
        }
        sets.extend(below.into_iter().map(|folder| read(&[folder]).compile()));
    }
    if !together.is_empty() {
        let files = read(&together);
        some(&files)?;
        sets.insert(0, files.compile());
    }
    Ok(sets)
}

fn some(files: &Files) -> anyhow::Result<()> {
    match files.empty().first() {
        Some(folder) => anyhow::bail!(
            "{}: no .yaml, .yml or .json file in this folder (its folders are not looked into)",
            folder.display()
        ),
        None => Ok(()),
    }
}
