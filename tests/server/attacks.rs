//! What a hostile registry or client may try, and what a large cluster asks for, against the process itself: its memory is read from `/proc`, and held against the chart's limit.
//!
//! `PULLGATE_HEALTHZ_MS` is how long a probe may take at most: 100 with a release build, and 5000 with one that is not optimised, on a machine
//! that does other things.

use crate::binary::Serving;
use crate::confined::{Confined, LIMIT, most_resident};
use crate::faulty::{Faulty, Manner, Reply, Seen};
use crate::support::{SOON, connect, get, post};
use pullgate::image::Digest;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// As long as is read.
const LONGEST: usize = 4_393_216;

fn list(start: &str, entry: &str, end: &str) -> Vec<u8> {
    let times = (LONGEST - start.len() - end.len() - 100) / (entry.len() + 1);
    format!("{start}{}{end}", vec![entry; times].join(",")).into_bytes()
}

/// Bodies that are short on the wire and large in memory, by the name of a repository.
struct Bodies {
    layers: Vec<u8>,
    entries: Vec<u8>,
    annotations: Vec<u8>,
    /// One that is as large as is kept.
    kept: Vec<u8>,
    tags: Vec<u8>,
}

impl Bodies {
    fn new() -> Self {
        let entry = format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":2,"platform":{{"os":"linux","architecture":"amd64"}}}}"#,
            Digest::sha256(b"")
        );
        Self {
            layers: list(r#"{"layers":["#, "{}", "]}"),
            entries: list(r#"{"manifests":["#, &entry, "]}"),
            annotations: list(r#"{"annotations":{"#, r#""":"""#, "}}"),
            kept: format!(
                r#"{{"mediaType":"{INDEX}","manifests":[{}]}}"#,
                vec![entry.as_str(); 2200].join(",")
            )
            .into_bytes(),
            tags: format!(r#"{{"tags":[{}"z"]}}"#, r#""a","#.repeat((1 << 20) / 4 - 10)).into_bytes(),
        }
    }

    fn answer(&self, seen: &Seen) -> Reply {
        if seen.path.contains("/tags/") {
            return Reply::new(200).body(self.tags.clone());
        }
        let (media_type, body) = match seen.path.split('/').nth(2).and_then(|name| name.chars().next()) {
            Some('l') => (MANIFEST, &self.layers),
            Some('e') => (INDEX, &self.entries),
            Some('a') => (MANIFEST, &self.annotations),
            Some('k') => (INDEX, &self.kept),
            _ => return Reply::new(404).json(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        };
        // Another one for each path, so that nothing is found where another has been.
        let mut body = body.clone();
        body.extend(std::iter::repeat_n(b' ', seen.path.len() % 7));
        let reply = Reply::new(200).header("Content-Type", media_type);
        let digest = Digest::sha256(seen.path.as_bytes());
        if seen.method == "HEAD" {
            let length = body.len().to_string();
            return reply
                .header("Docker-Content-Digest", digest.as_str())
                .header("Content-Length", &length);
        }
        reply.body(body)
    }
}

fn review(number: usize, host: &str) -> String {
    let images = (0..64).map(|at| {
        let name = ["l", "e", "a", "k", "t"][at % 5];
        json!({"name": format!("c{at}"), "image": format!("{host}/{name}{number}x{at}/app:v1")})
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": images.collect::<Vec<Value>>()}});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": format!("u{number}"), "operation": "CREATE", "namespace": format!("ns{number}"), "kind": {"kind": "Pod"}, "object": pod}})
    .to_string()
}

/// A server that may ask registries on loopback, and its authority; its files are in `folder`.
fn serve_with_loopback(folder: &Path) -> (Serving, String) {
    let config = folder.join("config.yaml");
    std::fs::write(&config, "network: {allow: [127.0.0.0/8]}\n").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let serving = Serving::start(&["--tls-dev", "--tls-dev-out", &text(folder), "--config", &text(&config)]);
    let ca = std::fs::read_to_string(folder.join("ca.crt")).unwrap();
    (serving, ca)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_registry_fills_the_memory() {
    let bodies = Bodies::new();
    let registry = Faulty::start(move |seen| bodies.answer(seen)).await;
    let dir = tempfile::tempdir().unwrap();
    let (serving, ca) = serve_with_loopback(dir.path());
    let _confined = Confined::new(serving.id());

    let over = Arc::new(AtomicBool::new(false));
    let plain = serving.plain;
    let probes = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut worst = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(get(plain, "/healthz").await.status, 200);
                worst = worst.max(began.elapsed());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            worst
        }
    });
    let reviews: Vec<_> = (0..8)
        .map(|number| {
            let (ca, webhook, body) = (ca.clone(), serving.webhook, review(number, &registry.host()));
            tokio::spawn(async move {
                let mut stream = connect(webhook, &ca).await.unwrap();
                let answer = post(&mut stream, "/validate?timeout=10s", &body).await;
                let answer: Value = serde_json::from_str(&answer.body).unwrap();
                answer["response"]["uid"].as_str().unwrap().to_owned()
            })
        })
        .collect();
    for (number, review) in reviews.into_iter().enumerate() {
        let uid = tokio::time::timeout(SOON, review).await.unwrap().unwrap();
        assert_eq!(uid, format!("u{number}"));
    }
    // What was begun goes on for a while.
    tokio::time::sleep(Duration::from_secs(5)).await;
    over.store(true, Ordering::Relaxed);
    let (worst, memory) = (probes.await.unwrap(), most_resident(serving.id()));
    println!(
        "most resident: {} KiB; slowest probe: {worst:?}; {} requests",
        memory >> 10,
        registry.lines().len()
    );
    assert!(memory < LIMIT, "{} KiB", memory >> 10);
    // A probe waits for 5 s: that it is answered at all is what a test can say on any machine.
    assert!(worst < Duration::from_secs(5), "{worst:?}");
}

/// More registries than there are threads for them send interim answers without end: another one is asked all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_interim_answers_keep_no_other_registry_waiting() {
    let floods: Vec<std::net::SocketAddr> = (0..16).map(|_| flood()).collect();
    let registry = Faulty::start(|_| Reply::new(404).json(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)).await;
    let dir = tempfile::tempdir().unwrap();
    let (serving, ca) = serve_with_loopback(dir.path());
    let ask = async |number: usize, host: String| {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                         "spec": {"containers": [{"name": "c", "image": format!("{host}/app{number}:v1")}]}});
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "operation": "CREATE",
                          "namespace": format!("ns{number}"), "kind": {"kind": "Pod"}, "object": pod}});
        let mut stream = connect(serving.webhook, &ca).await.unwrap();
        let answer = post(&mut stream, "/validate?timeout=10s", &body.to_string()).await;
        serde_json::from_str::<Value>(&answer.body).unwrap()["response"].clone()
    };
    let attacks = (0..64).map(|number| ask(number, floods[number % floods.len()].to_string()));
    let others = async {
        for number in 100..120 {
            let answer = ask(number, registry.host()).await;
            assert_eq!(answer["allowed"], false, "{answer}");
            assert!(
                answer["status"]["message"].as_str().unwrap().contains("TagNotFound"),
                "{answer}"
            );
        }
    };
    let (attacked, ()) = futures_util::future::join(futures_util::future::join_all(attacks), others).await;
    for answer in attacked {
        assert_eq!(answer["allowed"], true, "what is not known is allowed: {answer}");
        assert!(answer["warnings"].to_string().contains("ConnectionFailed"), "{answer}");
    }
}

