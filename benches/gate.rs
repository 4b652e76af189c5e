//! What the gate costs, side by side: `cargo bench`. Every measurement is a pair that runs in turns, so that what else the machine does
//! meets both; what counts is the ratio. Nothing here passes or fails. What came out, and how to read it: docs/benchmarks.md.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program of measurements, for people")]

mod common;

use axum::body::Bytes;
use common::{CountingRegistry, deployment};
use pullgate::cluster::{Cluster, EventRecorder};
use pullgate::config::{Frontend, Live, PolicyStore, Settings};
use pullgate::engine::LookUps;
use pullgate::engine::{Engine, Gate};
use pullgate::plan::{self, Admission};
use pullgate::providers::Providers;
use pullgate::review;
use pullgate::server::tls::{Certificate, generate};
use pullgate::server::{Limits, Options, Readiness, Reply, Reviewer, Sent, Server, reviewer};
use pullgate::telemetry::Metrics;
use pullgate::workload::{Kinds, extract};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Reviews at once of the same new image.
const TENANTS: usize = 50;
/// The same without connections in between.
const CROWD: usize = 1000;

#[tokio::main]
async fn main() {
    // `cargo test --all-targets` starts benchmarks, too; they are no tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    // The line about each review is part of what a review costs; where it goes is not.
    tracing_subscriber::fmt().json().with_writer(std::io::sink).init();
    let registry = CountingRegistry::start().await;
    let reviewer = gate();
    let gate = Webhook::start(Arc::clone(&reviewer)).await;
    let allow = Webhook::start(allow_all()).await;
    let (mut to_gate, mut to_allow) = (gate.connect().await, allow.connect().await);
    let images = Images::new(registry.address);

    println!("| measured | against | ratio of medians | middle half of the pairs | medians |");
    println!("|---|---|---|---|---|");

    let one = deployment(&images.known(1));
    to_gate.ask(&one).await;
    let mut pairs = Pairs::default();
    for turn in 0..1000 {
        // Who begins changes, too.
        if turn % 2 == 0 {
            let ours = to_gate.timed(&one).await;
            pairs.add(ours, to_allow.timed(&one).await);
        } else {
            let theirs = to_allow.timed(&one).await;
            pairs.add(to_gate.timed(&one).await, theirs);
        }
    }
    pairs.print("a review over HTTPS, image in the cache", "a webhook that reads and allows");

    let mut pairs = Pairs::default();
    for _ in 0..300 {
        let cold = to_gate.timed(&deployment(&images.new_one())).await;
        pairs.add(cold, to_gate.timed(&one).await);
    }
    pairs.print("image unknown, registry on loopback asked", "image in the cache");

    for many in [10, 100] {
        let object = deployment(&images.known(many));
        to_gate.ask(&object).await;
        let (mut pairs, mut against_allow) = (Pairs::default(), Pairs::default());
        for _ in 0..200 {
            let took = to_gate.timed(&object).await;
            pairs.add(took, to_gate.timed(&one).await);
            against_allow.add(took, to_allow.timed(&object).await);
        }
        pairs.print(&format!("{many} containers, images in the cache"), "1 container");
        against_allow.print(
            &format!("{many} containers, images in the cache"),
            "a webhook that reads and allows",
        );
    }

    for many in [1, 100] {
        let body = deployment(&images.known(many));
        let kinds = Kinds::default();
        let mut pairs = Pairs::default();
        for _ in 0..500 {
            let ours = of(|| {
                let review = review::parse(body.as_bytes(), &kinds).unwrap();
                black_box(extract(&review.object, None, &review.namespace, &kinds).unwrap());
            });
            let theirs = of(|| {
                black_box(serde_json::from_slice::<Value>(body.as_bytes()).unwrap());
            });
            pairs.add(ours, theirs);
        }
        let what = format!("reading {} KiB to images (containers: {many})", body.len() >> 10);
        pairs.print(&what, "`serde_json::Value` of the same bytes");
    }

    let mut callers = Vec::new();
    for _ in 0..TENANTS {
        callers.push(gate.connect().await);
    }
    let (mut same, mut other) = (0, 0);
    let mut pairs = Pairs::default();
    for _ in 0..20 {
        let image = images.new_one();
        let (together, requests) = registry.during(burst(&mut callers, |_| deployment(&image))).await;
        same += requests;
        let (apart, requests) = registry.during(burst(&mut callers, |_| deployment(&images.new_one()))).await;
        other += requests;
        pairs.add(together, apart);
    }
    pairs.print(
        &format!("{TENANTS} reviews at once, one new image"),
        &format!("{TENANTS} reviews at once, {TENANTS} new images"),
    );
    println!();
    println!(
        "Requests that reached the registry in {TENANTS} reviews at once: {} : {}",
        same / 20,
        other / 20
    );
    let body = Bytes::from(deployment(&images.new_one()));
    let (took, requests) = registry
        .during(async {
            let began = Instant::now();
            let crowd = (0..CROWD).map(|_| reviewer(Sent::Whole(body.clone()), None));
            futures_util::future::join_all(crowd).await;
            began.elapsed()
        })
        .await;
    println!(
        "Requests that reached the registry in {CROWD} reviews of one new image at once: {requests}, in {} ms",
        took.as_millis()
    );
}

/// The time of one call.
fn of(call: impl Fn()) -> Duration {
    let began = Instant::now();
    call();
    began.elapsed()
}

