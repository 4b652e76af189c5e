//! Which hosts containerd asks for a registry, and how: its `RegistryHost`s, from a `hosts.toml` or by default (pull-semantics 5.4;
//! `core/remotes/docker/config/hosts.go`, `registry.go`).

use crate::runtime::containerd::rewrites::Rewrites;
use crate::runtime::containerd::{Containerd, Fork};
use crate::runtime::request::{HostSettingsId, Origin, Scheme, Who};
use std::sync::Arc;

/// What a node's `hosts.toml` tree says about one registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hosts {
    /// The hosts, in the order in which they are asked.
    pub hosts: Vec<Host>,
    /// The hosts that containerd 1.x asks instead, where it reads the file differently.
    pub by_1_x: Option<Vec<Host>>,
    /// The hosts that k3s' containerd asks instead, where it reads the file differently.
    pub by_k3s: Option<Vec<Host>>,
    /// The node's settings hold credentials, which makes k3s' containerd pull by its client.
    pub by_client: bool,
}

/// A host that is asked for a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Its address; `None` if it cannot be asked at all.
    pub server: Option<Server>,
    /// Its name in messages.
    pub shown: Arc<str>,
    /// Why we cannot ask it, although a node may be able to; a clause.
    pub unusable: Option<Arc<str>>,
    /// It may be asked for content.
    pub pull: bool,
    /// It may be asked what a tag stands for.
    pub resolve: bool,
    /// Its settings for TLS, headers and addresses.
    pub settings: HostSettingsId,
    /// The names by which repositories are requested there (k3s).
    pub rewrites: Rewrites,
    /// The node's own credential for it, sent if the kubelet gives none (k3s).
    pub node: Who,
}

/// The address of a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// The address over TLS.
    pub https: Origin,
    /// The address without TLS.
    pub http: Origin,
    /// Which of the two are tried.
    pub schemes: Schemes,
    /// Whether the address names a port.
    pub names_port: bool,
    /// The path before the repository: `/v2`, unless a `hosts.toml` says otherwise.
    pub path: Arc<str>,
    /// The registry that the reference names, if this host stands in for it: sent as `ns`.
    pub namespace: Option<Arc<str>>,
}

/// The schemes that are tried at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Schemes {
    /// Every host that is not loopback, and loopback on port 443.
    Https,
    /// Loopback on port 80, and hosts that a `hosts.toml` names with `http://`.
    Http,
    /// Loopback on another port; a host that is named with `http://` and settings for TLS.
    HttpsThenHttp,
}

impl Hosts {
    /// The hosts that a containerd asks. If the fork is unknown, a file with rewrites must be k3s'.
    pub(super) fn of(&self, by: Containerd) -> &[Host] {
        if let Some(hosts) = &self.by_1_x
            && by.version.reads_hosts_as_1_x()
        {
            return hosts;
        }
        match (by.fork, &self.by_k3s) {
            (Fork::K3s, Some(hosts)) => hosts,
            (Fork::Unknown, Some(hosts)) if hosts.iter().any(|host| !host.rewrites.is_empty()) => hosts,
            (Fork::Upstream | Fork::K3s | Fork::Unknown, _) => &self.hosts,
        }
    }
}

impl Host {
    /// The registry itself, as containerd asks it without any settings. `registry` is the part of a reference before the first slash.
    pub fn of_registry(registry: &str) -> Self {
        let contacted = contacted(registry);
        let schemes = match (is_loopback(contacted), port(contacted)) {
            (false, _) | (true, None | Some("443")) => Schemes::Https,
            (true, Some("80")) => Schemes::Http,
            (true, Some(_)) => Schemes::HttpsThenHttp,
        };
        Self {
            server: Server::new(contacted, schemes, "/v2", None),
            shown: Arc::from(registry),
            unusable: None,
            pull: true,
            resolve: true,
            settings: HostSettingsId::default(),
            rewrites: Rewrites::default(),
            node: Who::default(),
        }
    }
}

impl Server {
    /// For `host[:port]`; `None` if that is not an address.
    pub fn new(authority: &str, schemes: Schemes, path: &str, namespace: Option<&str>) -> Option<Self> {
        Some(Self {
            https: Origin::new(Scheme::Https, authority)?,
            http: Origin::new(Scheme::Http, authority)?,
            schemes,
            names_port: port(authority).is_some(),
            path: Arc::from(path),
            namespace: namespace.map(Arc::from),
        })
    }
}

/// The host that is contacted for a registry.
pub fn contacted(registry: &str) -> &str {
    if registry == "docker.io" {
        "registry-1.docker.io"
    } else {
        registry
    }
}

/// The port of `host:port`, also behind an IPv6 address in brackets.
pub fn port(authority: &str) -> Option<&str> {
    let behind_brackets = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    behind_brackets.rsplit_once(':').map(|(_, port)| port)
}

/// containerd's `MatchLocalhost`: the name `localhost`, `127.0.0.0/8` and `::1`, with or without a port.
pub fn is_loopback(authority: &str) -> bool {
    let name = match port(authority) {
        Some(port) => authority
            .strip_suffix(port)
            .and_then(|host| host.strip_suffix(':'))
            .unwrap_or(authority),
        None => authority,
    };
    if name == "localhost" {
        return true;
    }
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    crate::net::is_loopback(address)
}

/// Whether the host is in brackets without being an IPv6 address. References may have such a host, URLs may not.
pub(super) fn is_odd_literal(authority: &str) -> bool {
    let literal = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    literal.is_some_and(|(address, _)| Origin::new(Scheme::Https, &format!("[{address}]")).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_stand_in_brackets() {
        for odd in ["[1234]:5000", "[1234]", "[10.0.0.7]:5000", "[reg]"] {
            assert!(is_odd_literal(odd), "{odd}");
        }
        for fine in ["[::1]:5000", "[::ffff:1.2.3.4]", "reg.example.com:5000", "10.0.0.7"] {
            assert!(!is_odd_literal(fine), "{fine}");
        }
    }

    fn server(registry: &str) -> Server {
        Host::of_registry(registry).server.unwrap()
    }

    #[test]
    fn the_registry_itself() {
        for (registry, origin, schemes) in [
            ("docker.io", "https://registry-1.docker.io", Schemes::Https),
            ("ghcr.io", "https://ghcr.io", Schemes::Https),
            ("docker.io:443", "https://docker.io", Schemes::Https),
            ("localhost", "https://localhost", Schemes::Https),
            ("localhost:443", "https://localhost", Schemes::Https),
            ("127.0.0.1:80", "https://127.0.0.1:80", Schemes::Http),
            ("127.0.0.1:5000", "https://127.0.0.1:5000", Schemes::HttpsThenHttp),
            ("127.1.2.3:5000", "https://127.1.2.3:5000", Schemes::HttpsThenHttp),
            ("[::1]:5000", "https://[::1]:5000", Schemes::HttpsThenHttp),
            (
                "[::ffff:127.0.0.1]:5000",
                "https://[::ffff:7f00:1]:5000",
                Schemes::HttpsThenHttp,
            ),
            ("localhost.example:5000", "https://localhost.example:5000", Schemes::Https),
            ("10.0.0.1:5000", "https://10.0.0.1:5000", Schemes::Https),
        ] {
            let server = server(registry);
            assert_eq!(
                (server.https.to_string().as_str(), server.schemes),
                (origin, schemes),
                "{registry}"
            );
        }
        assert!(Host::of_registry("ghcr.io:99999").server.is_none());
        assert!(!server("localhost").names_port);
        assert!(server("localhost:443").names_port);
    }
}
