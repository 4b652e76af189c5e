//! The exported expressions, run by another implementation of CEL and compared with our own rules.

use super::*;
use crate::policy::export::{Exported, export};
use crate::workload::{Kinds, Skip, extract};
use cel::{Context, Env};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn env() -> Arc<Env> {
    let mut env = Env::stdlib();
    cel::extensions::strings(&mut env).unwrap();
    Arc::new(env)
}

fn evaluate(env: &Arc<Env>, expression: &str, inputs: &Value) -> Value {
    let program = env.compile(expression).unwrap_or_else(|why| panic!("{expression}: {why}"));
    let mut context = Context::with_env(Arc::clone(env));
    for (name, value) in inputs.as_object().unwrap() {
        context.add_variable(name.clone(), value.clone()).unwrap();
    }
    let value = program.execute(&context).unwrap_or_else(|why| panic!("{expression}: {why}"));
    value.json().unwrap()
}

/// What an API server would decide about a request: whether the policy applies, and which rules are violated, with the message.
fn run(manifest: &Value, request: &Value, object: &Value, old: &Value) -> Option<Vec<(String, String)>> {
    let env = env();
    let mut inputs = json!({"request": request, "object": object, "oldObject": old, "variables": {}});
    let spec = &manifest["spec"];
    for condition in spec["matchConditions"].as_array().unwrap() {
        if evaluate(&env, condition["expression"].as_str().unwrap(), &inputs) != json!(true) {
            return None;
        }
    }
    for variable in spec["variables"].as_array().unwrap() {
        let value = evaluate(&env, variable["expression"].as_str().unwrap(), &inputs);
        inputs["variables"][variable["name"].as_str().unwrap()] = value;
    }
    let mut broken = Vec::new();
    for validation in spec["validations"].as_array().unwrap() {
        if evaluate(&env, validation["expression"].as_str().unwrap(), &inputs) == json!(true) {
            continue;
        }
        let message = evaluate(&env, validation["messageExpression"].as_str().unwrap(), &inputs);
        let message = message.as_str().unwrap().to_owned();
        let cause = message.rsplit_once('(').unwrap().1.trim_end_matches(')').to_owned();
        broken.push((cause, message));
    }
    Some(broken)
}

fn pod(images: &[&str]) -> Value {
    let containers: Vec<Value> = images.iter().map(|image| json!({"name": "c", "image": image})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}})
}

fn nobody() -> Value {
    json!({"namespace": "shop", "userInfo": {"username": "jane", "groups": ["dev"]}})
}

fn exported(spec: &Value) -> Exported {
    export(&policy("p", spec), &["kube-system".to_owned()], jiff::Timestamp::UNIX_EPOCH)
}

fn broken(spec: &Value, image: &str) -> BTreeSet<String> {
    let manifests = exported(spec).manifests;
    let broken = run(&manifests[0], &nobody(), &pod(&[image]), &Value::Null).unwrap();
    broken.into_iter().map(|(cause, _)| cause).collect()
}

/// The same by our own rules.
fn expected(spec: &Value, image: &str) -> BTreeSet<String> {
    let matching = matching(&[policy("p", spec)]).narrowed(&reference(image));
    causes(&matching, image).into_iter().map(str::to_owned).collect()
}

const SHA: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn names_are_normalised_as_ours_are() {
    let spec = json!({"registries": {"allow": ["never.example/x"]}});
    let manifest = exported(&spec).manifests.remove(0);
    let env = env();
    for image in [
        "nginx",
        "nginx:1.25",
        "nginx@SHA",
        "nginx:1@SHA",
        "team/app",
        "a/b/c/d:1",
        "docker.io/nginx",
        "docker.io/team/app:1",
        "docker.io/library/nginx",
        "index.docker.io/nginx",
        "index.docker.io/team/app@SHA",
        "localhost/a",
        "localhost:5000/a:1",
        "localhost",
        "localhost:1",
        "reg.corp",
        "reg.corp:5000",
        "reg.corp:5000/a/b:1@SHA",
        "[::1]:5000/a:1",
        "[fe80::1]/a",
        "REG/a",
        "Reg.corp/a:T",
        "Docker.io/a",
        "LocalHost/a/b",
        "[FE80::1]:5000/a",
        "exa_mple.com/a",
        "a-b/c",
        "a.b/c",
        "nginx:LATEST",
        "quay.io/a/b.c_d__e-f:v1.0_x-y",
    ] {
        let image = image.replace("SHA", SHA);
        let own = reference(&image);
        let mut inputs = json!({"request": nobody(), "object": pod(&[&image]), "oldObject": null, "variables": {}});
        for variable in manifest["spec"]["variables"].as_array().unwrap() {
            let value = evaluate(&env, variable["expression"].as_str().unwrap(), &inputs);
            inputs["variables"][variable["name"].as_str().unwrap()] = value;
        }
        let tag = own.tag().unwrap_or(if own.digest().is_some() { "" } else { "latest" });
        let digest = own.digest().map_or("", |digest| digest.as_str());
        assert_eq!(
            inputs["variables"]["images"],
            json!([{"image": image, "name": super::super::names::held(&own), "tag": tag, "digest": digest}]),
            "{image}"
        );
    }
}

