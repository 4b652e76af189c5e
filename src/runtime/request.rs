//! Requests to registries and token servers, as a runtime makes them. A request says who asks and by what right, never with which secret.

use crate::credentials::{Credential, Fingerprint};
use crate::image::Digest;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How a server is spoken to.
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

/// Scheme, host and port: what a request is sent to, and what a credential or a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// In lower case; an IPv6 address in brackets.
    pub host: Arc<str>,
    /// The scheme's own where none is written.
    pub port: u16,
}

impl Origin {
    /// Of `host[:port]`; `None` when no address can be made of that (`ghcr.io:99999`).
    pub fn new(scheme: Scheme, authority: &str) -> Option<Self> {
        let url = Url::parse(&format!("{}://{authority}/", scheme.name())).ok()?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let nobody = url.username().is_empty() && url.password().is_none();
        Self::of(&url).filter(|_| bare && nobody)
    }

    /// Of an http(s) URL with a host.
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

    /// The same host and port, whatever the scheme: by this Go's clients keep what a server was found to want.
    pub fn is_same_server(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }

    /// Whether nodes take an `Authorization` along when this server redirects to `to`: another port of the same host, or a host below it
    /// (Go, net/http `shouldCopyHeaderOnRedirect`). We take it nowhere (contract 7).
    pub fn hands_to(&self, to: &Self) -> bool {
        let below = || to.host.strip_suffix(&*self.host).is_some_and(|rest| rest.ends_with('.'));
        self != to && (self.host == to.host || below())
    }
}

/// `https://host[:port]`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// All that a runtime may know of a credential: which parts it has. Nobody's is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Who {
    /// Tells one credential from another; nothing can be learned from it.
    pub id: Option<Fingerprint>,
    /// It has a user name.
    pub user: bool,
    /// It has a password.
    pub password: bool,
    /// It has an identity token (an `OAuth2` refresh token).
    pub identity_token: bool,
}

impl Who {
    /// Whose credential this is.
    pub fn of(credential: &Credential) -> Self {
        Self {
            id: Some(credential.fingerprint()),
            user: !credential.username.is_empty(),
            password: !credential.password.is_empty(),
            identity_token: !credential.identity_token.is_empty(),
        }
    }
}

/// As whom a request introduces itself (`User-Agent`): a runtime, and its version: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Agent {
    /// `containerd/2.4.2` (`NewResolver` in `core/remotes/docker/resolver.go`).
    Containerd(u16, u16, u16),
    /// `cri-o/1.36.3 go/… os/linux arch/amd64` (`internal/useragent`), of which the beginning can be known here.
    Crio(u16, u16, u16),
}

impl Agent {
    /// That of a node, by its `status.nodeInfo.containerRuntimeVersion`; `None` for a runtime that is not known here.
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

/// Who asks where nothing is known of the nodes.
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

/// As whom the nodes that would pull an image introduce themselves: of each runtime the newest, so that one answer serves all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agents {
    /// Nodes with containerd.
    pub containerd: Agent,
    /// Nodes with CRI-O.
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
    /// POST, of a form.
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

/// What is sent to one origin to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// User name and password (or the identity token as the password of nobody).
    Basic(Who),
    /// The token that this request gets.
    Bearer(Arc<TokenRequest>),
}

/// A request for a token. It names the token as well: the token may be renewed without any key changing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// The registry that asked for it: a token that one registry asked for is not shown to another.
    pub origin: Origin,
    /// The token server.
    pub realm: Arc<str>,
    /// As the challenge has it.
    pub service: Option<Arc<str>>,
    /// In the order in which they are sent.
    pub scopes: Vec<Arc<str>>,
    /// Whose token.
    pub who: Who,
    /// How it is asked for.
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

/// How a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grant {
    /// GET, without a credential.
    Anonymous,
    /// GET, with user name and password (`Basic`).
    Basic,
    /// GET as containers/image does it: where there is a user name, it stands as `account` in the query (the wire puts it there, in the order
    /// of names), and where there is a password too, both are sent (`Basic`). It reads what comes back more strictly than containerd: one
    /// JSON value, in which `expires_in` is an integer and `issued_at` a time (RFC 3339); `token` counts before `access_token`, and where
    /// there is neither, an empty token is sent.
    Account,
    /// POST of user name and password (containerd).
    Password,
    /// POST of the identity token.
    Refresh,
}

impl Grant {
    /// POST or GET.
    pub fn method(self) -> Method {
        match self {
            Self::Anonymous | Self::Basic | Self::Account => Method::Get,
            Self::Password | Self::Refresh => Method::Post,
        }
    }
}

/// What the answer is read for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Want {
    /// Status and headers.
    Nothing,
    /// A manifest or an index. Its digest is computed by the algorithm of the one that it was asked for by, else by sha256.
    Manifest {
        /// What it was asked for by, where that is a digest.
        by: Option<Digest>,
    },
    /// The config of an image.
    Config {
        /// Its digest.
        by: Digest,
    },
    /// A layer, or another blob that nobody reads: whether it is there, and how long it is.
    Blob {
        /// How long it is said to be, in bytes, where that matters.
        size: Option<i64>,
    },
    /// A token.
    Token(Arc<TokenRequest>),
    /// The tags of a repository, those closest to the one that is named.
    Tags {
        /// The tag that is not there.
        near: Arc<str>,
    },
    /// The body of a refusal.
    Words,
}

/// Settings for TLS, addresses and headers that the node's configuration has for a host; the default is none. The wire knows them by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TrustId(pub [u8; 16]);

impl TrustId {
    /// No settings, but certificates are not checked.
    pub const UNVERIFIED: Self = Self([0xff; 16]);
    /// No settings, but certificates are checked of loopback names too.
    pub const VERIFIED: Self = Self([0xfe; 16]);
}

/// Which of several equal requests this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Attempt {
    /// 0 for the first.
    pub nth: u8,
    /// The pause that the runtime makes before it.
    pub after: Duration,
}

/// A request. Redirects are followed by the wire ([`super::redirect`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// Who asks, also where nothing of the credential is sent: no tenant learns from the timing of an answer what another has asked.
    pub asker: Who,
    /// Its method.
    pub method: Method,
    /// Where it is sent.
    pub origin: Origin,
    /// Path and query.
    pub path: Arc<str>,
    /// The `Accept` header.
    pub accept: Arc<str>,
    /// What is sent to which origin; nothing goes anywhere else.
    pub auth: Vec<(Origin, Auth)>,
    /// What the answer is read for.
    pub want: Want,
    /// By which settings it is sent.
    pub trust: TrustId,
    /// As whom.
    pub agent: Agent,
    /// Which of several equal ones it is.
    pub attempt: Attempt,
}

#[cfg(test)]
mod tests {
    use super::*;

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