/// A server with a thread for each connection, which sends interim answers for as long as anybody reads.
fn flood() -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
                while stream.write_all(&many).is_ok() {}
            });
        }
    });
    address
}

#[tokio::test]
async fn both_ports_answer_with_few_descriptors() {
    for (files, crowd) in [(64, 200), (48, 60)] {
        answers_with_few(files, crowd).await;
    }
}

/// With so many open files at most, and so many connections to each port that say nothing.
async fn answers_with_few(files: u32, crowd: usize) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap().to_owned();
    let serving = Serving::start_limited(files, &["--tls-dev", "--tls-dev-out", &out]);
    let ca = std::fs::read_to_string(dir.path().join("ca.crt")).unwrap();
    let mut silent = Vec::new();
    for _ in 0..crowd {
        for port in [serving.webhook, serving.plain] {
            silent.push(tokio::net::TcpStream::connect(port).await.unwrap());
        }
    }
    let answered = async {
        assert_eq!(get(serving.plain, "/healthz").await.status, 200);
        assert_eq!(get(serving.plain, "/metrics").await.status, 200);
        let mut stream = connect(serving.webhook, &ca).await.unwrap();
        post(&mut stream, "/validate?timeout=10s", &review(0, "127.0.0.1:1")).await
    };
    let answer = tokio::time::timeout(SOON, answered).await.unwrap();
    assert_eq!(answer.status, 200);
    drop(silent);
}

