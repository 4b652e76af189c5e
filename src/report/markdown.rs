//! `-o markdown`: for a comment on a pull request, or the summary of a job.

use super::group::{groups, remarks, unchecked};
use super::{ImageStatus, Report};
use std::fmt::Write as _;

/// Findings that are shown in full; a comment has at most 65,536 characters.
const SHOWN: usize = 30;
/// Places that are named of each.
const PLACES: usize = 5;

/// A heading with the counts, a list of what is wrong with its fixes, and what could not be checked or read.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let tally = report.tally();
    let mark = if tally.denied > 0 || !report.problems.is_empty() {
        ":x:"
    } else if tally.warned + tally.unchecked > 0 {
        ":warning:"
    } else {
        ":white_check_mark:"
    };
    let _ = writeln!(out, "### {mark} pullgate: {}\n", tally.sentence());
    let groups = groups(&report.entries);
    let told = || groups.iter().filter(|group| group.standing != ImageStatus::Unchecked);
    for group in told().take(SHOWN) {
        let (finding, _) = group.root;
        let word = match group.standing {
            ImageStatus::Denied => "**denied**",
            ImageStatus::Warned => "warning",
            ImageStatus::Unchecked | ImageStatus::Accepted | ImageStatus::Fine => "could not be checked",
        };
        let _ = writeln!(
            out,
            "- {} {word}, `{}`: {}",
            code(&group.image),
            finding.cause.name(),
            prose(&finding.message)
        );
        if let Some(kubelet) = &finding.kubelet {
            let _ = writeln!(
                out,
                "  - the kubelet would show: {}",
                code(&format!("{}: {}", kubelet.reason, kubelet.message.replace('\n', " ")))
            );
        }
        let _ = writeln!(out, "  - fix: {}", prose(&finding.fix));
        let places = group.places();
        for place in places.iter().take(PLACES) {
            let _ = writeln!(out, "  - {}", code(place));
        }
        if places.len() > PLACES {
            let _ = writeln!(out, "  - and in {} more places", places.len() - PLACES);
        }
    }
    if let Some(more) = told().count().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(out, "- and {more} more");
    }
    for reason in unchecked(&groups).iter().take(SHOWN) {
        let (finding, images) = (reason.finding, &reason.images);
        let first = images.first().map_or_else(String::new, |first| code(first));
        let more = match images.len().saturating_sub(1) {
            0 => String::new(),
            1 => " and 1 more image".to_owned(),
            more => format!(" and {more} more images"),
        };
        let _ = writeln!(
            out,
            "- {first}{more} could not be checked, `{}`: {}\n  - fix: {}",
            finding.cause.name(),
            prose(&finding.message),
            prose(&finding.fix)
        );
    }
    for remark in remarks(&report.entries) {
        let (finding, count) = (remark.finding, remark.images.len());
        let _ = writeln!(
            out,
            "- note, `{}` ({count}): {}; {}",
            finding.cause.name(),
            prose(&finding.message),
            prose(&finding.fix)
        );
    }
    for problem in &report.problems {
        let _ = writeln!(out, "- could not be read: {}", prose(&problem.to_string()));
    }
    out
}

/// Text in which nothing is markup, on one line.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\r' => out.push(' '),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A name must not mention a user.
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(char);
            }
            char => out.push(char),
        }
    }
    out
}

/// Text as code: between more backticks than it has in a row.
fn code(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    let longest = text.split(|char| char != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let blank = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{blank}{text}{blank}{fence}")
}
