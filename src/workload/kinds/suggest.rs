//! Where a custom kind keeps pods and images, as its `CustomResourceDefinition` shows it: for kinds that the table does not have.

use super::{Kinds, Scope};
use crate::workload::Route;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a CRD shows of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggested {
    /// Its API group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Whether its objects have a namespace.
    pub scope: Scope,
    /// Paths of whole pod specs, as `workloads` takes them; sorted.
    pub pod_specs: Vec<String>,
    /// Paths of bare image names; sorted.
    pub images: Vec<String>,
}

/// How deep a schema is searched; the deepest known pod spec is at half of that.
const DEEPEST: usize = 24;

/// The most paths of one kind: no known one has a third of it.
const MOST: usize = 100;

/// What a CRD (`apiextensions.k8s.io`, v1 or v1beta1) shows; `None` for another object, a known kind, and a kind without pods and images.
/// All its versions count.
pub fn suggest(crd: &Value, known: &Kinds) -> Option<Suggested> {
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str);
    if text("/kind") != Some("CustomResourceDefinition") {
        return None;
    }
    let (group, kind) = (text("/spec/group")?, text("/spec/names/kind")?);
    if known.registration(group, kind).is_some() {
        return None;
    }
    let mut found = Found::default();
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let schemas = versions
        .into_iter()
        .flatten()
        .filter_map(|version| version.pointer("/schema/openAPIV3Schema"));
    for schema in schemas.chain(crd.pointer("/spec/validation/openAPIV3Schema")) {
        for part in ["spec", "template"] {
            if let Some(below) = schema.pointer("/properties").and_then(|fields| fields.get(part)) {
                found.search(below, part, part, DEEPEST);
            }
        }
    }
    if found.pod_specs.is_empty() && found.images.is_empty() {
        return None;
    }
    Some(Suggested {
        group: group.to_owned(),
        kind: kind.to_owned(),
        scope: match text("/spec/scope") {
            Some("Cluster") => Scope::Cluster,
            Some(_) | None => Scope::Namespaced,
        },
        pod_specs: found.pod_specs.into_iter().take(MOST).collect(),
        images: found.images.into_iter().take(MOST).collect(),
    })
}

#[derive(Default)]
struct Found {
    pod_specs: BTreeSet<String>,
    images: BTreeSet<String>,
}

impl Found {
    /// Searches a schema; `field` is the last name on the way to it.
    fn search(&mut self, schema: &Value, path: &str, field: &str, left: usize) {
        let Some(left) = left.checked_sub(1) else { return };
        if self.pod_specs.len() + self.images.len() > MOST {
            return;
        }
        if is_pod_spec(schema) {
            self.add(path, true);
            return;
        }
        if is_image(schema, field) {
            self.add(path, false);
            return;
        }
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            // An image volume is an image by its type, whatever its description says.
            if name == "reference" && field == "image" {
                self.add(&format!("{path}.{name}"), false);
                continue;
            }
            self.search(below, &format!("{path}.{name}"), name, left);
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.search(items, &format!("{path}[*]"), field, left);
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            self.search(values, &format!("{path}.*"), field, left);
        }
    }

    fn add(&mut self, path: &str, is_pod_spec: bool) {
        if Route::parse(path).is_err() {
            return;
        }
        let found = if is_pod_spec { &mut self.pod_specs } else { &mut self.images };
        found.insert(path.to_owned());
    }
}

/// An object with a list of containers that have images is a pod spec, whole or in part. One whose schema was left out to save space
/// (`x-kubernetes-preserve-unknown-fields`) is known by its description.
fn is_pod_spec(schema: &Value) -> bool {
    let containers = schema.pointer("/properties/containers/items/properties");
    let has = |field: &str| containers.is_some_and(|fields| fields.get(field).is_some());
    let described = description(schema).contains("podspec");
    let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) && schema.get("properties").is_none();
    (has("image") && has("name")) || (described && open)
}

/// Whether a text is a container's image: by its name, and by its description if the name may mean something else (a picture, a virtual
/// machine's image).
fn is_image(schema: &Value, field: &str) -> bool {
    if schema.get("type").and_then(Value::as_str) != Some("string") {
        return false;
    }
    let name = field.to_lowercase();
    let said = description(schema);
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let of_containers = says(&[
        "container image",
        "docker image",
        "oci image",
        "image name",
        "image to use",
        "image reference",
        "image of the",
        "image for the",
        "image used",
        "imagepullpolicy",
    ]);
    let by_name = matches!(name.as_str(), "image" | "imagename" | "dockerimage" | "containerimage");
    let of_something_else = says(&[
        "machine image",
        "vm image",
        "disk image",
        "ami ",
        "picture",
        "logo",
        "icon",
        "pull policy",
        "virtual machine",
    ]) || name.contains("policy")
        || name.contains("secret")
        || name.contains("tag");
    !of_something_else && ((by_name && (said.is_empty() || of_containers)) || (name.ends_with("image") && of_containers))
}

fn description(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.chars().take(500).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd(group: &str, kind: &str, spec: &Value) -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": {
            "group": group, "names": {"kind": kind, "plural": "x"}, "scope": "Namespaced",
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": {"properties": {"image": {"type": "string"}}}}}}}]}})
    }

    fn pod() -> Value {
        json!({"type": "object", "properties": {"containers": {"type": "array", "items": {"type": "object", "properties": {
            "name": {"type": "string"}, "image": {"type": "string"}}}}}})
    }

    #[test]
    fn pods_and_images_are_found() {
        let spec = json!({"properties": {
            "template": {"properties": {"metadata": {"type": "object"}, "spec": pod()}},
            "workers": {"type": "array", "items": {"properties": {"podTemplate": {"properties": {"spec": pod()}}}}},
            "sets": {"type": "object", "additionalProperties": {"properties": {"spec": pod()}}},
            "open": {"x-kubernetes-preserve-unknown-fields": true, "description": "PodSpec of the workers."},
            "image": {"type": "string"},
            "helperImage": {"type": "string", "description": "The container image of the helper"},
            "backupImage": {"type": "string", "description": "The disk image to restore"},
            "imagePullPolicy": {"type": "string", "description": "Image pull policy, for the container image"},
            "logoImage": {"type": "string"},
            "data": {"properties": {"image": {"type": "object", "properties": {"reference": {"type": "string"}, "pullPolicy": {"type": "string"}}}}}}});
        let found = suggest(&crd("example.com", "App", &spec), &Kinds::default()).unwrap();
        assert_eq!(
            found.pod_specs,
            [
                "spec.open",
                "spec.sets.*.spec",
                "spec.template.spec",
                "spec.workers[*].podTemplate.spec"
            ]
        );
        assert_eq!(found.images, ["spec.data.image.reference", "spec.helperImage", "spec.image"]);
        for path in found.pod_specs.iter().chain(&found.images) {
            assert!(Route::parse(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_is_known_or_shows_nothing_is_left_out() {
        let spec = json!({"properties": {"template": {"properties": {"spec": pod()}}}});
        assert_eq!(suggest(&crd("argoproj.io", "Rollout", &spec), &Kinds::default()), None);
        let endless = json!({"properties": {"a": {"type": "string"}}});
        for object in [
            json!(null),
            json!({"kind": "Deployment"}),
            crd("example.com", "App", &json!({})),
            crd("example.com", "App", &endless),
        ] {
            assert_eq!(suggest(&object, &Kinds::default()), None);
        }
    }
}
