//! The kubelet's keyring: normalisation of keys, matching and order (pull-semantics 4.4).

use super::Credential;
use super::endpoint::{self, Endpoint, GoVersion};
use super::glob::Label;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

/// The source of a credential; shown to users, unlike its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialSource {
    /// A Secret of the pod's namespace, by name.
    Secret(String),
    /// The docker config of the node (or of the user of `check`).
    DockerConfig,
    /// A credential provider plugin, by name.
    Provider(String),
    /// The `registries.yaml` of nodes with k3s or RKE2.
    K3s,
}

/// `Secret regcred`, `the docker config`.
impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::DockerConfig => f.write_str("the docker config"),
            Self::Provider(name) => write!(f, "credential provider {name}"),
            Self::K3s => f.write_str("the nodes' registries.yaml"),
        }
    }
}

/// A credential under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key as written under `auths`; userinfo is masked, so it may be shown.
    pub key: String,
    /// Where it came from.
    pub source: CredentialSource,
    /// The credential.
    pub credential: Credential,
}

/// A key that almost matches a repository, and why it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The key as written; userinfo is masked.
    pub key: String,
    /// Its source.
    pub source: CredentialSource,
    /// Why it does not match, as a clause: `its port is 5000, the image's registry has none`.
    pub why: String,
    /// The key that would match, if it is clear what was meant.
    pub suggestion: Option<String>,
}

/// All credentials of a pod.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// In the order added.
    entries: Vec<Entry>,
    /// By normalised key, in reverse order: the order in which the kubelet tries them.
    index: BTreeMap<Reverse<Vec<u8>>, Slot>,
    /// Keys that only a kubelet built with an older Go accepts, and their places in `entries`.
    only_older_go: Vec<(Pattern, usize)>,
}

/// One normalised key.
#[derive(Debug, Clone)]
struct Slot {
    /// `None` for a key that cannot be parsed as a host again: it matches nothing.
    pattern: Option<Pattern>,
    /// Indexes into `entries`, in the order added.
    places: Vec<usize>,
}

/// The key that the kubelet uses for Docker Hub if nothing else matches.
pub(super) const HUB_KEY: &[u8] = b"index.docker.io";

impl Keyring {
    /// Adds the entries of one source, in document order. A key that the kubelet cannot parse as a URL is only kept for
    /// [`Self::nearest`].
    pub fn add(&mut self, source: &CredentialSource, entries: &[(String, Credential)]) {
        for (key, credential) in entries {
            let place = self.entries.len();
            if let Some(normal) = normalize(key, GoVersion::Current) {
                self.index
                    .entry(Reverse(normal))
                    .or_insert_with_key(|Reverse(normal)| Slot {
                        pattern: Pattern::parse(normal, GoVersion::Current),
                        places: Vec::new(),
                    })
                    .places
                    .push(place);
            } else if let Some(normal) = normalize(key, GoVersion::Older) {
                let pattern = Pattern::parse(&normal, GoVersion::Older);
                self.only_older_go.extend(pattern.map(|pattern| (pattern, place)));
            }
            self.entries.push(Entry {
                key: endpoint::masked(key),
                source: source.clone(),
                credential: credential.clone(),
            });
        }
    }

    /// The credentials for a repository (normalised name, `docker.io/library/nginx`), in the order the kubelet tries them: keys in
    /// reverse byte order, the entries of one key in the order added. With duplicates.
    pub fn lookup(&self, name: &str) -> Vec<&Entry> {
        let target = Endpoint::parse(name.as_bytes());
        let mut found: Vec<usize> = self
            .index
            .values()
            .filter(|slot| matches!((&slot.pattern, &target), (Some(pattern), Some(target)) if pattern.matches(target)))
            .flat_map(|slot| slot.places.iter().copied())
            .collect();
        if found.is_empty() && is_hub(name) {
            found.extend(
                self.index
                    .get(&Reverse(HUB_KEY.to_vec()))
                    .iter()
                    .flat_map(|slot| &slot.places),
            );
        }
        found.into_iter().filter_map(|place| self.entries.get(place)).collect()
    }

    /// An entry that a kubelet built with an older Go uses for a repository, while today's skips its key (`reg[67].example.com`).
    pub fn matched_with_older_go(&self, name: &str) -> Option<&Entry> {
        let target = Endpoint::parse(name.as_bytes()).filter(|_| !self.only_older_go.is_empty())?;
        let found = self.only_older_go.iter().find(|(pattern, _)| pattern.matches(&target));
        found.and_then(|(_, place)| self.entries.get(*place))
    }

