//! A server in this process, and a client that shows every byte.

use pullgate::server::tls::{Certificate, Clients, Generated, generate};
use pullgate::server::{Ended, Limits, Options, Readiness, Reply, Reviewer, Sent, Server};
use pullgate::telemetry::Metrics;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Long enough for a busy machine, short enough to notice a hang.
pub(crate) const SOON: Duration = Duration::from_mins(1);

pub(crate) fn made() -> Generated {
    generate(&["localhost".to_owned(), "127.0.0.1".to_owned()], Duration::from_hours(1)).unwrap()
}

/// Limits that are met by no machine, however busy: whatever happens before [`SOON`] is by the one that a test makes shorter.
pub(crate) fn limits() -> Limits {
    const LONG: Duration = Duration::from_mins(10);
    Limits {
        handshake: LONG,
        first_byte: LONG,
        head: LONG,
        idle: LONG,
        body: LONG,
        answer: LONG,
        write: LONG,
        drain_delay: Duration::ZERO,
        drain: LONG,
        ..Limits::default()
    }
}

/// What a test and the reviewer of its server tell each other.
#[derive(Default)]
pub(crate) struct Stage {
    /// Reviews that have begun.
    pub(crate) begun: AtomicUsize,
    /// Lets one review that waits go on.
    go: Notify,
    /// Held by whoever wants reviews to keep their threads.
    pub(crate) threads: std::sync::Mutex<()>,
}

/// Does what the body says.
fn scripted(stage: Arc<Stage>) -> Reviewer {
    Arc::new(move |sent, timeout| {
        let stage = Arc::clone(&stage);
        Box::pin(async move {
            stage.begun.fetch_add(1, Ordering::Relaxed);
            let (body, whole) = match sent {
                Sent::Whole(body) => (body, ""),
                Sent::Beginning(body) => (body, " at first"),
            };
            let script = String::from_utf8_lossy(&body).into_owned();
            let said = match script.split_once(' ').unwrap_or((&script, "")) {
                ("panic", _) => panic!("told to"),
                ("sleep", millis) => {
                    tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
                    "slept".to_owned()
                }
                ("wait", _) => {
                    stage.go.notified().await;
                    "waited".to_owned()
                }
                ("block", _) => {
                    drop(stage.threads.lock());
                    "blocked".to_owned()
                }
                ("say", bytes) => "x".repeat(bytes.parse().unwrap()),
                ("timeout", _) => format!("{timeout:?}"),
                _ => format!("{} bytes{whole}", body.len()),
            };
            Reply {
                status: http::StatusCode::OK,
                content_type: "application/json",
                body: said.into_bytes(),
            }
        })
    })
}

/// A server that runs in this process.
pub(crate) struct Running {
    pub(crate) webhook: SocketAddr,
    pub(crate) plain: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) ca: String,
    pub(crate) stage: Arc<Stage>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Ended>,
}

impl Running {
    pub(crate) async fn start(limits: Limits) -> Self {
        let made = made();
        let metrics = Metrics::new();
        let certificate = Certificate::from_pem(made.certificate.as_bytes(), made.key.as_bytes(), metrics.clone()).unwrap();
        Self::with(limits, certificate, metrics, made.ca, Readiness::default()).await
    }

    /// Lets in only who has a certificate of the CAs in `file`, which is watched.
    pub(crate) async fn for_clients(file: &Path) -> Self {
        let made = made();
        let metrics = Metrics::new();
        let certificate = Certificate::from_pem(made.certificate.as_bytes(), made.key.as_bytes(), metrics.clone()).unwrap();
        let clients = Clients::from_file(file, metrics.clone()).await.unwrap();
        tokio::spawn(clients.clone().watch(file.to_owned()));
        Self::serve(limits(), certificate, Some(clients), metrics, made.ca, Readiness::default()).await
    }

    pub(crate) async fn with(limits: Limits, certificate: Certificate, metrics: Metrics, ca: String, readiness: Readiness) -> Self {
        Self::serve(limits, certificate, None, metrics, ca, readiness).await
    }

