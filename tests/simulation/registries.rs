//! What registries hold and whom they let in, as a value; and what they answer, as a function of it. Nothing here is of the product.

use crate::images::{Object, object};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// All registries at one moment.
#[derive(Debug, Clone)]
pub struct Content {
    pub registries: Vec<Registry>,
    /// By registry and user; a password that was changed is no longer here.
    pub passwords: BTreeMap<(usize, String), String>,
}

#[derive(Debug, Clone)]
pub struct Registry {
    pub host: &'static str,
    pub login: Login,
    pub hides: Hides,
    /// Whether rights are looked at when a token is used, rather than when it is granted.
    pub rights_at_use: bool,
    /// Seconds.
    pub token_life: u64,
    /// Blobs are at another host.
    pub blobs_elsewhere: bool,
    pub repositories: BTreeMap<&'static str, Repository>,
}

/// How somebody shows who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    Nobody,
    Basic,
    /// By a token from this place.
    Token {
        realm: String,
        /// It grants to a POST.
        posts: bool,
    },
}

/// What is told to somebody who may not read a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hides {
    Unauthorized,
    Forbidden,
    NotFound,
}

#[derive(Debug, Clone, Default)]
pub struct Repository {
    pub public: bool,
    pub readers: BTreeSet<String>,
    /// Digests of what the tags name.
    pub tags: BTreeMap<&'static str, String>,
    /// Everything that was ever pushed.
    pub holds: BTreeSet<String>,
}

/// Who asks, as the registry sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    Nobody,
    User(String),
    /// A wrong password, a token of another registry, or one that has expired.
    Wrong,
    Token {
        user: Option<String>,
        repositories: BTreeSet<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// To be made of it where this is a token server: for whom, for which repositories.
    pub grants: Option<(Option<String>, BTreeSet<String>)>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            grants: None,
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", media_type)
    }

    pub fn one(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }
}

fn error(status: u16, code: &str) -> Reply {
    let body = json!({"errors": [{"code": code, "message": code.to_lowercase()}]}).to_string();
    Reply::new(status)
        .header("docker-distribution-api-version", "registry/2.0")
        .body("application/json", body)
}

pub const CDN: &str = "cdn.example";
/// Where the attacker listens.
pub const TRAP: &str = "trap.example";

impl Registry {
    fn may_read(&self, repository: &str, user: Option<&str>) -> bool {
        self.repositories
            .get(repository)
            .is_some_and(|held| held.public || user.is_some_and(|user| held.readers.contains(user)))
    }

    /// The scope of a challenge, and the challenge.
    fn challenge(&self, repository: &str, error: Option<&str>) -> String {
        match &self.login {
            Login::Nobody | Login::Basic => "Basic realm=\"registry\"".to_owned(),
            Login::Token { realm, .. } => {
                let error = error.map_or_else(String::new, |error| format!(",error=\"{error}\""));
                let host = self.host;
                format!("Bearer realm=\"{realm}\",service=\"{host}\",scope=\"repository:{repository}:pull\"{error}")
            }
        }
    }

    /// What the registry says to a request.
    pub fn reply(&self, path: &str, caller: &Caller) -> Reply {
        let path = path.split('?').next().unwrap_or_default();
        let Some(rest) = path.strip_prefix("/v2/") else {
            return Reply::new(404).body("text/html", "<html>not here</html>");
        };
        let parts = ["/manifests/", "/blobs/", "/tags/"]
            .iter()
            .find_map(|part| rest.split_once(part).map(|(repository, what)| (repository, *part, what)));
        if rest.is_empty() {
            // Whether there is a registry, and how it lets in.
            return match (&self.login, caller) {
                (Login::Nobody, _) | (_, Caller::User(_) | Caller::Token { .. }) => {
                    Reply::new(200).header("docker-distribution-api-version", "registry/2.0")
                }
                (Login::Basic | Login::Token { .. }, _) => {
                    error(401, "UNAUTHORIZED").header("www-authenticate", self.challenge("", None))
                }
            };
        }
        let (repository, part, what) = parts.unwrap_or((rest, "", ""));
        if let Some(refusal) = self.refusal(repository, caller) {
            return refusal;
        }
        let Some(held) = self.repositories.get(repository) else {
            return error(404, "NAME_UNKNOWN");
        };
        let found = |digest: &str| held.holds.contains(digest).then(|| object(digest)).flatten();
        match part {
            "/manifests/" => {
                let digest = if what.contains(':') {
                    Some(what)
                } else {
                    held.tags.get(what).map(String::as_str)
                };
                match digest.and_then(|digest| Some((digest, found(digest)?))) {
                    Some((
                        digest,
                        Object {
                            media_type: Some(media_type),
                            bytes,
                        },
                    )) => Reply::new(200)
                        .header("docker-content-digest", digest)
                        .header("docker-distribution-api-version", "registry/2.0")
                        .body(media_type, *bytes),
                    _ => error(404, "MANIFEST_UNKNOWN"),
                }
            }
            "/blobs/" => match found(what) {
                Some(_) if self.blobs_elsewhere => Reply::new(307).header("location", format!("https://{CDN}/{what}")),
                Some(object) => blob(object),
                None => error(404, "BLOB_UNKNOWN"),
            },
            "/tags/" => {
                let tags: Vec<_> = held.tags.keys().collect();
                Reply::new(200)
                    .header("docker-distribution-api-version", "registry/2.0")
                    .body("application/json", json!({"name": repository, "tags": tags}).to_string())
            }
            _ => Reply::new(200).header("docker-distribution-api-version", "registry/2.0"),
        }
    }

