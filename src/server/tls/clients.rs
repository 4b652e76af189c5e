//! Client authentication: which clients may connect, by the CAs in a file.
//!
//! A review names the namespace whose secrets are used, and pullgate trusts it. So whoever may send reviews can find out what any
//! namespace's secrets can read (docs/security.md). The API server presents a certificate only if configured to
//! (docs/certificates.md).

use super::CertificateError;
use crate::config::FileSet;
use crate::telemetry::{Metrics, Reload};
use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The CAs whose clients may connect. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct Clients(Arc<Hot>);

#[derive(Debug)]
struct Hot {
    current: ArcSwap<Trusted>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Trusted {
    authorities: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Trusted {
    fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let fail = CertificateError;
        let authorities = CertificateDer::pem_slice_iter(text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| fail(format!("the file of the clients' CAs is not PEM: {error}")))?;
        if authorities.is_empty() {
            return Err(fail("the file of the clients' CAs holds no certificate".to_owned()));
        }
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| {
                fail(format!(
                    "a certificate in the file of the clients' CAs cannot be used: {error}"
                ))
            })?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| fail(format!("the clients' CAs cannot be used: {error}")))?;
        Ok(Self { authorities, verifier })
    }
}

impl Clients {
    /// Loads the CAs (PEM, one or more).
    pub async fn from_file(file: &Path, metrics: Metrics) -> Result<Self, CertificateError> {
        let contents = FileSet::new(vec![file.to_owned()]).read().await.map_err(CertificateError)?;
        let trusted = load(&contents)?;
        tracing::info!(authorities = trusted.authorities.len(), file = %file.display(), "only clients of these CAs may connect");
        Ok(Self(Arc::new(Hot {
            current: ArcSwap::from_pointee(trusted),
            metrics,
        })))
    }

    /// Polls the file forever. An unusable file is refused, logged and counted (`client_ca_refused`) once per change, and the
    /// previous CAs stay in use.
    pub async fn watch(self, file: PathBuf) {
        let mut files = FileSet::new(vec![file.clone()]);
        loop {
            if let Some(contents) = files.poll().await {
                let metrics = &self.0.metrics;
                match contents.map_err(CertificateError).and_then(|contents| load(&contents)) {
                    // As loaded at the start, or restored.
                    Ok(trusted) if self.0.current.load().authorities == trusted.authorities => {}
                    Ok(trusted) => {
                        tracing::info!(authorities = trusted.authorities.len(), "reloaded the clients' CAs");
                        self.0.current.store(Arc::new(trusted));
                        metrics.reload(Reload::ClientCaReplaced);
                    }
                    Err(error) => {
                        metrics.reload(Reload::ClientCaRefused);
                        tracing::warn!(file = %file.display(), %error, "the changed file cannot be used; the last good clients' CAs stay in use");
                    }
                }
            }
            tokio::time::sleep(crate::limits::FILE_POLL).await;
        }
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let hot: Arc<Hot> = Arc::clone(&self.0);
        hot
    }
}

fn load(contents: &[Vec<u8>]) -> Result<Trusted, CertificateError> {
    Trusted::from_pem(contents.first().map_or(&[], Vec::as_slice))
}

impl ClientCertVerifier for Hot {
    /// None: they would have to outlive `self.current`. Clients then present whatever certificate they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current
            .load()
            .verifier
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.load().verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.load().verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.load().verifier.supported_verify_schemes()
    }
}
