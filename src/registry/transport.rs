//! From an HTTP client's error to evidence.

use crate::runtime::outcome::{ConnectionFault, Evidence, Refusal, TimeoutStage, TlsFault};
use std::error::Error;
use std::fmt;
use std::io;

/// Our resolver's own errors; found again at the bottom of the client's error.
#[derive(Debug)]
pub(super) enum ResolveError {
    /// The name does not resolve.
    NoSuchHost(Option<io::Error>),
    /// The guard admits none of its addresses.
    Refused(Refusal),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchHost(Some(error)) => write!(f, "{error}"),
            Self::NoSuchHost(None) => f.write_str("the name has no address"),
            Self::Refused(_) => f.write_str("the address is not admitted"),
        }
    }
}

impl Error for ResolveError {}

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

/// What a failed request proves, and the transport's own words.
pub(super) fn evidence(error: &reqwest::Error) -> (Evidence, String) {
    if let Some(failed) = find::<ResolveError>(error) {
        return match failed {
            ResolveError::NoSuchHost(_) => (Evidence::NameNotResolved, failed.to_string()),
            ResolveError::Refused(refusal) => (Evidence::Refused(refusal.clone()), failed.to_string()),
        };
    }
    if let Some(failed) = find::<rustls::Error>(error) {
        return (Evidence::Tls(tls(failed)), failed.to_string());
    }
    if error.is_timeout() {
        let stage = if error.is_connect() {
            TimeoutStage::Connect
        } else {
            TimeoutStage::Response
        };
        return (Evidence::TimedOut(stage), "no answer in time".to_owned());
    }
    let Some(failed) = innermost(error) else {
        // A closed or broken connection, or an answer that is no HTTP.
        let words = find::<hyper::Error>(error).map_or_else(|| "the connection failed".to_owned(), ToString::to_string);
        return (Evidence::ConnectionFailed(ConnectionFault::Interrupted), words);
    };
    let evidence = match failed.kind() {
        io::ErrorKind::ConnectionRefused => Evidence::ConnectionFailed(ConnectionFault::Refused),
        io::ErrorKind::TimedOut => Evidence::TimedOut(TimeoutStage::Connect),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Evidence::ConnectionFailed(ConnectionFault::Interrupted),
        _ if error.is_connect() => Evidence::ConnectionFailed(ConnectionFault::Unreachable),
        _ => Evidence::ConnectionFailed(ConnectionFault::Interrupted),
    };
    (evidence, failed.to_string())
}

/// The same of a request through the proxy `at`: what kept the connection from coming about is its doing, or its name's.
pub(super) fn evidence_through(error: &reqwest::Error, at: &str) -> (Evidence, String) {
    let (found, words) = evidence(error);
    let evidence = match found {
        Evidence::Tls(_) | Evidence::TimedOut(_) => return (found, words),
        _ if !error.is_connect() => return (found, words),
        // The words of a refused tunnel are at the bottom of the chain.
        _ => Evidence::ConnectionFailed(ConnectionFault::Unreachable),
    };
    let mut bottom: &dyn Error = error;
    while let Some(next) = bottom.source() {
        bottom = next;
    }
    (evidence, format!("the proxy {at} does not connect: {bottom}"))
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
