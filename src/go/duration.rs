//! Durations as Go writes them: `12h`, `1h30m`, `1.5s`, `-500ms`.

use std::time::Duration;

/// Go's units, in nanoseconds. The micro sign and the Greek letter are both accepted.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The largest magnitude, that of `math.MinInt64` nanoseconds.
const MAX: u64 = 1 << 63;

/// What Go's `time.ParseDuration` reads, in nanoseconds; `None` where it returns an error.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let nanos = unsigned(magnitude, &[])?;
    if negative {
        0_i64.checked_sub_unsigned(nanos)
    } else {
        i64::try_from(nanos).ok()
    }
}

/// As [`parse`], but a negative duration is an error.
pub(crate) fn not_negative(text: &str) -> Option<Duration> {
    u64::try_from(parse(text)?).ok().map(Duration::from_nanos)
}

/// As [`parse`], but a negative duration counts as zero.
pub(crate) fn at_least_zero(text: &str) -> Option<Duration> {
    let nanos = u64::try_from(parse(text)?).unwrap_or(0);
    Some(Duration::from_nanos(nanos))
}

/// A duration without a sign, in nanoseconds, with more units besides Go's own.
pub(crate) fn unsigned(text: &str, more: &[(&str, u64)]) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    loop {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, after) = after.split_at(after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, unit) = UNITS.iter().chain(more).find(|(name, _)| *name == unit)?;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = whole
            .checked_mul(*unit)?
            .checked_add(fraction_of(fraction, *unit))?
            .checked_add(total)
            .filter(|total| *total <= MAX)?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
}

/// The digits at the beginning, and what follows.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The digits after the decimal point, in nanoseconds. Go computes this in floating point, and drops digits that 63 bits cannot hold
/// (`leadingFraction` in time/format.go).
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as Go does it; the result is less than one unit"
)]
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let (mut number, mut scale) = (0_u64, 1_f64);
    for digit in digits.bytes().map(|byte| u64::from(byte - b'0')) {
        let Some(more) = number
            .checked_mul(10)
            .and_then(|n| n.checked_add(digit))
            .filter(|n| *n <= MAX)
        else {
            break;
        };
        number = more;
        scale *= 10.0;
    }
    (number as f64 * (unit as f64 / scale)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        const MS: i64 = 1_000_000;
        for (text, expect) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("12h", Some(43_200_000 * MS)),
            ("1h30m", Some(5_400_000 * MS)),
            ("1h2m3s", Some(3_723_000 * MS)),
            ("1.5h", Some(5_400_000 * MS)),
            ("300ms", Some(300 * MS)),
            (".5s", Some(500 * MS)),
            ("1.s", Some(1_000 * MS)),
            ("+2s", Some(2_000 * MS)),
            ("-5m", Some(-300_000 * MS)),
            ("-0", Some(0)),
            ("+0", Some(0)),
            ("52763797000ns", Some(52_763_797_000)),
            ("3µs", Some(3_000)),
            ("3μs", Some(3_000)),
            // Floating point, and more digits than 63 bits hold: 20 minutes to Go.
            ("0.3333333333333333333h", Some(1_200_000 * MS)),
            ("0.9223372036854775807h", Some(3_320_413_933_267)),
            ("0.100000000000000000000h", Some(360_000 * MS)),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("9223372036854775808ns", None),
            ("-9223372036854775808ns", Some(i64::MIN)),
            ("-9223372036854775809ns", None),
            ("9223372036854ms775us808ns", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("5", None),
            ("s", None),
            ("5 m", None),
            (" 5m", None),
            ("1d", None),
            ("1..5s", None),
            ("9e9s", None),
            ("99999999999999999999999h", None),
            (".s", None),
            ("+.s", None),
            ("--1s", None),
            ("1h-5m", None),
            ("99999999999h", None),
            ("2562047h", Some(2_562_047 * 3_600_000 * MS)),
            ("2562048h", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
    }

    #[test]
    fn callers_say_what_a_negative_one_is() {
        assert_eq!(not_negative("1m"), Some(Duration::from_mins(1)));
        assert_eq!(not_negative("-0s"), Some(Duration::ZERO));
        assert_eq!(not_negative("-1m"), None);
        assert_eq!(at_least_zero("1m"), Some(Duration::from_mins(1)));
        assert_eq!(at_least_zero("-1m"), Some(Duration::ZERO));
        assert_eq!(at_least_zero("-1"), None);
        assert_eq!(unsigned("-1m", &[]), None);
        assert_eq!(unsigned("1d1ns", &[("d", 24)]), Some(25));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-+]?[0-9.]{0,30}(ns|us|ms|s|m|h)?[0-9.]{0,30}(ns|h)?|.{0,20}") {
            let _ = parse(&text);
        }
    }
}
