//! The HTTP clients beneath all requests: one set for each way of trusting TLS, each with the guard in its resolver.

mod handshakes;
mod tls;

pub(super) use handshakes::Handshakes;

use super::SetupError;
use super::client::{Client, Connector, Through};
use super::proxy::Proxy;
use super::resolve::{Before, Guarded, Names};
use crate::limits;
use crate::net::Reach;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// One way of trusting, with a client for each way to a host.
#[derive(Debug)]
pub(super) struct Profile {
    /// To hosts that the settings admit.
    pub(super) strict: Client,
    /// To hosts that a `hosts.toml` names: private addresses too.
    pub(super) open: Client,
    /// Through the proxy. Only the proxy's own name is resolved here: the caller has checked the host.
    pub(super) proxied: Option<Client>,
    /// When its handshakes began.
    pub(super) handshakes: Arc<Handshakes>,
}

/// How TLS is to be made, beside the system's authorities and those of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TlsTrust {
    pub(super) verification: Verification,
    /// CA bundles, PEM.
    pub(super) roots: Vec<Vec<u8>>,
    /// A certificate and its key, PEM.
    pub(super) identity: Option<Vec<u8>>,
    /// Where it is to be shorter than usual.
    pub(super) connect: Option<Duration>,
}

/// Whether the server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Verification {
    #[default]
    Full,
    None,
}

impl TlsTrust {
    /// Of everything that it is made of.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(match self.verification {
            Verification::Full => b"full",
            Verification::None => b"none",
        });
        part(&self.connect.map_or(u128::MAX, |limit| limit.as_nanos()).to_be_bytes());
        part(self.identity.as_deref().unwrap_or_default());
        for root in &self.roots {
            part(root);
        }
        hash.finalize().into()
    }
}

/// Makes profiles; equal trust gives the same one, so that they share connections, and are no more than the admin wrote.
#[derive(Debug)]
pub(super) struct Factory {
    strict: Guarded,
    open: Guarded,
    roots: Vec<CertificateDer<'static>>,
    proxy: Option<Through>,
    connect: Duration,
    /// Those in use.
    profiles: Mutex<HashMap<[u8; 32], Weak<Profile>>>,
}

impl Factory {
    /// `entries` are static host entries, `bundles` CA bundles (PEM), `limit` what one request may take.
    pub(super) fn new(
        reach: &Arc<Reach>,
        entries: &[(String, SocketAddr)],
        bundles: &[Vec<u8>],
        proxy: Option<&Proxy>,
        limit: Duration,
    ) -> Result<Self, SetupError> {
        let mut roots = Vec::new();
        for bundle in bundles {
            roots.extend(certificates(bundle).map_err(|why| SetupError(format!("a CA bundle {why}")))?);
        }
        let names = Names::new();
        Ok(Self {
            strict: Guarded::new(Arc::clone(reach), entries, names.clone()),
            open: Guarded::new(Arc::new(Reach::Everything), entries, names),
            roots,
            proxy: proxy.map(Proxy::to_client).transpose().map_err(SetupError)?.flatten(),
            connect: limits::CONNECT.min(limit),
            profiles: Mutex::default(),
        })
    }

    /// The clients for `trust`. The error is a clause that names no secret.
    pub(super) fn profile(&self, trust: &TlsTrust) -> Result<Arc<Profile>, String> {
        let fingerprint = trust.fingerprint();
        // Held while a profile is made: many registries may ask for the same one at the same time.
        let mut profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(profile) = profiles.get(&fingerprint).and_then(Weak::upgrade) {
            return Ok(profile);
        }
        let mut roots = self.roots.clone();
        for bundle in &trust.roots {
            roots.extend(certificates(bundle).map_err(|why| format!("the CA file {why}"))?);
        }
        let identity = trust.identity.as_deref();
        let handshakes: Arc<Handshakes> = Arc::default();
        let mut config = match trust.verification {
            Verification::Full => tls::config(&roots, identity)?,
            Verification::None => tls::unverified(identity)?,
        };
        config.resumption = handshakes.resumption();
        let config = Arc::new(config);
        // In Go, a timeout of 0 means none.
        let connect = match trust.connect {
            Some(limit) if !limit.is_zero() => limit.min(self.connect),
            Some(_) | None => self.connect,
        };
        let client = |resolver: &Guarded, proxy| Client::new(Connector::new(resolver, &config, proxy, connect));
        let profile = Arc::new(Profile {
            strict: client(&self.strict, None),
            open: client(&self.open, None),
            proxied: self.proxy.as_ref().map(|proxy| client(&self.open, Some(proxy))),
            handshakes,
        });
        profiles.retain(|_, profile| profile.strong_count() > 0);
        profiles.insert(fingerprint, Arc::downgrade(&profile));
        Ok(profile)
    }

    /// Whether the settings name this host.
    pub(super) fn is_static(&self, name: &str) -> bool {
        self.strict.is_static(name)
    }

    /// From now on no new name resolves.
    #[cfg(test)]
    pub(super) fn stick(&self) -> Vec<super::queue::Place> {
        self.strict.stick()
    }

    /// The addresses of a name, as this machine resolves it now; nothing where it does not.
    pub(super) async fn addresses(&self, name: &str) -> Vec<SocketAddr> {
        self.strict.all(name, Before::DoesNot).await.unwrap_or_default()
    }
}

/// The certificates of a PEM bundle. A bundle without one is a mistake that must not pass in silence.
fn certificates(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(bundle)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if certificates.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    Ok(certificates)
}
