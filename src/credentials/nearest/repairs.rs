//! Known mistakes in keys, each with a repair: it takes a key and, if it finds the mistake, returns the fixed key and a clause
//! about it.

use super::super::keyring::is_hub;
use super::Wanted;

/// A repaired key, and the mistake, as a clause about the key.
pub(super) type Repair = fn(&str, &Wanted<'_>) -> Option<(String, String)>;

/// In order: first what hides the host, then the host, then the path.
pub(super) const REPAIRS: &[Repair] = &[
    blanks,
    scheme,
    query,
    brackets,
    tag,
    path_wildcard,
    api_path,
    port,
    case,
    hub_alias,
    hub_library,
    label_count,
    slashes,
];

/// The key after the repairs that fit, and the mistakes they fixed.
pub(super) fn apply(repairs: &[Repair], key: &str, wanted: &Wanted<'_>) -> (String, Vec<String>) {
    let mut text = without_userinfo(key);
    let mut slips = Vec::new();
    for repair in repairs {
        if let Some((fixed, slip)) = repair(&text, wanted) {
            text = fixed;
            slips.push(slip);
        }
    }
    (text, slips)
}

/// Drops the rest of userinfo that [`super::super::endpoint::masked`] leaves, so that no suggestion contains it.
fn without_userinfo(key: &str) -> String {
    let (scheme, rest) = split_scheme(key);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let at = rest
        .get(..end)
        .and_then(|authority| authority.rfind('@'))
        .map_or(0, |at| at + 1);
    format!("{scheme}{}", rest.get(at..).unwrap_or_default())
}

/// `https://` (or nothing), and the rest.
pub(super) fn split_scheme(key: &str) -> (&str, &str) {
    key.split_at_checked(key.find("://").map_or(0, |at| at + 3))
        .unwrap_or(("", key))
}

/// Scheme, host with port, path.
pub(super) fn split(key: &str) -> (&str, &str, &str) {
    let (scheme, rest) = split_scheme(key);
    let (host, path) = rest
        .split_at_checked(rest.find('/').unwrap_or(rest.len()))
        .unwrap_or((rest, ""));
    (scheme, host, path)
}

pub(super) fn blanks(key: &str, _: &Wanted<'_>) -> Option<(String, String)> {
    let trimmed = key.trim();
    let place = match (key.starts_with(char::is_whitespace), key.ends_with(char::is_whitespace)) {
        (false, false) => return None,
        (true, false) => "before it",
        (false, true) => "after it",
        (true, true) => "around it",
    };
    Some((trimmed.to_owned(), format!("there is white space {place}")))
}

pub(super) fn scheme(key: &str, _: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, rest) = split_scheme(key);
    match scheme {
        "" => rest
            .strip_prefix("//")
            .map(|rest| (rest.to_owned(), "it begins with slashes".to_owned())),
        "http://" | "https://" => {
            let (second, rest) = rest.split_once("://")?;
            let is_scheme = second.bytes().all(|b| b.is_ascii_alphanumeric());
            is_scheme.then(|| (rest.to_owned(), format!("a second scheme, {second}://, follows the first")))
        }
        other => Some((
            rest.to_owned(),
            format!("only http:// and https:// are removed from keys, not {other}"),
        )),
    }
}

pub(super) fn query(key: &str, _: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    if host.contains('?') {
        return Some((
            format!("{scheme}{}{path}", host.replace('?', "*")),
            "`?` starts a URL query there and is not a wildcard".to_owned(),
        ));
    }
    let at = path.find(['?', '#'])?;
    let why = "`?` and `#` start the query and the fragment of a URL there";
    Some((
        format!("{scheme}{host}{}", path.get(..at).unwrap_or_default()),
        why.to_owned(),
    ))
}

/// The character class `reg[67].example.com` was a wildcard before Go 1.24.8 and 1.25.2.
fn brackets(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    if wanted.registry.starts_with('[') {
        return None;
    }
    let (before, class) = host.split_once('[')?;
    let (_, after) = class.split_once(']')?;
    Some((
        format!("{scheme}{before}*{after}{path}"),
        "brackets may only contain an IPv6 address: a kubelet built with Go 1.24.8, 1.25.2 or later (each from 1.36 on is) cannot \
         parse it as a URL and skips it"
            .to_owned(),
    ))
}

fn tag(key: &str, _: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    let last = path.rfind('/')?;
    let (parents, name) = path.split_at_checked(last)?;
    let at = name.find([':', '@'])?;
    let kind = if name.contains('@') { "a digest" } else { "a tag" };
    let fixed = format!("{scheme}{host}{parents}{}", name.get(..at).unwrap_or_default());
    Some((fixed, format!("it ends in {kind}, and keys end with the repository")))
}

fn path_wildcard(key: &str, _: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    let before = path.get(..path.find('*')?)?;
    // `team/*` probably means `team`; `team/app-*` may become `team/app-`: paths are prefixes.
    let before = before.strip_suffix('/').unwrap_or(before);
    Some((
        format!("{scheme}{host}{before}"),
        "`*` is only a wildcard in the host; a path matches everything that starts with it".to_owned(),
    ))
}

