//! `.dockerconfigjson` and `.dockercfg`, parsed as the kubelet parses them (pull-semantics 4.3).

use super::{Credential, Hidden, base64, endpoint};
use crate::go::json_scanner::{self, Kind};
use std::collections::HashMap;

/// The kubelet's parser refused the document, with its error text, which a pod's status then shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The kubelet's text (`illegal base64 data at input byte 4`).
    pub text: String,
    /// The faulty key under `auths`, if it is a single entry; userinfo in it is masked.
    pub entry: Option<String>,
}

impl ParseError {
    fn document(text: String) -> Self {
        Self { text, entry: None }
    }
}

/// Whether `identitytoken` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tokens {
    /// The kubelet's Secret parser ignores it.
    Ignored,
    /// For docker's own file, as its tools read it.
    Kept,
}

/// The `Struct` and `Field` in Go's type errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `{"auths": {...}}`.
    Config,
    /// The legacy map itself.
    Map,
}

/// Parses `{"auths": {...}}`; entries in document order (Go's own order is random). For a duplicate key, the last value counts.
///
/// # Errors
/// The error of `encoding/json`: one bad entry refuses the whole document. An invalid entry stops the parser; a member of the wrong
/// type is reported at the end, the first one only.
pub fn parse_docker_config(json: &[u8]) -> Result<Vec<(String, Credential)>, ParseError> {
    config(json, Tokens::Ignored)
}

/// Parses the legacy form, the map itself.
///
/// # Errors
/// As [`parse_docker_config`].
pub fn parse_dockercfg(json: &[u8]) -> Result<Vec<(String, Credential)>, ParseError> {
    json_scanner::check(json).map_err(ParseError::document)?;
    let mut entries = Entries::default();
    entries.read(json, Shape::Map, Tokens::Ignored)?;
    Ok(entries.list)
}

/// Parses a user's own `config.json` as docker's tools do: `identitytoken` counts, before a password beside it, and an empty entry is
/// ignored (it only says that a credential store has the credential).
///
/// # Errors
/// As [`parse_docker_config`].
pub fn parse_user_config(json: &[u8]) -> Result<Vec<(String, Credential)>, ParseError> {
    let entries = config(json, Tokens::Kept)?.into_iter();
    let tried = entries.flat_map(|(key, credential)| {
        // If there is a password too, docker's tools send the token to token servers, and the password to registries without one.
        let both = !credential.identity_token.is_empty() && !credential.password.is_empty();
        let token = both.then(|| Credential {
            identity_token: credential.identity_token.clone(),
            ..Credential::default()
        });
        let rest = Credential {
            identity_token: if both { Hidden::default() } else { credential.identity_token },
            ..credential
        };
        token
            .into_iter()
            .chain([rest])
            .map(move |credential| (key.clone(), credential))
    });
    Ok(tried.filter(|(_, credential)| *credential != Credential::default()).collect())
}

fn config(json: &[u8], tokens: Tokens) -> Result<Vec<(String, Credential)>, ParseError> {
    json_scanner::check(json).map_err(ParseError::document)?;
    let mut entries = Entries::default();
    // Of the wrong type: Go reads on, and reports it at the end.
    let mut saved: Option<ParseError> = None;
    match json_scanner::kind(json) {
        Kind::Null => {}
        Kind::Object => {
            for (key, value) in json_scanner::members(json) {
                let read = if json_scanner::same_field(&key, "auths") {
                    entries.read(value, Shape::Config, tokens)
                } else if json_scanner::same_field(&key, "HttpHeaders") {
                    headers(value)
                } else {
                    Ok(())
                };
                match read {
                    Err(error) if error.entry.is_some() => return Err(error),
                    Err(error) => {
                        saved.get_or_insert(error);
                    }
                    Ok(()) => {}
                }
            }
        }
        other => return Err(ParseError::document(into_value(other, "credentialprovider.DockerConfigJSON"))),
    }
    saved.map_or(Ok(entries.list), Err)
}

/// Entries in document order; a later value of a key replaces an earlier one.
#[derive(Default)]
struct Entries {
    list: Vec<(String, Credential)>,
    places: HashMap<String, usize>,
}

