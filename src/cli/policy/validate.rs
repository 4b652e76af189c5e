//! `pullgate policy validate`: every error at once.

use super::count;
use crate::cli::{DENIED, WRONG, complain, policies, say};
use crate::config::policies::{Faults, PolicySet, Weight};
use crate::policy::trial::Trial;
use std::path::PathBuf;
use std::process::ExitCode;

/// Reads the tests of a set; what is wrong with them goes to `faults`.
pub(super) fn trials(set: &PolicySet, faults: &mut Faults) -> Vec<Trial> {
    let mut sound = Vec::new();
    for beside in &set.trials {
        match Trial::read(&beside.document.value) {
            Ok(trial) => sound.push(trial),
            Err(problems) => faults.extend(problems.iter().map(|problem| beside.fault(problem))),
        }
    }
    sound
}

/// Runs it.
pub(super) fn run(places: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let sets = policies::look(places)?;
    let (mut faults, mut remarks) = (Faults::default(), Faults::default());
    let (mut cases, mut sound, mut files) = (0, 0, 0);
    for set in &sets {
        faults.join(&set.faults);
        remarks.join(&set.remarks);
        cases += trials(set, &mut faults).iter().map(|trial| trial.cases.len()).sum::<usize>();
        sound += set.policies.len();
        files += set.files;
    }
    let mut unreadable = false;
    for fault in faults.iter() {
        match fault.weight {
            Weight::Problem => say(&format!("{fault}\n"))?,
            Weight::Unreadable => {
                unreadable = true;
                let _ = complain(&fault.to_string());
            }
        }
    }
    if faults.more() > 0 {
        say(&format!("and {} more\n", faults.more()))?;
    }
    // Sound, so the exit code is what it would be without them.
    for remark in remarks.iter() {
        say(&format!("note: {remark}\n"))?;
    }
    let what = [count(sound, "policy", "policies"), count(cases, "test case", "test cases")].join(" and ");
    let files = count(files, "file", "files");
    if faults.is_empty() {
        say(&format!("{what} in {files}: nothing to object to\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!(
        "{} in {files}; {what} are sound\n",
        count(faults.len(), "problem", "problems")
    ))?;
    Ok(ExitCode::from(if unreadable { WRONG } else { DENIED }))
}
