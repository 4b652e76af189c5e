//! What a tenant or a client can do to a server with one object or many connections, done to the real process, which has the memory that the
//! chart gives it. Figures: docs/security.md.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

#[path = "../support/confined.rs"]
mod confined;
#[path = "../support/ports.rs"]
mod ports;
mod server;

use serde_json::{Value, json};
use server::{Server, head};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

const MIB: usize = 1 << 20;

/// All that etcd stores of one object.
const STORED: usize = 3 * MIB / 2;

/// As Go's encoding/json writes a text: `<`, `>` and `&` as six bytes each.
fn as_go(review: &Value) -> Vec<u8> {
    review
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .into_bytes()
}

/// A pod with an image that the policy refuses.
fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"},
           "spec": {"containers": [{"name": "c", "image": "evil.example/app:v1"}]}})
}

/// A review in the order in which the API server writes it: what it is about, then the objects.
fn review(operation: &str, object: &Value, old: &Value) -> Vec<u8> {
    review_of(r#""kind":{"group":"","version":"v1","kind":"Pod"}"#, operation, object, old)
}

/// The same of another kind, or of a subresource.
fn review_of(what: &str, operation: &str, object: &Value, old: &Value) -> Vec<u8> {
    let head = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u-1",{what},"name":"p","namespace":"shop","operation":"{operation}","userInfo":{{}},"object":"#
    );
    let mut body = head.into_bytes();
    body.extend(as_go(object));
    body.extend(br#","oldObject":"#);
    body.extend(as_go(old));
    body.extend(b"}}");
    body
}

fn denied(response: &Value) -> &str {
    assert_eq!(response["allowed"], false, "{response}");
    response["status"]["message"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_object_that_can_be_stored_gets_past_a_policy_by_its_size() {
    let server = Server::start().await;
    let none = Value::Null;
    let mut annotated = pod();
    annotated["metadata"]["annotations"] = json!({"a": "<".repeat(STORED)});
    let mut environment = pod();
    environment["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "&".repeat(STORED)}]);
    let mut gates = pod();
    gates["spec"]["readinessGates"] = vec![json!({"conditionType": ""}); 76_000].into();
    let mut deep = pod();
    deep["metadata"]["managedFields"] = "DEEP".into();
    let deep = String::from_utf8(review("CREATE", &deep, &none)).unwrap();
    let deep = deep.replace("\"DEEP\"", &("[".repeat(500_000) + &"]".repeat(500_000)));
    let mut old = annotated.clone();
    old["spec"]["containers"][0]["image"] = "registry.corp.example/app:v1".into();
    for (what, body) in [
        ("annotation", review("CREATE", &annotated, &none)),
        ("environment", review("CREATE", &environment, &none)),
        ("an update of both", review("UPDATE", &annotated, &old)),
        ("readiness gates", review("CREATE", &gates, &none)),
        ("depth", deep.into_bytes()),
    ] {
        let response = server.ask(&body).await;
        let message = denied(&response);
        assert!(message.contains("evil.example/app:v1"), "{what}: {message}");
    }
    assert!(server.peak() < 200 * MIB, "{} MiB", server.peak() / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_denied_where_a_policy_is_in_force_and_says_why() {
    let server = Server::start().await;
    let none = Value::Null;
    let mut large = pod();
    large["metadata"]["annotations"] = json!({"a": "<".repeat(4 * MIB)});
    let mut crowd = pod();
    crowd["spec"]["tolerations"] = "MANY".into();
    let many = format!("[{}{{}}]", r#"{"":{}},"#.repeat(400_000));
    let crowd = String::from_utf8(review("CREATE", &crowd, &none))
        .unwrap()
        .replace("\"MANY\"", &many);
    for (body, why) in [
        (review("CREATE", &large, &none), "larger than 20971520 bytes"),
        (crowd.into_bytes(), "too many values"),
    ] {
        let response = server.ask(&body).await;
        assert_eq!(response["uid"], "u-1");
        let message = denied(&response);
        assert!(message.contains(why) && message.contains("(ours)"), "{message}");
    }
    let metrics = server.metrics().await;
    assert!(
        metrics.contains("pullgate_bad_requests_total{reason=\"too_large\"} 2\n"),
        "{metrics}"
    );
    assert_eq!(server.log().matches("an object was not read").count(), 2, "{}", server.log());
    assert!(server.peak() < 200 * MIB, "{} MiB", server.peak() / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_large_reviews_waits_and_none_is_lost() {
    let server = Server::start().await;
    let mut large = pod();
    large["metadata"]["annotations"] = json!({"a": "x".repeat(1_660_000)});
    let body = review("CREATE", &large, &Value::Null);
    let probes = server.probes().await;
    let began = Instant::now();
    let asked = (0..64).map(|_| server.ask(&body));
    for response in futures_util::future::join_all(asked).await {
        assert!(denied(&response).contains("evil.example/app:v1"));
    }
    probes.held(began.elapsed()).await;
    assert!(server.peak() < 200 * MIB, "{} MiB", server.peak() / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_never_finished_leave_everybody_else_answered() {
    let server = Server::start().await;
    let mut stalled = Vec::new();
    let part = vec![b' '; 149 << 10];
    for _ in 0..480 {
        let mut stream = server.connect().await;
        stream.write_all(&head(150 << 10)).await.unwrap();
        // It may have been told to go already.
        let _ = tokio::time::timeout(Duration::from_millis(20), stream.write_all(&part)).await;
        stalled.push(stream);
    }
    let mut large = pod();
    large["metadata"]["annotations"] = json!({"a": "x".repeat(1_000_000)});
    let large = review("CREATE", &large, &Value::Null);
    let usual = review("CREATE", &pod(), &Value::Null);
    for body in [&usual, &large, &usual, &large] {
        let response = server.ask(body).await;
        assert!(denied(&response).contains("evil.example/app:v1"));
    }
    drop(stalled);
    assert!(server.peak() < 200 * MIB, "{} MiB", server.peak() / MIB);
}

/// Twenty policies, each of which objects to each image three times: every finding has words, a vote of each policy, and a line in metrics.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_policies_about_twenty_three_thousand_images_fit_into_little_memory() {
    let many = |mode: &str, exempt: &str| {
        let one = |at: usize| {
            format!(
                "---\napiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: policy-{at}}}\nspec:\n  mode: {mode}\n  registries: \
                 {{allow: [\"registry.corp.example/team-{at}/**\", \"*.mirror.example/**\"], deny: [\"evil.example/*\"]}}\n  tags: {{deny: [\"v*\"], \
                 requireDigest: true}}\n{exempt}"
            )
        };
        (0..20).map(one).collect::<String>()
    };
    let exempt = "  exempt: {images: [\"evil.example/app1*\"]}\n";
    for (mode, more, image, pull_policy, allowed) in [
        ("Enforce", "", "evil.example/app{at}:v1", "Always", false),
        ("Warn", "", "evil.example/app{at}:v1", "Always", true),
        ("Audit", "", "evil.example/app{at}:v1", "Always", true),
        ("Enforce", exempt, "evil.example/app{at}:v1", "Always", false),
        ("Warn", exempt, "evil.example/app{at}:v1", "Always", true),
        ("Warn", "", "evil.example/app{at}:v1", "Never", true),
        // A name that no rule can match, with words of its own.
        ("Audit", "", "Evil/APP{at}:v1", "Always", false),
        // Nothing to object to but that they are too many.
        (
            "Audit",
            "  exempt: {images: [\"**\"]}\n",
            "evil.example/app{at}:v1",
            "Always",
            true,
        ),
    ] {
        let container = |at: usize| json!({"name": format!("c{at}"), "image": image.replace("{at}", &at.to_string()), "imagePullPolicy": pull_policy});
        let mut object = pod();
        object["spec"]["containers"] = (0..23_000).map(container).collect::<Vec<_>>().into();
        let body = review("CREATE", &object, &Value::Null);
        let server = Server::with(&many(mode, more)).await;
        server.ask(&review("CREATE", &pod(), &Value::Null)).await;
        let (before, spent) = (server.peak(), server.processor());
        let response = server.ask(&body).await;
        let (took, grown) = (server.processor().saturating_sub(spent), server.peak() - before);
        println!(
            "23,000 images ({image}, {pull_policy}), 20 policies, {mode}{more}: {took:?} of a processor, {} MiB more than before",
            grown / MIB
        );
        assert_eq!(response["allowed"], allowed, "{}", response["status"]);
        assert!(grown < 64 * MIB, "{mode}{more} {image}: {} MiB", grown / MIB);
    }
}

/// What else swells, and where else it can stand.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_swelling_gets_past_a_policy() {
    let server = Server::start().await;
    let none = Value::Null;
    // Go writes these as six bytes each, too.
    let mut control = pod();
    control["metadata"]["labels"] = json!({"a": "\u{1}".repeat(STORED)});
    let mut pairs = pod();
    pairs["metadata"]["annotations"] = (0..100_000)
        .map(|at| (format!("k{at}"), Value::from("")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut ephemeral = pod();
    ephemeral["spec"]["containers"][0]["image"] = "registry.corp.example/app:v1".into();
    ephemeral["metadata"]["annotations"] = json!({"a": "<".repeat(STORED)});
    let before = ephemeral.clone();
    ephemeral["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "evil.example/app:v1"}]);
    let template = json!({"metadata": {"annotations": {"a": "&".repeat(STORED)}}, "spec": pod()["spec"]});
    let deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "p"}, "spec": {"template": template}});
    let job = json!({"template": {"spec": pod()["spec"]}, "selector": {"matchLabels": {"a": "<".repeat(STORED)}}});
    let cron =
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "p"}, "spec": {"jobTemplate": {"spec": job}}});
    let deep = |field: &str, object: &Value| {
        let text = String::from_utf8(review("CREATE", object, &none)).unwrap();
        text.replacen(
            field,
            &format!(
                "{}{field}",
                "\"x\":".to_owned() + &"{\"a\":".repeat(200_000) + "1" + &"}".repeat(200_000) + ","
            ),
            1,
        )
        .into_bytes()
    };
    let kind =
        |group: &str, version: &str, kind: &str| format!(r#""kind":{{"group":"{group}","version":"{version}","kind":"{kind}"}}"#);
    for (what, body) in [
        ("control characters", review("CREATE", &control, &none)),
        ("a hundred thousand annotations", review("CREATE", &pairs, &none)),
        ("depth in the pod's spec", deep("\"containers\":", &pod())),
        ("depth in a container", deep("\"image\":", &pod())),
        (
            "a debug container beside what swells",
            review_of(
                &(kind("", "v1", "Pod") + r#","subResource":"ephemeralcontainers""#),
                "UPDATE",
                &ephemeral,
                &before,
            ),
        ),
        (
            "a Deployment",
            review_of(&kind("apps", "v1", "Deployment"), "CREATE", &deployment, &none),
        ),
        (
            "a CronJob",
            review_of(&kind("batch", "v1", "CronJob"), "CREATE", &cron, &none),
        ),
    ] {
        let response = server.ask(&body).await;
        let message = denied(&response);
        assert!(message.contains("evil.example/app:v1"), "{what}: {message}");
    }
    assert!(server.peak() < 200 * MIB, "{} MiB", server.peak() / MIB);
}

/// Names as long as an object may be, one or many: answers stay as short as the API server takes them.
#[tokio::test(flavor = "multi_thread")]
async fn long_names_make_no_long_answers() {
    let server = Server::start().await;
    let image = |text: String| {
        let mut pod = pod();
        pod["spec"]["containers"][0]["image"] = text.into();
        pod
    };
    let named = {
        let mut pod = pod();
        pod["spec"]["containers"][0]["name"] = "n".repeat(STORED).into();
        pod
    };
    let many: Vec<Value> = (0..5000)
        .map(|at| json!({"name": format!("c{at}"), "image": format!("evil.example/{}{at}:v1", "a".repeat(200))}))
        .collect();
    let mut crowd = pod();
    crowd["spec"]["containers"] = many.into();
    for (what, object) in [
        (
            "a long repository",
            image(format!("evil.example/{}:v1", "a/".repeat(STORED / 4) + "a")),
        ),
        ("a long tag", image(format!("evil.example/a:{}", "v".repeat(STORED)))),
        ("what is no name", image("<".repeat(STORED))),
        ("control characters", image("\u{1b}[31m".repeat(STORED / 5))),
        ("a long container name", named),
        ("many names", crowd),
    ] {
        let response = server.ask(&review("CREATE", &object, &Value::Null)).await;
        let length = response.to_string().len();
        println!("{what}: {length} bytes");
        assert_eq!(response["allowed"], false, "{what}");
        // The API server reads 3 MiB of an answer; users see the first lines.
        assert!(length < 1 << 20, "{what}: {length} bytes");
    }
    let log = server.log();
    assert!(log.lines().all(|line| line.len() < 16 << 10), "lines of the log are short");
    assert!(server.peak() < 200 * MIB, "{} MiB", server.peak() / MIB);
}

/// The limit of this run's control group is set where the kernel has it, whichever version that is.
#[test]
fn control_groups_of_both_versions_are_found() {
    let root = std::path::Path::new("/sys/fs/cgroup");
    for (own, wanted) in [
        ("0::/kubepods.slice/pod1\n", ("kubepods.slice/pod1/t", "memory.max")),
        ("0::/\n", ("t", "memory.max")),
        (
            "12:cpu,cpuacct:/\n9:memory:/docker/ab\n0::/system.slice\n",
            ("memory/docker/ab/t", "memory.limit_in_bytes"),
        ),
        ("5:cpuset,memory:/lxc\n", ("memory/lxc/t", "memory.limit_in_bytes")),
    ] {
        let places = confined::places(root, own, "t");
        assert!(places.contains(&(root.join(wanted.0), wanted.1)), "{own}: {places:?}");
    }
}

/// Who asks is said by the API server at the top of the request, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn an_exemption_cannot_be_claimed_from_within_the_object() {
    let policy = "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: ours}\nspec:\n  registries: {allow: \
                  [\"registry.corp.example/**\"]}\n  exempt: {users: [\"system:serviceaccount:ci:*\"], groups: [\"breakglass\"]}\n";
    let server = Server::with(policy).await;
    let claim = json!({"username": "system:serviceaccount:ci:robot", "groups": ["breakglass"], "uid": "1"});
    let ask = |object: Value, user: Value| {
        let body = String::from_utf8(review("CREATE", &object, &Value::Null)).unwrap();
        body.replacen(r#""userInfo":{}"#, &format!(r#""userInfo":{user}"#), 1)
            .into_bytes()
    };
    let mut claims = Vec::new();
    for at in ["/", "/metadata", "/spec", "/spec/containers/0"] {
        let mut object = pod();
        let place = if at == "/" {
            Some(&mut object)
        } else {
            object.pointer_mut(at)
        };
        let place = place.unwrap().as_object_mut().unwrap();
        place.insert("userInfo".to_owned(), claim.clone());
        place.insert("request".to_owned(), json!({"userInfo": claim}));
        claims.push((at.to_owned(), ask(object, json!({"username": "mallory"}))));
    }
    let mut annotated = pod();
    annotated["metadata"]["annotations"] =
        json!({"userInfo": claim.to_string(), "kubernetes.io/created-by": "system:serviceaccount:ci:robot"});
    claims.push(("annotations".to_owned(), ask(annotated, json!({}))));
    for user in [
        json!({"username": "mallory", "extra": {"username": ["system:serviceaccount:ci:robot"], "groups": ["breakglass"]}}),
        json!({"username": "system:serviceaccount:ci", "groups": ["system:breakglass", "breakglass "]}),
        json!({"username": "x system:serviceaccount:ci:robot", "groups": ["BREAKGLASS"]}),
        json!({"username": "system:serviceaccount:CI:robot", "uid": "system:serviceaccount:ci:robot"}),
        json!({"username": ["system:serviceaccount:ci:robot"], "groups": "breakglass"}),
        json!({"Username": "system:serviceaccount:ci2:robot", "groups": [["breakglass"]]}),
        Value::Null,
    ] {
        claims.push((user.to_string(), ask(pod(), user)));
    }
    for (what, body) in claims {
        let response = server.ask(&body).await;
        assert_eq!(response["allowed"], false, "{what}: {response}");
    }
    for user in [
        json!({"username": "system:serviceaccount:ci:robot"}),
        json!({"username": "m", "groups": ["breakglass"]}),
    ] {
        let response = server.ask(&ask(pod(), user)).await;
        assert_ne!(response["status"]["reason"], "Forbidden", "{response}");
        assert!(
            !response.to_string().contains("(ours)") && !response.to_string().contains("policy \\\"ours\\\""),
            "{response}"
        );
    }
}
