//! The schema of an `ImagePolicy`, derived from the model: `pullgate schema policy` prints it, the CRD contains it, and every
//! policy is checked against it, wherever it comes from.

use super::model::{ImagePolicy, Mode};
use super::{Problem, foreign};
use crate::verdict::Outlook;
use crate::yaml::unknown;
use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The `CustomResourceDefinition`.
pub fn crd() -> Value {
    let mut crd = CRD.clone();
    // `status` belongs to the server; `kubectl apply --server-side` refuses an empty one.
    if let Some(crd) = crd.as_object_mut() {
        crd.remove("status");
    }
    crd
}

/// The JSON Schema (2020-12) of a policy file, for editors: unknown fields are errors.
pub fn json_schema() -> Value {
    let mut schema = SCHEMA.clone();
    spell_out(&mut schema);
    strip(&mut schema, "x-kubernetes-validations");
    strip(&mut schema, "x-kubernetes-list-type");
    strip(&mut schema, "x-kubernetes-list-map-keys");
    close(&mut schema);
    if let Some(schema) = schema.as_object_mut() {
        let constant = |value: &str| json!({"const": value});
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        properties["apiVersion"] = constant(super::model::API_VERSION);
        properties["kind"] = constant(super::model::KIND);
        properties["metadata"] = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}});
        schema.insert("required".to_owned(), json!(["apiVersion", "kind", "metadata", "spec"]));
        schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        schema.insert(
            "$id".to_owned(),
            "https://pullgate.dev/schema/v1alpha1/imagepolicy.json".into(),
        );
        schema.insert("title".to_owned(), "ImagePolicy".into());
    }
    schema
}

/// The JSON Schema (2020-12) of an `ImagePolicyTest`.
pub fn test_schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let spec = settings.into_generator().into_root_schema_for::<super::cases::PolicyTest>();
    let mut spec = spec.to_value();
    unwrap_lines(&mut spec);
    never_null(&mut spec);
    spell_out(&mut spec);
    let mut top = Map::new();
    if let Some(spec) = spec.as_object_mut() {
        // Definitions belong at the top level.
        for key in ["$schema", "$defs"] {
            top.extend(spec.remove(key).map(|value| (key.to_owned(), value)));
        }
    }
    let constant = |value: &str| json!({"const": value});
    top.insert(
        "$id".to_owned(),
        "https://pullgate.dev/schema/v1alpha1/imagepolicytest.json".into(),
    );
    top.insert("title".to_owned(), super::cases::KIND.into());
    top.insert("type".to_owned(), "object".into());
    top.insert("required".to_owned(), json!(["apiVersion", "kind", "spec"]));
    top.insert(
        "properties".to_owned(),
        json!({"apiVersion": constant(super::model::API_VERSION), "kind": constant(super::cases::KIND),
               "metadata": {"type": "object"}, "spec": spec}),
    );
    Value::Object(top)
}

/// The API server's keyword for a whole number or text.
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// What the derive makes of the model. A field without a value is an error, not the same as a missing one: an empty `allow:` would
/// otherwise allow everything.
static CRD: LazyLock<Value> = LazyLock::new(|| {
    let mut crd = serde_json::to_value(ImagePolicy::crd()).unwrap_or_default();
    strip(&mut crd, "nullable");
    unwrap_lines(&mut crd);
    crd
});

/// The structural schema of the whole object.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let schema = CRD.pointer("/spec/versions/0/schema/openAPIV3Schema");
    schema.cloned().unwrap_or_default()
});

/// The schema of a test's `spec`.
static TEST: LazyLock<Value> = LazyLock::new(|| {
    let settings = schemars::generate::SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<super::cases::PolicyTest>();
    let mut schema = schema.to_value();
    strip(&mut schema, "nullable");
    unwrap_lines(&mut schema);
    schema
});

/// The schema of `spec`, for the reference in the docs.
pub fn spec() -> &'static Value {
    SCHEMA.pointer("/properties/spec").unwrap_or(&Value::Null)
}

/// Everything in `object` that the schema refuses. `metadata` and `status` are left to the API server.
pub(super) fn check(object: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(fields) = object.as_object() else {
        return vec![Problem::at("", format!("expected an object, got {}", kind(object)))];
    };
    problems.extend(envelope(fields));
    match fields.get("spec") {
        Some(value) => walk(spec(), value, "spec", &mut problems),
        None => problems.push(Problem::at("spec", "a policy needs a spec")),
    }
    problems
}

/// Fields that a valid policy sets to nothing: allowed, but perhaps not what its author meant.
pub(super) fn remarks(object: &Value) -> Vec<Problem> {
    const SAY: [(&str, &str); 5] = [
        ("registries", "without allow or deny, every name is allowed"),
        ("tags", "empty: every tag is allowed"),
        ("size", "without max, an image may have any size"),
        ("actions", "empty: the policy does not vote"),
        ("exempt", "empty: nothing is exempt"),
    ];
    let empty = |field: &str| {
        let value = object.pointer(&format!("/spec/{field}")).and_then(Value::as_object);
        value.is_some_and(Map::is_empty)
    };
    let found = SAY.iter().filter(|(field, _)| empty(field));
    let found = found.map(|(field, text)| Problem::at_key(format!("spec.{field}"), *text));
    found.chain(own_mode(object)).collect()
}

