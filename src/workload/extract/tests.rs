use super::*;
use crate::workload::{ImageUse, PullPolicy, Role};
use proptest::prelude::*;
use serde_json::json;

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
        ("extensions/v1beta1", "Deployment"),
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
            {"name": "later", "image": {"reference": ""}}, {"name": "odd", "image": {"reference": 5}}, {"name": "none", "image": null}],
        "ephemeralContainers": [{"name": "debug", "image": "busybox"}],
        "containers": [{"name": "api", "image": "api:1"}, {"name": "side", "image": "side:1", "imagePullPolicy": "Never"}],
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
fn a_single_space_in_a_template_is_an_openshift_trigger() {
    let spec = json!({"containers": [{"name": "a", "image": " "}, {"name": "b", "image": "  "}]});
    assert_eq!(images(&deployment(&spec)), ["spec.template.spec.containers[1].image   "]);
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

/// A pod spec with one of everything, for updates of it.
fn full_spec() -> Value {
    json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}],
        "initContainers": [{"name": "a", "image": "init:1"}],
        "volumes": [{"name": "a", "image": {"reference": "data:1"}}],
        "imagePullSecrets": [{"name": "s"}]})
}

#[test]
fn updates_that_change_nothing_a_pull_depends_on() {
    let old = deployment(&full_spec());
    let same = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        assert_eq!(extract(&new, Some(&old), ""), Err(Skip::Unchanged), "{new}");
    };
    same(|_| ());
    same(|new| new["spec"]["replicas"] = json!(0));
    same(|new| new["metadata"]["labels"] = json!({"a": "b"}));
    same(|new| new["apiVersion"] = json!("apps/v1beta1"));
    same(|new| {
        new["spec"]["template"]["spec"]["containers"]
            .as_array_mut()
            .expect("containers")
            .reverse()
    });
    same(|new| {
        new["spec"]["template"]["spec"]["containers"]
            .as_array_mut()
            .expect("containers")
            .truncate(1)
    });
    // The default that the API server would write.
    same(|new| new["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent"));
    same(|new| new["spec"]["template"]["spec"]["serviceAccountName"] = json!("default"));
    same(|new| new["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]));
    assert!(extract(&old, Some(&Value::Null), "").is_ok(), "no old object");
}

#[test]
fn updates_are_judged_where_they_change_something() {
    let old = deployment(&full_spec());
    let changed = |change: fn(&mut Value), expected: &[&str]| {
        let mut new = old.clone();
        change(&mut new["spec"]["template"]["spec"]);
        let workload = extract(&new, Some(&old), "").expect("judged");
        let uses = workload.templates[0].uses.iter().filter(|image_use| !image_use.unchanged);
        assert_eq!(uses.map(|image_use| image_use.image.as_str()).collect::<Vec<_>>(), expected);
    };
    let all = &["init:1", "a:1", "b:1", "data:1"];
    changed(|spec| spec["containers"][1]["image"] = json!("b:2"), &["b:2"]);
    changed(|spec| spec["containers"][1]["imagePullPolicy"] = json!("Always"), &["b:1"]);
    changed(|spec| spec["containers"][1]["name"] = json!("c"), &["b:1"]);
    changed(|spec| spec["initContainers"][0]["image"] = json!("init:2"), &["init:2"]);
    changed(|spec| spec["volumes"][0]["image"]["reference"] = json!("data:2"), &["data:2"]);
    changed(
        |spec| {
            spec["containers"]
                .as_array_mut()
                .expect("containers")
                .push(json!({"name": "a", "image": "a:1"}))
        },
        &["a:1"],
    );
    changed(|spec| spec["imagePullSecrets"] = json!([{"name": "s"}, {"name": "t"}]), all);
    changed(|spec| spec["serviceAccountName"] = json!("builder"), all);
    changed(|spec| spec["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"}), all);
    changed(|spec| spec["nodeName"] = json!("n"), all);
    changed(|spec| spec["tolerations"] = json!([{"operator": "Exists"}]), all);
    changed(|spec| spec["os"] = json!({"name": "windows"}), all);
    changed(|spec| spec["hostNetwork"] = json!(true), all);
    changed(
        |spec| {
            spec["affinity"] =
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}})
        },
        all,
    );
}

#[test]
fn a_debug_container_that_is_added_is_judged_alone() {
    let old = pod(&full_spec());
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([{"name": "a", "image": "debug:1"}]);
    let workload = extract(&new, Some(&old), "").expect("judged");
    let judged: Vec<_> = workload.templates[0]
        .uses
        .iter()
        .filter(|u| !u.unchanged)
        .map(|u| u.image.as_str())
        .collect();
    assert_eq!(judged, ["debug:1"]);
    assert_eq!(extract(&new, Some(&new), ""), Err(Skip::Unchanged));
}

#[test]
fn containers_of_one_name_are_compared_in_their_order() {
    let spec = |images: &[&str]| {
        let containers: Vec<_> = images.iter().map(|image| json!({"name": "x", "image": image})).collect();
        deployment(&json!({"containers": containers}))
    };
    let workload = extract(&spec(&["a:1", "b:2", "c:1"]), Some(&spec(&["a:1", "b:1"])), "").expect("judged");
    assert_eq!(
        workload.templates[0].uses.iter().map(|u| u.unchanged).collect::<Vec<_>>(),
        [true, false, false]
    );
}

#[test]
fn a_hundred_thousand_containers_take_no_time() {
    let spec = |tag: &str| {
        let containers: Vec<_> = (0..100_000)
            .map(|n| json!({"name": format!("c{}", n / 2), "image": format!("app{n}:{tag}")}))
            .collect();
        deployment(&json!({"containers": containers}))
    };
    let (old, new) = (spec("1"), spec("2"));
    let start = std::time::Instant::now();
    let workload = extract(&new, Some(&old), "").expect("judged");
    assert_eq!(workload.templates[0].uses.len(), 100_000);
    assert_eq!(extract(&new, Some(&new), ""), Err(Skip::Unchanged));
    assert!(start.elapsed().as_secs() < 20, "quadratic? {:?}", start.elapsed());
}

/// JSON whose keys are those that the extractor looks for, with anything below them.
fn object_like() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z:/@ .]{0,12}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "metadata",
        "spec",
        "template",
        "containers",
        "initContainers",
        "ephemeralContainers",
        "volumes",
        "image",
        "reference",
        "name",
        "imagePullSecrets",
        "nodeSelector",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "tolerations",
        "os",
        "annotations",
        "ownerReferences",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn extracting_never_panics(kind in prop::sample::select(kinds::BUILT_IN), inner in object_like(), spec in object_like(), old in object_like()) {
        let api_version = if kind.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", kind.group) };
        let mut object = spec;
        for field in kind.pod_spec.rsplit('.') {
            object = json!({field: object});
        }
        object["metadata"] = inner;
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind.kind);
        if let Ok(workload) = extract(&object, None, "ns") {
            for template in &workload.templates {
                let scheduling = &template.needs.scheduling;
                let _ = (scheduling.candidates(&[crate::workload::Node::from_json(&old)]), scheduling.named_platforms());
            }
            prop_assert_eq!(extract(&object, Some(&object), "ns"), Err(Skip::Unchanged));
        }
        let _ = extract(&object, Some(&old), "ns");
        let _ = extract(&old, Some(&object), "ns");
    }
}
