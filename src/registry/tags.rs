//! Tag lists, and the tags that a person probably meant. Pure.

use crate::limits::TAGS_COMPARED;
use crate::runtime::answer::Tags;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cmp::Reverse;

/// How many suggestions are made.
const SUGGESTIONS: usize = 3;
/// Longer tags are not compared letter by letter: the work grows with the square.
const COMPARED: usize = 64;

/// What a list shows: the tags before the cut, if it was cut off. One tag is in memory at a time, besides the closest; lists come from
/// whoever runs a registry.
pub(super) fn read(wanted: &str, body: &[u8], truncated: bool) -> Tags {
    let text = String::from_utf8_lossy(body);
    let mut closest = Closest::to(wanted);
    let read = if truncated {
        let Some((head, _)) = text.rsplit_once(',') else {
            return Tags::default();
        };
        closest.read(&format!("{head}]}}"))
    } else {
        closest.read(&text)
    };
    if read.is_err() {
        return Tags::default();
    }
    Tags {
        any: closest.seen > 0,
        has_it: closest.has_it,
        closest: closest.best.into_iter().map(|rank| rank.tag).collect(),
    }
}

/// The existing tags closest to the wanted one, best first, at most [`SUGGESTIONS`].
struct Closest<'a> {
    wanted: &'a str,
    version: Version<'a>,
    best: Vec<Rank>,
    seen: usize,
    /// The wanted one is in the list.
    has_it: bool,
}

impl<'a> Closest<'a> {
    fn to(wanted: &'a str) -> Self {
        Self {
            wanted,
            version: version(wanted),
            best: Vec::with_capacity(SUGGESTIONS + 1),
            seen: 0,
            has_it: false,
        }
    }

    fn read(&mut self, text: &str) -> serde_json::Result<()> {
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(List(self))?;
        json.end()
    }

    fn add(&mut self, tag: &str) {
        self.seen += 1;
        self.has_it |= tag == self.wanted;
        if self.seen > TAGS_COMPARED || tag == self.wanted || !is_tag(tag) || is_referrer(tag) {
            return;
        }
        let rank = rank(self.wanted, &self.version, tag);
        if let Err(at) = self.best.binary_search(&rank)
            && at < SUGGESTIONS
        {
            self.best.insert(at, rank);
            self.best.truncate(SUGGESTIONS);
        }
    }
}

/// The object around the tags.
struct List<'a, 'b>(&'a mut Closest<'b>);

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of tags")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        while let Some(key) = members.next_key::<String>()? {
            if key == "tags" {
                members.next_value_seed(Each(&mut *self.0))?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The tags, or `null`.
struct Each<'a, 'b>(&'a mut Closest<'b>);

impl<'de> DeserializeSeed<'de> for Each<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Each<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("tags")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(tag) = list.next_element::<String>()? {
            self.0.add(&tag);
        }
        Ok(())
    }
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
struct Rank {
    /// A slip of the finger.
    far: bool,
    /// Another style: suffix first (`-alpine`), then prefix (`v`).
    style: u8,
    /// More leading numbers in common.
    shared: Reverse<usize>,
    /// Newer.
    newest: Reverse<Vec<u64>>,
    distance: usize,
    tag: String,
}

fn rank(wanted: &str, want: &Version<'_>, tag: &str) -> Rank {
    let have = version(tag);
    let distance = if wanted.len() <= COMPARED && tag.len() <= COMPARED {
        strsim::osa_distance(wanted, tag)
    } else {
        usize::MAX
    };
    // In a short tag, one different letter makes another tag; version numbers are compared below.
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
        tag: tag.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closest(wanted: &str, tags: &[String]) -> Vec<String> {
        let mut closest = Closest::to(wanted);
        for tag in tags {
            closest.add(tag);
        }
        closest.best.into_iter().map(|rank| rank.tag).collect()
    }

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
        let found = |body: &str, truncated| read("w", body.as_bytes(), truncated);
        assert_eq!(found(r#"{"name":"a","tags":["x","y"]}"#, false).closest.len(), 2);
        assert_eq!(found(r#"{"name":"a","tags":["x","y","z"#, true).closest.len(), 2);
        for none in ["", "{}", r#"{"tags":null}"#, "<html>", r#"{"tags":[1]}"#] {
            assert_eq!(found(none, false), Tags::default(), "{none}");
            assert_eq!(found(none, true), Tags::default(), "{none}");
        }
        for none in [r#"{"tags":["x",1]}"#, r#"{"tags":["x"]} x"#] {
            assert_eq!(found(none, false), Tags::default(), "{none}");
        }
        let many = format!(r#"{{"tags":[{}"w2"]}}"#, r#""a","#.repeat(TAGS_COMPARED));
        assert_eq!(found(&many, false).closest, ["a"], "the last is not compared");
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
