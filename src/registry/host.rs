//! A registry host as written in a reference or in a `hosts.toml`, and as contacted (pull-semantics 1.7 and 5.4).

use super::clients::Profile;
use crate::net::Origin;
use crate::telemetry::HostClass;
use http::HeaderMap;
use std::sync::Arc;
use url::Url;

/// The schemes a runtime tries at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schemes {
    /// Every host that is not loopback, and loopback on port 443.
    Https,
    /// Loopback on port 80, and hosts that a `hosts.toml` names with `http://`.
    Http,
    /// Loopback on another port; a host that is named with `http://` and settings for TLS.
    HttpsThenHttp,
}

/// The scheme that a host was found to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
}

/// What a host may be asked for. A digest takes `pull`, a tag takes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) pull: bool,
    pub(super) resolve: bool,
}

impl Capabilities {
    pub(super) const ALL: Self = Self {
        pull: true,
        resolve: true,
    };
    pub(super) const NONE: Self = Self {
        pull: false,
        resolve: false,
    };
}

/// Whether the admin named this host in a `hosts.toml`: such a host may live at a private or loopback address (contract 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// It comes from a reference.
    Stranger,
    Named,
}

/// A host as written in a `hosts.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) scheme: Scheme,
    /// Host and port, letter by letter: what decides about `?ns=`.
    pub(super) authority: String,
    /// Without a slash at its end; empty for the root.
    pub(super) path: String,
}

impl Written {
    /// `https://host:port/path`, `http://…`, or without a scheme, which means https. The error is a clause for the reader.
    ///
    /// Only what Go's `url.Parse` refuses is an error, for it breaks the whole file. What it reads and nobody can ask (another scheme, no
    /// host, a port beyond 65535) is passed over by containerd when its turn comes: here its authority is empty.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let full = if text.starts_with("http") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        // The text is not repeated: somebody may have written a password into it.
        let wrong = || "this is not the URL of a host; write it as https://mirror.example:5000".to_owned();
        let nowhere = Self::nowhere();
        if full.chars().any(|c| c.is_ascii_control()) {
            return Err(wrong());
        }
        let Some((scheme, rest)) = full.split_once("://") else {
            return Ok(nowhere);
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if !go_reads(authority) {
            return Err(wrong());
        }
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Ok(nowhere),
        };
        let reachable = [Scheme::Https, Scheme::Http]
            .into_iter()
            .all(|scheme| parse(scheme, authority).is_some());
        match Url::parse(&full) {
            Ok(url) if reachable => Ok(Self {
                scheme,
                authority: authority.to_owned(),
                path: clean(url.path()),
            }),
            Ok(_) | Err(_) => Ok(nowhere),
        }
    }

    /// What nobody can ask: containerd goes on to the next host.
    pub(super) fn nowhere() -> Self {
        Self {
            scheme: Scheme::Https,
            authority: String::new(),
            path: String::new(),
        }
    }

    /// With `/v2` at the end of the path, unless it is there: what `override_path` prevents.
    pub(super) fn with_api_path(mut self) -> Self {
        if !self.path.ends_with("/v2") {
            self.path.push_str("/v2");
        }
        self
    }
}

/// Whether Go's `url.Parse` takes this for a host and perhaps a port.
fn go_reads(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(']') {
        Some((_, port)) if authority.starts_with('[') => ("", port),
        _ => match authority.rfind(':') {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        },
    };
    let plain = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:<>\"".contains(c);
    let digits = port
        .strip_prefix(':')
        .map_or(port.is_empty(), |port| port.bytes().all(|b| b.is_ascii_digit()));
    host.chars().all(plain) && digits
}

/// Without empty segments. What is empty then is the root.
fn clean(path: &str) -> String {
    path.split('/')
        .filter(|part| !part.is_empty())
        .fold(String::new(), |mut clean, part| {
            clean.push('/');
            clean.push_str(part);
            clean
        })
}

/// `scheme://authority/`; `None` when that is no plain address of a host.
fn parse(scheme: Scheme, authority: &str) -> Option<Url> {
    let scheme = match scheme {
        Scheme::Https => "https",
        Scheme::Http => "http",
    };
    let url = Url::parse(&format!("{scheme}://{authority}/")).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let plain =
        bare && url.host_str().is_some_and(|host| !host.is_empty()) && url.username().is_empty() && url.password().is_none();
    plain.then_some(url)
}

/// Where the API of a registry is, and how to speak to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// `https://host[:port]/`
    https: Url,
    /// `http://host[:port]/`
    http: Url,
    /// Before the repository: `/v2`, unless a `hosts.toml` says otherwise.
    path: String,
    /// The registry that the reference names, where another is asked in its place.
    namespace: Option<String>,
    /// Sent to this host, and nowhere else.
    pub(super) headers: HeaderMap,
    /// Which schemes to try.
    pub(super) schemes: Schemes,
    pub(super) capabilities: Capabilities,
    pub(super) standing: Standing,
    /// Settings for TLS of its own.
    pub(super) profile: Option<Arc<Profile>>,
}

