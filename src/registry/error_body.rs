//! A registry's own words, made safe to show: its error envelope, one line, bounded, without secrets. Pure.

use super::identify;
use crate::runtime::outcome::WEB_PAGE;
use serde::Deserialize;

/// The longest detail, in characters.
const LONGEST: usize = 200;

/// What an error body says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ErrorBody {
    /// `MANIFEST_UNKNOWN`.
    pub(super) code: Option<String>,
    /// One line for people.
    pub(super) detail: Option<String>,
    /// It has a form in which registries, or the stores behind them, report errors.
    pub(super) of_a_registry: bool,
    /// The errors of a registry as containerd prints them, one a line.
    pub(super) printed: Option<String>,
}

/// The codes that containerd knows, with their own messages; any other is `UNKNOWN` to it (`core/remotes/docker/errdesc.go`).
const CODES: &[(&str, &str)] = &[
    ("UNKNOWN", "unknown error"),
    ("UNSUPPORTED", "The operation is unsupported."),
    ("UNAUTHORIZED", "authentication required"),
    ("DENIED", "requested access to the resource is denied"),
    ("UNAVAILABLE", "service unavailable"),
    ("TOOMANYREQUESTS", "too many requests"),
];

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// The error and description of an `OAuth2` token server, or the single `details`/`message` of others.
#[derive(Deserialize)]
struct Loose {
    #[serde(alias = "code")]
    error: Option<serde_json::Value>,
    #[serde(alias = "error_description", alias = "details")]
    message: Option<serde_json::Value>,
}

/// Reads an error body: the distribution envelope, an `OAuth2` error, or plain text. A web page says only that it is one.
pub(super) fn read(body: &[u8], secrets: &[&str]) -> ErrorBody {
    let text = String::from_utf8_lossy(body);
    if let Ok(envelope) = serde_json::from_str::<Envelope>(&text)
        && let Some(first) = envelope.errors.first()
    {
        let text_of = |member: &str| first.get(member).and_then(serde_json::Value::as_str);
        let message = text_of("message").unwrap_or_default();
        let extra = text_of("detail").unwrap_or_default();
        let joined = if extra.is_empty() || message.contains(extra) {
            message.to_owned()
        } else {
            format!("{message}: {extra}")
        };
        return ErrorBody {
            code: text_of("code").and_then(code),
            detail: line(&joined, secrets),
            of_a_registry: identify::is_in_form(first),
            printed: printed(&envelope.errors, secrets),
        };
    }
    if let Ok(loose) = serde_json::from_str::<Loose>(&text) {
        let error = loose.error.as_ref().and_then(serde_json::Value::as_str);
        let message = loose.message.as_ref().and_then(serde_json::Value::as_str);
        return ErrorBody {
            code: error.and_then(code),
            detail: message.or(error).and_then(|text| line(text, secrets)),
            ..ErrorBody::default()
        };
    }
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if start.starts_with('<') && is_page(start) {
        return ErrorBody {
            detail: Some(WEB_PAGE.to_owned()),
            ..ErrorBody::default()
        };
    }
    if start.starts_with(['<', '{', '[']) {
        return ErrorBody {
            of_a_registry: identify::is_of_a_store(start),
            ..ErrorBody::default()
        };
    }
    ErrorBody {
        detail: line(start, secrets),
        ..ErrorBody::default()
    }
}

/// What containerd prints of a registry's errors (`Errors.Error` in `core/remotes/docker/errcode.go`); nothing where it cannot read them.
fn printed(errors: &[serde_json::Map<String, serde_json::Value>], secrets: &[&str]) -> Option<String> {
    use serde_json::Value;
    const MOST: usize = 5;
    let text = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => None,
    };
    let one = |error: &serde_json::Map<String, Value>| {
        let (code, message) = (text(error.get("code"))?, text(error.get("message"))?);
        let (code, own) = CODES.iter().find(|(known, _)| *known == code).or(CODES.first())?;
        let bare = error.get("detail").is_none_or(Value::is_null) && (message.is_empty() || message == *own);
        let code = code.to_ascii_lowercase();
        Some(if bare {
            code
        } else {
            format!("{code}: {}", line(&message, secrets).unwrap_or_default())
        })
    };
    let all: Vec<String> = errors.iter().take(MOST).map(one).collect::<Option<_>>()?;
    match &all[..] {
        [one] => Some(one.clone()),
        [] => None,
        _ => Some(format!("errors:\n{}", all.join("\n"))),
    }
}

/// Whether a text that begins with `<` is a web page (and not the XML of an object store).
fn is_page(text: &str) -> bool {
    let start: String = text.chars().take(1000).collect::<String>().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.contains("<html")
}

/// An error code in the form that registries use; any other text is not a code.
fn code(text: &str) -> Option<String> {
    let plain = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    plain.then(|| text.to_owned())
}

