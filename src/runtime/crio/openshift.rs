//! How OpenShift's machine config operator turns a cluster's objects into the nodes' `registries.conf` and `policy.json`
//! (`EditRegistriesConfig` in `pkg/registries` of openshift/runtime-utils; `helpers.go` of the operator).
//!
//! Not followed: that the operator never blocks the registry of the release image, and the signatures that `ClusterImagePolicy` asks for.

use crate::credentials::Hidden;
use crate::runtime::crio::registries_conf::{AskedFor, Line, Mirror, RegistriesConf, Registry};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The search registries in the operator's own template.
const SEARCH: [&str; 2] = ["registry.access.redhat.com", "docker.io"];

/// The objects that the operator reads, in any order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objects {
    digests: Vec<MirrorSet>,
    tags: Vec<MirrorSet>,
    insecure: Vec<String>,
    blocked: Vec<String>,
    allowed: Vec<String>,
    search: Vec<String>,
    /// The name of the `ConfigMap` with certificate authorities.
    trusted_ca: Option<String>,
    /// The `ConfigMap`s of the namespace `openshift-config`.
    config_maps: BTreeMap<String, BTreeMap<String, String>>,
    pull_secret: GlobalPullSecret,
}

/// The cluster's global pull secret. Nodes have it as `/var/lib/kubelet/config.json`, for the kubelet and for CRI-O.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GlobalPullSecret {
    /// The cluster has none, or the input does not include it.
    #[default]
    None,
    /// We may not read it.
    Hidden,
    /// A docker config.
    Known(Hidden),
}

/// The namespace of the pull secret and of the objects that `images.config.openshift.io` names.
pub const CONFIG_NAMESPACE: &str = "openshift-config";
/// The name of the pull secret.
pub const PULL_SECRET: &str = "pull-secret";

/// The mirrors of one source, as one object lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MirrorSet {
    source: String,
    mirrors: Vec<String>,
    never_source: bool,
}

/// The configuration that the operator gives to nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorConfig {
    /// `registries.conf` and its drop-in.
    pub conf: RegistriesConf,
    /// `policy.json`; `None` if the operator leaves its default, which admits everything.
    pub policy: Option<Value>,
    /// The files of `certs.d`: authorities in PEM by `HOST[:PORT]`.
    pub certificates: BTreeMap<String, String>,
    /// The nodes' own credentials.
    pub pull_secret: GlobalPullSecret,
}

impl Objects {
    /// The name of the `ConfigMap` in [`CONFIG_NAMESPACE`] that holds the registries' authorities.
    pub fn trusted_ca(&self) -> Option<&str> {
        self.trusted_ca.as_deref()
    }

    /// Notes that the global pull secret may not be read.
    pub fn hide_pull_secret(&mut self) {
        self.pull_secret = GlobalPullSecret::Hidden;
    }

    /// Takes over the objects that `other` got by [`Self::add_core`].
    pub fn take_core(&mut self, other: Self) {
        self.config_maps = other.config_maps;
        self.pull_secret = other.pull_secret;
    }

    /// Adds an object of the core group: the pull secret, or a `ConfigMap` of [`CONFIG_NAMESPACE`].
    pub fn add_core(&mut self, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        if text("/metadata/namespace") != Some(CONFIG_NAMESPACE) {
            return;
        }
        match (text("/kind"), text("/metadata/name")) {
            (Some("Secret"), Some(PULL_SECRET)) => {
                let data = text("/data/.dockerconfigjson").unwrap_or_default();
                if let Ok(json) = base64::engine::general_purpose::STANDARD.decode(data) {
                    self.pull_secret = GlobalPullSecret::Known(Hidden::new(json));
                }
            }
            (Some("ConfigMap"), Some(name)) => {
                let data = object.get("data").and_then(Value::as_object).into_iter().flatten();
                let data = data.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
                self.config_maps.insert(name.to_owned(), data.collect());
            }
            _ => {}
        }
    }

    /// Adds an object, if it is of a kind that the operator reads.
    pub fn add(&mut self, object: &Value) -> bool {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let (group, _) = text("apiVersion").split_once('/').unwrap_or_default();
        let spec = object.get("spec").unwrap_or(&Value::Null);
        match (group, text("kind")) {
            ("config.openshift.io", "ImageDigestMirrorSet") => self.digests.extend(sets(spec, "imageDigestMirrors")),
            ("operator.openshift.io", "ImageContentSourcePolicy") => self.digests.extend(sets(spec, "repositoryDigestMirrors")),
            ("config.openshift.io", "ImageTagMirrorSet") => self.tags.extend(sets(spec, "imageTagMirrors")),
            ("config.openshift.io", "Image") if object.pointer("/metadata/name").and_then(Value::as_str) == Some("cluster") => {
                let sources = spec.get("registrySources").unwrap_or(&Value::Null);
                self.insecure = texts(sources, "insecureRegistries");
                self.blocked = texts(sources, "blockedRegistries");
                self.allowed = texts(sources, "allowedRegistries");
                self.search = texts(sources, "containerRuntimeSearchRegistries");
                let trusted = spec.pointer("/additionalTrustedCA/name").and_then(Value::as_str);
                self.trusted_ca = trusted.filter(|name| !name.is_empty()).map(str::to_owned);
            }
            _ => return false,
        }
        true
    }

