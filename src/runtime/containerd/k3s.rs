//! `registries.yaml` of k3s and RKE2, and the `hosts.toml` tree that they generate from it (`getHostConfigs` in
//! `pkg/agent/containerd/config.go` of k3s).

use crate::credentials::{Credential, Hidden};
use crate::runtime::containerd::hosts::{contacted, is_loopback, port};
use crate::runtime::containerd::hosts_toml::{DEFAULT_FOLDER, File, Files, Line, Problem, Readers, WrittenUrl};
use crate::runtime::containerd::peers::Shared;
use crate::runtime::containerd::rewrites::Rewrites;
use crate::runtime::request::Scheme;
use crate::yaml::{self, Document};
use base64::Engine as _;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The key of `registries.yaml` that stands for all registries that are not named.
pub(crate) const ALL: &str = "*";

/// The contents of a `registries.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Registries {
    mirrors: BTreeMap<String, Mirror>,
    configs: BTreeMap<String, Config>,
    /// What k3s ignores: unknown keys, invalid endpoints and patterns. In the order of the file.
    pub(crate) notes: Vec<Problem>,
    /// The files that `configs` names, and where.
    pub(crate) files: Vec<Problem>,
}

/// The mirrors of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Mirror {
    /// Its line.
    at: usize,
    /// The endpoints and their lines.
    endpoints: Vec<(String, usize)>,
    rewrites: Vec<(String, String)>,
}

/// The settings for a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Config {
    /// Its line.
    at: usize,
    auth: Option<Credential>,
    tls: Option<Files>,
}

/// Whether a registry itself is asked after its mirrors (`--disable-default-registry-endpoint`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DefaultEndpoint {
    /// It is asked.
    #[default]
    Asked,
    /// It is not asked if it has mirrors.
    Disabled,
}

/// An endpoint, as k3s writes it down.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    /// Its key in `configs`.
    registry: String,
    /// The address, with scheme and path.
    url: String,
    written: WrittenUrl,
}

