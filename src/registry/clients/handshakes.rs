//! Records when TLS handshakes begin, to tell a connection that was established and then fell silent from one that was never established.
//! The HTTP client does not tell them apart. The hook is rustls' session store: rustls looks up the server there when a handshake begins.

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::{NamedGroup, client::Resumption};
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Servers that are kept in mind, and sessions that may be resumed.
const SERVERS: usize = 256;

/// When the latest handshake with each server began.
#[derive(Debug, Default)]
pub(in crate::registry) struct Handshakes(Mutex<HashMap<String, Instant>>);

/// rustls' own session store, which notifies [`Handshakes`] when it is asked.
#[derive(Debug)]
struct Noted {
    sessions: ClientSessionMemoryCache,
    begun: Arc<Handshakes>,
}

impl Handshakes {
    /// What a client remembers of its sessions, telling when they begin.
    pub(super) fn resumption(self: &Arc<Self>) -> Resumption {
        Resumption::store(Arc::new(Noted {
            sessions: ClientSessionMemoryCache::new(SERVERS),
            begun: Arc::clone(self),
        }))
    }

    fn note(&self, server: &ServerName<'_>) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.len() >= SERVERS {
            begun.clear();
        }
        begun.insert(server.to_str().into_owned(), Instant::now());
    }

    /// Whether one with this host (an IPv6 address without brackets) has begun since then.
    pub(in crate::registry) fn begun_since(&self, host: &str, then: Instant) -> bool {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(host).is_some_and(|at| *at >= then)
    }
}

impl ClientSessionStore for Noted {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.sessions.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.begun.note(server_name);
        self.sessions.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.sessions.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.begun.note(server_name);
        self.sessions.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.sessions.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.sessions.take_tls13_ticket(server_name)
    }
}
