//! `-o text`: for a terminal or a CI log.

use super::{Entry, summary};
use crate::image::escape;
use crate::verdict::Verdict;
use crate::verdict::answer::Remark;
use crate::verdict::message::{explain, image_of, object_of, user_of};
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

/// One line for an image that pulls, a paragraph for one that does not, and the counts.
pub fn render(entries: &[Entry], colour: Colour) -> String {
    let mut out = String::new();
    let mut heading_before = None;
    for entry in entries {
        let heading = heading(entry);
        if heading_before.as_ref() != Some(&heading) {
            if let Some(heading) = &heading {
                let _ = writeln!(out, "{heading}");
            }
            heading_before = Some(heading);
        }
        let judgement = &entry.judged.judgement;
        let mark = paint(judgement.verdict, colour);
        let who = if entry.object.is_some() {
            format!("{}: {}", user_of(&entry.judged.image), image_of(&entry.judged))
        } else {
            image_of(&entry.judged)
        };
        let line = entry.line.map_or_else(String::new, |line| format!(" (line {line})"));
        let outlook = if judgement.verdict == Verdict::Allow {
            String::new()
        } else {
            format!(" [{}]", judgement.outlook.name())
        };
        let size = judgement
            .size()
            .map_or_else(String::new, |bytes| format!(" {}", Bytes(bytes)));
        let _ = write!(out, "  {mark} {who}{line}{outlook}{size}");
        if let Some(remark @ Remark::Parameter(_)) = &entry.judged.remark {
            let _ = write!(out, "\n       {}", remark.clause());
        }
        for (finding, decision) in judgement.ruled() {
            explain(&mut out, finding, decision, "       ");
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}", summary(entries).sentence());
    out
}

fn heading(entry: &Entry) -> Option<String> {
    let object = entry.object.as_ref()?;
    let place = entry
        .source
        .as_ref()
        .map_or_else(String::new, |source| format!("{}: ", escape(&source.file)));
    Some(format!("{place}{}", object_of(object)))
}

fn paint(verdict: Verdict, colour: Colour) -> String {
    let (word, code) = match verdict {
        Verdict::Allow => ("ok  ", 32),
        Verdict::Warn => ("warn", 33),
        Verdict::Deny => ("DENY", 31),
    };
    match colour {
        Colour::Ansi => format!("\x1b[{code}m{word}\x1b[0m"),
        Colour::None => word.to_owned(),
    }
}
