//! The demo's reviews, one for each problem, and the cluster around them.

use super::registry::{PASSWORD, USER};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// One review.
pub(super) struct DemoCase {
    /// What it shows.
    pub(super) title: &'static str,
    /// The object that is created or updated.
    pub(super) object: Value,
    /// The object before an update.
    pub(super) old: Option<Value>,
}

/// All cases, with a registry at `registry`, another one that throttles, and a port that nothing listens on.
pub(super) fn all(registry: &str, busy: &str, closed: &str) -> Vec<DemoCase> {
    let deployment = |name: &str, image: String| deployment(name, &image, &[]);
    let case = |title, object| DemoCase {
        title,
        object,
        old: None,
    };
    let replicas = |count: u32| {
        let mut object = deployment("steady", format!("{closed}/shop/api:v1.0"));
        object["spec"]["replicas"] = count.into();
        object
    };
    vec![
        case("good image", deployment("api", format!("{registry}/shop/api:v2"))),
        case("wrong tag", deployment("api", format!("{registry}/shop/api:v99"))),
        case("unknown repository", deployment("apii", format!("{registry}/shop/apii:v2"))),
        case(
            "unknown digest",
            deployment("pinned", format!("{registry}/shop/api@sha256:{}", "0".repeat(64))),
        ),
        case(
            "private, no secret",
            deployment("billing", format!("{registry}/private/billing:v1")),
        ),
        case(
            "private, good secret",
            self::deployment("billing", &format!("{registry}/private/billing:v1"), &["good"]),
        ),
        case(
            "public, stale secret",
            self::deployment("web", &format!("{registry}/public/web:v3"), &["stale"]),
        ),
        case(
            "private, secret of wrong type",
            self::deployment("billing", &format!("{registry}/private/billing:v1"), &["opaque"]),
        ),
        case(
            "private, secret for another host",
            self::deployment("billing", &format!("{registry}/private/billing:v1"), &["elsewhere"]),
        ),
        case(
            "private, secret missing (a Pod)",
            pod("billing", &format!("{registry}/private/billing:v1"), &["absent"]),
        ),
        case(
            "malformed secret",
            self::deployment("web", &format!("{registry}/public/web:v3"), &["garbled"]),
        ),
        case("throttled", deployment("busy", format!("{busy}/busy/app:v1"))),
        case("registry fails", deployment("broken", format!("{registry}/broken/app:v1"))),
        case("unreachable", deployment("away", format!("{closed}/shop/api:v2"))),
        case("private address", deployment("inside", "10.1.2.3/shop/api:v2".to_owned())),
        case("login page", deployment("proxy", format!("{registry}/proxy/app:v1"))),
        case(
            "wrong architecture, index",
            deployment("model", format!("{registry}/shop/model:v1")),
        ),
        case(
            "wrong architecture, single",
            deployment("edge", format!("{registry}/shop/edge:v1")),
        ),
        case("bad name", deployment("caps", format!("https://{registry}/Shop/API:v2"))),
        case(
            "template not rendered",
            deployment("raw", format!("{registry}/shop/api:${{TAG}}")),
        ),
        case("pull policy Never", {
            let mut object = deployment("local", format!("{registry}/shop/api:v2"));
            object["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
            object
        }),
        DemoCase {
            title: "unchanged update, registry down",
            object: replicas(3),
            old: Some(replicas(2)),
        },
    ]
}

fn deployment(name: &str, image: &str, secrets: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": pod_spec(name, image, secrets)}},
    })
}

fn pod(name: &str, image: &str, secrets: &[&str]) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": pod_spec(name, image, secrets)})
}

fn pod_spec(name: &str, image: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    json!({"containers": [{"name": name, "image": image}], "imagePullSecrets": secrets})
}

/// The demo's cluster: one node, a namespace, its service account and a few secrets.
pub(super) fn cluster(registry: &str) -> Vec<Value> {
    let docker_config =
        |host: &str, password: &str| json!({"auths": {host: {"auth": STANDARD.encode(format!("{USER}:{password}"))}}}).to_string();
    let pull = "kubernetes.io/dockerconfigjson";
    let secret = |name: &str, kind: &str, data: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "type": kind,
               "data": {".dockerconfigjson": STANDARD.encode(data)}})
    };
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1", "labels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
               "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": "containerd://2.1.9",
                                       "kubeletVersion": "v1.34.2"}}}),
        secret("good", pull, &docker_config(registry, PASSWORD)),
        secret("stale", pull, &docker_config(registry, "last year's")),
        secret("opaque", "Opaque", &docker_config(registry, PASSWORD)),
        secret("elsewhere", pull, &docker_config("ghcr.io", PASSWORD)),
        secret("garbled", pull, r#"{"auths": {"ghcr.io": {"auth": "not base64"}}}"#),
    ]
}
