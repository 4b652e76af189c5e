//! A registry host as written in a reference, and as contacted (pull-semantics 1.7 and 5.4).

use super::guard::Origin;
use url::Url;

/// Where the API of a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// As written in the reference: what answers are cached under.
    pub(super) name: String,
    /// `https://host[:port]/`.
    https: Url,
    /// Which schemes to try.
    pub(super) schemes: Schemes,
}

/// The schemes a runtime tries at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schemes {
    /// Every host that is not loopback, and loopback on port 443.
    Https,
    /// Loopback on port 80.
    Http,
    /// Loopback on another port.
    HttpsThenHttp,
}

/// The scheme that a host was found to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Https,
    Http,
}

impl Endpoint {
    /// `registry` as containerd splits it off a reference. `None` when no URL can be made of it (`ghcr.io:99999`).
    pub(super) fn new(registry: &str) -> Option<Self> {
        let contacted = if registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            registry
        };
        let https = Url::parse(&format!("https://{contacted}/")).ok()?;
        let bare = https.path() == "/" && https.query().is_none() && https.fragment().is_none();
        if !bare || https.host_str().is_none_or(str::is_empty) || !https.username().is_empty() || https.password().is_some() {
            return None;
        }
        let schemes = match (is_loopback_name(contacted), port_of(contacted)) {
            (false, _) | (true, None | Some("443")) => Schemes::Https,
            (true, Some("80")) => Schemes::Http,
            (true, Some(_)) => Schemes::HttpsThenHttp,
        };
        Some(Self {
            name: registry.to_owned(),
            https,
            schemes,
        })
    }

    /// `https://host[:port]/` or `http://host[:port]/`.
    pub(super) fn base(&self, scheme: Scheme) -> Url {
        match scheme {
            Scheme::Https => self.https.clone(),
            Scheme::Http => {
                let mut url = self.https.clone();
                // Both are special schemes, so this cannot fail; the port was never the default of https here.
                let _ = url.set_scheme("http");
                url
            }
        }
    }

    /// The host with its port, as people see it.
    pub(super) fn shown(&self) -> String {
        authority(&self.https)
    }
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

/// The label of a host in metrics: a closed list, so that nobody's host names become label values.
pub(super) fn class(url: &Url) -> &'static str {
    let host = url.host_str().unwrap_or_default();
    let under = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let is_ecr = host.contains(".dkr.ecr.") && (under("amazonaws.com") || under("amazonaws.com.cn"));
    match host {
        _ if is_unverified(url) => "loopback",
        _ if under("docker.io") => "docker.io",
        _ if under("ghcr.io") => "ghcr.io",
        _ if under("quay.io") => "quay.io",
        _ if under("gcr.io") => "gcr",
        _ if under("pkg.dev") => "gar",
        _ if is_ecr || under("public.ecr.aws") => "ecr",
        _ if under("azurecr.io") || under("azurecr.cn") => "acr",
        _ if under("registry.k8s.io") => "k8s",
        _ if under("mcr.microsoft.com") => "mcr",
        _ => "other",
    }
}

/// The key of a host's limits.
pub(super) fn key(url: &Url) -> (String, u16) {
    (
        url.host_str().unwrap_or_default().to_owned(),
        url.port_or_known_default().unwrap_or_default(),
    )
}

/// Whether `url` is on the origin `origin`.
pub(super) fn is_on(url: &Url, origin: &Origin) -> bool {
    Origin::of(url) == *origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_contacted() {
        let check = |registry: &str, https: &str, schemes: Schemes| {
            let endpoint = Endpoint::new(registry).unwrap_or_else(|| panic!("{registry}"));
            assert_eq!(endpoint.base(Scheme::Https).as_str(), https, "{registry}");
            assert_eq!(endpoint.schemes, schemes, "{registry}");
        };
        check("docker.io", "https://registry-1.docker.io/", Schemes::Https);
        check("ghcr.io", "https://ghcr.io/", Schemes::Https);
        check("exa_mple.com", "https://exa_mple.com/", Schemes::Https);
        check("r.example:5000", "https://r.example:5000/", Schemes::Https);
        check("r.example:80", "https://r.example:80/", Schemes::Https);
        check("localhost", "https://localhost/", Schemes::Https);
        check("localhost:443", "https://localhost/", Schemes::Https);
        check("localhost:5000", "https://localhost:5000/", Schemes::HttpsThenHttp);
        check("127.9.9.9:5000", "https://127.9.9.9:5000/", Schemes::HttpsThenHttp);
        check("[::1]", "https://[::1]/", Schemes::Https);
        check("[::1]:5000", "https://[::1]:5000/", Schemes::HttpsThenHttp);
        check("[fd00::1]:5000", "https://[fd00::1]:5000/", Schemes::Https);
        check("localhost.example:5000", "https://localhost.example:5000/", Schemes::Https);
        check("10.0.0.1:5000", "https://10.0.0.1:5000/", Schemes::Https);
        let local = Endpoint::new("localhost:80").unwrap();
        assert_eq!(local.base(Scheme::Http).as_str(), "http://localhost/");
        let local = Endpoint::new("localhost:5000").unwrap();
        assert_eq!(local.base(Scheme::Http).as_str(), "http://localhost:5000/");
    }

    #[test]
    fn hosts_of_which_no_url_can_be_made() {
        for registry in [
            "ghcr.io:99999",
            "",
            "a b",
            "[::1",
            "user@host",
            "host/path",
            "x:y",
            "h?q",
            "h#f",
            "999.999.999.999",
        ] {
            assert_eq!(Endpoint::new(registry), None, "{registry}");
        }
    }

    #[test]
    fn host_classes_are_a_closed_list() {
        for (url, label) in [
            ("https://registry-1.docker.io/", "docker.io"),
            ("https://auth.docker.io/token", "docker.io"),
            ("https://notdocker.io/", "other"),
            ("https://eu.gcr.io/", "gcr"),
            ("https://europe-docker.pkg.dev/", "gar"),
            ("https://1.dkr.ecr.eu-west-1.amazonaws.com/", "ecr"),
            ("https://dkr.ecr.evil.example/", "other"),
            ("https://public.ecr.aws/", "ecr"),
            ("https://x.azurecr.io/", "acr"),
            ("https://registry.k8s.io/", "k8s"),
            ("https://mcr.microsoft.com/", "mcr"),
            ("http://localhost:5000/", "loopback"),
            ("http://[::1]:5000/", "loopback"),
            ("https://10.0.0.1/", "other"),
        ] {
            assert_eq!(class(&Url::parse(url).unwrap()), label, "{url}");
        }
    }
}
