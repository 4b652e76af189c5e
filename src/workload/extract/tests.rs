use super::*;
use crate::workload::candidates::Spread;
use crate::workload::{ImageUse, PullPolicy, Role};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

mod custom;

static KINDS: LazyLock<Kinds> = LazyLock::new(Kinds::default);

fn extract(object: &Value, old: Option<&Value>, namespace: &str) -> Result<Workload, Skip> {
    super::extract(object, old, namespace, &KINDS)
}

fn deployment(pod: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"replicas": 3, "template": {"spec": pod}}})
}

fn pod(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api"}, "spec": spec})
}

fn uses(object: &Value) -> Vec<ImageUse> {
    let mut workload = extract(object, None, "default").expect("judged");
    assert_eq!(workload.templates.len(), 1);
    workload.templates.remove(0).uses
}

fn images(object: &Value) -> Vec<String> {
    uses(object)
        .iter()
        .map(|image_use| format!("{} {}", image_use.path, image_use.image))
        .collect()
}

#[test]
fn every_kind_keeps_its_pod_spec_somewhere() {
    for (api_version, kind, path) in [
        ("v1", "Pod", "spec"),
        ("v1", "PodTemplate", "template.spec"),
        ("v1", "ReplicationController", "spec.template.spec"),
        ("apps/v1", "ReplicaSet", "spec.template.spec"),
        ("apps/v1", "Deployment", "spec.template.spec"),
        ("apps/v1beta2", "StatefulSet", "spec.template.spec"),
        ("apps/v1", "DaemonSet", "spec.template.spec"),
        ("batch/v1", "Job", "spec.template.spec"),
        ("batch/v1beta1", "CronJob", "spec.jobTemplate.spec.template.spec"),
        ("extensions/v1beta1", "Deployment", "spec.template.spec"),
        ("extensions/v1beta1", "DaemonSet", "spec.template.spec"),
        ("extensions/v1beta1", "ReplicaSet", "spec.template.spec"),
    ] {
        let mut object = json!({"containers": [{"name": "c", "image": "nginx:1"}]});
        for field in path.rsplit('.') {
            object = json!({field: object});
        }
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        let workload = extract(&object, None, "ns").expect(kind);
        assert_eq!(workload.object.namespace, "ns");
        let [template] = workload.templates.as_slice() else {
            panic!("{kind}")
        };
        assert_eq!(template.kind == PodKind::Pod, kind == "Pod");
        assert_eq!(template.needs.scheduling.spread == Spread::Every, kind == "DaemonSet");
        assert_eq!(template.uses[0].path.to_string(), format!("{path}.containers[0].image"));
        assert_eq!(template.needs.service_account, "default");
    }
    for (api_version, kind) in [
        ("v1", "Service"),
        ("apps/v1", "Pod"),
        ("v1", "Deployment"),
        ("extensions/v1beta1", "Ingress"),
        ("", ""),
    ] {
        assert_eq!(
            extract(&json!({"apiVersion": api_version, "kind": kind}), None, "ns"),
            Err(Skip::OtherKind)
        );
    }
    assert_eq!(extract(&Value::Null, None, ""), Err(Skip::OtherKind));
}

#[test]
fn roles_in_the_order_of_the_fields() {
    let object = pod(&json!({
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "data", "image": {"reference": "quay.io/data:1", "pullPolicy": "Always"}},
            {"name": "idle", "image": {"reference": "quay.io/idle"}}, {"name": "later", "image": {"reference": ""}}, {"name": "odd", "image": {"reference": 5}}, {"name": "none", "image": null}],
        "ephemeralContainers": [{"name": "debug", "image": "busybox"}],
        "containers": [{"name": "api", "image": "api:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}, {"name": "side", "image": "side:1", "imagePullPolicy": "Never"}],
        "initContainers": [{"name": "init", "image": "init:1", "restartPolicy": "Always"}],
    }));
    let expected = [
        (
            "spec.initContainers[0].image",
            "init",
            Role::Init,
            "init:1",
            PullPolicy::IfNotPresent,
        ),
        (
            "spec.containers[0].image",
            "api",
            Role::Container,
            "api:1",
            PullPolicy::IfNotPresent,
        ),
        (
            "spec.containers[1].image",
            "side",
            Role::Container,
            "side:1",
            PullPolicy::Never,
        ),
        (
            "spec.ephemeralContainers[0].image",
            "debug",
            Role::Ephemeral,
            "busybox",
            PullPolicy::Always,
        ),
        (
            "spec.volumes[1].image.reference",
            "data",
            Role::Volume,
            "quay.io/data:1",
            PullPolicy::Always,
        ),
        (
            "spec.volumes[2].image.reference",
            "idle",
            Role::UnmountedVolume,
            "quay.io/idle",
            PullPolicy::Always,
        ),
    ];
    let found = uses(&object);
    let found: Vec<_> = found
        .iter()
        .map(|u| (u.path.as_str(), u.name.as_str(), u.role, u.image.as_str(), u.pull_policy))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn odd_fields_are_left_out() {
    let containers =
        json!([null, 5, {}, {"image": null}, {"image": 5}, {"image": ["x"]}, {"image": "ok", "name": 7}, {"image": ""}]);
    let found = images(&deployment(
        &json!({"containers": containers, "initContainers": "none", "volumes": {"a": 1}}),
    ));
    assert_eq!(
        found,
        [
            "spec.template.spec.containers[6].image ok",
            "spec.template.spec.containers[7].image "
        ]
    );
    for spec in [
        json!(null),
        json!(5),
        json!({"template": null}),
        json!({"template": {"spec": []}}),
    ] {
        let object = json!({"apiVersion": "v1", "kind": "ReplicationController", "spec": spec});
        assert_eq!(extract(&object, None, "").expect("judged").templates, []);
    }
}

#[test]
fn a_single_space_in_a_template_is_kept() {
    let spec = json!({"containers": [{"name": "a", "image": " "}, {"name": "b", "image": "  "}]});
    assert_eq!(
        images(&deployment(&spec)),
        [
            "spec.template.spec.containers[0].image  ",
            "spec.template.spec.containers[1].image   "
        ]
    );
    assert_eq!(images(&pod(&spec)).len(), 2);
}

#[test]
fn pull_policies_are_defaulted() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (image, policy) in [
        ("nginx", PullPolicy::Always),
        ("nginx:latest", PullPolicy::Always),
        (&format!("nginx:latest@{digest}"), PullPolicy::Always),
        ("nginx:1.25", PullPolicy::IfNotPresent),
        ("nginx:Latest", PullPolicy::IfNotPresent),
        (&format!("nginx:1.25@{digest}"), PullPolicy::IfNotPresent),
        (&format!("nginx@{digest}"), PullPolicy::IfNotPresent),
        ("https://nginx", PullPolicy::IfNotPresent),
        ("ghcr.io:5000/nginx", PullPolicy::Always),
    ] {
        for written in [Value::Null, json!("Sometimes"), json!(""), json!(7)] {
            let found = uses(&pod(
                &json!({"containers": [{"name": "c", "image": image, "imagePullPolicy": written}]}),
            ));
            assert_eq!(found[0].pull_policy, policy, "{image} {written}");
        }
        for (written, policy) in [
            ("Always", PullPolicy::Always),
            ("IfNotPresent", PullPolicy::IfNotPresent),
            ("Never", PullPolicy::Never),
        ] {
            let found = uses(&pod(&json!({"containers": [{"image": image, "imagePullPolicy": written}]})));
            assert_eq!(found[0].pull_policy, policy);
        }
    }
}

