//! JSON as Go's `encoding/json` (version 1) reads it into structs, where that differs from `serde_json`: names of members in any case, a
//! member that comes twice, `null`, invalid UTF-8, text after the value.

use super::MAX_JSON_DEPTH;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// A value as Go decodes it: onto what the same member held before. Where a member comes twice, both may count.
pub(crate) trait FromGoJson<'de>: Sized {
    /// Reads a value that is not `null`.
    fn decode<D: Deserializer<'de>>(before: Option<Self>, from: D) -> Result<Self, D::Error>;

    /// What `null` leaves: a plain value as it was. Pointers, lists and maps override this and become nil.
    fn null(before: Option<Self>) -> Option<Self> {
        before
    }
}

/// Reads a member, which may be `null`, onto what it held before.
pub(crate) struct Onto<T>(pub(crate) Option<T>);

impl<'de, T: FromGoJson<'de>> DeserializeSeed<'de> for Onto<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, T: FromGoJson<'de>> Visitor<'de> for Onto<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(T::null(self.0))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(T::null(self.0))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        T::decode(self.0, from).map(Some)
    }
}

macro_rules! replaced {
    ($($kind:ty),*) => {
        $(impl<'de> FromGoJson<'de> for $kind {
            fn decode<D: Deserializer<'de>>(_: Option<Self>, from: D) -> Result<Self, D::Error> {
                Self::deserialize(from)
            }
        })*
    };
}
replaced!(String, i64, bool);

/// The text as written; the last one counts.
impl<'de: 'a, 'a> FromGoJson<'de> for &'a RawValue {
    fn decode<D: Deserializer<'de>>(_: Option<Self>, from: D) -> Result<Self, D::Error> {
        Self::deserialize(from)
    }

    fn null(_: Option<Self>) -> Option<Self> {
        None
    }
}

/// A pointer in the Go struct: `null` makes it nil.
#[derive(Debug, Default)]
pub(crate) struct Pointer<T>(pub(crate) T);

impl<'de, T: FromGoJson<'de>> FromGoJson<'de> for Pointer<T> {
    fn decode<D: Deserializer<'de>>(before: Option<Self>, from: D) -> Result<Self, D::Error> {
        T::decode(before.map(|Self(value)| value), from).map(Self)
    }

    fn null(_: Option<Self>) -> Option<Self> {
        None
    }
}

/// A list: each element is decoded onto the one that had its index. An element is `None` where it is `null` and there was none.
impl<'de, T: FromGoJson<'de>> FromGoJson<'de> for Vec<Option<T>> {
    fn decode<D: Deserializer<'de>>(before: Option<Self>, from: D) -> Result<Self, D::Error> {
        struct Elements<T>(std::vec::IntoIter<Option<T>>);
        impl<'de, T: FromGoJson<'de>> Visitor<'de> for Elements<T> {
            type Value = Vec<Option<T>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut read = Vec::new();
                while let Some(element) = list.next_element_seed(Onto(self.0.next().flatten()))? {
                    read.push(element);
                }
                Ok(read)
            }
        }
        from.deserialize_seq(Elements(before.unwrap_or_default().into_iter()))
    }

    fn null(_: Option<Self>) -> Option<Self> {
        None
    }
}

/// A map: earlier keys stay, and a key that comes again gets its new value.
impl<'de, V: Deserialize<'de>> FromGoJson<'de> for HashMap<String, V> {
    fn decode<D: Deserializer<'de>>(before: Option<Self>, from: D) -> Result<Self, D::Error> {
        let mut map = before.unwrap_or_default();
        map.extend(Self::deserialize(from)?);
        Ok(map)
    }

    fn null(_: Option<Self>) -> Option<Self> {
        None
    }
}

/// A JSON object as Go decodes it into a struct: the case of member names does not count, a member that comes again is decoded onto what
/// it held before, unknown members are skipped, and a member of the wrong kind is an error. The keys are written folded.
macro_rules! loose {
    ($(#[$meta:meta])* $vis:vis struct $name:ident<$life:lifetime> { $($key:literal => $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name<$life> {
            $($vis $field: Option<$kind>,)*
            $vis borrowed: std::marker::PhantomData<&$life ()>,
        }

        impl<'de: $life, $life> crate::go::json::FromGoJson<'de> for $name<$life> {
            fn decode<D: serde::Deserializer<'de>>(before: Option<Self>, from: D) -> Result<Self, D::Error> {
                struct Members<$life>($name<$life>);
                impl<'de: $life, $life> serde::de::Visitor<'de> for Members<$life> {
                    type Value = $name<$life>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<M: serde::de::MapAccess<'de>>(self, mut members: M) -> Result<Self::Value, M::Error> {
                        let Self(mut read) = self;
                        while let Some(key) = members.next_key::<String>()? {
                            match crate::go::json::folded(&key).as_str() {
                                $($key => {
                                    let onto = crate::go::json::Onto(read.$field.take());
                                    read.$field = members.next_value_seed(onto)?;
                                })*
                                _ => {
                                    members.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(read)
                    }
                }
                from.deserialize_map(Members(before.unwrap_or_default()))
            }
        }

        impl<'de: $life, $life> serde::Deserialize<'de> for $name<$life> {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::go::json::FromGoJson::decode(None, from)
            }
        }
    };
}
pub(crate) use loose;

