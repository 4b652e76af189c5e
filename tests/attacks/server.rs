//! The process, and what is asked of it.

use crate::confined::{Confined, most_resident};
use crate::ports;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Long enough for a busy machine and an unoptimised build.
const SOON: Duration = Duration::from_mins(2);

/// One policy in force: only images of registry.corp.example.
const OURS: &str = "apiVersion: pullgate.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {name: ours}\nspec: {registries: {allow: [\"registry.corp.example/**\"]}}\n";

/// `pullgate serve` with policies.
pub(crate) struct Server {
    process: Child,
    _confined: Confined,
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

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(OURS).await
    }

    pub(crate) async fn with(policies_text: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        std::fs::write(policies.join("ours.yaml"), policies_text).unwrap();
        let (address, plain) = (ports::free(), ports::free());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_pullgate"))
            // An unoptimised build on a busy machine: what counts is memory, and that everybody is answered.
            .args(["serve", "--no-cluster", "--deadline", "50s", "--tls-dev", "--tls-dev-out"])
            .arg(folder.path())
            .args(["--listen", &address.to_string(), "--metrics-listen", &plain.to_string()])
            .arg("--policies")
            .arg(&policies)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let confined = Confined::new(process.id());
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
            _confined: confined,
            address,
            plain,
            folder,
            config: Arc::new(config),
        }
    }

    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await.unwrap()
    }

    /// Sends a review whole; the response of the answer.
    pub(crate) async fn ask(&self, body: &[u8]) -> Value {
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
    pub(crate) fn peak(&self) -> usize {
        most_resident(self.process.id())
    }

    /// Processor time so far (fields 14 and 15 of `proc_pid_stat(5)`, in hundredths of a second).
    pub(crate) fn processor(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    pub(crate) async fn metrics(&self) -> String {
        get(self.plain, "/metrics").await
    }

    /// What a kubelet does meanwhile.
    pub(crate) async fn probes(&self) -> Probes {
        let mut idle = Duration::ZERO;
        for _ in 0..50 {
            idle = idle.max(probe(self.plain).await);
        }
        let over = Arc::new(AtomicBool::new(false));
        let (plain, until) = (self.plain, Arc::clone(&over));
        let task = tokio::spawn(async move {
            let mut all = Vec::new();
            while !until.load(Ordering::Relaxed) {
                all.push(probe(plain).await);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            all
        });
        Probes { idle, over, task }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// Probes of `/healthz` during an attack.
pub(crate) struct Probes {
    /// The longest of fifty before it.
    idle: Duration,
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Probes {
    /// No probe may wait behind what is done meanwhile: each is answered sooner than the attack took, whatever else this machine does.
    #[expect(clippy::print_stdout, reason = "for whoever reads a test that failed")]
    pub(crate) async fn held(self, attack: Duration) {
        self.over.store(true, Ordering::Relaxed);
        let mut all = self.task.await.unwrap();
        all.sort_unstable();
        let (middle, worst) = (all[all.len() / 2], all[all.len() - 1]);
        println!(
            "{} probes in {attack:?}: half of them within {middle:?}, all within {worst:?}; idle: {:?}",
            all.len(),
            self.idle
        );
        assert!(
            middle <= 10 * self.idle.max(Duration::from_millis(10)),
            "{middle:?} after {:?}",
            self.idle
        );
        // A kubelet waits for one second by default, and gives up after three in a row (docs/operations.md).
        assert!(worst < attack.max(20 * self.idle), "{worst:?} of {attack:?}");
    }
}

async fn probe(address: SocketAddr) -> Duration {
    let began = std::time::Instant::now();
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    began.elapsed()
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

pub(crate) fn head(length: usize) -> Vec<u8> {
    format!("POST /validate?timeout=60s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}
