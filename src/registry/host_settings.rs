//! The settings for requests to a host: TLS, headers, addresses and timeouts. Requests name them by [`HostSettingsId`]; the code that reads a
//! node's configuration registers them. The default is the registry itself, as its reference names it.

use super::SetupError;
use super::clients::{Factory, Profile, TlsTrust, Verification};
use crate::credentials::keyed_hash;
use crate::limits;
use crate::runtime::containerd::hosts::{Schemes, Server, is_loopback};
use crate::runtime::request::{HostSettingsId, Origin, Scheme};
use http::{HeaderMap, header};
use moka::sync::Cache;
use std::sync::Arc;
use std::time::Duration;

/// How long settings are remembered that nobody uses: there are some for each registry and folder, and users name registries.
const REMEMBERED_FOR: Duration = Duration::from_hours(1);

/// The settings for one host. What is sent on its behalf to others (its token server, where it redirects) goes by its TLS settings, as
/// containerd has one client for a host; its headers and its right to a private address are its own.
pub(super) struct HostSettings {
    /// For TLS of its own; `None`: the usual.
    profile: Option<Arc<Profile>>,
    /// Sent to this host, and nowhere else. May be secret.
    headers: HeaderMap,
    /// Where the host is, by https and by http.
    own: Option<(Origin, Origin)>,
    /// The admin named it in a `hosts.toml`: it may live at a private or loopback address (contract 7).
    named: bool,
    /// It is asked over http where it does not speak TLS.
    falls_back: bool,
}

/// What a node's configuration says of a host.
pub(super) struct WrittenHost<'a> {
    pub(super) server: &'a Server,
    pub(super) named: bool,
    pub(super) headers: HeaderMap,
    /// Where anything is said about TLS or about connecting.
    pub(super) tls: Option<TlsTrust>,
}

impl HostSettings {
    /// Whether this is the host that the settings are for.
    pub(super) fn is_own(&self, origin: &Origin) -> bool {
        let own = |(https, http): &(Origin, Origin)| https.is_same_server(origin) || http.is_same_server(origin);
        self.own.as_ref().is_some_and(own)
    }

    /// Whether a `hosts.toml` names the host at `origin`.
    pub(super) fn names(&self, origin: &Origin) -> bool {
        self.named && self.is_own(origin)
    }

    /// Whether what fails over TLS at `origin` is asked over http next: that is not a failure yet.
    pub(super) fn falls_back(&self, origin: &Origin) -> bool {
        let by_default = || self.own.is_none() && is_loopback(&origin.host) && !matches!(origin.port, 80 | 443);
        origin.scheme == Scheme::Https && ((self.falls_back && self.is_own(origin)) || by_default())
    }

    /// The headers for `origin`, without those that are about the connection.
    pub(super) fn headers(&self, origin: &Origin) -> impl Iterator<Item = (&header::HeaderName, &header::HeaderValue)> {
        let about_the_connection = [
            header::HOST,
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::TE,
            header::TRAILER,
            header::UPGRADE,
            header::ACCEPT_ENCODING,
            header::USER_AGENT,
        ];
        let own = self.is_own(origin);
        self.headers
            .iter()
            .filter(move |(name, _)| own && !about_the_connection.contains(name))
    }
}

/// All settings.
pub(super) struct HostSettingsTable {
    pub(super) factory: Factory,
    verified: Arc<Profile>,
    /// For loopback names of references, as containerd does (pull-semantics 5.4).
    unverified: Arc<Profile>,
    itself: Arc<HostSettings>,
    /// Certificates are checked, or not, whatever the name.
    checked: Arc<HostSettings>,
    unchecked: Arc<HostSettings>,
    known: Cache<HostSettingsId, Arc<HostSettings>>,
}

impl HostSettingsTable {
    pub(super) fn new(factory: Factory) -> Result<Self, SetupError> {
        let profile = |verification| {
            let tls = TlsTrust {
                verification,
                ..TlsTrust::default()
            };
            factory
                .profile(&tls)
                .map_err(|why| SetupError(format!("{why}; install the system's CA certificates or name a CA bundle")))
        };
        let plain = |profile: Option<&Arc<Profile>>| {
            Arc::new(HostSettings {
                profile: profile.cloned(),
                headers: HeaderMap::new(),
                own: None,
                named: false,
                falls_back: false,
            })
        };
        let (verified, unverified) = (profile(Verification::Full)?, profile(Verification::None)?);
        Ok(Self {
            itself: plain(None),
            checked: plain(Some(&verified)),
            unchecked: plain(Some(&unverified)),
            verified,
            unverified,
            factory,
            known: Cache::builder()
                .max_capacity(limits::REMEMBERED)
                .time_to_idle(REMEMBERED_FOR)
                .build(),
        })
    }

    /// The settings of this name; `None` when they were not used for an hour and are forgotten.
    pub(super) fn get(&self, id: HostSettingsId) -> Option<Arc<HostSettings>> {
        match id {
            HostSettingsId::VERIFIED => Some(Arc::clone(&self.checked)),
            HostSettingsId::UNVERIFIED => Some(Arc::clone(&self.unchecked)),
            id if id == HostSettingsId::default() => Some(Arc::clone(&self.itself)),
            id => self.known.get(&id),
        }
    }

