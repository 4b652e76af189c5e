use super::*;
use crate::workload::FieldPath;
use crate::workload::{PullPolicy, Role};
use serde_json::json;

fn entry(name: &str, new_name: &str, new_tag: &str, digest: &str, suffix: &str) -> Image {
    let entry = json!({"name": name, "newName": new_name, "newTag": new_tag, "digest": digest, "tagSuffix": suffix});
    Image::read(&entry, 1).unwrap()
}

// Against kustomize 5.5: what `kubectl kustomize` printed for each.
#[test]
fn images_are_renamed_as_kustomize_does() {
    for (image, entry, expected) in [
        ("app", entry("app", "reg/team/app", "1", "", ""), Some("reg/team/app:1")),
        ("app:v1", entry("app", "reg/app", "", "", ""), Some("reg/app:v1")),
        ("app:v1@sha256:a", entry("app", "", "2", "", ""), Some("app:2")),
        ("app:v1", entry("app", "", "", "sha256:b", ""), Some("app@sha256:b")),
        ("app:v1", entry("app", "", "3", "sha256:b", ""), Some("app:3@sha256:b")),
        ("app:v1", entry("app", "", "", "", "-x"), Some("app:v1-x")),
        (
            "app:v1@sha256:a",
            entry("app", "other", "", "", ""),
            Some("other:v1@sha256:a"),
        ),
        ("app2", entry("app", "x", "", "", ""), None),
        ("app/sub:1", entry("app", "x", "", "", ""), None),
        ("reg/app:1", entry("app", "x", "", "", ""), None),
        ("app:5000/sub", entry("app", "x", "", "", ""), None),
        ("reg:5000/app", entry("reg:5000/app", "", "2", "", ""), Some("reg:5000/app:2")),
        // kustomize does not take a placeholder for a tag.
        ("app:${TAG}", entry("app", "", "2", "", ""), None),
        ("app:{tag}", entry("app", "", "2", "", ""), Some("app:2")),
        // A name is a regular expression.
        ("reg/app:1", entry("(.*)/app", "new/app", "", "", ""), Some("new/app:1")),
        ("reg/app:1", entry("re[g]/app", "", "2", "", ""), Some("reg/app:2")),
        ("reg/app2:1", entry("(.*)/app", "new/app", "", "", ""), None),
    ] {
        assert_eq!(entry.apply(image).as_deref(), expected, "{image}");
    }
}

#[test]
fn argo_cd_writes_them_in_one_text() {
    for (argument, image, expected) in [
        ("app=reg/app:2", "app:1", Some("reg/app:2")),
        ("app=reg/app", "app:1", Some("reg/app:1")),
        ("app=*:3", "app:1", Some("app:3")),
        ("reg/app:2", "reg/app:1", Some("reg/app:2")),
        ("reg:5000/app@sha256:b", "reg:5000/app", Some("reg:5000/app@sha256:b")),
        ("other:2", "app:1", None),
    ] {
        let entry = Image::of_argument(argument).unwrap();
        assert_eq!(entry.apply(image).as_deref(), expected, "{argument}");
    }
}

fn image(path: &str, name: &str) -> ImageUse {
    ImageUse {
        path: FieldPath::root().field(path),
        name: name.to_owned(),
        role: Role::Container,
        image: "app".to_owned(),
        pull_policy: PullPolicy::Always,
        unchanged: false,
        stream: None,
        later: None,
    }
}

fn patched(body: &Value, image: &ImageUse) -> Option<Written> {
    let place = image.path.as_str().replace('[', ".").replace(']', "");
    let mut pointer: String = place.split('.').flat_map(|step| ["/", step]).collect();
    let known = Known {
        kind: "Deployment".to_owned(),
        names: vec!["app".to_owned()],
        ..Known::default()
    };
    Patch::of(body.clone(), Some(&json!({}))).image(image, &mut pointer, &known)
}

