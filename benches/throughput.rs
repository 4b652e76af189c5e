//! `pullgate serve` against an empty TLS server: `cargo bench --bench throughput`. Each has a process of its own, and a client in a third
//! one asks both in turns over connections that it keeps, as the API server does. What came out, and how to read it: docs/benchmarks.md.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program of measurements, for people")]

#[allow(dead_code, reason = "shared with the other measurements")]
mod common;

use axum::body::Bytes;
use common::{CountingRegistry, deployment};
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pullgate::server::tls::{Certificate, generate};
use pullgate::telemetry::Metrics;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// As long as our own answer to such a review, head included.
const EMPTY_ANSWER: &[u8] = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"allowed":true,"auditAnnotations":{"verdict":"allow"},"uid":"705ab4f5-6393-11e8-b7cc-42010a800002"}}"#;

/// Turns of each server, and how long one is.
const TURNS: usize = 12;
const TURN: Duration = Duration::from_secs(1);

/// Kept-alive connections.
const CONNECTIONS: [usize; 2] = [1, 16];

/// References that are all remembered, and so many of them in one object.
const REFERENCES: usize = 100_800;
const IMAGES: usize = 100;

/// Images of the largest object that is read, and policies that each object to each of them three times.
const CROWD: usize = 23_000;
const POLICIES: usize = 20;

/// Stands where each review has a number of its own.
const NUMBER: &str = "00000000";

