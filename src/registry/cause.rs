//! From answers to evidence: what a status, with the registry's code, proves (pull-semantics 5.2, 6.2). Pure.

pub(super) use super::headers::{quota, retry_after};
use super::host::authority;
use super::words::{self, Words};
use crate::net::Origin;
use crate::runtime::outcome::{Evidence, Purpose, RequestLine};
use crate::telemetry::RequestOutcome;
use crate::verdict::Failure;
use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

/// A whole answer, body capped.
#[derive(Debug)]
pub(super) struct Answer {
    /// Of the last request.
    pub(super) method: Method,
    /// Of the last request, after redirects.
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// At most as much as was asked for.
    pub(super) body: Vec<u8>,
    /// Whether there was more.
    pub(super) truncated: bool,
}

impl Answer {
    /// The challenges of a 401.
    pub(super) fn challenges(&self) -> Vec<crate::runtime::challenge::Challenge> {
        let values = self.headers.get_all(header::WWW_AUTHENTICATE).iter();
        crate::runtime::challenge::read(values.map(http::HeaderValue::as_bytes))
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::of(&self.url)
    }

    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// A failure that rests on this answer, in its own words.
    pub(super) fn failure(&self, evidence: Evidence, purpose: Purpose, secrets: &[&str]) -> Failure {
        let Words { code, detail } = words::read(&self.body, secrets);
        Failure {
            status: Some(self.status.as_u16()),
            code,
            detail,
            retry_after: retry_after(&self.headers),
            ..failure(evidence, &self.method, &self.url, purpose)
        }
    }
}

/// A failure without an answer.
pub(super) fn failure(evidence: Evidence, method: &Method, url: &Url, purpose: Purpose) -> Failure {
    Failure {
        request: Some(RequestLine {
            method: if *method == Method::HEAD {
                "HEAD"
            } else if *method == Method::POST {
                "POST"
            } else {
                "GET"
            },
            url: shown(url, purpose),
            purpose,
        }),
        ..plain(evidence, authority(url))
    }
}

/// A failure before any request.
pub(super) fn plain(evidence: Evidence, host: String) -> Failure {
    Failure {
        evidence,
        host,
        status: None,
        code: None,
        detail: None,
        request: None,
        suggestions: Vec::new(),
        retry_after: None,
        digest: None,
    }
}

/// A URL fit to show: no userinfo, no query but the scope and service of a token request, and the registry that a mirror is asked for.
fn shown(url: &Url, purpose: Purpose) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    shown.set_query(None);
    let is_kept = |key: &str| match purpose {
        Purpose::Content => key == "ns",
        Purpose::AnonymousToken | Purpose::OauthToken => matches!(key, "scope" | "service"),
    };
    let kept: Vec<_> = url.query_pairs().filter(|(key, _)| is_kept(key)).collect();
    if !kept.is_empty() {
        shown.query_pairs_mut().extend_pairs(kept);
    }
    shown.to_string()
}

/// What every refused request has in common: throttled, broken, forbidden, otherwise refused. 401 and 404 are for the caller,
/// who knows what was asked and with what.
pub(super) fn evidence(answer: &Answer, with_credential: bool) -> Evidence {
    use crate::runtime::outcome::Rejection;
    match answer.status.as_u16() {
        429 => Evidence::RateLimited,
        403 | 412 | 451 => Evidence::Forbidden {
            address_bound: words::speaks_of_address(&answer.body),
            with_credential,
        },
        400..=407 | 409..=499 => Evidence::Rejected(Rejection::Status),
        // 408, 5xx, and statuses that make no sense here (1xx, 3xx without a target).
        _ => Evidence::ServerError { token_server: false },
    }
}

/// How a failure counts: for cache lifetimes, stale answers, the breaker and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The registry answered; a retry answers the same.
    Settled,
    /// Transport, 5xx, or our own doing: the registry may be fine again in a moment.
    Down,
    /// 429.
    Throttled,
}

/// How `evidence` counts.
pub(super) fn kind(evidence: &Evidence) -> Kind {
    match evidence {
        Evidence::RateLimited => Kind::Throttled,
        Evidence::SentOn { fails, .. } => kind(fails),
        Evidence::NameNotResolved
        | Evidence::ConnectionFailed(_)
        | Evidence::TimedOut(_)
        | Evidence::Tls(_)
        | Evidence::ServerError { .. } => Kind::Down,
        Evidence::RepositoryUnknown
        | Evidence::TagUnknown { .. }
        | Evidence::DigestUnknown
        | Evidence::AuthenticationRequired { .. }
        | Evidence::InsufficientScope { .. }
        | Evidence::CredentialRefused { .. }
        | Evidence::CredentialNotText { .. }
        | Evidence::Forbidden { .. }
        | Evidence::Rejected(_)
        | Evidence::Refused(_)
        | Evidence::ContentInvalid(_)
        | Evidence::ContentMissing { .. }
        | Evidence::Elsewhere { .. }
        | Evidence::TooLong { .. }
        | Evidence::SomeRuntimes(_)
        | Evidence::Internal => Kind::Settled,
    }
}

