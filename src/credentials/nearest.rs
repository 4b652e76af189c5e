//! Which key came closest to a repository, and why it does not match: people copy keys from `docker login`, Helm charts and browser
//! addresses, and the kubelet passes over them in silence (the "no" rows of pull-semantics 4.4).
//!
//! Each repair below undoes one known slip. Where a few of them together turn a key into one that serves the repository, those
//! slips are the reason, and the repaired key is the suggestion. Where none do, a resembling host or path may still be worth naming.

use super::endpoint::Endpoint;
use super::keyring::{Entry, NearMiss, is_hub, serves};
use std::collections::HashSet;

/// Keys looked at; a Secret of a megabyte may hold tens of thousands.
const MAX_KEYS: usize = 512;
/// Hosts longer than a DNS name are not compared by edit distance.
const MAX_HOST: usize = 253;

/// The repository, in the forms that the repairs compare with.
struct Wanted<'a> {
    name: &'a str,
    /// Host and port as written.
    registry: &'a str,
    /// The path with its leading slash.
    path: String,
    endpoint: Endpoint,
}

/// A repaired key, and which slip was repaired, as a clause about the key.
type Repair = fn(&str, &Wanted<'_>) -> Option<(String, String)>;

/// In the order applied: first what hides the host, then the host, then the path.
const REPAIRS: &[Repair] = &[
    blanks,
    scheme,
    query,
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

/// How close a key came; the smaller, the closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// So many repairs make it match.
    Repaired(usize),
    /// The same host; so many bytes of the path are not shared.
    OtherPath(usize),
    /// A host that differs by so many letters.
    Misspelt(usize),
    /// The host is in it, but it cannot be read as a URL.
    Unreadable,
    /// A host above or below.
    Parent,
    /// A host that differs in one label.
    Sibling,
}

/// A verdict on one key.
struct Miss {
    closeness: Closeness,
    why: String,
    suggestion: Option<String>,
}

/// The closest of `entries`; the first added where several are as close.
pub(super) fn nearest(entries: &[Entry], name: &str) -> Option<NearMiss> {
    let registry = name.split('/').next().unwrap_or_default();
    let wanted = Wanted {
        name,
        registry,
        path: name.get(registry.len()..).unwrap_or_default().to_owned(),
        endpoint: Endpoint::parse(name.as_bytes())?,
    };
    let mut seen = HashSet::new();
    entries
        .iter()
        .filter(|entry| seen.insert(entry.key.as_str()))
        .take(MAX_KEYS)
        .filter_map(|entry| Some((diagnose(&entry.key, &wanted)?, entry)))
        .min_by_key(|(miss, _)| miss.closeness)
        .map(|(miss, entry)| NearMiss {
            key: entry.key.clone(),
            source: entry.source.clone(),
            why: miss.why,
            suggestion: miss.suggestion,
        })
}

fn diagnose(key: &str, wanted: &Wanted<'_>) -> Option<Miss> {
    repaired(key, wanted).or_else(|| resembling(key, wanted))
}

/// Applies the repairs that apply, then leaves out those that were not needed.
fn repaired(key: &str, wanted: &Wanted<'_>) -> Option<Miss> {
    let run = |chosen: &[Repair]| {
        let (text, why) = apply(chosen, key, wanted);
        serves(&text, wanted.name).then_some((text, why))
    };
    let (mut text, mut why) = run(REPAIRS)?;
    let mut chosen = REPAIRS.to_vec();
    // From the end: where two repairs would each do, the earlier one names the slip better.
    for place in (0..chosen.len()).rev() {
        let mut fewer = chosen.clone();
        fewer.remove(place);
        if let Some(better) = run(&fewer) {
            (text, why) = better;
            chosen = fewer;
        }
    }
    // Without a slip to name the key serves the repository, and nobody should have asked.
    (!why.is_empty()).then(|| Miss {
        closeness: Closeness::Repaired(why.len()),
        why: why.join(", and "),
        suggestion: Some(text),
    })
}

/// The key after those of the repairs that apply, and the slips they mended.
fn apply(repairs: &[Repair], key: &str, wanted: &Wanted<'_>) -> (String, Vec<String>) {
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

/// A key that no repair makes match, but whose host or path is close.
fn resembling(key: &str, wanted: &Wanted<'_>) -> Option<Miss> {
    let miss = |closeness, why, suggestion| {
        Some(Miss {
            closeness,
            why,
            suggestion,
        })
    };
    let (bare, mut slips) = apply(&[blanks, scheme, query, port, case], key, wanted);
    let (_, authority, _) = split(&bare);
    let registry = wanted.registry.to_ascii_lowercase();
    let (_, rest) = split_scheme(&bare);
    let Some(endpoint) = Endpoint::parse(rest.as_bytes()) else {
        if registry.is_empty() || !authority.to_ascii_lowercase().contains(&registry) {
            return None;
        }
        let why = "the kubelet cannot read it as a URL and skips it".to_owned();
        return miss(Closeness::Unreadable, why, Some(wanted.registry.to_owned()));
    };
    let host = endpoint.host();
    let target = wanted.endpoint.host();
    let path = endpoint.path_text();
    if host == target || (is_hub(wanted.name) && host == "index.docker.io") {
        let shared = path.bytes().zip(wanted.path.bytes()).take_while(|(a, b)| a == b).count();
        slips.push(format!(
            "it is for repositories below {path} only, the image's is {}",
            wanted.path
        ));
        return miss(Closeness::OtherPath(path.len() - shared), slips.join(", and "), None);
    }
    if host.is_empty() || target.is_empty() || host.len() > MAX_HOST || target.len() > MAX_HOST {
        return None;
    }
    let plain = format!("it is for {host}, the image's registry is {target}");
    let distance = strsim::damerau_levenshtein(&host, &target);
    if distance <= 2 && target.len() > 5 && host.contains('.') {
        return miss(Closeness::Misspelt(distance), plain, Some(wanted.registry.to_owned()));
    }
    let below = |inner: &str, outer: &str| outer.contains('.') && inner.strip_suffix(outer).is_some_and(|rest| rest.ends_with('.'));
    if below(&target, &host) {
        let why = format!("it is for {host}, and a key does not cover hosts below its own");
        return miss(Closeness::Parent, why, Some(wanted.registry.to_owned()));
    }
    if below(&host, &target) {
        return miss(Closeness::Parent, plain, None);
    }
    let differing = endpoint
        .labels
        .iter()
        .zip(&wanted.endpoint.labels)
        .filter(|(a, b)| a != b)
        .count();
    if endpoint.labels.len() == wanted.endpoint.labels.len() && endpoint.labels.len() >= 3 && differing == 1 {
        return miss(Closeness::Sibling, plain, None);
    }
    None
}

/// Drops what [`super::endpoint::masked`] has left of userinfo, so that no suggestion holds it.
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
fn split_scheme(key: &str) -> (&str, &str) {
    key.split_at_checked(key.find("://").map_or(0, |at| at + 3))
        .unwrap_or(("", key))
}

/// Scheme, host with port, path.
fn split(key: &str) -> (&str, &str, &str) {
    let (scheme, rest) = split_scheme(key);
    let (host, path) = rest
        .split_at_checked(rest.find('/').unwrap_or(rest.len()))
        .unwrap_or((rest, ""));
    (scheme, host, path)
}

fn blanks(key: &str, _: &Wanted<'_>) -> Option<(String, String)> {
    let trimmed = key.trim();
    let place = match (key.starts_with(char::is_whitespace), key.ends_with(char::is_whitespace)) {
        (false, false) => return None,
        (true, false) => "before it",
        (false, true) => "behind it",
        (true, true) => "around it",
    };
    Some((trimmed.to_owned(), format!("there is white space {place}")))
}

fn scheme(key: &str, _: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, rest) = split_scheme(key);
    match scheme {
        "" | "http://" | "https://" => None,
        other => Some((
            rest.to_owned(),
            format!("only http:// and https:// are dropped from the front, not {other}"),
        )),
    }
}

fn query(key: &str, _: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    if host.contains('?') {
        return Some((
            format!("{scheme}{}{path}", host.replace('?', "*")),
            "`?` begins a URL query there and is no wildcard".to_owned(),
        ));
    }
    let at = path.find(['?', '#'])?;
    let why = "`?` and `#` begin the query and the fragment of a URL there";
    Some((
        format!("{scheme}{host}{}", path.get(..at).unwrap_or_default()),
        why.to_owned(),
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
    // `team/*` is meant to be `team`, `team/app-*` may stay `team/app-`: paths are prefixes.
    let before = before.strip_suffix('/').unwrap_or(before);
    Some((
        format!("{scheme}{host}{before}"),
        "`*` is a wildcard in the host only; a path covers all that begins with it".to_owned(),
    ))
}

fn api_path(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    let why = match path {
        "/v1" | "/v2" => format!("{path} is only dropped with a slash behind it"),
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

fn port(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
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
        _ => "its port is no number, and ports know no wildcard".to_owned(),
    };
    let colon = if target.is_empty() { "" } else { ":" };
    Some((format!("{scheme}{name}{colon}{target}{path}"), why))
}

fn case(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    // Over a wildcard only lower-casing makes sense.
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
        (false, _) => "upper and lower case count in the host",
        (true, false) => "upper and lower case count in the path",
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
        "index.docker.io" => "index.docker.io stands for Docker Hub only without a path".to_owned(),
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
        "`*` never crosses a dot: its host has {} part{plural}, the image's registry has {}",
        labels.len(),
        target.len()
    );
    Some((format!("{scheme}{fixed}{port}{path}"), why))
}

fn slashes(key: &str, wanted: &Wanted<'_>) -> Option<(String, String)> {
    let (scheme, host, path) = split(key);
    // The kubelet itself drops /v1 and /v2 before a slash.
    if wanted.path.starts_with(path) || path.starts_with("/v1/") || path.starts_with("/v2/") {
        return None;
    }
    if path.contains("//") {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        return Some((
            format!("{scheme}{host}/{}", parts.join("/")),
            "its path has a doubled slash".to_owned(),
        ));
    }
    let fixed = path.strip_suffix('/')?;
    Some((
        format!("{scheme}{host}{fixed}"),
        "the slash at its end covers only what is below".to_owned(),
    ))
}