/// Up to 0.2, the mode of a policy governed what pullgate denies by itself, too.
fn own_mode(object: &Value) -> Option<Problem> {
    let mode = object.pointer("/spec/mode").and_then(Value::as_str);
    let mode = mode.filter(|mode| *mode != Mode::Enforce.name())?;
    // The only outlook that the gate denies by itself.
    let will_fail = object
        .pointer("/spec/actions")
        .and_then(|actions| actions.get(Outlook::WillFail.name()));
    will_fail.is_none().then(|| {
        Problem::at(
            "spec.mode",
            format!(
                "{mode} governs what this policy says and nothing else; what pullgate denies by itself, such as a missing tag, stays denied. To soften that too, \
                 as versions up to 0.2 did, write `mode` in the settings, or actions: {{WillFail: Warn}} here"
            ),
        )
    })
}

/// The same for a test.
pub(super) fn check_test(document: &Value) -> Vec<Problem> {
    let Some(fields) = document.as_object() else {
        return vec![Problem::at("", format!("expected an object, got {}", kind(document)))];
    };
    let mut problems = envelope(fields);
    match fields.get("spec") {
        Some(value) => walk(&TEST, value, "spec", &mut problems),
        None => problems.push(Problem::at("spec", "a test needs a spec")),
    }
    problems
}

/// Unknown top-level fields.
fn envelope(fields: &Map<String, Value>) -> Vec<Problem> {
    const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let unknown_keys = fields.keys().filter(|key| !KNOWN.contains(&key.as_str()));
    unknown_keys
        .map(|key| Problem::at_key(key, unknown("field", key, &KNOWN)))
        .collect()
}

fn walk(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let mut say = |text: String| problems.push(Problem::at(path, text));
    if value.is_null() {
        say("no value: set one, or remove the field".to_owned());
        return;
    }
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let wanted = if schema.get(INT_OR_STRING).is_some() {
        INT_OR_STRING
    } else {
        wanted
    };
    let fits = match wanted {
        INT_OR_STRING => value.is_i64() || value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => true,
    };
    if !fits {
        let hint = match value {
            // YAML reads 1.10 as 1.1, and `on` as true.
            Value::Bool(_) | Value::Number(_) if wanted == "string" => "; put it in quotes",
            Value::String(_) if wanted == "array" => "; write it in [ ]",
            Value::Object(_) => foreign::entry(path).unwrap_or_default(),
            _ => "",
        };
        say(format!("expected {}, got {}{hint}", noun(wanted), kind(value)));
        return;
    }
    let limit = |key: &str| {
        schema
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|limit| usize::try_from(limit).ok())
    };
    if let Some(known) = schema.get("enum").and_then(Value::as_array)
        && !known.contains(value)
    {
        let known: Vec<&str> = known.iter().filter_map(Value::as_str).collect();
        let text = value.as_str().unwrap_or_default();
        say(foreign::value(path, text).unwrap_or_else(|| unknown("value", text, &known)));
    }
    match value {
        Value::String(text) => {
            let length = text.chars().count();
            if text.is_empty() && limit("minLength").is_some_and(|least| least > 0) {
                say("must not be empty".to_owned());
            } else if let Some(most) = limit("maxLength").filter(|most| length > *most) {
                say(format!("{length} characters; the limit is {most}"));
            }
        }
        Value::Array(items) => {
            if items.is_empty() && limit("minItems").is_some_and(|least| least > 0) {
                say("an empty list matches nothing: remove the field, or add entries".to_owned());
            }
            if let Some(most) = limit("maxItems").filter(|most| items.len() > *most) {
                say(format!("{} entries; the limit is {most}", items.len()));
                return;
            }
            if let Some(each) = schema.get("items") {
                for (at, item) in items.iter().enumerate() {
                    walk(each, item, &format!("{path}[{at}]"), problems);
                }
            }
        }
        Value::Object(fields) => members(schema, fields, path, problems),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn members(schema: &Value, fields: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let each = schema.get("additionalProperties").filter(|schema| schema.is_object());
    for (key, value) in fields {
        let below = format!("{path}.{key}");
        match (properties.and_then(|properties| properties.get(key)), each, properties) {
            (Some(schema), _, _) | (None, Some(schema), _) => walk(schema, value, &below, problems),
            (None, None, Some(properties)) => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let text = foreign::field(path, key).unwrap_or_else(|| unknown("field", key, &known));
                problems.push(Problem::at_key(below, text));
            }
            (None, None, None) => {}
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for key in required.filter_map(Value::as_str).filter(|key| !fields.contains_key(*key)) {
        problems.push(Problem::at(path, format!("{key} is missing")));
    }
}

fn noun(kind: &str) -> &str {
    match kind {
        "object" => "fields",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        INT_OR_STRING => "text or a whole number",
        other => other,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "fields",
    }
}

/// Removes a keyword everywhere.
fn strip(value: &mut Value, keyword: &str) {
    match value {
        Value::Object(fields) => {
            fields.remove(keyword);
            fields.values_mut().for_each(|value| strip(value, keyword));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| strip(value, keyword)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Spells out "whole number or text" in JSON Schema's own terms.
fn spell_out(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.remove(INT_OR_STRING).is_some() {
                fields.insert("type".to_owned(), json!(["integer", "string"]));
            }
            fields.values_mut().for_each(spell_out);
        }
        Value::Array(items) => items.iter_mut().for_each(spell_out),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Joins the lines of descriptions, which break where the source does.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    other => unwrap_lines(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Optional fields may be absent, not null.
fn never_null(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(kinds)) = fields.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    fields.insert("type".to_owned(), only);
                }
            }
            if fields.get("default") == Some(&Value::Null) {
                fields.remove("default");
            }
            fields.values_mut().for_each(never_null);
        }
        Value::Array(items) => items.iter_mut().for_each(never_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Closes objects with known properties to all others.
fn close(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        if fields.get("properties").is_some_and(Value::is_object) && !fields.contains_key("additionalProperties") {
            fields.insert("additionalProperties".to_owned(), false.into());
        }
        fields.values_mut().for_each(close);
    } else if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(close);
    }
}
