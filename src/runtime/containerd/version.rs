//! How containerd's versions differ, with a name for each difference.

use crate::runtime::containerd::PullPath;

/// A version: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// Parses `2.1.9`, `v2.1.9-rc.1` or `2.1`; a part that is missing or not a number is 0.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.trim_start_matches('v').split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or(0)
        });
        let mut next = || parts.next().unwrap_or(0);
        Self(next(), next(), next())
    }

    /// The ways in which a node of this version may pull: by the transfer service since 2.1, unless its settings turn it off
    /// (`use_local_image_pull` and others), which cannot be seen from outside.
    pub fn pull_paths(self) -> &'static [PullPath] {
        if self >= Self(2, 1, 0) {
            &[PullPath::Transfer, PullPath::Local]
        } else {
            &[PullPath::Local]
        }
    }

    /// The first version that pulls like this one: the differences named in this file are all there are.
    pub fn as_it_pulls(self) -> Self {
        const DIFFER: &[Version] = &[
            Version(2, 3, 3),
            Version(2, 3, 2),
            Version(2, 3, 0),
            Version(2, 2, 9),
            Version(2, 1, 0),
            Version(2, 0, 0),
            Version(1, 7, 0),
        ];
        DIFFER.iter().copied().find(|first| self >= *first).unwrap_or(Self(1, 6, 0))
    }

    /// How often a request is sent in all if it is answered by 401, 408 or 429 again and again (`doWithRetries`): 6 times, or 5 since
    /// attempts are counted before they are made.
    pub(super) fn requests(self) -> usize {
        if self.counts_attempts() { 5 } else { 6 }
    }

    /// Attempts are counted when they are made, so that the last answer is still examined (`doWithRetriesInner`).
    pub(super) fn counts_attempts(self) -> bool {
        self.repeats_failed_connections()
    }

    /// The last host is asked again after a time-out or an end of the connection (`doWithTransportRetries`).
    pub(super) fn repeats_failed_connections(self) -> bool {
        self >= Self(2, 3, 2)
    }

    /// The last host is asked again after a 500, 503 or 504 (`retryRequest`).
    pub(super) fn repeats_server_errors(self) -> bool {
        self >= Self(2, 1, 0)
    }

    /// Of several failures, the one that came furthest is reported; otherwise the first that is not a 404 (`firstErrPriority`).
    pub(super) fn tells_the_furthest_failure(self) -> bool {
        self >= Self(2, 0, 0)
    }

    /// A digest is looked up among blobs only if no host gave a worse answer than 404.
    pub(super) fn falls_back_to_blobs_on_404_only(self) -> bool {
        self >= Self(2, 2, 9)
    }

    /// After a 403 to a HEAD, a GET fetches the registry's error text (`withGETErrorBody`).
    pub(super) fn asks_why_forbidden(self) -> bool {
        self >= Self(2, 3, 3)
    }

    /// The `os.features` of an entry are compared with the node's (containerd/platforms v1.0.0-rc.4).
    pub(super) fn looks_at_os_features(self) -> bool {
        self >= Self(2, 3, 0)
    }

    /// A host in brackets must be an IPv6 address: this version is certainly built with a Go whose `url.Parse` insists on it: Go 1.24.8,
    /// 1.25.2, and everything since 1.26 (CVE-2025-47912). The `go.mod` of 2.3.0 requires Go 1.26.2. Earlier versions require an older Go,
    /// and the Go that built them cannot be seen from outside: then the name may be looked up.
    pub(super) fn wants_addresses_in_brackets(self) -> bool {
        self >= Self(2, 3, 0)
    }

    /// Docker schema 1 manifests are refused; 2.0 converts them where its environment says so.
    pub(super) fn refuses_schema1(self) -> bool {
        self >= Self(2, 1, 0)
    }

    /// A `hosts.toml` without a `[host]` table or with the capability `referrers` is ignored, and `dial_timeout` is not known.
    pub(crate) fn reads_hosts_as_1_x(self) -> bool {
        self < Self(2, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("2.1.9", Version(2, 1, 9)),
            ("v1.7.34", Version(1, 7, 34)),
            ("2.4.0-beta.0", Version(2, 4, 0)),
            ("1.6.20~ds1", Version(1, 6, 20)),
            ("2", Version(2, 0, 0)),
            ("", Version(0, 0, 0)),
        ] {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
        assert!(Version(2, 10, 0) > Version(2, 9, 9));
    }
}
