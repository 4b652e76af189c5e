//! Which certificates are accepted: those that webpki's rules accept, and others that nodes accept too.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// What a client offers in the handshake: no more than it speaks, since a registry takes h2 where that is offered.
const PROTOCOL: &[u8] = b"http/1.1";

/// TLS that believes the system's authorities and `roots`, and shows `identity` (a certificate and its key, PEM) to who asks. The error
/// is a clause.
pub(super) fn config(roots: &[CertificateDer<'static>], identity: Option<&[u8]>) -> Result<ClientConfig, String> {
    let provider = provider();
    with(Arc::new(AsNodes::new(roots, Arc::clone(&provider))?), provider, identity)
}

/// TLS that believes anybody.
pub(super) fn unverified(identity: Option<&[u8]>) -> Result<ClientConfig, String> {
    let provider = provider();
    with(Arc::new(AcceptAnyCertificate(Arc::clone(&provider))), provider, identity)
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(|| Arc::new(aws_lc_rs::default_provider()), Arc::clone)
}

fn with(
    verifier: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
    identity: Option<&[u8]>,
) -> Result<ClientConfig, String> {
    let fault = |why: &dyn std::fmt::Display| format!("no HTTPS client can be set up ({why})");
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(pem) => {
            let (chain, key) = of_client(pem).ok_or_else(unusable)?;
            builder.with_client_auth_cert(chain, key).map_err(|_| unusable())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

fn unusable() -> String {
    "the client certificate and its key cannot be used".to_owned()
}

fn of_client(pem: &[u8]) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
    (!chain.is_empty()).then_some((chain, key))
}

/// Believes as a node does. To Go (crypto/x509, `Verify`) a certificate that is itself among the roots needs no issuer, and it may say of
/// itself that it is a CA's: what `openssl req -x509` makes, and what many a private registry shows, is such a one.
///
/// The system's authorities are read when the first certificate is to be verified: first its bundle, which has the one that is wanted
/// nearly always, and its folders (a file an authority) only where that did not do.
#[derive(Debug)]
struct AsNodes {
    /// Those of the settings.
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    bundle: Option<PathBuf>,
    some: OnceLock<Result<TrustedRoots, String>>,
    all: OnceLock<Result<TrustedRoots, String>>,
}

/// Some roots, and what verifies by them.
#[derive(Debug)]
struct TrustedRoots {
    usual: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
}

impl AsNodes {
    fn new(roots: &[CertificateDer<'static>], provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let nodes = Self {
            roots: roots.to_vec(),
            provider,
            bundle: bundle(),
            some: OnceLock::new(),
            all: OnceLock::new(),
        };
        let mut store = RootCertStore::empty();
        for root in roots {
            store
                .add(root.clone())
                .map_err(|error| format!("a CA certificate cannot be used: {error}"))?;
        }
        // If there are no authorities at all, the start must fail.
        if nodes.bundle.is_none() && store.is_empty() {
            nodes.all().map_err(str::to_owned)?;
        }
        Ok(nodes)
    }

    fn some(&self) -> Result<&TrustedRoots, &str> {
        let read = || {
            let certificates = rustls_native_certs::load_certs_from_paths(self.bundle.as_deref(), None).certs;
            self.with(certificates)
        };
        self.some.get_or_init(read).as_ref().map_err(String::as_str)
    }

    fn all(&self) -> Result<&TrustedRoots, &str> {
        let read = || self.with(rustls_native_certs::load_native_certs().certs);
        self.all.get_or_init(read).as_ref().map_err(String::as_str)
    }

    /// Those of the system that cannot be used, or read, are left out, as by Go.
    fn with(&self, system: Vec<CertificateDer<'static>>) -> Result<TrustedRoots, String> {
        let roots: Vec<_> = self.roots.iter().cloned().chain(system).collect();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&self.provider))
            .build()
            .map_err(|error| format!("no HTTPS client can be set up ({error})"))?;
        Ok(TrustedRoots { usual, roots })
    }
}

/// The system's bundle of authorities, where it is one that can be read.
fn bundle() -> Option<PathBuf> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    let file = match named {
        [None, None] => openssl_probe::probe().cert_file?,
        [file, _] => file?.into(),
    };
    std::fs::File::open(&file).is_ok().then_some(file)
}

impl TrustedRoots {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self
            .usual
            .verify_server_cert(end_entity, intermediates, server_name, &[], now)
        {
            // webpki has looked at the dates before it says so, and at no name.
            Err(error) if says_ca(&error) => {
                if !self.roots.iter().any(|root| root == end_entity) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }
}

impl ServerCertVerifier for AsNodes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(some) = self.some()
            && let Ok(verified) = some.verify(end_entity, intermediates, server_name, now)
        {
            return Ok(verified);
        }
        let all = self.all().map_err(|why| Error::General(why.to_owned()))?;
        all.verify(end_entity, intermediates, server_name, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts every certificate, where the settings of nodes say so.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate was refused because it is a CA's own.
fn says_ca(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else {
        return false;
    };
    matches!(inner.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}