#[test]
fn an_image_id_is_on_no_allow_list() {
    for (spec, refused) in [
        (json!({"registries": {"allow": ["**"]}}), true),
        (json!({"registries": {"allow": ["docker.io/library/*"]}}), true),
        (json!({"registries": {"deny": ["docker.io/library/*"]}}), false),
    ] {
        assert_eq!(broken(&spec, SHA), expected(&spec, SHA), "{spec}");
        assert_eq!(!broken(&spec, SHA).is_empty(), refused, "{spec}");
    }
}

/// Name rules, and images to test them with; in the end-to-end tests, the API server decides the same cases.
const NAMES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/names.json"));

#[test]
fn rules_decide_as_ours_do() {
    let names: Value = serde_json::from_str(NAMES).unwrap();
    for spec in names["specs"].as_array().unwrap() {
        for image in names["images"].as_array().unwrap() {
            let image = image.as_str().unwrap().replace("SHA", SHA);
            assert_eq!(broken(spec, &image), expected(spec, &image), "{spec} {image}");
        }
    }
}

fn any_pattern() -> impl Strategy<Value = String> {
    let component = prop::sample::select(vec!["a", "b", "*", "**", "a*", "*b", "a-b.c", "library"]);
    let host = prop::sample::select(vec!["docker.io", "r.c", "r.c:5", "*.c", "**", "localhost", "r.c*"]);
    (host, prop::collection::vec(component, 1..4)).prop_map(|(host, parts)| format!("{host}/{}", parts.join("/")))
}

fn any_image() -> impl Strategy<Value = String> {
    "((docker\\.io|index\\.docker\\.io|r\\.c|r\\.c:5|rxc|localhost|x\\.c)/)?(library/)?([ab]{1,2}/|a-b\\.c/){0,2}([ab]{1,2}|a-b\\.c)(:v[0-9]|:latest)?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_lists_decide_as_ours_do(
        allow in prop::option::of(prop::collection::vec(any_pattern(), 1..4)), deny in prop::option::of(prop::collection::vec(any_pattern(), 1..4)),
        images in prop::collection::vec(any_image(), 1..6),
    ) {
        let mut spec = json!({"registries": {}, "tags": {"deny": ["v1", "l*t"]}});
        for (key, list) in [("allow", allow), ("deny", deny)] {
            if let Some(list) = list {
                spec["registries"][key] = list.into();
            }
        }
        prop_assume!(Policy::compile(&object("p", &spec), PolicyLocation::Cluster).is_ok());
        for image in images {
            prop_assert_eq!(broken(&spec, &image), expected(&spec, &image), "{} {}", spec, image);
        }
    }
}