#[test]
fn patches_write_images_by_place() {
    let app = image("spec.template.spec.containers[0].image", "app");
    let at = "/spec/template/spec/containers/0";
    let written = |name: &str| Some(Written::Name(name.to_owned()));
    for (body, expected) in [
        (
            json!([{"op": "replace", "path": format!("{at}/image"), "value": "new"}]),
            written("new"),
        ),
        (
            json!([{"op": "add", "path": format!("{at}/image"), "value": "new"}]),
            written("new"),
        ),
        (json!([{"op": "test", "path": format!("{at}/image"), "value": "app"}]), None),
        (
            json!([{"op": "replace", "path": at, "value": {"name": "app", "image": "new"}}]),
            written("new"),
        ),
        (
            json!([{"op": "replace", "path": "/spec/template/spec/containers", "value": [{"image": "new"}]}]),
            written("new"),
        ),
        // A container inserted before it moves it.
        (
            json!([
                {"op": "add", "path": at, "value": {"name": "first", "image": "other"}},
                {"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "new"},
            ]),
            written("new"),
        ),
        (json!([{"op": "add", "path": at, "value": {"image": "other"}}]), None),
        (
            json!([{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"image": "other"}}]),
            None,
        ),
        (
            json!([{"op": "copy", "from": "/metadata/annotations/image", "path": format!("{at}/image")}]),
            Some(Written::Something),
        ),
    ] {
        assert_eq!(patched(&body, &app), expected, "{body}");
    }
    let custom = image("spec.image", "");
    assert_eq!(patched(&json!({"spec": {"image": "new"}}), &custom), written("new"));
    let volume = image("spec.template.spec.volumes[1].image.reference", "data");
    let body = json!({"spec": {"template": {"spec": {"volumes": [{"name": "data", "image": {"reference": "new"}}]}}}});
    assert_eq!(patched(&body, &volume), written("new"));
}

#[test]
fn replacements_write_images() {
    let app = image("spec.template.spec.containers[0].image", "app");
    let known = Known {
        kind: "Deployment".to_owned(),
        names: vec!["app".to_owned()],
        ..Known::default()
    };
    let settings = json!({"kind": "ConfigMap", "metadata": {"name": "images"}, "data": {"app": "reg/app:9", "tag": "9"}});
    let apply = |source: Value, target: Value| {
        let mut replacement = json!({"targets": [target]});
        let (field, source) = if source.is_string() {
            ("sourceValue", source)
        } else {
            ("source", source)
        };
        replacement[field] = source;
        let replacement = Replacement::read(&replacement).unwrap();
        replacement.apply(&app, "app:1", &known, |source| looked_up(source, [settings.clone()]))
    };
    let written = |name: &str| Some(Written::Name(name.to_owned()));
    let select = json!({"kind": "Deployment"});
    let whole = "spec.template.spec.containers.0.image";
    for path in [
        whole,
        "spec.template.spec.containers.*.image",
        "spec.template.spec.containers.[name=app].image",
    ] {
        let source = json!({"kind": "ConfigMap", "name": "images", "fieldPath": "data.app"});
        assert_eq!(
            apply(source, json!({"select": select, "fieldPaths": [path]})),
            written("reg/app:9"),
            "{path}"
        );
    }
    let tag = json!({"select": select, "fieldPaths": [whole], "options": {"delimiter": ":", "index": 1}});
    assert_eq!(
        apply(json!({"kind": "ConfigMap", "fieldPath": "data.tag"}), tag.clone()),
        written("app:9")
    );
    assert_eq!(apply(json!("7"), tag), written("app:7"));
    let to = |path: &str, select: Value| json!({"select": select, "fieldPaths": [path]});
    let unknown = json!({"kind": "ConfigMap", "name": "elsewhere", "fieldPath": "data.app"});
    assert_eq!(apply(unknown, to(whole, select.clone())), Some(Written::Something));
    for (path, select) in [
        (whole, json!({"kind": "Job"})),
        (whole, json!({"name": "other"})),
        ("spec.template.spec.containers.[name=other].image", select.clone()),
        ("spec.template.spec.containers.1.image", select.clone()),
        ("metadata.name", select.clone()),
    ] {
        assert_eq!(apply(json!("x"), to(path, select)), None, "{path}");
    }
    let rejected = json!({"select": select, "reject": [{"name": "app"}], "fieldPaths": [whole]});
    assert_eq!(apply(json!("x"), rejected), None);
}
