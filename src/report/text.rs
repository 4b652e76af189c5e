//! `-o text`: for a terminal or a CI log. All images that are fine take one line in total; each problem is reported once, with the places
//! that share it.

use super::group::{Group, Shared, filled_in, groups, remarks, unchecked};
use super::{Entry, ImageStatus, Report};
use crate::image::escape;
use crate::verdict::message::{explain_in_full, image_of};
use crate::verdict::size::Bytes;
use std::fmt::Write as _;

/// Whether to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, without `NO_COLOR`.
    Ansi,
    /// Anywhere else.
    None,
}

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// `-q`: what leads to exit code 1, and nothing else.
    Failures,
    /// What there is to do, and the counts.
    Usual,
    /// `-v`: every image and every place.
    Everything,
}

/// Places of a group that are named, unless all are asked for.
const PLACES: usize = 3;
/// Reasons why something could not be checked that are named.
const REASONS: usize = 6;
/// The indentation below a mark.
const INDENT: &str = "      ";

/// The findings by image and cause, what could not be checked, remarks, and the counts. `objects`: which images are failures.
pub fn render(report: &Report, colour: Colour, detail: Detail, objects: impl Fn(&Entry) -> bool) -> String {
    let mut out = String::new();
    let groups = groups(&report.entries);
    for group in &groups {
        let shown = match (detail, group.standing) {
            (Detail::Failures, _) => group.entries.iter().any(|entry| objects(entry)),
            (_, ImageStatus::Denied | ImageStatus::Warned) => true,
            (_, ImageStatus::Unchecked) => detail == Detail::Everything,
            (_, ImageStatus::Accepted | ImageStatus::Fine) => false,
        };
        if shown {
            paragraph(&mut out, group, colour, detail);
        }
    }
    if detail == Detail::Failures {
        return out;
    }
    if detail == Detail::Everything {
        for entry in &report.entries {
            line(&mut out, entry, colour);
        }
        for skipped in &report.skipped {
            let place = skipped.entry.place().map_or_else(String::new, |place| format!(" ({place})"));
            let _ = writeln!(out, "skip  {}{place}: {}", image_of(&skipped.entry.judged), skipped.why);
        }
    } else {
        summed_up(&mut out, &unchecked(&groups), colour);
    }
    for (by, images) in filled_in(&report.entries) {
        let names: Vec<&str> = images.iter().map(String::as_str).take(PLACES).collect();
        let more = match images.len().saturating_sub(PLACES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(
            out,
            "{}  not judged, because the name is filled in later, by {}: {}{more}",
            paint("?   ", 36, colour),
            escape(by),
            names.join(", ")
        );
    }
    for remark in remarks(&report.entries) {
        let _ = writeln!(
            out,
            "{}  {}: {}{}",
            paint("note", 36, colour),
            remark.finding.cause.name(),
            remark.finding.message,
            among(&remark)
        );
        let _ = writeln!(out, "{INDENT}fix: {}", remark.finding.fix);
    }
    let _ = writeln!(out, "{}", report.tally().sentence());
    out
}

fn paragraph(out: &mut String, group: &Group<'_>, colour: Colour, detail: Detail) {
    let mark = match group.standing {
        ImageStatus::Denied => paint("DENY", 31, colour),
        ImageStatus::Warned => paint("warn", 33, colour),
        ImageStatus::Unchecked | ImageStatus::Accepted | ImageStatus::Fine => paint("?   ", 36, colour),
    };
    let _ = write!(out, "{mark}  {}", group.image);
    let (finding, decision) = group.root;
    explain_in_full(out, finding, decision, INDENT);
    for (other, _) in group.others() {
        let _ = write!(out, "\n{INDENT}also: {}: {}", other.cause.name(), other.message);
    }
    let places = group.places();
    let shown = if detail == Detail::Everything { places.len() } else { PLACES };
    for place in places.iter().take(shown) {
        let _ = write!(out, "\n{INDENT}at {place}");
    }
    if detail == Detail::Everything
        && let Some(entry) = group.entries.first()
    {
        ways(out, entry);
    }
    match places.len().saturating_sub(shown) {
        0 => {}
        1 => {
            let _ = write!(out, "\n{INDENT}and in 1 more place (-v names all)");
        }
        more => {
            let _ = write!(out, "\n{INDENT}and in {more} more places (-v names all)");
        }
    }
    out.push('\n');
}

/// An image that pulls, or whose findings are accepted.
fn line(out: &mut String, entry: &Entry, colour: Colour) {
    let judgement = &entry.judged.judgement;
    let mark = match entry.standing() {
        ImageStatus::Fine => paint("ok  ", 32, colour),
        ImageStatus::Accepted => paint("acc ", 32, colour),
        ImageStatus::Denied | ImageStatus::Warned | ImageStatus::Unchecked => return,
    };
    let _ = write!(out, "{mark}  {}", image_of(&entry.judged));
    if let Some(size) = judgement.size() {
        let _ = write!(out, " {}", Bytes(size));
    }
    if !judgement.platforms.is_empty() {
        let _ = write!(out, " {}", judgement.platforms.join(" "));
    }
    if let Some(digest) = &judgement.digest {
        let _ = write!(out, " {}", digest.as_str());
    }
    if let Some(credential) = &judgement.credential {
        let _ = write!(out, " with {credential}");
    }
    for (cause, by) in &entry.accepted {
        let _ = write!(out, "\n{INDENT}{}: accepted by {by}", cause.name());
    }
    if let Some(place) = entry.place() {
        let _ = write!(out, "\n{INDENT}at {place}");
    }
    ways(out, entry);
    out.push('\n');
}

/// How each kind of node pulls an image, and which file configures that.
fn ways(out: &mut String, entry: &Entry) {
    for way in &entry.judged.judgement.ways {
        let who = match &way.pool {
            Some(pool) => format!("pool {} ({})", escape(pool), way.runtime),
            None => way.runtime.clone(),
        };
        let _ = write!(out, "\n{INDENT}by {who}: {}", way.outlook.name());
        if !way.settings.is_empty() {
            let _ = write!(out, ", by {}", way.settings.join(", "));
        }
    }
}

fn summed_up(out: &mut String, reasons: &[Shared<'_>], colour: Colour) {
    if reasons.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}  could not be checked:", paint("?   ", 36, colour));
    for reason in reasons.iter().take(REASONS) {
        let finding = reason.finding;
        let _ = writeln!(out, "{INDENT}{}: {}{}", finding.cause.name(), finding.message, among(reason));
        let _ = writeln!(out, "{INDENT}  fix: {}", finding.fix);
    }
    if let Some(more) = reasons.len().checked_sub(REASONS).filter(|more| *more > 0) {
        let noun = if more == 1 { "reason" } else { "reasons" };
        let _ = writeln!(out, "{INDENT}and {more} more {noun} (-v names all)");
    }
}

/// ` (nginx:1)`, ` (nginx:1 and 8 more images)`.
fn among(shared: &Shared<'_>) -> String {
    let Some(first) = shared.images.first() else {
        return String::new();
    };
    match shared.images.len() - 1 {
        0 => format!(" ({first})"),
        1 => format!(" ({first} and 1 more image)"),
        more => format!(" ({first} and {more} more images)"),
    }
}

fn paint(word: &str, code: u8, colour: Colour) -> String {
    match colour {
        Colour::Ansi => format!("\x1b[{code}m{word}\x1b[0m"),
        Colour::None => word.to_owned(),
    }
}
