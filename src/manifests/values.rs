//! Images in the `values.yaml` of a chart, in the forms that charts use: a whole name under `image`, or `repository` (or `image`) with `tag`,
//! `digest` and `registry` beside it. Pure.
//!
//! Only rendering shows what a template makes of them, so no failure found here is certain.

use crate::image::Reference;
use crate::workload::candidates::Scheduling;
use crate::workload::pod::{PodKind, PullPolicy};
use crate::workload::{FieldPath, ImageUse, Nature, ObjectId, PodNeeds, Role, Template, Workload};
use serde_json::{Map, Value};

/// Deeper levels are not searched.
const DEEPEST: usize = 40;

/// The images of a chart's values as if a pod used them; `None` where there are none.
pub(super) fn workload(values: &Value, chart: &str, namespace: &str) -> Option<Workload> {
    let mut uses = Vec::new();
    search(values, &FieldPath::root(), 0, &mut uses);
    used(uses, chart, namespace)
}

/// The values that a release gives to its chart as fields, with their paths: `spec.values` of a Flux `HelmRelease`, `valuesObject` of an
/// Argo CD `Application`.
pub(super) fn of_release(release: &Value) -> Vec<(FieldPath, &Value)> {
    let Some(spec) = release.get("spec") else {
        return Vec::new();
    };
    let path = FieldPath::root().field("spec");
    let own = spec.get("values").map(|values| (path.field("values"), values));
    let single = spec.get("source").map(|source| (path.field("source"), source));
    let many = spec
        .get("sources")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate();
    let many = many.map(|(at, source)| (path.field("sources").index(at), source));
    let of_sources = single.into_iter().chain(many).filter_map(|(path, source)| {
        let values = source.pointer("/helm/valuesObject")?;
        Some((path.field("helm").field("valuesObject"), values))
    });
    own.into_iter().chain(of_sources).collect()
}

/// The images in the values of a release, as if a pod used them; `None` where there are none.
pub(super) fn release_workload(release: &Value) -> Option<Workload> {
    let text = |pointer: &str| release.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut uses = Vec::new();
    for (path, values) in of_release(release) {
        search(values, &path, 0, &mut uses);
    }
    let mut workload = used(uses, text("/metadata/name"), text("/metadata/namespace"))?;
    text("/apiVersion").clone_into(&mut workload.object.api_version);
    text("/kind").clone_into(&mut workload.object.kind);
    Some(workload)
}

fn used(uses: Vec<ImageUse>, chart: &str, namespace: &str) -> Option<Workload> {
    (!uses.is_empty()).then(|| Workload {
        object: ObjectId {
            api_version: String::new(),
            kind: "Chart".to_owned(),
            namespace: namespace.to_owned(),
            name: chart.to_owned(),
        },
        templates: vec![Template {
            kind: PodKind::Template,
            needs: PodNeeds {
                pull_secrets: Vec::new(),
                service_account: "default".to_owned(),
                scheduling: Scheduling::default(),
            },
            uses,
            nature: Nature {
                other_image: Some("the chart's templates may make another image of its values"),
                other_credentials: Some("the chart's templates may name pull secrets"),
                ..Nature::default()
            },
            injection: crate::workload::Injection::default(),
            ran: Vec::new(),
        }],
        annotations: Vec::new(),
        controller: None,
        owner: None,
        uid: String::new(),
    })
}

/// The images whose name and tag are in separate fields of any object, as if a pod used them: `repository` with `tag`, and `name` with
/// `newTag` as kustomize has it. Only their author knows what becomes of them. `None` where there are none.
pub(super) fn apart(object: &Value, kind: &str, name: &str, namespace: &str) -> Option<Workload> {
    let mut uses = Vec::new();
    search_apart(object, &FieldPath::root(), 0, &mut uses);
    let mut workload = used(uses, name, namespace)?;
    kind.clone_into(&mut workload.object.kind);
    Some(workload)
}