#[test]
fn every_list_of_every_kind_is_looked_at_and_updates_leave_old_images_alone() {
    let spec = json!({"tags": {"deny": ["latest"]}, "match": {"namespaces": ["shop", "prod-*"]},
                      "exempt": {"users": ["system:serviceaccount:ci:*"], "groups": ["admins"]}});
    let manifest = exported(&spec).manifests.remove(0);
    let pods = json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "none"}, {"name": "trigger", "image": " "}],
                      "initContainers": [{"name": "b", "image": "b"}], "ephemeralContainers": [{"name": "c", "image": "c:latest"}],
                      "volumes": [{"name": "d", "image": {"reference": "d", "pullPolicy": "Always"}}, {"name": "e", "image": {"reference": "e:1"}},
                                  {"name": "later", "image": {"reference": ""}}, {"name": "tmp", "emptyDir": {}}]});
    for object in [
        json!({"kind": "Pod", "metadata": {}, "spec": pods}),
        json!({"kind": "PodTemplate", "metadata": {}, "template": {"spec": pods}}),
        json!({"kind": "Deployment", "metadata": {}, "spec": {"template": {"spec": pods}}}),
        json!({"kind": "CronJob", "metadata": {}, "spec": {"jobTemplate": {"spec": {"template": {"spec": pods}}}}}),
    ] {
        let broken = run(&manifest, &nobody(), &object, &Value::Null).unwrap();
        assert_eq!(
            broken,
            [(
                "TagNotAllowed".to_owned(),
                "policy \"p\" does not allow the tag of b, c:latest, d (TagNotAllowed)".to_owned()
            )]
        );
        assert_eq!(run(&manifest, &nobody(), &object, &object), Some(vec![]));
    }
    let one = pod(&["a"]);
    let request = |namespace: &str, user: &str, groups: Value| json!({"namespace": namespace, "userInfo": {"username": user, "groups": groups}});
    for (request, about) in [
        (request("shop", "jane", json!(["dev"])), true),
        (request("prod-eu", "jane", json!([])), true),
        (request("prod", "jane", json!([])), false),
        (request("shop", "system:serviceaccount:ci:x", json!([])), false),
        (request("shop", "system:serviceaccount:cix:x", json!([])), true),
        (request("shop", "jane", json!(["dev", "admins"])), false),
    ] {
        assert_eq!(run(&manifest, &request, &one, &Value::Null).is_some(), about, "{request}");
    }
    let mut leaving = one;
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(run(&manifest, &nobody(), &leaving, &Value::Null), None);
    let mut mirror = pod(&["a"]);
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(run(&manifest, &nobody(), &mirror, &Value::Null), None);
    mirror["kind"] = "ReplicationController".into();
    mirror["spec"] = json!({"template": {"spec": mirror["spec"]}});
    assert!(run(&manifest, &nobody(), &mirror, &Value::Null).is_some());
}

#[test]
fn an_update_is_held_against_the_rules_where_ours_looks_again() {
    let manifest = exported(&json!({"tags": {"deny": ["latest"]}})).manifests.remove(0);
    let before = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "template": {"spec": {
            "containers": [{"name": "a", "image": "a", "imagePullPolicy": "Always"}, {"name": "b", "image": "b:1"}],
            "volumes": [{"name": "v", "image": {"reference": "v:1"}}],
            "serviceAccountName": "one", "nodeSelector": {"disk": "ssd"},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        }}},
    });
    let spec = "/spec/template/spec";
    for (pointer, value) in [
        ("/metadata/labels", json!({"app": "a"})),
        ("/spec/replicas", json!(2)),
        (&format!("{spec}/tolerations"), json!([{"operator": "Exists"}])),
        (&format!("{spec}/containers/0/env"), json!([{"name": "A", "value": "1"}])),
        (&format!("{spec}/containers/1/image"), json!("b:2")),
        (&format!("{spec}/containers/1/image"), json!("b")),
        (&format!("{spec}/containers/1/image"), json!("a")),
        (&format!("{spec}/containers/0/name"), json!("c")),
        (&format!("{spec}/containers/0/imagePullPolicy"), json!("Never")),
        (&format!("{spec}/volumes/0/image/reference"), json!("v")),
        (
            &format!("{spec}/initContainers"),
            json!([{"name": "a", "image": "a", "imagePullPolicy": "Always"}]),
        ),
        (&format!("{spec}/imagePullSecrets"), json!([{"name": "s"}])),
        (&format!("{spec}/serviceAccountName"), json!("other")),
        (&format!("{spec}/nodeName"), json!("n")),
        (&format!("{spec}/nodeSelector"), json!({"disk": "hdd"})),
        (&format!("{spec}/os"), json!({"name": "windows"})),
        (
            &format!("{spec}/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution"),
            json!([]),
        ),
        (
            &format!("{spec}/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution"),
            json!({"nodeSelectorTerms": [{}]}),
        ),
    ] {
        let mut after = before.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        after.pointer_mut(parent).unwrap()[key] = value;
        let broken = run(&manifest, &nobody(), &after, &before).unwrap();
        // By our own rules, for what the update changes.
        let ours: Vec<String> = match extract(&after, Some(&before), "shop", &Kinds::default()) {
            Ok(workload) => {
                let uses = workload.templates.into_iter().flat_map(|template| template.uses);
                let fresh = uses.filter(|image_use| !image_use.unchanged);
                fresh
                    .map(|image_use| image_use.image)
                    .filter(|image| !image.contains(':'))
                    .collect()
            }
            Err(Skip::Unchanged) => Vec::new(),
            Err(skip) => panic!("{pointer}: {skip:?}"),
        };
        let says = |images: &[String]| format!("policy \"p\" does not allow the tag of {} (TagNotAllowed)", images.join(", "));
        let expected: Vec<_> = (!ours.is_empty())
            .then(|| ("TagNotAllowed".to_owned(), says(&ours)))
            .into_iter()
            .collect();
        assert_eq!(broken, expected, "{pointer}");
    }
}

