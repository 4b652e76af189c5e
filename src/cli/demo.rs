//! `pullgate demo`: the gate, a sample registry and real AdmissionReviews over TLS, in one process, without a network or a cluster.

mod cases;
mod registry;

use super::{engine, print};
use crate::cluster::{Cluster, Completeness, Directory, EventRecorder};
use crate::config::{Frontend, Live, PolicyStore, Settings};
use crate::engine::Gate;
use crate::net::Cidr;
use crate::plan::Admission;
use crate::server::tls::{self, Certificate};
use crate::server::{Limits, Options, Readiness, Server, reviewer};
use crate::telemetry::Metrics;
use anyhow::Context as _;
use cases::DemoCase;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

/// The time limit of one review.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// How long the throwaway certificate is valid.
const LIFETIME: Duration = Duration::from_hours(24);

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep pullgate and the sample registry running, and print a curl command to try
    #[arg(long, env = "PULLGATE_KEEP", value_parser = clap::builder::FalseyValueParser::new())]
    keep: bool,
}

/// Runs the command.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { keep } = args;
    let began = Instant::now();
    // The gate backs off from a registry that throttles: this one gets its own port, so that the other is still asked.
    let (sample, busy) = (registry().await?, registry().await?);
    let closed = closed_port()?;
    let held = closed.local_addr()?.to_string();
    let stage = Stage::open(&sample).await?;

    print(&format!(
        "A sample registry listens on {sample}, pullgate on {}. Each review below went over TLS.\n\n",
        stage.address
    ))?;
    let mut rows = Vec::new();
    for case in cases::all(&sample, &busy, &held) {
        let response = stage.ask(&case).await?;
        print(&as_kubectl_prints(&case, &response))?;
        rows.push(row(&case, &response));
    }
    print(&table(&rows))?;
    print(&format!(
        "\n{} reviews in {:.1} s\n",
        rows.len(),
        began.elapsed().as_secs_f64()
    ))?;
    if keep {
        stage.keep(&sample).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn registry() -> anyhow::Result<String> {
    let address = registry::start()
        .await
        .context("the sample registry cannot listen on 127.0.0.1")?;
    Ok(address.to_string())
}

/// A local port that nothing listens on: the socket is bound, which reserves the port as long as it is held.
fn closed_port() -> anyhow::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).context("no free port on 127.0.0.1")?;
    Ok(socket)
}

/// The real server, and a client that trusts its throwaway certificate.
struct Stage {
    address: SocketAddr,
    authority: String,
    client: reqwest::Client,
}