    /// The configuration that the operator writes. The error says why it writes none, as a clause: nodes then keep what they had.
    pub fn operator_config(&self) -> Result<OperatorConfig, String> {
        self.check()?;
        let mut search = self.search.clone();
        if search.is_empty() {
            search = SEARCH.map(str::to_owned).to_vec();
        }
        Ok(OperatorConfig {
            conf: RegistriesConf {
                registries: self.registries(),
                search,
                // OpenShift's crio.conf disables the short-name mode since 4.22 and in back-ports; before CRI-O 1.34 all search registries
                // are tried anyway.
                tries_all: true,
                ..RegistriesConf::default()
            },
            policy: self.policy(),
            certificates: self.certificates(),
            pull_secret: self.pull_secret.clone(),
        })
    }

    /// The authorities of `additionalTrustedCA`, where a colon is written `..`.
    fn certificates(&self) -> BTreeMap<String, String> {
        let map = self.trusted_ca.as_ref().and_then(|name| self.config_maps.get(name));
        let entries = map.into_iter().flatten();
        entries.map(|(host, pem)| (host.replace("..", ":"), pem.clone())).collect()
    }

    /// `validateRegistriesConfScopes`, and a check that not both lists are given.
    fn check(&self) -> Result<(), String> {
        let lists = [
            ("insecureRegistries", &self.insecure),
            ("blockedRegistries", &self.blocked),
            ("allowedRegistries", &self.allowed),
        ];
        for (list, scopes) in lists {
            if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
                return Err(format!("{scope:?} in {list} is not a registry, a repository or *.domain"));
            }
        }
        if !self.allowed.is_empty() && !self.blocked.is_empty() {
            return Err("only one of allowedRegistries and blockedRegistries may be given".to_owned());
        }
        for set in self.digests.iter().chain(&self.tags) {
            let names = std::iter::once(&set.source).chain(&set.mirrors);
            if let Some(name) = names.into_iter().find(|name| name.is_empty() || name.contains('*')) {
                return Err(format!("{name:?} cannot be the source of mirrors, nor a mirror"));
            }
        }
        Ok(())
    }

    fn registries(&self) -> Vec<Registry> {
        let mut all: BTreeMap<String, Registry> = BTreeMap::new();
        let mut sources = Vec::new();
        for (sets, asked_for) in [(&self.digests, AskedFor::Digests), (&self.tags, AskedFor::Tags)] {
            for (source, never_source, mirrors) in merged(sets) {
                let entry = entry(&mut all, &source);
                entry.blocked |= never_source;
                entry.mirrors.extend(mirrors.into_iter().map(|location| Mirror {
                    location,
                    insecure: false,
                    asked_for,
                    at: Line::default(),
                }));
                sources.push(source);
            }
        }
        // All entries exist before flags are handed down: the most specific entry applies.
        for scope in self.blocked.iter().chain(&self.insecure) {
            entry(&mut all, scope);
        }
        for registry in all.values_mut() {
            let within = |scopes: &[String], name: &str| scopes.iter().any(|scope| is_within(name, scope));
            registry.insecure |= within(&self.insecure, &registry.prefix);
            registry.blocked |= within(&self.blocked, &registry.prefix);
            for mirror in &mut registry.mirrors {
                mirror.insecure |= within(&self.insecure, &mirror.location);
            }
        }
        // An entry below a mirrored one inherits its mirrors, unless it has its own.
        for source in &sources {
            let mirrors = all.get(source).map(|registry| registry.mirrors.clone()).unwrap_or_default();
            let below = all
                .values_mut()
                .filter(|below| below.prefix != *source && below.mirrors.is_empty());
            for below in below.filter(|below| is_within(&below.prefix, source)) {
                let rest = below.prefix.get(source.len()..).unwrap_or_default();
                below.mirrors = mirrors
                    .iter()
                    .map(|mirror| Mirror {
                        location: format!("{}{rest}", mirror.location),
                        ..mirror.clone()
                    })
                    .collect();
            }
        }
        all.into_values().collect()
    }

    /// `updatePolicyJSON`.
    fn policy(&self) -> Option<Value> {
        let (default, scopes, other) = match (self.allowed.as_slice(), self.blocked.as_slice()) {
            ([], []) => return None,
            ([], blocked) => ("insecureAcceptAnything", blocked, "reject"),
            (allowed, _) => ("reject", allowed, "insecureAcceptAnything"),
        };
        let scopes: BTreeMap<&String, Value> = scopes.iter().map(|scope| (scope, json!([{"type": other}]))).collect();
        Some(json!({
            "default": [{"type": default}],
            "transports": {
                "atomic": scopes,
                "docker": scopes,
                "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]},
            },
        }))
    }
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn sets(spec: &Value, key: &str) -> Vec<MirrorSet> {
    let list = spec.get(key).and_then(Value::as_array).into_iter().flatten();
    let text = |set: &Value, key: &str| set.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    list.map(|set| MirrorSet {
        source: text(set, "source"),
        mirrors: texts(set, "mirrors"),
        never_source: text(set, "mirrorSourcePolicy") == "NeverContactSource",
    })
    .collect()
}

