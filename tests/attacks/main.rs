//! What a tenant or a client can do to a server with one object or many connections, done to the real process; its memory is what the
//! system says. The chart's limit is 256 MiB. Figures: docs/security.md.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const MIB: usize = 1 << 20;

/// All that etcd stores of one object.
const STORED: usize = 3 * MIB / 2;

/// Long enough for a busy machine and an unoptimised build.
const SOON: Duration = Duration::from_mins(2);

/// `pullgate serve` with one policy in force: only images of registry.corp.example.
struct Server {
    process: Child,
    address: SocketAddr,
    plain: SocketAddr,
    folder: TempDir,
    config: Arc<rustls::ClientConfig>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Server {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let policy = "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: ours}\nspec: {registries: {allow: [\"registry.corp.example/**\"]}}\n";
        let policies = folder.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        std::fs::write(policies.join("ours.yaml"), policy).unwrap();
        let (address, plain) = (free_address(), free_address());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_pullgate"))
            .args(["serve", "--no-cluster", "--tls-dev", "--tls-dev-out"])
            .arg(folder.path())
            .args(["--listen", &address.to_string(), "--metrics-listen", &plain.to_string()])
            .arg("--policies")
            .arg(&policies)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            assert!(begun.elapsed() < SOON, "it does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(folder.path().join("ca.crt")).unwrap())
            .unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            process,
            address,
            plain,
            folder,
            config: Arc::new(config),
        }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await.unwrap()
    }

    /// Sends a review whole; the response of the answer.
    async fn ask(&self, body: &[u8]) -> Value {
        let work = async {
            let mut stream = self.connect().await;
            stream.write_all(&head(body.len())).await.unwrap();
            stream.write_all(body).await.unwrap();
            // Else its end may stay in the buffer of TLS.
            stream.flush().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(SOON, work).await.expect("an answer");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str::<Value>(body).unwrap()["response"].clone()
    }

    /// The most memory that it ever had, in bytes.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.plain).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

fn head(length: usize) -> Vec<u8> {
    format!("POST /validate?timeout=10s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}

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
    let head = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u-1","kind":{{"group":"","version":"v1","kind":"Pod"}},"name":"p","namespace":"shop","operation":"{operation}","userInfo":{{}},"object":"#
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
    let asked = (0..64).map(|_| server.ask(&body));
    for response in futures_util::future::join_all(asked).await {
        assert!(denied(&response).contains("evil.example/app:v1"));
    }
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
