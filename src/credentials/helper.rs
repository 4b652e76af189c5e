//! Docker's credential helpers: which one a user's docker config names for a registry, and how to read its answer. Pure;
//! [`crate::providers`] runs the helpers, for `pullgate check` only.
//!
//! Source: docker's `cli/config/configfile` and docker-credential-helpers.

use super::provider::is_program;
use super::{Credential, Hidden};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The name under which docker keeps the credentials of Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

/// The helpers in a user's docker config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Helpers {
    /// `credHelpers`: by registry.
    by_registry: Vec<(String, String)>,
    /// `credsStore`: for all other registries.
    store: Option<String>,
}

/// A call of a helper.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HelperCall {
    /// Its program: `docker-credential-NAME`.
    pub program: String,
    /// Its standard input.
    pub server: String,
}

impl Helpers {
    /// Reads `credHelpers` and `credsStore`. Anything that docker would not write is ignored: whether the document is valid is
    /// checked when its other half is read.
    pub fn parse(json: &[u8]) -> Self {
        let config: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            by_registry: config
                .get("credHelpers")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                // An empty name exempts the registry from `credsStore`.
                .map(|(registry, name)| (registry.clone(), text(name).unwrap_or_default()))
                .collect(),
            store: config.get("credsStore").and_then(text),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_registry.is_empty() && self.store.is_none()
    }

    /// The call for a registry (`docker.io`, `ghcr.io`, `reg.example:5000`). `None` if no helper is named for it, or the name
    /// cannot be a program's.
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

/// The answer of a helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelperAnswer {
    /// It has this credential.
    Found(Credential),
    /// It has none for that registry.
    NotFound,
    /// It failed, or printed something else.
    Failed,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With status 0.
    Succeeded,
    /// With another one.
    Failed,
}

/// Reads a helper's output. After a failure, the text says whether there is simply no such credential.
pub fn parse_helper_answer(exit: Exit, printed: &[u8]) -> HelperAnswer {
    #[derive(Deserialize)]
    struct Output {
        #[serde(rename = "Username", default)]
        username: String,
        #[serde(rename = "Secret", default)]
        secret: String,
    }
    match exit {
        Exit::Failed if printed.trim_ascii() == b"credentials not found in native keychain" => HelperAnswer::NotFound,
        Exit::Failed => HelperAnswer::Failed,
        Exit::Succeeded => match serde_json::from_slice::<Output>(printed) {
            Err(_) => HelperAnswer::Failed,
            Ok(Output { username, secret }) if username.is_empty() && secret.is_empty() => HelperAnswer::NotFound,
            // This is how helpers mark an identity token.
            Ok(Output { username, secret }) if username == "<token>" => HelperAnswer::Found(Credential {
                identity_token: Hidden::new(secret),
                ..Credential::default()
            }),
            Ok(Output { username, secret }) => HelperAnswer::Found(Credential {
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
        let HelperAnswer::Found(found) = read(Exit::Succeeded, r#"{"ServerURL": "x", "Username": "u", "Secret": "p"}"#) else {
            panic!("found")
        };
        assert_eq!((found.username.bytes(), found.password.bytes()), (&b"u"[..], &b"p"[..]));
        let HelperAnswer::Found(token) = read(Exit::Succeeded, r#"{"Username": "<token>", "Secret": "t"}"#) else {
            panic!("found")
        };
        assert_eq!(token.identity_token.expose(), "t");
        assert!(token.username.is_empty());
        assert_eq!(
            read(Exit::Failed, "credentials not found in native keychain\n"),
            HelperAnswer::NotFound
        );
        assert_eq!(read(Exit::Failed, "no secret service"), HelperAnswer::Failed);
        assert_eq!(read(Exit::Succeeded, "{}"), HelperAnswer::NotFound);
        assert_eq!(read(Exit::Succeeded, "hunter2"), HelperAnswer::Failed);
    }
}
