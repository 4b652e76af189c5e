//! Memory over time: many reviews of images, namespaces, secrets and registries that never come again, against a registry that answers
//! in every way. Takes minutes, so it is not part of the usual run:
//!
//! ```text
//! cargo test --locked --test server -- --ignored --nocapture soak
//! PULLGATE_SOAK_REVIEWS=500000 cargo test --release --locked --test server -- --ignored --nocapture soak
//! ```
//!
//! The caches are small here, so that they are full soon: whatever grows after that is a leak.

use crate::binary::Serving;
use crate::support::{SOON, connect, get, post};
use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Registries that answer.
const HOSTS: usize = 32;
/// Namespaces with a pull secret of their own.
const NAMESPACES: usize = 200;
/// Reviews at once.
const CALLERS: usize = 8;
/// Lines of the report.
const STEPS: usize = 12;

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let mut text = "sha256:".to_owned();
    for byte in hash {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The config and the manifest of the image of that number.
fn image(number: usize) -> (String, String) {
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Labels": {"number": number.to_string()}},
                        "rootfs": {"type": "layers", "diff_ids": []}})
    .to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config.as_bytes()), "size": config.len()},
        "layers": [],
    })
    .to_string();
    (config, manifest)
}

/// What the registry answers: status, further headers, body. A repository's number says how it is treated.
pub(crate) fn answer(path: &str, authorized: bool) -> (u16, String, String) {
    let Some(rest) = path.strip_prefix("/v2/shop/app-") else {
        return (200, String::new(), String::new());
    };
    let (number, what) = rest.split_once('/').unwrap_or((rest, ""));
    let number: usize = number.parse().unwrap_or_default();
    let (config, manifest) = image(number);
    let found = |kind: &str, body: String| {
        (
            200,
            format!(
                "Content-Type: {kind}\r\nDocker-Content-Digest: {}\r\n",
                digest(body.as_bytes())
            ),
            body,
        )
    };
    let failed = |status: u16, headers: &str, code: &str| {
        let body = json!({"errors": [{"code": code, "message": "as told"}]}).to_string();
        (status, format!("Content-Type: application/json\r\n{headers}"), body)
    };
    match (number % 10, authorized) {
        (5, _) => failed(404, "", "MANIFEST_UNKNOWN"),
        (6, false) => failed(401, "WWW-Authenticate: Basic realm=\"soak\"\r\n", "UNAUTHORIZED"),
        (7, _) => failed(429, "Retry-After: 1\r\n", "TOOMANYREQUESTS"),
        (8, _) => failed(500, "", "UNKNOWN"),
        _ if what.starts_with("blobs/") => found("application/octet-stream", config),
        _ if what.starts_with("manifests/") => found("application/vnd.oci.image.manifest.v1+json", manifest),
        _ => failed(404, "", "NOT_FOUND"),
    }
}

/// One connection, plain HTTP; anything else is hung up on.
async fn attend(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut authorized) = (String::new(), false);
        let mut first = [0];
        if stream.read_exact(&mut first).await.is_err() || !first[0].is_ascii_uppercase() {
            return Ok(());
        }
        stream.read_line(&mut line).await?;
        let is_head = first[0] == b'H';
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            authorized |= header.to_lowercase().starts_with("authorization:");
            if header.trim().is_empty() {
                break;
            }
        }
        let (status, headers, body) = answer(&path, authorized);
        let length = body.len();
        let mut whole = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n");
        if !is_head {
            whole += &body;
        }
        stream.get_mut().write_all(whole.as_bytes()).await?;
    }
}

async fn registry(at: usize) -> SocketAddr {
    let listener = TcpListener::bind(format!("127.0.1.{}:0", at + 1)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(attend(stream));
        }
    });
    address
}

