//! The API server's own rules: what the chart's registration sends to us and what it lets pass, with us and without; subresources, sidecars,
//! image volumes, server-side apply, what controllers make, and what the kind `ImagePolicy` refuses by itself.

use crate::support::daemon::Daemon;
use crate::support::gate::{LABEL, Server, run};
use crate::support::kubectl::{Gated, LONG, Namespace, Output, eventually, kubectl, manifest};
use crate::support::objects::{app, cron_job, job, object, pod, pod_spec};
use crate::support::policies::Policy;
use crate::support::registries;
use serde_json::{Value, json};

/// Something that is done to objects of a namespace.
struct Operation {
    what: &'static str,
    /// Whether we are asked about it.
    asked: bool,
    run: fn(&Namespace, &str) -> Output,
}

const fn asked(what: &'static str, run: fn(&Namespace, &str) -> Output) -> Operation {
    Operation { what, asked: true, run }
}

const fn passed(what: &'static str, run: fn(&Namespace, &str) -> Output) -> Operation {
    Operation { what, asked: false, run }
}

fn image(tag: &str) -> String {
    registries().open.image(&format!("shop/api:{tag}"))
}

/// A pod spec that no node takes: nothing comes of it that would be asked about.
fn idle() -> Value {
    let mut spec = pod_spec(&[("api", &image("v1.0"))]);
    spec["nodeSelector"] = json!({"no-such": "node"});
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": "1m"}});
    spec
}

/// The objects that [`OPERATIONS`] are about; their names begin with `phase`.
fn stored(phase: &str) -> Vec<Value> {
    let mut held = pod(&format!("{phase}-held"), idle());
    held["metadata"]["finalizers"] = json!(["pullgate.dev/e2e"]);
    let mut paused = app("Deployment", &format!("{phase}-paused"), idle());
    paused["spec"]["paused"] = true.into();
    paused["spec"]["replicas"] = 0.into();
    vec![
        pod(&format!("{phase}-pod"), idle()),
        pod(&format!("{phase}-evicted"), idle()),
        held,
        paused,
        object("PodTemplate", &format!("{phase}-template"), idle()),
        object("PodTemplate", &format!("{phase}-gone"), idle()),
    ]
}

fn create(namespace: &Namespace, object: Value) -> Output {
    namespace.create_with(&["--dry-run=server"], &[object])
}

fn patch(namespace: &Namespace, what: &str, flags: &[&str], patch: &Value) -> Output {
    let (kind, name) = what.split_once('/').unwrap();
    namespace.kubectl(&[&["patch", kind, name, "-p", &patch.to_string()], flags].concat())
}