fn search_apart(value: &Value, path: &FieldPath, depth: usize, uses: &mut Vec<ImageUse>) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Value::Object(fields) => {
            let by_kustomize = renamed(fields).map(|image| ("newTag", image));
            let of_chart = fields.contains_key("tag").then(|| image_in(fields)).flatten();
            let found = by_kustomize.or(of_chart.filter(|(key, _)| *key == "repository"));
            uses.extend(found.map(|(key, image)| one(path.field(key), image)));
            for (key, value) in fields {
                search_apart(value, &path.field(key), depth + 1, uses);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                search_apart(item, &path.index(at), depth + 1, uses);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The image that an entry of kustomize's `images` makes.
fn renamed(fields: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| match fields.get(key) {
        Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
        Some(Value::Number(number)) if number.is_u64() => Some(number.to_string()),
        _ => None,
    };
    let (old, new, tag) = (text("name")?, text("newName"), text("newTag")?);
    let at = text("digest").map_or_else(String::new, |digest| format!("@{digest}"));
    let image = format!("{}:{tag}{at}", new.unwrap_or(old));
    Reference::parse(&image).ok().map(|_| image)
}

fn search(value: &Value, path: &FieldPath, depth: usize, uses: &mut Vec<ImageUse>) {
    if depth > DEEPEST {
        return;
    }
    match value {
        Value::Object(fields) => {
            // What is switched off is not pulled.
            if fields.get("enabled") == Some(&Value::Bool(false)) {
                return;
            }
            if let Some((key, image)) = image_in(fields) {
                uses.push(one(path.field(key), image));
            }
            for (key, value) in fields {
                search(value, &path.field(key), depth + 1, uses);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                search(item, &path.index(at), depth + 1, uses);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn one(path: FieldPath, image: String) -> ImageUse {
    ImageUse {
        path,
        name: String::new(),
        role: Role::Container,
        pull_policy: PullPolicy::default_for(&image),
        image,
        unchanged: false,
        later: None,
        stream: None,
    }
}

/// The tags beside a `repository` that YAML reads as fractions (1.10 as 1.1), with their paths: what their author wrote is lost.
pub(super) fn fractions(value: &Value) -> Vec<(String, String)> {
    fn search(value: &Value, path: &FieldPath, depth: usize, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) if depth <= DEEPEST && fields.get("enabled") != Some(&Value::Bool(false)) => {
                if fields.get("repository").is_some_and(Value::is_string)
                    && let Some(Value::Number(tag)) = fields.get("tag").filter(|tag| tag.is_f64())
                {
                    found.push((path.field("tag").as_str().to_owned(), tag.to_string()));
                }
                for (key, value) in fields {
                    search(value, &path.field(key), depth + 1, found);
                }
            }
            Value::Array(items) if depth <= DEEPEST => {
                for (at, item) in items.iter().enumerate() {
                    search(item, &path.index(at), depth + 1, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    search(value, &FieldPath::root(), 0, &mut found);
    found
}

/// The image that these fields name, and the field to point at.
pub(super) fn image_in(fields: &Map<String, Value>) -> Option<(&'static str, String)> {
    let text = |key: &str| match fields.get(key) {
        Some(Value::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        // A fraction would have lost its last zeros: 1.20 is 1.2.
        Some(Value::Number(number)) if number.is_u64() => Some(number.to_string()),
        _ => None,
    };
    let (tag, digest, registry) = (text("tag"), text("digest"), text("registry"));
    let key = ["repository", "image"]
        .into_iter()
        .find(|key| fields.get(*key).is_some_and(Value::is_string))?;
    let name = text(key)?;
    let mut image = match registry {
        Some(registry) if !name.starts_with(&format!("{registry}/")) => format!("{registry}/{name}"),
        Some(_) | None => name,
    };
    match (tag, digest) {
        // By itself, `repository` may be that of a chart or of git, and `image` the name of anything.
        (None, None) if key == "repository" || !image.contains([':', '/']) => return None,
        (None, None) => {}
        (tag, digest) => {
            if let Some(tag) = tag {
                image.push(':');
                image.push_str(&tag);
            }
            if let Some(digest) = digest {
                image.push('@');
                image.push_str(&digest);
            }
        }
    }
    // Names with placeholders do not parse.
    Reference::parse(&image).ok().map(|_| (key, image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tags_that_yaml_reads_as_fractions_are_found() {
        let values = json!({
            "image": {"repository": "x", "tag": 1.1},
            "whole": {"repository": "x", "tag": 2},
            "text": {"repository": "x", "tag": "1.10"},
            "off": {"enabled": false, "image": {"repository": "x", "tag": 1.1}},
            "other": {"tag": 1.1},
            "list": [{"repository": "x", "tag": 3.5}],
        });
        let found = fractions(&values);
        let found: Vec<(&str, &str)> = found.iter().map(|(path, tag)| (path.as_str(), tag.as_str())).collect();
        assert_eq!(found, [("image.tag", "1.1"), ("list[0].tag", "3.5")]);
    }

    #[test]
    fn images_are_found_in_the_forms_that_charts_use() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let values = json!({
            "image": {"repository": "nginx", "tag": "1.29"},
            "a": {"image": {"registry": "quay.io", "repository": "team/a", "tag": 7, "digest": ""}},
            "b": {"image": {"registry": "quay.io", "repository": "quay.io/team/b", "digest": digest}},
            "c": {"image": "ghcr.io/corp/c:1"},
            "d": {"image": "corp/d", "tag": "2"},
            "list": [{"image": "e:1"}],
            "off": {"enabled": false, "image": "off:1"},
            "empty": {"image": {"repository": "x", "tag": ""}},
            "float": {"image": {"repository": "x", "tag": 1.5}},
            "later": {"image": {"repository": "x", "tag": "{{ .Values.y }}"}},
            "chart": {"repository": "https://charts.example", "tag": "v1"},
            "word": {"image": "logo"},
        });
        let workload = workload(&values, "app", "shop").unwrap();
        let uses = workload.templates.iter().flat_map(|template| &template.uses);
        let found: Vec<(&str, &str)> = uses.map(|image| (image.path.as_str(), image.image.as_str())).collect();
        let b = format!("quay.io/team/b@{digest}");
        assert_eq!(
            found,
            [
                ("a.image.repository", "quay.io/team/a:7"),
                ("b.image.repository", b.as_str()),
                ("c.image", "ghcr.io/corp/c:1"),
                ("d.image", "corp/d:2"),
                ("image.repository", "nginx:1.29"),
                ("list[0].image", "e:1"),
            ]
        );
        assert!(super::workload(&json!({"a": 1}), "app", "shop").is_none());
    }

    #[test]
    fn names_and_tags_that_are_written_apart_are_found() {
        let object = json!({
            "images": [{"name": "app", "newTag": "v1"}, {"name": "b", "newName": "reg.example/b", "newTag": 2, "digest": ""}, {"name": "c", "newName": "d"}],
            "spec": {"values": {"image": {"repository": "team/app", "tag": "v1"}, "none": {"repository": "https://a.test/x", "tag": "1"}}},
            "env": [{"name": "X", "value": "y"}],
        });
        let workload = apart(&object, "Kustomization", "x", "shop").unwrap();
        let uses = workload.templates.iter().flat_map(|template| &template.uses);
        let found: Vec<(&str, &str)> = uses.map(|image| (image.path.as_str(), image.image.as_str())).collect();
        assert_eq!(
            found,
            [
                ("images[0].newTag", "app:v1"),
                ("images[1].newTag", "reg.example/b:2"),
                ("spec.values.image.repository", "team/app:v1"),
            ]
        );
    }
}
