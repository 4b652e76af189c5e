//! Where redirects and token realms may lead (contract 7); which addresses may be reached is [`crate::net`]'s. Pure.

use crate::net::Origin;
use crate::runtime::outcome::Refusal;
use http::HeaderValue;
use std::fmt::Write as _;
use url::Url;

/// A `Location` as Go reads it: any bytes, those that are no ASCII escaped in what is asked for.
pub(super) fn location(value: &HeaderValue) -> String {
    let mut text = String::new();
    for byte in value.as_bytes() {
        if byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Whether a redirect names a user, whom a node then is to the host that it leads to (Go, net/http `send`). We are nobody there.
pub(super) fn names_somebody(from: &Url, location: &str) -> bool {
    from.join(location)
        .is_ok_and(|to| !to.username().is_empty() || to.password().is_some())
}

/// Where a redirect from `from` leads, if it may be followed. Userinfo and fragment are dropped.
pub(super) fn redirect(from: &Url, location: &str) -> Result<Url, (Refusal, Option<Url>)> {
    let Ok(mut to) = from.join(location) else {
        return Err((Refusal::Redirect, None));
    };
    strip(&mut to);
    let admitted = match (from.scheme(), to.scheme()) {
        (_, "https") => true,
        ("http", "http") => Origin::of(from) == Origin::of(&to),
        _ => false,
    };
    if admitted && to.has_host() {
        Ok(to)
    } else {
        Err((Refusal::Redirect, Some(to)))
    }
}

/// A token realm that `registry` may name: https anywhere (its address is checked when it is contacted), or the registry itself. Without
/// userinfo, which a runtime would send and we do not, and as it is: a runtime makes nothing of one with a space in front.
pub(super) fn realm(registry: &Origin, text: &str) -> Result<Url, Refusal> {
    if text.starts_with(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
        return Err(Refusal::Realm);
    }
    let mut url = Url::parse(text.trim()).map_err(|_| Refusal::Realm)?;
    let anonymous = url.username().is_empty() && url.password().is_none();
    strip(&mut url);
    let admitted = match url.scheme() {
        "https" => true,
        "http" => Origin::of(&url) == *registry,
        _ => false,
    };
    if admitted && anonymous && url.has_host() {
        Ok(url)
    } else {
        Err(Refusal::Realm)
    }
}

fn strip(url: &mut Url) {
    // Both fail only for URLs that cannot have userinfo, where there is nothing to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
}

#[cfg(test)]
mod tests;
