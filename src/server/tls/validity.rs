//! The validity period of a certificate (RFC 5280 section 4.1). It is the one thing that rustls does not reveal about a certificate
//! it serves, and parsing it takes only these few lines, not an X.509 library.

use super::timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A validity period, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first valid second.
    pub not_before: i64,
    /// The last valid second.
    pub not_after: i64,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// Reads it from a certificate in DER; `None` if it is not one.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (to_be_signed, _) = element(certificate, SEQUENCE)?;
        // Version 1 certificates have no version field.
        let rest = element(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
        let (_serial, rest) = element(rest, INTEGER)?;
        let (_algorithm, rest) = element(rest, SEQUENCE)?;
        let (_issuer, rest) = element(rest, SEQUENCE)?;
        let (validity, _) = element(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
    }

    /// Its length, in seconds.
    pub(super) fn lifetime(self) -> i64 {
        self.not_after.saturating_sub(self.not_before).max(0)
    }

    /// Whether it includes `now` (Unix seconds); the error is a clause.
    pub fn check(self, now: i64) -> Result<(), String> {
        if now > self.not_after {
            Err(format!("the served certificate expired at {}", timestamp(self.not_after)))
        } else if now < self.not_before {
            Err(format!(
                "the served certificate is not valid before {}",
                timestamp(self.not_before)
            ))
        } else {
            Ok(())
        }
    }
}

/// The content of the DER element at the front of `der`, if it has this tag, and the rest.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    if *first != tag {
        return None;
    }
    let (short, rest) = rest.split_first()?;
    let (length, rest) = if *short < 0x80 {
        (usize::from(*short), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(*short & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    rest.split_at_checked(length)
}

/// The time at the front of `der`, in Unix seconds, and the rest. DER only allows `YYMMDDHHMMSSZ` and `YYYYMMDDHHMMSSZ`.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (two_digit_year, (text, rest)) = match element(der, UTC_TIME) {
        Some(found) => (true, found),
        None => (false, element(der, GENERALIZED_TIME)?),
    };
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, digits) = if two_digit_year {
        let year = number(digits, 0, 2)?;
        (if year >= 50 { 1900 + year } else { 2000 + year }, digits.get(2..)?)
    } else {
        (number(digits, 0, 4)?, digits.get(4..)?)
    };
    if digits.len() != 10 {
        return None;
    }
    let part = |at| number(digits, at, 2).and_then(|part| i8::try_from(part).ok());
    let time = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    let second = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    Some((second, rest))
}

fn number(text: &str, at: usize, length: usize) -> Option<i16> {
    let digits = text.get(at..at + length)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}
