//! `-o junit`: `JUnit` XML for CI systems. An image is a test case, a file a suite.

use super::{Entry, Problem, Report as All, title};
use crate::image::escape;
use crate::verdict::message::{explain_in_full, image_of};
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

/// The suite of images from `--image` or from a cluster.
const NO_FILE: &str = "images";

/// An image with objections (`objects`: those that lead to exit code 1) is a failure; other findings are the output of its case.
/// Unreadable inputs are errors in a suite of their own.
///
/// # Errors
/// Only those of the XML writer.
pub fn render(all: &All, objects: impl Fn(&Entry) -> bool) -> Result<String, SerializeError> {
    let All {
        entries,
        skipped,
        problems,
        notes: _,
    } = all;
    let mut report = Report::new("pullgate check");
    let mut suites: Vec<TestSuite> = Vec::new();
    if !problems.is_empty() {
        let mut suite = TestSuite::new("input");
        for error in problems.iter().map(Problem::to_string) {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(error).set_type("unreadable");
            suite.add_test_case(TestCase::new("can be read", status));
        }
        suites.push(suite);
    }
    for entry in entries {
        let file = entry
            .source
            .as_ref()
            .map_or_else(|| NO_FILE.to_owned(), |source| escape(&source.file));
        if suites.last().is_none_or(|suite| suite.name.as_str() != file) {
            suites.push(TestSuite::new(file.as_str()));
        }
        let mut case = TestCase::new(name(entry), status(entry, objects(entry)));
        case.set_classname(file.as_str());
        if !objects(entry) {
            let said = everything(entry);
            if !said.is_empty() {
                case.set_system_out(said);
            }
        }
        if let Some(suite) = suites.last_mut() {
            suite.add_test_case(case);
        }
    }
    if !skipped.is_empty() {
        let mut suite = TestSuite::new("skipped");
        for skipped in skipped {
            let mut status = TestCaseStatus::skipped();
            status.set_message(skipped.why.as_str());
            suite.add_test_case(TestCase::new(name(&skipped.entry), status));
        }
        suites.push(suite);
    }
    report.add_test_suites(suites);
    report.to_string()
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
        (Some(source), Some(line)) => format!("{}:{line}\n", escape(&source.file)),
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
