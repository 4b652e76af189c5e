use crate::workload::{Kinds, Skip, Workload};
use serde_json::{Value, json};

fn extract(object: &Value, old: Option<&Value>, namespace: &str) -> Result<Workload, Skip> {
    crate::workload::extract(object, old, namespace, &Kinds::default())
}

fn deployment(pod: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"replicas": 3, "template": {"spec": pod}}})
}

fn pod(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api"}, "spec": spec})
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
            .reverse();
    });
    same(|new| {
        new["spec"]["template"]["spec"]["containers"]
            .as_array_mut()
            .expect("containers")
            .truncate(1);
    });
    // The default that the API server would write.
    same(|new| new["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent"));
    same(|new| new["spec"]["template"]["spec"]["serviceAccountName"] = json!("default"));
    same(|new| new["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]));
    same(|new| new["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]));
    same(|new| new["spec"]["template"]["spec"]["hostNetwork"] = json!(true));
    assert!(extract(&old, Some(&Value::Null), "").is_ok(), "no old object");
    let mut mounted = old.clone();
    mounted["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "a", "mountPath": "/a"}]);
    assert_eq!(
        extract(&old, Some(&mounted), ""),
        Err(Skip::Unchanged),
        "nobody waits for a volume that is no longer mounted"
    );
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
    changed(
        |spec| spec["containers"][0]["volumeMounts"] = json!([{"name": "a", "mountPath": "/a"}]),
        &["data:1"],
    );
    changed(|spec| spec["initContainers"][0]["image"] = json!("init:2"), &["init:2"]);
    changed(|spec| spec["volumes"][0]["image"]["reference"] = json!("data:2"), &["data:2"]);
    changed(
        |spec| {
            spec["containers"]
                .as_array_mut()
                .expect("containers")
                .push(json!({"name": "a", "image": "a:1"}));
        },
        &["a:1"],
    );
    changed(|spec| spec["imagePullSecrets"] = json!([{"name": "s"}, {"name": "t"}]), all);
    changed(|spec| spec["serviceAccountName"] = json!("builder"), all);
    changed(|spec| spec["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"}), all);
    changed(|spec| spec["nodeName"] = json!("n"), all);
    changed(|spec| spec["os"] = json!({"name": "windows"}), all);
    changed(
        |spec| {
            spec["affinity"] =
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}});
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
