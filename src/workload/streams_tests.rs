use super::*;
use crate::workload::{Kinds, extract};
use serde_json::json;

/// `container: the stream that fills it in, or its image`
fn noted(object: &Value) -> Vec<String> {
    let workload = extract(object, None, "shop", &Kinds::default()).unwrap();
    let uses = workload.templates.iter().flat_map(|template| &template.uses);
    uses.map(|one| match &one.stream {
        Some(tag) => format!("{}: {tag}", one.name),
        None => format!("{}: {:?}", one.name, one.image),
    })
    .collect()
}

fn deployment(annotations: &Value, containers: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "annotations": annotations},
        "spec": {"template": {"spec": {"containers": containers, "initContainers": [{"name": "web", "image": " "}]}}},
    })
}

#[test]
fn triggers_of_an_annotation() {
    let triggers = json!([
        {"from": {"kind": "ImageStreamTag", "name": "app:v1", "namespace": "images"},
         "fieldPath": "spec.template.spec.containers[?(@.name==\"web\")].image"},
        {"from": {"kind": "ImageStreamTag", "name": "side:latest"}, "fieldPath": "spec.template.spec.containers[1].image"},
        {"from": {"kind": "DockerImage", "name": "x"}, "fieldPath": "spec.template.spec.containers[2].image"},
    ]);
    let containers = json!([
        {"name": "web", "image": " "}, {"name": "side", "image": " "}, {"name": "other", "image": " "}, {"name": "written", "image": "a:1"},
    ]);
    let object = deployment(&json!({TRIGGERS: triggers.to_string()}), &containers);
    assert_eq!(
        noted(&object),
        [
            "web: \" \"",
            "web: ImageStreamTag images/app:v1",
            "side: ImageStreamTag side:latest",
            "other: \" \"",
            "written: \"a:1\"",
        ]
    );
    // Without an annotation nothing fills them in.
    let object = deployment(&json!({TRIGGERS: "no JSON"}), &json!([{"name": "web", "image": " "}]));
    assert_eq!(noted(&object), ["web: \" \"", "web: \" \""]);
}

#[test]
fn triggers_of_a_deployment_config() {
    let object = json!({
        "apiVersion": "apps.openshift.io/v1", "kind": "DeploymentConfig", "metadata": {"name": "d"},
        "spec": {
            "template": {"spec": {"containers": [{"name": "web"}, {"name": "side", "image": " "}, {"name": "own", "image": "a:1"}]}},
            "triggers": [
                {"type": "ConfigChange"},
                {"type": "ImageChange", "imageChangeParams": {
                    "automatic": true, "containerNames": ["web", "own"], "from": {"kind": "ImageStreamTag", "name": "app:latest"}}},
            ],
        },
    });
    assert_eq!(
        noted(&object),
        ["own: \"a:1\"", "web: ImageStreamTag app:latest", "side: \" \""]
    );
}

#[test]
fn names_that_are_looked_up() {
    let containers =
        json!([{"name": "a", "image": "app"}, {"name": "b", "image": "app:v2"}, {"name": "c", "image": "quay.io/app"}]);
    let mut object = deployment(&json!({RESOLVE_NAMES: "*"}), &containers);
    object["spec"]["template"]["spec"]["initContainers"] = json!([]);
    assert_eq!(
        noted(&object),
        [
            "a: ImageStreamTag app:latest",
            "b: ImageStreamTag app:v2",
            "c: \"quay.io/app\""
        ]
    );
}

#[test]
fn what_a_tag_stands_for() {
    let mut streams = ImageStreams::default();
    let stream = json!({
        "spec": {
            "lookupPolicy": {"local": true},
            "tags": [
                {"name": "soon", "from": {"kind": "DockerImage", "name": "quay.io/a/b:1"}},
                {"name": "local", "from": {"kind": "DockerImage", "name": "quay.io/a/b:1"}, "referencePolicy": {"type": "Local"}},
                {"name": "late", "from": {"kind": "DockerImage", "name": "quay.io/a/c:1"}, "referencePolicy": {"type": "Local"}},
            ],
        },
        "status": {
            "dockerImageRepository": "registry.svc:5000/shop/app",
            "tags": [
                {"tag": "latest", "items": [{"dockerImageReference": "quay.io/a/b@sha256:1", "image": "sha256:1"}, {"dockerImageReference": "old"}]},
                {"tag": "local", "items": [{"dockerImageReference": "quay.io/a/b@sha256:2", "image": "sha256:2"}]},
                {"tag": "empty", "items": []},
            ],
        },
    });
    streams.add("shop", "app", &stream);
    let image = |namespace: &str, tag: &str| streams.image(namespace, &StreamTag::local(tag).unwrap());
    assert_eq!(image("shop", "app"), Some("quay.io/a/b@sha256:1"));
    assert_eq!(image("shop", "app:soon"), Some("quay.io/a/b:1"));
    assert_eq!(image("shop", "app:local"), Some("registry.svc:5000/shop/app@sha256:2"));
    for (namespace, tag) in [
        ("shop", "app:late"),
        ("shop", "app:empty"),
        ("shop", "app:v9"),
        ("other", "app"),
    ] {
        assert_eq!(image(namespace, tag), None, "{namespace} {tag}");
    }
    let elsewhere = StreamTag {
        namespace: Some("shop".to_owned()),
        ..StreamTag::local("app").unwrap()
    };
    assert_eq!(streams.image("other", &elsewhere), Some("quay.io/a/b@sha256:1"));
    assert_eq!(streams.looked_up("shop", "app:latest"), Some("quay.io/a/b@sha256:1"));
    assert_eq!(streams.looked_up("shop", "quay.io/app"), None);
    streams.add(
        "shop",
        "closed",
        &json!({"status": {"tags": [{"tag": "latest", "items": [{"dockerImageReference": "x"}]}]}}),
    );
    assert_eq!(streams.looked_up("shop", "closed"), None);
}