    /// Every entry, in the order added.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The kubelet's normalised form of a key: without `http://` or `https://`, userinfo, `/v1` or `/v2` before another slash, or a
/// lone slash. `None` if it is not a URL: the kubelet then skips the entry.
fn normalize(key: &str, go: GoVersion) -> Option<Vec<u8>> {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let location = endpoint::parse(rest.as_bytes(), go)?;
    let mut path = location.path.as_slice();
    if path.starts_with(b"/v1/") || path.starts_with(b"/v2/") {
        path = path.get(3..).unwrap_or_default();
    }
    let mut normal = location.host;
    if path != b"/" {
        normal.extend_from_slice(path);
    }
    Some(normal)
}

/// Whether the kubelet treats a repository as one of Docker Hub: an unqualified name, or one on `docker.io` or `index.docker.io`.
pub(super) fn is_hub(name: &str) -> bool {
    match name.split_once('/') {
        Some(("docker.io" | "index.docker.io", _)) => true,
        Some((first, _)) => !first.is_empty() && !first.contains(['.', ':']),
        None => !name.is_empty(),
    }
}

/// Whether a key, as written, would match a repository.
pub(super) fn serves(key: &str, name: &str) -> bool {
    let (Some(normal), Some(target)) = (normalize(key, GoVersion::Current), Endpoint::parse(name.as_bytes())) else {
        return false;
    };
    Pattern::parse(&normal, GoVersion::Current).is_some_and(|pattern| pattern.matches(&target))
        || (normal == HUB_KEY && is_hub(name))
}

/// A key or a `matchImages` pattern.
#[derive(Debug, Clone)]
struct Pattern {
    /// `None` for a malformed label, which matches nothing.
    labels: Vec<Option<Label>>,
    port: String,
    path: Vec<u8>,
}

impl Pattern {
    fn parse(text: &[u8], go: GoVersion) -> Option<Self> {
        let Endpoint { labels, port, path } = Endpoint::parse_by(text, go)?;
        Some(Self {
            labels: labels.iter().map(|label| Label::parse(label, go)).collect(),
            port,
            path,
        })
    }

    /// Equal ports, the same number of labels, every label matched, the path a prefix.
    fn matches(&self, target: &Endpoint) -> bool {
        self.port == target.port
            && self.labels.len() == target.labels.len()
            && target.path.starts_with(&self.path)
            && self
                .labels
                .iter()
                .zip(&target.labels)
                .all(|(label, text)| label.as_ref().is_some_and(|label| label.matches(text)))
    }
}

/// The patterns of `nodeCredentials`, in the format of the kubelet's `matchImages` (`*.dkr.ecr.*.amazonaws.com`, with an optional port and
/// path prefix; ports must be equal, and no port is not 443). `*` alone matches everything, which is our own extension. Parsed once,
/// because every image of every review is compared with all of them.
#[derive(Debug, Clone, Default)]
pub struct RegistryPatterns {
    every: bool,
    patterns: Vec<Pattern>,
    /// Those that only a kubelet built with an older Go accepts.
    only_older_go: Vec<Pattern>,
}

impl RegistryPatterns {
    /// Whether one of them matches a repository (normalised name, `docker.io/library/nginx`).
    pub fn matches(&self, name: &str) -> bool {
        if self.every || self.patterns.is_empty() {
            return self.every;
        }
        any_matches(&self.patterns, name)
    }

    /// Whether a pattern matches that only a kubelet built with an older Go can parse (`reg[67].example.com`).
    pub fn matches_only_with_older_go(&self, name: &str) -> bool {
        !self.only_older_go.is_empty() && any_matches(&self.only_older_go, name)
    }
}

fn any_matches(patterns: &[Pattern], name: &str) -> bool {
    let target = Endpoint::parse(name.as_bytes());
    target.is_some_and(|target| patterns.iter().any(|pattern| pattern.matches(&target)))
}

impl<T: AsRef<str>> FromIterator<T> for RegistryPatterns {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut all = Self::default();
        for text in texts {
            match text.as_ref() {
                "*" => all.every = true,
                // What cannot be read matches nothing.
                text => match Pattern::parse(text.as_bytes(), GoVersion::Current) {
                    Some(pattern) => all.patterns.push(pattern),
                    None => all.only_older_go.extend(Pattern::parse(text.as_bytes(), GoVersion::Older)),
                },
            }
        }
        all
    }
}

/// Whether a `matchImages` pattern matches a repository, by the kubelet's rules. A kubelet does not start with a pattern that it cannot
/// parse (`validateCredentialProviderConfig`), so a pattern that only an older Go can parse means that the kubelets are built with one.
pub(super) fn image_matches(pattern: &str, name: &str) -> bool {
    let text = pattern.as_bytes();
    let pattern = Pattern::parse(text, GoVersion::Current).or_else(|| Pattern::parse(text, GoVersion::Older));
    matches!((pattern, Endpoint::parse(name.as_bytes())), (Some(pattern), Some(target)) if pattern.matches(&target))
}

/// Whether some kubelet can parse a `matchImages` pattern.
pub(super) fn is_pattern(pattern: &str) -> bool {
    let parses = |go| endpoint::parse(pattern.as_bytes(), go).is_some();
    !pattern.is_empty() && (parses(GoVersion::Current) || parses(GoVersion::Older))
}
