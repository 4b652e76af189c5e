//! Kubernetes Events, as the real API server takes them and `kubectl` shows them.

use crate::support::kubectl::{Gated, LONG, Namespace, eventually};
use crate::support::objects::{app, pod, pod_spec};
use crate::support::{CLOSED, registries};
use serde_json::Value;

/// The Events that pullgate has written to a namespace, with this reason.
fn told(namespace: &Namespace, reason: &str) -> Vec<Value> {
    let all = namespace.list("events.v1.events.k8s.io");
    let ours = |event: &Value| event["reportingController"] == "pullgate.dev/pullgate" && event["reason"] == reason;
    all.into_iter().filter(ours).collect()
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn denials_are_told_of_once_and_counted() {
    let namespace = Namespace::new(Gated::Yes);
    let deployment = |tag: &str| {
        let image = registries().open.image(&format!("shop/api:{tag}"));
        app("Deployment", "api", pod_spec(&[("api", &image)]))
    };
    namespace
        .apply_with(&["--dry-run=server"], &[deployment("v8")])
        .denied(&["TagNotFound"]);
    for _ in 0..3 {
        namespace.apply(&[deployment("v9")]).denied(&["TagNotFound"]);
    }
    let event = eventually("an Event about the denial", LONG, || told(&namespace, "ImagesDenied").pop());
    let note = event["note"].as_str().unwrap();
    assert!(
        note.contains("container api: ") && note.contains("shop/api:v9: TagNotFound: "),
        "{note}"
    );
    assert_eq!(event["regarding"]["kind"], "Deployment");
    assert_eq!(event["regarding"]["name"], "api");
    // `kubectl get events` is how people find it: there is no Deployment that could be described.
    let shown = namespace.kubectl(&["get", "events"]).done().stdout;
    let line = shown.lines().find(|line| line.contains("ImagesDenied")).unwrap();
    assert!(line.contains("deployment/api") && line.contains("Warning"), "{line}");

    // It is written twice a minute: on a slow machine the second of the three may be told before the third has come.
    eventually("the count of all three", LONG, || {
        match told(&namespace, "ImagesDenied").as_slice() {
            [event] => (event["series"]["count"] == 3).then_some(()),
            events => panic!("one Event for one cause, none for the dry run: {events:?}"),
        }
    });
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn what_was_let_pass_unknown_shows_where_the_object_is_described() {
    let namespace = Namespace::new(Gated::Yes);
    let image = format!("{CLOSED}/shop/api:v1.0");
    namespace
        .apply(&[app("Deployment", "api", pod_spec(&[("api", &image)]))])
        .warned(&["ConnectionFailed: "]);
    let described = eventually("kubectl describe", LONG, || {
        let shown = namespace.kubectl(&["describe", "deployment", "api"]).done().stdout;
        shown.contains("ImagesUnknown").then_some(shown)
    });
    let line = described.lines().find(|line| line.contains("ImagesUnknown")).unwrap();
    assert!(line.contains("pullgate") && line.contains("ConnectionFailed"), "{line}");
    // Its ReplicaSet and its pod were passed over: nothing is said twice.
    assert_eq!(told(&namespace, "ImagesUnknown").len(), 1);
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn what_is_allowed_and_what_is_about_to_go_leaves_no_trace() {
    let namespace = Namespace::new(Gated::Yes);
    let good = registries().open.image("shop/api:v1.0");
    namespace.apply(&[pod("good", pod_spec(&[("api", &good)]))]).allowed();
    let bad = registries().open.image("shop/api:v9");
    namespace
        .apply(&[pod("bad", pod_spec(&[("api", &bad)]))])
        .denied(&["TagNotFound"]);
    eventually("an Event about the denial", LONG, || told(&namespace, "ImagesDenied").pop());
    let about = |event: &Value| event["regarding"]["name"] == "good" && event["reportingController"] == "pullgate.dev/pullgate";
    assert!(!namespace.list("events.v1.events.k8s.io").iter().any(about));
}
