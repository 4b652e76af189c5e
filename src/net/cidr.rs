//! Address ranges in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address range, `10.0.0.0/8` or `fd00::/8`. Bits of the address beyond the prefix are kept, and do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// An address in the range, usually the first.
    pub address: IpAddr,
    /// Prefix length in bits, at most 32 (IPv4) or 128 (IPv6).
    pub prefix: u8,
}

/// Why a text is not an address range. It reads as a clause whose subject is the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not an address with, or without, a prefix length.
    #[error("is not an address range; write it as 10.0.0.0/8 or fd00::/8")]
    NotARange,
    /// The prefix is longer than the address.
    #[error("has a prefix longer than {width} bits")]
    PrefixTooLong {
        /// Bits of the address.
        width: u8,
    },
}

impl Cidr {
    /// Whether `address` lies in this range. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => (net.to_bits() ^ ip.to_bits()) & mask_v4(self.prefix) == 0,
            (IpAddr::V6(net), IpAddr::V6(ip)) => (net.to_bits() ^ ip.to_bits()) & mask_v6(self.prefix) == 0,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The first address of the range.
    pub fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask_v4(self.prefix))),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask_v6(self.prefix))),
        }
    }

    /// `::ffff:10.0.0.0/104` is `10.0.0.0/8` to every socket; other ranges stay as they are.
    #[must_use]
    pub fn to_canonical(self) -> Self {
        match (self.address, self.prefix.checked_sub(96)) {
            (IpAddr::V6(ip), Some(prefix)) => match ip.to_ipv4_mapped() {
                Some(ip) => Self {
                    address: IpAddr::V4(ip),
                    prefix,
                },
                None => self,
            },
            (IpAddr::V4(_) | IpAddr::V6(_), _) => self,
        }
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// A range of a single address.
impl From<IpAddr> for Cidr {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            prefix: width(address),
        }
    }
}

/// `10.0.0.0/8`; a bare address is a range of one.
impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let parse = |address: &str| address.parse::<IpAddr>().map_err(|_| CidrError::NotARange);
        let Some((address, prefix)) = text.split_once('/') else {
            return parse(text).map(Self::from);
        };
        let address = parse(address)?;
        let digits = prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits).ok_or(CidrError::NotARange)?;
        let width = width(address);
        if prefix > width {
            return Err(CidrError::PrefixTooLong { width });
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_parse_and_print() {
        assert_eq!(cidr("10.0.0.0/8").to_string(), "10.0.0.0/8");
        assert_eq!(cidr("10.0.0.1").to_string(), "10.0.0.1/32");
        assert_eq!(cidr("fd00::/8").to_string(), "fd00::/8");
        for (bad, why) in [
            ("", CidrError::NotARange),
            ("10.0.0.0/33", CidrError::PrefixTooLong { width: 32 }),
            ("10.0.0.0/-1", CidrError::NotARange),
            ("10.0.0.0/+8", CidrError::NotARange),
            ("10.0.0.0/", CidrError::NotARange),
            ("10.0.0.0/8/8", CidrError::NotARange),
            ("10/8", CidrError::NotARange),
            ("::/129", CidrError::PrefixTooLong { width: 128 }),
            ("x", CidrError::NotARange),
        ] {
            assert_eq!(bad.parse::<Cidr>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn what_a_range_contains() {
        assert!(cidr("0.0.0.0/0").contains(ip("8.8.8.8")));
        assert!(cidr("::/0").contains(ip("2606::1")));
        assert!(!cidr("::/0").contains(ip("8.8.8.8")));
        assert!(cidr("10.1.0.0/16").contains(ip("10.1.255.255")));
        assert!(!cidr("10.1.0.0/16").contains(ip("10.2.0.0")));
        assert!(cidr("10.1.2.3/16").contains(ip("::ffff:10.1.0.0")));
        assert!(cidr("10.0.0.1").contains(ip("10.0.0.1")));
        assert!(!cidr("10.0.0.1").contains(ip("10.0.0.0")));
    }

    #[test]
    fn first_addresses_and_mapped_ranges() {
        assert_eq!(cidr("10.1.2.3/16").network(), ip("10.1.0.0"));
        assert_eq!(cidr("10.1.2.3/0").network(), ip("0.0.0.0"));
        assert_eq!(cidr("fd00::1/8").network(), ip("fd00::"));
        assert_eq!(cidr("::ffff:10.0.0.0/104").to_canonical(), cidr("10.0.0.0/8"));
        assert_eq!(cidr("::ffff:10.0.0.0/95").to_canonical(), cidr("::ffff:10.0.0.0/95"));
        assert_eq!(cidr("fd00::/104").to_canonical(), cidr("fd00::/104"));
    }
}
