//! Requests to registries and token servers, as a runtime makes them. A request says who asks and by what right, never with which secret.

use crate::credentials::{Credential, Fingerprint};
use crate::image::Digest;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The scheme of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP over TLS.
    Https,
    /// Plain HTTP.
    Http,
}

impl Scheme {
    /// `https` or `http`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    fn usual_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// Scheme, host and port. A request is sent to an origin, and a credential or token belongs to one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// In lower case; an IPv6 address in brackets.
    pub host: Arc<str>,
    /// The default port of the scheme if none is given.
    pub port: u16,
}

impl Origin {
    /// The origin of `host[:port]`; `None` if that is not an address (`ghcr.io:99999`).
    pub fn new(scheme: Scheme, authority: &str) -> Option<Self> {
        if let Some((host, port)) = plain(authority) {
            return Some(Self {
                scheme,
                host: Arc::from(host),
                port: port.unwrap_or_else(|| scheme.usual_port()),
            });
        }
        let url = Url::parse(&format!("{}://{authority}/", scheme.name())).ok()?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let nobody = url.username().is_empty() && url.password().is_none();
        Self::of(&url).filter(|_| bare && nobody)
    }

    /// The origin of an http(s) URL with a host.
    pub fn of(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.is_empty())?;
        Some(Self {
            scheme,
            host: Arc::from(host),
            port: url.port().unwrap_or_else(|| scheme.usual_port()),
        })
    }

    /// `host`, with its port where that is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.usual_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The same host and port, whatever the scheme: Go's clients remember by this what a server was found to need.
    pub fn is_same_server(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }

    /// Whether nodes keep the `Authorization` when this server redirects to `to`: another port of the same host, or a subdomain of it (Go,
    /// net/http `shouldCopyHeaderOnRedirect`). We never keep it (contract 7).
    pub fn hands_to(&self, to: &Self) -> bool {
        let below = || to.host.strip_suffix(&*self.host).is_some_and(|rest| rest.ends_with('.'));
        self != to && (self.host == to.host || below())
    }
}

/// Host and port of an authority that is written as a URL has it: that of nearly every registry, on the way of every look-up. `None` says
/// nothing: an address, a name in other letters or one that is encoded (`xn--`) is for the URL parser.
fn plain(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, Some(port.parse().ok()?))
        }
        Some(_) => return None,
        None => (authority, None),
    };
    let is_plain = |label: &str| {
        let only = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        !label.is_empty() && !label.contains("--") && label.bytes().all(only)
    };
    // What ends in a number is an IPv4 address, or an attempt at one.
    let is_name = host
        .rsplit('.')
        .next()
        .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_lowercase()));
    (is_name && host.split('.').all(is_plain)).then_some((host, port))
}

/// `https://host[:port]`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// All that a runtime module may know about a credential: which parts it has. The default is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Who {
    /// Tells one credential from another; reveals nothing about it.
    pub id: Option<Fingerprint>,
    /// It has a user name.
    pub user: bool,
    /// It has a password.
    pub password: bool,
    /// It has an identity token (an `OAuth2` refresh token).
    pub identity_token: bool,
}

impl Who {
    /// The parts that this credential has.
    pub fn of(credential: &Credential) -> Self {
        Self {
            id: Some(credential.fingerprint()),
            user: !credential.username.is_empty(),
            password: !credential.password.is_empty(),
            identity_token: !credential.identity_token.is_empty(),
        }
    }
}

/// The `User-Agent` of a request: a runtime and its version (major, minor, patch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Agent {
    /// `containerd/2.4.2` (`NewResolver` in `core/remotes/docker/resolver.go`).
    Containerd(u16, u16, u16),
    /// `cri-o/1.36.3 go/… os/linux arch/amd64` (`internal/useragent`), of which only the beginning can be known here.
    Crio(u16, u16, u16),
}

impl Agent {
    /// The `User-Agent` of a node, by its `status.nodeInfo.containerRuntimeVersion`; `None` for a runtime that pullgate does not know.
    pub fn of_node(container_runtime_version: &str) -> Option<Self> {
        let (name, version) = container_runtime_version.split_once("://")?;
        let mut parts = version.trim_start_matches('v').split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or_default()
        });
        let mut next = || parts.next().unwrap_or_default();
        let (major, minor, patch) = (next(), next(), next());
        match name {
            "containerd" => Some(Self::Containerd(major, minor, patch)),
            "cri-o" => Some(Self::Crio(major, minor, patch)),
            _ => None,
        }
    }
}