/// The entry of a scope; created if it is missing.
fn entry<'a>(all: &'a mut BTreeMap<String, Registry>, scope: &str) -> &'a mut Registry {
    all.entry(scope.to_owned()).or_insert_with(|| Registry {
        prefix: scope.to_owned(),
        location: if scope.starts_with("*.") {
            String::new()
        } else {
            scope.to_owned()
        },
        ..Registry::default()
    })
}

/// The mirrors by source, in an order that suits every set as far as possible, and whether the source is never asked. Sets whose only
/// mirror is the source itself do not count.
fn merged(sets: &[MirrorSet]) -> Vec<(String, bool, Vec<String>)> {
    let mut by_source: BTreeMap<&str, Vec<&MirrorSet>> = BTreeMap::new();
    for set in sets
        .iter()
        .filter(|set| set.mirrors.iter().any(|mirror| *mirror != set.source))
    {
        by_source.entry(&set.source).or_default().push(set);
    }
    let of = |(source, sets): (&str, Vec<&MirrorSet>)| {
        let mut edges = BTreeSet::new();
        for set in &sets {
            edges.extend(
                set.mirrors
                    .iter()
                    .zip(set.mirrors.iter().skip(1))
                    .map(|(a, b)| (a.as_str(), b.as_str())),
            );
            if let Some(last) = set
                .mirrors
                .last()
                .filter(|_| !set.mirrors.iter().any(|mirror| mirror == source))
            {
                edges.insert((last, source));
            }
        }
        let mut mirrors = sorted(&edges);
        // The source is asked last anyway.
        mirrors.pop_if(|last| last == source);
        let never = sets.iter().any(|set| set.never_source);
        (source.to_owned(), never, mirrors)
    };
    by_source.into_iter().map(of).collect()
}

/// `topoGraph.Sorted`: by precedence, equal entries by name; a circle is broken at its first name.
fn sorted(edges: &BTreeSet<(&str, &str)>) -> Vec<String> {
    let names: BTreeSet<&str> = edges.iter().flat_map(|(from, to)| [*from, *to]).collect();
    let mut before: BTreeMap<&str, BTreeSet<&str>> = names.iter().map(|name| (*name, BTreeSet::new())).collect();
    for (from, to) in edges {
        before.entry(to).or_default().insert(from);
    }
    let free = |before: &BTreeMap<&str, BTreeSet<&str>>, name: &str| before.get(name).is_some_and(BTreeSet::is_empty);
    let mut ready: VecDeque<&str> = names.iter().copied().filter(|name| free(&before, name)).collect();
    let mut left = names.iter().copied();
    let mut out: Vec<&str> = Vec::with_capacity(names.len());
    while let Some(name) = ready.pop_front().or_else(|| left.find(|name| !out.contains(name))) {
        out.push(name);
        for (_, to) in edges.iter().filter(|(from, _)| *from == name) {
            let before_it = before.entry(to).or_default();
            if before_it.remove(name) && before_it.is_empty() && !out.contains(to) {
                ready.push_back(to);
            }
        }
    }
    out.into_iter().map(str::to_owned).collect()
}

/// `IsValidRegistriesConfScope`.
fn is_scope(scope: &str) -> bool {
    match scope.strip_prefix("*.") {
        _ if scope.is_empty() => false,
        Some(domain) => !domain.contains(['/', '@', ':', '*']),
        None => !scope.contains('*'),
    }
}

/// `ScopeIsNestedInsideScope`.
fn is_within(name: &str, scope: &str) -> bool {
    if let Some(domain) = scope.strip_prefix('*').filter(|domain| domain.starts_with('.')) {
        let host = name
            .split(if name.contains(':') { ':' } else { '/' })
            .next()
            .unwrap_or_default();
        return name == scope || (host.ends_with(domain) && !host.contains('/'));
    }
    name.strip_prefix(scope)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
#[path = "openshift_tests.rs"]
mod tests;
