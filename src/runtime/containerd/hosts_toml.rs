//! `hosts.toml` as containerd reads it (pull-semantics 5.4; `core/remotes/docker/config/hosts.go`).

use crate::go::duration;
use crate::runtime::containerd::hosts::{Schemes, Server, port};
use crate::runtime::containerd::rewrites::Rewrites;
use crate::runtime::request::Scheme;
use crate::yaml;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use toml::de::{DeTable, DeValue};
use url::Url;

type Value<'i> = toml::Spanned<DeValue<'i>>;

/// The folder of all registries that have none of their own (containerd, registry `hosts` configuration).
pub(crate) const DEFAULT_FOLDER: &str = "_default";

/// The contents of a `hosts.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// The `[host."…"]` tables, in the order of the file.
    pub(crate) hosts: Vec<Line>,
    /// The root: `server`, and the settings that apply to it, or to the upstream default if there is no `server`.
    pub(crate) server: Line,
    /// `server` is present, even if empty: k3s' containerd then asks no other default endpoint.
    pub(crate) names_server: bool,
    /// k3s or RKE2 wrote it.
    pub(crate) by_k3s: bool,
    pub(crate) readers: Readers,
}

/// Which versions of containerd can read a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readers {
    All,
    /// Newer versions reject it: it has an invalid `dial_timeout`, a key that older ones ignore.
    Older(Problem),
    /// Older versions (1.x, measured on 1.6) reject it and ignore the whole file: it has no `[host."…"]` table, or it has the capability
    /// `referrers`, which came later.
    Newer,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its address; `None` only for a root without `server`.
    pub(crate) written: Option<WrittenUrl>,
    /// The line of the file that names it; 0 if none does.
    pub(crate) at: usize,
    /// It may be asked for content.
    pub(crate) pull: bool,
    /// It may be asked what a tag stands for.
    pub(crate) resolve: bool,
    pub(crate) tls: Files,
    /// Sent with every request to it.
    pub(crate) headers: HeaderMap,
    pub(crate) dial_timeout: Option<Duration>,
    /// `rewrite`, which upstream's containerd does not know.
    pub(crate) rewrites: Vec<(String, String)>,
}

/// A certificate and its key; `None`: the key is in the certificate's file.
type Pair = (String, Option<String>);

/// The files for TLS, by name as written; relative ones are in the folder of the `hosts.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Files {
    pub(crate) ca: Option<Vec<String>>,
    pub(crate) client: Option<Vec<Pair>>,
    pub(crate) skip_verify: Option<bool>,
}

impl Files {
    /// Whether TLS is configured at all: if so, a host written with `http://` is tried over HTTPS first.
    pub(crate) fn is_explicit(&self) -> bool {
        self.ca.is_some() || self.client.is_some() || self.skip_verify.is_some()
    }

    /// All files that are named.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        let ca = self.ca.iter().flatten();
        let client = self
            .client
            .iter()
            .flatten()
            .flat_map(|(cert, key)| std::iter::once(cert).chain(key));
        ca.chain(client)
    }
}

/// Why a `hosts.toml` cannot be used, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    text: String,
}

impl Problem {
    /// A clause about this place; line and column from 1.
    pub(crate) fn at(line: usize, column: usize, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { line, column, text }
    }

