//! Finds the key that comes closest to a repository, and why it does not match: people copy keys from `docker login`, Helm charts
//! and browser addresses, and the kubelet silently ignores those (the "no" rows of pull-semantics 4.4).
//!
//! Each repair below fixes one known mistake. If a few of them together make a key match the repository, they are the reason, and
//! the repaired key is the suggestion. Otherwise, a similar host or path may still be worth mentioning.

mod repairs;

use self::repairs::{REPAIRS, Repair, apply, blanks, case, port, query, scheme, split, split_scheme};
use super::endpoint::Endpoint;
use super::keyring::{Entry, Keyring, NearMiss, is_hub, serves};
use std::collections::HashSet;

/// How many keys are checked; a Secret of a megabyte may contain tens of thousands.
const MAX_KEYS: usize = 512;
/// Hosts longer than a DNS name are not compared by edit distance.
const MAX_HOST: usize = 253;

/// The repository, in the forms that repairs need.
struct Wanted<'a> {
    name: &'a str,
    /// Host and port as written.
    registry: &'a str,
    /// The path with its leading slash.
    path: String,
    endpoint: Endpoint,
}

/// How close a key is; smaller is closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// It matches after this many repairs.
    Repaired(usize),
    /// The same host; this many bytes of the path differ.
    OtherPath(usize),
    /// A host that differs by this many letters.
    Misspelt(usize),
    /// It contains the host, but cannot be parsed as a URL.
    Unreadable,
    /// A parent or a subdomain.
    Parent,
    /// A host that differs in one label.
    Sibling,
}

/// The result for one key.
struct Miss {
    closeness: Closeness,
    why: String,
    suggestion: Option<String>,
}

impl Keyring {
    /// The key that comes closest, if [`Self::lookup`] finds none. `None` if no key resembles the repository.
    pub fn nearest(&self, name: &str) -> Option<NearMiss> {
        nearest(self.entries(), name)
    }
}

/// The closest of `entries`; among equals, the one added first.
fn nearest(entries: &[Entry], name: &str) -> Option<NearMiss> {
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

/// Applies all repairs that fit, then drops those that were not needed.
fn repaired(key: &str, wanted: &Wanted<'_>) -> Option<Miss> {
    let run = |chosen: &[Repair]| {
        let (text, why) = apply(chosen, key, wanted);
        serves(&text, wanted.name).then_some((text, why))
    };
    let (mut text, mut why) = run(REPAIRS)?;
    let mut chosen = REPAIRS.to_vec();
    // From the end: if either of two repairs would do, the earlier one names the mistake better.
    for place in (0..chosen.len()).rev() {
        let mut fewer = chosen.clone();
        fewer.remove(place);
        if let Some(better) = run(&fewer) {
            (text, why) = better;
            chosen = fewer;
        }
    }
    // Without a mistake, the key matches the repository, and this is not called.
    (!why.is_empty()).then(|| Miss {
        closeness: Closeness::Repaired(why.len()),
        why: why.join(", and "),
        suggestion: Some(text),
    })
}

/// A key that no repair fixes, but with a similar host or path.
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
    let unreadable = || {
        let why = "the kubelet cannot parse it as a URL and skips it".to_owned();
        miss(Closeness::Unreadable, why, Some(wanted.registry.to_owned()))
    };
    let Some(endpoint) = Endpoint::parse(rest.as_bytes()) else {
        if registry.is_empty() || !authority.to_ascii_lowercase().contains(&registry) {
            return None;
        }
        return unreadable();
    };
    let host = endpoint.host();
    let target = wanted.endpoint.host();
    let path = endpoint.path_text();
    if host == target && path.is_empty() && slips.is_empty() {
        // It should match but does not: the userinfo, which is masked here, must be at fault.
        return unreadable();
    }
    if host == target || (is_hub(wanted.name) && host == "index.docker.io") {
        let shared = path.bytes().zip(wanted.path.bytes()).take_while(|(a, b)| a == b).count();
        slips.push(format!(
            "it is only for repositories below {path}, the image's is {}",
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
        let why = format!("it is for {host}, and a key does not match subdomains");
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