#[test]
fn modes_become_actions_and_what_is_left_out_is_named() {
    let actions = |spec: Value| -> Vec<(String, String)> {
        let bindings = exported(&spec)
            .manifests
            .into_iter()
            .filter(|manifest| manifest["kind"] == "ValidatingAdmissionPolicyBinding");
        bindings
            .map(|binding| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (
                    text(&binding["spec"]["policyName"]),
                    text(&binding["spec"]["validationActions"][0]),
                )
            })
            .collect()
    };
    let is = |name: &str, action: &str| (name.to_owned(), action.to_owned());
    assert_eq!(actions(json!({"tags": {"deny": ["x"]}})), [is("pullgate-p", "Deny")]);
    assert_eq!(
        actions(json!({"mode": "Warn", "tags": {"deny": ["x"]}})),
        [is("pullgate-p-warn", "Warn")]
    );
    assert_eq!(
        actions(json!({"mode": "Audit", "tags": {"deny": ["x"]}})),
        [is("pullgate-p-audit", "Audit")]
    );
    assert_eq!(
        actions(json!({"tags": {"deny": ["x"], "requireDigest": true}, "actions": {"DigestRequired": "Warn"}})),
        [is("pullgate-p", "Deny"), is("pullgate-p-warn", "Warn")]
    );
    let all = exported(&json!({
        "tags": {"deny": ["x"], "requireDigest": true}, "platforms": ["linux/amd64"], "size": {"max": "1Gi"},
        "match": {"kinds": ["Pod", "Rollout"], "namespaceSelector": {"matchLabels": {"env": "prod"}}},
        "actions": {"DigestRequired": "Allow", "WillFail": "Warn", "TagNotFound": "Deny"},
    }));
    assert_eq!(
        all.left_out,
        [
            "platforms (a registry must be asked)",
            "size.max (a registry must be asked)",
            "actions on TagNotFound, WillFail (a registry must be asked)",
            "kinds Rollout (not Kubernetes' own)",
            "DigestRequired, which its actions allow",
        ]
    );
    let constraints = &all.manifests[0]["spec"]["matchConstraints"];
    assert_eq!(
        constraints["resourceRules"],
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods", "pods/ephemeralcontainers"]}])
    );
    assert_eq!(
        constraints["namespaceSelector"]["matchExpressions"],
        json!([
            {"key": "pullgate.dev/ignore", "operator": "NotIn", "values": ["true"]},
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
            {"key": "env", "operator": "In", "values": ["prod"]},
        ])
    );
    for nothing in [json!({}), json!({"match": {"kinds": ["Rollout"]}, "tags": {"deny": ["x"]}})] {
        let exported = exported(&nothing);
        assert!(exported.manifests.is_empty() && !exported.left_out.is_empty());
    }
    let deny = json!({"deny": ["x"]});
    let many: Vec<String> = (0..600)
        .map(|at| format!("registry.corp.example/{}/{at}", "t".repeat(150)))
        .collect();
    let labels = |labels: Value| json!({"tags": deny, "match": {"namespaceSelector": {"matchLabels": labels}}});
    for (name, spec, why) in [
        (&*"p".repeat(250), json!({"tags": deny}), "its name is too long: "),
        ("p", json!({"registries": {"allow": many}}), "its lists do not fit"),
        ("p", labels(json!({"env": "pr od"})), "its namespaceSelector: \"pr od\""),
        (
            "p",
            labels(json!({"Corp.example/env": "prod"})),
            "its namespaceSelector: \"Corp.example/env\"",
        ),
        ("p", labels(json!({"a/b/c": ""})), "its namespaceSelector: \"a/b/c\""),
        ("p", labels(json!({"-env": "prod"})), "its namespaceSelector: \"-env\""),
    ] {
        let exported = export(&policy(name, &spec), &[], jiff::Timestamp::UNIX_EPOCH);
        assert!(
            exported.manifests.is_empty() && exported.left_out[0].starts_with(why),
            "{exported:?}"
        );
    }
    let sound = labels(json!({"team.corp.example/Sand_box.1": "", "kubernetes.io/metadata.name": "a-b"}));
    assert_eq!(
        export(&policy("p", &sound), &[], jiff::Timestamp::UNIX_EPOCH).manifests.len(),
        2
    );
}

