//! The contents of the Secret, part by part: each may be missing or damaged.
//!
//! | key | content |
//! |---|---|
//! | `tls.crt` `tls.key` | the served certificate and its key |
//! | `ca.crt` | all CAs to trust: the future `caBundle`. The first one signs |
//! | `ca.key` | the key of the first CA |
//! | `ca-next.crt` `ca-next.key` | the next CA, during a rotation. It is also in `ca.crt` |
//! | `ca-old-until` | until when `ca.crt` keeps all other CAs (RFC 3339) |

use super::trust::{Bundle, pem};
use crate::cluster::{ManagedBy, SecretData, StoredSecret};
use crate::server::tls::generate::Made;
use crate::server::tls::{Loaded, Validity, timestamp};
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const TRUST: &str = "ca.crt";
pub(super) const AUTHORITY_KEY: &str = "ca.key";
pub(super) const NEXT: &str = "ca-next.crt";
pub(super) const NEXT_KEY: &str = "ca-next.key";
pub(super) const UNTIL: &str = "ca-old-until";

/// A certificate with its key.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) validity: Validity,
    key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// The first certificate of a PEM, and its key. The error is a clause.
    fn parse(chain: &[u8], key: &[u8]) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(chain).map_err(|_| "no certificate in PEM".to_owned())?;
        let key = std::str::from_utf8(key)
            .ok()
            .filter(|key| PrivateKeyDer::from_pem_slice(key.as_bytes()).is_ok());
        let key = key.ok_or_else(|| "no private key in PEM".to_owned())?;
        let loaded = Loaded::from_pem(pem(&certificate).as_bytes(), key.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self {
            certificate,
            validity: loaded.validity,
            key: key.to_owned(),
        })
    }

    pub(super) fn made(made: &Made) -> Result<Self, String> {
        Self::parse(made.certificate.as_bytes(), made.key.as_bytes())
    }

    /// The key, PEM: for signing, and for the Secret.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Ready to be served.
    pub(super) fn load(&self) -> Result<Loaded, String> {
        Loaded::from_pem(pem(&self.certificate).as_bytes(), self.key.as_bytes()).map_err(|error| error.to_string())
    }
}

/// The parsed parts. Whether they are valid now and match is not checked here.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    /// The certificate to serve.
    pub(super) leaf: Result<Pair, String>,
    /// The CA that signs.
    pub(super) authority: Result<Pair, String>,
    /// The CA that will sign next.
    pub(super) next: Option<Result<Pair, String>>,
    /// The bundle to register.
    pub(super) trust: Bundle,
    /// Until when the other CAs stay in `trust`; `None` if that cannot be read.
    pub(super) until: Option<i64>,
}

/// The Secret, classified.
#[derive(Debug)]
pub(super) enum Stored {
    /// It does not exist.
    Absent,
    /// It belongs to somebody else and is never written. A sentence.
    Foreign(String),
    /// Ours, in whatever state.
    Ours(Box<Contents>),
}

impl Stored {
    /// `name` is the Secret's, for messages.
    pub(super) fn read(secret: Option<&StoredSecret>, name: &str) -> Self {
        let Some(secret) = secret else { return Self::Absent };
        let contents = Contents::read(&secret.data);
        let somebodys = contents.leaf.is_ok() && secret.data.get(AUTHORITY_KEY).is_empty() && secret.data.get(NEXT_KEY).is_empty();
        let way_out = "delete it, or set another with --tls-secret";
        match secret.managed_by {
            ManagedBy::CertManager => Self::Foreign(format!("the {name} is managed by cert-manager: {way_out}")),
            ManagedBy::Unknown if somebodys => Self::Foreign(format!(
                "the {name} contains a certificate that pullgate did not create: {way_out}"
            )),
            ManagedBy::Unknown | ManagedBy::Pullgate => Self::Ours(Box::new(contents)),
        }
    }
}

impl Contents {
    pub(super) fn read(data: &SecretData) -> Self {
        let next = (data.get(NEXT), data.get(NEXT_KEY));
        Self {
            leaf: Pair::parse(data.get(CERTIFICATE), data.get(KEY)),
            authority: Pair::parse(data.get(TRUST), data.get(AUTHORITY_KEY)),
            next: (next != (&[], &[])).then(|| Pair::parse(next.0, next.1)),
            trust: Bundle::parse(data.get(TRUST)),
            until: std::str::from_utf8(data.get(UNTIL))
                .ok()
                .and_then(|text| text.trim().parse::<Timestamp>().ok())
                .map(Timestamp::as_second),
        }
    }

    /// CAs in `trust` that no longer sign.
    pub(super) fn old(&self) -> Vec<CertificateDer<'static>> {
        let new = [self.authority.as_ref().ok(), self.next()];
        let is_new = |ca: &&CertificateDer<'static>| new.iter().flatten().any(|pair| pair.certificate == **ca);
        self.trust.certificates().iter().filter(|ca| !is_new(ca)).cloned().collect()
    }

    /// The next CA, if it is usable.
    pub(super) fn next(&self) -> Option<&Pair> {
        self.next.as_ref().and_then(|next| next.as_ref().ok())
    }

    /// Writes the usable parts into `data`; other keys are kept.
    pub(super) fn write(&self, data: &SecretData) -> SecretData {
        let mut data = data.clone();
        let mut put = |key: &str, text: Option<String>| match text {
            Some(text) => _ = data.0.insert(key.to_owned(), text.into_bytes()),
            None => _ = data.0.remove(key),
        };
        // These two must exist: the Secret's type requires them.
        let leaf = self.leaf.as_ref().ok();
        put(CERTIFICATE, Some(leaf.map(|pair| pem(&pair.certificate)).unwrap_or_default()));
        put(KEY, Some(leaf.map(|pair| pair.key.clone()).unwrap_or_default()));
        put(TRUST, Some(self.trust.pem()));
        put(AUTHORITY_KEY, self.authority.as_ref().ok().map(|pair| pair.key.clone()));
        put(NEXT, self.next().map(|pair| pem(&pair.certificate)));
        put(NEXT_KEY, self.next().map(|pair| pair.key.clone()));
        put(UNTIL, self.until.map(timestamp));
        data
    }
}