/// In this order: some build upon others.
const OPERATIONS: &[Operation] = &[
    asked("a pod comes", |namespace, _| create(namespace, pod("new", idle()))),
    asked("a pod template comes", |namespace, _| {
        create(namespace, object("PodTemplate", "new", idle()))
    }),
    asked("a replication controller comes", |namespace, _| {
        create(namespace, object("ReplicationController", "new", idle()))
    }),
    asked("a cron job is applied by the server", |namespace, _| {
        namespace.apply_with(&["--server-side", "--dry-run=server"], &[cron_job("new", idle())])
    }),
    asked("a pod gets another image", |namespace, phase| {
        let spec = json!({"spec": {"containers": [{"name": "api", "image": image("v1.1")}]}});
        patch(namespace, &format!("pod/{phase}-pod"), &["--dry-run=server"], &spec)
    }),
    asked("a deployment gets another image", |namespace, phase| {
        let spec = json!({"spec": {"template": {"spec": {"containers": [{"name": "api", "image": image("v1.1")}]}}}});
        patch(namespace, &format!("deployment/{phase}-paused"), &["--dry-run=server"], &spec)
    }),
    asked("a pod template gets another image", |namespace, phase| {
        let spec = json!({"template": {"spec": {"containers": [{"name": "api", "image": image("v1.1")}]}}});
        patch(
            namespace,
            &format!("podtemplate/{phase}-template"),
            &["--dry-run=server"],
            &spec,
        )
    }),
    asked("a debug container comes", |namespace, phase| {
        let pod = format!("pod/{phase}-pod");
        namespace.kubectl(&[
            "debug",
            &pod,
            "--attach=false",
            "--profile=general",
            "--image",
            &image("v1.1"),
        ])
    }),
    passed("a pod gets another label", |namespace, phase| {
        namespace.kubectl(&["label", "pod", &format!("{phase}-pod"), "team=shop"])
    }),
    passed("a deployment gets an annotation", |namespace, phase| {
        namespace.kubectl(&["annotate", "deployment", &format!("{phase}-paused"), "team=shop"])
    }),
    passed("a deployment is scaled", |namespace, phase| {
        namespace.kubectl(&["scale", "deployment", &format!("{phase}-paused"), "--replicas=1"])
    }),
    passed("a pod is resized", |namespace, phase| {
        let spec = json!({"spec": {"containers": [{"name": "api", "resources": {"requests": {"cpu": "2m"}}}]}});
        patch(namespace, &format!("pod/{phase}-pod"), &["--subresource=resize"], &spec)
    }),
    passed("a pod's status changes", |namespace, phase| {
        let status = json!({"status": {"message": "touched"}});
        patch(namespace, &format!("pod/{phase}-pod"), &["--subresource=status"], &status)
    }),
    passed("a pod is evicted", |namespace, phase| {
        let (space, name) = (&namespace.name, format!("{phase}-evicted"));
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": space}});
        let path = format!("/api/v1/namespaces/{space}/pods/{name}/eviction");
        kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string())
    }),
    passed("a mirror pod comes", |namespace, _| {
        // As a kubelet writes it; its image would be denied.
        let mut mirror = pod("mirror", pod_spec(&[("api", "probe/UPPER:v1")]));
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "0123456789abcdef"});
        mirror["spec"]["nodeName"] = "no-such-node".into();
        create(namespace, mirror)
    }),
    passed("something without pods comes", |namespace, _| {
        namespace.kubectl(&["create", "configmap", "new", "--dry-run=server"])
    }),
    passed("a pod template goes", |namespace, phase| {
        namespace.kubectl(&["delete", "podtemplate", &format!("{phase}-gone")])
    }),
    passed("a pod with a finalizer is deleted", |namespace, phase| {
        namespace.kubectl(&["delete", "pod", &format!("{phase}-held"), "--wait=false"])
    }),
    passed("a pod that is going gets another image", |namespace, phase| {
        let spec = json!({"spec": {"containers": [{"name": "api", "image": image("v1.1")}]}});
        patch(namespace, &format!("pod/{phase}-held"), &["--dry-run=server"], &spec)
    }),
    passed("its finalizer is removed", |namespace, phase| {
        let metadata = json!({"metadata": {"finalizers": null}});
        patch(namespace, &format!("pod/{phase}-held"), &["--type=merge"], &metadata)
    }),
];

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn the_registration_sends_what_may_bring_an_image_and_nothing_else() {
    const PHASES: [&str; 3] = ["up", "fail", "ignore"];
    let name = format!("{}-apiserver", run());
    let namespace = Namespace::new(Gated::No);
    let space = &namespace.name;
    // However this test ends: an object with a finalizer would keep its namespace.
    let release = PHASES.map(|phase| {
        format!("kubectl -n {space} patch pod {phase}-held --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'; ")
    });
    let cleanup = format!("kubectl delete validatingwebhookconfiguration {name}; {}", release.concat());
    let _registered = Daemon::start("apiserver-registration", &cleanup, &["sleep", "infinity"]);
    for phase in PHASES {
        namespace.apply(&stored(phase)).done();
    }
    let server = Server::start("apiserver", "", &["--no-cluster"]);
    server.register(&name);
    namespace
        .kubectl(&["label", "namespace", space, &format!("{LABEL}={name}")])
        .done();
    let bad = || create(&namespace, pod("bad", pod_spec(&[("api", "probe/UPPER:v1")])));
    eventually("the API server asks", LONG, || bad().is_denied().then_some(()));

    for operation in OPERATIONS {
        let before = server.reviews();
        (operation.run)(&namespace, "up").allowed();
        let reviews = server.reviews() - before;
        assert_eq!(reviews, u64::from(operation.asked), "{}", operation.what);
    }

    // The opt-out of a namespace.
    namespace
        .kubectl(&["label", "namespace", space, "pullgate.dev/ignore=true"])
        .done();
    eventually("the way out", LONG, || bad().is_done().then_some(()));
    namespace
        .kubectl(&["label", "namespace", space, "pullgate.dev/ignore-"])
        .done();
    eventually("the way back", LONG, || bad().is_denied().then_some(()));

    drop(server);
    for operation in OPERATIONS {
        let output = (operation.run)(&namespace, "fail");
        let refused = output.stderr.contains("failed calling webhook \"images.pullgate.dev\"");
        assert_eq!(
            (output.is_done(), refused),
            (!operation.asked, operation.asked),
            "{}: {output:?}",
            operation.what
        );
    }
    eventually("the pod's end", LONG, || (!namespace.has("pods", "fail-held")).then_some(()));

    let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    kubectl(
        &[
            "patch",
            "validatingwebhookconfiguration",
            &name,
            "--type=json",
            "-p",
            &ignore.to_string(),
        ],
        "",
    )
    .done();
    eventually("nobody waits for us", LONG, || bad().is_done().then_some(()));
    for operation in OPERATIONS {
        let output = (operation.run)(&namespace, "ignore");
        assert!(output.is_done(), "{}: {output:?}", operation.what);
    }
    eventually("the pod's end", LONG, || {
        (!namespace.has("pods", "ignore-held")).then_some(())
    });
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn nobody_becomes_a_mirror_pod_later() {
    let namespace = Namespace::new(Gated::Yes);
    namespace.apply(&[pod("plain", idle())]).allowed();
    let mirror = "kubernetes.io/config.mirror";
    let output = namespace.kubectl(&["annotate", "pod", "plain", &format!("{mirror}=x")]);
    assert!(!output.is_done() && output.stderr.contains("mirror"), "{output:?}");
    // One that is made by hand shows no static pod: its kubelet does not run it, and takes it away.
    let node = kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"], "")
        .done()
        .stdout;
    let mut forged = pod("forged", pod_spec(&[("api", &image("v9"))]));
    forged["metadata"]["annotations"] = json!({mirror: "x"});
    forged["spec"]["nodeName"] = node.into();
    namespace.apply(&[forged]).allowed();
    eventually("its end", LONG, || (!namespace.has("pods", "forged")).then_some(()));
}

/// The state of a container, of the list `field` of a pod's status.
fn running(namespace: &Namespace, pod: &str, field: &str, container: &str) -> Option<()> {
    let pods = namespace.list("pods");
    let pod = pods.iter().find(|object| object["metadata"]["name"] == pod)?;
    let statuses = pod["status"][field].as_array()?;
    let status = statuses.iter().find(|status| status["name"] == container)?;
    status["state"].get("running").map(|_| ())
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_debug_container_is_judged_and_runs() {
    let namespace = Namespace::new(Gated::Yes);
    namespace.apply(&[pod("api", pod_spec(&[("api", &image("v1.0"))]))]).allowed();
    let debug = |tag: &str| {
        namespace.kubectl(&[
            "debug",
            "pod/api",
            "--attach=false",
            "--profile=general",
            "--container=debugger",
            "--image",
            &image(tag),
        ])
    };
    debug("v9").denied(&[
        "1 of 2 images of Pod ",
        "ephemeral container debugger: ",
        "TagNotFound: ",
        "fix: ",
    ]);
    debug("v1.1").allowed();
    eventually("the debug container", LONG, || {
        running(&namespace, "api", "ephemeralContainerStatuses", "debugger")
    });
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_sidecar_is_judged_and_runs() {
    let namespace = Namespace::new(Gated::Yes);
    let with_sidecar = |tag: &str| {
        let mut spec = pod_spec(&[("api", &image("v1.0"))]);
        spec["initContainers"] = json!([{"name": "proxy", "image": image(tag), "restartPolicy": "Always"}]);
        pod("api", spec)
    };
    namespace
        .apply(&[with_sidecar("v9")])
        .denied(&["init container proxy: ", "TagNotFound: "]);
    namespace.apply(&[with_sidecar("v1.1")]).allowed();
    eventually("the sidecar", LONG, || {
        running(&namespace, "api", "initContainerStatuses", "proxy")
    });
    eventually("the container behind it", LONG, || {
        running(&namespace, "api", "containerStatuses", "api")
    });
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn an_image_volume_is_judged_and_mounted() {
    let namespace = Namespace::new(Gated::Yes);
    let with_volume = |tag: &str| {
        let mut spec = pod_spec(&[("api", &image("v1.0"))]);
        spec["volumes"] = json!([{"name": "data", "image": {"reference": image(tag)}}]);
        spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        pod("api", spec)
    };
    namespace
        .apply(&[with_volume("v9")])
        .denied(&["volume data: ", "TagNotFound: "]);
    namespace.apply(&[with_volume("v1.1")]).allowed();
    eventually("the container", LONG, || {
        running(&namespace, "api", "containerStatuses", "api")
    });
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn server_side_apply_is_judged() {
    let namespace = Namespace::new(Gated::Yes);
    let deployment = |tag: &str| app("Deployment", "api", pod_spec(&[("api", &image(tag))]));
    let apply = |manager: &str, object: Value| namespace.apply_with(&["--server-side", "--field-manager", manager], &[object]);
    apply("ci", deployment("v9")).denied(&["of Deployment ", "container api: ", "TagNotFound: "]);
    assert!(!namespace.has("deployments", "api"));
    apply("ci", deployment("v1.0")).allowed();
    // Another manager says nothing of images.
    let labels = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api", "labels": {"team": "shop"}}});
    apply("platform", labels).allowed();
    let replicas = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"}, "spec": {"replicas": 2}});
    apply("autoscaler", replicas).allowed();
    apply("ci", deployment("v9")).denied(&["TagNotFound: "]);
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn what_controllers_make_passes_and_runs() {
    let namespace = Namespace::new(Gated::Yes);
    let spec = || pod_spec(&[("api", &image("v1.0"))]);
    let ended = || {
        let mut spec = spec();
        spec["containers"][0]["args"] = json!(["1"]);
        spec
    };
    namespace
        .apply(&[
            app("Deployment", "deployment", spec()),
            app("ReplicaSet", "replicaset", spec()),
            app("StatefulSet", "statefulset", spec()),
            app("DaemonSet", "daemonset", spec()),
            object("ReplicationController", "replicationcontroller", spec()),
            job("job", ended()),
            cron_job("cronjob", ended()),
        ])
        .allowed();
    namespace
        .kubectl(&["create", "job", "by-hand", "--from=cronjob/cronjob"])
        .allowed();
    let status = |kind: &str, name: &str, field: &str| {
        let objects = namespace.list(kind);
        let object = objects.iter().find(|object| object["metadata"]["name"] == name);
        object.and_then(|object| object["status"][field].as_u64()).unwrap_or_default()
    };
    for (kind, name, field) in [
        ("deployment", "deployment", "readyReplicas"),
        ("replicaset", "replicaset", "readyReplicas"),
        ("statefulset", "statefulset", "readyReplicas"),
        ("daemonset", "daemonset", "numberReady"),
        ("replicationcontroller", "replicationcontroller", "readyReplicas"),
        ("job", "job", "succeeded"),
        ("job", "by-hand", "succeeded"),
    ] {
        eventually(&format!("{kind} {name}"), LONG, || {
            (status(kind, name, field) > 0).then_some(())
        });
    }
    let events = namespace.list("events");
    let failed: Vec<&Value> = events.iter().filter(|event| event["reason"] == "FailedCreate").collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn the_kind_refuses_what_it_can_know() {
    let namespace = Namespace::new(Gated::Yes);
    let policy = Policy::of(&namespace);
    let requirement = |operator: &str, values: Value| {
        let mut requirement = json!({"key": "env", "operator": operator});
        if !values.is_null() {
            requirement["values"] = values;
        }
        json!({"match": {"namespaceSelector": {"matchExpressions": [requirement]}}})
    };
    for (spec, says) in [
        (
            json!({"registries": {"allow": ["https://reg.corp/**"]}}),
            "a pattern is a name without scheme, tag or digest",
        ),
        (
            json!({"registries": {"deny": ["reg.corp/a@sha256:0"]}}),
            "a pattern is a name without scheme, tag or digest",
        ),
        (
            json!({"registries": {"deny": ["reg.corp/a", "reg.corp/ b"]}}),
            "a pattern is a name without scheme, tag or digest",
        ),
        (json!({"registries": {"alow": []}}), "unknown field \"spec.registries.alow\""),
        (
            requirement("In", Value::Null),
            "values go with In and NotIn, and only with them",
        ),
        (
            requirement("NotIn", json!([])),
            "values go with In and NotIn, and only with them",
        ),
        (
            requirement("Exists", json!(["prod"])),
            "values go with In and NotIn, and only with them",
        ),
        (
            requirement("Is", json!(["prod"])),
            "spec.match.namespaceSelector.matchExpressions[0].operator",
        ),
        (json!({"mode": "Sometimes"}), "spec.mode"),
        (json!({"actions": {"TagNotFound": "Refuse"}}), "spec.actions"),
        (json!({"size": {"max": "2GB"}}), "spec.size.max"),
    ] {
        let output = policy.apply(spec.clone());
        assert!(!output.is_done() && output.stderr.contains(says), "{spec}: {output:?}");
    }
    for (at, spec) in [
        json!({"registries": {"allow": ["reg.corp/**", "docker.io/library/*"], "deny": ["reg.corp/retired/**"]}}),
        requirement("In", json!(["prod"])),
        requirement("DoesNotExist", Value::Null),
        json!({"actions": {"TagNotFound": "Warn", "Unknown": "Deny"}, "mode": "Audit", "size": {"max": "2Gi"}}),
    ]
    .into_iter()
    .enumerate()
    {
        policy.apply(spec.clone()).allowed();
        assert_eq!(policy.accepted(i64::try_from(at).unwrap() + 1)["status"], "True", "{spec}");
    }
    // Several objects are one file: what is refused keeps nothing else from being applied.
    let good = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": policy.name},
                      "spec": {"match": {"namespaces": [namespace.name]}, "mode": "Warn"}});
    let mut bad = good.clone();
    bad["metadata"]["name"] = format!("{}-bad", policy.name).into();
    bad["spec"]["mode"] = "Sometimes".into();
    let output = kubectl(&["apply", "-f", "-"], &manifest(&[bad, good]));
    assert!(!output.is_done() && output.stdout.contains("configured"), "{output:?}");
}
