//! `policy.json`: which images a node admits (`signature` of containers/image). Signatures are not checked here.

use crate::image::{Reference, Target};
use serde::Deserialize;
use serde::de::Error as _;
use std::collections::BTreeMap;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    default: Requirements,
    #[serde(default)]
    transports: Transports,
}

/// The requirements by scope, for the one transport that nodes pull with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Transports {
    docker: BTreeMap<String, Requirements>,
}

/// All of these must be met; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Requirements(Vec<Requirement>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
enum Kind {
    #[serde(rename = "insecureAcceptAnything")]
    Accept,
    #[serde(rename = "reject")]
    Reject,
    #[serde(rename = "signedBy")]
    SignedBy,
    #[serde(rename = "signedBaseLayer")]
    SignedBaseLayer,
    #[serde(rename = "sigstoreSigned")]
    SigstoreSigned,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Requirement {
    kind: Kind,
}

/// One requirement as written (`newPolicyRequirementFromJSON`). An unknown key makes the whole policy unusable.
#[derive(Deserialize)]
struct WrittenRequirement {
    r#type: Kind,
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

impl<'de> Deserialize<'de> for Requirement {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const SIGNED_BY: &[&str] = &["keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"];
        const SIGSTORE: &[&str] = &[
            "keyPath",
            "keyPaths",
            "keyData",
            "keyDatas",
            "fulcio",
            "pki",
            "rekorPublicKeyPath",
            "rekorPublicKeyPaths",
            "rekorPublicKeyData",
            "rekorPublicKeyDatas",
            "signedIdentity",
        ];
        let WrittenRequirement { r#type: kind, more } = WrittenRequirement::deserialize(deserializer)?;
        let known = match kind {
            Kind::Accept | Kind::Reject => &[],
            Kind::SignedBy => SIGNED_BY,
            Kind::SignedBaseLayer => &["baseLayerIdentity"],
            Kind::SigstoreSigned => SIGSTORE,
        };
        match more.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(D::Error::custom(format!("unknown key {key:?} in a requirement"))),
            None => Ok(Self { kind }),
        }
    }
}

/// What a policy says about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It may run.
    Accept,
    /// It may not.
    Reject,
    /// It may if it is signed.
    IfSigned,
}

impl<'de> Deserialize<'de> for Requirements {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = Vec::<Requirement>::deserialize(deserializer)?;
        if all.is_empty() {
            return Err(D::Error::custom("a list of requirements must not be empty"));
        }
        Ok(Self(all))
    }
}

impl<'de> Deserialize<'de> for Transports {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            #[serde(default)]
            docker: BTreeMap<String, Requirements>,
        }
        let Written { docker, .. } = Written::deserialize(deserializer)?;
        Ok(Self { docker })
    }
}

impl Policy {
    /// Reads a policy. The error has line and column.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// What it says about an image: only the narrowest scope counts.
    pub(super) fn says(&self, reference: &Reference) -> Says {
        let scopes = scopes(reference);
        let found = scopes.iter().find_map(|scope| self.transports.docker.get(scope));
        let mut says = Says::Accept;
        // In order: the first requirement that is not met ends it.
        for requirement in &found.unwrap_or(&self.default).0 {
            match requirement.kind {
                Kind::Accept => {}
                Kind::Reject => return Says::Reject,
                Kind::SignedBy | Kind::SignedBaseLayer | Kind::SigstoreSigned => says = Says::IfSigned,
            }
        }
        says
    }
}

/// The scopes of an image, from the narrowest on (`DockerReferenceIdentity`, `DockerReferenceNamespaces`).
fn scopes(reference: &Reference) -> Vec<String> {
    let name = reference.name();
    let mut scopes = vec![match reference.target() {
        Target::Tag(tag) => format!("{name}:{tag}"),
        Target::Digest(digest) => format!("{name}@{digest}"),
    }];
    let mut rest = name.as_str();
    loop {
        scopes.push(rest.to_owned());
        let Some((above, _)) = rest.rsplit_once('/') else { break };
        rest = above;
    }
    let mut host = rest.split(':').next().unwrap_or_default();
    while let Some((_, domain)) = host.split_once('.') {
        scopes.push(format!("*.{domain}"));
        host = domain;
    }
    scopes.push(String::new());
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(json: &str, image: &str) -> Says {
        Policy::parse(json.as_bytes())
            .unwrap()
            .says(&Reference::parse(image).unwrap())
    }

    #[test]
    fn the_narrowest_scope_counts() {
        let json = r#"{"default": [{"type": "reject"}], "transports": {
            "docker": {"quay.test": [{"type": "insecureAcceptAnything"}], "quay.test/bad": [{"type": "reject"}],
                       "quay.test/bad/good:v1": [{"type": "insecureAcceptAnything"}], "*.corp.test": [{"type": "insecureAcceptAnything"}],
                       "signed.test": [{"type": "insecureAcceptAnything"}, {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}]},
            "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]}, "unheard-of": {"x": []}}}"#;
        for (image, expected) in [
            ("quay.test/app:v1", Says::Accept),
            ("quay.test:8443/app:v1", Says::Reject),
            ("quay.test/bad/app", Says::Reject),
            ("quay.test/bad/good:v1", Says::Accept),
            ("quay.test/bad/good:v2", Says::Reject),
            ("a.b.corp.test:5000/x", Says::Accept),
            ("corp.test/x", Says::Reject),
            ("signed.test/x", Says::IfSigned),
            ("nginx", Says::Reject),
        ] {
            assert_eq!(says(json, image), expected, "{image}");
        }
        let whole = r#"{"default": [{"type": "reject"}], "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}}}"#;
        assert_eq!(says(whole, "nginx"), Says::Accept);
    }

    #[test]
    fn what_containers_image_refuses() {
        for (json, expected) in [
            ("{}", "missing field `default` at line 1 column 2"),
            (
                r#"{"default": []}"#,
                "a list of requirements must not be empty at line 1 column 15",
            ),
            ("{\"default\": [{\"type\": \"allow\"}]}", "unknown variant `allow`"),
            (
                r#"{"default": [{"type": "reject", "why": "x"}]}"#,
                "unknown key \"why\" in a requirement at line 1 column 44",
            ),
            (
                r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys", "fulcio": {}}]}"#,
                "unknown key \"fulcio\" in a requirement",
            ),
            (
                "{\"default\": [{\"type\": \"reject\"}],\n \"transport\": {}}",
                "unknown field `transport`",
            ),
            ("[", "EOF while parsing a list at line 1 column 1"),
        ] {
            let error = Policy::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