/// The label of an outcome in metrics, and the cause in the log.
pub(super) fn label(evidence: &Evidence) -> RequestOutcome {
    match evidence {
        Evidence::RateLimited => RequestOutcome::RateLimited,
        Evidence::NameNotResolved => RequestOutcome::Dns,
        Evidence::ConnectionFailed(_) => RequestOutcome::Connect,
        Evidence::TimedOut(_) => RequestOutcome::Timeout,
        Evidence::Tls(_) => RequestOutcome::Tls,
        Evidence::ServerError { .. } => RequestOutcome::ServerError,
        Evidence::Refused(_) => RequestOutcome::Refused,
        Evidence::RepositoryUnknown
        | Evidence::TagUnknown { .. }
        | Evidence::DigestUnknown
        | Evidence::ContentMissing { .. }
        | Evidence::Elsewhere { .. } => RequestOutcome::NotFound,
        Evidence::AuthenticationRequired { .. }
        | Evidence::InsufficientScope { .. }
        | Evidence::CredentialRefused { .. }
        | Evidence::CredentialNotText { .. } => RequestOutcome::Unauthorized,
        Evidence::Forbidden { .. } => RequestOutcome::Forbidden,
        Evidence::Rejected(_) | Evidence::ContentInvalid(_) | Evidence::TooLong { .. } => RequestOutcome::ClientError,
        Evidence::SomeRuntimes(fails) | Evidence::SentOn { fails, .. } => label(fails),
        Evidence::Internal => RequestOutcome::Internal,
    }
}

/// The metrics label of an answer by its status.
pub(super) fn status_label(status: StatusCode) -> RequestOutcome {
    match status.as_u16() {
        200..=399 => RequestOutcome::Ok,
        401 => RequestOutcome::Unauthorized,
        403 | 412 | 451 => RequestOutcome::Forbidden,
        404 => RequestOutcome::NotFound,
        429 => RequestOutcome::RateLimited,
        400..=499 if status != StatusCode::REQUEST_TIMEOUT => RequestOutcome::ClientError,
        _ => RequestOutcome::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::outcome::Rejection;
    use std::time::Duration;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        Answer {
            method: Method::GET,
            url: Url::parse("https://u:p@r.example:5000/v2/a/manifests/x?sig=secret#f").unwrap(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers
                .iter()
                .map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap()))
                .collect(),
            body: body.as_bytes().to_vec(),
            truncated: false,
        }
    }

    #[test]
    fn statuses() {
        let forbidden = |address_bound| Evidence::Forbidden {
            address_bound,
            with_credential: true,
        };
        for (status, body, expected) in [
            (429, "", Evidence::RateLimited),
            (403, "", forbidden(false)),
            (412, "", forbidden(false)),
            (451, "", forbidden(false)),
            (403, "client with IP '1.2.3.4' is not allowed", forbidden(true)),
            (400, "", Evidence::Rejected(Rejection::Status)),
            (407, "", Evidence::Rejected(Rejection::Status)),
            (410, "", Evidence::Rejected(Rejection::Status)),
            (499, "", Evidence::Rejected(Rejection::Status)),
            (408, "", Evidence::ServerError { token_server: false }),
            (500, "", Evidence::ServerError { token_server: false }),
            (599, "", Evidence::ServerError { token_server: false }),
            (304, "", Evidence::ServerError { token_server: false }),
            (999, "", Evidence::ServerError { token_server: false }),
        ] {
            assert_eq!(evidence(&answer(status, &[], body), true), expected, "{status} {body}");
        }
    }

    #[test]
    fn failures_say_where_and_keep_secrets() {
        let body = r#"{"errors":[{"code":"DENIED","message":"no hunter2 here"}]}"#;
        let failure = answer(403, &[("retry-after", "7")], body).failure(Evidence::RateLimited, Purpose::Content, &["hunter2"]);
        assert_eq!(failure.host, "r.example:5000");
        assert_eq!(failure.status, Some(403));
        assert_eq!(failure.code.as_deref(), Some("DENIED"));
        assert_eq!(failure.detail.as_deref(), Some("no *** here"));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(
            failure.request,
            Some(RequestLine {
                method: "GET",
                url: "https://r.example:5000/v2/a/manifests/x".into(),
                purpose: Purpose::Content,
            })
        );
        let token = Url::parse("https://t.example/token?account=me&scope=repository%3Aa%3Apull&service=s").unwrap();
        assert_eq!(
            shown(&token, Purpose::OauthToken),
            "https://t.example/token?scope=repository%3Aa%3Apull&service=s"
        );
    }
}
