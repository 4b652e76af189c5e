//! The credentials of a node with CRI-O (`pkg/docker/config` of containers/image).

use crate::credentials::{Credential, Hidden};
use crate::runtime::request::Who;
use base64::Engine as _;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A node's credential file, as far as a runtime module may know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct NodeAuth {
    /// By key; `None` for a broken entry, with which every pull fails.
    pub entries: BTreeMap<String, Option<Who>>,
    /// Hosts whose credentials come from a program on the node.
    pub helpers: BTreeMap<String, String>,
    /// The settings name a file that is not available here.
    pub unknown: bool,
}

/// The node's own credential for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// This one, or none.
    Has(Who),
    /// It is not known here.
    Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Hidden64,
    identitytoken: Hidden64,
}

/// Base64 text that is secret.
#[derive(Debug, Default)]
struct Hidden64(Hidden);

impl<'de> Deserialize<'de> for Hidden64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(Self(Hidden::new(text.unwrap_or_default())))
    }
}

impl NodeAuth {
    /// Reads a file. The credentials themselves are returned beside it, for the wire. The error has line and column, and quotes nothing
    /// from the file.
    pub fn parse(json: &[u8]) -> Result<(Self, Vec<Credential>), String> {
        let place = |error: &serde_json::Error| {
            format!(
                "{}:{}: it is not valid JSON of the form {{\"auths\": {{…}}}}",
                error.line(),
                error.column()
            )
        };
        let File { auths, helpers } = serde_json::from_slice(json).map_err(|error| place(&error))?;
        let mut credentials = Vec::new();
        let entries = auths.into_iter().map(|(key, entry)| {
            let credential = entry.credential();
            let who = credential.as_ref().map(|credential| {
                if *credential == Credential::default() {
                    Who::default()
                } else {
                    Who::of(credential)
                }
            });
            credentials.extend(credential);
            (key, who)
        });
        let auth = Self {
            entries: entries.collect(),
            helpers,
            unknown: false,
        };
        Ok((auth, credentials))
    }

    /// The node's credential for the repository `name` at `host[:port]` (`findCredentialsInFile`).
    pub(super) fn of(&self, name: &str, host: &str) -> Own {
        if self.unknown || self.helpers.contains_key(host) {
            return Own::Unknown;
        }
        self.key(name, host)
            .and_then(|key| self.entries.get(key))
            .map_or(Own::Has(Who::default()), |entry| entry.map_or(Own::Unknown, Own::Has))
    }

    /// The key that applies: the longest one that matches, otherwise one that equals this host once its scheme and path are cut off.
    pub fn key(&self, name: &str, host: &str) -> Option<&str> {
        let mut rest = name;
        loop {
            if let Some((key, _)) = self.entries.get_key_value(rest) {
                return Some(key);
            }
            match rest.rsplit_once('/') {
                Some((above, _)) => rest = above,
                None => break,
            }
        }
        let host = normal(host);
        self.entries.keys().map(String::as_str).find(|key| {
            let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
            let cut = bare.map(|bare| bare.split('/').next().unwrap_or_default());
            normal(cut.unwrap_or(key)) == host
        })
    }
}

fn normal(host: &str) -> &str {
    match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    }
}

impl Entry {
    /// `None` if it is broken. Text without a colon is ignored.
    fn credential(&self) -> Option<Credential> {
        let decoded = base64::engine::general_purpose::STANDARD.decode(self.auth.0.bytes()).ok()?;
        let Some(colon) = decoded.iter().position(|byte| *byte == b':') else {
            return Some(Credential::default());
        };
        let (user, password) = decoded.split_at(colon);
        let password = password.get(1..).unwrap_or_default();
        let password: Vec<u8> = {
            let from = password.iter().position(|byte| *byte != 0).unwrap_or(password.len());
            let to = password.iter().rposition(|byte| *byte != 0).map_or(from, |at| at + 1);
            password.get(from..to).unwrap_or_default().to_vec()
        };
        Some(Credential {
            username: Hidden::new(user),
            password: Hidden::new(password),
            identity_token: self.identitytoken.0.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"auths": {
        "reg.test:5000": {"auth": "aG9zdDpw"}, "reg.test:5000/ns": {"auth": "bnM6cA=="}, "https://old.test/v1/": {"auth": "b2xkOnA="},
        "https://index.docker.io/v1/": {"auth": "aHViOnA="}, "plain.test": {"username": "u", "password": "p"},
        "broken.test": {"auth": "%%"}}, "credHelpers": {"helped.test": "x"}, "credsStore": "y"}"#;

    #[test]
    fn the_longest_key_counts() {
        let (auth, credentials) = NodeAuth::parse(FILE.as_bytes()).unwrap();
        let user = |name: &str| {
            let host = name.split('/').next().unwrap();
            match auth.of(name, host) {
                Own::Unknown => "?".to_owned(),
                Own::Has(who) => {
                    let found = credentials.iter().find(|credential| who == Who::of(credential));
                    found.map_or_else(String::new, |found| found.username.expose().into_owned())
                }
            }
        };
        for (name, expected) in [
            ("reg.test:5000/app", "host"),
            ("reg.test:5000/ns/app", "ns"),
            ("reg.test:5000/ns/app/deep", "ns"),
            ("reg.test:5000/nsx", "host"),
            ("reg.test/app", ""),
            ("old.test/x", "old"),
            ("docker.io/library/nginx", "hub"),
            ("plain.test/x", ""),
            ("broken.test/x", "?"),
            ("helped.test/x", "?"),
        ] {
            assert_eq!(user(name), expected, "{name}");
        }
    }

    #[test]
    fn an_error_has_a_place_and_no_secret() {
        let error = NodeAuth::parse(b"{\"auths\": {\n \"r\": {\"auth\": hunter2}}}").unwrap_err();
        assert!(error.starts_with("2:") && !error.contains("hunter2"), "{error}");
    }
}