impl Registries {
    /// Reads `text`. The error is one that keeps k3s from starting.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let parsed = yaml::documents(text);
        if let Some(error) = parsed.errors.first() {
            return Err(Problem::at(error.line, error.column, error.message.clone()));
        }
        let Some(document) = parsed.documents.first() else {
            return Ok(Self::default());
        };
        let mut reading = Reading {
            document,
            notes: Vec::new(),
            files: Vec::new(),
        };
        let registries = reading.registries()?;
        let Reading { mut notes, files, .. } = reading;
        notes.sort_by_key(Problem::place);
        Ok(Self {
            notes,
            files,
            ..registries
        })
    }

    /// The registries whose images nodes share by the embedded registry, if it is enabled. They need no endpoint.
    pub(crate) fn shared(&self, default_endpoint: DefaultEndpoint) -> Shared {
        let has_endpoint = |mirror: &Mirror| mirror.endpoints.iter().any(|(text, _)| Endpoint::parse(text).is_ok());
        let peers_only = self.mirrors.iter().filter(|(host, mirror)| {
            // The embedded registry is an endpoint, so the default endpoint is left out. An entry in `configs` keeps it, unless that is
            // `*`.
            let keeps = host.as_str() != ALL && self.configs.contains_key(host.as_str());
            default_endpoint == DefaultEndpoint::Disabled && !keeps && !has_endpoint(mirror)
        });
        let configs = self.configs.iter().filter(|(_, config)| config.has_settings());
        Shared {
            peers_only: peers_only.map(|(host, _)| host.clone()).collect(),
            configs: configs.map(|(host, _)| host.clone()).collect(),
            ..Shared::new(self.mirrors.keys().cloned())
        }
    }

    /// The credential for a host, if the kubelet gives none (`getHosts` in `image_pull.go` of `k3s-io/containerd`).
    pub(crate) fn credential(&self, host: &str) -> Option<&Credential> {
        let aliases: &[&str] = if host == "registry-1.docker.io" {
            &["docker.io", "index.docker.io"]
        } else {
            &[]
        };
        let mut keys = std::iter::once(host).chain(aliases.iter().copied());
        keys.find_map(|key| self.configs.get(key)?.auth.as_ref())
    }

    /// The line of a registry in `mirrors`, otherwise in `configs`; `_default` is `*`.
    pub(crate) fn line_of(&self, registry: &str) -> usize {
        let key = if registry == DEFAULT_FOLDER { ALL } else { registry };
        let mirror = self.mirrors.get(key).map(|mirror| mirror.at);
        mirror.or_else(|| Some(self.configs.get(key)?.at)).unwrap_or_default()
    }

    /// The key in `configs` that has this credential, and its line.
    pub(crate) fn credential_at(&self, host: &str) -> Option<(&str, usize)> {
        let found = self.credential(host)?;
        let (key, config) = self
            .configs
            .iter()
            .find(|(_, config)| config.auth.as_ref().is_some_and(|auth| std::ptr::eq(auth, found)))?;
        Some((key, config.at))
    }

    /// Whether there is any credential: containerd then pulls by its client.
    pub(crate) fn has_credentials(&self) -> bool {
        self.configs.values().any(|config| config.auth.is_some())
    }

    /// The `hosts.toml` by folder: `docker.io`, `registry.example:5000`, `_default`.
    pub(crate) fn tree(&self, default_endpoint: DefaultEndpoint) -> BTreeMap<String, File> {
        let mut tree: BTreeMap<String, (Option<Line>, Vec<Line>)> = BTreeMap::new();
        // A credential is not written to the file, and still makes one necessary (`endpointHasConfig`).
        let mut special: BTreeSet<String> = BTreeSet::new();
        for (host, config) in &self.configs {
            if let Ok(endpoint) = Endpoint::parse(host) {
                let server = Some(server(host, &endpoint, config));
                tree.insert(folder(host), (server, Vec::new()));
                if config.has_settings() {
                    special.insert(folder(host));
                }
            }
        }
        for (host, mirror) in &self.mirrors {
            let Ok(own) = Endpoint::parse(host) else { continue };
            let known = if host == ALL { None } else { tree.remove(host) };
            let (mut server, _) = known.unwrap_or_else(|| match default_endpoint {
                DefaultEndpoint::Disabled => (None, Vec::new()),
                // For all registries together, nothing is written about the default endpoint.
                DefaultEndpoint::Asked if host == ALL => (Some(line(None, 0, None)), Vec::new()),
                DefaultEndpoint::Asked => {
                    let config = self.config(host);
                    if config.has_settings() {
                        special.insert(folder(host));
                    }
                    (Some(server(host, &own, &config)), Vec::new())
                }
            });
            let mut hosts = Vec::new();
            let mut seen: Vec<String> = Vec::new();
            for (at, (text, on)) in mirror.endpoints.iter().enumerate() {
                let Ok(endpoint) = Endpoint::parse(text) else { continue };
                if seen.contains(&endpoint.url) {
                    continue;
                }
                let config = self.config(&endpoint.registry);
                let has_settings = config.has_settings();
                let new = line(Some(endpoint.written), *on, config.tls);
                // If the last endpoint is the registry itself, it is the default endpoint, which has no rewrites.
                if at + 1 == mirror.endpoints.len() && host != ALL && server.is_some() && endpoint.url == own.url {
                    server = Some(new);
                    if has_settings {
                        special.insert(folder(host));
                    }
                } else {
                    let rewrites = mirror.rewrites.clone();
                    hosts.push(Line { rewrites, ..new });
                }
                seen.push(endpoint.url);
            }
            tree.insert(folder(host), (server, hosts));
        }
        tree.retain(|folder, (server, hosts)| !hosts.is_empty() || server.is_some() && special.contains(folder));
        tree.into_iter()
            .map(|(folder, (server, hosts))| (folder, file(server, hosts)))
            .collect()
    }

    /// The settings of a host, by the name under which it is contacted or by its own.
    fn config(&self, host: &str) -> Config {
        let by = |name: &str| self.configs.get(name).cloned();
        let other = contacted(host);
        let found = if other == host { None } else { by(other) };
        found.or_else(|| by(host)).unwrap_or_default()
    }
}

fn folder(host: &str) -> String {
    if host == ALL { DEFAULT_FOLDER } else { host }.to_owned()
}

/// The line of a server; the one for all hosts has no address.
fn server(host: &str, endpoint: &Endpoint, config: &Config) -> Line {
    let written = (host != ALL).then(|| endpoint.written.clone());
    line(written, config.at, config.tls.clone())
}

fn line(written: Option<WrittenUrl>, at: usize, tls: Option<Files>) -> Line {
    Line {
        written,
        at,
        pull: true,
        resolve: true,
        tls: tls.unwrap_or_default(),
        headers: http::HeaderMap::new(),
        dial_timeout: None,
        rewrites: Vec::new(),
    }
}