    /// The clause.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

/// The keys of a host (`hostFileConfig`; `rewrite` is k3s' own).
const HOST: &[&str] = &[
    "capabilities",
    "ca",
    "client",
    "skip_verify",
    "header",
    "override_path",
    "dial_timeout",
    "rewrite",
];
/// The other keys at the top.
const TOP: &[&str] = &["server", "host"];

/// What containerd ignores in a file that it can read: unknown keys, invalid rewrite patterns.
pub(crate) fn passed_over(text: &str) -> Vec<Problem> {
    let reading = Reading {
        text,
        referrers: Cell::new(false),
        unread: RefCell::default(),
    };
    let Ok(root) = DeTable::parse(text) else {
        return Vec::new();
    };
    let known = |keys: &[&str], name: &str| keys.iter().any(|key| key.eq_ignore_ascii_case(name));
    let mut notes = Vec::new();
    let mut look = |table: &DeTable<'_>, top: &'static [&'static str]| {
        for (key, _) in table {
            let name: &str = key.get_ref();
            if !known(HOST, name) && !known(top, name) {
                let text = format!("{}; containerd ignores it", yaml::unknown("key", name, HOST));
                notes.push(reading.problem(Some(key.span()), text));
            }
        }
        let rewrites = table.get("rewrite").and_then(|value| value.get_ref().as_table());
        for (pattern, value) in rewrites.into_iter().flatten() {
            let line = [(
                pattern.get_ref().to_string(),
                value.get_ref().as_str().unwrap_or_default().to_owned(),
            )];
            if Rewrites::new(line).is_ok_and(|one| one.broken().next().is_some()) {
                notes.push(reading.problem(
                    Some(pattern.span()),
                    "this pattern is not a regular expression; k3s ignores it",
                ));
            }
        }
    };
    look(root.get_ref(), TOP);
    let hosts = root.get_ref().get("host").and_then(|value| value.get_ref().as_table());
    for (_, host) in hosts.into_iter().flatten() {
        if let Some(table) = host.get_ref().as_table() {
            look(table, &[]);
        }
    }
    notes.sort_by_key(Problem::place);
    notes
}

/// Reads `text`. Like containerd, ignores unknown keys.
pub(crate) fn parse(text: &str) -> Result<File, Problem> {
    let reading = Reading {
        text,
        referrers: Cell::new(false),
        unread: RefCell::default(),
    };
    let root = DeTable::parse(text).map_err(|error| reading.problem(error.span(), error.message()))?;
    let root = root.get_ref();
    let mut hosts: Vec<(usize, Line)> = Vec::new();
    if let Some(tables) = root.get("host") {
        let tables = reading.table(tables, "host")?;
        for (name, value) in tables {
            let written = reading.written(name.get_ref(), name.span())?;
            let at = reading.line(name.span());
            let host = reading.host(Some(written), at, reading.table(value, "a host")?)?;
            hosts.push((name.span().start, host));
        }
    }
    // In the order of the file, not of the map.
    hosts.sort_by_key(|(at, _)| *at);
    let server_at = root.get("server").map_or(0, |value| reading.line(value.span()));
    let server = match root.get("server") {
        Some(value) => match reading.string(value, "server")? {
            "" => None,
            text => Some(reading.written(text, value.span())?),
        },
        None => None,
    };
    let server = reading.host(server, server_at, root)?;
    let newer_only = reading.referrers.get() || !root.contains_key("host");
    let readers = match reading.unread.take() {
        // Neither old nor new versions read it then.
        Some(problem) if newer_only => return Err(problem),
        Some(problem) => Readers::Older(problem),
        None if newer_only => Readers::Newer,
        None => Readers::All,
    };
    Ok(File {
        readers,
        hosts: hosts.into_iter().map(|(_, host)| host).collect(),
        server,
        names_server: root.contains_key("server"),
        by_k3s: ["k3s", "rke2"]
            .iter()
            .any(|program| text.starts_with(&format!("# File generated by {program}. DO NOT EDIT."))),
    })
}

impl File {
    /// The lines that upstream's containerd asks, in order.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let all = self.hosts.iter().chain([&self.server]).cloned();
        all.map(|line| Line {
            rewrites: Vec::new(),
            ..line
        })
        .collect()
    }

    /// The lines that k3s' containerd asks, in order: no default endpoint if there are hosts and no `server` (`parseHostsFile` in
    /// `k3s-io/containerd`).
    pub(crate) fn lines_of_k3s(&self) -> Vec<Line> {
        let server = self.names_server || self.hosts.is_empty();
        self.hosts.iter().chain(server.then_some(&self.server)).cloned().collect()
    }
}

struct Reading<'a> {
    text: &'a str,
    /// Whether it has the capability `referrers`, which older versions reject.
    referrers: Cell<bool>,
    /// Why newer versions reject it.
    unread: RefCell<Option<Problem>>,
}