#[test]
fn kinds_are_counted_by_who_made_the_object() {
    let account = |name: &str| format!("system:serviceaccount:kube-system:{name}-controller");
    let owned = |mut object: Value, api: &str, kind: &str| {
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": api, "kind": kind, "name": "o", "uid": "u", "controller": true}]);
        object
    };
    let by = |user: &str| json!({"namespace": "shop", "userInfo": {"username": user, "groups": []}});
    let job = |image: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
                                   "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    let spec = json!({"match": {"excludeKinds": ["Job", "CronJob"]}, "tags": {"requireDigest": true}});
    let exported_all = exported(&spec);
    let manifest = &exported_all.manifests[0];
    let resources = manifest["spec"]["matchConstraints"]["resourceRules"].to_string();
    assert!(!resources.contains("jobs") && resources.contains("pods"), "{resources}");
    let about = |manifest: &Value, user: &str, object: &Value| run(manifest, &by(user), object, &Value::Null).is_some();
    let of_job = owned(pod(&["a:1"]), "batch/v1", "Job");
    assert!(about(manifest, "jane", &pod(&["a:1"])));
    assert!(about(manifest, "jane", &of_job), "anyone can write an ownerReference");
    assert!(
        about(manifest, &account("replicaset"), &of_job),
        "no such controller makes it"
    );
    assert!(!about(manifest, &account("job"), &of_job));
    assert!(!about(manifest, "system:kube-controller-manager", &of_job));
    assert!(about(
        manifest,
        &account("replicaset"),
        &owned(pod(&["a:1"]), "apps/v1", "ReplicaSet")
    ));
    // The API server does not know whether a Job belongs to a CronJob.
    let only = exported(&json!({"match": {"excludeKinds": ["CronJob"]}, "tags": {"requireDigest": true}}));
    assert!(
        only.left_out.iter().any(|why| why.starts_with("Pods of Jobs (")),
        "{:?}",
        only.left_out
    );
    let manifest = &only.manifests[0];
    assert!(about(manifest, "jane", &job("a:1")));
    assert!(!about(
        manifest,
        &account("cronjob"),
        &owned(job("a:1"), "batch/v1", "CronJob")
    ));
    assert!(!about(manifest, &account("job"), &of_job));
    // Wanted kinds: the Pods of Jobs count as Jobs, others do not.
    let wanted = exported(&json!({"match": {"kinds": ["Job", "CronJob"]}, "tags": {"requireDigest": true}}));
    let manifest = &wanted.manifests[0];
    assert!(about(manifest, &account("job"), &of_job) && about(manifest, "jane", &job("a:1")));
    assert!(!about(manifest, "jane", &of_job) && !about(manifest, "jane", &pod(&["a:1"])));
}

#[test]
fn excluded_and_exempt_namespaces_are_left_alone() {
    let spec =
        json!({"match": {"excludeNamespaces": ["kube-*"]}, "exempt": {"namespaces": ["legacy"]}, "tags": {"deny": ["latest"]}});
    let manifest = exported(&spec).manifests.remove(0);
    for (namespace, about) in [("shop", true), ("kube-system", false), ("legacy", false), ("legacy2", true)] {
        let request = json!({"namespace": namespace, "userInfo": {"username": "jane", "groups": []}});
        assert_eq!(
            run(&manifest, &request, &pod(&["a"]), &Value::Null).is_some(),
            about,
            "{namespace}"
        );
    }
}