#[tokio::main]
async fn main() {
    // `cargo test --all-targets` starts benchmarks, too; they are no tests.
    let arguments: Vec<String> = std::env::args().collect();
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    if let [_, role, address, folder] = arguments.as_slice()
        && role == "empty"
    {
        return empty_server(address.parse().unwrap(), Path::new(folder)).await;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("throughput");
    std::fs::create_dir_all(&folder).unwrap();
    let registry = CountingRegistry::start().await;
    let images: Vec<String> = (0..3).map(|at| format!("{}/team/known-{at}:v1", registry.address)).collect();
    let body = deployment(&images);
    let numbered = |from: &str, to: &str| Arc::new(Numbered::new(&body.replace(from, &to.replace('#', NUMBER))));
    // A burst of one template, and objects that all differ in what a pull depends on.
    let bodies = [
        ("one template", numbered(r#""name":"api""#, r#""name":"api-#""#)),
        (
            "each another",
            numbered(
                r#""restartPolicy":"Always""#,
                r#""nodeName":"node-#","restartPolicy":"Always""#,
            ),
        ),
    ];
    let ours = Server::pullgate(&folder, "");
    let empty = Server::empty(&folder);

    println!(
        "| connections | objects | server | reviews a second | p50 | p99 | processor time a review | of the empty server's throughput |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (connections, (objects, body)) in CONNECTIONS.iter().flat_map(|many| bodies.iter().map(|body| (*many, body))) {
        let (mut to_ours, mut to_empty) = (ours.connect(connections).await, empty.connect(connections).await);
        // From here on the images are in the cache.
        for caller in to_ours.iter_mut().chain(&mut to_empty) {
            let answer = String::from_utf8(caller.ask(&body.next()).await).unwrap();
            assert!(
                answer.contains(r#""allowed":true"#) && !answer.contains("warnings"),
                "{answer}"
            );
        }
        let (mut our_turns, mut empty_turns) = (Turns::default(), Turns::default());
        for _ in 0..TURNS {
            to_ours = our_turns.take(&ours, to_ours, body).await;
            to_empty = empty_turns.take(&empty, to_empty, body).await;
        }
        let mut ratios: Vec<f64> = our_turns
            .rates
            .iter()
            .zip(&empty_turns.rates)
            .map(|(ours, empty)| ours / empty)
            .collect();
        ratios.sort_by(f64::total_cmp);
        let at = |part: usize| ratios[(ratios.len() * part / 4).min(ratios.len() - 1)];
        let ratio = format!("{:.2} ({:.2} to {:.2})", at(2), at(1), at(3));
        println!("| {connections} | {objects} | pullgate | {} | {ratio} |", our_turns.row());
        println!("| {connections} | {objects} | empty | {} | |", empty_turns.row());
    }
    println!("\nResident memory of pullgate afterwards: {} MiB", ours.resident() >> 20);
    crowd(&folder).await;
    let mut callers = ours.connect(CONNECTIONS[1]).await;
    let each = REFERENCES / IMAGES / callers.len();
    let asked = callers.iter_mut().enumerate().map(async |(caller, callers)| {
        for turn in 0..each {
            let images = (0..IMAGES).map(|at| format!("{}/team/one-of-many-{caller}-{turn}-{at}:v1", registry.address));
            let body = deployment(&images.collect::<Vec<_>>());
            // On a machine with other work some are late; what was begun goes on.
            while String::from_utf8(callers.ask(body.as_bytes()).await)
                .unwrap()
                .contains("warnings")
            {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    });
    futures_util::future::join_all(asked).await;
    // What is held for a second only is not what is remembered.
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        callers[0].ask(body.as_bytes()).await;
    }
    println!(
        "Resident memory of pullgate once it has been asked about {REFERENCES} references: {} MiB",
        ours.resident() >> 20
    );
}

/// Prints what the largest object costs under many policies: none of its images is looked up.
async fn crowd(folder: &Path) {
    let mut policies = String::new();
    for at in 0..POLICIES {
        let _ = write!(
            policies,
            "---\napiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: policy-{at}}}\nspec:\n  registries: {{allow: \
             [\"registry.corp.example/team-{at}/**\", \"*.mirror.example/**\"], deny: [\"evil.example/*\"]}}\n  tags: {{deny: [\"v*\"], \
             requireDigest: true}}\n"
        );
    }
    let server = Server::pullgate(folder, &policies);
    let mut callers = server.connect(1).await;
    let containers: Vec<serde_json::Value> = (0..CROWD)
        .map(|at| serde_json::json!({"name": format!("c{at}"), "image": format!("evil.example/app{at}:v1")}))
        .collect();
    let body = serde_json::json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "namespace": "shop", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}}})
    .to_string();
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..TURNS {
        let before = server.processor();
        let answer = String::from_utf8(callers[0].ask(body.as_bytes()).await).unwrap();
        assert!(answer.contains(r#""allowed":false"#), "{answer}");
        took.push(server.processor().saturating_sub(before));
    }
    took.sort_unstable();
    println!(
        "\nProcessor time of a review of {CROWD} images under {POLICIES} policies: {} ms (median), {} ms at most",
        took[took.len() / 2].as_millis(),
        took[took.len() - 1].as_millis()
    );
}

/// A review in which every number is another.
struct Numbered {
    text: String,
    places: Vec<usize>,
    next: AtomicUsize,
}

impl Numbered {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            places: text.match_indices(NUMBER).map(|(at, _)| at).collect(),
            next: AtomicUsize::new(1),
        }
    }

    fn next(&self) -> Vec<u8> {
        let number = format!("{:08}", self.next.fetch_add(1, Ordering::Relaxed));
        let mut body = self.text.clone().into_bytes();
        for at in &self.places {
            body[*at..at + NUMBER.len()].copy_from_slice(number.as_bytes());
        }
        body
    }
}

/// What came of the turns of one server.
#[derive(Default)]
struct Turns {
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    processor: Duration,
}

impl Turns {
    /// One turn: every connection asks again as soon as it is answered.
    async fn take(&mut self, server: &Server, callers: Vec<Caller>, body: &Arc<Numbered>) -> Vec<Caller> {
        let (before, began) = (server.processor(), Instant::now());
        let until = began + TURN;
        let tasks: Vec<_> = callers
            .into_iter()
            .map(|mut caller| {
                let body = Arc::clone(body);
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    loop {
                        let asked = Instant::now();
                        if asked >= until {
                            return (caller, latencies);
                        }
                        let answer = caller.ask(&body.next()).await;
                        assert!(answer.windows(14).any(|part| part == br#""allowed":true"#));
                        latencies.push(asked.elapsed());
                    }
                })
            })
            .collect();
        let (mut callers, mut answered) = (Vec::new(), 0_u32);
        for task in tasks {
            let (caller, latencies) = task.await.unwrap();
            callers.push(caller);
            answered += u32::try_from(latencies.len()).unwrap();
            self.latencies.extend(latencies);
        }
        self.rates.push(f64::from(answered) / began.elapsed().as_secs_f64());
        self.processor += server.processor().saturating_sub(before);
        callers
    }

    fn row(&mut self) -> String {
        self.latencies.sort_unstable();
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        let at = |part: usize| self.latencies[self.latencies.len() * part / 100].as_micros();
        let each = self.processor.as_micros() / self.latencies.len() as u128;
        format!("{:.0} | {} µs | {} µs | {each} µs", rates[rates.len() / 2], at(50), at(99))
    }
}

/// A server in a process of its own.
struct Server {
    process: Child,
    address: SocketAddr,
    authority: PathBuf,
}

impl Server {
    /// `pullgate serve`, with the log at its default level, to a file. No cluster.
    fn pullgate(folder: &Path, policies: &str) -> Self {
        let config = folder.join("config.yaml");
        std::fs::write(&config, "network: {allow: [127.0.0.0/8]}\n").unwrap();
        let folder = folder.join(if policies.is_empty() { "pullgate" } else { "with-policies" });
        let (address, metrics) = (free_address(), free_address());
        // Another build, to compare the two.
        let program = std::env::var_os("PULLGATE_BENCH_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_pullgate").into());
        let mut command = Command::new(program);
        command
            .args(["serve", "--no-cluster", "--tls-dev", "--tls-dev-out"])
            .arg(&folder);
        command.args([
            "--listen",
            &address.to_string(),
            "--metrics-listen",
            &metrics.to_string(),
            "--config",
        ]);
        command.arg(config);
        if !policies.is_empty() {
            let files = folder.join("policies");
            std::fs::create_dir_all(&files).unwrap();
            std::fs::write(files.join("policies.yaml"), policies).unwrap();
            command.arg("--policies").arg(files);
        }
        Self::start(command, address, &folder)
    }

    fn empty(folder: &Path) -> Self {
        let (address, folder) = (free_address(), folder.join("empty"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["empty", &address.to_string()]).arg(&folder);
        Self::start(command, address, &folder)
    }

    fn start(mut command: Command, address: SocketAddr, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let authority = folder.join("ca.crt");
        let _ = std::fs::remove_file(&authority);
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let process = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self {
            process,
            address,
            authority,
        }
    }

    /// Connections that are kept.
    async fn connect(&self, many: usize) -> Vec<Caller> {
        let mut tcp = TcpStream::connect(self.address).await;
        while tcp.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            tcp = TcpStream::connect(self.address).await;
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority).unwrap()).unwrap();
        let config = Arc::new(
            rustls::ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth(),
        );
        let mut callers = Vec::new();
        for _ in 0..many {
            let tcp = TcpStream::connect(self.address).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let stream = TlsConnector::from(Arc::clone(&config)).connect(name, tcp).await.unwrap();
            callers.push(Caller {
                stream,
                buffer: Vec::new(),
            });
        }
        callers
    }

    /// Processor time so far.
    fn processor(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        // In hundredths of a second: USER_HZ.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Resident memory, in bytes.
    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kilobytes.and_then(|number| number.parse::<usize>().ok()).unwrap_or_default() << 10
    }
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