/// Namespaces with a secret for every registry, each with another password.
pub(crate) fn facts(folder: &Path, registries: &[SocketAddr]) {
    let objects: Vec<String> = (0..NAMESPACES)
        .map(|at| {
            let auths: serde_json::Map<String, Value> = registries
                .iter()
                .map(|host| (host.to_string(), json!({"username": "u", "password": format!("p{at}")})))
                .collect();
            let config = base64::engine::general_purpose::STANDARD.encode(json!({"auths": auths}).to_string());
            json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                   "metadata": {"namespace": format!("ns-{at}"), "name": "pull"}, "data": {".dockerconfigjson": config}})
            .to_string()
        })
        .collect();
    std::fs::write(folder.join("secrets.yaml"), objects.join("\n---\n")).unwrap();
}

/// The review of that number: three images that nobody has asked for before, one that many ask for, and one registry that is not there.
pub(crate) fn review(number: usize, registries: &[SocketAddr]) -> String {
    let namespace = if number.is_multiple_of(2) {
        format!("ns-{}", number / 2 % NAMESPACES)
    } else {
        format!("fresh-{number}")
    };
    let new = |n: usize| format!("{}/shop/app-{n}:v{n}", registries[n % registries.len()]);
    let images = [
        new(3 * number),
        new(3 * number + 1),
        new(3 * number + 2),
        new(number % 100 * 10),
        format!(
            "127.{}.{}.{}:1/x/y-{number}:v1",
            2 + number % 200,
            number / 200 % 250,
            number / 50_000 % 250
        ),
    ];
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(at, image)| json!({"name": format!("c{at}"), "image": image}))
        .collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("pod-{number}")},
                     "spec": {"imagePullSecrets": [{"name": "pull"}], "containers": containers}});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": format!("u-{number}"), "operation": "CREATE", "namespace": namespace, "kind": {"kind": "Pod"}, "object": pod}})
    .to_string()
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn sum(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    lines.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

fn setting(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.into_string().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; its head says how"]
async fn soak() {
    let reviews: usize = setting("PULLGATE_SOAK_REVIEWS").map_or(24_000, |number| number.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut registries = Vec::new();
    for at in 0..HOSTS {
        registries.push(registry(at).await);
    }
    let folder = dir.path().join("facts");
    std::fs::create_dir(&folder).unwrap();
    facts(&folder, &registries);
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, "network: {allow: [127.0.0.0/8]}\ncache: {maxBytes: 4MiB}\n").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (folder, config, out) = (text(&folder), text(&config), text(dir.path()));
    let arguments = ["--tls-dev", "--tls-dev-out", &out, "--facts", &folder, "--config", &config];
    let serving = Serving::start(&arguments);
    let ca = std::fs::read_to_string(dir.path().join("ca.crt")).unwrap();
    let registries: Arc<[SocketAddr]> = registries.into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut memory = Vec::new();
    println!(
        "{:>9} {:>9} {:>11} {:>9} {:>7}",
        "reviews", "RSS, KiB", "caches, KiB", "conns", "metrics"
    );
    for step in 1..=STEPS {
        let end = reviews * step / STEPS;
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (registries, next, ca, webhook) = (Arc::clone(&registries), Arc::clone(&next), ca.clone(), serving.webhook);
                tokio::spawn(async move {
                    let mut stream = connect(webhook, &ca).await.unwrap();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= end {
                            break;
                        }
                        let answer = post(&mut stream, "/validate?timeout=10s", &review(number, &registries)).await;
                        assert_eq!(answer.status, 200);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        next.store(end, Ordering::Relaxed);
        let metrics = tokio::time::timeout(SOON, get(serving.plain, "/metrics")).await.unwrap().body;
        let (resident, caches) = (resident(serving.id()), sum(&metrics, "pullgate_cache_weight_bytes{") >> 10);
        memory.push(resident);
        println!(
            "{end:>9} {resident:>9} {caches:>11} {:>9} {:>7}",
            sum(&metrics, "pullgate_connections "),
            metrics.lines().count()
        );
    }
    let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len() as u64;
    let (middle, last) = (mean(&memory[STEPS / 3..STEPS * 2 / 3]), mean(&memory[STEPS * 2 / 3..]));
    println!(
        "last third : middle third = {}.{:02}",
        last / middle,
        last % middle * 100 / middle
    );
    assert!(last * 100 <= middle * 115, "memory grows: {memory:?}");
}
