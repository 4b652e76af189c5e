//! What the flags say about the certificate.

use super::decide::Lifetimes;
use crate::server::tls::generate;
use rustls::pki_types::ServerName;
use std::time::Duration;

/// Who the certificate is for, and how long it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub(super) service: String,
    pub(super) others: Vec<String>,
    pub(super) lifetimes: Lifetimes,
}

impl Subject {
    /// The Service that the API server calls, other names (DNS names, IP addresses) under which webhooks call us, and lifetimes.
    /// The error is a sentence.
    pub fn new(service: String, others: Vec<String>, lifetimes: Lifetimes) -> Result<Self, String> {
        if service.contains('.') || !generate::is_name(&service) {
            return Err(format!("{service:?} is not a valid Service name"));
        }
        for name in &others {
            // A certificate may contain a wildcard, but nobody can call one.
            if !generate::is_name(name) || ServerName::try_from(name.as_str()).is_err() {
                return Err(format!("{name:?} is neither a DNS name nor an IP address"));
            }
        }
        if lifetimes.leaf < Duration::from_mins(1) {
            return Err("a certificate must be valid for at least a minute".to_owned());
        }
        if lifetimes.authority / 2 < lifetimes.leaf {
            return Err("a CA must be valid at least twice as long as the certificates that it signs".to_owned());
        }
        Ok(Self {
            service,
            others,
            lifetimes,
        })
    }

    /// The names that the certificate must cover.
    pub(super) fn names(&self, namespace: &str) -> Vec<String> {
        let called = format!("{}.{namespace}.svc", self.service);
        let full = format!("{called}.cluster.local");
        [called, full].into_iter().chain(self.others.clone()).collect()
    }
}
