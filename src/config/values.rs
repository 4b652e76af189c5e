//! Values written as people write them: sizes, durations, address ranges. The errors are clauses for the reader.

use crate::registry::Cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// A size in bytes: `64MiB`, `2Gi`, `500MB`, `1048576`. Binary units (`Ki`, `KiB`) are powers of 1024, decimal ones (`k`, `KB`) of
/// 1000, as Kubernetes quantities have it.
pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a size; write a whole number and a unit, as 64MiB"))?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KB" => 1000,
        "M" | "MB" => 1000 * 1000,
        "G" | "GB" => 1000 * 1000 * 1000,
        "Ki" | "KiB" => 1 << 10,
        "Mi" | "MiB" => 1 << 20,
        "Gi" | "GiB" => 1 << 30,
        other => return Err(format!("{other:?} is not a unit of size; use B, KiB, MiB or GiB")),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text:?} is more bytes than can be counted"))
}

/// A duration as Go writes them: `10s`, `1m30s`, `1.5h`, `500ms`, `0`. Units: ns, us (µs), ms, s, m, h, and `d` for 24 h.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write a number and a unit, as 500ms, 10s, 5m or 24h");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let nanos: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            _ => return Err(wrong()),
        };
        total = scaled(number, nanos)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

/// `number` (digits with at most one point) times `nanos` nanoseconds, without floating point.
fn scaled(number: &str, nanos: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Finer than a nanosecond cannot be kept; Go cuts it off too.
    let fraction = fraction.get(..fraction.len().min(18)).unwrap_or_default();
    let part = if fraction.is_empty() {
        0
    } else {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        u64::try_from(u128::from(fraction.parse::<u64>().ok()?) * u128::from(nanos) / scale).ok()?
    };
    Some(Duration::from_nanos(whole.checked_mul(nanos)?.checked_add(part)?))
}

/// An address range, `10.0.0.0/8`; a bare address is a range of one. Refused: bits beyond the prefix (a slip of the pen more often
/// than not), and ranges inside link-local space, which look-ups never reach whatever the settings say (DESIGN 7).
pub fn cidr(text: &str) -> Result<Cidr, String> {
    let text = text.trim();
    let wrong = || format!("{text:?} is not an address range; write it as 10.0.0.0/8 or fd00::/8");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => {
            let plain = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_digit());
            let prefix: u8 = prefix.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
            (address, Some(prefix))
        }
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let width = width(address);
    let prefix = prefix.unwrap_or(width);
    if prefix > width {
        return Err(format!("{text:?} has a prefix longer than {width} bits"));
    }
    let (address, prefix) = unmapped(address, prefix);
    let network = network(address, prefix);
    if network != address {
        return Err(format!(
            "{text:?} has bits set beyond its prefix; did you mean {network}/{prefix}?"
        ));
    }
    let range = Cidr { address, prefix };
    if within_link_local(range) {
        return Err(format!("{text:?} is link-local; look-ups never reach such addresses"));
    }
    Ok(range)
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8` to every socket.
fn unmapped(address: IpAddr, prefix: u8) -> (IpAddr, u8) {
    match address {
        IpAddr::V6(six) if prefix >= 96 => match six.to_ipv4_mapped() {
            Some(four) => (IpAddr::V4(four), prefix - 96),
            None => (address, prefix),
        },
        IpAddr::V4(_) | IpAddr::V6(_) => (address, prefix),
    }
}

fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(four.to_bits() & mask))
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & mask))
        }
    }
}

fn within_link_local(range: Cidr) -> bool {
    match range.address {
        IpAddr::V4(four) => range.prefix >= 16 && four.is_link_local(),
        IpAddr::V6(six) => range.prefix >= 10 && six.is_unicast_link_local(),
    }
}