    /// Why it does not let somebody in.
    fn refusal(&self, repository: &str, caller: &Caller) -> Option<Reply> {
        let ask = |error_text: Option<&str>| {
            error(401, "UNAUTHORIZED").header("www-authenticate", self.challenge(repository, error_text))
        };
        let user = match (&self.login, caller) {
            (Login::Nobody, _) => return None,
            (Login::Basic, Caller::User(user)) => Some(user.as_str()),
            (Login::Token { .. }, Caller::Token { user, repositories }) => {
                if !self.rights_at_use && repositories.contains(repository) {
                    return None;
                }
                if !self.rights_at_use {
                    return Some(self.hidden(ask));
                }
                user.as_deref()
            }
            (Login::Token { .. }, Caller::Wrong) => return Some(ask(Some("invalid_token"))),
            (Login::Basic | Login::Token { .. }, _) => return Some(ask(None)),
        };
        (!self.may_read(repository, user)).then(|| self.hidden(ask))
    }

    fn hidden(&self, ask: impl Fn(Option<&str>) -> Reply) -> Reply {
        match (self.hides, &self.login) {
            (Hides::Unauthorized, Login::Token { .. }) => ask(Some("insufficient_scope")),
            (Hides::Unauthorized, _) => ask(None),
            (Hides::Forbidden, _) => error(403, "DENIED"),
            (Hides::NotFound, _) => error(404, "NAME_UNKNOWN"),
        }
    }

    /// What its token server says. `caller` has shown a password there, or nothing.
    pub fn token(&self, posted: bool, scopes: &[String], caller: &Caller) -> Reply {
        let Login::Token { posts, .. } = &self.login else {
            return Reply::new(404);
        };
        if posted && !posts {
            return Reply::new(404).body("text/plain", "404 page not found");
        }
        let user = match caller {
            Caller::User(user) => Some(user.clone()),
            Caller::Nobody => None,
            Caller::Wrong | Caller::Token { .. } => {
                return Reply::new(401).body("application/json", r#"{"details":"incorrect username or password"}"#);
            }
        };
        let repositories = scopes
            .iter()
            .filter_map(|scope| scope.strip_prefix("repository:")?.strip_suffix(":pull"))
            .filter(|repository| self.may_read(repository, user.as_deref()))
            .map(str::to_owned)
            .collect();
        Reply {
            grants: Some((user, repositories)),
            ..Reply::new(200)
        }
    }
}

/// A blob as it is served.
pub fn blob(object: &Object) -> Reply {
    Reply::new(200).body("application/octet-stream", object.bytes)
}

impl Content {
    pub fn at(&self, host: &str) -> Option<(usize, &Registry)> {
        self.registries.iter().enumerate().find(|(_, registry)| registry.host == host)
    }

    /// The registries whose token server is at this place.
    pub fn by_realm(&self, place: &str) -> Option<(usize, &Registry)> {
        self.registries
            .iter()
            .enumerate()
            .find(|(_, registry)| matches!(&registry.login, Login::Token { realm, .. } if realm == place))
    }

    /// Who has this password at a registry.
    pub fn caller(&self, registry: usize, user: &str, password: &str) -> Caller {
        match self.passwords.get(&(registry, user.to_owned())) {
            Some(known) if known == password => Caller::User(user.to_owned()),
            Some(_) | None => Caller::Wrong,
        }
    }
}
