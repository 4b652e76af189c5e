//! Certificates made on the spot: for `--tls-dev`, `certs generate`, the demo and the tests.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clocks differ: the period of validity begins this long ago.
const BACKDATED: Duration = Duration::from_secs(300);

/// A CA made for one certificate, and that certificate. The CA's key is gone: nothing else can be signed in its name.
pub struct Generated {
    /// The CA's certificate, PEM: what a client must trust, and what `caBundle` takes.
    pub ca: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// The certificate's key, PEM.
    pub key: String,
}

/// Says nothing: there is a private key in it.
impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Generated")
    }
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// No name, no use.
    #[error("a certificate needs at least one name")]
    NoName,
    /// A name that no certificate can hold.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    BadName(String),
    /// The library's reason.
    #[error("the certificate could not be made: {0}")]
    Failed(#[from] rcgen::Error),
}

/// Makes a CA and a server certificate for `names` (DNS names and IP addresses) that holds for `lifetime` from now.
pub fn generate(names: &[String], lifetime: Duration) -> Result<Generated, GenerateError> {
    if names.is_empty() {
        return Err(GenerateError::NoName);
    }
    if let Some(bad) = names.iter().find(|name| !is_name(name)) {
        return Err(GenerateError::BadName(bad.clone()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    let (begin, end) = (epoch + now.saturating_sub(BACKDATED), epoch + now.saturating_add(lifetime));

    let mut ca = CertificateParams::new(Vec::<String>::new())?;
    ca.distinguished_name = called("pullgate CA");
    // No intermediate CA below this one.
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (begin, end);
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name = called("pullgate");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    (leaf.not_before, leaf.not_after) = (begin, end);
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok(Generated {
        ca: ca_certificate.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn called(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

/// A wildcard may stand for the first label.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let dns = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<std::net::IpAddr>().is_ok() || (name.len() <= 253 && dns.split('.').all(label))
}
