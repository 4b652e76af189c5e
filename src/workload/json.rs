//! Access to untyped JSON: a missing field counts like one of the wrong type.

use serde_json::Value;

/// A text field.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

/// A text field as an owned string; empty if missing.
pub(super) fn string(value: &Value, field: &str) -> String {
    text(value, field).unwrap_or_default().to_owned()
}

/// A non-empty text field.
pub(super) fn non_empty<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    text(value, field).filter(|text| !text.is_empty())
}

/// The elements of an array field.
pub(super) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The texts of an array field.
pub(super) fn texts(value: &Value, field: &str) -> Vec<String> {
    list(value, field)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The text members of an object field, sorted by key.
pub(super) fn pairs(value: &Value, field: &str) -> Vec<(String, String)> {
    let Some(object) = value.get(field).and_then(Value::as_object) else {
        return Vec::new();
    };
    let mut pairs: Vec<(String, String)> = object
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// The value at a dotted path.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, field| value.get(field))
}