/// The `User-Agent` when nothing is known about the nodes.
impl Default for Agent {
    fn default() -> Self {
        Self::Containerd(2, 4, 2)
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Containerd(major, minor, patch) => write!(f, "containerd/{major}.{minor}.{patch}"),
            Self::Crio(major, minor, patch) => write!(f, "cri-o/{major}.{minor}.{patch}"),
        }
    }
}

/// The `User-Agent`s of the nodes that would pull an image: the newest version of each runtime, so that one answer serves all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agents {
    /// Of nodes with containerd.
    pub containerd: Agent,
    /// Of nodes with CRI-O.
    pub crio: Agent,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            containerd: Agent::default(),
            crio: Agent::Crio(1, 36, 3),
        }
    }
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// HEAD.
    Head,
    /// GET.
    Get,
    /// POST of a form.
    Post,
}

impl Method {
    /// `HEAD`, `GET` or `POST`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// The authorization for one origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// User name and password (or the identity token as a password without a user name).
    Basic(Who),
    /// The token that this token request gets.
    Bearer(Arc<TokenRequest>),
}

/// A request for a token. It also identifies the token, so that a token can be renewed without changing any key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// The registry that asked for it. A token that one registry asked for is not sent to another.
    pub origin: Origin,
    /// The token server.
    pub realm: Arc<str>,
    /// `service` of the challenge, as sent.
    pub service: Option<Arc<str>>,
    /// In the order in which they are sent.
    pub scopes: Vec<Arc<str>>,
    /// Whose token it is.
    pub who: Who,
    /// How it is requested.
    pub by: Grant,
}

impl TokenRequest {
    /// Whether no credential is sent.
    pub fn is_anonymous(&self) -> bool {
        match self.by {
            Grant::Anonymous => true,
            Grant::Account => !(self.who.user && self.who.password),
            Grant::Basic | Grant::Password | Grant::Refresh => false,
        }
    }
}

/// How a token is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grant {
    /// GET, without a credential.
    Anonymous,
    /// GET, with user name and password (`Basic`).
    Basic,
    /// GET as containers/image sends it: a user name is `account` in the query (the wire puts it there, in the order of names), and with a
    /// password too, both are sent (`Basic`). It reads the answer more strictly than containerd: one JSON value, in which `expires_in` is
    /// an integer and `issued_at` a time (RFC 3339). `token` counts before `access_token`, and if there is neither, an empty token is sent.
    Account,
    /// POST of user name and password (containerd).
    Password,
    /// POST of the identity token.
    Refresh,
}

impl Grant {
    /// The method of this grant.
    pub fn method(self) -> Method {
        match self {
            Self::Anonymous | Self::Basic | Self::Account => Method::Get,
            Self::Password | Self::Refresh => Method::Post,
        }
    }
}

/// What is read from the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Want {
    /// Status and headers.
    Nothing,
    /// A manifest or an index. Its digest is computed with the algorithm of the requested digest, otherwise with sha256.
    Manifest {
        /// The digest that was requested, if it was one.
        by: Option<Digest>,
    },
    /// The config of an image.
    Config {
        /// Its digest.
        by: Digest,
    },
    /// A layer, or another blob whose content is not read: only whether it exists, and its size.
    Blob {
        /// The announced size in bytes, if it matters.
        size: Option<i64>,
    },
    /// A token.
    Token(Arc<TokenRequest>),
    /// The tags of a repository that are closest to the named one.
    Tags {
        /// The tag that is not there.
        near: Arc<str>,
    },
    /// The body of a refusal.
    ErrorText,
}

/// A host's settings for TLS, addresses and headers in a node's configuration; the default is none. The wire knows the settings by this
/// identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct HostSettingsId(pub [u8; 16]);

impl HostSettingsId {
    /// No settings, except that certificates are not checked.
    pub const UNVERIFIED: Self = Self([0xff; 16]);
    /// No settings, except that certificates are checked even for loopback names.
    pub const VERIFIED: Self = Self([0xfe; 16]);
}

/// Distinguishes equal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Retry {
    /// 0 for the first.
    pub nth: u8,
    /// The pause that the runtime makes before it.
    pub after: Duration,
}

