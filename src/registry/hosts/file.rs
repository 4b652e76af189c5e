//! `hosts.toml` as containerd reads it (pull-semantics 5.4). Pure.

use crate::go::duration;
use crate::registry::host::{Capabilities, Written};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

type Value<'i> = toml::Spanned<DeValue<'i>>;

/// What a `hosts.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// The `[host."…"]` tables, in the order of the file.
    pub(super) hosts: Vec<Host>,
    /// The root: `server`, and the settings that hold for it, or for the upstream default where there is no `server`.
    pub(super) server: Host,
    pub(super) readers: Readers,
}

/// Which versions of containerd can read a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readers {
    All,
    /// Newer ones take it for broken: a `dial_timeout` that is none, of which older ones know nothing.
    Older(Problem),
    /// Older ones (1.x, measured on 1.6) take it for broken and pass over it whole: it has no `[host."…"]` table, or the capability
    /// `referrers`, which came later.
    Newer,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// Where it is; `None` only for a root without `server`.
    pub(super) written: Option<Written>,
    pub(super) capabilities: Capabilities,
    pub(super) trust: Files,
    /// Sent with every request to it.
    pub(super) headers: HeaderMap,
    pub(super) dial_timeout: Option<Duration>,
}

/// A certificate and its key; `None`: the key is in the certificate's file.
type Pair = (PathBuf, Option<PathBuf>);

/// What TLS is to be made with, as paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Files {
    pub(super) ca: Option<Vec<PathBuf>>,
    pub(super) client: Option<Vec<Pair>>,
    pub(super) skip_verify: Option<bool>,
}

impl Files {
    /// Whether anything is said about TLS: such a host that is written with `http://` is tried by https first.
    pub(super) fn is_explicit(&self) -> bool {
        self.ca.is_some() || self.client.is_some() || self.skip_verify.is_some()
    }

    /// All files that are named.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
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
pub(super) struct Problem {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

/// Reads `text`; relative paths are taken from `folder`. Unknown keys are passed over, as containerd does.
pub(super) fn parse(text: &str, folder: &Path) -> Result<File, Problem> {
    let reading = Reading {
        text,
        folder,
        referrers: Cell::new(false),
        unread: RefCell::default(),
    };
    let root = DeTable::parse(text).map_err(|error| reading.problem(error.span(), error.message()))?;
    let root = root.get_ref();
    let mut hosts: Vec<(usize, Host)> = Vec::new();
    if let Some(tables) = root.get("host") {
        let tables = reading.table(tables, "host")?;
        for (name, value) in tables {
            let written = reading.written(name.get_ref(), name.span())?;
            let host = reading.host(Some(written), reading.table(value, "a host")?)?;
            hosts.push((name.span().start, host));
        }
    }
    // In the order of the file, whatever the order of the map.
    hosts.sort_by_key(|(at, _)| *at);
    let server = match root.get("server") {
        Some(value) => match reading.string(value, "server")? {
            "" => None,
            text => Some(reading.written(text, value.span())?),
        },
        None => None,
    };
    let server = reading.host(server, root)?;
    let newer_only = reading.referrers.get() || !root.contains_key("host");
    let readers = match reading.unread.take() {
        // Nobody reads it then.
        Some(problem) if newer_only => return Err(problem),
        Some(problem) => Readers::Older(problem),
        None if newer_only => Readers::Newer,
        None => Readers::All,
    };
    Ok(File {
        readers,
        hosts: hosts.into_iter().map(|(_, host)| host).collect(),
        server,
    })
}

struct Reading<'a> {
    text: &'a str,
    folder: &'a Path,
    /// Whether it has the capability `referrers`, which older versions do not read.
    referrers: Cell<bool>,
    /// Why newer versions do not read it.
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
            None => self.wrong(value, format!("{what} must be a text")),
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

    fn written(&self, text: &str, span: Range<usize>) -> Result<Written, Problem> {
        Written::parse(text).map_err(|why| self.problem(Some(span), why))
    }

    fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    fn host(&self, written: Option<Written>, table: &DeTable<'_>) -> Result<Host, Problem> {
        let override_path = match table.get("override_path") {
            Some(value) => self.boolean(value, "override_path")?,
            None => false,
        };
        let skip_verify = match table.get("skip_verify") {
            Some(value) => Some(self.boolean(value, "skip_verify")?),
            None => None,
        };
        let headers = self.headers(table.get("header"))?;
        // Go sends no request with a header that is none.
        let written = if headers.is_none() {
            Some(Written::nowhere())
        } else {
            written
        };
        Ok(Host {
            written: written.map(|written| if override_path { written } else { written.with_api_path() }),
            capabilities: self.capabilities(table.get("capabilities"))?,
            trust: Files {
                ca: self.ca(table.get("ca"))?,
                client: self.client(table.get("client"))?,
                skip_verify,
            },
            headers: headers.unwrap_or_default(),
            dial_timeout: self.dial_timeout(table.get("dial_timeout")),
        })
    }

    fn capabilities(&self, value: Option<&Value<'_>>) -> Result<Capabilities, Problem> {
        let Some(value) = value else {
            return Ok(Capabilities::ALL);
        };
        let list = self.array(value, "capabilities")?;
        if list.is_empty() {
            return Ok(Capabilities::ALL);
        }
        let mut capabilities = Capabilities::NONE;
        for value in list {
            match self.string(value, "a capability")?.to_ascii_lowercase().as_str() {
                "pull" => capabilities.pull = true,
                "resolve" => capabilities.resolve = true,
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
        Ok(capabilities)
    }

    fn ca(&self, value: Option<&Value<'_>>) -> Result<Option<Vec<PathBuf>>, Problem> {
        let Some(value) = value else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(vec![self.path(text)])),
            DeValue::Array(list) => list
                .iter()
                .map(|value| Ok(self.path(self.string(value, "a file of ca")?)))
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
            return Ok(Some(vec![(self.path(text), None)]));
        }
        let Some(list) = value.get_ref().as_array() else {
            return self.wrong(value, shape);
        };
        let mut pairs = Vec::new();
        for value in list {
            if let Some(text) = value.get_ref().as_str() {
                pairs.push((self.path(text), None));
                continue;
            }
            match value.get_ref().as_array().map(|pair| &**pair) {
                Some([cert, key]) => {
                    let cert = self.path(self.string(cert, "a certificate of client")?);
                    let key = self.path(self.string(key, "a key of client")?);
                    pairs.push((cert, Some(key)));
                }
                Some(_) | None => return self.wrong(value, shape),
            }
        }
        Ok(Some(pairs))
    }

    /// `None` where one of them cannot be sent.
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

#[cfg(test)]
mod tests;