#[test]
fn what_a_pull_needs() {
    let object = deployment(&json!({
        "containers": [], "serviceAccount": "old", "serviceAccountName": "builder",
        "imagePullSecrets": [{"name": "b"}, {}, {"name": ""}, {"name": "a"}],
        "nodeName": "n1", "nodeSelector": {"z": "1", "a": "2", "bad": 3}, "os": {"name": "linux"}, "hostNetwork": true,
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}], "matchFields": [{"key": "metadata.name"}]}]}}},
    }));
    let workload = extract(&object, None, "other").expect("judged");
    assert_eq!(workload.object.namespace, "shop");
    assert_eq!(workload.object.name, "api");
    let needs = &workload.templates[0].needs;
    assert_eq!(needs.pull_secrets, ["b", "", "", "a"]);
    assert_eq!(needs.service_account, "builder");
    let scheduling = &needs.scheduling;
    assert_eq!(scheduling.node_name.as_deref(), Some("n1"));
    assert_eq!(scheduling.node_selector, [("a".into(), "2".into()), ("z".into(), "1".into())]);
    assert_eq!(scheduling.os_name.as_deref(), Some("linux"));
    assert!(scheduling.host_network);
    assert_eq!(scheduling.tolerations.len(), 1);
    let terms = scheduling.required_affinity.as_deref().expect("terms");
    assert_eq!(
        (terms[0].expressions[0].values.as_slice(), terms[0].fields.len()),
        (&["v".to_owned()][..], 1)
    );

    let plain = extract(&deployment(&json!({"serviceAccount": "old"})), None, "other").expect("judged");
    assert_eq!(plain.templates[0].needs.service_account, "old");
    assert_eq!(plain.templates[0].needs.scheduling.required_affinity, None);
}

#[test]
fn names_owners_and_annotations() {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "spec": {}, "metadata": {"generateName": "api-", "annotations": {"b": "2", "a": "1", "n": 3},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node"}, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true}]}});
    let workload = extract(&object, None, "ns").expect("judged");
    assert_eq!(workload.object.name, "api-*");
    assert_eq!(workload.controller, Some(("apps/v1".to_owned(), "ReplicaSet".to_owned())));
    assert_eq!(
        workload.annotations,
        [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]
    );
}

#[test]
fn skips() {
    let mirror = |kind: &str, api: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": {}});
    assert_eq!(extract(&mirror("Pod", "v1"), None, ""), Err(Skip::MirrorPod));
    assert!(extract(&mirror("Deployment", "apps/v1"), None, "").is_ok());
    let mut going = pod(&json!({}));
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(extract(&going, None, ""), Err(Skip::Deleting));
    going["metadata"]["deletionTimestamp"] = Value::Null;
    assert!(extract(&going, None, "").is_ok());
    let names: std::collections::HashSet<_> = [
        Skip::OtherKind,
        Skip::Deleting,
        Skip::MirrorPod,
        Skip::Subresource,
        Skip::Operation,
        Skip::Unchanged,
    ]
    .map(|skip| (skip.name(), skip.reason()))
    .into();
    assert_eq!(names.len(), 6);
}

#[test]
fn a_hundred_thousand_containers_are_all_judged() {
    let spec = |tag: &str| {
        let containers: Vec<_> = (0..100_000)
            .map(|n| json!({"name": format!("c{}", n / 2), "image": format!("app{n}:{tag}")}))
            .collect();
        deployment(&json!({"containers": containers}))
    };
    let (old, new) = (spec("1"), spec("2"));
    let workload = extract(&new, Some(&old), "").expect("judged");
    assert_eq!(workload.templates[0].uses.len(), 100_000);
    assert_eq!(extract(&new, Some(&new), ""), Err(Skip::Unchanged));
}