/// A request. Redirects are followed by the wire ([`super::redirect`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whose pull this is, even if nothing of the credential is sent: no tenant may learn from the timing of an answer what another has
    /// asked.
    pub asker: Who,
    /// Its method.
    pub method: Method,
    /// Where it is sent.
    pub origin: Origin,
    /// Path and query.
    pub path: Arc<str>,
    /// The `Accept` header.
    pub accept: Arc<str>,
    /// What is sent to which origin; nothing is sent anywhere else.
    pub auth: Vec<(Origin, Auth)>,
    /// What is read from the answer.
    pub want: Want,
    /// The settings to send it with.
    pub host_settings: HostSettingsId,
    /// The `User-Agent`.
    pub agent: Agent,
    /// Distinguishes equal requests.
    pub retry: Retry,
}

/// What tells requests apart: those for tokens differ in what is wanted only. The comparison does the rest.
impl Hash for Request {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            asker,
            method,
            origin,
            path,
            want,
            retry,
            ..
        } = self;
        (asker.id, method, &origin.host, path, want, retry.nth).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_authority_is_what_the_url_parser_makes_of_it(
            authority in "[a-z0-9-]{0,4}(\\.[a-zA-Z0-9-]{0,4}){0,2}(:[0-9]{0,6})?", http in any::<bool>()
        ) {
            if let Some((host, port)) = plain(&authority) {
                let scheme = if http { Scheme::Http } else { Scheme::Https };
                let parsed = origin(&format!("{}://{authority}/", scheme.name()));
                prop_assert_eq!(&*parsed.host, host);
                prop_assert_eq!(parsed.port, port.unwrap_or_else(|| scheme.usual_port()));
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_for_the_url_parser() {
        for authority in ["ghcr.io", "localhost", "r-1.example:5000", "a.b.c.d:0"] {
            assert!(plain(authority).is_some(), "{authority}");
        }
        for authority in [
            "",
            "10.0.0.1",
            "a.1",
            "a.0x1",
            "a..b",
            "a.",
            "xn--a.example",
            "Reg.test",
            "r:",
            "r:99999",
            "u@r",
            "[::1]",
            "a_b.c",
            "a.b/c",
        ] {
            assert_eq!(plain(authority), None, "{authority}");
        }
    }

    fn origin(text: &str) -> Origin {
        Origin::of(&Url::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn go_hands_a_header_to_the_host_and_what_lies_below() {
        for (from, to, carried) in [
            ("https://reg.test", "https://reg.test:8443", true),
            ("http://reg.test:5000", "https://reg.test", true),
            ("https://reg.test", "https://blobs.reg.test", true),
            ("https://reg.test", "https://reg.test", false),
            ("https://blobs.reg.test", "https://reg.test", false),
            ("https://reg.test", "https://evilreg.test", false),
            ("https://reg.test", "https://cdn.test", false),
        ] {
            assert_eq!(origin(from).hands_to(&origin(to)), carried, "{from} {to}");
        }
    }

    #[test]
    fn a_request_introduces_itself_as_the_nodes_runtime() {
        for (said, introduced) in [
            ("containerd://2.4.2", Some("containerd/2.4.2")),
            ("containerd://v1.7.34-1", Some("containerd/1.7.34")),
            ("containerd://2.1.5-k3s1", Some("containerd/2.1.5")),
            ("cri-o://1.36.3", Some("cri-o/1.36.3")),
            ("docker://27.0", None),
            ("", None),
        ] {
            let agent = Agent::of_node(said).map(|agent| agent.to_string());
            assert_eq!(agent.as_deref(), introduced, "{said}");
        }
    }

    #[test]
    fn default_ports_are_known_and_not_printed() {
        for (url, printed) in [
            ("https://Reg.test/v2/", "https://reg.test"),
            ("https://user:secret@reg.test:443/v2/?a#b", "https://reg.test"),
            ("http://reg.test:80", "http://reg.test"),
            ("https://reg.test:80", "https://reg.test:80"),
            ("http://[::1]:5000/", "http://[::1]:5000"),
        ] {
            assert_eq!(origin(url).to_string(), printed, "{url}");
        }
        let same = origin("https://reg.test");
        assert_eq!(same, origin("https://reg.test:443/path"));
        assert_eq!((same.scheme.name(), &*same.host, same.port), ("https", "reg.test", 443));
        assert_eq!(Origin::of(&Url::parse("ftp://reg.test").unwrap()), None);
    }
}
