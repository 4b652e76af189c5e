//! Names and numbers of the network. Pure.

use std::net::IpAddr;

/// Whether a text is a loopback address; an IPv4 address within an IPv6 one counts as that.
pub fn is_loopback(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
