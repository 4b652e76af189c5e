//! Tag lists, and the tags that a person probably meant. Pure.

use serde::Deserialize;
use std::cmp::Reverse;

/// How many suggestions are made.
const SUGGESTIONS: usize = 3;
/// Longer tags are not compared letter by letter: the work grows with the square.
const COMPARED: usize = 64;

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// The tags of a list. Of a list that was cut off, those before the cut.
pub(super) fn read(body: &[u8], truncated: bool) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let list = if truncated {
        text.rsplit_once(',')
            .and_then(|(head, _)| serde_json::from_str::<List>(&format!("{head}]}}")).ok())
    } else {
        serde_json::from_str::<List>(&text).ok()
    };
    list.and_then(|list| list.tags).unwrap_or_default()
}

/// distribution/reference's tag grammar.
fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first && text.len() <= 128 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Signatures, attestations and other referrers that are stored as tags (`sha256-….sig`).
fn is_referrer(tag: &str) -> bool {
    tag.strip_prefix("sha256-")
        .is_some_and(|rest| rest.len() >= 64 && rest.bytes().take(64).all(|b| b.is_ascii_hexdigit()))
}

/// A tag taken apart: `v1.25.3-alpine` is `v`, `[1, 25, 3]`, `-alpine`.
#[derive(Debug, PartialEq, Eq)]
struct Version<'a> {
    prefix: &'a str,
    numbers: Vec<u64>,
    suffix: &'a str,
}

fn version(tag: &str) -> Version<'_> {
    let start = tag.find(|c: char| c.is_ascii_digit()).unwrap_or(tag.len());
    let (prefix, rest) = tag.split_at(start);
    let mut numbers = Vec::new();
    let mut left = rest;
    loop {
        let digits = left.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            break;
        }
        let (number, after) = left.split_at(digits);
        numbers.push(number.parse().unwrap_or(u64::MAX));
        left = after;
        match after.strip_prefix('.') {
            Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => left = next,
            Some(_) | None => break,
        }
    }
    Version {
        prefix,
        numbers,
        suffix: left,
    }
}

/// How well a tag fits, best first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    /// A slip of the finger.
    far: bool,
    /// Another style: suffix first (`-alpine`), then prefix (`v`).
    style: u8,
    /// More leading numbers in common.
    shared: Reverse<usize>,
    /// Newer.
    newest: Reverse<Vec<u64>>,
    distance: usize,
    tag: &'a str,
}

/// The existing tags closest to `wanted`, best first, at most three.
pub(super) fn closest(wanted: &str, tags: &[String]) -> Vec<String> {
    let want = version(wanted);
    let mut ranks: Vec<Rank<'_>> = tags
        .iter()
        .map(String::as_str)
        .filter(|tag| *tag != wanted && is_tag(tag) && !is_referrer(tag))
        .map(|tag| rank(wanted, &want, tag))
        .collect();
    ranks.sort_unstable();
    ranks.dedup_by(|a, b| a.tag == b.tag);
    ranks.into_iter().take(SUGGESTIONS).map(|rank| rank.tag.to_owned()).collect()
}

fn rank<'a>(wanted: &str, want: &Version<'_>, tag: &'a str) -> Rank<'a> {
    let have = version(tag);
    let distance = if wanted.len() <= COMPARED && tag.len() <= COMPARED {
        strsim::osa_distance(wanted, tag)
    } else {
        usize::MAX
    };
    // One letter of a short tag is another tag; the numbers of versions are told apart below.
    let slip = if want.numbers.is_empty() && wanted.len() > 4 { 2 } else { 1 };
    let style = if want.numbers.is_empty() {
        // `latest`, `stable`: a plain release serves best.
        u8::from(have.numbers.is_empty()) * 2 + u8::from(!have.suffix.is_empty())
    } else {
        u8::from(have.numbers.is_empty()) * 4 + u8::from(have.suffix != want.suffix) * 2 + u8::from(have.prefix != want.prefix)
    };
    Rank {
        far: distance > slip,
        style,
        shared: Reverse(have.numbers.iter().zip(&want.numbers).take_while(|(a, b)| a == b).count()),
        newest: Reverse(have.numbers),
        distance,
        tag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &str, tags: &[&str], expected: &[&str]) {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        assert_eq!(closest(wanted, &tags), expected, "{wanted} of {tags:?}");
    }

    #[test]
    fn closest_tags() {
        check("v99", &["v1", "v2", "v2.1", "v9"], &["v9", "v2.1", "v2"]);
        check(
            "1.25.33",
            &["1.25.3", "1.25.5", "1.27.0", "1.24.0", "latest"],
            &["1.25.3", "1.25.5", "1.27.0"],
        );
        check(
            "1.25-alpine",
            &["1.24", "1.24-alpine", "1.26-alpine", "1.26", "1.26-bookworm", "latest"],
            &["1.26-alpine", "1.24-alpine", "1.26"],
        );
        check("lates", &["1.0", "latest", "edge"], &["latest", "1.0", "edge"]);
        check(
            "latest",
            &["v1.0", "v1.10", "v1.9", "v1.10-rc1", "nightly"],
            &["v1.10", "v1.9", "v1.0"],
        );
        check("1.2.3", &["v1.2.3", "1.2.4"], &["1.2.4", "v1.2.3"]);
        check("v1", &[], &[]);
        check("v1", &["v1", "v1"], &[]);
        check("v2", &["v1", "v1"], &["v1"]);
    }

    #[test]
    fn what_is_never_suggested() {
        let signature = format!("sha256-{}.sig", "a".repeat(64));
        check(
            "v1",
            &[&signature, "", "-x", "a b", "\u{1b}[31m", "ok", &"x".repeat(129)],
            &["ok"],
        );
    }

    #[test]
    fn lists() {
        assert_eq!(read(br#"{"name":"a","tags":["x","y"]}"#, false), ["x", "y"]);
        assert_eq!(read(br#"{"name":"a","tags":["x","y","z"#, true), ["x", "y"]);
        for none in ["", "{}", r#"{"tags":null}"#, "<html>", r#"{"tags":[1]}"#] {
            assert!(read(none.as_bytes(), false).is_empty(), "{none}");
            assert!(read(none.as_bytes(), true).is_empty(), "{none}");
        }
    }

    #[test]
    fn numbers_beyond_measure() {
        check("v99999999999999999999999999", &["v1", "v2"], &["v2", "v1"]);
        assert_eq!(version("1..2").numbers, [1]);
        assert_eq!(version("1.").suffix, ".");
    }

    proptest::proptest! {
        #[test]
        fn any_list_is_answered(wanted in ".{0,20}", tags in proptest::collection::vec(".{0,20}", 0..20)) {
            let found = closest(&wanted, &tags);
            proptest::prop_assert!(found.len() <= SUGGESTIONS && !found.contains(&wanted));
        }
    }
}
