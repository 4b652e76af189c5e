//! Bundles of CAs, and whether a client that trusts one accepts a certificate.

use crate::server::tls::Validity;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::time::Duration;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

/// CAs that a client trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    certificates: Vec<CertificateDer<'static>>,
    /// Whether the whole PEM could be parsed.
    whole: bool,
}

impl Bundle {
    /// These CAs, without duplicates, in order.
    pub(super) fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut bundle = Self {
            certificates: Vec::new(),
            whole: true,
        };
        for certificate in certificates {
            if !bundle.holds(&certificate) {
                bundle.certificates.push(certificate);
            }
        }
        bundle
    }

    /// From PEM, up to the first part that cannot be parsed.
    pub(super) fn parse(pem: &[u8]) -> Self {
        let mut whole = true;
        let readable = CertificateDer::pem_slice_iter(pem).map_while(|certificate| {
            let usable = certificate.ok().filter(|der| Validity::of(der).is_some());
            whole &= usable.is_some();
            usable
        });
        let readable: Vec<_> = readable.collect();
        Self {
            whole,
            ..Self::of(readable)
        }
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|held| held.as_ref() == certificate.as_ref())
    }

    /// Whether it contains the same CAs, however it is written: order, repetition and line breaks do not matter.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let within = |some: &Self, all: &Self| some.certificates.iter().all(|certificate| all.holds(certificate));
        self.whole && other.whole && within(self, other) && within(other, self)
    }

    /// What is in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self::of(self.certificates.iter().filter(|held| other.holds(held)).cloned())
    }

    pub(super) fn pem(&self) -> String {
        self.certificates.iter().map(|certificate| pem(certificate)).collect()
    }
}

/// One certificate as PEM (RFC 7468).
pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// Whether the API server, trusting `bundle`, would accept `leaf` for `name` at `now`. The error is a clause about the certificate.
pub(super) fn verify(leaf: &CertificateDer<'_>, bundle: &Bundle, name: &str, now: i64) -> Result<(), String> {
    chains(leaf, bundle, now)?;
    if holds_for(leaf, name) {
        Ok(())
    } else {
        Err(format!("does not cover {name}"))
    }
}

/// The same for any name.
pub(super) fn chains(leaf: &CertificateDer<'_>, bundle: &Bundle, now: i64) -> Result<(), String> {
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| "cannot be read as a certificate".to_owned())?;
    // Go checks the validity of a CA too; the library accepts trust anchors as they are.
    let anchors: Vec<_> = bundle
        .certificates
        .iter()
        .filter(|ca| Validity::of(ca).is_some_and(|validity| validity.check(now).is_ok()))
        .filter_map(|ca| anchor_from_trusted_cert(ca).ok())
        .collect();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], at, KeyUsage::server_auth(), None, None)
        .map(|_| ())
        .map_err(|error| match error {
            // An invalid signature means that a CA has the same name: all of ours do.
            Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => "was not signed by a currently valid CA in it".to_owned(),
            Error::CertExpired { .. } => "has expired".to_owned(),
            Error::CertNotValidYet { .. } => "is not valid yet".to_owned(),
            other => format!("is not accepted ({other})"),
        })
}

/// Whether a certificate covers a name, whoever signed it.
pub(super) fn holds_for(leaf: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(leaf), Ok(name)) = (EndEntityCert::try_from(leaf), ServerName::try_from(name)) else {
        return false;
    };
    leaf.verify_is_valid_for_subject_name(&name).is_ok()
}

/// The DNS names that a certificate covers.
pub(super) fn dns_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    EndEntityCert::try_from(leaf)
        .map(|leaf| leaf.valid_dns_names().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Whether two CAs have the same name, as all of ours do.
pub(super) fn same_subject(one: &CertificateDer<'_>, other: &CertificateDer<'_>) -> bool {
    match (anchor_from_trusted_cert(one), anchor_from_trusted_cert(other)) {
        (Ok(one), Ok(other)) => one.subject == other.subject,
        _ => false,
    }
}