impl Entries {
    fn read(&mut self, map: &[u8], shape: Shape, tokens: Tokens) -> Result<(), ParseError> {
        match json_scanner::kind(map) {
            // In Go, `null` clears a map filled by an earlier `auths`.
            Kind::Null => *self = Self::default(),
            Kind::Object => {
                for (key, value) in json_scanner::members(map) {
                    let credential = entry(value, shape, tokens).map_err(|text| ParseError {
                        text,
                        entry: Some(endpoint::masked(&key)),
                    })?;
                    if let Some(slot) = self.places.get(&key).and_then(|&place| self.list.get_mut(place)) {
                        slot.1 = credential;
                    } else {
                        self.places.insert(key.clone(), self.list.len());
                        self.list.push((key, credential));
                    }
                }
            }
            other => {
                return Err(ParseError::document(match shape {
                    Shape::Config => into_field(other, "DockerConfigJSON.auths", "credentialprovider.DockerConfig"),
                    Shape::Map => into_value(other, "credentialprovider.DockerConfig"),
                }));
            }
        }
        Ok(())
    }
}

/// One entry. The error is the kubelet's text.
fn entry(value: &[u8], shape: Shape, tokens: Tokens) -> Result<Credential, String> {
    const TYPE: &str = "credentialprovider.dockerConfigEntryWithAuth";
    let kind = json_scanner::kind(value);
    match (kind, shape) {
        (Kind::Null, _) => return Ok(Credential::default()),
        (Kind::Object, _) => {}
        (_, Shape::Config) => return Err(into_field(kind, "DockerConfigJSON.auths", TYPE)),
        (_, Shape::Map) => return Err(into_value(kind, TYPE)),
    }
    // `username`, `password`, `email` (only its type matters), `auth`, and docker's `identitytoken`.
    let mut fields = [const { String::new() }; 5];
    let names = ["username", "password", "email", "auth", "identitytoken"];
    let known = match tokens {
        Tokens::Ignored => 4,
        Tokens::Kept => 5,
    };
    for (key, value) in json_scanner::members(value) {
        for (name, field) in names
            .iter()
            .zip(&mut fields)
            .take(known)
            .filter(|(name, _)| json_scanner::same_field(&key, name))
        {
            match json_scanner::kind(value) {
                Kind::String => *field = json_scanner::string(value),
                Kind::Null => {}
                other => {
                    // Since Go 1.24 the path goes from the outermost struct to the field.
                    let path = match shape {
                        Shape::Config => format!("DockerConfigJSON.auths.{name}"),
                        Shape::Map => format!("dockerConfigEntryWithAuth.{name}"),
                    };
                    return Err(into_field(other, &path, "string"));
                }
            }
        }
    }
    let [username, password, _, auth, token] = fields;
    let (username, password) = if auth.is_empty() {
        (username.into_bytes(), password.into_bytes())
    } else {
        split_auth(&auth)?
    };
    // `auth` then holds a placeholder name and no password (`az acr login`); docker's tools use the token.
    let username = if !token.is_empty() && password.is_empty() {
        Vec::new()
    } else {
        username
    };
    Ok(Credential {
        username: Hidden::new(username),
        password: Hidden::new(password),
        identity_token: Hidden::new(token),
    })
}

/// `base64(username:password)`; Go turns it into strings whatever the bytes.
fn split_auth(auth: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let decoded = base64::decode_auth(auth).map_err(|at| format!("illegal base64 data at input byte {at}"))?;
    let colon = decoded
        .iter()
        .position(|&byte| byte == b':')
        .ok_or_else(|| "unable to parse auth field, must be formatted as base64(username:password)".to_owned())?;
    let (username, password) = decoded.split_at(colon);
    Ok((username.to_vec(), password.get(1..).unwrap_or_default().to_vec()))
}

/// `HttpHeaders` is not used, but a wrong type still makes the document invalid: it is a map of strings.
fn headers(value: &[u8]) -> Result<(), ParseError> {
    const FIELD: &str = "DockerConfigJSON.HttpHeaders";
    match json_scanner::kind(value) {
        Kind::Null => Ok(()),
        Kind::Object => json_scanner::members(value)
            .into_iter()
            .try_for_each(|(_, header)| match json_scanner::kind(header) {
                Kind::Null | Kind::String => Ok(()),
                other => Err(ParseError::document(into_field(other, FIELD, "string"))),
            }),
        other => Err(ParseError::document(into_field(other, FIELD, "map[string]string"))),
    }
}

fn into_value(kind: Kind, go_type: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {go_type}", kind.word())
}

fn into_field(kind: Kind, field: &str, go_type: &str) -> String {
    format!(
        "json: cannot unmarshal {} into Go struct field {field} of type {go_type}",
        kind.word()
    )
}
