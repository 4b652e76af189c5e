//! The review handler: any input gets a proper answer, never a panic. No network: every registry named here is refused by the guard.
#![allow(clippy::unwrap_used, reason = "a failed expectation is how a test reports")]

use proptest::prelude::*;
use pullgate::cluster::{Cluster, Completeness, Directory, EventRecorder};
use pullgate::config::{Frontend, Live, PolicyStore, Settings};
use pullgate::engine::LookUps;
use pullgate::engine::{Engine, Gate};
use pullgate::plan::{self, Admission};
use pullgate::providers::Providers;
use pullgate::server::{Reply, Reviewer, Sent, reviewer};
use pullgate::telemetry::Metrics;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

fn handler(cluster: Cluster) -> (Reviewer, Metrics) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _guard = RUNTIME.enter();
    let metrics = Metrics::new();
    let settings = Settings::default();
    let engine = Engine {
        registry: LookUps::new(settings.registry(Frontend::Serve), metrics.clone()).unwrap(),
        settings: plan::PlanSettings {
            node_credentials: settings.node_credentials.iter().collect(),
            ..plan::PlanSettings::bare(Admission::HasRun)
        },
        providers: Providers::default(),
    };
    let gate = Gate::new(Live::new(engine), PolicyStore::default(), cluster);
    (
        reviewer(gate, metrics.clone(), EventRecorder::default(), Duration::from_secs(8)),
        metrics,
    )
}

static HANDLER: LazyLock<(Reviewer, Metrics)> = LazyLock::new(|| handler(Cluster::Absent));

fn ask(body: impl Into<Vec<u8>>) -> Reply {
    RUNTIME.block_on((HANDLER.0)(Sent::Whole(body.into().into()), Some(Duration::from_secs(5))))
}

fn review(object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "operation": "CREATE", "namespace": "ns", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "object": object, "userInfo": {}}})
}

fn response(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200);
    let answer: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    answer["response"].clone()
}

fn pod(images: &[&str]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(n, image)| json!({"name": format!("c{n}"), "image": image}))
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": containers}})
}

#[test]
fn five_hundred_containers_are_all_judged() {
    let images: Vec<String> = (0..500).map(|n| format!("10.0.0.{}/app{n}:v1", n % 250)).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let response = response(&ask(review(&pod(&images)).to_string()));
    assert_eq!(response["allowed"], true);
    let warnings = response["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .map(|warning| warning.as_str().unwrap().chars().count())
            .sum::<usize>()
            <= 4000
    );
    assert!(warnings.last().unwrap().as_str().unwrap().contains("more warnings"));
}

#[test]
fn five_hundred_bad_names_are_all_denied_in_one_answer() {
    let images: Vec<String> = (0..500).map(|n| format!("Bad/Name{n}")).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let response = response(&ask(review(&pod(&images)).to_string()));
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 403);
    assert_eq!(response["status"]["reason"], "Forbidden");
    assert_eq!(response["status"]["details"]["causes"].as_array().unwrap().len(), 500);
    assert_eq!(
        response["status"]["details"]["causes"][499]["field"],
        "spec.containers[499].image"
    );
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("500 of 500 images of Pod ns/p would fail to pull"));
    assert!(message.contains("Bad/Name499"));
}

#[test]
fn the_namespace_is_the_requests_whatever_the_object_says() {
    let mut object = pod(&["Bad"]);
    object["metadata"]["namespace"] = json!("victim");
    let response = response(&ask(review(&object).to_string()));
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("Pod ns/p") && !message.contains("victim"), "{message}");
}

// Under failurePolicy Ignore the webhook's selector lets such a namespace through, so that the API server's audit log shows who is left out.
#[test]
fn the_opt_out_of_a_namespace_is_in_the_audit_annotations() {
    for (value, allowed) in [("true", true), ("false", false)] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns", "labels": {"pullgate.dev/ignore": value}}});
        let directory = Directory::from_objects([&namespace], Completeness::Complete);
        let (reviewer, _) = handler(Cluster::from(directory));
        let body = review(&pod(&["Bad/Name"])).to_string().into_bytes();
        let reply = RUNTIME.block_on(reviewer(Sent::Whole(body.into()), Some(Duration::from_secs(5))));
        let response = response(&reply);
        assert_eq!(response["allowed"], allowed, "{response}");
        let label = allowed.then_some("namespace_label");
        assert_eq!(response["auditAnnotations"]["exempt"].as_str(), label, "{response}");
    }
}

