//! `kubectl apply`: what is created, denied and warned about, and how that reads.

use crate::support::kubectl::{Gated, LONG, Namespace, eventually};
use crate::support::objects::{app, kinds, object, pod, pod_spec};
use crate::support::{CLOSED, gate, registries};

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_good_deployment_is_created_and_runs() {
    let namespace = Namespace::new(Gated::Yes);
    let image = registries().open.image("shop/api:v1.0");
    namespace
        .apply(&[app("Deployment", "api", pod_spec(&[("api", &image)]))])
        .allowed();
    // Its replica set and its pod pass the gate too, as their controllers create them.
    eventually("a ready replica", LONG, || {
        namespace
            .list("deployments")
            .iter()
            .any(|deployment| deployment["status"]["readyReplicas"] == 1)
            .then_some(())
    });
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_wrong_tag_is_denied_with_the_closest_tags() {
    let namespace = Namespace::new(Gated::Yes);
    let image = registries().open.image("shop/api:v1.2");
    let output = namespace
        .apply(&[app("Deployment", "api", pod_spec(&[("api", &image)]))])
        .denied(&[
            &format!("of Deployment {}/api would fail to pull", namespace.name),
            &format!("container api: {image}"),
            "TagNotFound: ",
            "the kubelet would show: ErrImagePull",
            "fix: ",
        ]);
    let fix = output
        .stderr
        .lines()
        .find(|line| line.trim_start().starts_with("fix: "))
        .unwrap();
    assert!(
        fix.contains("v1.1") && fix.contains("v1.0"),
        "the closest tags are v1.1 and v1.0: {fix}"
    );
    assert!(!namespace.has("deployments", "api"));
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn all_images_are_reported_at_once() {
    let namespace = Namespace::new(Gated::Yes);
    let open = &registries().open;
    let (good, no_tag, no_repository) = (
        open.image("shop/api:v1.0"),
        open.image("shop/api:v9"),
        open.image("shop/apy:v1.0"),
    );
    let mut spec = pod_spec(&[("api", &good), ("web", &no_repository)]);
    spec["initContainers"] = pod_spec(&[("migrate", &no_tag)])["containers"].clone();
    let object = app("StatefulSet", "api", spec);
    let output = namespace
        .create_with(&["--validate=false", "-v=10"], std::slice::from_ref(&object))
        .denied(&[
            &format!("2 of 3 images of StatefulSet {}/api would fail to pull", namespace.name),
            &format!("migrate: {no_tag}"),
            "TagNotFound: ",
            &format!("web: {no_repository}"),
            "RepositoryNotFound: ",
        ]);
    // The machine-readable half, in the answer that `-v=10` shows.
    for cause in [
        r#""reason":"TagNotFound""#,
        r#""field":"spec.template.spec.initContainers[0].image""#,
        r#""reason":"RepositoryNotFound""#,
        r#""field":"spec.template.spec.containers[1].image""#,
    ] {
        assert!(
            output.stderr.contains(cause),
            "expected {cause} among the causes:\n{}",
            output.stderr
        );
    }
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn every_kind_with_a_pod_template_is_judged() {
    let namespace = Namespace::new(Gated::Yes);
    let open = &registries().open;
    for kind in kinds() {
        let spec = |tag: &str| pod_spec(&[("api", &open.image(&format!("shop/api:{tag}")))]);
        namespace
            .apply(&[object(kind, "bad", spec("v9"))])
            .denied(&["container api: ", "TagNotFound", "fix: "]);
        namespace.apply(&[object(kind, "good", spec("v1.0"))]).allowed();
        assert!(namespace.has(kind, "good") && !namespace.has(kind, "bad"), "{kind}");
    }
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn an_unreachable_registry_is_a_warning() {
    let namespace = Namespace::new(Gated::Yes);
    let image = format!("{CLOSED}/shop/api:v1.0");
    namespace
        .apply(&[app("Deployment", "api", pod_spec(&[("api", &image)]))])
        .warned(&["container api: ", &image, "ConnectionFailed: "]);
    assert!(namespace.has("deployments", "api"));
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn names_that_cannot_be_names_are_denied() {
    let namespace = Namespace::new(Gated::Yes);
    for name in [
        "shop/API:v1.0",
        "shop/api:$(VERSION)",
        "shop/api:${VERSION}",
        "shop/api:{{ .Values.tag }}",
    ] {
        let image = registries().open.image(name);
        namespace
            .apply(&[pod("api", pod_spec(&[("api", &image)]))])
            .denied(&["InvalidImageName: ", "fix: "]);
    }
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_server_side_dry_run_is_judged_alike() {
    let namespace = Namespace::new(Gated::Yes);
    let open = &registries().open;
    let deployment = |tag: &str| {
        app(
            "Deployment",
            "api",
            pod_spec(&[("api", &open.image(&format!("shop/api:{tag}")))]),
        )
    };
    namespace
        .apply_with(&["--dry-run=server"], &[deployment("v9")])
        .denied(&["TagNotFound"]);
    let output = namespace.apply_with(&["--dry-run=server"], &[deployment("v1.0")]).allowed();
    assert!(output.stdout.contains("created (server dry run)"), "{}", output.stdout);
    assert!(!namespace.has("deployments", "api"));
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn reviews_are_counted() {
    let namespace = Namespace::new(Gated::Yes);
    let image = registries().open.image("shop/api:v9");
    namespace
        .apply(&[pod("api", pod_spec(&[("api", &image)]))])
        .denied(&["TagNotFound"]);
    let metrics = gate().metrics();
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("pullgate_") && line.contains("TagNotFound") && !line.ends_with(" 0")),
        "no metric names the cause:\n{metrics}"
    );
}