/// Makes `text` fit to show: one line, no control characters, no query strings, no secrets, at most 200 characters.
/// `None` when nothing is left.
pub(super) fn line(text: &str, secrets: &[&str]) -> Option<String> {
    // Bounded before the work below: a body may be large, and only its beginning can be shown.
    let mut scrubbed: String = text.chars().take(LONGEST * 20).collect();
    for secret in secrets.iter().filter(|secret| secret.len() >= 3) {
        scrubbed = scrubbed.replace(*secret, "***");
    }
    let mut out = String::new();
    let mut mask_next = false;
    for word in scrubbed
        .split(|c: char| c.is_whitespace() || is_unprintable(c))
        .filter(|word| !word.is_empty())
    {
        if !out.is_empty() {
            out.push(' ');
        }
        if (mask_next && !is_said_of_schemes(word)) || looks_like_token(word) {
            out.push_str("***");
        } else {
            out.push_str(&without_query(word));
        }
        mask_next = ["bearer", "basic"]
            .iter()
            .any(|scheme| word.trim_end_matches(':').eq_ignore_ascii_case(scheme));
    }
    if out.is_empty() {
        return None;
    }
    if out.chars().count() > LONGEST {
        out = out.chars().take(LONGEST - 1).chain(['…']).collect();
    }
    Some(out)
}

/// Words that follow `Basic` in a sentence (`HTTP Basic: Access denied`), in the place where a credential would be.
fn is_said_of_schemes(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    ["access", "auth", "authentication", "credentials", "realm", "token"]
        .iter()
        .any(|known| bare.eq_ignore_ascii_case(known))
}