impl Stage {
    async fn open(sample: &str) -> anyhow::Result<Self> {
        let settings = Settings {
            network_allow: vec![Cidr {
                address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
                prefix: 8,
            }],
            ..Settings::default()
        };
        let metrics = Metrics::new();
        let objects = cases::cluster(sample);
        let directory = Directory::from_objects(objects.iter(), Completeness::Complete);
        let engine = engine::build(&settings, Frontend::Serve, Admission::HasRun, &metrics)?;
        let gate = Gate::new(Live::new(engine), PolicyStore::default(), Cluster::from(directory));
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let generated = tls::generate(&names, LIFETIME)?;
        let certificate = Certificate::from_pem(generated.certificate.as_bytes(), generated.key.as_bytes(), metrics.clone())?;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = Options {
            listen: here,
            metrics_listen: here,
            certificate,
            clients: None,
            readiness: Readiness::default(),
            metrics: metrics.clone(),
            limits: Limits::default(),
        };
        let server = Server::bind(options, reviewer(gate, metrics, EventRecorder::default(), TIME_LIMIT)).await?;
        let address = server.webhook_address();
        tokio::spawn(server.run(std::future::pending()));
        let root = reqwest::Certificate::from_pem(generated.ca.as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build()?;
        Ok(Self {
            address,
            authority: generated.ca,
            client,
        })
    }

    async fn ask(&self, case: &DemoCase) -> anyhow::Result<Value> {
        let url = format!("https://{}/validate?timeout=5s", self.address);
        let review = review(case).to_string();
        let answer = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .body(review)
            .send()
            .await?;
        let body: Value = serde_json::from_slice(&answer.bytes().await?).context("pullgate's answer is not JSON")?;
        Ok(body.get("response").cloned().unwrap_or(Value::Null))
    }

    /// Prints how to send a request, then waits for Ctrl-C.
    async fn keep(&self, sample: &str) -> anyhow::Result<()> {
        let folder = std::env::temp_dir().join(format!("pullgate-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let authority = folder.join("ca.crt");
        let body = folder.join("review.json");
        std::fs::write(&authority, &self.authority)?;
        let case = cases::all(sample, sample, sample)
            .into_iter()
            .find(|case| case.title == "wrong tag");
        if let Some(case) = case {
            std::fs::write(&body, serde_json::to_vec_pretty(&review(&case))?)?;
        }
        print(&format!(
            "\nStill running. Try this (and edit the image in the file):\n  curl --cacert {} --json @{} https://{}/validate\nCtrl-C ends it.\n",
            authority.display(),
            body.display(),
            self.address
        ))?;
        tokio::signal::ctrl_c().await?;
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }
}

/// The review that the API server would send.
fn review(case: &DemoCase) -> Value {
    let api_version = text(&case.object, "/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let kind = text(&case.object, "/kind");
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": format!("demo-{}", case.title.replace(' ', "-")),
            "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": format!("{}s", kind.to_lowercase())},
            "namespace": text(&case.object, "/metadata/namespace"),
            "name": text(&case.object, "/metadata/name"),
            "operation": if case.old.is_some() { "UPDATE" } else { "CREATE" },
            "userInfo": {"username": "demo"},
            "object": case.object,
            "oldObject": case.old,
            "dryRun": false,
        },
    })
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What `kubectl apply -f FILE` would print.
fn as_kubectl_prints(case: &DemoCase, response: &Value) -> String {
    let name = text(&case.object, "/metadata/name");
    let what = match text(&case.object, "/kind").as_str() {
        "Deployment" => format!("deployment.apps/{name}"),
        other => format!("{}/{name}", other.to_lowercase()),
    };
    let mut out = format!("# {}\n$ kubectl apply -f {name}.yaml\n", case.title);
    for warning in response.pointer("/warnings").and_then(Value::as_array).into_iter().flatten() {
        let _ = writeln!(out, "Warning: {}", warning.as_str().unwrap_or_default());
    }
    if response.pointer("/allowed").and_then(Value::as_bool) == Some(true) {
        let done = if case.old.is_some() { "configured" } else { "created" };
        let _ = writeln!(out, "{what} {done}");
    } else {
        let _ = writeln!(
            out,
            "Error from server (Forbidden): error when creating \"{name}.yaml\": admission webhook \"images.pullgate.dev\" denied the request: {}",
            text(response, "/status/message")
        );
    }
    out.push('\n');
    out
}

/// Case, verdict, causes.
fn row(case: &DemoCase, response: &Value) -> [String; 3] {
    let verdict = text(response, "/auditAnnotations/verdict");
    let causes = text(response, "/auditAnnotations/causes");
    let causes = if causes.is_empty() {
        text(response, "/auditAnnotations/skipped")
    } else {
        causes
    };
    [case.title.to_owned(), verdict, causes]
}

fn table(rows: &[[String; 3]]) -> String {
    let head = ["case".to_owned(), "verdict".to_owned(), "causes".to_owned()];
    let width = |column: usize| {
        rows.iter()
            .chain([&head])
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    let mut out = String::new();
    for [case, verdict, causes] in [&head].into_iter().chain(rows) {
        let line = format!("{case:first$}  {verdict:second$}  {causes}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}
