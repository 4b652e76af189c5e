//! The served certificate: loaded from files, generated, or kept in a Secret ([`Managed`]); replaced while serving, and checked for
//! expiry.

mod clients;
mod clock;
mod generate;
mod managed;
#[cfg(test)]
mod tests;
mod validity;

pub use clients::Clients;
pub use generate::{GenerateError, Generated, generate};
pub use managed::{Lifetimes, Managed, Subject};
pub use validity::Validity;

use crate::config::FileSet;
use crate::limits;
use crate::telemetry::{Metrics, Reload};
use arc_swap::ArcSwapOption;
use clock::Clock;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate that expires this soon, and has less than a quarter of its lifetime left, causes a warning at every start and
/// change.
const SOON: i64 = 24 * 3600;

/// A certificate and key that cannot be served. The sentence never contains key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(String);

/// A chain with its key and its validity.
#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    validity: Validity,
}

impl Loaded {
    /// From PEM. The key must match the chain's first certificate, so a pair of which only one half was replaced is refused.
    fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let fail = |text: String| CertificateError(text);
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| fail(format!("the certificate file is not PEM: {error}")))?;
        let Some(leaf) = chain.first() else {
            return Err(fail("the certificate file holds no certificate".to_owned()));
        };
        let validity = Validity::of(leaf).ok_or_else(|| fail("the certificate's validity period cannot be read".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| fail("the key file holds no private key in PEM".to_owned()))?;
        let key =
            CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => fail("the key does not belong to the certificate".to_owned()),
                other => fail(format!("the pair cannot be used: {other}")),
            })?;
        Ok(Self {
            key: Arc::new(key),
            validity,
        })
    }

    /// SHA-256 of the leaf, as `openssl x509 -fingerprint` has it without colons.
    fn fingerprint(&self) -> String {
        let digest = self.key.cert.first().map(Sha256::digest).unwrap_or_default();
        digest.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The certificate for TLS handshakes. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Hot>);

#[derive(Debug)]
struct Hot {
    /// `None` until there is one: handshakes fail until then.
    current: ArcSwapOption<Loaded>,
    metrics: Metrics,
    clock: Clock,
}

impl ResolvesServerCert for Hot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Whatever name is requested: the API server only knows us by the Service's name.
        self.current.load().as_ref().map(|loaded| Arc::clone(&loaded.key))
    }
}

impl Certificate {
    /// Loads a pair from files. An expired pair is accepted at the start (`/readyz` then reports it), but never by
    /// [`Certificate::watch`].
    pub async fn from_files(certificate: &Path, key: &Path, metrics: Metrics) -> Result<Self, CertificateError> {
        let contents = FileSet::new(vec![certificate.to_owned(), key.to_owned()])
            .read()
            .await
            .map_err(CertificateError)?;
        let loaded = load(&contents)?;
        Ok(Self::serving(loaded, metrics))
    }

    /// From PEM.
    pub fn from_pem(chain: &[u8], key: &[u8], metrics: Metrics) -> Result<Self, CertificateError> {
        Loaded::from_pem(chain, key).map(|loaded| Self::serving(loaded, metrics))
    }

    fn serving(loaded: Loaded, metrics: Metrics) -> Self {
        let certificate = Self::pending(metrics, Clock::default());
        certificate.put(loaded);
        certificate
    }

    /// No certificate yet; `clock` will decide whether one is valid.
    fn pending(metrics: Metrics, clock: Clock) -> Self {
        Self(Arc::new(Hot {
            current: ArcSwapOption::empty(),
            metrics,
            clock,
        }))
    }

    /// Serves this from now on.
    fn put(&self, loaded: Loaded) {
        announce(&loaded, &self.0.metrics, self.0.clock.now());
        self.0.current.store(Some(Arc::new(loaded)));
    }

    fn serves(&self, other: &Loaded) -> bool {
        self.0
            .current
            .load()
            .as_ref()
            .is_some_and(|loaded| loaded.key.cert == other.key.cert)
    }