fn file(server: Option<Line>, hosts: Vec<Line>) -> File {
    File {
        names_server: server.is_some(),
        hosts,
        server: server.unwrap_or_else(|| line(None, 0, None)),
        by_k3s: true,
        readers: Readers::All,
    }
}

impl Config {
    /// Whether it has any settings (`endpointHasConfig`).
    fn has_settings(&self) -> bool {
        self.auth.is_some() || self.tls.is_some()
    }
}

impl Endpoint {
    /// `normalizeEndpointAddress`: `https`, except for loopback on a port other than 443; the path is `/v2` unless another one is given.
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let registry = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let plain = is_loopback(registry) && port(registry).is_some_and(|port| !port.is_empty() && port != "443");
        let scheme = match scheme {
            Some("http") => Scheme::Http,
            None if plain => Scheme::Http,
            Some("https") | None => Scheme::Https,
            Some(other) => return Err(format!("{other:?} is not http or https")),
        };
        if registry.is_empty() {
            return Err("it names no host".to_owned());
        }
        let host = contacted(registry);
        let (path, whole) = match path {
            "" | "/" | "/v2" => ("/v2", false),
            other => (other, true),
        };
        let url = format!("{}://{host}{path}", scheme.name());
        let written = WrittenUrl::parse(&url)?;
        Ok(Self {
            registry: if host == "registry-1.docker.io" {
                "docker.io"
            } else {
                registry
            }
            .to_owned(),
            url,
            written: if whole { written } else { written.with_api_path() },
        })
    }
}

/// Turns the text into values.
struct Reading<'a> {
    document: &'a Document,
    notes: Vec<Problem>,
    files: Vec<Problem>,
}

