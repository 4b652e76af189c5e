use crate::workload::{Kinds, Workload, extract};
use serde_json::{Value, json};

fn template(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": image}], "imagePullSecrets": [{"name": "s"}]}})
}

fn object(api_version: &str, kind: &str, status: &Value) -> Value {
    let spec = match kind {
        "CronJob" => json!({"jobTemplate": {"spec": {"template": template("reg.example/a:1")}}}),
        _ => json!({"template": template("reg.example/a:1")}),
    };
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "o", "generation": 3}, "spec": spec, "status": status})
}

/// The same object with the image in its place.
fn with_image(old: &Value, image: &str) -> Value {
    let mut new = old.clone();
    let path = match old["kind"].as_str() {
        Some("CronJob") => "/spec/jobTemplate/spec/template/spec/containers/0/image",
        Some("Pod") => "/spec/containers/0/image",
        _ => "/spec/template/spec/containers/0/image",
    };
    *new.pointer_mut(path).unwrap() = json!(image);
    new
}

fn updated(old: &Value) -> Workload {
    extract(&with_image(old, "reg.example/a:2"), Some(old), "ns", &Kinds::default()).unwrap()
}

fn ran(workload: &Workload) -> Vec<&str> {
    workload
        .templates
        .iter()
        .flat_map(|template| template.ran.iter().map(|image| image.image.as_str()))
        .collect()
}

#[test]
fn a_status_shows_pods_of_the_present_template_or_it_shows_nothing() {
    for (api_version, kind, status, runs) in [
        (
            "apps/v1",
            "Deployment",
            json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1}),
            true,
        ),
        // A rollout under way: of three, one is new, and all are ready.
        (
            "apps/v1",
            "Deployment",
            json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 3}),
            true,
        ),
        // A rollout that is stuck: the new one waits for its image.
        (
            "apps/v1",
            "Deployment",
            json!({"observedGeneration": 3, "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3}),
            false,
        ),
        // Paused before its first pod.
        (
            "apps/v1",
            "Deployment",
            json!({"observedGeneration": 3, "replicas": 3, "readyReplicas": 3}),
            false,
        ),
        ("apps/v1", "Deployment", json!({"observedGeneration": 3}), false),
        (
            "apps/v1",
            "Deployment",
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}),
            false,
        ),
        (
            "apps/v1",
            "Deployment",
            json!({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}),
            false,
        ),
        (
            "apps/v1",
            "StatefulSet",
            json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}),
            true,
        ),
        (
            "apps/v1",
            "StatefulSet",
            json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}),
            false,
        ),
        (
            "apps/v1",
            "DaemonSet",
            json!({"observedGeneration": 3, "currentNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 1}),
            true,
        ),
        (
            "apps/v1",
            "DaemonSet",
            json!({"observedGeneration": 3, "currentNumberScheduled": 2, "updatedNumberScheduled": 1, "numberReady": 1}),
            false,
        ),
        (
            "apps/v1",
            "ReplicaSet",
            json!({"observedGeneration": 3, "replicas": 2, "readyReplicas": 1}),
            true,
        ),
        (
            "apps/v1",
            "ReplicaSet",
            json!({"observedGeneration": 3, "replicas": 2}),
            false,
        ),
        (
            "v1",
            "ReplicationController",
            json!({"observedGeneration": 3, "replicas": 2, "readyReplicas": 2}),
            true,
        ),
        ("batch/v1", "Job", json!({"active": 1}), false),
        ("batch/v1", "Job", json!({"active": 1, "ready": 1}), true),
        ("batch/v1", "Job", json!({"succeeded": 1}), true),
        (
            "batch/v1",
            "CronJob",
            json!({"lastScheduleTime": "2026-01-01T00:00:00Z"}),
            false,
        ),
        (
            "batch/v1",
            "CronJob",
            json!({"lastSuccessfulTime": "2026-01-01T00:00:00Z"}),
            true,
        ),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"observedGeneration": "3", "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}),
            true,
        ),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"observedGeneration": "3", "readyReplicas": 2}),
            false,
        ),
        ("apps/v1", "Deployment", json!([3]), false),
        (
            "apps/v1",
            "Deployment",
            json!({"observedGeneration": 3, "replicas": -1, "updatedReplicas": 1e99, "readyReplicas": "x"}),
            false,
        ),
    ] {
        let workload = updated(&object(api_version, kind, &status));
        let expected: &[&str] = if runs { &["reg.example/a:1"] } else { &[] };
        assert_eq!(ran(&workload), expected, "{kind} {status}");
    }
    let mut none = object("apps/v1", "Deployment", &Value::Null);
    none.as_object_mut().unwrap().remove("status");
    assert_eq!(ran(&updated(&none)), [""; 0]);
}

