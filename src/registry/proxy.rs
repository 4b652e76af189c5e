//! The proxy, and which hosts are reached without it: Go's rules for `HTTPS_PROXY` and `NO_PROXY`, which containerd follows. Pure.

use super::client::Through;
use super::headers;
use crate::net::Cidr;
use crate::runtime::request::Origin;
use std::fmt;
use std::net::IpAddr;
use url::{Host, Url};

/// A proxy for https. Plain HTTP and loopback hosts are never reached through it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    at: At,
    exceptions: Vec<Exception>,
}

/// Where it is.
#[derive(Clone, PartialEq, Eq)]
enum At {
    /// May hold a user name and a password.
    Url(Url),
    /// Somewhere that cannot be reached. Why, as a clause that begins with `the proxy`.
    Nowhere(String),
}

/// Says where it is, and nothing of a user name or password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({} but for {:?})", self.shown(), self.exceptions)
    }
}

/// Hosts that are reached directly.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    /// `*`
    Everything,
    /// `10.0.0.0/8`: hosts that are written as addresses in it.
    Range(Cidr),
    /// `10.1.2.3` or `10.1.2.3:443`
    Address(IpAddr, Option<u16>),
    /// `example.com` (itself and all below), `.example.com` and `*.example.com` (all below), with or without a port.
    Domain {
        /// Without the leading dot, in lower case.
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Proxy {
    /// A proxy at `url` (`http://proxy:3128`, `https://…`, or without a scheme, which means http) for all hosts but `exceptions`.
    /// The error is a sentence that repeats nothing of the URL: it may carry a password.
    pub fn new<E: AsRef<str>>(url: &str, exceptions: &[E]) -> Result<Self, String> {
        let wrong = || "a proxy's URL begins with http:// or https:// and names a host".to_owned();
        let text = url.trim();
        let full = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&full).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        Ok(Self {
            at: At::Url(url),
            exceptions: read(exceptions),
        })
    }

    /// A proxy that cannot be used: hosts that it is for are not reached, as it is with Go's programs, and the others are. `why` is a
    /// clause that begins with `the proxy`, for the findings.
    pub fn unusable<E: AsRef<str>>(why: &str, exceptions: &[E]) -> Self {
        Self {
            at: At::Nowhere(why.to_owned()),
            exceptions: read(exceptions),
        }
    }

    /// Whether an entry of `NO_PROXY` means anything.
    pub fn is_exception(text: &str) -> bool {
        exception(text).is_some()
    }

    /// `proxy:3128`
    pub(super) fn shown(&self) -> String {
        match &self.at {
            At::Url(url) => Origin::of(url).map(|origin| origin.authority()).unwrap_or_default(),
            At::Nowhere(_) => "nowhere".to_owned(),
        }
    }

    /// Why nothing can be reached through it.
    pub(super) fn fault(&self) -> Option<&str> {
        match &self.at {
            At::Url(_) => None,
            At::Nowhere(why) => Some(why),
        }
    }

    /// Whether a request to `url` goes through it.
    pub(super) fn covers(&self, url: &Url) -> bool {
        if url.scheme() != "https" {
            return false;
        }
        let address = match url.host() {
            None | Some(Host::Domain("localhost")) => return false,
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip).to_canonical()),
        };
        if address.is_some_and(|ip| ip.is_loopback()) {
            return false;
        }
        let name = url.host_str().unwrap_or_default();
        let at = url.port_or_known_default();
        let here = |port: &Option<u16>| port.is_none() || *port == at;
        !self.exceptions.iter().any(|exception| match exception {
            Exception::Everything => true,
            Exception::Range(range) => address.is_some_and(|ip| range.contains(ip)),
            Exception::Address(ip, port) => address == Some(*ip) && here(port),
            Exception::Domain {
                name: domain,
                itself,
                port,
            } => {
                let matches = if name == domain {
                    *itself
                } else {
                    name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
                };
                address.is_none() && matches && here(port)
            }
        })
    }

    /// As the HTTP client takes it. `None` where there is nothing to reach it by.
    pub(super) fn to_client(&self) -> Result<Option<Through>, String> {
        let At::Url(url) = &self.at else { return Ok(None) };
        let mut bare = url.clone();
        let authorization = headers::take_userinfo(&mut bare);
        let at = bare
            .as_str()
            .parse()
            .map_err(|_| "the proxy's URL cannot be used".to_owned())?;
        Ok(Some(Through { at, authorization }))
    }
}

