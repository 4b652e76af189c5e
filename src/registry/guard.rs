//! What a look-up may reach (contract 7): addresses, redirects and token realms. Pure.
//!
//! Link-local and metadata addresses are never reached, whatever the settings say; loopback and private ranges only where the
//! settings admit them. Addresses that carry an IPv4 address inside an IPv6 one are judged by the inner address.

use super::{Cidr, Reach};
use crate::verdict::evidence::Refusal;
use http::HeaderValue;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use url::Url;

impl Cidr {
    /// Whether `address` lies in this range. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                (u64::from(net.to_bits()) >> shift) == (u64::from(ip.to_bits()) >> shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix));
                shift == 128 || (net.to_bits() >> shift) == (ip.to_bits() >> shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// `10.0.0.0/8`; a bare address is a range of one. The error is a sentence for the reader.
impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("`{text}` is no address range; write it as 10.0.0.0/8"))?;
        let longest = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix = match prefix {
            None => longest,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|bits| *bits <= longest && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| format!("`{text}` has no usable prefix length; it must be 0 to {longest}"))?,
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What an address is, whatever the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Class {
    Public,
    /// Loopback, private or reserved; the range a person would add to `network.allow`.
    Private(String),
    /// Link-local, metadata, multicast, broadcast or unspecified.
    Never,
}

/// Reserved IPv4 ranges that the settings may admit. First match wins.
const PRIVATE_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// IPv4 ranges that are never reached: "this network", link-local, multicast, broadcast, and the metadata services of clouds
/// that do not use link-local ones.
const NEVER_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::BROADCAST, 32),
    (Ipv4Addr::new(100, 100, 100, 200), 32),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(192, 0, 0, 192), 32),
];

/// Reserved IPv6 ranges that the settings may admit.
const PRIVATE_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
];

/// IPv6 ranges that are never reached: unspecified, link-local, multicast, and the metadata services of AWS and Google.
const NEVER_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
];

fn in_v4(table: &[(Ipv4Addr, u8)], ip: Ipv4Addr) -> Option<Cidr> {
    table
        .iter()
        .map(|(net, prefix)| Cidr {
            address: IpAddr::V4(*net),
            prefix: *prefix,
        })
        .find(|range| range.contains(IpAddr::V4(ip)))
}

fn in_v6(table: &[(Ipv6Addr, u8)], ip: Ipv6Addr) -> Option<Cidr> {
    table
        .iter()
        .map(|(net, prefix)| Cidr {
            address: IpAddr::V6(*net),
            prefix: *prefix,
        })
        .find(|range| range.contains(IpAddr::V6(ip)))
}

fn classify_v4(ip: Ipv4Addr) -> Class {
    if in_v4(NEVER_V4, ip).is_some() {
        return Class::Never;
    }
    match in_v4(PRIVATE_V4, ip) {
        Some(range) => Class::Private(range.to_string()),
        None => Class::Public,
    }
}

/// The IPv4 address inside an IPv6 one: mapped, compatible, NAT64 (well-known and local), 6to4, Teredo's client.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let last = Ipv4Addr::from_bits(u32::from(s[6]) << 16 | u32::from(s[7]));
    match s {
        [0, 0, 0, 0, 0, 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _]
        | [0x64, 0xff9b, 1, ..] => Some(last),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(last),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!last.to_bits())),
        _ => None,
    }
}

fn classify(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => {
            if in_v6(NEVER_V6, v6).is_some() {
                return Class::Never;
            }
            let inner = embedded(v6).map(classify_v4);
            if matches!(inner, Some(Class::Never)) {
                return Class::Never;
            }
            if let Some(range) = in_v6(PRIVATE_V6, v6) {
                return Class::Private(range.to_string());
            }
            match inner {
                Some(class) => class,
                // Only 2000::/3 is given out; whatever else is routed is somebody's own.
                None if v6.segments()[0] & 0xe000 == 0x2000 => Class::Public,
                None => Class::Private(format!("{v6}/128")),
            }
        }
    }
}