impl Reading<'_> {
    fn problem(&self, path: &str, text: impl Into<String>) -> Problem {
        let (line, column) = self.document.place_of(path);
        Problem::at(line, column, text)
    }

    fn registries(&mut self) -> Result<Registries, Problem> {
        let document = self.document;
        let root = self.map("", Some(&document.value))?;
        self.known("", &root, &["mirrors", "configs", "auths"]);
        if root.contains_key("auths") {
            let text = "auths is not used any more; write the credential under configs";
            self.notes.push(self.problem("auths", text));
        }
        let mut registries = Registries::default();
        for (host, value) in self.map("mirrors", root.get("mirrors"))? {
            let path = below("mirrors", &host);
            let mirror = self.map(&path, Some(&value))?;
            self.known(&path, &mirror, &["endpoint", "rewrite"]);
            self.host(&path, &host);
            let mut read = Mirror {
                at: self.document.place_of(&path).0,
                ..Mirror::default()
            };
            let list = below(&path, "endpoint");
            let endpoints: &[Value] = match mirror.get("endpoint") {
                None | Some(Value::Null) => &[],
                Some(Value::Array(endpoints)) => endpoints,
                Some(_) => return Err(self.problem(&list, "endpoint must be a list of URLs")),
            };
            for (at, endpoint) in endpoints.iter().enumerate() {
                let at = format!("{list}[{at}]");
                let text = self.text(&at, Some(endpoint))?;
                if let Err(why) = Endpoint::parse(&text) {
                    self.notes
                        .push(self.problem(&at, format!("nodes ignore this endpoint: {why}")));
                }
                let (on, _) = self.document.place_of(&at);
                read.endpoints.push((text, on));
            }
            let table = below(&path, "rewrite");
            for (pattern, value) in self.map(&table, mirror.get("rewrite"))? {
                let at = below(&table, &pattern);
                let line = (pattern, self.text(&at, Some(&value))?);
                if Rewrites::new([line.clone()]).is_ok_and(|one| one.broken().next().is_some()) {
                    self.notes
                        .push(self.problem(&at, "this pattern is not a regular expression; k3s ignores it"));
                }
                read.rewrites.push(line);
            }
            registries.mirrors.insert(host, read);
        }
        for (host, value) in self.map("configs", root.get("configs"))? {
            let path = below("configs", &host);
            let config = self.map(&path, Some(&value))?;
            self.known(&path, &config, &["auth", "tls"]);
            self.host(&path, &host);
            let read = Config {
                at: self.document.place_of(&path).0,
                auth: self.auth(&below(&path, "auth"), config.get("auth"))?,
                tls: self.tls(&below(&path, "tls"), config.get("tls"))?,
            };
            if host == ALL && read.auth.is_some() {
                let text = "k3s never sends a credential for \"*\"; write it for the host and port of an endpoint";
                self.notes.push(self.problem(&below(&path, "auth"), text));
            }
            registries.configs.insert(host, read);
        }
        Ok(registries)
    }

    fn auth(&mut self, path: &str, value: Option<&Value>) -> Result<Option<Credential>, Problem> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let auth = self.map(path, Some(value))?;
        self.known(path, &auth, &["username", "password", "auth", "identity_token"]);
        let mut texts = ["username", "password", "auth", "identity_token"].map(|key| (key, String::new()));
        for (key, text) in &mut texts {
            *text = self.text(&below(path, key), auth.get(*key))?;
        }
        let [(_, mut user), (_, mut password), (_, both), (_, identity_token)] = texts;
        // containerd reads `auth` only if there is neither a user name nor an identity token (`ParseAuth`).
        if user.is_empty() && identity_token.is_empty() && !both.is_empty() {
            let decoded = base64::engine::general_purpose::STANDARD.decode(both.trim());
            let decoded = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some((name, secret)) = decoded.as_deref().and_then(|text| text.split_once(':')) {
                name.clone_into(&mut user);
                secret.trim_end_matches('\0').clone_into(&mut password);
            } else {
                let text = "auth must be user:password in base64; nodes fail to pull with this";
                self.notes.push(self.problem(&below(path, "auth"), text));
            }
        }
        Ok(Some(Credential {
            username: Hidden::new(user),
            password: Hidden::new(password),
            identity_token: Hidden::new(identity_token),
        }))
    }

    fn tls(&mut self, path: &str, value: Option<&Value>) -> Result<Option<Files>, Problem> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let tls = self.map(path, Some(value))?;
        self.known(path, &tls, &["ca_file", "cert_file", "key_file", "insecure_skip_verify"]);
        let file = |key| self.text(&below(path, key), tls.get(key));
        let (ca, cert, key) = (file("ca_file")?, file("cert_file")?, file("key_file")?);
        for (name, key) in [(&ca, "ca_file"), (&cert, "cert_file"), (&key, "key_file")] {
            if !name.is_empty() {
                self.files.push(self.problem(&below(path, key), name));
            }
        }
        let skip_verify = match tls.get("insecure_skip_verify") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(skip)) => *skip,
            Some(_) => {
                let at = below(path, "insecure_skip_verify");
                return Err(self.problem(&at, "insecure_skip_verify must be true or false"));
            }
        };
        Ok(Some(Files {
            ca: (!ca.is_empty()).then(|| vec![ca]),
            client: (!cert.is_empty() || !key.is_empty()).then(|| vec![(cert, Some(key))]),
            skip_verify: skip_verify.then_some(true),
        }))
    }

    /// Notes a name that cannot be the registry of any image.
    fn host(&mut self, path: &str, host: &str) {
        let why = if host.contains("://") {
            Some("write the host alone, without a scheme")
        } else if host.contains('/') {
            Some("write the host alone, without a path")
        } else {
            Endpoint::parse(host).is_err().then_some("this is not the name of a host")
        };
        if let Some(why) = why {
            self.notes
                .push(self.problem(path, format!("{host:?} stands for no registry; {why}")));
        }
    }

    /// Notes keys that k3s does not know.
    fn known(&mut self, path: &str, map: &Map<String, Value>, keys: &'static [&'static str]) {
        for key in map.keys().filter(|key| !keys.contains(&key.as_str())) {
            let text = format!("{}; k3s ignores it", yaml::unknown("key", key, keys));
            self.notes.push(self.problem(&below(path, key), text));
        }
    }

    /// A missing value is an empty map.
    fn map(&self, path: &str, value: Option<&Value>) -> Result<Map<String, Value>, Problem> {
        match value {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(self.problem(path, "expected `key: value`")),
        }
    }

    /// A missing value is an empty text; numbers and booleans are taken as written.
    fn text(&self, path: &str, value: Option<&Value>) -> Result<String, Problem> {
        match value {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(Value::Bool(truth)) => Ok(truth.to_string()),
            Some(Value::Array(_) | Value::Object(_)) => Err(self.problem(path, "expected text")),
        }
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}[{key}]")
    }
}

#[cfg(test)]
#[path = "k3s_tests.rs"]
mod tests;
