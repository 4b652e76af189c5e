//! Small servers of our own that answer as they are told: wrong, slowly, or not at all. They remember who asked for what.
//!
//! Plain HTTP/1.1 over TCP, or over TLS with a certificate from a throw-away CA; one request a connection.
#![allow(dead_code, reason = "each test target uses its own part")]
#![allow(
    clippy::expect_used,
    clippy::format_push_string,
    reason = "a test that cannot start its server must fail"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// `HEAD /v2/…`
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How an answer is written.
#[derive(Debug, Clone)]
pub enum Manner {
    /// At once.
    Whole,
    /// The body a byte at a time, with a pause after each.
    Dribble(Duration),
    /// The headers announce the whole body, the connection closes after so many bytes of it.
    Cut(usize),
    /// After a pause.
    After(Duration),
    /// Once this says so.
    When(watch::Receiver<bool>),
    /// The head at once, then a body of what comes, until its sender is gone.
    Stream(Arc<tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>>),
    /// Never; the connection stays open.
    Silence,
    /// The connection closes without an answer.
    Hangup,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub manner: Manner,
    /// Whether to leave out `Content-Length`.
    pub unmeasured: bool,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            manner: Manner::Whole,
            unmeasured: false,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn json(self, text: &str) -> Self {
        self.header("Content-Type", "application/json").body(text)
    }

    pub fn manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// Without `Content-Length`: the end of the body is the end of the connection.
    pub fn unmeasured(mut self) -> Self {
        self.unmeasured = true;
        self
    }
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A server that is running; it stops when dropped.
pub struct Faulty {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faulty {
    /// Plain HTTP on a free loopback port.
    pub async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(None, Arc::new(script)).await
    }

    /// HTTPS on a free loopback port.
    pub async fn start_tls(tls: &Tls, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(Some(tls.acceptor()), Arc::new(script)).await
    }

    /// HTTPS on a free loopback port, for clients whose certificate comes from the same CA.
    pub async fn start_mutual(tls: &Tls, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(Some(tls.mutual()), Arc::new(script)).await
    }

    async fn run(tls: Option<tokio_rustls::TlsAcceptor>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Connections end with the server.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (tls, script, log) = (tls.clone(), Arc::clone(&script), Arc::clone(&log));
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &*script, &log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*script, &log).await;
                            }
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, seen, task }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic while held").clone()
    }

    /// `HEAD /v2/…` of what was asked so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// Forgets what was asked so far.
    pub fn forget(&self) {
        self.seen.lock().expect("no panic while held").clear();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, script: &Script, log: &Mutex<Vec<Seen>>) {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    let head_end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end;
        }
        // Not HTTP (a TLS hello): say so, as servers do.
        if bytes.first().is_some_and(|b| !b.is_ascii_uppercase()) {
            let _ = stream
                .write_all(b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n")
                .await;
            let _ = stream.shutdown().await;
            return;
        }
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse::<usize>().ok())
        .unwrap_or(0);
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => body.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    }
    let request = Seen {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let reply = script(&request);
    let is_head = request.method == "HEAD";
    log.lock().expect("no panic while held").push(request);
    write(&mut stream, reply, is_head).await;
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, mut reply: Reply, is_head: bool) {
    match &mut reply.manner {
        Manner::Silence => return tokio::time::sleep(Duration::from_hours(1)).await,
        Manner::Hangup => {
            let _ = stream.shutdown().await;
            return;
        }
        Manner::After(pause) => tokio::time::sleep(*pause).await,
        Manner::When(told) => drop(told.wait_for(|now| *now).await),
        Manner::Whole | Manner::Dribble(_) | Manner::Cut(_) | Manner::Stream(_) => {}
    }
    let known = http::StatusCode::from_u16(reply.status).ok();
    let reason = known.and_then(|status| status.canonical_reason()).unwrap_or("Scripted");
    let mut head = format!("HTTP/1.1 {} {reason}\r\nConnection: close\r\n", reply.status);
    let measured = reply
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !measured && !reply.unmeasured {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    if !is_head {
        match reply.manner {
            Manner::Dribble(pause) => {
                for byte in &reply.body {
                    let sent = stream.write_all(&[*byte]).await.is_ok() && stream.flush().await.is_ok();
                    if !sent {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
            Manner::Stream(parts) => {
                let mut parts = parts.lock().await;
                while let Some(part) = parts.recv().await {
                    let sent = stream.write_all(&part).await.is_ok() && stream.flush().await.is_ok();
                    if !sent {
                        return;
                    }
                }
            }
            Manner::Cut(length) => {
                let _ = stream.write_all(&reply.body[..length.min(reply.body.len())]).await;
            }
            Manner::Whole | Manner::After(_) | Manner::When(_) | Manner::Silence | Manner::Hangup => {
                let _ = stream.write_all(&reply.body).await;
            }
        }
    }
    let _ = stream.flush().await;
    let _ = stream.shutdown().await;
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A throw-away CA and a certificate from it.
pub struct Tls {
    /// The CA, PEM.
    pub ca: String,
    /// The certificate, PEM.
    pub cert: String,
    /// Its key, PEM.
    pub key: String,
}

/// Whether a certificate is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Good,
    Expired,
}

impl Tls {
    /// For DNS names and addresses.
    pub fn new(names: &[&str], validity: Validity) -> Self {
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("CA parameters");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "pullgate test CA");
        let ca_cert = ca.self_signed(&ca_key).expect("a CA");
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("certificate parameters");
        if validity == Validity::Expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let cert = params.signed_by(&key, &issuer).expect("a certificate");
        Self {
            ca: ca_cert.pem(),
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    /// One certificate that is its own CA, as `openssl req -x509` makes it.
    pub fn of_itself(names: &[&str], validity: Validity) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("certificate parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        if validity == Validity::Expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let cert = params.self_signed(&key).expect("a certificate").pem();
        Self {
            ca: cert.clone(),
            cert,
            key: key.serialize_pem(),
        }
    }

    fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.accepting(rustls::server::WebPkiClientVerifier::no_client_auth())
    }

    fn mutual(&self) -> tokio_rustls::TlsAcceptor {
        use rustls_pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        let ca = rustls_pki_types::CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("our own CA");
        roots.add(ca).expect("our own CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        self.accepting(verifier)
    }

    fn accepting(&self, verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>) -> tokio_rustls::TlsAcceptor {
        use rustls_pki_types::pem::PemObject;
        let certs = rustls_pki_types::CertificateDer::pem_slice_iter(self.cert.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .expect("our own certificate");
        let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("our own key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(certs, key)
            .expect("certificate and key go together");
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    }
}
