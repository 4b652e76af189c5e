//! Docker's credential helpers: which one a user's docker config names for a registry, and what it answers. Pure; the helpers are run
//! by [`crate::providers`], for `pullgate check` only.
//!
//! Source: docker's `cli/config/configfile` and docker-credential-helpers.

use super::provider::is_program;
use super::{Credential, Hidden};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The name under which docker keeps the credentials of Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

/// The helpers that a user's docker config names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Helpers {
    /// `credHelpers`: by registry.
    by_registry: Vec<(String, String)>,
    /// `credsStore`: for all others.
    store: Option<String>,
}

/// One question to a helper.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HelperCall {
    /// Its program: `docker-credential-NAME`.
    pub program: String,
    /// What it is asked for, on its standard input.
    pub server: String,
}

impl Helpers {
    /// Reads `credHelpers` and `credsStore`. What is not as docker writes it counts as absent: the document's other half says
    /// whether it can be read.
    pub fn parse(json: &[u8]) -> Self {
        let config: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            by_registry: config
                .get("credHelpers")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                // An empty name keeps the registry away from `credsStore`.
                .map(|(registry, name)| (registry.clone(), text(name).unwrap_or_default()))
                .collect(),
            store: config.get("credsStore").and_then(text),
        }
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.by_registry.is_empty() && self.store.is_none()
    }

    /// Whom to ask for a registry (`docker.io`, `ghcr.io`, `reg.example:5000`). `None` where no helper is named for it, or its name
    /// is none of a program.
    pub fn call(&self, registry: &str) -> Option<HelperCall> {
        let keys: &[&str] = if registry == "docker.io" {
            &[HUB, "index.docker.io", "docker.io"]
        } else {
            &[registry]
        };
        let own = keys.iter().find_map(|key| {
            let (key, name) = self.by_registry.iter().find(|(registry, _)| registry == key)?;
            Some((key.as_str(), name.as_str()))
        });
        let (server, name) = match own {
            Some(own) => own,
            None => (*keys.first()?, self.store.as_deref()?),
        };
        is_program(name).then(|| HelperCall {
            program: format!("docker-credential-{name}"),
            server: server.to_owned(),
        })
    }
}

/// What a helper made of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelperAnswer {
    /// It holds this.
    Found(Credential),
    /// It holds nothing for that registry.
    NotFound,
    /// It failed, or printed something else.
    Failed,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With status 0.
    Well,
    /// With another one.
    Badly,
}

/// Reads what a helper printed. With a bad end, its text on standard output says whether there is just no such credential.
pub fn parse_helper_answer(exit: Exit, printed: &[u8]) -> HelperAnswer {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Username", default)]
        username: String,
        #[serde(rename = "Secret", default)]
        secret: String,
    }
    match exit {
        Exit::Badly if printed.trim_ascii() == b"credentials not found in native keychain" => HelperAnswer::NotFound,
        Exit::Badly => HelperAnswer::Failed,
        Exit::Well => match serde_json::from_slice::<Answer>(printed) {
            Err(_) => HelperAnswer::Failed,
            Ok(Answer { username, secret }) if username.is_empty() && secret.is_empty() => HelperAnswer::NotFound,
            // This is how helpers say that the secret is an identity token.
            Ok(Answer { username, secret }) if username == "<token>" => HelperAnswer::Found(Credential {
                identity_token: Hidden::new(secret),
                ..Credential::default()
            }),
            Ok(Answer { username, secret }) => HelperAnswer::Found(Credential {
                username: Hidden::new(username),
                password: Hidden::new(secret),
                identity_token: Hidden::default(),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_own_helper_comes_before_the_store() {
        let helpers = Helpers::parse(
            br#"{"auths": {}, "credsStore": "pass",
                 "credHelpers": {"ghcr.io": "gh", "plain.io": "", "bad.io": "../evil", "index.docker.io": "hub", "n.io": 7}}"#,
        );
        let call = |registry: &str| helpers.call(registry).map(|call| (call.program, call.server));
        let expect = |program: &str, server: &str| Some((program.to_owned(), server.to_owned()));
        assert_eq!(call("ghcr.io"), expect("docker-credential-gh", "ghcr.io"));
        assert_eq!(call("reg.example:5000"), expect("docker-credential-pass", "reg.example:5000"));
        assert_eq!(call("docker.io"), expect("docker-credential-hub", "index.docker.io"));
        assert_eq!(call("plain.io"), None, "the file's own entry serves");
        assert_eq!(call("bad.io"), None, "a path is no name");
        assert_eq!(call("n.io"), None);
        let store = Helpers::parse(br#"{"credsStore": "osxkeychain"}"#);
        assert_eq!(
            store.call("docker.io").unwrap().server,
            "https://index.docker.io/v1/",
            "docker files Docker Hub under its old name"
        );
        for nothing in [&b"{}"[..], b"[]", b"", br#"{"credsStore": ""}"#, br#"{"credHelpers": []}"#] {
            assert!(Helpers::parse(nothing).is_empty());
        }
    }

    #[test]
    fn answers() {
        let read = |exit, text: &str| parse_helper_answer(exit, text.as_bytes());
        let HelperAnswer::Found(found) = read(Exit::Well, r#"{"ServerURL": "x", "Username": "u", "Secret": "p"}"#) else {
            panic!("found")
        };
        assert_eq!((found.username.bytes(), found.password.bytes()), (&b"u"[..], &b"p"[..]));
        let HelperAnswer::Found(token) = read(Exit::Well, r#"{"Username": "<token>", "Secret": "t"}"#) else {
            panic!("found")
        };
        assert_eq!(token.identity_token.expose(), "t");
        assert!(token.username.is_empty());
        assert_eq!(
            read(Exit::Badly, "credentials not found in native keychain\n"),
            HelperAnswer::NotFound
        );
        assert_eq!(read(Exit::Badly, "no secret service"), HelperAnswer::Failed);
        assert_eq!(read(Exit::Well, "{}"), HelperAnswer::NotFound);
        assert_eq!(read(Exit::Well, "hunter2"), HelperAnswer::Failed);
    }
}
