//! `# pullgate: ignore TagNotFound until 2027-01-31 because …`, beside an image or on the line above it. Pure.

use crate::verdict::Cause;
use std::fmt;

/// Introduces such a comment.
const MARK: &str = "pullgate: ignore";

/// A comment that accepts findings of the image beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// Its line, from 1.
    pub line: usize,
    /// The causes that it accepts.
    pub causes: Vec<Cause>,
    /// The last day on which it holds, as `2027-01-31`; `None`: every day.
    pub until: Option<String>,
    /// Why.
    pub because: String,
}

/// What is wrong with such a comment; a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The lines of a text, if it has such a comment; otherwise none.
pub(super) fn lines(text: &str) -> Vec<&str> {
    if text.contains(MARK) {
        text.lines().collect()
    } else {
        Vec::new()
    }
}

/// The comment beside line `line` of the text, or alone on the line above.
pub(super) fn beside(lines: &[&str], line: usize) -> Option<Result<Ignore, Wrong>> {
    let at = |number: usize| number.checked_sub(1).and_then(|at| lines.get(at)).copied();
    let above = at(line.checked_sub(1)?).filter(|text| text.trim_start().trim_start_matches("- ").starts_with('#'));
    [(line, at(line)), (line.saturating_sub(1), above)]
        .into_iter()
        .find_map(|(number, text)| {
            let (_, comment) = text?.split_once('#')?;
            let rest = comment.trim_start().strip_prefix(MARK)?;
            Some(read(rest, number))
        })
}

fn read(text: &str, line: usize) -> Result<Ignore, Wrong> {
    let wrong = |why: String| Wrong(format!("line {line}: the comment `{MARK}` {why}, and accepts nothing"));
    let (what, because) = text
        .split_once(" because ")
        .ok_or_else(|| wrong("says no `because`".to_owned()))?;
    let (causes, until) = match what.split_once(" until ") {
        Some((causes, until)) => (causes, Some(until.trim().to_owned())),
        None => (what, None),
    };
    let is_day = |day: &String| {
        let parts: Vec<&str> = day.split('-').collect();
        matches!(&parts[..], [year, month, day] if [(year, 4), (month, 2), (day, 2)].iter().all(|(part, length)| {
            part.len() == *length && part.bytes().all(|byte| byte.is_ascii_digit())
        }))
    };
    if let Some(day) = until.as_ref().filter(|day| !is_day(day)) {
        return Err(wrong(format!("has `until {day}`, which is not a day such as 2027-01-31")));
    }
    let mut known = Vec::new();
    for name in causes.split([',', ' ']).filter(|name| !name.is_empty()) {
        let cause = Cause::ALL.iter().find(|cause| cause.name() == name);
        known.push(*cause.ok_or_else(|| wrong(format!("names {name:?}, which is not a cause")))?);
    }
    if known.is_empty() {
        return Err(wrong("names no cause".to_owned()));
    }
    Ok(Ignore {
        line,
        causes: known,
        until,
        because: because.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, line: usize) -> Option<Result<Ignore, String>> {
        let lines: Vec<&str> = text.lines().collect();
        beside(&lines, line).map(|found| found.map_err(|wrong| wrong.to_string()))
    }

    #[test]
    fn beside_the_image_or_above_it() {
        let ignore = Ignore {
            line: 1,
            causes: vec![Cause::TagNotFound],
            until: Some("2027-01-31".to_owned()),
            because: "it is built later".to_owned(),
        };
        let comment = "# pullgate: ignore TagNotFound until 2027-01-31 because it is built later";
        for text in [
            format!("image: a:1  {comment}\n"),
            format!("  {comment}\n  image: a:1\n"),
            format!("- {comment}\n  image: a:1\n"),
        ] {
            let line = text.lines().position(|line| line.contains("image:")).unwrap() + 1;
            assert_eq!(one(&text, line), Some(Ok(ignore.clone())), "{text}");
        }
        assert_eq!(
            one(&format!("image: b:1 {comment}\nimage: a:1\n"), 2),
            None,
            "that is the other's"
        );
        assert_eq!(one("image: a:1 # other\n", 1), None);
    }

    #[test]
    fn one_that_says_nothing_is_told() {
        for (text, why) in [
            ("# pullgate: ignore TagNotFound", "says no `because`"),
            ("# pullgate: ignore because x", "names no cause"),
            ("# pullgate: ignore  because x", "names no cause"),
            ("# pullgate: ignore Tag because x", "names \"Tag\""),
            ("# pullgate: ignore TagNotFound until soon because x", "until soon"),
        ] {
            let said = one(&format!("image: a:1 {text}\n"), 1).unwrap().unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let two = one("image: a:1 # pullgate: ignore TagNotFound, Timeout because x\n", 1)
            .unwrap()
            .unwrap();
        assert_eq!(two.causes, [Cause::TagNotFound, Cause::Timeout]);
    }
}
