//! `pullgate policy test`: compares policies with their authors' expectations.

use super::{Places, count, validate};
use crate::cli::{DENIED, WRONG, policies, print, report_error};
use crate::config::policies::{Faults, PolicySet};
use crate::engine::scripted::{Ran, run as run_case};
use crate::image::escape;
use crate::policy::Policies;
use crate::policy::cases::{Case, Expect, PolicyTest};
use crate::verdict::{Cause, Verdict};
use crate::workload::Kinds;
use anyhow::Context as _;
use clap::ValueEnum;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Arguments of `policy test`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    places: Places,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines
    Json,
    /// For CI servers
    Junit,
}

/// The schema's name.
const VERSION: &str = "pullgate.dev/policytest/v1";

#[derive(Debug, Serialize)]
struct Results {
    version: &'static str,
    summary: Summary,
    cases: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Summary {
    cases: usize,
    passed: usize,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct Outcome {
    file: String,
    line: usize,
    name: String,
    passed: bool,
    /// What differs, one clause each; empty if it passed.
    differs: Vec<String>,
    verdict: &'static str,
    causes: Vec<&'static str>,
    /// The policies that decided the verdict; empty for the default.
    policies: Vec<String>,
    asked: bool,
    /// The messages, one line per finding.
    said: Vec<String>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let kinds = policies::kinds(args.places.config.as_deref())?;
    let sets = policies::look(&args.places.places, &kinds)?;
    let mut faults = Faults::default();
    for set in &sets {
        faults.join(&set.faults);
        let _ = validate::tests(set, &kinds, &mut faults);
    }
    if !faults.is_empty() {
        return Ok(report_error(&format!("the policies or their tests cannot be used\n{faults}")));
    }
    let cases: Vec<Outcome> = sets.into_iter().flat_map(|set| outcomes(set, &kinds)).collect();
    if cases.is_empty() {
        let _ = report_error("no tests found (documents of kind ImagePolicyTest in the same folders as the policies)");
        return Ok(ExitCode::from(WRONG));
    }
    let failed = cases.iter().filter(|case| !case.passed).count();
    let results = Results {
        version: VERSION,
        summary: Summary {
            cases: cases.len(),
            passed: cases.len() - failed,
            failed,
        },
        cases,
    };
    print(&match args.output {
        Output::Text => text(&results),
        Output::Json => serde_json::to_string_pretty(&results).context("the results cannot be written as JSON")? + "\n",
        Output::Junit => junit(&results).context("the results cannot be written as JUnit XML")? + "\n",
    })?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DENIED)
    })
}

/// Runs every case of one set against its policies.
fn outcomes(set: PolicySet, kinds: &Kinds) -> Vec<Outcome> {
    let policies = Policies::new(set.policies);
    let now = jiff::Timestamp::now();
    let mut cases = Vec::new();
    for document in &set.tests {
        let test = PolicyTest::read_with(&document.document.value, kinds).unwrap_or(PolicyTest { cases: Vec::new() });
        for (at, case) in test.cases.iter().enumerate() {
            let line = document.document.line_of(&format!("spec.cases[{at}]"));
            cases.push(outcome(&document.file, line, case, &run_case(case, &policies, now)));
        }
    }
    cases
}

fn outcome(file: &str, line: usize, case: &Case, ran: &Ran) -> Outcome {
    let judgement = &ran.judgement;
    let causes: BTreeSet<Cause> = judgement.findings.iter().map(|finding| finding.cause).collect();
    let deciding = judgement
        .ruled()
        .filter(|(_, decision)| decision.verdict == judgement.verdict);
    let policies: BTreeSet<String> = deciding
        .filter_map(|(_, decision)| Some(decision.policy.as_ref()?.to_string()))
        .collect();
    let differs = differences(&case.expect, judgement.verdict, &causes, &policies, ran.asked);
    let said = judgement.ruled().map(|(finding, decision)| {
        let policy = decision
            .policy
            .as_ref()
            .map_or_else(String::new, |policy| format!(" ({policy})"));
        format!(
            "{}{policy}: {}: {}",
            decision.verdict.name(),
            finding.cause.name(),
            escape(&finding.message)
        )
    });
    Outcome {
        file: file.to_owned(),
        line,
        name: case.name.clone(),
        passed: differs.is_empty(),
        differs,
        verdict: judgement.verdict.name(),
        causes: causes.iter().map(|cause| cause.name()).collect(),
        policies: policies.into_iter().collect(),
        asked: ran.asked,
        said: said.collect(),
    }
}