/// The name of a member, folded as Go folds it to find a struct's field: case does not count, and the long s and the Kelvin sign are the
/// letters that they look like. Fields have ASCII names, so other characters stay as they are.
pub(crate) fn folded(name: &str) -> String {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

/// Bytes as text: invalid UTF-8, and escapes that are half of a surrogate pair, become U+FFFD.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    match mended(&text) {
        Some(mended) => Cow::Owned(mended),
        None => text,
    }
}

/// Whether objects and lists are nested deeper than Go reads.
pub(crate) fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    text.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_JSON_DEPTH
    })
}

/// A rough upper bound on the memory that reading a text into structs takes, in bytes: an empty object of three bytes becomes a struct,
/// and a list of them grows by doubling.
pub(crate) fn memory(bytes: &[u8]) -> usize {
    const OBJECT: usize = 1024;
    const VALUE: usize = 64;
    let (mut in_string, mut escaped) = (false, false);
    let mut memory = bytes.len();
    for byte in bytes {
        match byte {
            // Invalid UTF-8 is replaced by three bytes.
            0x80.. => memory += 4,
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => memory += OBJECT,
            b'[' | b',' if !in_string => memory += VALUE,
            _ => {}
        }
    }
    memory
}

/// The first value of a text, whatever follows it (`json.Decoder`); `null` is an empty struct.
pub(crate) fn first<'a, T: Deserialize<'a> + Default>(text: &'a str) -> Option<T> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Option<T>>();
    values.next()?.ok().map(Option::unwrap_or_default)
}

/// The only value of a text (`json.Unmarshal`); `null` is an empty struct.
pub(crate) fn only<'a, T: Deserialize<'a> + Default>(text: &'a str) -> Option<T> {
    serde_json::from_str::<Option<T>>(text).ok().map(Option::unwrap_or_default)
}

