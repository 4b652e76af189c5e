//! The objects that the tests apply.

use base64::Engine as _;
use serde_json::{Value, json};

/// A pod spec; the pairs are container names and images. No token: it comes a moment after its service account.
pub(crate) fn pod_spec(containers: &[(&str, &str)]) -> Value {
    let containers: Vec<Value> = containers
        .iter()
        .map(|(name, image)| json!({"name": name, "image": image}))
        .collect();
    json!({"terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false, "containers": containers})
}

/// A pod spec that lists pull secrets.
pub(crate) fn pod_spec_with_secrets(image: &str, secrets: &[&str]) -> Value {
    let mut spec = pod_spec(&[("app", image)]);
    spec["imagePullSecrets"] = secrets.iter().map(|name| json!({"name": name})).collect();
    spec
}

/// A bare pod.
pub(crate) fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
    pod["spec"] = spec;
    pod
}

/// An object of `apps/v1` with one replica.
pub(crate) fn app(kind: &str, name: &str, spec: Value) -> Value {
    let labels = json!({"app": name});
    let mut app = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
                         "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}});
    app["spec"]["template"]["spec"] = spec;
    if kind == "StatefulSet" {
        app["spec"]["serviceName"] = name.into();
    }
    app
}

/// A job.
pub(crate) fn job(name: &str, mut spec: Value) -> Value {
    spec["restartPolicy"] = "Never".into();
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}});
    job["spec"]["template"]["spec"] = spec;
    job
}

/// A cron job that is due once a year.
pub(crate) fn cron_job(name: &str, spec: Value) -> Value {
    let mut cron_job = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
                              "spec": {"schedule": "0 0 1 1 *"}});
    cron_job["spec"]["jobTemplate"]["spec"] = job(name, spec)["spec"].take();
    cron_job
}

/// Kubernetes' own kinds that carry pods.
pub(crate) fn kinds() -> [&'static str; 9] {
    [
        "Pod",
        "PodTemplate",
        "ReplicationController",
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
    ]
}

/// An object of one of [`kinds`].
pub(crate) fn object(kind: &str, name: &str, spec: Value) -> Value {
    let labels = json!({"app": name});
    match kind {
        "Pod" => pod(name, spec),
        "Job" => job(name, spec),
        "CronJob" => cron_job(name, spec),
        "PodTemplate" => json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name},
                                "template": {"metadata": {"labels": labels}, "spec": spec}}),
        "ReplicationController" => json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name},
                                          "spec": {"selector": labels, "template": {"metadata": {"labels": labels}, "spec": spec}}}),
        _ => app(kind, name, spec),
    }
}

/// A secret of this type; its one value is encoded as the API wants it.
pub(crate) fn secret(name: &str, kind: &str, key: &str, value: &str) -> Value {
    let value = base64::engine::general_purpose::STANDARD.encode(value);
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": {key: value}})
}

/// What `docker login` would have written.
pub(crate) fn docker_config(host: &str, user: &str, password: &str) -> String {
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    json!({"auths": {host: {"auth": auth}}}).to_string()
}

/// A pull secret as `kubectl create secret docker-registry` makes it.
pub(crate) fn pull_secret(name: &str, host: &str, user: &str, password: &str) -> Value {
    secret(
        name,
        "kubernetes.io/dockerconfigjson",
        ".dockerconfigjson",
        &docker_config(host, user, password),
    )
}