fn differences(
    expect: &Expect,
    verdict: Verdict,
    causes: &BTreeSet<Cause>,
    policies: &BTreeSet<String>,
    asked: bool,
) -> Vec<String> {
    // Destructured, so that a new expectation cannot be forgotten.
    let Expect {
        verdict: wanted,
        causes: wanted_causes,
        policy,
        asked: wanted_asked,
    } = expect;
    let mut differs = Vec::new();
    if *wanted != verdict {
        differs.push(format!("expected {}, got {}", wanted.name(), verdict.name()));
    }
    if let Some(wanted) = wanted_causes {
        let wanted: BTreeSet<Cause> = wanted.iter().copied().collect();
        if wanted != *causes {
            differs.push(format!("expected {}, got {}", names(&wanted), names(causes)));
        }
    }
    if let Some(policy) = policy
        && !policies.contains(policy)
    {
        let of: Vec<&str> = policies.iter().map(String::as_str).collect();
        let of = if of.is_empty() {
            "no policy".to_owned()
        } else {
            of.join(", ")
        };
        differs.push(format!("expected it to be decided by {policy}, but it was decided by {of}"));
    }
    if let Some(wanted) = wanted_asked
        && *wanted != asked
    {
        let got = if asked { "asked" } else { "not asked" };
        differs.push(format!("unexpectedly, the registry is {got}"));
    }
    differs
}

fn names(causes: &BTreeSet<Cause>) -> String {
    if causes.is_empty() {
        return "no findings".to_owned();
    }
    causes.iter().map(|cause| cause.name()).collect::<Vec<_>>().join(", ")
}

fn text(results: &Results) -> String {
    let mut out = String::new();
    let mut file = "";
    for case in &results.cases {
        if case.file != file {
            file = &case.file;
            let _ = writeln!(out, "{}", escape(file));
        }
        let _ = writeln!(out, "  {}  {}", if case.passed { "ok  " } else { "FAIL" }, escape(&case.name));
        if case.passed {
            continue;
        }
        let _ = writeln!(out, "        {}:{}", escape(&case.file), case.line);
        for line in &case.differs {
            let _ = writeln!(out, "        {line}");
        }
        for line in &case.said {
            let _ = writeln!(out, "        {line}");
        }
    }
    let Summary { cases, passed, failed } = results.summary;
    let _ = writeln!(out, "{}: {passed} passed, {failed} failed", count(cases, "case", "cases"));
    out
}

fn junit(results: &Results) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("pullgate policy test");
    let mut suites: Vec<TestSuite> = Vec::new();
    for case in &results.cases {
        if suites.last().is_none_or(|suite| suite.name.as_str() != case.file) {
            suites.push(TestSuite::new(case.file.as_str()));
        }
        let mut status = TestCaseStatus::success();
        if !case.passed {
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(case.differs.join("; "));
            status.set_type("expectation");
            let at = format!("{}:{}", case.file, case.line);
            let lines = std::iter::once(at).chain(case.said.iter().cloned());
            status.set_description(lines.collect::<Vec<_>>().join("\n"));
        }
        let mut entry = TestCase::new(case.name.as_str(), status);
        entry.set_classname(case.file.as_str());
        if let Some(suite) = suites.last_mut() {
            suite.add_test_case(entry);
        }
    }
    report.add_test_suites(suites);
    report.to_string()
}
