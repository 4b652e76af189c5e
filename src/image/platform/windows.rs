//! Which Windows images a Windows host runs (containerd/platforms, `platform_windows_compat.go`; pull-semantics 5.5).

use super::IndexRules;

/// Windows Server 2022: from here on hosts run images of earlier builds too, back to this one.
const LTSC_2022: u16 = 20348;
/// Windows Server 2025.
const LTSC_2025: u16 = 26100;

/// Whether a host of `host` os.version takes an entry of `entry` os.version in a container that is a process of the host. A host without
/// one takes all, and so does an entry.
///
/// On hosts later than Windows Server 2025 (26200 is Windows 11 25H2), containerd/platforms v1.0.0-rc.2 to rc.4 (in containerd 2.2 to 2.4)
/// takes nothing before 26100; earlier and later versions do, as Microsoft's table says. Nodes do not show the version of that module.
/// So the stricter rule is applied to the transfer service alone, which all of those versions have, and the outlook becomes `MayFail`.
pub(super) fn takes(host: &str, entry: &str, index_rules: IndexRules) -> bool {
    let host = version(host);
    if host == (0, 0, 0) || entry.is_empty() {
        return true;
    }
    let entry = version(entry);
    if (host.0, host.1) != (entry.0, entry.1) {
        return false;
    }
    if host.2 < LTSC_2022 {
        entry.2 == host.2
    } else {
        let strict = host.2 > LTSC_2025 && index_rules == IndexRules::ContainerdTransfer;
        let first = if strict { LTSC_2025 } else { LTSC_2022 };
        (first..=host.2).contains(&entry.2)
    }
}

/// Major, minor and build of `10.0.20348.2340`; zeros for anything else. The revision does not count.
fn version(text: &str) -> (u8, u8, u16) {
    let mut parts = text.split('.');
    let parsed = (|| Some((number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?)))();
    parsed.unwrap_or_default()
}

/// Digits only, as Go's `ParseUint` takes them.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
