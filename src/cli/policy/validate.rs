//! `pullgate policy validate`: reports every problem at once.

use super::{Places, count};
use crate::cli::{DENIED, WRONG, policies, print, report_error};
use crate::config::policies::{FaultKind, Faults, PolicySet};
use crate::policy::cases::PolicyTest;
use crate::workload::Kinds;
use std::process::ExitCode;

/// Parses the tests of a set; problems are added to `faults`.
pub(super) fn tests(set: &PolicySet, kinds: &Kinds, faults: &mut Faults) -> Vec<PolicyTest> {
    let mut sound = Vec::new();
    for document in &set.tests {
        match PolicyTest::read_with(&document.document.value, kinds) {
            Ok(test) => sound.push(test),
            Err(problems) => faults.extend(problems.iter().map(|problem| document.fault(problem))),
        }
    }
    sound
}

/// Runs the command.
pub(super) fn run(args: &Places) -> anyhow::Result<ExitCode> {
    let kinds = policies::kinds(args.config.as_deref())?;
    let sets = policies::look(&args.places, &kinds)?;
    let (mut faults, mut remarks) = (Faults::default(), Faults::default());
    let (mut cases, mut sound, mut files) = (0, 0, 0);
    for set in &sets {
        faults.join(&set.faults);
        remarks.join(&set.remarks);
        cases += tests(set, &kinds, &mut faults)
            .iter()
            .map(|test| test.cases.len())
            .sum::<usize>();
        sound += set.policies.len();
        files += set.files;
    }
    let mut unreadable = false;
    for fault in faults.iter() {
        match fault.kind {
            FaultKind::Problem => print(&format!("{fault}\n"))?,
            FaultKind::Unreadable => {
                unreadable = true;
                let _ = report_error(&fault.to_string());
            }
        }
    }
    if faults.more() > 0 {
        print(&format!("and {} more\n", faults.more()))?;
    }
    // Remarks do not affect the exit code.
    for remark in remarks.iter() {
        print(&format!("note: {remark}\n"))?;
    }
    let what = [count(sound, "policy", "policies"), count(cases, "test case", "test cases")].join(" and ");
    let files = count(files, "file", "files");
    if faults.is_empty() {
        print(&format!("{what} in {files}: no problems\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!(
        "{} in {files}; valid: {what}\n",
        count(faults.len(), "problem", "problems")
    ))?;
    Ok(ExitCode::from(if unreadable { WRONG } else { DENIED }))
}
