//! Whose certificates are believed: those of webpki's rules, and those that nodes believe besides.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::sync::Arc;

/// What a client offers in the handshake.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS that believes the system's authorities and `roots`, and shows `identity` (a certificate and its key, PEM) to who asks. The error
/// is a clause. Reads the system's authorities.
pub(super) fn config(roots: &[CertificateDer<'static>], identity: Option<&[u8]>) -> Result<ClientConfig, String> {
    let provider = CryptoProvider::get_default().map_or_else(|| Arc::new(aws_lc_rs::default_provider()), Arc::clone);
    let fault = |why: &dyn std::fmt::Display| format!("no HTTPS client can be set up ({why})");
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AsNodes::new(roots, provider)?));
    let mut config = match identity {
        Some(pem) => {
            let (chain, key) = of_client(pem).ok_or_else(unusable)?;
            builder.with_client_auth_cert(chain, key).map_err(|_| unusable())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

pub(super) fn unusable() -> String {
    "the client certificate and its key cannot be used".to_owned()
}

fn of_client(pem: &[u8]) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
    (!chain.is_empty()).then_some((chain, key))
}

/// Believes as a node does. To Go (crypto/x509, `Verify`) a certificate that is itself among the roots needs no issuer, and it may say of
/// itself that it is a CA's: what `openssl req -x509` makes, and what many a private registry shows, is such a one.
#[derive(Debug)]
struct AsNodes {
    usual: Arc<WebPkiServerVerifier>,
    roots: HashSet<[u8; 32]>,
}

impl AsNodes {
    fn new(roots: &[CertificateDer<'static>], provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store
                .add(root.clone())
                .map_err(|error| format!("a CA certificate cannot be used: {error}"))?;
        }
        // Those of the system that cannot be used, or read, are left out, as by Go.
        let system = rustls_native_certs::load_native_certs().certs;
        let known = roots.iter().chain(&system).map(|root| Sha256::digest(root).into()).collect();
        store.add_parsable_certificates(system);
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map_err(|error| format!("no HTTPS client can be set up ({error})"))?;
        Ok(Self { usual, roots: known })
    }
}

impl ServerCertVerifier for AsNodes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self
            .usual
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            // webpki has looked at the dates before it says so, and at no name.
            Err(error) if says_ca(&error) => {
                if !self.roots.contains::<[u8; 32]>(&Sha256::digest(end_entity).into()) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether a certificate was refused because it is a CA's own.
fn says_ca(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else {
        return false;
    };
    matches!(inner.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}
