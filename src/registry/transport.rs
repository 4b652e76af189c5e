//! Turns an HTTP client's error into what it proves.

use super::client;
use crate::net::NotAdmitted;
use crate::runtime::answer::FaultKind;
use crate::runtime::outcome::{CUT_SHORT, ConnectionFault, GuardRule, TimeoutStage, TlsFault};
use std::error::Error;
use std::fmt;
use std::io;

/// Our resolver's own errors; found again at the bottom of the client's error.
#[derive(Debug, Clone)]
pub(super) enum ResolveError {
    /// The name does not resolve.
    NoSuchHost(Option<String>),
    /// It was not asked for: too many wait for names that never resolve.
    Crowded,
    /// The guard admits none of its addresses.
    StoppedByGuard(GuardRule),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchHost(Some(error)) => f.write_str(error),
            Self::NoSuchHost(None) => f.write_str("the name has no address"),
            Self::Crowded => f.write_str("too many names wait to be resolved"),
            Self::StoppedByGuard(_) => f.write_str("the address is not admitted"),
        }
    }
}

impl Error for ResolveError {}

impl From<NotAdmitted> for GuardRule {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::Range(range) => Self::Address {
                range: range.to_string(),
            },
            NotAdmitted::Never(address) => Self::NeverAdmitted {
                address: address.to_string(),
            },
            NotAdmitted::Metadata(name) => Self::Metadata { name },
        }
    }
}

/// The first `T` in the chain. `io::Error` hides its payload from `source`, so that is looked into as well.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref::<T>() {
        return Some(found);
    }
    let payload = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    if let Some(found) = payload.and_then(|inner| find::<T>(inner)) {
        return Some(found);
    }
    error.source().and_then(find::<T>)
}

/// The innermost `io::Error`: the TLS connector wraps the one that says what happened in another of kind `Other`.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let found = find::<io::Error>(error)?;
    let within = found.get_ref().and_then(|inner| innermost(inner));
    Some(within.unwrap_or(found))
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    /// By the network, or the other end.
    Fault(FaultKind),
    /// By our guard: nothing was sent.
    StoppedByGuard(GuardRule),
}

/// Why a request failed, and the transport's own words.
pub(super) fn failed(error: &client::Error) -> (Failed, String) {
    if let Some(failed) = find::<ResolveError>(error) {
        return match failed {
            ResolveError::NoSuchHost(_) => (Failed::Fault(FaultKind::NameNotResolved), failed.to_string()),
            ResolveError::Crowded => (Failed::Fault(FaultKind::TimedOut(TimeoutStage::Deadline)), failed.to_string()),
            ResolveError::StoppedByGuard(rule) => (Failed::StoppedByGuard(rule.clone()), failed.to_string()),
        };
    }
    let (kind, words) = fault(error);
    (Failed::Fault(kind), words)
}

/// The same while a body is read.
pub(super) fn failed_within(error: &client::Error) -> (Failed, String) {
    let (failed, words) = failed(error);
    let ended = innermost(error).is_some_and(|failed| failed.kind() == io::ErrorKind::UnexpectedEof);
    (failed, if ended { CUT_SHORT.to_owned() } else { words })
}

fn fault(error: &client::Error) -> (FaultKind, String) {
    if let Some(failed) = find::<rustls::Error>(error) {
        return (FaultKind::Tls(tls(failed)), failed.to_string());
    }
    let Some(failed) = innermost(error) else {
        // A closed or broken connection, or an answer that is not HTTP.
        let words = find::<hyper::Error>(error).map_or_else(|| "the connection failed".to_owned(), ToString::to_string);
        return (FaultKind::Connection(ConnectionFault::Interrupted), words);
    };
    let kind = match failed.kind() {
        io::ErrorKind::TimedOut => {
            let stage = if error.is_connect() {
                TimeoutStage::Connect
            } else {
                TimeoutStage::Response
            };
            return (FaultKind::TimedOut(stage), "no answer in time".to_owned());
        }
        io::ErrorKind::ConnectionRefused => FaultKind::Connection(ConnectionFault::Refused),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => FaultKind::Connection(ConnectionFault::Interrupted),
        _ if error.is_connect() => FaultKind::Connection(ConnectionFault::Unreachable),
        _ => FaultKind::Connection(ConnectionFault::Interrupted),
    };
    (kind, failed.to_string())
}

/// The same of a request through the proxy `at`: what kept the connection from coming about is its doing, or its name's.
pub(super) fn failed_through(error: &client::Error, at: &str) -> (Failed, String) {
    let (found, words) = failed(error);
    let own = matches!(found, Failed::Fault(FaultKind::Tls(_) | FaultKind::TimedOut(_)));
    if own || !error.is_connect() {
        return (found, words);
    }
    // The words of a refused tunnel are at the bottom of the chain.
    let mut bottom: &dyn Error = error;
    while let Some(next) = bottom.source() {
        bottom = next;
    }
    (
        Failed::Fault(FaultKind::Connection(ConnectionFault::Unreachable)),
        format!("the proxy {at} does not connect: {bottom}"),
    )
}

fn tls(error: &rustls::Error) -> TlsFault {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsFault::PlainHttp,
        rustls::Error::InvalidCertificate(fault) => match fault {
            Certificate::UnknownIssuer => TlsFault::UnknownIssuer,
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. } => TlsFault::Expired,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => TlsFault::WrongName,
            _ => TlsFault::Other,
        },
        _ => TlsFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_that_breaks_off_is_found_below_its_wrapping() {
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
        let wrapped = io::Error::other(eof);
        assert_eq!(innermost(&wrapped).map(io::Error::kind), Some(io::ErrorKind::UnexpectedEof));
        assert!(innermost(&fmt::Error).is_none());
    }
}
