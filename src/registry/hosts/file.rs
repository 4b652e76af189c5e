//! `hosts.toml` as containerd reads it (pull-semantics 5.4). Pure.

use crate::registry::host::{Capabilities, Written};
use http::{HeaderMap, HeaderName, HeaderValue};
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

/// What TLS is to be made with, as paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Files {
    pub(super) ca: Option<Vec<PathBuf>>,
    /// Certificates and their keys; `None`: the key is in the certificate's file.
    pub(super) client: Option<Vec<(PathBuf, Option<PathBuf>)>>,
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
    let reading = Reading { text, folder };
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
    Ok(File {
        hosts: hosts.into_iter().map(|(_, host)| host).collect(),
        server: reading.host(server, root)?,
    })
}

struct Reading<'a> {
    text: &'a str,
    folder: &'a Path,
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
        Ok(Host {
            written: written.map(|written| if override_path { written } else { written.with_api_path() }),
            capabilities: self.capabilities(table.get("capabilities"))?,
            trust: Files {
                ca: self.ca(table.get("ca"))?,
                client: self.client(table.get("client"))?,
                skip_verify,
            },
            headers: self.headers(table.get("header"))?,
            dial_timeout: self.dial_timeout(table.get("dial_timeout"))?,
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
                "push" | "referrers" => {}
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

    fn client(&self, value: Option<&Value<'_>>) -> Result<Option<Vec<(PathBuf, Option<PathBuf>)>>, Problem> {
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

    fn headers(&self, value: Option<&Value<'_>>) -> Result<HeaderMap, Problem> {
        let mut headers = HeaderMap::new();
        let Some(value) = value else { return Ok(headers) };
        for (key, value) in self.table(value, "header")? {
            let Ok(name) = HeaderName::from_bytes(key.get_ref().as_bytes()) else {
                return Err(self.problem(Some(key.span()), "this is not the name of a header"));
            };
            let values: Vec<&Value<'_>> = match value.get_ref().as_array() {
                Some(list) => list.iter().collect(),
                None => vec![value],
            };
            for value in values {
                // The value is not repeated: it may be a secret.
                let Ok(mut text) = HeaderValue::from_str(self.string(value, "a header")?) else {
                    return self.wrong(value, "this cannot be the value of a header");
                };
                text.set_sensitive(true);
                headers.append(name.clone(), text);
            }
        }
        Ok(headers)
    }

    fn dial_timeout(&self, value: Option<&Value<'_>>) -> Result<Option<Duration>, Problem> {
        let Some(value) = value else { return Ok(None) };
        match self.string(value, "dial_timeout")? {
            "" => Ok(None),
            text => match duration(text) {
                Some(duration) => Ok(Some(duration)),
                None => self.wrong(value, "dial_timeout must be a duration, as 500ms, 10s or 1m30s"),
            },
        }
    }
}

/// A duration as Go writes them: `1m30s`, `500ms`, `0`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<File, String> {
        parse(text, Path::new("/certs.d/r.example")).map_err(|problem| problem.to_string())
    }

    #[test]
    fn everything_that_a_host_can_say() {
        let file = read(
            r#"
server = "registry.example"
ca = "root.pem"
unknown = 1

[host."https://z.example:5000/proxy"]
  capabilities = ["Pull", "resolve"]
  ca = ["a.pem", "/abs/b.pem"]
  client = [["c.cert", "c.key"], "both.pem"]
  skip_verify = true
  dial_timeout = "1m30.5s"
  [host."https://z.example:5000/proxy".header]
    X-Token = "abc"
    x-list = ["1", "2"]

[host."http://a.example"]
  capabilities = ["pull"]
  override_path = true
  client = "both.pem"
"#,
        )
        .unwrap();
        let names: Vec<&str> = file
            .hosts
            .iter()
            .map(|host| host.written.as_ref().unwrap().authority.as_str())
            .collect();
        assert_eq!(names, ["z.example:5000", "a.example"], "in the order of the file");
        let [first, second] = file.hosts.as_slice() else {
            panic!("two hosts")
        };
        assert_eq!(first.written.as_ref().unwrap().path, "/proxy/v2");
        assert!(first.capabilities.pull && first.capabilities.resolve);
        assert_eq!(
            first.trust.ca,
            Some(vec!["/certs.d/r.example/a.pem".into(), "/abs/b.pem".into()])
        );
        assert_eq!(
            first.trust.client,
            Some(vec![
                ("/certs.d/r.example/c.cert".into(), Some("/certs.d/r.example/c.key".into())),
                ("/certs.d/r.example/both.pem".into(), None)
            ])
        );
        assert_eq!(first.trust.skip_verify, Some(true));
        assert_eq!(first.dial_timeout, Some(Duration::from_millis(90_500)));
        assert_eq!(first.headers.get("x-token").unwrap(), "abc");
        assert_eq!(first.headers.get_all("x-list").iter().count(), 2);
        assert!(!format!("{first:?}").contains("abc"), "headers may be secrets");
        assert_eq!(second.written.as_ref().unwrap().path, "");
        assert!(second.capabilities.pull && !second.capabilities.resolve);
        assert_eq!(file.server.written.as_ref().unwrap().authority, "registry.example");
        assert_eq!(file.server.trust.ca, Some(vec!["/certs.d/r.example/root.pem".into()]));
    }

    #[test]
    fn nearly_nothing() {
        for text in ["", "# only a comment\n", "server = \"\"\n", "capabilities = []\n"] {
            let file = read(text).unwrap();
            assert!(file.hosts.is_empty() && file.server.written.is_none(), "{text:?}");
            assert_eq!(file.server.capabilities, Capabilities::ALL, "{text:?}");
            assert!(!file.server.trust.is_explicit());
        }
        // A host that says nothing about itself is good for everything.
        let file = read("[host.\"mirror\"]\n").unwrap();
        assert_eq!(file.hosts[0].capabilities, Capabilities::ALL);
        assert_eq!(file.hosts[0].written.as_ref().unwrap().path, "/v2");
    }

    #[test]
    fn problems_have_a_place() {
        for (text, expected) in [
            ("server = \n", "1:10: string values must be quoted, expected literal string"),
            ("\nserver = 7\n", "2:10: server must be a text"),
            (
                "[host.\"m\"]\ncapabilities = [\"pull\", \"fly\"]\n",
                "2:25: unknown capability \"fly\"; known: pull, resolve, push, referrers",
            ),
            ("host = 1\n", "1:8: host must be a table"),
            ("[host]\nm = 1\n", "2:5: a host must be a table"),
            ("skip_verify = \"true\"\n", "1:15: skip_verify must be true or false"),
            ("ca = 1\n", "1:6: ca must be a file or a list of files"),
            (
                "client = [[\"a\"]]\n",
                "1:11: client must be a file, a list of files, or a list of pairs [certificate, key]",
            ),
            ("[header]\n\"a b\" = \"c\"\n", "2:1: this is not the name of a header"),
            ("[header]\na = \"c\\nd\"\n", "2:5: this cannot be the value of a header"),
            (
                "dial_timeout = \"soon\"\n",
                "1:16: dial_timeout must be a duration, as 500ms, 10s or 1m30s",
            ),
        ] {
            let problem = read(text).unwrap_err();
            if text.starts_with("server = \n") {
                // The words are the reader's own.
                assert!(problem.starts_with("1:10: "), "{problem}");
            } else {
                assert_eq!(problem, expected, "{text:?}");
            }
        }
        for host in ["https://", "ftp://m", "https://m:x", "https://u:p@", "http.corp:5000", "a b"] {
            let problem = read(&format!("[host.\"{host}\"]\n")).unwrap_err();
            assert!(problem.starts_with("1:7: "), "{host}: {problem}");
            assert!(!problem.contains("u:p"), "{problem}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(duration("1h2m3s"), Some(Duration::from_secs(3723)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "s", "1d", "-1s", "1..s", "9e9s", "99999999999999999999999h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "(\\[host\\.\"[a-z:/]{0,9}\"\\]\n)?[a-z_]{0,8} ?=? ?[\"\\[\\]a-zß0-9.,]{0,12}\n?") {
            let _ = read(&text);
        }
    }
}
