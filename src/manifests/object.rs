//! Objects in documents.

use serde_json::Value;

/// The objects of a document with their positions in it: the items of a `List` or of an array of objects, or the object itself.
pub(super) fn flatten(value: Value, prefix: String) -> Vec<(String, Value)> {
    let list_of = value
        .get("kind")
        .and_then(Value::as_str)
        .and_then(|kind| kind.strip_suffix("List"))
        .map(str::to_owned);
    match (value, list_of) {
        (Value::Array(items), _) if prefix.is_empty() => items
            .into_iter()
            .enumerate()
            .flat_map(|(at, item)| flatten(item, format!("[{at}].")))
            .collect(),
        (Value::Object(mut map), Some(kind)) if map.get("items").is_some_and(Value::is_array) => match map.remove("items") {
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (at, typed(item, &kind, map.get("apiVersion"))))
                .flat_map(|(at, item)| flatten(item, format!("{prefix}items[{at}].")))
                .collect(),
            _ => Vec::new(),
        },
        (other, _) => vec![(prefix, other)],
    }
}

/// Whether it is an object of Kubernetes, or an array of such.
pub(super) fn is_kubernetes(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty() && items.iter().all(is_object),
        other => is_object(other),
    }
}

fn is_object(value: &Value) -> bool {
    let text = |key: &str| value.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    text("apiVersion") && text("kind") || value.get("items").is_some_and(Value::is_array) && text("kind")
}

/// Items of a `PodList` may omit their type: it follows from the list's.
fn typed(mut item: Value, kind: &str, version: Option<&Value>) -> Value {
    if let (Some(map), Some(version), false) = (item.as_object_mut(), version, kind.is_empty())
        && !map.contains_key("kind")
        && !map.contains_key("apiVersion")
    {
        map.insert("kind".to_owned(), kind.into());
        map.insert("apiVersion".to_owned(), version.clone());
    }
    item
}

/// Cluster-scoped kinds that are of interest here.
const CLUSTER_SCOPED: &[&str] = &["Node", "Namespace", "RuntimeClass"];

/// Sets the namespace as the API server would.
pub(super) fn settle(mut object: Value, namespace: &str) -> Value {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    if CLUSTER_SCOPED.contains(&kind) {
        return object;
    }
    if let Some(map) = object.as_object_mut() {
        let metadata = map.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(metadata) = metadata.as_object_mut()
            && metadata.get("namespace").and_then(Value::as_str).is_none_or(str::is_empty)
        {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
    }
    object
}

/// The containers whose image is a number, with their paths: the API server refuses them.
pub(super) fn numeric_images(object: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), object)];
    while let Some((path, value)) = open.pop() {
        let dot = if path.is_empty() { "" } else { "." };
        match value {
            Value::Object(fields) => {
                for (key, field) in fields {
                    let below = format!("{path}{dot}{key}");
                    if matches!(key.as_str(), "containers" | "initContainers" | "ephemeralContainers") {
                        let containers = field.as_array().into_iter().flatten().enumerate();
                        found.extend(containers.filter_map(|(at, container)| {
                            let image = container.get("image").filter(|image| image.is_number())?;
                            Some((format!("{below}[{at}].image"), image.to_string()))
                        }));
                    } else if field.is_object() || field.is_array() {
                        open.push((below, field));
                    }
                }
            }
            Value::Array(items) => open.extend(items.iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found.sort();
    found
}

/// Kind, namespace and name of the object that controls this one.
pub(super) fn owner(object: &Value) -> Option<(String, String, String)> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let metadata = object.get("metadata")?;
    let owners = metadata.get("ownerReferences")?.as_array()?;
    let owner = owners
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    Some((text(owner, "kind"), text(metadata, "namespace"), text(owner, "name")))
}