/// `text` with U+FFFD for every escape that is half of a pair; `None` if there is none.
fn mended(text: &str) -> Option<String> {
    let mut mended = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let length = match unit(escape) {
            Some(0xd800..=0xdbff) if matches!(escape.get(6..).and_then(unit), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                found = true;
                mended.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            Some(_) => 6,
            // The backslash and what it escapes.
            None => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (whole, behind) = escape.split_at_checked(length).unwrap_or((escape, ""));
        mended.push_str(whole);
        rest = behind;
    }
    mended.push_str(rest);
    found.then_some(mended)
}

/// What an escape at the beginning of `text` stands for: `\u0041` → 0x41.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then(|| u16::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Whether Go's `time.Time` accepts this: RFC 3339, but the hour may have one digit, and a comma may stand before fractions of a second.
pub(crate) fn is_date(text: &str) -> bool {
    date(text).is_some()
}

fn date(text: &str) -> Option<()> {
    let (year, rest) = number(text, 4)?;
    let (month, rest) = number(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = number(rest.strip_prefix('-')?, 2)?;
    let rest = rest.strip_prefix('T')?;
    let (hour, rest) = number(rest, 2).or_else(|| number(rest, 1))?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = number(rest.strip_prefix(':')?, 2)?;
    let rest = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let behind = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (behind.len() < fraction.len()).then_some(behind)?
        }
        None => rest,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let sensible = (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
    let zone = rest == "Z" || {
        let (hours, rest) = number(rest.strip_prefix(['+', '-'])?, 2)?;
        let (minutes, rest) = number(rest.strip_prefix(':')?, 2)?;
        rest.is_empty() && hours <= 24 && minutes < 60
    };
    (sensible && zone).then_some(())
}

/// A number with this many digits, and what follows.
fn number(text: &str, digits: usize) -> Option<(u16, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    let plain = number.bytes().all(|b| b.is_ascii_digit());
    Some((plain.then(|| number.parse().ok()).flatten()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    loose! {
        struct Pair<'a> {
            "a" => a: String,
            "b" => b: i64,
        }
    }

    fn read(text: &str) -> Option<(Option<String>, Option<i64>)> {
        first::<Pair<'_>>(text).map(|pair| (pair.a, pair.b))
    }

    #[test]
    fn objects_are_read_as_go_reads_them() {
        let x = || Some("x".to_owned());
        assert_eq!(read(r#"{"A": "x", "c": [1]} and more"#), Some((x(), None)));
        assert_eq!(read(r#"{"a": "y", "A": "x", "a": null}{"a": "z"}"#), Some((x(), None)));
        assert_eq!(read("null"), Some((None, None)));
        assert_eq!(read("{\"a\": \"y\", \"\u{212a}\": 5, \"a\": \"x\"}"), Some((x(), None)));
        for wrong in [
            "",
            "  ",
            "[]",
            r#"{"a": 5}"#,
            r#"{"b": 1.0}"#,
            r#"{"b": 1e2}"#,
            r#"{"b": "1"}"#,
            r#"{"a": "x",}"#,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(r#"{"b": 9223372036854775808}"#), None);
    }

    loose! {
        struct Whole<'a> {
            "one" => one: Pair<'a>,
            "pointed" => pointed: Pointer<Pair<'a>>,
            "list" => list: Vec<Option<Pair<'a>>>,
            "map" => map: HashMap<String, i64>,
            "raw" => raw: &'a RawValue,
        }
    }

    #[test]
    fn what_comes_again_is_read_over_what_was_there() {
        let pair = |pair: &Pair<'_>| (pair.a.clone().unwrap_or_default(), pair.b.unwrap_or_default());
        let one = |text: &str| first::<Whole<'_>>(text).unwrap().one.as_ref().map(pair);
        let x7 = ("x".to_owned(), 7);
        assert_eq!(one(r#"{"one": {"a": "x", "b": 5}, "ONE": {"b": 7}}"#), Some(x7.clone()));
        assert_eq!(
            one(r#"{"one": {"a": "x", "b": 7}, "one": {}, "one": null}"#),
            Some(x7.clone())
        );
        assert!(first::<Whole<'_>>(r#"{"one": 5, "one": {}}"#).is_none());
        let pointed = |text: &str| {
            first::<Whole<'_>>(text)
                .unwrap()
                .pointed
                .as_ref()
                .map(|Pointer(value)| pair(value))
        };
        assert_eq!(pointed(r#"{"pointed": {"a": "x"}, "pointed": {"b": 7}}"#), Some(x7.clone()));
        assert_eq!(pointed(r#"{"pointed": {"a": "x"}, "pointed": null}"#), None);
        let list = |text: &str| -> Option<Vec<_>> {
            let whole = first::<Whole<'_>>(text).unwrap();
            Some(whole.list?.iter().map(|element| element.as_ref().map(pair)).collect())
        };
        assert_eq!(
            list(r#"{"list": [{"a": "x"}, {"a": "y"}], "list": [{"b": 7}]}"#),
            Some(vec![Some(x7)])
        );
        assert_eq!(list(r#"{"list": [{"a": "x"}], "list": []}"#), Some(Vec::new()));
        assert_eq!(list(r#"{"list": [null], "list": null}"#), None);
        assert_eq!(list(r#"{"list": [null]}"#), Some(vec![None]));
        let whole = first::<Whole<'_>>(r#"{"map": {"a": 1, "b": 2}, "map": {"b": 3}, "raw": 1, "raw": [2]}"#).unwrap();
        assert_eq!(whole.map, Some(HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 3)])));
        assert_eq!(whole.raw.map(RawValue::get), Some("[2]"));
        assert_eq!(folded("Layer\u{17f}"), "layers");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(&nested(MAX_JSON_DEPTH)));
        assert!(is_too_deep(&nested(MAX_JSON_DEPTH + 1)));
        assert!(!is_too_deep(&format!("\"\\\"{}\"", nested(MAX_JSON_DEPTH + 1))));
        assert!(!is_too_deep(&"[]".repeat(MAX_JSON_DEPTH + 1)));
        assert_eq!(memory(br#"{"a{[,\"{":[1,2]}"#), 17 + 1024 + 64 * 2);
        assert_eq!(memory("é".as_bytes()), 10);
    }

    #[test]
    fn halves_of_pairs_are_replaced() {
        assert!(matches!(text(br#"{"a": "\\u00e9 \ud83d\ude00 \\ud800"}"#), Cow::Borrowed(_)));
        assert_eq!(text(br#""\ud800""#), r#""\ufffd""#);
        assert_eq!(
            text(br#""\udc00\ud800x\n\ud800\ud83d\ude00""#),
            r#""\ufffd\ufffdx\n\ufffd\ud83d\ude00""#
        );
        assert_eq!(text(b"\"\xff\\"), "\"\u{fffd}\\");
        assert_eq!(text("\\é\\u12".as_bytes()), "\\é\\u12");
    }

    #[test]
    fn dates() {
        for good in [
            "2024-05-06T07:08:09Z",
            "2024-02-29T07:08:09.123456789+02:00",
            "0000-01-01T00:00:00Z",
            "2024-01-01T1:00:00Z",
            "2024-01-01T00:00:00,5-24:00",
        ] {
            assert!(is_date(good), "{good}");
        }
        for bad in [
            "",
            "yesterday",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01t00:00:00Z",
            "2024-01-01T00:00:00z",
            "2024-01-01T00:00:00 Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+0200",
            "2024-01-01T00:00:00Zx",
            "+024-01-01T00:00:00Z",
        ] {
            assert!(!is_date(bad), "{bad}");
        }
    }
}
