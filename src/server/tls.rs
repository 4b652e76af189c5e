//! The served certificate: loaded from files, made on the spot or kept in a Secret ([`Managed`]), replaced while serving, watched for
//! its end.

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

/// A certificate that ends this soon, and of whose time less than a quarter is left, is worth a warning at every start and change.
const SOON: i64 = 24 * 3600;

/// A certificate and key that cannot be served. The sentence never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(String);

/// A chain with its key, and how long it holds.
#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    validity: Validity,
}

impl Loaded {
    /// From PEM texts. The key must be that of the chain's first certificate, so a pair of which only one half was replaced is refused.
    fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let fail = |text: String| CertificateError(text);
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| fail(format!("the certificate file is not PEM: {error}")))?;
        let Some(leaf) = chain.first() else {
            return Err(fail("the certificate file holds no certificate".to_owned()));
        };
        let validity = Validity::of(leaf).ok_or_else(|| fail("the certificate's period of validity cannot be read".to_owned()))?;
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

/// The certificate that handshakes show. Cheap to clone; the clones share it.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Hot>);

#[derive(Debug)]
struct Hot {
    /// None until there is one: handshakes fail then.
    current: ArcSwapOption<Loaded>,
    metrics: Metrics,
    clock: Clock,
}

impl ResolvesServerCert for Hot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Whatever name is asked for: the API server knows us by the Service's name only.
        self.current.load().as_ref().map(|loaded| Arc::clone(&loaded.key))
    }
}

impl Certificate {
    /// Loads a pair from files. A pair that has expired is taken at the start (`/readyz` then says so), never by [`Certificate::watch`].
    pub async fn from_files(certificate: &Path, key: &Path, metrics: Metrics) -> Result<Self, CertificateError> {
        let contents = FileSet::new(vec![certificate.to_owned(), key.to_owned()])
            .read()
            .await
            .map_err(CertificateError)?;
        let loaded = load(&contents)?;
        Ok(Self::serving(loaded, metrics))
    }

    /// From PEM texts.
    pub fn from_pem(chain: &[u8], key: &[u8], metrics: Metrics) -> Result<Self, CertificateError> {
        Loaded::from_pem(chain, key).map(|loaded| Self::serving(loaded, metrics))
    }

    fn serving(loaded: Loaded, metrics: Metrics) -> Self {
        let certificate = Self::pending(metrics, Clock::default());
        certificate.put(loaded);
        certificate
    }

    /// None yet; its time is told by `clock`.
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

    /// The certificate that is served, without its chain.
    fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.0
            .current
            .load()
            .as_ref()
            .and_then(|loaded| loaded.key.cert.first().cloned())
    }

    /// Replaces the served pair. Refused, and the old one stays, when the new one does not fit together or has ended already.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        self.take(Loaded::from_pem(chain, key)?)
    }

    fn take(&self, loaded: Loaded) -> Result<(), CertificateError> {
        if self.0.clock.now() >= loaded.validity.not_after {
            return Err(CertificateError(format!(
                "the new certificate ended at {}",
                spoken(loaded.validity.not_after)
            )));
        }
        self.put(loaded);
        Ok(())
    }

    /// Polls the two files for ever and serves what they hold. A pair that cannot be used is refused, logged and counted
    /// (`certificate_refused`) once a change, and the old one stays.
    pub async fn watch(self, certificate: PathBuf, key: PathBuf) {
        let mut files = FileSet::new(vec![certificate.clone(), key]);
        loop {
            if let Some(contents) = files.poll().await {
                let metrics = &self.0.metrics;
                match contents.map_err(CertificateError).and_then(|contents| load(&contents)) {
                    // What was loaded at the start, or put back.
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
        tracing::warn!(file = %file.display(), %error, "the changed certificate cannot be served; the last good one stays");
    }

    /// Whether the served certificate holds at this moment; the error is a clause for `/readyz`.
    pub fn check(&self) -> Result<(), String> {
        match self.0.current.load().as_ref() {
            Some(loaded) => loaded.validity.check(self.0.clock.now()),
            None => Err("there is none yet".to_owned()),
        }
    }

    /// The settings of the webhook port: HTTP/1.1 only, which is all that the API server speaks to webhooks, and spares the floods
    /// that HTTP/2 allows. With `clients`, nobody else gets past the handshake.
    pub fn server_config(&self, clients: Option<&Clients>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let resolver: Arc<Hot> = Arc::clone(&self.0);
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?;
        let mut config = match clients {
            Some(clients) => {
                let mut config = builder
                    .with_client_cert_verifier(clients.verifier())
                    .with_cert_resolver(resolver);
                // A resumed session is not verified again: a CA that is taken away would still be good for one.
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
        _ => Err(CertificateError("a certificate and a key are two files".to_owned())),
    }
}

fn announce(loaded: &Loaded, metrics: &Metrics, now: i64) {
    let lifetime = loaded.validity.lifetime();
    metrics.certificate_expiry(loaded.validity.not_after, lifetime);
    let (fingerprint, ends) = (loaded.fingerprint(), spoken(loaded.validity.not_after));
    tracing::info!(
        certificate.sha256 = fingerprint,
        certificate.ends = ends,
        "serving a certificate"
    );
    // What is made for a day is renewed in time, too: a new one is no cause for concern.
    if loaded.validity.not_after.saturating_sub(now) < SOON.min(lifetime / 4) {
        tracing::warn!(certificate.ends = ends, "the served certificate ends soon, or has ended");
    }
}

/// Unix seconds as people write a time; the number itself where the calendar does not reach.
fn spoken(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string())
}
