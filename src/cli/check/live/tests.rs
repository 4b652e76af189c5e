use crate::cli::check::{Args, Done, check};
use crate::cli::engine;
use crate::cli::inputs::{load_cluster_policies, taken};
use crate::cluster::fake::Fake;
use crate::config::{PolicyStore, Settings};
use crate::report::json;
use crate::workload::Kinds;
use clap::Parser;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Parser)]
struct Only {
    #[command(flatten)]
    args: Args,
}

/// `pullgate check --cluster --live` at this API server.
async fn live(fake: &Fake, flags: &[&str]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    std::fs::write(&kubeconfig, fake.kubeconfig().to_string()).unwrap();
    let words = ["check", "--cluster", "--live", "-o", "json", "--kubeconfig"];
    let words = words
        .into_iter()
        .chain([kubeconfig.to_str().unwrap()])
        .chain(flags.iter().copied());
    check(Only::try_parse_from(words).unwrap().args, 0).await.unwrap()
}

#[tokio::test]
async fn the_cluster_its_nodes_and_its_policies_are_named() {
    let fake = cluster();
    allow(&fake, &json!({"registries": {"allow": ["r.example/**"]}}));
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    std::fs::write(&kubeconfig, fake.kubeconfig().to_string()).unwrap();
    let here = engine::connect(Some(kubeconfig), None, &Settings::default()).await.unwrap();
    let (store, soon) = (PolicyStore::default(), Instant::now() + Duration::from_secs(30));
    load_cluster_policies(&here, &Kinds::default(), &store, soon).await;
    here.wait_synced(soon).await;
    let first = taken(&here, &store).await;
    assert!(first.starts_with("cluster here (http://127.0.0.1:"), "{first}");
    assert!(first.contains("node") && first.contains("(Enforce)"), "{first}");
}

/// Kind, namespace, name, verdict and first cause of each image of the report.
fn told(done: &Done) -> Vec<String> {
    let report = json::value(&done.report).unwrap();
    let images = report["images"].as_array().unwrap().iter();
    images
        .map(|image| {
            let object = &image["object"];
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            format!(
                "{} {}/{} {} {}",
                text(&object["kind"]),
                text(&object["namespace"]),
                text(&object["name"]),
                text(&image["verdict"]),
                text(&image["findings"][0]["cause"])
            )
        })
        .collect()
}

const GOOD: &str = "169.254.0.1/good/app:1";
const BAD: &str = "169.254.0.1/bad/app:1";

/// No registry is ever asked: link-local addresses are refused before a packet, and the names are settled by policy.
fn cluster() -> Fake {
    let fake = Fake::new();
    for (version, plural, kind) in [
        ("v1", "pods", "Pod"),
        ("v1", "replicationcontrollers", "ReplicationController"),
        ("apps/v1", "deployments", "Deployment"),
        ("apps/v1", "replicasets", "ReplicaSet"),
        ("batch/v1", "jobs", "Job"),
        ("batch/v1", "cronjobs", "CronJob"),
        ("argoproj.io/v1alpha1", "rollouts", "Rollout"),
        ("other.example/v1", "rollouts", "Rollout"),
    ] {
        fake.serve(version, plural, kind, true);
    }
    fake.serve("pullgate.dev/v1alpha1", "imagepolicies", "ImagePolicy", false);
    for namespace in ["shop", "bank"] {
        fake.put("namespaces", json!({"metadata": {"name": namespace}}));
    }
    fake
}

fn allow(fake: &Fake, spec: &Value) {
    fake.put(
        "imagepolicies.pullgate.dev",
        json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec}),
    );
}

fn spec(image: &str) -> Value {
    json!({"containers": [{"name": "app", "image": image}]})
}

/// An item as in a list of a built-in kind: without a type.
fn workload(namespace: &str, name: &str, image: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"template": {"spec": spec(image)}}})
}

fn pod(namespace: &str, name: &str, image: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec(image)})
}

fn owned(mut object: Value, api_version: &str, kind: &str) -> Value {
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": api_version, "kind": kind, "name": "o", "uid": "u", "controller": true}]);
    object
}

