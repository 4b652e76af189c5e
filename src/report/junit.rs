//! `-o junit`: `JUnit` XML for CI systems. An image is a test case, a file a suite.

use super::{Entry, Problem, Report as All, file_of, title};
use crate::image::escape;
use crate::verdict::message::{explain_in_full, image_of};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::io;

/// The name of a report.
const NAME: &str = "pullgate check";
/// The suite of images from `--image` or from a cluster.
const NO_FILE: &str = "images";
/// What begins a suite, and what ends the report, in text in which both are escaped.
const SUITE: &str = "<testsuite ";
const END: &str = "</testsuites>";

/// Writes a suite for each file. An image with objections (`objects`: those that lead to exit code 1) is a failure; other findings are the
/// output of its case. Unreadable inputs are errors in a suite of their own.
///
/// # Errors
/// Those of the writer.
pub fn render(all: &All, objects: impl Fn(&Entry) -> bool, mut out: impl io::Write) -> io::Result<()> {
    let All {
        entries,
        skipped,
        problems,
        notes: _,
    } = all;
    let mut report = Report::new(NAME);
    report.tests = problems.len() + entries.len() + skipped.len();
    report.errors = problems.len();
    report.failures = entries.iter().filter(|entry| objects(entry)).count();
    report.skipped = skipped.len();
    let frame = report.to_string().map_err(io::Error::other)?;
    out.write_all(frame.split(END).next().unwrap_or_default().trim_end().as_bytes())?;
    let mut put = |suite: TestSuite| -> io::Result<()> {
        let mut report = Report::new(NAME);
        report.add_test_suite(suite);
        let text = report.to_string().map_err(io::Error::other)?;
        let suite = text.split_once(SUITE).and_then(|(_, suite)| suite.rsplit_once(END));
        let (suite, _) = suite.ok_or_else(|| io::Error::other("a suite of tests cannot be written"))?;
        write!(out, "\n    {SUITE}{}", suite.trim_end())
    };
    if !problems.is_empty() {
        let mut suite = TestSuite::new("input");
        for error in problems.iter().map(Problem::to_string) {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(error).set_type("unreadable");
            suite.add_test_case(TestCase::new("can be read", status));
        }
        put(suite)?;
    }
    // The crate holds a whole report; a suite at a time keeps that small.
    for of_file in entries.chunk_by(|one, next| one.source.as_ref().map(file_of) == next.source.as_ref().map(file_of)) {
        let file = of_file.first().and_then(|entry| entry.source.as_ref());
        let file = file.map_or_else(|| NO_FILE.to_owned(), |source| escape(file_of(source)));
        let mut suite = TestSuite::new(file.as_str());
        for entry in of_file {
            let objected = objects(entry);
            let mut case = TestCase::new(name(entry), status(entry, objected));
            case.set_classname(file.as_str());
            let said = if objected { String::new() } else { everything(entry) };
            if !said.is_empty() {
                case.set_system_out(said);
            }
            suite.add_test_case(case);
        }
        put(suite)?;
    }
    if !skipped.is_empty() {
        let mut suite = TestSuite::new("skipped");
        for skipped in skipped {
            let mut status = TestCaseStatus::skipped();
            status.set_message(skipped.why.as_str());
            suite.add_test_case(TestCase::new(name(&skipped.entry), status));
        }
        put(suite)?;
    }
    write!(out, "\n{END}\n")
}

fn status(entry: &Entry, objected: bool) -> TestCaseStatus {
    if !objected {
        return TestCaseStatus::success();
    }
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    if let Some((finding, _)) = entry.worst() {
        status.set_message(format!("{}: {}", finding.cause.name(), finding.message));
        status.set_type(finding.cause.name());
    }
    let place = match (&entry.source, entry.line) {
        (Some(source), Some(line)) => format!("{}:{line}\n", escape(file_of(source))),
        (Some(_), None) | (None, _) => String::new(),
    };
    status.set_description(format!("{place}{}", everything(entry)));
    status
}

/// All findings of an image.
fn everything(entry: &Entry) -> String {
    let mut text = String::new();
    for (finding, decision) in entry.open() {
        explain_in_full(&mut text, finding, decision, "");
    }
    text.trim_start_matches('\n').to_owned()
}

/// The image and its user.
fn name(entry: &Entry) -> String {
    match &entry.object {
        Some(_) => format!("{}: {}", title(entry), image_of(&entry.judged)),
        None => title(entry),
    }
}