    async fn serve(
        limits: Limits,
        certificate: Certificate,
        clients: Option<Clients>,
        metrics: Metrics,
        ca: String,
        readiness: Readiness,
    ) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options {
            listen: any,
            metrics_listen: any,
            certificate,
            clients,
            readiness,
            metrics: metrics.clone(),
            limits,
        };
        let stage = Arc::<Stage>::default();
        let server = Server::bind(options, scripted(Arc::clone(&stage))).await.unwrap();
        let (webhook, plain) = (server.webhook_address(), server.metrics_address());
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self {
            webhook,
            plain,
            metrics,
            ca,
            stage,
            stop: Some(stop),
            ended,
        }
    }

    /// Waits until so many reviews have begun.
    pub(crate) async fn begun(&self, reviews: usize) {
        until("the reviews have begun", async || {
            self.stage.begun.load(Ordering::Relaxed) >= reviews
        })
        .await;
    }

    /// One review that waits goes on.
    pub(crate) fn go(&self) {
        self.stage.go.notify_one();
    }

    /// What a signal does.
    pub(crate) fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn ended(self) -> Ended {
        tokio::time::timeout(SOON, self.ended)
            .await
            .expect("the server ends")
            .unwrap()
    }

    pub(crate) async fn tls(&self) -> TlsStream<TcpStream> {
        connect(self.webhook, &self.ca).await.unwrap()
    }

    /// One POST on a connection of its own.
    pub(crate) async fn post(&self, target: &str, body: &str) -> Answer {
        let mut stream = self.tls().await;
        post(&mut stream, target, body).await
    }

    /// One GET on the plain port.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(self.plain, path).await
    }

    /// The value of a metric's line, 0 when it is not there.
    pub(crate) fn count(&self, line: &str) -> u64 {
        let text = self.metrics.encode();
        text.lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or(0)
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    Answer::read(&mut stream).await
}

pub(crate) async fn connect(address: SocketAddr, ca: &str) -> std::io::Result<TlsStream<TcpStream>> {
    connect_as(address, ca, None).await
}

/// With a client's certificate and key (PEM).
pub(crate) async fn connect_as(
    address: SocketAddr,
    ca: &str,
    client: Option<(&str, &str)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    handshake(TcpStream::connect(address).await?, ca, client).await
}

/// On a connection that is there.
pub(crate) async fn secured(tcp: TcpStream, ca: &str) -> std::io::Result<TlsStream<TcpStream>> {
    handshake(tcp, ca, None).await
}

async fn handshake(tcp: TcpStream, ca: &str, client: Option<(&str, &str)>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    // As a client that would rather speak HTTP/2.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), tcp)
        .await
}

pub(crate) fn head(target: &str, rest: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{rest}\r\n").into_bytes()
}

pub(crate) async fn post<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, target: &str, body: &str) -> Answer {
    let mut bytes = head(target, &format!("Content-Length: {}\r\n", body.len()));
    bytes.extend_from_slice(body.as_bytes());
    say(stream, &bytes).await;
    Answer::read(stream).await
}

/// Sends all of it. What TLS has encrypted stays with it while the socket is full, and reading does not send it.
pub(crate) async fn say<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Reads one answer with a Content-Length.
    pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Self {
        tokio::time::timeout(SOON, Self::try_read(stream))
            .await
            .expect("an answer in time")
            .expect("an answer")
    }

    pub(crate) async fn try_read<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .expect("a length")
            .parse()
            .unwrap();
        let mut body = bytes.split_off(end + 4);
        while body.len() < length {
            if stream.read_buf(&mut body).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Self {
            status,
            head,
            body: String::from_utf8(body).unwrap(),
        })
    }
}

/// Waits until the peer closes (or resets) the connection; what it sent before is thrown away.
pub(crate) async fn closes<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut sink = Vec::new();
    tokio::time::timeout(SOON, async {
        while stream.read_buf(&mut sink).await.is_ok_and(|n| n > 0) {
            sink.clear();
        }
    })
    .await
    .expect("the server closes the connection");
}

/// Lets this much time pass on a paused clock, which moves on only when every task of the test and of its server waits.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::sleep(time).await;
    tokio::time::resume();
}

/// Polls until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < end, "not in {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a file in one step: who reads it meanwhile sees the old text or the new one.
pub(crate) fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}
