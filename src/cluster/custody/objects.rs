//! The two objects, as they are read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Set on a Secret that pullgate writes.
pub(super) const MARK: &str = "pullgate.dev/certificates";
/// The value of [`MARK`]: who sees to it.
const MARKED: &str = "self-managed";
/// Annotations of this domain on an object say that cert-manager writes it too.
const CERT_MANAGER: &str = "cert-manager.io/";

/// A Secret's data, decoded. Its `Debug` shows the keys only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretData(pub BTreeMap<String, Vec<u8>>);

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl SecretData {
    /// The bytes under a key; none is as good as empty.
    pub fn get(&self, key: &str) -> &[u8] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    fn encoded(&self) -> Value {
        self.0
            .iter()
            .map(|(key, bytes)| (key.clone(), Value::from(STANDARD.encode(bytes))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// Who has a Secret in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// pullgate wrote it.
    Pullgate,
    /// cert-manager fills it.
    CertManager,
    /// Nobody says so.
    Unknown,
}

/// The Secret as it was read.
#[derive(Clone)]
pub struct Kept {
    /// Its data.
    pub data: SecretData,
    /// Who writes it.
    pub keeper: Keeper,
    /// All of it: what is not ours goes back as it came.
    object: Value,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("data", &self.data)
            .field("keeper", &self.keeper)
            .finish_non_exhaustive()
    }
}

/// Whom a webhook calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The host of a URL, without brackets.
    Host(String),
}

/// One webhook of the registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its place in the list.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Whom it calls; none when it says nothing that can be understood.
    pub target: Option<Target>,
    /// What it trusts, as it stands there (PEM, if all is well).
    pub ca_bundle: Vec<u8>,
}

/// The registration as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its webhooks.
    pub webhooks: Vec<Webhook>,
    /// Whether cert-manager writes its bundles.
    pub injected: bool,
    pub(super) version: String,
}

/// A new Secret.
pub(super) fn secret(namespace: &str, name: &str, data: &SecretData) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "namespace": namespace, "name": name,
            "labels": {"app.kubernetes.io/name": "pullgate", "app.kubernetes.io/managed-by": "pullgate"},
            "annotations": {MARK: MARKED},
        },
        "data": data.encoded(),
    })
}

impl Kept {
    /// The same Secret with other data, and our mark.
    pub(super) fn with(&self, data: &SecretData) -> Value {
        let mut object = self.object.clone();
        object["data"] = data.encoded();
        if !object["metadata"]["annotations"].is_object() {
            object["metadata"]["annotations"] = json!({});
        }
        object["metadata"]["annotations"][MARK] = MARKED.into();
        object
    }

    pub(super) fn read(object: Value) -> Self {
        let decode = |value: &Value| value.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let data = object["data"]
            .as_object()
            .map(|all| all.iter().map(|(key, value)| (key.clone(), decode(value))).collect())
            .unwrap_or_default();
        let keeper = match object["metadata"]["annotations"].as_object() {
            Some(all) if all.keys().any(|key| key.starts_with(CERT_MANAGER)) => Keeper::CertManager,
            Some(all) if all.contains_key(MARK) => Keeper::Pullgate,
            _ => Keeper::Unknown,
        };
        Self {
            data: SecretData(data),
            keeper,
            object,
        }
    }
}

impl Registered {
    pub(super) fn read(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let webhooks = object["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let webhooks = webhooks.iter().enumerate().map(|(index, webhook)| {
            let client = &webhook["clientConfig"];
            let service = &client["service"];
            Webhook {
                index,
                name: text(&webhook["name"]),
                target: if service.is_object() {
                    Some(Target::Service {
                        namespace: text(&service["namespace"]),
                        name: text(&service["name"]),
                    })
                } else {
                    client["url"].as_str().and_then(host).map(Target::Host)
                },
                ca_bundle: STANDARD.decode(text(&client["caBundle"])).unwrap_or_default(),
            }
        });
        let annotations = object["metadata"]["annotations"].as_object();
        Self {
            webhooks: webhooks.collect(),
            injected: annotations.is_some_and(|all| all.keys().any(|key| key.starts_with(CERT_MANAGER))),
            version: text(&object["metadata"]["resourceVersion"]),
        }
    }
}

fn host(address: &str) -> Option<String> {
    let address = url::Url::parse(address).ok()?;
    let host = address.host_str()?;
    Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}