#[test]
fn the_largest_numbers_do_no_harm() {
    let most = u64::MAX;
    let status = json!({"observedGeneration": 3, "replicas": 1, "updatedReplicas": most, "readyReplicas": most});
    assert_eq!(ran(&updated(&object("apps/v1", "Deployment", &status))), ["reg.example/a:1"]);
}

#[test]
fn other_secrets_or_another_account_say_nothing() {
    let status = json!({"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
    let old = object("apps/v1", "Deployment", &status);
    for (path, value) in [
        ("imagePullSecrets", json!([{"name": "t"}])),
        ("imagePullSecrets", json!([])),
        ("imagePullSecrets", json!([{"name": "s"}, {"name": "t"}])),
        ("serviceAccountName", json!("other")),
    ] {
        let mut new = with_image(&old, "reg.example/a:2");
        new["spec"]["template"]["spec"][path] = value.clone();
        let workload = extract(&new, Some(&old), "ns", &Kinds::default()).unwrap();
        assert_eq!(ran(&workload), [""; 0], "{path}: {value}");
    }
    // Node selection may differ, and the default account may be written out.
    let mut new = with_image(&old, "reg.example/a:2");
    new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    new["spec"]["template"]["spec"]["serviceAccount"] = json!("default");
    let workload = extract(&new, Some(&old), "ns", &Kinds::default()).unwrap();
    assert_eq!(ran(&workload), ["reg.example/a:1"]);
}

#[test]
fn what_was_not_pulled_says_nothing() {
    let status = json!({"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
    let mut old = object("apps/v1", "Deployment", &status);
    old["spec"]["template"]["spec"] = json!({
        "initContainers": [{"name": "i", "image": "reg.example/init:1", "volumeMounts": [{"name": "w", "mountPath": "/w"}]}],
        "containers": [{"name": "c", "image": "reg.example/a:1", "imagePullPolicy": "Never"}],
        "volumes": [{"name": "v", "image": {"reference": "reg.example/data:1"}}, {"name": "w", "image": {"reference": "reg.example/w:1"}}],
    });
    assert_eq!(ran(&updated(&old)), ["reg.example/init:1", "reg.example/w:1"]);
}

#[test]
fn of_several_templates_nobody_says_which_pods_are_ready() {
    let status = json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2});
    let old = json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
        "metadata": {"name": "o", "generation": 3}, "status": status,
        "spec": {"leaderWorkerTemplate": {"leaderTemplate": template("reg.example/l:1"), "workerTemplate": template("reg.example/w:1")}}});
    let mut new = old.clone();
    new["spec"]["leaderWorkerTemplate"]["workerTemplate"] = template("reg.example/w:2");
    let workload = extract(&new, Some(&old), "ns", &Kinds::default()).unwrap();
    assert_eq!(workload.templates.len(), 2);
    assert_eq!(ran(&workload), [""; 0]);
}

#[test]
fn a_pods_containers_speak_for_themselves() {
    let pod = |status: &Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "generation": 2}, "status": status, "spec": {
            "initContainers": [{"name": "c", "image": "reg.example/init:1"}],
            "containers": [{"name": "c", "image": "reg.example/a:1"}, {"name": "d", "image": "reg.example/b:1"}]}})
    };
    let id = "reg.example/a@sha256:00";
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    for (state, id, runs) in [
        (running.clone(), id, true),
        (running.clone(), "", false),
        (json!({"terminated": {"exitCode": 1}}), id, true),
        (waiting("CrashLoopBackOff"), id, true),
        // An image that was changed before: its ID is still there.
        (waiting("ImagePullBackOff"), id, false),
        (waiting("ContainerCreating"), "", false),
        (Value::Null, id, false),
        (json!("running"), id, false),
    ] {
        let status = json!({"containerStatuses": [{"name": "c", "imageID": id, "state": state}]});
        let expected: &[&str] = if runs { &["reg.example/a:1"] } else { &[] };
        assert_eq!(ran(&updated(&pod(&status))), expected, "{status}");
    }
    let init = json!({"initContainerStatuses": [{"name": "c", "imageID": id, "state": {"terminated": {"exitCode": 0}}}]});
    assert_eq!(ran(&updated(&pod(&init))), ["reg.example/init:1"]);
    for (observed, runs) in [(2, 1), (1, 0)] {
        let status = json!({"observedGeneration": observed,
            "containerStatuses": [{"name": "c", "imageID": id, "state": running}]});
        assert_eq!(ran(&updated(&pod(&status))).len(), runs, "{observed}");
    }
}

#[test]
fn an_object_that_is_there_speaks_of_itself() {
    let status = json!({"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
    let object = object("apps/v1", "Deployment", &status);
    let mut workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    assert_eq!(ran(&workload), [""; 0]);
    workload.recall(&object);
    assert_eq!(ran(&workload), ["reg.example/a:1"]);
}