/// `PULLGATE_NODES` is another number of them, for the table in docs/operations.md.
static NODES: LazyLock<usize> =
    LazyLock::new(|| std::env::var_os("PULLGATE_NODES").map_or(5000, |nodes| nodes.to_str().unwrap().parse().unwrap()));

/// A node with fifty images, each with a long name by tag and by digest, as a kubelet lists them.
fn node(number: usize) -> Value {
    let image = |at: usize| {
        let name = format!("registry.corp.example/team-{}/service-of-some-name-{at}", number % 97);
        let digest = Digest::sha256(format!("{number} {at}").as_bytes());
        json!({"names": [format!("{name}@{digest}"), format!("{name}:v1.{number}.{at}")], "sizeBytes": 123_456_789})
    };
    let labels: serde_json::Map<String, Value> = (0..20)
        .map(|at| {
            (
                format!("topology.example/label-{at}"),
                json!(format!("value-{}", number % 13)),
            )
        })
        .collect();
    json!({"metadata": {"name": format!("node-{number}"), "uid": format!("u{number}"), "resourceVersion": "1", "labels": labels},
           "spec": {}, "status": {"images": (0..50).map(image).collect::<Vec<_>>(),
           "nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "kubeletVersion": "v1.33.0", "containerRuntimeVersion": "containerd://2.1.0"}}})
}

/// `PULLGATE_CHANGES` is another number of them: 50 a second for an hour are 180,000.
static CHANGES: LazyLock<usize> =
    LazyLock::new(|| std::env::var_os("PULLGATE_CHANGES").map_or(500, |changes| changes.to_str().unwrap().parse().unwrap()));

/// What a watch tells of the change of that number: another node each, with another label, which now has the image of that number, too.
fn change(number: usize, registry: &str) -> Vec<u8> {
    let mut node = node(number % *NODES);
    node["metadata"]["resourceVersion"] = (2 + number).to_string().into();
    node["metadata"]["labels"]["changed"] = format!("c{number}").into();
    node["status"]["images"][0]["names"] = json!([format!("{registry}/app:v{number}")]);
    let mut line = json!({"type": "MODIFIED", "object": node}).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// An API server with that many nodes, whose watches say nothing but what comes of `changes`.
fn api_server(seen: &Seen, changes: &Arc<tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>>) -> Reply {
    let url = url::Url::parse(&format!("http://api{}", seen.path)).unwrap();
    let query = |name: &str| {
        url.query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    if query("watch").is_some() {
        let reply = Reply::new(200).header("Content-Type", "application/json").unmeasured();
        return match url.path() {
            "/api/v1/nodes" => reply.manner(Manner::Stream(Arc::clone(changes))),
            _ => reply.manner(Manner::Silence),
        };
    }
    let (items, next) = match url.path() {
        "/api/v1/nodes" => {
            let start: usize = query("continue").map_or(0, |token| token.parse().unwrap());
            let limit: usize = query("limit").map_or(*NODES, |limit| limit.parse().unwrap());
            let end = NODES.min(start + limit);
            let next = if end < *NODES { end.to_string() } else { String::new() };
            ((start..end).map(node).collect(), next)
        }
        "/api/v1/namespaces" | "/api/v1/serviceaccounts" => (Vec::new(), String::new()),
        _ => {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"});
            return Reply::new(404).json(&status.to_string());
        }
    };
    let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "continue": next}, "items": items});
    Reply::new(200).json(&list.to_string())
}

/// A pod for the node that the change of that number is about, with an image that only this node has.
fn pod_after(number: usize, registry: &str) -> String {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "spec": {
        "nodeSelector": {"changed": format!("c{number}")},
        "containers": [{"name": "c", "image": format!("{registry}/app:v{number}"), "imagePullPolicy": "IfNotPresent"}]}});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "operation": "CREATE", "namespace": "shop",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_nodes_fit_into_half_of_the_memory_and_every_change_is_taken_in() {
    let registry = Faulty::start(|_| Reply::new(404).json(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)).await;
    let (tell, changes) = mpsc::channel(16);
    let changes = Arc::new(tokio::sync::Mutex::new(changes));
    let api = Faulty::start(move |seen| api_server(seen, &changes)).await;
    let dir = tempfile::tempdir().unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (kubeconfig, config) = (dir.path().join("kubeconfig"), dir.path().join("config.yaml"));
    let written = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", api.host())}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    std::fs::write(&kubeconfig, written.to_string()).unwrap();
    std::fs::write(&config, "network: {allow: [127.0.0.0/8]}\n").unwrap();
    let serving = Serving::with(&[
        "--tls-dev",
        "--tls-dev-out",
        &text(dir.path()),
        "--kubeconfig",
        &text(&kubeconfig),
        "--config",
        &text(&config),
    ]);
    let ca = std::fs::read_to_string(dir.path().join("ca.crt")).unwrap();
    let _confined = Confined::new(serving.id());
    let plain = serving.plain;
    // Writing and reading 150 MB takes its time in a build that is not optimised.
    let asked = Instant::now();
    while get(plain, "/readyz").await.status != 200 {
        assert!(asked.elapsed() < 5 * SOON, "it is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let memory = most_resident(serving.id());
    println!("{} nodes with 50 images: {} MiB", *NODES, memory >> 20);
    assert!(memory < LIMIT / 2, "{} KiB", memory >> 10);

    // As fast as they are read, which is more than fifty a second.
    let began = Instant::now();
    for number in 0..*CHANGES {
        tell.send(change(number, &registry.host())).await.unwrap();
    }
    let allows = async |number: usize| {
        let mut stream = connect(serving.webhook, &ca).await.unwrap();
        let answer = post(&mut stream, "/validate?timeout=30s", &pod_after(number, &registry.host())).await;
        serde_json::from_str::<Value>(&answer.body).unwrap()["response"]["allowed"] == true
    };
    while !allows(*CHANGES - 1).await {
        assert!(began.elapsed() < 5 * SOON, "the last change does not count");
    }
    let took = began.elapsed();
    // Each node tells of its last change.
    let first = CHANGES.saturating_sub(*NODES);
    for number in (first..*CHANGES).step_by((*CHANGES - first).div_ceil(50)) {
        assert!(allows(number).await, "change {number} counts");
    }
    assert!(!allows(*CHANGES).await, "the one after the last has not happened");
    let memory = most_resident(serving.id());
    println!("{} changes in {took:?}: {} MiB", *CHANGES, memory >> 20);
    assert!(memory < LIMIT / 2, "{} KiB", memory >> 10);
}
