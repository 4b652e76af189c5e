//! `WWW-Authenticate`, read as containerd reads it: all headers, of each its first challenge only, Bearer before Basic, everything
//! else unusable (pull-semantics 5.3). Pure.

use http::{HeaderMap, header};
use http_auth::parser::ChallengeParser;

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
        let Ok(text) = value.to_str() else { continue };
        // Runtimes take what follows the first challenge of a header for its parameters, and stop at the first that is none.
        if let Some(Ok(challenge)) = ChallengeParser::new(text).next() {
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let parameter = |name: &str| {
                    challenge
                        .params
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.to_unescaped())
                        .filter(|value| !value.is_empty())
                };
                return Challenge::Bearer(Bearer {
                    realm: parameter("realm"),
                    service: parameter("service"),
                    scope: parameter("scope"),
                    error: parameter("error"),
                });
            }
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
        }
    }
    if basic { Challenge::Basic } else { Challenge::Unusable }
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
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
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
