//! Origins of URLs.

use std::fmt;
use url::Url;

/// Scheme, host and port of an http or https URL: what a credential or a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an http(s) URL.
    pub fn of(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host as a URL has it: in lower case, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where the URL leaves it to the scheme.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether nodes take an `Authorization` along when this host redirects to `to`: another port of the same host, or a host below it
    /// (Go, net/http `shouldCopyHeaderOnRedirect`).
    pub fn hands_to(&self, to: &Self) -> bool {
        let below = || {
            to.host
                .strip_suffix(self.host.as_str())
                .is_some_and(|rest| rest.ends_with('.'))
        };
        self != to && (self.host == to.host || below())
    }
}

/// `https://host:port`, without the scheme's default port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(&Url::parse(text).unwrap())
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
        assert_eq!((same.scheme(), same.host(), same.port()), ("https", "reg.test", 443));
    }
}