/// A connection, and what was read of it.
struct Caller {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Caller {
    /// Sends a review; its answer.
    async fn ask(&mut self, body: &[u8]) -> Vec<u8> {
        let mut request = format!(
            "POST /validate?timeout=10s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await.unwrap();
        self.buffer.clear();
        loop {
            if let Some(end) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[..end]).unwrap();
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.parse::<usize>().ok())?
                });
                let answer = end + 4..end + 4 + length.unwrap();
                while self.buffer.len() < answer.end {
                    self.more().await;
                }
                return self.buffer[answer].to_vec();
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        assert!(
            self.stream.read_buf(&mut self.buffer).await.unwrap() > 0,
            "the server hung up"
        );
    }
}

/// The least that an HTTPS server does: reads a request, and answers.
async fn empty_server(address: SocketAddr, folder: &Path) {
    let made = generate(&["localhost".to_owned()], Duration::from_hours(1)).unwrap();
    let certificate = Certificate::from_pem(made.certificate.as_bytes(), made.key.as_bytes(), Metrics::new()).unwrap();
    let acceptor = TlsAcceptor::from(certificate.server_config(None).unwrap());
    std::fs::write(folder.join("ca.crt"), &made.ca).unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    while let Ok((tcp, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            tcp.set_nodelay(true).unwrap();
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            let service = service_fn(|request: Request<Incoming>| async move {
                let _ = request.into_body().collect().await;
                let answer = Full::new(Bytes::from_static(EMPTY_ANSWER));
                Ok::<_, Infallible>(
                    Response::builder()
                        .header(header::CONTENT_TYPE, "application/json")
                        .body(answer)
                        .unwrap(),
                )
            });
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
