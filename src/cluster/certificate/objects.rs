//! The two objects, parsed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Marks a Secret that pullgate writes.
pub(super) const MARK: &str = "pullgate.dev/certificates";
/// The value of [`MARK`].
const MARKED: &str = "self-managed";
/// Annotations of this domain mean that cert-manager writes the object too.
const CERT_MANAGER: &str = "cert-manager.io/";

/// A Secret's decoded data. Its `Debug` shows only the keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretData(pub BTreeMap<String, Vec<u8>>);

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl SecretData {
    /// The bytes of a key; empty if it does not exist.
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

/// Who manages a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagedBy {
    /// pullgate wrote it.
    Pullgate,
    /// cert-manager fills it.
    CertManager,
    /// Unknown.
    Unknown,
}

/// The Secret as read.
#[derive(Clone)]
pub struct StoredSecret {
    /// Its data.
    pub data: SecretData,
    /// Who manages it.
    pub managed_by: ManagedBy,
    /// The whole object: what is not ours is written back unchanged.
    object: Value,
}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSecret")
            .field("data", &self.data)
            .field("managed_by", &self.managed_by)
            .finish_non_exhaustive()
    }
}

/// What a webhook calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookTarget {
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
    /// Its index in the list.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What it calls; `None` if that cannot be parsed.
    pub target: Option<WebhookTarget>,
    /// Its trust bundle as registered (normally PEM).
    pub ca_bundle: Vec<u8>,
}

/// The registration as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its webhooks.
    pub webhooks: Vec<Webhook>,
    /// Whether cert-manager injects its bundles.
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

impl StoredSecret {
    /// The same Secret with other data, and with our mark.
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
        let managed_by = match object["metadata"]["annotations"].as_object() {
            Some(all) if all.keys().any(|key| key.starts_with(CERT_MANAGER)) => ManagedBy::CertManager,
            Some(all) if all.contains_key(MARK) => ManagedBy::Pullgate,
            _ => ManagedBy::Unknown,
        };
        Self {
            data: SecretData(data),
            managed_by,
            object,
        }
    }
}

impl Registration {
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
                    Some(WebhookTarget::Service {
                        namespace: text(&service["namespace"]),
                        name: text(&service["name"]),
                    })
                } else {
                    client["url"].as_str().and_then(host).map(WebhookTarget::Host)
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
