//! The host, port and path of a key, as `net/url` and `net.SplitHostPort` of Go 1.26 parse them (pull-semantics 4.4).
//!
//! Bytes, not text: percent escapes may decode to anything, and keys are ordered by byte.

use core::net::Ipv6Addr;

/// The Go that a kubelet is built with. From 1.24.8, 1.25.2 and 1.26 on, `url.Parse` takes nothing but an IPv6 address in brackets
/// (CVE-2025-47912); an older one takes anything there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoVersion {
    Older,
    Current,
}

/// The result of `url.Parse("https://…")`, as far as the keyring uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// Host and port, without userinfo.
    pub(super) host: Vec<u8>,
    /// The decoded path, with its leading slash; may be empty.
    pub(super) path: Vec<u8>,
}

/// A key or a repository, ready for comparison: host labels, port, path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The host, split at its dots.
    pub(super) labels: Vec<String>,
    /// The port as written; empty if there is none.
    pub(super) port: String,
    /// The path, with its leading slash; may be empty.
    pub(super) path: Vec<u8>,
}

impl Endpoint {
    /// Parses text without a scheme. `None` if Go's parser refuses it.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        Self::parse_by(text, GoVersion::Current)
    }

    pub(super) fn parse_by(text: &[u8], go: GoVersion) -> Option<Self> {
        let location = parse(text, go)?;
        let (host, port) = split_port(&location.host);
        Some(Self {
            labels: String::from_utf8_lossy(host).split('.').map(str::to_owned).collect(),
            port: String::from_utf8_lossy(port).into_owned(),
            path: location.path,
        })
    }

    /// The host without its port.
    pub(super) fn host(&self) -> String {
        self.labels.join(".")
    }

    /// The path as text.
    pub(super) fn path_text(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// Parses what follows `https://`. `None` if `url.Parse` returns an error.
pub(super) fn parse(text: &[u8], go: GoVersion) -> Option<Location> {
    let (text, fragment) = cut(text, b'#');
    if text.iter().any(|&byte| byte < 0x20 || byte == 0x7f) {
        return None;
    }
    let (text, _query) = cut(text, b'?');
    let slash = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
    let (authority, path) = text.split_at_checked(slash)?;
    let host = match authority.iter().rposition(|&byte| byte == b'@') {
        Some(at) => {
            let (userinfo, host) = authority.split_at_checked(at)?;
            if !userinfo.iter().copied().all(in_userinfo) {
                return None;
            }
            unescape(userinfo, Part::Other)?;
            host.get(1..)?
        }
        None => authority,
    };
    if let Some(fragment) = fragment {
        unescape(fragment, Part::Other)?;
    }
    Some(Location {
        host: host_of(host, go)?,
        path: unescape(path, Part::Other)?,
    })
}

/// Splits off the port, like `net.SplitHostPort`; if that fails, the whole text is the host. `host` comes from [`host_of`].
fn split_port(host: &[u8]) -> (&[u8], &[u8]) {
    let whole = (host, &b""[..]);
    let Some(colon) = host.iter().rposition(|&byte| byte == b':') else {
        return whole;
    };
    let Some((name, port)) = host.split_at_checked(colon) else {
        return whole;
    };
    let port = port.get(1..).unwrap_or_default();
    if let Some(address) = name.strip_prefix(b"[") {
        // Without a port, the colon is part of the address, and the brackets stay.
        return address.strip_suffix(b"]").map_or(whole, |address| (address, port));
    }
    if name.contains(&b']') { whole } else { (name, port) }
}

fn cut(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == at) {
        Some(place) => (text.get(..place).unwrap_or_default(), text.get(place + 1..)),
        None => (text, None),
    }
}

fn in_userinfo(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)
}

/// Checks the port and decodes the host. Since Go 1.26 a bracket may only start the host, and must contain an IPv6 address; the
/// port starts at the first colon. An address with a zone (`%25eth0`), which Go accepts, cannot be an image's: it is refused.
fn host_of(host: &[u8], go: GoVersion) -> Option<Vec<u8>> {
    let port = if go == GoVersion::Older && host.contains(&b'[') {
        let end = if host.starts_with(b"[") { b']' } else { b':' };
        match host.iter().rposition(|&byte| byte == end) {
            Some(at) if end == b':' => host.get(at..)?,
            Some(at) => host.get(at + 1..)?,
            None if end == b':' => b"",
            None => return None,
        }
    } else if host.contains(&b'[') {
        let end = host.iter().rposition(|&byte| byte == b']')?;
        let address = str::from_utf8(host.get(..end)?.strip_prefix(b"[")?).ok()?;
        address.parse::<Ipv6Addr>().ok()?;
        host.get(end + 1..)?
    } else {
        match host.iter().position(|&byte| byte == b':') {
            Some(colon) => host.get(colon..)?,
            None => b"",
        }
    };
    let valid = match port.strip_prefix(b":") {
        Some(digits) => digits.iter().all(u8::is_ascii_digit),
        None => port.is_empty(),
    };
    if valid { unescape(host, Part::Host) } else { None }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Other,
}

fn unescape(text: &[u8], part: Part) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            let decoded = u8::try_from(high << 4 | low).ok()?;
            // In a host, only non-ASCII characters and the percent sign may be escaped.
            if part == Part::Host && decoded < 0x80 && decoded != b'%' {
                return None;
            }
            out.push(decoded);
        } else if part == Part::Host && byte < 0x80 && !in_host(byte) {
            return None;
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

fn in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$&'()*+,;=:[]<>\"-_.~".contains(&byte)
}

/// A key, safe to show: in `user:password@host`, the password is meant to be secret.
pub(super) fn masked(key: &str) -> String {
    let start = key.find("://").map_or(0, |at| at + 3);
    let authority = key.get(start..).unwrap_or_default();
    let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    match authority.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) => {
            let scheme = key.get(..start).unwrap_or_default();
            format!("{scheme}***{}", authority.get(at..).unwrap_or_default())
        }
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_is_masked() {
        for (key, shown) in [
            ("reg.example.com", "reg.example.com"),
            ("user:pw@reg.example.com/a", "***@reg.example.com/a"),
            ("https://user:p@ss@reg.example.com", "https://***@reg.example.com"),
            ("reg.example.com/a@b", "reg.example.com/a@b"),
            ("", ""),
            ("://@", "://***@"),
        ] {
            assert_eq!(masked(key), shown, "{key}");
        }
    }

    #[test]
    fn ports_split_as_in_go() {
        for (host, name, port) in [
            ("reg:5000", "reg", "5000"),
            ("reg:", "reg", ""),
            ("reg", "reg", ""),
            ("a]:1", "a]:1", ""),
            ("[::1]:5000", "::1", "5000"),
            ("[::1]:", "::1", ""),
            ("[::1]", "[::1]", ""),
        ] {
            assert_eq!(split_port(host.as_bytes()), (name.as_bytes(), port.as_bytes()), "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r"(https://|x://)?[a-z@:%\[\]/?#.*0-9]{0,30}|.{0,30}") {
            let _ = Endpoint::parse(text.as_bytes());
            let _ = masked(&text);
        }
    }
}
