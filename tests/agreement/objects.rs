//! The Kubernetes objects of a case.

use crate::cases::{Case, NodeSpec, Secret, fill, fill_value, merge};
use crate::server::World;
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Secrets and service accounts; without a namespace. The names are the case's own, so that all cases fit into one namespace.
pub(crate) fn beside(case: &Case, world: &World) -> Vec<Value> {
    let secrets = case
        .secrets
        .iter()
        .map(|(name, made)| secret(case, name, made, &world.values));
    let accounts = case.service_accounts.iter().map(|(name, secrets)| {
        let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": own(case, name)})).collect();
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": own(case, name)}, "imagePullSecrets": secrets})
    });
    secrets.chain(accounts).collect()
}

/// A name of the case's own; an empty one stays empty, and every namespace has its `default`.
fn own(case: &Case, name: &str) -> String {
    if name.is_empty() || name == "default" {
        name.to_owned()
    } else {
        format!("{}-{name}", case.name)
    }
}

fn secret(case: &Case, name: &str, made: &Secret, values: &BTreeMap<String, String>) -> Value {
    const MODERN: &str = "kubernetes.io/dockerconfigjson";
    let kind = made.kind.as_deref().unwrap_or(MODERN);
    let legacy = kind == "kubernetes.io/dockercfg";
    let data_key = made
        .data_key
        .as_deref()
        .unwrap_or(if legacy { ".dockercfg" } else { ".dockerconfigjson" });
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let text = if let Some(data) = &made.data {
        fill(data, values)
    } else {
        let auths = if let Some(auths) = &made.auths {
            fill_value(auths, values)
        } else {
            let key = fill(made.key.as_deref().unwrap_or("{registry}"), values);
            let login = format!(
                "{}:{}",
                made.user.as_deref().unwrap_or("ci"),
                made.password.as_deref().unwrap_or("sesame")
            );
            json!({key: {"auth": encode(&login)}})
        };
        if legacy {
            auths.to_string()
        } else {
            json!({"auths": auths}).to_string()
        }
    };
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": own(case, name)}, "type": kind, "data": {data_key: encode(&text)}})
}

/// The case's object.
pub(crate) fn object(case: &Case, world: &World) -> Value {
    let mut container = json!({"name": "app", "image": world.image()});
    if let Some(policy) = &case.pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
    // A token comes a moment after its service account, and nobody here needs one.
    let mut spec = json!({"terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false, "restartPolicy": "Never",
                          "containers": [container]});
    let listed: Vec<String> = case.pull_secrets.clone().unwrap_or_else(|| {
        // Those of a service account are the account's.
        if case.service_accounts.is_empty() {
            case.secrets.keys().cloned().collect()
        } else {
            Vec::new()
        }
    });
    if !listed.is_empty() {
        spec["imagePullSecrets"] = listed.iter().map(|name| json!({"name": own(case, name)})).collect();
    }
    let account = case.service_accounts.keys().find(|name| *name != "default");
    if let Some(account) = account {
        spec["serviceAccountName"] = own(case, account).into();
    }
    merge(&mut spec, &fill_value(&case.pod, &world.values));
    let metadata = json!({"name": case.name, "labels": {"case": case.name}});
    match case.kind.as_str() {
        "Pod" => json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        "Job" => json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
                        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"case": case.name}}, "spec": spec}}}),
        kind => {
            spec.as_object_mut().unwrap().remove("restartPolicy");
            let labels = json!({"case": case.name});
            let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata,
                   "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}});
            if kind == "StatefulSet" {
                object["spec"]["serviceName"] = case.name.as_str().into();
            }
            object
        }
    }
}

/// The nodes of a case.
pub(crate) fn nodes(case: &Case, world: &World) -> Vec<Value> {
    case.nodes
        .iter()
        .enumerate()
        .map(|(at, spec)| node(at, spec, world))
        .collect()
}

fn node(at: usize, spec: &NodeSpec, world: &World) -> Value {
    let mut parts = spec.platform.split('/');
    let (os, architecture) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut labels = json!({"kubernetes.io/os": os, "kubernetes.io/arch": architecture});
    for (key, value) in &spec.labels {
        labels[key] = value.as_str().into();
    }
    let mut images: Vec<Value> = spec
        .images
        .iter()
        .map(|name| json!({"names": [fill(name, &world.values)]}))
        .collect();
    images.extend((0..spec.other_images).map(|at| json!({"names": [format!("other.example.com/image:v{at}")]})));
    let name = spec.name.clone().unwrap_or_else(|| format!("node{at}"));
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"taints": spec.taints},
        "status": {"images": images, "nodeInfo": {"operatingSystem": os, "architecture": architecture,
            "kernelVersion": if os == "windows" { parts.next().unwrap_or_default() } else { "6.1" },
            "containerRuntimeVersion": spec.runtime.as_deref().unwrap_or("containerd://2.4.2"),
            "kubeletVersion": spec.kubelet.as_deref().unwrap_or(KUBELET)}}})
}

/// The kubelet that nodes run where a case names none.
pub(crate) const KUBELET: &str = "v1.37.2";

/// One linux/amd64 node.
pub(crate) fn usual_node(name: &str, runtime: &str, kubelet: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": runtime,
                                "kubeletVersion": kubelet}}})
}