impl Endpoint {
    /// `registry` as containerd splits it off a reference. `None` when no URL can be made of it (`ghcr.io:99999`).
    pub(super) fn new(registry: &str) -> Option<Self> {
        let contacted = if registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            registry
        };
        let schemes = match (is_loopback_name(contacted), port_of(contacted)) {
            (false, _) | (true, None | Some("443")) => Schemes::Https,
            (true, Some("80")) => Schemes::Http,
            (true, Some(_)) => Schemes::HttpsThenHttp,
        };
        Some(Self {
            https: parse(Scheme::Https, contacted)?,
            http: parse(Scheme::Http, contacted)?,
            path: "/v2".to_owned(),
            namespace: None,
            headers: HeaderMap::new(),
            schemes,
            capabilities: Capabilities::ALL,
            standing: Standing::Stranger,
            profile: None,
        })
    }

    /// A host that a `hosts.toml` names for `registry`. `explicit` says whether it has settings for TLS.
    pub(super) fn named(registry: &str, written: &Written, tls: Tls) -> Option<Self> {
        let schemes = match (written.scheme, tls, port_of(&written.authority)) {
            (Scheme::Https, _, _) => Schemes::Https,
            (Scheme::Http, Tls::Unsaid, _) | (Scheme::Http, Tls::Explicit, Some("80")) => Schemes::Http,
            (Scheme::Http, Tls::Explicit, _) => Schemes::HttpsThenHttp,
        };
        let own = written.authority == registry || (registry == "docker.io" && written.authority == "registry-1.docker.io");
        Some(Self {
            https: parse(Scheme::Https, &written.authority)?,
            http: parse(Scheme::Http, &written.authority)?,
            path: written.path.clone(),
            namespace: (!own).then(|| registry.to_owned()),
            headers: HeaderMap::new(),
            schemes,
            capabilities: Capabilities::ALL,
            standing: Standing::Named,
            profile: None,
        })
    }

    /// `https://host[:port]/` or `http://host[:port]/`.
    pub(super) fn base(&self, scheme: Scheme) -> &Url {
        match scheme {
            Scheme::Https => &self.https,
            Scheme::Http => &self.http,
        }
    }

    /// The URL of `rest` (with its query, if any) in `repository`.
    pub(super) fn url(&self, scheme: Scheme, repository: &str, rest: &str) -> Url {
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let mut url = self.base(scheme).clone();
        // Repositories, tags and digests hold nothing that a URL's path would take for something else.
        url.set_path(&format!("{}/{repository}/{path}", self.path));
        url.set_query(query);
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// Whether `url` is at this host.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        url.host() == self.https.host()
            && [&self.https, &self.http]
                .iter()
                .any(|own| own.port_or_known_default() == url.port_or_known_default())
    }

    /// The standing of the host of `url`, asked on behalf of this one.
    pub(super) fn standing_at(&self, url: &Url) -> Standing {
        if self.is_at(url) { self.standing } else { Standing::Stranger }
    }

    /// Whether no port is written: what cannot be reached by https is then tried by http all the same.
    pub(super) fn is_without_port(&self) -> bool {
        self.https.port().is_none() && self.http.port().is_none()
    }

    /// The host with its port, as people see it.
    pub(super) fn shown(&self) -> String {
        authority(&self.https)
    }
}

/// Whether a `hosts.toml` says anything about TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    Unsaid,
    Explicit,
}

/// `host`, or `host:port` where the port is not the scheme's own.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn port_of(host: &str) -> Option<&str> {
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    after_brackets.rsplit_once(':').map(|(_, port)| port)
}

/// containerd's `MatchLocalhost`: the name `localhost`, `127.0.0.0/8`, `::1`.
fn is_loopback_name(host: &str) -> bool {
    let name = match port_of(host) {
        Some(port) => host.strip_suffix(port).and_then(|h| h.strip_suffix(':')).unwrap_or(host),
        None => host,
    };
    if name == "localhost" {
        return true;
    }
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    address
        .parse::<std::net::IpAddr>()
        .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether TLS to this URL goes unverified, as containerd does for loopback names.
pub(super) fn is_unverified(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_name)
}

/// The label of a host in metrics.
pub(super) fn class(url: &Url) -> HostClass {
    let host = url.host_str().unwrap_or_default();
    let under = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let is_ecr = host.contains(".dkr.ecr.") && (under("amazonaws.com") || under("amazonaws.com.cn"));
    match host {
        _ if is_unverified(url) => HostClass::Loopback,
        _ if under("docker.io") => HostClass::DockerIo,
        _ if under("ghcr.io") => HostClass::GhcrIo,
        _ if under("quay.io") => HostClass::QuayIo,
        _ if under("gcr.io") => HostClass::Gcr,
        _ if under("pkg.dev") => HostClass::Gar,
        _ if is_ecr || under("public.ecr.aws") => HostClass::Ecr,
        _ if under("azurecr.io") || under("azurecr.cn") => HostClass::Acr,
        _ if under("registry.k8s.io") => HostClass::K8s,
        _ if under("mcr.microsoft.com") => HostClass::Mcr,
        _ => HostClass::Other,
    }
}

/// The key of a host's limits. What keeps a stranger from a host (an untrusted certificate, an address) must not keep away those that a
/// `hosts.toml` sends there.
pub(super) type HostKey = (String, u16, Standing);

/// The key of the host of `url`.
pub(super) fn key(url: &Url, standing: Standing) -> HostKey {
    (
        url.host_str().unwrap_or_default().to_owned(),
        url.port_or_known_default().unwrap_or_default(),
        standing,
    )
}

/// Whether `url` is on the origin `origin`.
pub(super) fn is_on(url: &Url, origin: &Origin) -> bool {
    Origin::of(url) == *origin
}

#[cfg(test)]
mod tests;