#[test]
fn an_answer_does_not_grow_with_the_object_without_end() {
    let images: Vec<String> = (0..20_000).map(|n| format!("Bad/Name{n}")).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let reply = ask(review(&pod(&images)).to_string());
    assert!(reply.body.len() < 1 << 20, "{} bytes", reply.body.len());
    let response = response(&reply);
    assert_eq!(response["status"]["details"]["causes"].as_array().unwrap().len(), 1000);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("20000 of 20000 images of Pod ns/p would fail to pull"));
    assert!(message.ends_with("and 19000 more"));
}

/// A byte of JSON may take ninety of memory, and a pod has a few hundred megabytes: one object must not take them all.
#[test]
fn what_would_take_too_much_memory_is_not_read_and_said_to_be_so() {
    let mut padded = pod(&["Bad/Name"]);
    padded["spec"]["tolerations"] = "MANY".into();
    let many = format!("[{}0]", r#"{"":{}},"#.repeat(400_000));
    let crowd: Vec<String> = (0..30_000).map(|n| format!("Bad/Name{n}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    for (body, said) in [
        (review(&padded).to_string().replace("\"MANY\"", &many), "too many values"),
        (
            review(&pod(&crowd)).to_string(),
            "the object has 30000 images; the limit is 25000",
        ),
    ] {
        let response = response(&ask(body));
        // No policy is in force.
        assert_eq!(response["allowed"], true);
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("Pod ns/") && warning.contains(said), "{warning}");
    }
    assert!(
        !HANDLER
            .1
            .encode()
            .contains("pullgate_bad_requests_total{reason=\"too_large\"} 0\n")
    );
    // As large, but fewer values; and as many, where nothing is read.
    padded["spec"]["tolerations"] = "x".repeat(3 << 20).into();
    assert_eq!(response(&ask(review(&padded).to_string()))["allowed"], false);
    padded["spec"]["tolerations"] = Value::Null;
    for part in ["metadata", "spec"] {
        let mut padded = padded.clone();
        padded[part]["anything"] = "MANY".into();
        let body = review(&padded).to_string().replace("\"MANY\"", &many);
        assert_eq!(response(&ask(body))["allowed"], false);
    }
}

#[test]
fn control_characters_do_not_come_back() {
    let mut object = pod(&["evil\u{1b}[2J\nname:\u{7}"]);
    object["metadata"]["name"] = "p\u{1b}[31m".into();
    object["spec"]["containers"][0]["name"] = "c\r\n\u{202e}".into();
    let response = response(&ask(review(&object).to_string()));
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{message:?}");
    assert_eq!(
        message.lines().filter(|line| line.contains("container ")).count(),
        1,
        "{message}"
    );
}

#[test]
fn what_is_no_review_gets_a_400_a_sentence_and_a_count() {
    for (body, reason) in [
        ("{".to_owned(), "not_json"),
        (review(&pod(&[])).to_string().replace("\"u-1\"", "\"\""), "no_uid"),
        (
            review(&pod(&[])).to_string().replace("AdmissionReview", "ImageReview"),
            "wrong_kind",
        ),
        (
            review(&pod(&[]))
                .to_string()
                .replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1"),
            "wrong_version",
        ),
    ] {
        let reply = ask(body);
        assert_eq!(reply.status, 400, "{reason}");
        assert!(reply.body.len() > 20, "a sentence");
        let counted = HANDLER.1.encode();
        assert!(
            counted.contains(&format!("pullgate_bad_requests_total{{reason=\"{reason}\"}} "))
                && !counted.contains(&format!("pullgate_bad_requests_total{{reason=\"{reason}\"}} 0\n")),
            "{counted}"
        );
    }
}

#[test]
fn kinds_that_are_sent_and_not_known_are_allowed_and_counted() {
    let mut widget = review(&json!({"apiVersion": "acme.example/v1", "kind": "Widget", "metadata": {"name": "w"}}));
    widget["request"]["kind"] = json!({"group": "acme.example", "version": "v1", "kind": "Widget"});
    for _ in 0..2 {
        assert_eq!(response(&ask(widget.to_string()))["allowed"], true);
    }
    let counted = HANDLER.1.encode();
    let line = "pullgate_unknown_kinds_total{group=\"acme.example\",kind=\"Widget\"} 2\n";
    assert!(counted.contains(line), "{counted}");
    assert!(!HANDLER.1.unknown_kind("acme.example", "Widget"), "it was said at the first");
}

#[test]
fn however_deep_an_object_nests_its_images_are_judged() {
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    let mut pod = pod(&["Not/A:Name"]);
    pod["metadata"]["managedFields"] = serde_json::json!([{"fieldsV1": "DEEP"}]);
    let reply = ask(review(&pod).to_string().replace("\"DEEP\"", &deep));
    assert_eq!(reply.status, 200);
    let response = response(&reply);
    assert_eq!(response["uid"], "u-1");
    assert_eq!(response["status"]["details"]["causes"][0]["reason"], "InvalidImageName");
}

#[test]
fn a_pod_passes_where_nothing_is_known_of_the_cluster_and_the_address_is_not_admitted() {
    let response = response(&ask(review(&pod(&["127.0.0.1:5000/app:v1"])).to_string()));
    assert_eq!(response["allowed"], true);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("container c0: 127.0.0.1:5000/app:v1: LookupRefused: "),
        "{warning}"
    );
    assert!(warning.contains("127.0.0.0/8"), "{warning}");
}