    /// The served certificate, without its chain.
    fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.0
            .current
            .load()
            .as_ref()
            .and_then(|loaded| loaded.key.cert.first().cloned())
    }

    /// Replaces the served pair. If the new one does not match or has expired, it is refused and the old one stays.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        self.take(Loaded::from_pem(chain, key)?)
    }

    fn take(&self, loaded: Loaded) -> Result<(), CertificateError> {
        if self.0.clock.now() >= loaded.validity.not_after {
            return Err(CertificateError(format!(
                "the new certificate expired at {}",
                timestamp(loaded.validity.not_after)
            )));
        }
        self.put(loaded);
        Ok(())
    }

    /// Polls the two files forever and serves what they contain. An unusable pair is refused, logged and counted
    /// (`certificate_refused`) once per change, and the old one stays.
    pub async fn watch(self, certificate: PathBuf, key: PathBuf) {
        let mut files = FileSet::new(vec![certificate.clone(), key]);
        loop {
            if let Some(contents) = files.poll().await {
                let metrics = &self.0.metrics;
                match contents.map_err(CertificateError).and_then(|contents| load(&contents)) {
                    // As loaded at the start, or restored.
                    Ok(loaded) if self.serves(&loaded) => {}
                    Ok(loaded) => match self.take(loaded) {
                        Ok(()) => metrics.reload(Reload::CertificateReplaced),
                        Err(error) => self.refused(&certificate, &error),
                    },
                    Err(error) => self.refused(&certificate, &error),
                }
            }
            tokio::time::sleep(limits::FILE_POLL).await;
        }
    }

    fn refused(&self, file: &Path, error: &CertificateError) {
        self.0.metrics.reload(Reload::CertificateRefused);
        tracing::warn!(file = %file.display(), %error, "the changed certificate cannot be served; the last good one stays in use");
    }

    /// Whether the served certificate is valid now; the error is a clause for `/readyz`.
    pub fn check(&self) -> Result<(), String> {
        match self.0.current.load().as_ref() {
            Some(loaded) => loaded.validity.check(self.0.clock.now()),
            None => Err("there is none yet".to_owned()),
        }
    }

    /// The TLS settings of the webhook port: HTTP/1.1 only, which is all that API servers use for webhooks, and rules out HTTP/2
    /// floods. With `clients`, only those get past the handshake.
    pub fn server_config(&self, clients: Option<&Clients>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let resolver: Arc<Hot> = Arc::clone(&self.0);
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?;
        let mut config = match clients {
            Some(clients) => {
                let mut config = builder
                    .with_client_cert_verifier(clients.verifier())
                    .with_cert_resolver(resolver);
                // A resumed session is not verified again: it would outlive the removal of its CA.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
            None => builder.with_no_client_auth().with_cert_resolver(resolver),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn load(contents: &[Vec<u8>]) -> Result<Loaded, CertificateError> {
    match contents {
        [chain, key] => Loaded::from_pem(chain, key),
        _ => Err(CertificateError("expected two files, a certificate and a key".to_owned())),
    }
}

fn announce(loaded: &Loaded, metrics: &Metrics, now: i64) {
    let lifetime = loaded.validity.lifetime();
    metrics.certificate_expiry(loaded.validity.not_after, lifetime);
    let (fingerprint, ends) = (loaded.fingerprint(), timestamp(loaded.validity.not_after));
    tracing::info!(
        certificate.sha256 = fingerprint,
        certificate.ends = ends,
        "serving a certificate"
    );
    // Short-lived certificates are renewed in time: a new one does not cause a warning.
    if loaded.validity.not_after.saturating_sub(now) < SOON.min(lifetime / 4) {
        tracing::warn!(certificate.ends = ends, "the served certificate expires soon, or has expired");
    }
}

/// Unix seconds as a timestamp; the bare number if it is out of range.
fn timestamp(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string())
}
