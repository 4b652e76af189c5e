//! Which addresses a look-up may reach.
//!
//! Link-local and metadata addresses are never reached, whatever the settings say; loopback and private ranges only where the
//! settings admit them. Addresses that carry an IPv4 address inside an IPv6 one are judged by the inner address.

use super::Cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::Url;

/// What an address is, whatever the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Class {
    Public,
    /// Loopback, private or reserved; the range a person would add to `network.allow`.
    Private(Cidr),
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

/// Names of metadata services, each with its subdomains. Their addresses are refused too, but through a proxy one never sees the address,
/// and some are public. Google (`metadata` from `/etc/hosts`), AWS, Azure, IBM, Tencent, Equinix, Rancher, in this order.
const METADATA: &[&str] = &[
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
    "api.metadata.cloud.ibm.com",
    "metadata.tencentyun.com",
    "metadata.platformequinix.com",
    "metadata.packet.net",
    "rancher-metadata",
];

fn is_metadata(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    METADATA.iter().any(|known| {
        name.strip_suffix(known)
            .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

fn within<A: Copy + Into<IpAddr>>(table: &[(A, u8)], ip: A) -> Option<Cidr> {
    table
        .iter()
        .map(|(net, prefix)| Cidr {
            address: (*net).into(),
            prefix: *prefix,
        })
        .find(|range| range.contains(ip.into()))
}

fn classify_v4(ip: Ipv4Addr) -> Class {
    if within(NEVER_V4, ip).is_some() {
        return Class::Never;
    }
    match within(PRIVATE_V4, ip) {
        Some(range) => Class::Private(range),
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
            if within(NEVER_V6, v6).is_some() {
                return Class::Never;
            }
            let inner = embedded(v6).map(classify_v4);
            if matches!(inner, Some(Class::Never)) {
                return Class::Never;
            }
            if let Some(range) = within(PRIVATE_V6, v6) {
                return Class::Private(range);
            }
            match inner {
                Some(class) => class,
                // Only 2000::/3 is allocated; anything else is private use.
                None if v6.segments()[0] & 0xe000 == 0x2000 => Class::Public,
                None => Class::Private(Cidr::from(ip)),
            }
        }
    }
}

/// Which addresses look-ups may reach besides public ones. Link-local and metadata addresses are never reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// `serve`: public addresses, and these private or loopback ranges (CIDR).
    Listed(Vec<Cidr>),
    /// `check`: whatever this machine reaches.
    Everything,
}

/// Why an address may not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdmitted {
    /// It is private or reserved, and not listed: the range that a person would add to `network.allow`.
    Range(Cidr),
    /// It is link-local, a metadata service's, multicast, broadcast or unspecified, which nothing admits.
    Never(IpAddr),
    /// It is the name of a cloud's metadata service, which nothing admits.
    Metadata(String),
}

impl Reach {
    /// Whether a look-up may connect to `ip`.
    pub fn admits(&self, ip: IpAddr) -> Result<(), NotAdmitted> {
        match (classify(ip), self) {
            (Class::Never, Self::Listed(_) | Self::Everything) => Err(NotAdmitted::Never(ip)),
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
                    Err(NotAdmitted::Range(range))
                }
            }
        }
    }

    /// The admitted ones among the addresses of one name. If there is none, the reason that a user can do something about.
    pub fn choose<T>(&self, addresses: Vec<T>, ip: impl Fn(&T) -> IpAddr) -> Result<Vec<T>, NotAdmitted> {
        let mut why = None;
        let mut admitted = Vec::with_capacity(addresses.len());
        for address in addresses {
            match self.admits(ip(&address)) {
                Ok(()) => admitted.push(address),
                Err(found @ NotAdmitted::Range(_)) => why = Some(found),
                Err(found) => why = why.or(Some(found)),
            }
        }
        match why {
            Some(why) if admitted.is_empty() => Err(why),
            Some(_) | None => Ok(admitted),
        }
    }

    /// Checks a host as written: an address, which no resolver sees, or a name that is refused whatever it resolves to.
    pub fn admits_host(&self, url: &Url) -> Result<(), NotAdmitted> {
        match url.host() {
            Some(url::Host::Ipv4(ip)) => self.admits(IpAddr::V4(ip)),
            Some(url::Host::Ipv6(ip)) => self.admits(IpAddr::V6(ip)),
            Some(url::Host::Domain(name)) if is_metadata(name) => Err(NotAdmitted::Metadata(name.to_owned())),
            Some(url::Host::Domain(_)) | None => Ok(()),
        }
    }
}

/// Whether a text is a loopback address; an IPv4 address inside an IPv6 one counts as the IPv4 address.
pub fn is_loopback(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
