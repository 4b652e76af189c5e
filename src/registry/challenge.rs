//! `WWW-Authenticate`, read as containerd reads it: all headers, of each its first challenge only, Bearer before Basic, everything
//! else unusable (pull-semantics 5.3). Pure.

use http::{HeaderMap, header};

/// What a 401 asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from `realm`.
    Bearer(Bearer),
    /// User name and password.
    Basic,
    /// None, Digest, Negotiate, or nothing that parses.
    Unusable,
}

/// The parameters of a Bearer challenge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Bearer {
    /// The token server. Containerd fails where it is missing, even beside a Basic challenge.
    pub(super) realm: Option<String>,
    /// Passed on to the token server.
    pub(super) service: Option<String>,
    /// Space-separated.
    pub(super) scope: Option<String>,
    /// `insufficient_scope`, `invalid_token` …
    pub(super) error: Option<String>,
}

/// The challenge that a runtime would answer.
pub(super) fn choose(headers: &HeaderMap) -> Challenge {
    let mut basic = false;
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        // What is no ASCII may stand between quotes.
        let text = String::from_utf8_lossy(value.as_bytes());
        let (scheme, parameters) = parse(&text);
        if scheme.eq_ignore_ascii_case("bearer") {
            let parameter = |name: &str| {
                let found = parameters.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
            };
            return Challenge::Bearer(Bearer {
                realm: parameter("realm"),
                service: parameter("service"),
                scope: parameter("scope"),
                error: parameter("error"),
            });
        }
        basic |= scheme.eq_ignore_ascii_case("basic");
    }
    if basic { Challenge::Basic } else { Challenge::Unusable }
}

/// Reads a header's first challenge, and its parameters up to the first that is none. What comes behind a Basic challenge in the same
/// header is lost, as it is to containerd.
fn parse(text: &str) -> (&str, Vec<(&str, String)>) {
    let mut parameters = Vec::new();
    let (scheme, mut rest) = token(text);
    loop {
        let (key, behind) = token(rest.trim_start_matches([' ', '\t']));
        let Some(behind) = behind.strip_prefix('=') else { break };
        let (value, behind) = if let Some(quoted) = behind.strip_prefix('"') {
            unquote(quoted)
        } else {
            let (value, behind) = token(behind);
            (value.to_owned(), behind)
        };
        if key.is_empty() {
            break;
        }
        parameters.push((key, value));
        match behind.trim_start_matches([' ', '\t']).strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    (scheme, parameters)
}

/// A token of HTTP at the beginning of `text`, and what follows.
fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// What stands up to the closing quote, and what follows; empty where there is no such quote.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            c => value.push(c),
        }
    }
    (String::new(), "")
}

/// The scopes of a token request: the sorted union of our own and the challenge's.
pub(super) fn scopes(repository: &str, challenged: Option<&str>) -> Vec<String> {
    let mut scopes: Vec<String> = challenged
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    scopes.push(format!("repository:{repository}:pull"));
    scopes.sort();
    scopes.dedup();
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(values: &[&str], expected: &Challenge) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(choose(&headers), *expected, "{values:?}");
    }

    fn bearer(realm: &str) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: Some(realm.to_owned()),
            ..Bearer::default()
        })
    }

    #[test]
    fn bearer_wins_wherever_it_stands() {
        check(&["Basic realm=\"x\"", "Bearer realm=\"https://t/\""], &bearer("https://t/"));
        check(&["Bearer realm=\"https://t/\", Basic realm=\"x\""], &bearer("https://t/"));
        check(&["Negotiate", "bEaReR ReAlM=https"], &bearer("https"));
        check(&["Bearer realm=https://t/,service=s"], &bearer("https"));
        check(&["Bearer  realm=\"https://t/\" ,  x=\"a\\\"b\"  "], &bearer("https://t/"));
        check(&["Bearer realm=\"https://t/\" service=\"s\""], &bearer("https://t/"));
        // What is empty is read like everything else (measured on 1.6 and 2.1).
        check(&["Bearer service=\"\",realm=\"https://t/\""], &bearer("https://t/"));
        check(&["Bearer foo=\"é\",realm=\"https://t/\""], &bearer("https://t/"));
        check(&["Bearer realm=\"https://t/"], &Challenge::Bearer(Bearer::default()));
        check(
            &[
                "Bearer realm=\"https://t/\",service=\"s\",scope=\"repository:a:pull repository:b:pull\",error=\"insufficient_scope\"",
            ],
            &Challenge::Bearer(Bearer {
                realm: Some("https://t/".into()),
                service: Some("s".into()),
                scope: Some("repository:a:pull repository:b:pull".into()),
                error: Some("insufficient_scope".into()),
            }),
        );
    }

    #[test]
    fn what_is_left_is_basic_or_unusable() {
        check(&["Digest realm=\"x\", nonce=\"n\"", "Basic realm=\"x\""], &Challenge::Basic);
        check(&["basic"], &Challenge::Basic);
        check(&["Basic realm=\"x\", Bearer realm=\"https://t/\""], &Challenge::Basic);
        check(&["Negotiate, Basic realm=\"x\""], &Challenge::Unusable);
        check(&[], &Challenge::Unusable);
        check(&[""], &Challenge::Unusable);
        check(&["Negotiate"], &Challenge::Unusable);
        check(&["Digest realm=\"x\""], &Challenge::Unusable);
        check(&["Negotiate YIIJvwYGKwYBBQUCoIIJszCC"], &Challenge::Unusable);
        check(&["Bearer realm=\"\""], &Challenge::Bearer(Bearer::default()));
        check(&["Bearer"], &Challenge::Bearer(Bearer::default()));
    }

    #[test]
    fn scopes_are_a_sorted_union() {
        assert_eq!(scopes("a/b", None), ["repository:a/b:pull"]);
        assert_eq!(scopes("a/b", Some("repository:a/b:pull")), ["repository:a/b:pull"]);
        assert_eq!(
            scopes("b", Some("repository:b:push,pull  repository:a:pull")),
            ["repository:a:pull", "repository:b:pull", "repository:b:push,pull"]
        );
    }
}
