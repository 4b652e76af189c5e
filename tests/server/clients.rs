//! Where only the API server may connect: `--tls-client-ca`.

use crate::support::{Answer, Running, connect, connect_as, post, until};
use pullgate::server::tls::Clients;
use pullgate::telemetry::Metrics;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use std::io;
use tokio_rustls::client::TlsStream;

/// A CA of clients.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is good for.
#[derive(Clone, Copy)]
enum Kind {
    Client,
    Server,
    Ended,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        // Told apart by their keys only, as CAs that are renewed are.
        params.distinguished_name.push(DnType::CommonName, "clients");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key.
    fn sign(&self, kind: Kind) -> (String, String) {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "apiserver");
        params.extended_key_usages = vec![match kind {
            Kind::Client | Kind::Ended => ExtendedKeyUsagePurpose::ClientAuth,
            Kind::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        if matches!(kind, Kind::Ended) {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

async fn open(server: &Running, client: Option<&(String, String)>) -> io::Result<TlsStream<tokio::net::TcpStream>> {
    let client = client.map(|(certificate, key)| (certificate.as_str(), key.as_str()));
    connect_as(server.webhook, &server.ca, client).await
}

/// Whether a review is answered. By TLS 1.3 a client learns only from its first read that it was refused.
async fn is_answered(server: &Running, client: Option<&(String, String)>) -> bool {
    use tokio::io::AsyncWriteExt as _;
    let Ok(mut stream) = open(server, client).await else {
        return false;
    };
    let request = b"POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    stream.write_all(request).await.is_ok() && Answer::try_read(&mut stream).await.is_ok_and(|answer| answer.status == 200)
}

#[tokio::test]
async fn only_clients_of_the_ca_get_past_the_handshake() {
    let (ours, other) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    std::fs::write(&file, &ours.pem).unwrap();
    let server = Running::for_clients(&file).await;
    let refused = || server.count("pullgate_connection_ends_total{reason=\"client_refused\"}");

    assert!(is_answered(&server, Some(&ours.sign(Kind::Client))).await);
    assert_eq!(refused(), 0);
    for (which, client) in [
        ("none", None),
        ("of another CA of the same name", Some(other.sign(Kind::Client))),
        ("of a server", Some(ours.sign(Kind::Server))),
        ("that has ended", Some(ours.sign(Kind::Ended))),
    ] {
        let before = refused();
        assert!(!is_answered(&server, client.as_ref()).await, "a certificate: {which}");
        until(which, async || refused() == before + 1).await;
    }
    // What is said of the port's own certificate stays apart.
    assert!(connect(server.webhook, &other.pem).await.is_err());
    until("distrust is no refusal", async || {
        server.count("pullgate_connection_ends_total{reason=\"handshake_failed\"}") == 1
    })
    .await;
    assert_eq!(
        server.count("pullgate_responses_total{code=\"200\"}"),
        1,
        "no request of a stranger was looked at"
    );
    assert_eq!(server.get("/readyz").await.status, 200, "the plain port asks for nothing");
}

#[tokio::test]
async fn the_cas_follow_their_file_and_a_bad_one_changes_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    std::fs::write(&file, &old.pem).unwrap();
    let server = Running::for_clients(&file).await;
    let (of_old, of_new) = (old.sign(Kind::Client), new.sign(Kind::Client));
    let mut kept = open(&server, Some(&of_old)).await.unwrap();
    assert_eq!(post(&mut kept, "/validate", "x").await.status, 200);

    let refusals = || server.count("pullgate_reloads_total{reason=\"client_ca_refused\"}");
    for (times, bad) in (1..).zip(["", "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"]) {
        std::fs::write(&file, bad).unwrap();
        until("it is refused", async || refusals() == times).await;
        assert!(is_answered(&server, Some(&of_old)).await, "{bad:?}");
        assert!(!is_answered(&server, None).await, "nobody is let in by a bad file: {bad:?}");
    }

    std::fs::write(&file, format!("{}{}", old.pem, new.pem)).unwrap();
    until("both are let in", async || is_answered(&server, Some(&of_new)).await).await;
    assert!(
        is_answered(&server, Some(&of_old)).await,
        "so a CA can be replaced without a gap"
    );

    std::fs::write(&file, &new.pem).unwrap();
    until("the old one is out", async || !is_answered(&server, Some(&of_old)).await).await;
    assert!(is_answered(&server, Some(&of_new)).await);
    assert_eq!(post(&mut kept, "/validate", "x").await.status, 200, "open connections go on");
    assert_eq!(server.count("pullgate_reloads_total{reason=\"client_ca_replaced\"}"), 2);
}

#[tokio::test]
async fn a_file_without_a_ca_is_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    for (content, expected) in [
        (None, "No such file"),
        (Some(""), "holds no certificate"),
        (
            Some("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"),
            "cannot be used",
        ),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = Clients::from_file(&file, Metrics::new()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