impl Reading<'_> {
    fn problem(&self, span: Option<Range<usize>>, text: impl Into<String>) -> Problem {
        let before = self.text.get(..span.map_or(0, |span| span.start)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Problem {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            text: text.into(),
        }
    }

    fn line(&self, span: Range<usize>) -> usize {
        self.problem(Some(span), "").line
    }

    fn wrong<T>(&self, value: &Value<'_>, text: impl Into<String>) -> Result<T, Problem> {
        Err(self.problem(Some(value.span()), text))
    }

    fn table<'v, 'i>(&self, value: &'v Value<'i>, what: &str) -> Result<&'v DeTable<'i>, Problem> {
        match value.get_ref().as_table() {
            Some(table) => Ok(table),
            None => self.wrong(value, format!("{what} must be a table")),
        }
    }

    fn string<'v>(&self, value: &'v Value<'_>, what: &str) -> Result<&'v str, Problem> {
        match value.get_ref().as_str() {
            Some(text) => Ok(text),
            None => self.wrong(value, format!("{what} must be a string")),
        }
    }

    fn boolean(&self, value: &Value<'_>, what: &str) -> Result<bool, Problem> {
        match value.get_ref().as_bool() {
            Some(value) => Ok(value),
            None => self.wrong(value, format!("{what} must be true or false")),
        }
    }

    fn array<'v, 'i>(&self, value: &'v Value<'i>, what: &str) -> Result<&'v [Value<'i>], Problem> {
        match value.get_ref().as_array() {
            Some(array) => Ok(array),
            None => self.wrong(value, format!("{what} must be a list")),
        }
    }

    fn written(&self, text: &str, span: Range<usize>) -> Result<WrittenUrl, Problem> {
        WrittenUrl::parse(text).map_err(|why| self.problem(Some(span), why))
    }

    fn host(&self, written: Option<WrittenUrl>, at: usize, table: &DeTable<'_>) -> Result<Line, Problem> {
        let override_path = match table.get("override_path") {
            Some(value) => self.boolean(value, "override_path")?,
            None => false,
        };
        let skip_verify = match table.get("skip_verify") {
            Some(value) => Some(self.boolean(value, "skip_verify")?),
            None => None,
        };
        let headers = self.headers(table.get("header"))?;
        // Go sends no request with an invalid header.
        let written = if headers.is_none() {
            Some(WrittenUrl::nowhere())
        } else {
            written
        };
        let (pull, resolve) = self.capabilities(table.get("capabilities"))?;
        Ok(Line {
            written: written.map(|written| if override_path { written } else { written.with_api_path() }),
            at,
            pull,
            resolve,
            tls: Files {
                ca: self.ca(table.get("ca"))?,
                client: self.client(table.get("client"))?,
                skip_verify,
            },
            headers: headers.unwrap_or_default(),
            dial_timeout: self.dial_timeout(table.get("dial_timeout")),
            rewrites: self.rewrites(table.get("rewrite"))?,
        })
    }

    /// `pull` and `resolve`.
    fn capabilities(&self, value: Option<&Value<'_>>) -> Result<(bool, bool), Problem> {
        let list = match value {
            Some(value) => self.array(value, "capabilities")?,
            None => &[],
        };
        if list.is_empty() {
            return Ok((true, true));
        }
        let (mut pull, mut resolve) = (false, false);
        for value in list {
            match self.string(value, "a capability")?.to_ascii_lowercase().as_str() {
                "pull" => pull = true,
                "resolve" => resolve = true,
                "push" => {}
                "referrers" => self.referrers.set(true),
                other => {
                    return self.wrong(
                        value,
                        format!("unknown capability {other:?}; known: pull, resolve, push, referrers"),
                    );
                }
            }
        }
        Ok((pull, resolve))
    }

    fn ca(&self, value: Option<&Value<'_>>) -> Result<Option<Vec<String>>, Problem> {
        let Some(value) = value else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(vec![text.clone().into_owned()])),
            DeValue::Array(list) => list
                .iter()
                .map(|value| Ok(self.string(value, "a file of ca")?.to_owned()))
                .collect::<Result<_, _>>()
                .map(Some),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
                self.wrong(value, "ca must be a file or a list of files")
            }
        }
    }

    fn client(&self, value: Option<&Value<'_>>) -> Result<Option<Vec<Pair>>, Problem> {
        let Some(value) = value else { return Ok(None) };
        let shape = "client must be a file, a list of files, or a list of pairs [certificate, key]";
        if let Some(text) = value.get_ref().as_str() {
            return Ok(Some(vec![(text.to_owned(), None)]));
        }
        let Some(list) = value.get_ref().as_array() else {
            return self.wrong(value, shape);
        };
        let mut pairs = Vec::new();
        for value in list {
            if let Some(text) = value.get_ref().as_str() {
                pairs.push((text.to_owned(), None));
                continue;
            }
            match value.get_ref().as_array().map(|pair| &**pair) {
                Some([cert, key]) => {
                    let cert = self.string(cert, "a certificate of client")?.to_owned();
                    let key = self.string(key, "a key of client")?.to_owned();
                    pairs.push((cert, Some(key)));
                }
                Some(_) | None => return self.wrong(value, shape),
            }
        }
        Ok(Some(pairs))
    }

    fn rewrites(&self, value: Option<&Value<'_>>) -> Result<Vec<(String, String)>, Problem> {
        let Some(value) = value else { return Ok(Vec::new()) };
        let table = self.table(value, "rewrite")?;
        let lines = table.iter().map(|(pattern, value)| {
            let replacement = self.string(value, "what a rewrite puts in the place of a match")?;
            Ok((pattern.get_ref().to_string(), replacement.to_owned()))
        });
        lines.collect()
    }

    /// `None` if one of them is invalid.
    fn headers(&self, value: Option<&Value<'_>>) -> Result<Option<HeaderMap>, Problem> {
        let mut headers = HeaderMap::new();
        let Some(value) = value else { return Ok(Some(headers)) };
        let mut sent = true;
        for (key, value) in self.table(value, "header")? {
            let name = HeaderName::from_bytes(key.get_ref().as_bytes());
            let values: Vec<&Value<'_>> = match value.get_ref().as_array() {
                Some(list) => list.iter().collect(),
                None => vec![value],
            };
            for value in values {
                let (Ok(name), Ok(mut text)) = (&name, HeaderValue::from_str(self.string(value, "a header")?)) else {
                    sent = false;
                    continue;
                };
                text.set_sensitive(true);
                headers.append(name.clone(), text);
            }
        }
        Ok(sent.then_some(headers))
    }

    fn dial_timeout(&self, value: Option<&Value<'_>>) -> Option<Duration> {
        let value = value?;
        let read = match value.get_ref().as_str() {
            Some("") => return None,
            Some(text) => duration::not_negative(text),
            None => None,
        };
        if read.is_none() {
            let why = "dial_timeout must be a duration in quotes, as 500ms, 10s or 1m30s";
            self.unread.replace(Some(self.problem(Some(value.span()), why)));
        }
        read
    }
}

