//! What changes later, and what must keep working while a registry is away.

use crate::support::kubectl::{Gated, LONG, Namespace, eventually};
use crate::support::objects::{app, pod_spec};
use crate::support::registry::Registry;

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn only_what_changes_is_judged() {
    let namespace = Namespace::new(Gated::Yes);
    let registry = Registry::open("update");
    registry.push(&[], &["shop/web:v1", "shop/web:v2"]);
    let image = |tag: &str| registry.image(&format!("shop/web:{tag}"));
    let (v1, v2, v9) = (image("v1"), image("v2"), image("v9"));
    let set = |image: &str| namespace.kubectl(&["set", "image", "deployment/web", &format!("web={image}")]);
    let stored = || namespace.list("deployments")[0]["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let ready = |count: u64| {
        eventually("ready replicas", LONG, || {
            (namespace.list("deployments")[0]["status"]["readyReplicas"] == count).then_some(())
        });
    };

    namespace
        .apply(&[app("Deployment", "web", pod_spec(&[("web", &v1)]))])
        .allowed();
    ready(1);
    set(&v9).denied(&["container web: ", "TagNotFound", "fix: "]);
    assert_eq!(stored(), v1.as_str());

    drop(registry);
    // Nothing about the image changes: not a word, though nobody could be asked.
    namespace.kubectl(&["label", "deployment/web", "team=shop"]).allowed();
    namespace.kubectl(&["set", "env", "deployment/web", "COLOUR=blue"]).allowed();
    namespace.kubectl(&["scale", "deployment/web", "--replicas=2"]).allowed();
    ready(2);
    // It changes to something that nobody can vouch for.
    set(&v2).warned(&["container web: ", &v2, "ConnectionFailed"]);
    assert_eq!(stored(), v2.as_str());
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_finalizer_can_be_removed_whatever_the_image() {
    let namespace = Namespace::new(Gated::No);
    let mut deployment = app("Deployment", "old", pod_spec(&[("app", "old/UPPER")]));
    deployment["metadata"]["finalizers"] = serde_json::json!(["pullgate.dev/e2e"]);
    deployment["spec"]["replicas"] = 0.into();
    namespace.apply(&[deployment]).done();
    namespace.gate();
    namespace.kubectl(&["delete", "deployment", "old", "--wait=false"]).allowed();
    namespace
        .kubectl(&[
            "patch",
            "deployment",
            "old",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ])
        .allowed();
    eventually("the deployment's end", LONG, || {
        (!namespace.has("deployments", "old")).then_some(())
    });
}
