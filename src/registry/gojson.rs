//! JSON as Go reads it, which runtimes are written in: what it takes and others do not, and the other way round. Pure.

use serde::Deserialize;
use std::borrow::Cow;

/// A JSON object as Go reads it into a struct: the case of its members does not count, of several the last one does, `null` changes nothing,
/// and a member of the wrong kind is an error.
macro_rules! loose {
    ($(#[$meta:meta])* struct $name:ident<$life:lifetime> { $($key:literal => $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        struct $name<$life> {
            $($field: Option<$kind>,)*
            borrowed: std::marker::PhantomData<&$life ()>,
        }

        impl<'de: $life, $life> serde::Deserialize<'de> for $name<$life> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members<$life>(std::marker::PhantomData<&$life ()>);
                impl<'de: $life, $life> serde::de::Visitor<'de> for Members<$life> {
                    type Value = $name<$life>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<M: serde::de::MapAccess<'de>>(self, mut members: M) -> Result<Self::Value, M::Error> {
                        let mut read = $name::default();
                        while let Some(key) = members.next_key::<String>()? {
                            match key.to_lowercase().as_str() {
                                // `null` leaves what was read before.
                                $($key => read.$field = members.next_value::<Option<$kind>>()?.or(read.$field),)*
                                _ => {
                                    members.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(read)
                    }
                }
                deserializer.deserialize_map(Members(std::marker::PhantomData))
            }
        }
    };
}
pub(super) use loose;

/// Bytes as text: what is no UTF-8, and halves of surrogate pairs in escapes, become U+FFFD.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    match mended(&text) {
        Some(mended) => Cow::Owned(mended),
        None => text,
    }
}

/// The first value of a text, whatever stands behind it; `null` is an empty one.
pub(super) fn first<'a, T: Deserialize<'a> + Default>(text: &'a str) -> Option<T> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Option<T>>();
    values.next()?.ok().map(Option::unwrap_or_default)
}

/// `text` with U+FFFD for every escape that is half of a pair; `None` where there is none.
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

/// Whether Go reads this as a date: RFC 3339, with an hour of one digit and a comma before fractions of a second at its mercy.
pub(super) fn is_date(text: &str) -> bool {
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

/// A number of so many digits, and what follows.
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
