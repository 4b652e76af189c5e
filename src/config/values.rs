//! Parses values as people write them: sizes, durations, address ranges. Errors are clauses that complete a message.

use crate::go;
use crate::net::{Cidr, CidrError};
use http::HeaderValue;
use std::net::IpAddr;
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

/// A duration as Go writes them, without a sign: `10s`, `1m30s`, `1.5h`, `500ms`, `0`; and `d` for 24 h.
pub fn duration(text: &str) -> Result<Duration, String> {
    go::duration::unsigned(text.trim(), &[("d", 86_400_000_000_000)])
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("{text:?} is not a duration; write a number and a unit, as 500ms, 10s, 5m or 24h"))
}

/// An address range, `10.0.0.0/8`; a bare address is a range of one. Refused: bits beyond the prefix (a typo more often
/// than not), and ranges inside link-local space, which look-ups never reach whatever the settings say (contract 7).
pub fn cidr(text: &str) -> Result<Cidr, String> {
    let text = text.trim();
    let range: Cidr = text.parse().map_err(|error: CidrError| format!("{text:?} {error}"))?;
    let range = range.to_canonical();
    let network = range.network();
    if network != range.address {
        return Err(format!(
            "{text:?} has bits set beyond its prefix; did you mean {network}/{}?",
            range.prefix
        ));
    }
    if within_link_local(range) {
        return Err(format!("{text:?} is link-local; look-ups never reach such addresses"));
    }
    Ok(range)
}

fn within_link_local(range: Cidr) -> bool {
    match range.address {
        IpAddr::V4(four) => range.prefix >= 16 && four.is_link_local(),
        IpAddr::V6(six) => range.prefix >= 10 && six.is_unicast_link_local(),
    }
}

/// A `User-Agent`: visible ASCII, as RFC 9110 (10.1.5) has it.
pub(super) fn user_agent(text: &str) -> Result<HeaderValue, String> {
    let visible = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let value = HeaderValue::from_str(text.trim()).ok();
    value
        .filter(|value| visible && !value.is_empty())
        .ok_or_else(|| "a User-Agent is one line of visible ASCII characters, such as containerd/2.1.4".to_owned())
}