fn read<E: AsRef<str>>(exceptions: &[E]) -> Vec<Exception> {
    exceptions.iter().filter_map(|text| exception(text.as_ref())).collect()
}

/// One entry of `NO_PROXY`; what means nothing is passed over, as Go does.
fn exception(text: &str) -> Option<Exception> {
    let text = text.trim().to_ascii_lowercase();
    if text.is_empty() {
        return None;
    }
    if text == "*" {
        return Some(Exception::Everything);
    }
    if text.contains('/') {
        return text.parse().ok().map(Exception::Range);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(&text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Exception::Address(ip.to_canonical(), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (text.as_str(), None),
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Exception::Address(ip.to_canonical(), port));
    }
    let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
    let name = below.unwrap_or(host);
    (!name.is_empty()).then(|| Exception::Domain {
        name: name.to_owned(),
        itself: below.is_none(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(exceptions: &[&str], url: &str) -> bool {
        let proxy = Proxy::new("http://proxy.example:3128", exceptions).unwrap();
        proxy.covers(&Url::parse(url).unwrap())
    }

    #[test]
    fn what_goes_through() {
        assert!(covers(&[], "https://r.example/"));
        assert!(covers(&[], "https://10.0.0.1/"));
        for url in [
            "http://r.example/",
            "https://localhost:5000/",
            "https://127.9.9.9/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
        ] {
            assert!(!covers(&[], url), "{url}");
        }
    }

    #[test]
    fn exceptions() {
        for (exception, direct, through) in [
            ("*", &["https://r.example/"][..], &[][..]),
            (
                "Example.com",
                &["https://example.com/", "https://a.b.example.com:5000/"],
                &["https://notexample.com/", "https://example.com.evil/"],
            ),
            (".example.com", &["https://a.example.com/"], &["https://example.com/"]),
            ("*.example.com", &["https://a.example.com/"], &["https://example.com/"]),
            (
                "example.com:5000",
                &["https://example.com:5000/", "https://a.example.com:5000/"],
                &["https://example.com/"],
            ),
            ("example.com:443", &["https://example.com/"], &["https://example.com:444/"]),
            (
                "10.0.0.0/8",
                &["https://10.1.2.3:5000/"],
                &["https://11.0.0.1/", "https://r.example/"],
            ),
            ("10.1.2.3", &["https://10.1.2.3:5000/"], &["https://10.1.2.4/"]),
            ("10.1.2.3:443", &["https://10.1.2.3/"], &["https://10.1.2.3:5000/"]),
            ("fd00::1", &["https://[fd00::1]/"], &["https://[fd00::2]/"]),
            ("[fd00::1]:443", &["https://[fd00::1]/"], &["https://[fd00::1]:1/"]),
            ("fd00::/8", &["https://[fd00::1]/"], &["https://[fe00::1]/"]),
            ("", &[], &["https://r.example/"]),
            (" ", &[], &["https://r.example/"]),
            ("10.0.0.0/99", &[], &["https://10.0.0.1/"]),
            ("r.example:x", &[], &["https://r.example/"]),
            (".", &[], &["https://r.example/"]),
        ] {
            for url in direct {
                assert!(!covers(&[exception], url), "{exception} {url}");
            }
            for url in through {
                assert!(covers(&[exception], url), "{exception} {url}");
            }
        }
    }

    #[test]
    fn what_is_said_of_a_proxy() {
        let proxy = Proxy::new("http://user:hunter2@proxy.example:3128", &["a"]).unwrap();
        assert_eq!(proxy.shown(), "proxy.example:3128");
        let debug = format!("{proxy:?}");
        assert!(
            debug.contains("proxy.example:3128") && !debug.contains("hunter2") && !debug.contains("user"),
            "{debug}"
        );
        assert_eq!(Proxy::new("proxy:3128", &[""; 0]).unwrap().shown(), "proxy:3128");
        for wrong in [
            "",
            "socks5://u:hunter2@p",
            "http://",
            "http://u:hunter2@",
            "ftp://p",
            "http://p:x",
        ] {
            let why = Proxy::new(wrong, &[""; 0]).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