impl Reach {
    /// Whether a look-up may connect to `ip`.
    pub(super) fn admits(&self, ip: IpAddr) -> Result<(), Refusal> {
        match (classify(ip), self) {
            (Class::Never, Self::Listed(_) | Self::Everything) => Err(Refusal::NeverAdmitted { address: ip.to_string() }),
            (Class::Public, Self::Listed(_) | Self::Everything) | (Class::Private(_), Self::Everything) => Ok(()),
            (Class::Private(range), Self::Listed(ranges)) => {
                let inner = match ip {
                    IpAddr::V4(_) => None,
                    IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
                };
                let listed = |ip: IpAddr| ranges.iter().any(|range| range.contains(ip));
                if listed(ip) || inner.is_some_and(listed) {
                    Ok(())
                } else {
                    Err(Refusal::Address { range })
                }
            }
        }
    }

    /// The admitted ones among the addresses of one name; when there is none, the refusal that a person can do something about.
    pub(super) fn choose<T>(&self, addresses: Vec<T>, ip: impl Fn(&T) -> IpAddr) -> Result<Vec<T>, Refusal> {
        let mut refusal = None;
        let mut admitted = Vec::with_capacity(addresses.len());
        for address in addresses {
            match self.admits(ip(&address)) {
                Ok(()) => admitted.push(address),
                Err(found @ Refusal::Address { .. }) => refusal = Some(found),
                Err(found) => refusal = refusal.or(Some(found)),
            }
        }
        match refusal {
            Some(refusal) if admitted.is_empty() => Err(refusal),
            Some(_) | None => Ok(admitted),
        }
    }

    /// The check of a host that is written as an address, which no resolver sees.
    pub(super) fn admits_literal(&self, url: &Url) -> Result<(), Refusal> {
        match url.host() {
            Some(url::Host::Ipv4(ip)) => self.admits(IpAddr::V4(ip)),
            Some(url::Host::Ipv6(ip)) => self.admits(IpAddr::V6(ip)),
            Some(url::Host::Domain(_)) | None => Ok(()),
        }
    }
}

/// Scheme, host and port: what a credential or a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an http(s) URL.
    pub(super) fn of(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
        }
    }

    /// Whether nodes take an `Authorization` along when this host redirects to `to`: another port of the same host, or a host below it
    /// (Go, net/http `shouldCopyHeaderOnRedirect`). We take it nowhere (contract 7).
    pub(super) fn hands_to(&self, to: &Self) -> bool {
        let below = || {
            to.host
                .strip_suffix(self.host.as_str())
                .is_some_and(|rest| rest.ends_with('.'))
        };
        self != to && (self.host == to.host || below())
    }
}

/// A `Location` as Go reads it: any bytes, those that are no ASCII escaped in what is asked for.
pub(super) fn location(value: &HeaderValue) -> String {
    let mut text = String::new();
    for byte in value.as_bytes() {
        if byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Whether a redirect names a user, whom a node then is to the host that it leads to (Go, net/http `send`). We are nobody there.
pub(super) fn names_somebody(from: &Url, location: &str) -> bool {
    from.join(location)
        .is_ok_and(|to| !to.username().is_empty() || to.password().is_some())
}

/// Where a redirect from `from` leads, if it may be followed. Userinfo and fragment are dropped.
pub(super) fn redirect(from: &Url, location: &str) -> Result<Url, (Refusal, Option<Url>)> {
    let Ok(mut to) = from.join(location) else {
        return Err((Refusal::Redirect, None));
    };
    strip(&mut to);
    let admitted = match (from.scheme(), to.scheme()) {
        (_, "https") => true,
        ("http", "http") => Origin::of(from) == Origin::of(&to),
        _ => false,
    };
    if admitted && to.has_host() {
        Ok(to)
    } else {
        Err((Refusal::Redirect, Some(to)))
    }
}

/// A token realm that `registry` may name: https anywhere (its address is checked when it is contacted), or the registry itself. Without
/// userinfo, which a runtime would send and we do not, and as it is: a runtime makes nothing of one with a space in front.
pub(super) fn realm(registry: &Origin, text: &str) -> Result<Url, Refusal> {
    if text.starts_with(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
        return Err(Refusal::Realm);
    }
    let mut url = Url::parse(text.trim()).map_err(|_| Refusal::Realm)?;
    let anonymous = url.username().is_empty() && url.password().is_none();
    strip(&mut url);
    let admitted = match url.scheme() {
        "https" => true,
        "http" => Origin::of(&url) == *registry,
        _ => false,
    };
    if admitted && anonymous && url.has_host() {
        Ok(url)
    } else {
        Err(Refusal::Realm)
    }
}

fn strip(url: &mut Url) {
    // Both fail only for URLs that cannot have userinfo, where there is nothing to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
}

#[cfg(test)]
mod tests;
