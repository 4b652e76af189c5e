//! Dates of policies, as people write and read them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};

/// How long before its end an exemption begins to warn.
pub(super) const NOTICE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The forms that [`parse`] takes, as a pattern of the schema.
pub(super) const PATTERN: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?$";

/// A time as RFC 3339 has it, or a day, which begins in UTC. The error is a clause for its author.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let day = text.len() == "2027-01-15".len();
    let read = if !has_form(text) {
        None
    } else if day {
        let day = text.parse::<civil::Date>().ok();
        day.and_then(|day| day.to_zoned(TimeZone::UTC).ok())
            .map(|day| day.timestamp())
    } else {
        text.parse::<Timestamp>().ok()
    };
    read.ok_or_else(|| {
        format!(
            "{text:?} is not a date: write a day (2027-01-15, which begins in UTC) or a time as in RFC 3339 (2027-01-15T08:00:00Z)"
        )
    })
}

/// Whether it matches [`PATTERN`]; jiff accepts more forms.
fn has_form(text: &str) -> bool {
    let is = |part: &str, form: &str| {
        part.len() == form.len()
            && part.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                form => byte == form,
            })
    };
    let Some((day, time)) = text.split_once('T') else {
        return is(text, "0000-00-00");
    };
    let zone = time.rfind(['Z', '+', '-']);
    let Some((time, zone)) = zone.and_then(|at| time.split_at_checked(at)) else {
        return false;
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    is(day, "0000-00-00")
        && is(time, "00:00:00")
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && (zone == "Z" || is(zone, "+00:00") || is(zone, "-00:00"))
}

/// `15 January`; with the year unless it is the next such day, and with the time unless it is midnight in UTC.
pub(super) fn shown(at: Timestamp, now: Timestamp) -> String {
    /// A little less than a year.
    const NEXT: SignedDuration = SignedDuration::from_hours(360 * 24);
    let mut text = at.strftime("%-d %B").to_string();
    if at.duration_since(now).abs() > NEXT {
        text.push_str(&at.strftime(" %Y").to_string());
    }
    if at.strftime("%H:%M:%S").to_string() != "00:00:00" {
        text.push_str(&at.strftime(" %H:%M UTC").to_string());
    }
    text
}

/// How many days are left, including one that has begun; 0 if none is.
pub(super) fn days_left(until: Timestamp, now: Timestamp) -> i64 {
    const DAY: i64 = 24 * 60 * 60;
    let seconds = until.duration_since(now).as_secs();
    if seconds <= 0 { 0 } else { (seconds + DAY - 1) / DAY }
}

/// `2027-01-15`, or with a time as RFC 3339 has it.
pub(super) fn written(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix("T00:00:00Z").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_in_utc_and_times_are_rfc_3339() {
        let at = |text: &str| parse(text).unwrap().to_string();
        assert_eq!(at("2027-01-15"), "2027-01-15T00:00:00Z");
        assert_eq!(at("2027-01-15T08:30:00+02:00"), "2027-01-15T06:30:00Z");
        assert_eq!(at("2027-01-15T08:30:00.5Z"), "2027-01-15T08:30:00.5Z");
        for wrong in [
            "",
            "15.1.2027",
            "2027-1-15",
            "2027-02-30",
            "20270115",
            "2027-01-15 08:00:00Z",
            "2027-01-15T08:00Z",
            "2027-01-15T08:00:00",
            "2027-01-15T25:00:00Z",
            "2027-01-15T08:00:00Z[UTC]",
            "tomorrow",
            "2027-01-15T",
            "é027-01-15",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dates_are_shown_as_people_say_them() {
        let now = parse("2026-12-01").unwrap();
        let shown = |text: &str| shown(parse(text).unwrap(), now);
        assert_eq!(shown("2027-01-15"), "15 January");
        assert_eq!(shown("2027-01-15T08:30:00Z"), "15 January 08:30 UTC");
        assert_eq!(shown("2028-01-15"), "15 January 2028");
        let left = |text: &str| days_left(parse(text).unwrap(), now);
        assert_eq!(
            (left("2026-12-08"), left("2026-12-01T00:00:01Z"), left("2026-11-01")),
            (7, 1, 0)
        );
    }
}