    /// The clients for a request to `origin`.
    pub(super) fn profile<'a>(&'a self, host_settings: &'a HostSettings, origin: &Origin) -> &'a Profile {
        match &host_settings.profile {
            Some(profile) => profile,
            None if !host_settings.named && is_loopback(&origin.host) => &self.unverified,
            None => &self.verified,
        }
    }

    /// Names some settings, and makes the clients that they take: not for the threads of the async runtime. The error is a clause that
    /// names no secret.
    pub(super) fn register(&self, written: WrittenHost<'_>) -> Result<(HostSettingsId, Arc<HostSettings>), String> {
        let WrittenHost {
            server,
            named,
            headers,
            mut tls,
        } = written;
        if let Some(tls) = &mut tls
            && !named
            && server.schemes != Schemes::Http
            && is_loopback(&server.https.host)
        {
            // Loopback hosts of a reference are not verified, whatever the root says; those that are named are.
            tls.verification = Verification::None;
        }
        let falls_back = server.schemes == Schemes::HttpsThenHttp;
        let profile = tls.as_ref().map(|tls| self.factory.profile(tls)).transpose()?;
        let places = [server.https.to_string(), server.http.to_string()];
        let fingerprint = tls.as_ref().map(TlsTrust::fingerprint);
        let mut parts: Vec<&[u8]> = places.iter().map(String::as_bytes).collect();
        let flags = [u8::from(named), u8::from(falls_back)];
        parts.push(&flags);
        parts.push(fingerprint.as_ref().map_or(&[], |fingerprint| fingerprint.as_slice()));
        for (name, value) in &headers {
            parts.extend([name.as_str().as_bytes(), value.as_bytes()]);
        }
        let mut id = HostSettingsId::default();
        let hash = keyed_hash(parts);
        id.0.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        let host_settings = Arc::new(HostSettings {
            profile,
            headers,
            own: Some((server.https.clone(), server.http.clone())),
            named,
            falls_back,
        });
        self.known.insert(id, Arc::clone(&host_settings));
        Ok((id, host_settings))
    }

    /// Keeps settings that are in use still.
    pub(super) fn keep(&self, id: HostSettingsId, host_settings: &Arc<HostSettings>) {
        if self.known.get(&id).is_none() {
            self.known.insert(id, Arc::clone(host_settings));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Reach;
    use crate::runtime::containerd::hosts::Host;

    fn settings_table() -> HostSettingsTable {
        let reach = Arc::new(Reach::Everything);
        HostSettingsTable::new(Factory::new(&reach, &[], &[], None, Duration::from_secs(5)).unwrap()).unwrap()
    }

    fn origin(text: &str) -> Origin {
        Origin::new(Scheme::Https, text).unwrap()
    }

    fn written(server: &Server, named: bool, header: &'static str) -> (HostSettingsTable, HostSettingsId, Arc<HostSettings>) {
        let settings_table = settings_table();
        let mut headers = HeaderMap::new();
        headers.insert("x-key", header::HeaderValue::from_static(header));
        headers.insert("host", header::HeaderValue::from_static("other"));
        let (id, host_settings) = settings_table
            .register(WrittenHost {
                server,
                named,
                headers,
                tls: None,
            })
            .unwrap();
        (settings_table, id, host_settings)
    }

    #[test]
    fn headers_and_addresses_are_the_hosts_own() {
        let server = Server::new("m.example:5000", Schemes::HttpsThenHttp, "/v2", None).unwrap();
        let (settings_table, id, host_settings) = written(&server, true, "hunter2");
        let (own, other) = (origin("m.example:5000"), origin("m.example:5001"));
        let sent = |at: &Origin| {
            host_settings
                .headers(at)
                .map(|(name, _)| name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(sent(&own), ["x-key"]);
        assert!(sent(&other).is_empty());
        assert!(host_settings.names(&own) && !host_settings.names(&other));
        assert!(host_settings.falls_back(&own) && !host_settings.falls_back(&other));
        assert!(settings_table.get(id).is_some() && settings_table.get(HostSettingsId([7; 16])).is_none());
        let (_, without, _) = written(&server, true, "hunter3");
        assert_ne!(id, without, "a header is part of the name");
    }

    #[test]
    fn loopback_hosts_are_not_verified_unless_they_are_named() {
        let local = Host::of_registry("127.0.0.1:5000").server.unwrap();
        let settings_table = settings_table();
        let itself = settings_table.get(HostSettingsId::default()).unwrap();
        assert!(std::ptr::eq(
            settings_table.profile(&itself, &local.https),
            &raw const *settings_table.unverified
        ));
        assert!(std::ptr::eq(
            settings_table.profile(&itself, &origin("r.example")),
            &raw const *settings_table.verified
        ));
        assert!(itself.falls_back(&local.https) && !itself.falls_back(&origin("r.example:5000")));
        let register = |named, tls: Option<TlsTrust>| {
            let headers = HeaderMap::new();
            let server = &local;
            let written = WrittenHost {
                server,
                named,
                headers,
                tls,
            };
            settings_table.register(written).unwrap().1
        };
        let named = register(true, None);
        assert!(std::ptr::eq(
            settings_table.profile(&named, &local.https),
            &raw const *settings_table.verified
        ));
        let root = register(false, Some(TlsTrust::default()));
        assert!(std::ptr::eq(
            settings_table.profile(&root, &local.https),
            &raw const *settings_table.unverified
        ));
    }
}
