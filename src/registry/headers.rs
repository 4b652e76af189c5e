//! What the headers of an answer say.

use crate::runtime::outcome::{Counted, Quota};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use std::time::Duration;
use url::Url;

/// The first value of a header, where it is text, without spaces around it.
pub(super) fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// The user name and password of a URL as a Basic authorization, taken out of it. Marked sensitive.
pub(super) fn take_userinfo(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let userinfo = [url.username().as_bytes(), b":", url.password().unwrap_or_default().as_bytes()].concat();
    let _ = (url.set_username(""), url.set_password(None));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(unescaped(&userinfo)))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Decodes percent escapes; invalid ones stay as they are.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
        };
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            out.push(high << 4 | low);
            rest = &after[2..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// Whether the body is packed.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    text(headers, header::CONTENT_ENCODING).is_some_and(|coding| !matches!(coding, "" | "identity"))
}

/// A `Content-Length` that is not a number. Where there is a body, the transport sees to this; to HEAD, Go's transport does.
pub(super) fn odd_length(headers: &HeaderMap) -> Option<String> {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let odd = lengths.map(HeaderValue::as_bytes).find(|text| {
        let text = text.trim_ascii();
        text.is_empty() || !text.iter().all(u8::is_ascii_digit)
    });
    odd.map(|odd| String::from_utf8_lossy(odd).into_owned())
}

/// `Retry-After` in seconds or as a date; a date in the past is now.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let seconds = until.as_second().saturating_sub(jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// What the headers of a good answer say of the pull quota (pull-semantics 6.4); what cannot be read is not there.
pub(super) fn quota(headers: &HeaderMap) -> Option<Quota> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let (remaining, window) = counted(text("ratelimit-remaining")?)?;
    let limit = text("ratelimit-limit").and_then(counted);
    let source = text("docker-ratelimit-source").filter(|source| !source.is_empty());
    Some(Quota {
        remaining,
        limit: limit.map(|(limit, _)| limit),
        window: window.or_else(|| limit.and_then(|(_, window)| window)),
        counted: source.map_or(Counted::NotSaid, |source| {
            if source.parse::<std::net::IpAddr>().is_ok() {
                Counted::Address
            } else {
                Counted::Account
            }
        }),
    })
}

/// `100;w=21600`: a number of pulls and a window in seconds.
fn counted(text: &str) -> Option<(u64, Option<Duration>)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let mut parts = text.split(';').map(str::trim);
    let count = number(parts.next()?)?;
    let window = parts
        .find_map(|part| number(part.strip_prefix("w=")?))
        .filter(|seconds| *seconds > 0);
    Some((count, window.map(Duration::from_secs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = headers.iter();
        pairs
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn lengths() {
        for good in ["0", " 17 ", "18446744073709551616"] {
            assert_eq!(odd_length(&map(&[("content-length", good)])), None, "{good}");
        }
        for odd in ["", "-1", "1, 1", "0x1"] {
            assert_eq!(odd_length(&map(&[("content-length", odd)])).as_deref(), Some(odd));
        }
        assert!(is_encoded(&map(&[("content-encoding", "gzip")])));
        assert!(!is_encoded(&map(&[("content-encoding", "identity")])) && !is_encoded(&map(&[])));
    }

    #[test]
    fn waits() {
        let wait = |text: &str| retry_after(&map(&[("retry-after", text)]));
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert!(wait("Fri, 31 Dec 2100 23:59:59 GMT").unwrap() > Duration::from_hours(24));
        for odd in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(wait(odd), None, "{odd}");
        }
    }

    #[test]
    fn quotas() {
        let read = |headers: &[(&'static str, &str)]| quota(&map(headers));
        let of = |limit: &str, remaining: &str| read(&[("ratelimit-limit", limit), ("ratelimit-remaining", remaining)]);
        let six_hours = Some(Duration::from_hours(6));
        let quota = |remaining, limit, window| {
            Some(Quota {
                remaining,
                limit,
                window,
                counted: Counted::NotSaid,
            })
        };
        assert_eq!(of("100;w=21600", "20;w=21600"), quota(20, Some(100), six_hours));
        assert_eq!(of(" 100 ; w=21600", "0"), quota(0, Some(100), six_hours));
        assert_eq!(of("many", "7;w=3600"), quota(7, None, Some(Duration::from_hours(1))));
        assert_eq!(of("100;w=0", "7;w=soon"), quota(7, Some(100), None));
        assert_eq!(of("100;burst=1;w=60", "7"), quota(7, Some(100), Some(Duration::from_mins(1))));
        for odd in ["", "00x", "-1", "+1", "1.5", ";w=21600", "99999999999999999999999"] {
            assert_eq!(of("100;w=21600", odd), None, "{odd}");
        }
        assert_eq!(read(&[("ratelimit-limit", "100;w=21600")]), None);
        let by = |source: &str| {
            read(&[("ratelimit-remaining", "1"), ("docker-ratelimit-source", source)])
                .unwrap()
                .counted
        };
        assert_eq!(by("192.0.2.7"), Counted::Address);
        assert_eq!(by("2001:db8::"), Counted::Address);
        assert_eq!(by("11111111-2222-3333-4444-555555555555"), Counted::Account);
        assert_eq!(by(""), Counted::NotSaid);
    }
}