/// Control characters, and those that change how the rest of a line is shown.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A JSON web token, or something else as long and as dense.
fn looks_like_token(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    bare.find("eyJ").is_some_and(|start| bare.len() - start > 20)
        || (bare.len() > 100 && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=+.".contains(&b)))
}

/// A URL in a sentence, without userinfo and query.
fn without_query(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let (path, closing) = match rest.split_once('?') {
        Some((path, query)) => (
            path,
            query.trim_start_matches(|c: char| !matches!(c, '"' | '\'' | ')' | ']' | '>')),
        ),
        None => (rest, ""),
    };
    let (host, tail) = path.split_once('/').map_or((path, None), |(host, tail)| (host, Some(tail)));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    match tail {
        Some(tail) => format!("{scheme}://{host}/{tail}{closing}"),
        None => format!("{scheme}://{host}{closing}"),
    }
}

/// Whether a refusal is about the caller's location (firewall, geography): then a node may get another answer.
pub(super) fn speaks_of_address(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    text.chars()
        .take(LONGEST * 20)
        .collect::<String>()
        .split_whitespace()
        // Resource paths (`projects/x/locations/y`) are names, not words.
        .filter(|word| !word.contains('/'))
        .flat_map(|word| word.split(|c: char| !c.is_ascii_alphanumeric()))
        .any(|word| {
            matches!(
                word,
                "ip" | "ips"
                    | "ipv4"
                    | "ipv6"
                    | "address"
                    | "addresses"
                    | "firewall"
                    | "country"
                    | "countries"
                    | "location"
                    | "region"
                    | "embargo"
            ) || word.starts_with("geo")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_and_other_bodies() {
        let check = |body: &str, code: Option<&str>, detail: Option<&str>| {
            let read = read(body.as_bytes(), &[]);
            assert_eq!((read.code.as_deref(), read.detail.as_deref()), (code, detail), "{body}");
        };
        check(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
            Some("MANIFEST_UNKNOWN"),
            Some("manifest unknown"),
        );
        check(
            r#"{"errors":[{"code":"DENIED","message":"denied","detail":"no right"}]}"#,
            Some("DENIED"),
            Some("denied: no right"),
        );
        check(r#"{"errors":[{"code":7}]}"#, None, None);
        check(
            r#"{"errors":[{"code":"a b\u001b[31m","message":"x\u001b[31my\nz"}]}"#,
            None,
            Some("x [31my z"),
        );
        check(
            r#"{"error":"invalid_grant","error_description":"wrong password"}"#,
            Some("invalid_grant"),
            Some("wrong password"),
        );
        check(
            r#"{"details":"incorrect username or password"}"#,
            None,
            Some("incorrect username or password"),
        );
        check("too many requests\r\ntry later", None, Some("too many requests try later"));
        for page in [
            "<html><body>Login</body></html>",
            "\u{feff} <!DOCTYPE html>x",
            "<!-- a --> <HTML lang=en>",
        ] {
            check(page, None, Some(WEB_PAGE));
        }
        check("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", None, None);
        check("{broken", None, None);
        check("", None, None);
        check("[]", None, None);
    }

    #[test]
    fn errors_are_printed_as_containerd_does() {
        for (errors, expected) in [
            (r#"{"code":"DENIED"}"#, Some("denied")),
            (
                r#"{"code":"DENIED","message":"requested access to the resource is denied"}"#,
                Some("denied"),
            ),
            (
                r#"{"code":"DENIED","message":"requested access to the resource is denied","detail":[]}"#,
                Some("denied: requested access to the resource is denied"),
            ),
            (r#"{"code":"DENIED","message":"no"}"#, Some("denied: no")),
            (
                r#"{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}"#,
                Some("unknown: manifest unknown"),
            ),
            (
                r#"{"status":403,"message":"blocked by policy"}"#,
                Some("unknown: blocked by policy"),
            ),
            (
                r#"{"code":"DENIED","message":"a"},{"code":"UNAUTHORIZED"}"#,
                Some("errors:\ndenied: a\nunauthorized"),
            ),
            (r#"{"code":5,"message":"no"}"#, None),
        ] {
            let body = format!("{{\"errors\":[{errors}]}}");
            assert_eq!(read(body.as_bytes(), &[]).printed.as_deref(), expected, "{errors}");
        }
        assert_eq!(read(b"403 Forbidden", &[]).printed, None);
    }

    #[test]
    fn which_errors_are_told_as_registries_tell_them() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#, true),
            (r#"{"errors":[{"status":404,"message":"Not Found"}]}"#, true),
            (r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"x"}]}"#, true),
            (r#"{"errors":[{"code":null,"message":"x"}]}"#, false),
            (r#"{"errors":[{"code":"","message":"x"}]}"#, false),
            (r#"{"errors":[{"code":404,"message":"x"}]}"#, false),
            (r#"{"errors":[{"code":"not_found","message":"x"}]}"#, false),
            (r#"{"errors":[{"code":"NotFound","defaultMessage":"x"}]}"#, false),
            (
                r#"{"errors":[{"id":"7","status":"404","code":"NOT_FOUND","title":"Not Found"}]}"#,
                false,
            ),
            (r#"{"errors":[{"status":"404","message":"x"}]}"#, false),
            (r#"{"errors":[{"message":"x","extensions":{"code":"NOT_FOUND"}}]}"#, false),
            (r#"{"errors":[]}"#, false),
            (r#"{"errors":["x"]}"#, false),
            (r#"{"code":404,"message":"no route"}"#, false),
            (r#"{"error":"not_found"}"#, false),
            ("<Error><Code>NoSuchKey</Code></Error>", true),
            ("<Error><Code>AccessDenied</Code></Error>", false),
            ("<html><Error><Code>NoSuchKey</Code></Error></html>", false),
            ("404 page not found", false),
            ("default backend - 404", false),
            ("", false),
        ] {
            assert_eq!(read(body.as_bytes(), &[]).of_a_registry, expected, "{body}");
        }
    }

    #[test]
    fn secrets_and_queries_do_not_pass() {
        assert_eq!(line("user bob hunter2!", &["hunter2", "x"]).unwrap(), "user bob ***!");
        assert_eq!(
            line("Authorization: Bearer abc.def", &[]).unwrap(),
            "Authorization: Bearer ***"
        );
        assert_eq!(line("sent Basic: Ym9iOng=", &[]).unwrap(), "sent Basic: ***");
        assert_eq!(line("HTTP Basic: Access denied.", &[]).unwrap(), "HTTP Basic: Access denied.");
        assert_eq!(line("no Bearer token: eyJ", &[]).unwrap(), "no Bearer token: eyJ");
        assert_eq!(line("token=eyJhbGciOiJIUzI1NiIsInR5cCI6", &[]).unwrap(), "***");
        assert_eq!(line("got \"eyJhbGciOiJIUzI1NiIsInR5cCI6\"", &[]).unwrap(), "got ***");
        assert_eq!(
            line("see https://u:p@h.example/a?sig=1&x=2, or (http://h?q)", &[]).unwrap(),
            "see https://h.example/a or (http://h)"
        );
        assert_eq!(line("a\u{202e}b\u{0}c\td", &[]).unwrap(), "a b c d");
        assert_eq!(line(" \n\t ", &[]), None);
        assert_eq!(line(&"ä ".repeat(400), &[]).unwrap().chars().count(), 200);
        assert_eq!(line(&"x".repeat(5000), &[]).unwrap(), "***");
    }

    #[test]
    fn refusals_by_address() {
        for body in [
            "client with IP '1.2.3.4' is not allowed access",
            r#"{"errors":[{"code":"DENIED","message":"not available in your country"}]}"#,
            "blocked by geo-restriction",
            "Firewall rule",
        ] {
            assert!(speaks_of_address(body.as_bytes()), "{body}");
        }
        for body in [
            "Permission \"artifactregistry.repositories.downloadArtifacts\" denied on resource \"projects/p/locations/region/repositories/r\"",
            "requested access to the resource is denied",
            "pipeline shipping",
            "",
        ] {
            assert!(!speaks_of_address(body.as_bytes()), "{body}");
        }
    }
}
