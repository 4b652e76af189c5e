//! Generated certificates: for `--tls-dev`, `certs generate`, the demo and the tests.

use super::Validity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clocks differ: validity starts this long ago.
const BACKDATED: Duration = Duration::from_mins(5);

/// The end of the year 9999, the last that a certificate can express.
const LAST_SECOND: u64 = 253_402_300_799;

/// A CA generated for one certificate, and that certificate. The CA's key is discarded: it cannot sign anything else.
pub struct Generated {
    /// The CA's certificate, PEM: for clients to trust, and for `caBundle`.
    pub ca: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// The certificate's key, PEM.
    pub key: String,
}

/// Shows nothing: it contains a private key.
impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Generated")
    }
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// No name was given.
    #[error("a certificate needs at least one name")]
    NoName,
    /// A name that a certificate cannot contain.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    BadName(String),
    /// The library's reason.
    #[error("the certificate could not be made: {0}")]
    Failed(#[from] rcgen::Error),
}

/// Generates a CA and a server certificate for `names` (DNS names and IP addresses), valid for `lifetime` from now.
pub fn generate(names: &[String], lifetime: Duration) -> Result<Generated, GenerateError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let period = Validity {
        not_before: seconds(now.saturating_sub(BACKDATED)),
        not_after: seconds(now.saturating_add(lifetime)),
    };
    let ca = authority(period)?;
    let leaf = leaf(names, period, &ca.key)?;
    Ok(Generated {
        ca: ca.certificate,
        certificate: leaf.certificate,
        key: leaf.key,
    })
}

/// A certificate and its key, PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Generates a CA.
pub(super) fn authority(period: Validity) -> Result<Made, GenerateError> {
    let mut params = authority_params()?;
    hold(&mut params, period);
    let key = KeyPair::generate()?;
    Ok(Made {
        certificate: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

/// Generates a server certificate, signed with this CA's key. All our CAs have the same name and differ by their keys, so the key
/// is enough.
pub(super) fn leaf(names: &[String], period: Validity, authority_key: &str) -> Result<Made, GenerateError> {
    if names.is_empty() {
        return Err(GenerateError::NoName);
    }
    if let Some(bad) = names.iter().find(|name| !is_name(name)) {
        return Err(GenerateError::BadName(bad.clone()));
    }
    let issuer = Issuer::new(authority_params()?, KeyPair::from_pem(authority_key)?);
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = called("pullgate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    hold(&mut params, period);
    let key = KeyPair::generate()?;
    Ok(Made {
        certificate: params.signed_by(&key, &issuer)?.pem(),
        key: key.serialize_pem(),
    })
}

fn authority_params() -> Result<CertificateParams, GenerateError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = called("pullgate CA");
    // No intermediate CAs.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Sets the validity, within what a certificate can express.
fn hold(params: &mut CertificateParams, period: Validity) {
    let time =
        |second: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(second).unwrap_or_default().min(LAST_SECOND));
    (params.not_before, params.not_after) = (time(period.not_before), time(period.not_after));
}

fn called(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

/// Whether a certificate can contain it. The first label may be a wildcard.
pub(super) fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let dns = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<std::net::IpAddr>().is_ok() || (name.len() <= 253 && dns.split('.').all(label))
}