/// JSON of any shape, with the keys that we look at scattered over it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~\\PC]{0,20}".prop_map(Value::from),
        prop_oneof![Just("10.0.0.1/a:b"), Just("Always"), Just("Pod"), Just("")].prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("containers"),
        Just("initContainers"),
        Just("ephemeralContainers"),
        Just("volumes"),
        Just("image"),
        Just("reference"),
        Just("name"),
        Just("imagePullPolicy"),
        Just("imagePullSecrets"),
        Just("nodeSelector"),
        Just("affinity"),
        Just("nodeAffinity"),
        Just("tolerations"),
        Just("requiredDuringSchedulingIgnoredDuringExecution"),
        Just("nodeSelectorTerms"),
        Just("matchExpressions"),
        Just("template"),
        Just("spec"),
        Just("metadata"),
        Just("ownerReferences"),
        Just("annotations"),
        Just("os"),
        Just("serviceAccountName"),
        Just("x"),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_object_of_any_kind_gets_an_answer_with_its_uid(
        spec in any_json(),
        old in any_json(),
        kind in prop_oneof![Just(("v1", "Pod")), Just(("apps/v1", "Deployment")), Just(("batch/v1", "CronJob")), Just(("apps/v1", "DaemonSet"))],
        operation in prop_oneof![Just("CREATE"), Just("UPDATE"), Just("DELETE")],
    ) {
        let object = |spec: &Value| match kind.1 {
            "Pod" => json!({"apiVersion": kind.0, "kind": kind.1, "metadata": spec, "spec": spec}),
            "CronJob" => json!({"apiVersion": kind.0, "kind": kind.1, "spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}}),
            _ => json!({"apiVersion": kind.0, "kind": kind.1, "spec": {"template": {"spec": spec, "metadata": spec}}}),
        };
        let mut review = review(&object(&spec));
        review["request"]["operation"] = operation.into();
        review["request"]["oldObject"] = object(&old);
        let response = response(&ask(review.to_string()));
        prop_assert_eq!(&response["uid"], "u-1");
        prop_assert!(response["allowed"].is_boolean());
    }

    #[test]
    fn any_bytes_get_an_answer(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(ask(body).status, 400);
    }

    #[test]
    fn any_image_text_gets_an_answer(image in "\\PC{0,80}|[a-zA-Z0-9./:@_$(){} -]{0,80}") {
        // Whatever parses to a public name would be asked for: keep to an address that the guard refuses.
        let image = if image.is_empty() { image } else { format!("10.0.0.1/{image}") };
        let response = response(&ask(review(&pod(&[&image])).to_string()));
        prop_assert_eq!(&response["uid"], "u-1");
    }
}

#[test]
fn custom_kinds_are_judged_by_their_own_paths_and_parameters_are_left_alone() {
    let workflow = |image: &str| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"generateName": "w-", "namespace": "ns"},
               "spec": {"templates": [{"name": "dag", "dag": {}}, {"name": "build", "container": {"image": image}}]}})
    };
    let allowed = response(&ask(review(&workflow("{{inputs.parameters.image}}")).to_string()));
    assert_eq!((&allowed["allowed"], &allowed["warnings"]), (&json!(true), &Value::Null));
    let denied = response(&ask(review(&workflow("Bad/Name")).to_string()));
    assert_eq!(denied["allowed"], false);
    let cause = &denied["status"]["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["field"]),
        (&json!("InvalidImageName"), &json!("spec.templates[1].container.image"))
    );
}

#[test]
fn an_object_in_no_namespace_takes_none_by_saying_so() {
    let object = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w", "namespace": "victim"},
                        "spec": {"templates": [{"container": {"image": "Bad/Name"}}]}});
    let mut review = review(&object);
    review["request"]["namespace"] = json!("");
    let message = response(&ask(review.to_string()))["status"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("of Workflow w would fail"), "{message}");
}
