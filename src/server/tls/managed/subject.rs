//! What the flags say.

use super::decide::Lifetimes;
use crate::server::tls::generate;
use rustls::pki_types::ServerName;
use std::time::Duration;

/// Whom the certificate is for, and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub(super) service: String,
    pub(super) others: Vec<String>,
    pub(super) lifetimes: Lifetimes,
}

impl Subject {
    /// The Service that the API server calls, other names (DNS names, IP addresses) that webhooks call us by, and lifetimes. The error
    /// is a sentence.
    pub fn new(service: String, others: Vec<String>, lifetimes: Lifetimes) -> Result<Self, String> {
        if service.contains('.') || !generate::is_name(&service) {
            return Err(format!("{service:?} is no name of a Service"));
        }
        for name in &others {
            // A wildcard is a name in a certificate, and none that anybody can call.
            if !generate::is_name(name) || ServerName::try_from(name.as_str()).is_err() {
                return Err(format!("{name:?} is neither a DNS name nor an IP address"));
            }
        }
        if lifetimes.leaf < Duration::from_mins(1) {
            return Err("a certificate that holds for less than a minute is renewed all the time".to_owned());
        }
        if lifetimes.authority / 2 < lifetimes.leaf {
            return Err("a CA must hold at least twice as long as the certificates that it signs".to_owned());
        }
        Ok(Self {
            service,
            others,
            lifetimes,
        })
    }

    /// What the certificate must hold for.
    pub(super) fn names(&self, namespace: &str) -> Vec<String> {
        let called = format!("{}.{namespace}.svc", self.service);
        let full = format!("{called}.cluster.local");
        [called, full].into_iter().chain(self.others.clone()).collect()
    }
}
