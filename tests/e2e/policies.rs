//! Policies in the cluster: applied, edited, broken, deleted, while the gate runs.

use crate::support::kubectl::{Gated, LONG, Namespace, Output, eventually, kubectl};
use crate::support::objects::{app, pod_spec};
use crate::support::policies::Policy;
use crate::support::{gate, registries};
use serde_json::{Value, json};

fn deployment() -> Value {
    let image = registries().open.image("shop/api:v1.0");
    app("Deployment", "api", pod_spec(&[("api", &image)]))
}

/// The Deployment, as a server-side dry run.
fn try_it(namespace: &Namespace) -> Output {
    namespace.apply_with(&["--dry-run=server"], &[deployment()])
}

fn becomes_denied(namespace: &Namespace, words: &[&str]) {
    eventually("the denial", LONG, || try_it(namespace).is_denied().then_some(()));
    try_it(namespace).denied(words);
}

fn becomes_allowed(namespace: &Namespace) {
    eventually("the admission", LONG, || try_it(namespace).is_done().then_some(()));
    try_it(namespace).allowed();
}

/// An allow list with this pattern.
fn allow(pattern: &str) -> Value {
    json!({"registries": {"allow": [pattern]}})
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_policy_holds_within_seconds_and_so_does_its_edit() {
    let namespace = Namespace::new(Gated::Yes);
    let policy = Policy::of(&namespace);
    try_it(&namespace).allowed();

    policy.apply(allow("registry.corp.example/**")).done();
    becomes_denied(
        &namespace,
        &["container api: ", "RegistryNotAllowed: ", &policy.name, "fix: "],
    );
    let accepted = policy.accepted(1);
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("True"), &json!("Valid")));
    // And it does not come to be.
    namespace.apply(&[deployment()]).denied(&["RegistryNotAllowed"]);
    assert!(!namespace.has("deployments", "api"));

    policy.apply(allow(&format!("{}/**", registries().open.host))).done();
    becomes_allowed(&namespace);
    policy.apply(allow("registry.corp.example/**")).done();
    becomes_denied(&namespace, &["RegistryNotAllowed"]);

    policy.delete();
    becomes_allowed(&namespace);
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_broken_edit_leaves_the_last_good_version_and_says_so() {
    let namespace = Namespace::new(Gated::Yes);
    let policy = Policy::of(&namespace);
    policy.apply(allow("registry.corp.example/**")).done();
    becomes_denied(&namespace, &["RegistryNotAllowed"]);

    // The server's schema lets it through: it knows nothing of patterns.
    let pattern = format!("{}/[a", registries().open.host);
    policy.apply(allow(&pattern)).done();
    let accepted = policy.accepted(2);
    assert_eq!(
        (&accepted["status"], &accepted["reason"]),
        (&json!("False"), &json!("Invalid"))
    );
    let message = accepted["message"].as_str().unwrap();
    assert!(message.starts_with("spec.registries.allow[0]: "), "{message}");
    assert!(message.ends_with("; generation 1 still holds"), "{message}");
    try_it(&namespace).denied(&["RegistryNotAllowed"]);

    let table = kubectl(&["get", "imgpol", &policy.name, "-o", "wide"], "").done().stdout;
    for word in ["MODE", "ACCEPTED", "Enforce", "False", "still holds"] {
        assert!(table.contains(word), "expected {word}:\n{table}");
    }
    let log = gate().log();
    assert!(
        log.lines()
            .any(|line| line.contains(&policy.name) && line.contains("spec.registries.allow[0]")),
        "the log does not say what is wrong with {}",
        policy.name
    );
    let metrics = gate().metrics();
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("pullgate_reloads_total{reason=\"policies_refused\"} ") && !line.ends_with(" 0")),
        "{metrics}"
    );

    policy.apply(allow(&format!("{}/**", registries().open.host))).done();
    becomes_allowed(&namespace);
    assert_eq!(policy.accepted(3)["status"], "True");

    // The server's schema stops what it knows.
    for (spec, field) in [
        (json!({"mode": "Sometimes"}), "spec.mode"),
        (json!({"size": {"max": "2GB"}}), "spec.size.max"),
        (json!({"size": {"max": 1.5}}), "spec.size.max"),
    ] {
        let refused = policy.apply(spec);
        assert!(!refused.is_done(), "{refused:?}");
        assert!(refused.stderr.contains(field), "{}", refused.stderr);
    }
    // A quantity is a number or text.
    for (generation, max) in [(4, json!(2_000_000_000)), (5, json!("2Gi"))] {
        policy.apply(json!({"size": {"max": max}})).done();
        assert_eq!(policy.accepted(generation)["status"], "True");
    }
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn audit_lets_through_and_counts() {
    let namespace = Namespace::new(Gated::Yes);
    let policy = Policy::of(&namespace);
    let mut audit = allow("registry.corp.example/**");
    audit["mode"] = "Audit".into();
    policy.apply(audit).done();
    assert_eq!(policy.accepted(1)["status"], "True");
    let counted = eventually("the count", LONG, || {
        try_it(&namespace).allowed();
        let metrics = gate().metrics();
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("pullgate_policy_decisions_total{"));
        let mut ours = lines.filter(|line| line.contains(&format!("policy=\"{}\"", policy.name)));
        ours.next().map(str::to_owned)
    });
    for word in ["RegistryNotAllowed", "Allow", "Deny"] {
        assert!(counted.contains(word), "expected {word}: {counted}");
    }
    // Warn says it.
    let mut warn = allow("registry.corp.example/**");
    warn["mode"] = "Warn".into();
    policy.apply(warn).done();
    eventually("the warning", LONG, || {
        try_it(&namespace).done().stderr.contains("RegistryNotAllowed").then_some(())
    });
    try_it(&namespace).warned(&["container api: ", "RegistryNotAllowed"]);
}
