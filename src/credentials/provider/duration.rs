//! `metav1.Duration`: what Go's `time.ParseDuration` reads.

use std::time::Duration;

/// A duration as Go writes them (`12h`, `1h30m`, `500ms`, `-1s`). `None` where Go's parser refuses it; negative ones are zero,
/// since nothing is kept for less than no time.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let total = if unsigned == "0" { Duration::ZERO } else { sum(unsigned)? };
    Some(if negative { Duration::ZERO } else { total })
}

fn sum(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos
            .checked_add(whole.checked_mul(unit)?)?
            .checked_add(part(fraction, unit))?;
        rest = tail;
    }
    // Go counts in 63 bits.
    (i64::try_from(nanos).is_ok()).then(|| Duration::from_nanos(nanos))
}

/// The digits behind the point, in nanoseconds; finer than that is cut off.
fn part(digits: &str, unit: u64) -> u64 {
    let mut left = unit;
    let mut total = 0;
    for digit in digits.chars().filter_map(|c| c.to_digit(10)) {
        // The units are powers of ten times 1, 60 or 3600, so that the tenths stay whole until they no longer count.
        total += left * u64::from(digit) / 10;
        left /= 10;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, expect) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("12h", Some(43_200_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("300ms", Some(300)),
            (".5s", Some(500)),
            ("1.s", Some(1_000)),
            ("+2s", Some(2_000)),
            ("-5m", Some(0)),
            ("-0", Some(0)),
            ("", None),
            ("-", None),
            ("5", None),
            ("5 m", None),
            ("1d", None),
            ("1..5s", None),
            (".s", None),
            ("99999999999h", None),
            ("2562047h", Some(2_562_047 * 3_600_000)),
            ("2562048h", None),
        ] {
            assert_eq!(parse(text), expect.map(Duration::from_millis), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-+]?[0-9.]{0,30}(ns|us|ms|s|m|h)?[0-9.]{0,30}(ns|h)?|.{0,20}") {
            let _ = parse(&text);
        }
    }
}