fn api_path(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    let why = match path {
        "/v1" | "/v2" => format!("{path} is only removed if a slash follows it"),
        "/api" | "/api/" | "/api/v1" | "/api/v1/" | "/api/v2" | "/api/v2/" => format!("{path} is read as the path of a repository"),
        _ => return None,
    };
    if wanted.path.starts_with(path) {
        return None;
    }
    let hub = is_hub(wanted.name) && host == "index.docker.io";
    Some((
        if hub {
            "https://index.docker.io/v1/".to_owned()
        } else {
            format!("{scheme}{host}")
        },
        why,
    ))
}

pub(super) fn port(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    if host.starts_with('[') {
        return None;
    }
    let (name, port) = host.split_once(':').map_or((host, ""), |(name, port)| (name, port));
    let target = wanted.endpoint.port.as_str();
    if port == target {
        return None;
    }
    let why = match (port, target) {
        ("", _) => format!("it has no port, the image's registry has {target}"),
        (_, "") if port.bytes().all(|byte| byte.is_ascii_digit()) => format!("its port is {port}, the image's registry has none"),
        _ if port.bytes().all(|byte| byte.is_ascii_digit()) => format!("its port is {port}, the image's registry has {target}"),
        _ => "its port is not a number, and ports cannot have wildcards".to_owned(),
    };
    let colon = if target.is_empty() { "" } else { ":" };
    Some((format!("{scheme}{name}{colon}{target}{path}"), why))
}

pub(super) fn case(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    // With a wildcard, only lower-casing makes sense.
    let like_host = if host.eq_ignore_ascii_case(wanted.registry) {
        wanted.registry.to_owned()
    } else {
        host.to_ascii_lowercase()
    };
    let like_path = match wanted.path.get(..path.len()) {
        Some(start) if start.eq_ignore_ascii_case(path) => start,
        Some(_) | None => path,
    };
    let why = match (like_host == host, like_path == path) {
        (true, true) => return None,
        (false, _) => "the host is case-sensitive",
        (true, false) => "the path is case-sensitive",
    };
    Some((format!("{scheme}{like_host}{like_path}"), why.to_owned()))
}

fn hub_alias(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (_, host, path) = split(key);
    let bare = matches!(path, "" | "/" | "/v1/" | "/v2/" | "/v1" | "/v2");
    let alias = matches!(
        host,
        "hub.docker.com" | "registry.hub.docker.com" | "docker.com" | "www.docker.com"
    ) || (host.ends_with(".docker.io") && (host != "index.docker.io" || !bare));
    if !is_hub(wanted.name) || !alias {
        return None;
    }
    let why = match host {
        "index.docker.io" => "index.docker.io only means Docker Hub without a path".to_owned(),
        _ => format!("Docker Hub is looked up as docker.io and index.docker.io, not as {host}"),
    };
    Some((
        if bare {
            "https://index.docker.io/v1/".to_owned()
        } else {
            format!("docker.io{path}")
        },
        why,
    ))
}

fn hub_library(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (_, host, path) = split(key);
    let official = wanted.path.strip_prefix("/library")?;
    if host != "docker.io" || !is_hub(wanted.name) || path.len() < 2 || path != official {
        return None;
    }
    Some((
        format!("docker.io/library{path}"),
        "Docker Hub's official images are below /library".to_owned(),
    ))
}

fn label_count(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    let (name, port) = host.split_at_checked(host.find(':').unwrap_or(host.len()))?;
    let labels: Vec<&str> = name.split('.').collect();
    let target = &wanted.endpoint.labels;
    if !name.contains('*') || labels.len() == target.len() {
        return None;
    }
    let fixed = match labels.split_first() {
        Some((&"*", [])) => wanted.endpoint.host(),
        Some((first, rest)) if first.contains('*') && rest.len() <= target.len() => {
            let stars = target.len() - rest.len();
            std::iter::repeat_n("*", stars)
                .chain(rest.iter().copied())
                .collect::<Vec<_>>()
                .join(".")
        }
        Some(_) | None => return None,
    };
    let plural = if labels.len() == 1 { "" } else { "s" };
    let why = format!(
        "`*` does not match dots: its host has {} part{plural}, the image's registry has {}",
        labels.len(),
        target.len()
    );
    Some((format!("{scheme}{fixed}{port}{path}"), why))
}

fn slashes(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    // The kubelet itself removes /v1 and /v2 before a slash.
    if wanted.path.starts_with(path) || path.starts_with("/v1/") || path.starts_with("/v2/") {
        return None;
    }
    if path.contains("//") {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        return Some((
            format!("{scheme}{host}/{}", parts.join("/")),
            "its path has a double slash".to_owned(),
        ));
    }
    let fixed = path.strip_suffix('/')?;
    Some((
        format!("{scheme}{host}{fixed}"),
        "with the slash at its end it only matches what is below".to_owned(),
    ))
}
