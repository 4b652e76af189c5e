//! API objects, as untyped JSON, reduced to facts on arrival. Everything else is dropped.

use super::{Namespace, ServiceAccount};
use crate::credentials::{Hidden, PullSecret, ReadOnce, data_key, decode_secret_data};
use serde_json::Value;

/// The annotation that restricts a namespace's pods to nodes (the `PodNodeSelector` admission plugin).
const NODE_SELECTOR: &str = "scheduler.alpha.kubernetes.io/node-selector";

fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    path.iter()
        .try_fold(object, |at, key| at.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `metadata.name`.
pub(super) fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// `metadata.namespace`; empty if there is none.
pub(super) fn namespace_of(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// `metadata.uid` and `resourceVersion`: a different value means a different object, or a change.
fn version(object: &Value) -> String {
    format!(
        "{}/{}",
        text(object, &["metadata", "uid"]),
        text(object, &["metadata", "resourceVersion"])
    )
}

/// Whether SOPS has encrypted the values of a Secret, which are `ENC[…]` then.
pub(super) fn is_encrypted(secret: &Value) -> bool {
    ["data", "stringData"].iter().any(|key| {
        let values = secret.get(*key).and_then(Value::as_object);
        values.is_some_and(|values| {
            values
                .values()
                .any(|value| value.as_str().is_some_and(|text| text.starts_with("ENC[")))
        })
    })
}

/// A Namespace.
pub(super) fn namespace(object: &Value) -> Namespace {
    let mut labels: Vec<(String, String)> = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    labels.sort_unstable();
    let node_selector = object
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(NODE_SELECTOR))
        .and_then(Value::as_str)
        .map(str::to_owned);
    Namespace { labels, node_selector }
}

/// A service account.
pub(super) fn service_account(object: &Value) -> ServiceAccount {
    let secrets = object.get("imagePullSecrets").and_then(Value::as_array);
    ServiceAccount {
        pull_secrets: secrets
            .into_iter()
            .flatten()
            .map(|secret| text(secret, &["name"]).to_owned())
            .collect(),
        version: version(object),
    }
}

/// A Secret. Data is kept only for the types that the kubelet reads. `stringData` overrides `data`, as when it is applied.
///
/// # Errors
/// A clause: why the API server would refuse this object. Never for one that it has accepted.
pub(super) fn secret(object: &Value) -> Result<PullSecret, String> {
    let kind = match text(object, &["type"]) {
        "" => "Opaque",
        kind => kind,
    };
    let data = match data_key(kind) {
        Some(key) => secret_data(object, key)?,
        None => String::new(),
    };
    Ok(PullSecret {
        name: name(object).to_owned(),
        kind: kind.to_owned(),
        data: Hidden::new(data),
        version: version(object),
        opened: ReadOnce::default(),
    })
}

fn secret_data(object: &Value, key: &str) -> Result<String, String> {
    let field = |field: &str| {
        object
            .get(field)
            .and_then(|data| data.get(key))
            .filter(|value| !value.is_null())
    };
    if let Some(plain) = field("stringData") {
        return plain
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("its stringData[{key}] is not a string"));
    }
    let Some(encoded) = field("data") else {
        return Ok(String::new());
    };
    let encoded = encoded.as_str().ok_or_else(|| format!("its data[{key}] is not a string"))?;
    let bytes = decode_secret_data(encoded).map_err(|at| format!("its data[{key}] is not base64 (at byte {at})"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether an object of this name can exist (a DNS-1123 subdomain). Nothing else is ever put into a path: names come from the
/// objects under review, and `../` in one would read another namespace.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            label.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_keep_what_a_pull_needs() {
        let object = json!({
            "metadata": {"name": "regcred", "uid": "u", "resourceVersion": "7"},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": "e30=", "other": "hunter2"},
        });
        let found = secret(&object).unwrap();
        assert_eq!(
            (found.name.as_str(), found.kind.as_str()),
            ("regcred", "kubernetes.io/dockerconfigjson")
        );
        assert_eq!((found.data.bytes(), found.version.as_str()), (&b"{}"[..], "u/7"));
        for (object, data) in [
            (json!({"type": "Opaque", "data": {".dockerconfigjson": "e30="}}), Ok("")),
            (json!({"data": {".dockerconfigjson": 5}}), Ok("")),
            (
                json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "e30=", ".dockerconfigjson": "!"}}),
                Ok("{}"),
            ),
            (
                json!({"type": "kubernetes.io/dockercfg", "data": {".dockerconfigjson": "e30="}}),
                Ok(""),
            ),
            (
                json!({"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "x"}, "data": {".dockercfg": "!"}}),
                Ok("x"),
            ),
            (
                json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": null}}),
                Ok(""),
            ),
            (
                json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "e30=\n"}}),
                Ok("{}"),
            ),
            (
                json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "{}"}}),
                Err("its data[.dockercfg] is not base64 (at byte 0)"),
            ),
            (
                json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": {}}}),
                Err("its data[.dockercfg] is not a string"),
            ),
        ] {
            let found = secret(&object).map(|secret| secret.data.expose().into_owned());
            assert_eq!(found, data.map(str::to_owned).map_err(str::to_owned), "{object}");
        }
    }

    #[test]
    fn service_accounts_and_namespaces() {
        let object = json!({"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "b"}, {}, {"name": "a"}]});
        assert_eq!(service_account(&object).pull_secrets, ["b", "", "a"]);
        let object = json!({"metadata": {
            "labels": {"z": "1", "a": "2", "odd": 5},
            "annotations": {"scheduler.alpha.kubernetes.io/node-selector": "pool=a"},
        }});
        let found = namespace(&object);
        assert_eq!(
            found.labels,
            [("a".to_owned(), "2".to_owned()), ("z".to_owned(), "1".to_owned())]
        );
        assert_eq!(found.node_selector.as_deref(), Some("pool=a"));
        for odd in [
            json!(null),
            json!([]),
            json!({"metadata": [], "imagePullSecrets": {}, "data": 3, "type": 4}),
        ] {
            assert_eq!(service_account(&odd).pull_secrets, [""; 0]);
            assert_eq!(namespace(&odd), Namespace::default());
            assert!(secret(&odd).is_ok());
        }
    }

    #[test]
    fn only_names_that_can_exist_are_asked_for() {
        for good in ["a", "regcred", "reg.cred-2", "0a"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "a/b", "../x", "a..b", "-a", "a-", "a?b", "a b", "é", "a%2fb", "."] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(!is_name(&"a".repeat(254)));
    }
}