/// All at once, each on its own connection; how long until the last is answered.
async fn burst(callers: &mut [Caller], body: impl Fn(usize) -> String) -> Duration {
    let bodies: Vec<String> = (0..callers.len()).map(body).collect();
    let began = Instant::now();
    let asked = callers.iter_mut().zip(&bodies).map(|(caller, body)| caller.ask(body));
    futures_util::future::join_all(asked).await;
    began.elapsed()
}

/// Two times that were taken one after the other.
#[derive(Default)]
struct Pairs(Vec<(Duration, Duration)>);

impl Pairs {
    fn add(&mut self, one: Duration, other: Duration) {
        self.0.push((one, other));
    }

    fn print(&self, one: &str, other: &str) {
        let at = |mut all: Vec<f64>, part: f64| {
            all.sort_by(f64::total_cmp);
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place in a short list"
            )]
            let place = (all.len() as f64 * part) as usize;
            all[place.min(all.len() - 1)]
        };
        let micros = |duration: &Duration| duration.as_secs_f64() * 1e6;
        let ones: Vec<f64> = self.0.iter().map(|(one, _)| micros(one)).collect();
        let others: Vec<f64> = self.0.iter().map(|(_, other)| micros(other)).collect();
        let ratios: Vec<f64> = self.0.iter().map(|(one, other)| micros(one) / micros(other)).collect();
        let (one_median, other_median) = (at(ones, 0.5), at(others, 0.5));
        println!(
            "| {one} | {other} | {:.2} | {:.2} to {:.2} | {one_median:.0} : {other_median:.0} µs |",
            one_median / other_median,
            at(ratios.clone(), 0.25),
            at(ratios, 0.75)
        );
    }
}

/// What the webhook does, with the gate behind it; no cluster.
fn gate() -> Reviewer {
    let metrics = Metrics::new();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-config.yaml");
    std::fs::write(&file, "network: {allow: [127.0.0.0/8]}\n").unwrap();
    let settings = Settings::read(&file).unwrap();
    let engine = Engine {
        registry: LookUps::new(settings.registry(Frontend::Serve), metrics.clone()).unwrap(),
        settings: plan::PlanSettings {
            node_credentials: settings.node_credentials.iter().collect(),
            depth: settings.depth,
            ..plan::PlanSettings::bare(Admission::HasRun)
        },
        providers: Providers::default(),
    };
    let gate = Gate::new(Live::new(engine), PolicyStore::default(), Cluster::Absent);
    reviewer(gate, metrics, EventRecorder::default(), Duration::from_secs(8))
}

/// The least that a webhook can do: read the review, and allow.
fn allow_all() -> Reviewer {
    Arc::new(|sent, _| {
        Box::pin(async move {
            let (Sent::Whole(body) | Sent::Beginning(body)) = sent;
            let review: Value = serde_json::from_slice(&body).unwrap();
            let response = json!({"uid": review["request"]["uid"], "allowed": true});
            let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
            Reply {
                status: http::StatusCode::OK,
                content_type: "application/json",
                body: answer.to_string().into_bytes(),
            }
        })
    })
}

/// The webhook port of a server in this process.
struct Webhook {
    address: SocketAddr,
    ca: String,
}

impl Webhook {
    async fn start(reviewer: Reviewer) -> Self {
        let made = generate(&["localhost".to_owned()], Duration::from_hours(1)).unwrap();
        let metrics = Metrics::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options {
            listen: any,
            metrics_listen: any,
            certificate: Certificate::from_pem(made.certificate.as_bytes(), made.key.as_bytes(), metrics.clone()).unwrap(),
            clients: None,
            readiness: Readiness::default(),
            metrics,
            limits: Limits::default(),
        };
        let server = Server::bind(options, reviewer).await.unwrap();
        let address = server.webhook_address();
        tokio::spawn(server.run(std::future::pending()));
        Self { address, ca: made.ca }
    }

    /// A connection that is kept, as the API server keeps its own.
    async fn connect(&self) -> Caller {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap())
            .unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        Caller(BufReader::new(stream))
    }
}

struct Caller(BufReader<TlsStream<TcpStream>>);

impl Caller {
    async fn timed(&mut self, body: &str) -> Duration {
        let began = Instant::now();
        self.ask(body).await;
        began.elapsed()
    }

    /// One review, which must be allowed without a warning: what fails costs something else.
    async fn ask(&mut self, body: &str) {
        let head = format!(
            "POST /validate?timeout=10s HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
        let (mut length, mut line) = (0, String::new());
        while line.trim_end() != "" || line.is_empty() {
            line.clear();
            self.0.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim_end().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let response = &answer["response"];
        assert!(response["allowed"] == true && response.get("warnings").is_none(), "{answer}");
    }
}

/// Names of images at one registry.
struct Images {
    registry: SocketAddr,
    next: AtomicUsize,
}

impl Images {
    fn new(registry: SocketAddr) -> Self {
        Self {
            registry,
            next: AtomicUsize::new(0),
        }
    }

    /// The same ones every time.
    fn known(&self, many: usize) -> Vec<String> {
        (0..many).map(|at| format!("{}/team/known-{at}:v1", self.registry)).collect()
    }

    /// One that nobody has asked for.
    fn new_one(&self) -> Vec<String> {
        vec![format!(
            "{}/team/new-{}:v1",
            self.registry,
            self.next.fetch_add(1, Ordering::Relaxed)
        )]
    }
}
