//! Where a redirect leads, and whether it may be followed: Go's and containerd's rules, and ours on top of them (contract 7).

use crate::runtime::fault::GuardRule;
use crate::runtime::request::{Method, Origin};
use std::fmt::Write as _;
use url::Url;

/// The most requests in one chain: containerd stops at the tenth redirect, before it sends an eleventh request (`resolver.go`,
/// `CheckRedirect`).
pub const REQUESTS: usize = 10;

/// What to do with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is the final answer.
    Stay,
    /// Send a request there.
    Follow {
        /// With this method.
        method: Method,
        /// Without userinfo and fragment.
        url: Url,
        /// The redirect names a user. A node would log in as that user; we do not.
        as_somebody: bool,
    },
    /// Our rules forbid it. The URL is the target, or the place that was asked if the target is unknown.
    Withhold(GuardRule, Url),
}

/// What follows an answer of `status` to a request by `method` to `from`, with `location` as the bytes of its `Location`.
pub fn next(method: Method, from: &Url, status: u16, location: Option<&[u8]>) -> Next {
    let location = match status {
        301 | 302 | 303 | 307 | 308 => location.map(readable),
        _ => None,
    };
    // An empty `Location` leads nowhere, in Go too.
    let Some(location) = location.filter(|location| !location.is_empty()) else {
        return Next::Stay;
    };
    let Ok(mut to) = from.join(&location) else {
        return Next::Withhold(GuardRule::Redirect, from.clone());
    };
    let as_somebody = !to.username().is_empty() || to.password().is_some();
    strip(&mut to);
    let (here, there) = (Origin::of(from), Origin::of(&to));
    let admitted = match (from.scheme(), to.scheme()) {
        (_, "https") => true,
        ("http", "http") => here == there,
        _ => false,
    };
    // Such a redirect asks to send the form again, with the credential in it.
    let keeps_form = method == Method::Post && matches!(status, 307 | 308);
    if !admitted || there.is_none() || (keeps_form && here != there) {
        return Next::Withhold(GuardRule::Redirect, to);
    }
    let method = match method {
        Method::Post if !keeps_form => Method::Get,
        method => method,
    };
    Next::Follow {
        method,
        url: to,
        as_somebody,
    }
}

/// A `Location` as Go reads it: any bytes; those outside ASCII are escaped in the request.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The token server that `registry` names, if it is allowed: https anywhere (its address is checked on connection), or the registry itself.
/// Without userinfo, which a runtime would send and we do not. Taken literally: a runtime rejects one with a leading space.
pub fn realm(registry: &Origin, text: &str) -> Result<Url, GuardRule> {
    if text.starts_with(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
        return Err(GuardRule::Realm);
    }
    let mut url = Url::parse(text.trim()).map_err(|_| GuardRule::Realm)?;
    let anonymous = url.username().is_empty() && url.password().is_none();
    strip(&mut url);
    let admitted = match url.scheme() {
        "https" => true,
        "http" => Origin::of(&url).as_ref() == Some(registry),
        _ => false,
    };
    if admitted && anonymous && url.has_host() {
        Ok(url)
    } else {
        Err(GuardRule::Realm)
    }
}

fn strip(url: &mut Url) {
    // Both fail only for URLs that cannot have userinfo, so there is nothing to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[track_caller]
    fn leads(method: Method, from: &str, status: u16, location: &str) -> Option<(Method, String)> {
        match next(method, &url(from), status, Some(location.as_bytes())) {
            Next::Follow { method, url, .. } => Some((method, url.to_string())),
            Next::Stay | Next::Withhold(..) => None,
        }
    }

    #[test]
    fn redirects_lead_to_https_or_stay_where_they_are() {
        let from = "https://r.example/v2/a/blobs/x";
        let follows = |from: &str, to: &str| leads(Method::Get, from, 307, to).map(|(_, url)| url);
        assert_eq!(
            follows(from, "https://cdn.example/x?sig=1").as_deref(),
            Some("https://cdn.example/x?sig=1")
        );
        assert_eq!(follows(from, "/elsewhere").as_deref(), Some("https://r.example/elsewhere"));
        assert_eq!(
            follows(from, "https://u:p@cdn.example/x#f").as_deref(),
            Some("https://cdn.example/x")
        );
        assert_eq!(follows(from, "http://r.example/x"), None);
        assert_eq!(
            follows("http://r.example:5000/x", "http://r.example:5000/y").as_deref(),
            Some("http://r.example:5000/y")
        );
        assert_eq!(follows("http://r.example:5000/x", "http://r.example:5001/y"), None);
        assert_eq!(
            follows("http://r.example:5000/x", "https://s.example/y").as_deref(),
            Some("https://s.example/y")
        );
        assert_eq!(follows(from, "ftp://r.example/x"), None);
        assert_eq!(follows(from, ""), None);
    }

    #[test]
    fn a_form_goes_nowhere_else() {
        let from = "https://t.example/token";
        assert_eq!(leads(Method::Post, from, 307, "https://u.example/token"), None);
        assert_eq!(
            leads(Method::Post, from, 307, "/other").map(|(method, _)| method),
            Some(Method::Post)
        );
        assert_eq!(
            leads(Method::Post, from, 302, "https://u.example/token").map(|(method, _)| method),
            Some(Method::Get)
        );
    }

    #[test]
    fn only_redirects_with_a_target_lead_on() {
        let from = url("https://r.example/x");
        assert_eq!(next(Method::Get, &from, 200, Some(b"/y")), Next::Stay);
        assert_eq!(next(Method::Get, &from, 304, Some(b"/y")), Next::Stay);
        assert_eq!(next(Method::Get, &from, 302, None), Next::Stay);
        let named = next(Method::Get, &from, 302, Some(b"https://me@s.example/y"));
        assert!(matches!(named, Next::Follow { as_somebody: true, .. }));
        let odd = next(Method::Get, &from, 302, Some(b"/\xc3\xa4"));
        assert!(matches!(odd, Next::Follow { url, .. } if url.as_str() == "https://r.example/%C3%A4"));
    }

    #[test]
    fn token_servers() {
        let registry = Origin::new(Scheme::Http, "127.0.0.1:5000").unwrap();
        let at = |text: &str| realm(&registry, text).map(String::from).ok();
        assert_eq!(
            at("https://auth.example/token?a=b").as_deref(),
            Some("https://auth.example/token?a=b")
        );
        assert_eq!(
            at("http://127.0.0.1:5000/token").as_deref(),
            Some("http://127.0.0.1:5000/token")
        );
        for refused in [
            "http://127.0.0.1:5001/token",
            "http://auth.example/t",
            " https://auth.example/t",
            "https://me@auth.example/t",
            "file:///x",
            "",
        ] {
            assert_eq!(at(refused), None, "{refused}");
        }
    }

    use crate::runtime::request::Scheme;
}