/// A host as written in a `hosts.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenUrl {
    pub(crate) scheme: Scheme,
    /// Host and port as written: these decide about `?ns=`.
    pub(crate) authority: String,
    /// Without a trailing slash; empty for the root.
    pub(crate) path: String,
}

impl WrittenUrl {
    /// `https://host:port/path`, `http://…`, or without a scheme, which means https. The error is a clause for the reader.
    ///
    /// Only text that Go's `url.Parse` refuses is an error, because it breaks the whole file. An address that Go parses and nobody can ask
    /// (another scheme, no host, a port beyond 65535) is skipped by containerd when its turn comes: its authority is empty here.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let full = if text.starts_with("http") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        // The text is not repeated in the message: it may hold a password.
        let wrong = || "this is not the URL of a host; write it as https://mirror.example:5000".to_owned();
        let nowhere = Self::nowhere();
        if full.chars().any(|c| c.is_ascii_control()) {
            return Err(wrong());
        }
        let Some((scheme, rest)) = full.split_once("://") else {
            return Ok(nowhere);
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if !go_reads(authority) {
            return Err(wrong());
        }
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Ok(nowhere),
        };
        let reachable = Server::new(authority, Schemes::Https, "", None).is_some();
        match Url::parse(&full) {
            Ok(url) if reachable => Ok(Self {
                scheme,
                authority: authority.to_owned(),
                path: clean(url.path()),
            }),
            Ok(_) | Err(_) => Ok(nowhere),
        }
    }

    /// The address for `registry`; `tls` says whether TLS is configured. `None` if it cannot be asked.
    pub(crate) fn server(&self, registry: &str, tls: bool) -> Option<Server> {
        let schemes = match (self.scheme, tls, port(&self.authority)) {
            (Scheme::Https, _, _) => Schemes::Https,
            (Scheme::Http, false, _) | (Scheme::Http, true, Some("80")) => Schemes::Http,
            (Scheme::Http, true, _) => Schemes::HttpsThenHttp,
        };
        let own = self.authority == registry || (registry == "docker.io" && self.authority == "registry-1.docker.io");
        Server::new(&self.authority, schemes, &self.path, (!own).then_some(registry))
    }

    /// An address that cannot be asked: containerd goes on to the next host.
    pub(crate) fn nowhere() -> Self {
        Self {
            scheme: Scheme::Https,
            authority: String::new(),
            path: String::new(),
        }
    }

    /// Adds `/v2` to the path, unless it already ends with it. `override_path` prevents this.
    pub(crate) fn with_api_path(mut self) -> Self {
        if !self.path.ends_with("/v2") {
            self.path.push_str("/v2");
        }
        self
    }
}

/// Whether Go's `url.Parse` takes this for a host, with or without a port.
fn go_reads(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(']') {
        Some((_, port)) if authority.starts_with('[') => ("", port),
        _ => match authority.rfind(':') {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        },
    };
    let plain = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:<>\"".contains(c);
    let digits = port
        .strip_prefix(':')
        .map_or(port.is_empty(), |port| port.bytes().all(|b| b.is_ascii_digit()));
    host.chars().all(plain) && digits
}

/// Without empty segments. An empty result is the root.
fn clean(path: &str) -> String {
    path.split('/')
        .filter(|part| !part.is_empty())
        .fold(String::new(), |mut clean, part| {
            clean.push('/');
            clean.push_str(part);
            clean
        })
}

#[cfg(test)]
#[path = "hosts_toml_tests.rs"]
mod tests;
