//! `WWW-Authenticate`, as containerd and containers/image read it: all headers, but only the first challenge of each (pull-semantics 5.3).

use std::sync::Arc;

/// One challenge of a 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A token from `realm`.
    Bearer(Bearer),
    /// User name and password.
    Basic,
    /// Digest, Negotiate, or nothing that parses.
    Other,
}

/// The parameters of a Bearer challenge. Empty ones count as missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bearer {
    /// The token server. Runtimes fail without it, even if there is a Basic challenge as well.
    pub realm: Option<String>,
    /// Passed on to the token server.
    pub service: Option<String>,
    /// Separated by spaces.
    pub scope: Option<String>,
    /// `insufficient_scope`, `invalid_token` …
    pub error: Option<String>,
    /// The parameters before the first empty one, if there is an empty one: containers/image reads no further.
    pub up_to_empty: Option<Box<Bearer>>,
}

impl Bearer {
    fn of(parameters: &[(&str, String)]) -> Self {
        let parameter = |name: &str| {
            let found = parameters.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let empty = parameters.iter().position(|(_, value)| value.is_empty());
        Self {
            realm: parameter("realm"),
            service: parameter("service"),
            scope: parameter("scope"),
            error: parameter("error"),
            up_to_empty: empty
                .and_then(|at| parameters.get(..at))
                .map(|before| Box::new(Self::of(before))),
        }
    }

    /// As containers/image reads it.
    pub fn cut(&self) -> &Self {
        self.up_to_empty.as_deref().unwrap_or(self)
    }
}

/// The challenges in these header values, one for each value, in order.
pub fn read<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    values.into_iter().map(first).collect()
}

fn first(value: &[u8]) -> Challenge {
    // A quoted value may hold more than ASCII.
    let text = String::from_utf8_lossy(value);
    let (scheme, parameters) = parse(&text);
    if scheme.eq_ignore_ascii_case("bearer") {
        Challenge::Bearer(Bearer::of(&parameters))
    } else if scheme.eq_ignore_ascii_case("basic") {
        Challenge::Basic
    } else {
        Challenge::Other
    }
}

/// Reads a header's first challenge, and its parameters up to the first that does not parse. Whatever follows a Basic challenge in the same
/// header is lost, as in containerd.
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

/// An HTTP token at the beginning of `text`, and the rest.
fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// The text up to the closing quote, and the rest; empty if there is no closing quote.
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

/// The one that containerd answers: the first Bearer challenge, else a Basic one (`auth.ParseAuthHeader` sorts them so).
pub fn containerds(challenges: &[Challenge]) -> &Challenge {
    let bearer = challenges.iter().find(|one| matches!(one, Challenge::Bearer(_)));
    let basic = || challenges.iter().find(|one| matches!(one, Challenge::Basic));
    bearer.or_else(basic).unwrap_or(&Challenge::Other)
}

/// The one that containers/image answers: the first that is Bearer or Basic (`setupRequestAuth` in `docker/docker_client.go`).
pub fn crios(challenges: &[Challenge]) -> &Challenge {
    let answered = challenges.iter().find(|one| !matches!(one, Challenge::Other));
    answered.unwrap_or(&Challenge::Other)
}

/// The scopes of a token request: our own and those of the challenge, merged and sorted.
pub fn scopes(repository: &str, challenged: Option<&str>) -> Vec<Arc<str>> {
    let challenged = challenged.unwrap_or_default().split_ascii_whitespace();
    let mut scopes: Vec<Arc<str>> = challenged.map(Arc::from).collect();
    scopes.push(Arc::from(format!("repository:{repository}:pull")));
    scopes.sort();
    scopes.dedup();
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expected: &Challenge) {
        let challenges = read(values.iter().map(|value| value.as_bytes()));
        assert_eq!(containerds(&challenges), expected, "{values:?}");
    }

    fn bearer(realm: &str) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: Some(realm.to_owned()),
            ..Bearer::default()
        })
    }

    /// A Bearer challenge whose first parameter is empty.
    fn empty() -> Challenge {
        Challenge::Bearer(Bearer {
            up_to_empty: Some(Box::default()),
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
        // Empty parameters are read like all others (measured on 1.6 and 2.1).
        let with_empty = Challenge::Bearer(Bearer {
            realm: Some("https://t/".into()),
            up_to_empty: Some(Box::default()),
            ..Bearer::default()
        });
        check(&["Bearer service=\"\",realm=\"https://t/\""], &with_empty);
        check(&["Bearer foo=\"é\",realm=\"https://t/\""], &bearer("https://t/"));
        check(&["Bearer realm=\"https://t/"], &empty());
        check(
            &[
                "Bearer realm=\"https://t/\",service=\"s\",scope=\"repository:a:pull repository:b:pull\",error=\"insufficient_scope\"",
            ],
            &Challenge::Bearer(Bearer {
                realm: Some("https://t/".into()),
                service: Some("s".into()),
                scope: Some("repository:a:pull repository:b:pull".into()),
                error: Some("insufficient_scope".into()),
                up_to_empty: None,
            }),
        );
    }

    #[test]
    fn containers_image_takes_the_first_and_stops_at_what_is_empty() {
        let read = |values: &[&str]| read(values.iter().map(|value| value.as_bytes()));
        let both = read(&["Negotiate", "Basic realm=\"x\"", "Bearer realm=\"https://t/\""]);
        assert_eq!(crios(&both), &Challenge::Basic);
        assert_eq!(crios(&read(&["Digest realm=\"x\""])), &Challenge::Other);
        let cut = |value: &str| match crios(&read(&[value])) {
            Challenge::Bearer(bearer) => bearer.cut().clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(cut("Bearer service=\"\",realm=\"https://t/\"").realm, None);
        let before = cut("Bearer realm=\"https://t/\",service=\"\",scope=\"repository:a:pull\"");
        assert_eq!((before.realm.as_deref(), before.scope), (Some("https://t/"), None));
    }

    #[test]
    fn what_is_left_is_basic_or_unusable() {
        check(&["Digest realm=\"x\", nonce=\"n\"", "Basic realm=\"x\""], &Challenge::Basic);
        check(&["basic"], &Challenge::Basic);
        check(&["Basic realm=\"x\", Bearer realm=\"https://t/\""], &Challenge::Basic);
        check(&["Negotiate, Basic realm=\"x\""], &Challenge::Other);
        check(&[], &Challenge::Other);
        check(&[""], &Challenge::Other);
        check(&["Negotiate"], &Challenge::Other);
        check(&["Digest realm=\"x\""], &Challenge::Other);
        check(&["Negotiate YIIJvwYGKwYBBQUCoIIJszCC"], &Challenge::Other);
        check(&["Bearer realm=\"\""], &empty());
        check(&["Bearer"], &Challenge::Bearer(Bearer::default()));
    }

    #[test]
    fn scopes_are_a_sorted_union() {
        let scopes = |repository: &str, challenged| {
            scopes(repository, challenged)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(scopes("a/b", None), ["repository:a/b:pull"]);
        assert_eq!(scopes("a/b", Some("repository:a/b:pull")), ["repository:a/b:pull"]);
        assert_eq!(
            scopes("b", Some("repository:b:push,pull  repository:a:pull")),
            ["repository:a:pull", "repository:b:pull", "repository:b:push,pull"]
        );
    }
}