#[tokio::test]
async fn what_exists_is_judged_by_the_clusters_policies_and_nothing_is_changed() {
    let fake = cluster();
    allow(&fake, &json!({"registries": {"allow": ["169.254.0.1/good/**"]}}));
    fake.put("deployments.apps", workload("shop", "api", BAD));
    fake.put("deployments.apps", workload("bank", "api", GOOD));
    fake.put("rollouts.argoproj.io", workload("shop", "custom", BAD));
    fake.put("rollouts.other.example", workload("shop", "nobody-we-know", BAD));
    fake.put(
        "cronjobs.batch",
        json!({"metadata": {"namespace": "shop", "name": "nightly"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": spec(BAD)}}}}}),
    );
    fake.put("pods", pod("shop", "bare", BAD));
    // Findings about the Deployment are not repeated for what it owns.
    fake.put(
        "replicasets.apps",
        owned(workload("shop", "api-1", BAD), "apps/v1", "Deployment"),
    );
    fake.put("pods", owned(pod("shop", "api-1-x", BAD), "apps/v1", "ReplicaSet"));
    // Finished pods no longer pull.
    let mut ended = pod("shop", "ended", BAD);
    ended["status"] = json!({"phase": "Succeeded"});
    fake.put("pods", ended);
    let mut old = owned(workload("shop", "custom-1", BAD), "argoproj.io/v1alpha1", "Rollout");
    old["spec"]["replicas"] = 0.into();
    fake.put("replicasets.apps", old);
    let mut ended = workload("shop", "ended", BAD);
    ended["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    fake.put("jobs.batch", ended);

    let done = live(&fake, &["--fail-on", "deny"]).await;
    assert_eq!(
        told(&done),
        [
            "Deployment bank/api Warn LookupRefused",
            "CronJob shop/nightly Deny RegistryNotAllowed",
            "Deployment shop/api Deny RegistryNotAllowed",
            "Pod shop/bare Deny RegistryNotAllowed",
            "Rollout shop/custom Deny RegistryNotAllowed",
        ]
    );
    assert_eq!((done.code, &done.said), (1, &Vec::new()));
    let report = json::value(&done.report).unwrap();
    assert_eq!(report["images"][1]["source"], Value::Null);
    assert_eq!(
        report["images"][1]["path"],
        "spec.jobTemplate.spec.template.spec.containers[0].image"
    );

    let done = live(&fake, &["-n", "bank"]).await;
    assert_eq!(told(&done), ["Deployment bank/api Warn LookupRefused"]);
    assert_eq!(done.code, 0);

    let asked = fake.asked();
    assert!(asked.iter().all(|(method, _)| method == "GET"), "{asked:?}");
    let lists: Vec<&String> = asked
        .iter()
        .map(|(_, path)| path)
        .filter(|path| path.contains("/pods?"))
        .collect();
    assert!(lists.iter().all(|path| path.contains("limit=100")), "{lists:?}");
    assert!(
        lists.iter().any(|path| path.starts_with("/api/v1/namespaces/bank/pods?")),
        "{lists:?}"
    );
}

#[tokio::test]
async fn an_owned_object_is_named_where_only_it_is_objected_to() {
    let fake = cluster();
    allow(&fake, &json!({"registries": {"allow": ["169.254.0.1/good/**"]}}));
    fake.put("deployments.apps", workload("shop", "api", GOOD));
    fake.put(
        "replicasets.apps",
        owned(workload("shop", "api-1", GOOD), "apps/v1", "Deployment"),
    );
    for name in ["api-1-x", "api-1-y"] {
        fake.put("pods", owned(pod("shop", name, BAD), "apps/v1", "ReplicaSet"));
    }
    let done = live(&fake, &[]).await;
    assert_eq!(
        told(&done),
        [
            "Deployment shop/api Warn LookupRefused",
            "Pod shop/api-1-x Deny RegistryNotAllowed",
        ],
        "the pods run what their owner does not name; one of them says it"
    );
    assert_eq!(done.code, 1);
}

#[tokio::test]
async fn what_could_not_be_listed_is_named_and_the_exit_code_says_so() {
    let fake = cluster();
    fake.refuse("list deployments.apps");
    fake.refuse("discover /apis/argoproj.io/v1alpha1");
    fake.put("pods", pod("shop", "bare", GOOD));
    let done = live(&fake, &[]).await;
    assert_eq!(told(&done), ["Pod shop/bare Warn LookupRefused"]);
    assert_eq!(done.code, 2);
    assert_eq!(
        done.said,
        [
            "the kinds of argoproj.io/v1alpha1 could not be listed and checked: the API server answered 503",
            "not every Deployment (apps/v1) could be listed and checked: the API server forbids it; use -n NAMESPACE to list a single namespace",
        ]
    );
    fake.admit("list deployments.apps");
    fake.admit("discover /apis/argoproj.io/v1alpha1");
    assert_eq!(live(&fake, &[]).await.code, 0);
    // Policies that cannot be read, or do not compile, might have decided otherwise: a gap.
    allow(&fake, &json!({"registries": {"allow": ["r.io/[x"]}}));
    let done = live(&fake, &[]).await;
    assert_eq!(done.code, 2);
    assert!(done.said[0].starts_with("ImagePolicy p is ignored: "), "{:?}", done.said);
    fake.refuse("list imagepolicies.pullgate.dev");
    let done = live(&fake, &[]).await;
    assert_eq!(done.code, 2);
    assert!(done.said[0].contains("the API server forbids it"), "{:?}", done.said);
}

#[tokio::test]
async fn exempt_namespaces_are_counted_as_such() {
    let fake = cluster();
    fake.put(
        "namespaces",
        json!({"metadata": {"name": "shop", "labels": {"pullgate.dev/ignore": "true"}}}),
    );
    allow(&fake, &json!({"registries": {"allow": ["169.254.0.1/good/**"]}}));
    fake.put("deployments.apps", workload("shop", "api", BAD));
    fake.put("pods", pod("bank", "bare", BAD));
    let done = live(&fake, &[]).await;
    assert_eq!(
        told(&done),
        ["Pod bank/bare Deny RegistryNotAllowed", "Deployment shop/api Allow -"]
    );
    assert_eq!(
        done.said,
        ["1 object is exempt, by a label of the namespace or an annotation"]
    );
}

#[tokio::test]
async fn a_large_cluster_is_read_in_pages() {
    let fake = cluster();
    for number in 0..350 {
        fake.put("deployments.apps", workload("shop", &format!("d{number:03}"), "UPPER"));
    }
    // The second page comes too late, and the list continues.
    fake.expire_next();
    let done = live(&fake, &[]).await;
    assert_eq!(told(&done).len(), 350);
    assert_eq!((done.code, done.said.len()), (1, 0), "{:?}", done.said);
    let asked = fake.asked();
    let pages = asked
        .iter()
        .filter(|(_, path)| path.starts_with("/apis/apps/v1/deployments?"));
    assert_eq!(pages.count(), 5);
}

#[tokio::test]
async fn given_manifests_are_judged_by_the_clusters_policies_too() {
    let fake = cluster();
    allow(&fake, &json!({"registries": {"allow": ["169.254.0.1/good/**"]}}));
    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, manifest) = (folder.path().join("config"), folder.path().join("pod.json"));
    std::fs::write(&kubeconfig, fake.kubeconfig().to_string()).unwrap();
    let mut given = pod("shop", "given", BAD);
    given["apiVersion"] = "v1".into();
    given["kind"] = "Pod".into();
    std::fs::write(&manifest, given.to_string()).unwrap();
    let run = async || {
        let words = ["check", "--cluster", "-o", "json"].map(str::to_owned).into_iter().chain([
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--file={}", manifest.display()),
        ]);
        check(Only::try_parse_from(words).unwrap().args, 0).await.unwrap()
    };
    let done = run().await;
    assert_eq!(told(&done), ["Pod shop/given Deny RegistryNotAllowed"]);
    // A broken policy is reported, but it is not for this user to fix.
    allow(&fake, &json!({"registries": {"allow": ["r.io/[x"]}}));
    let done = run().await;
    assert_eq!((done.code, done.said.len()), (0, 1), "{done:?}");
    assert!(fake.asked().iter().all(|(method, _)| method == "GET"));
}

#[tokio::test]
async fn what_does_not_go_together_is_refused() {
    for (flags, expect) in [
        (&["--live"][..], "--cluster"),
        (&["--cluster", "--live", "-f", "-"][..], "cannot be combined with"),
        (&["--cluster", "--live", "--image", "nginx"][..], "cannot be combined with"),
        (&["--cluster", "--live", "--complete"][..], "cannot be combined with --live"),
        (&["--cluster", "--live", "-n", "../x"][..], "is not a valid namespace name"),
        (
            &["--cluster", "--live", "-n", "shpo"][..],
            "the cluster has no namespace shpo",
        ),
    ] {
        let fake = Fake::new();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("config");
        std::fs::write(&kubeconfig, fake.kubeconfig().to_string()).unwrap();
        let words = ["check", "--kubeconfig", kubeconfig.to_str().unwrap()];
        let error = match Only::try_parse_from(words.iter().chain(flags)) {
            Ok(only) => check(only.args, 0).await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expect), "{flags:?}: {error}");
    }
}
