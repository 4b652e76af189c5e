//! How CRI-O's versions differ, with a name for each difference. Where no rule of `crio-semantics` is measured, the sources of the release
//! are the reference (`internal/storage/image.go`, `internal/ociartifact`, and the containers/image that it is built with).

use crate::runtime::containerd::version::Version as Parts;

/// A version: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

/// When CRI-O tries a reference as an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Artifacts {
    /// Never: artifacts fail.
    Never,
    /// First: whatever is not an artifact is pulled as an image.
    First,
    /// After the pull as an image failed, for whatever reason.
    AfterAnyFailure,
    /// After the pull as an image failed, unless there was no answer.
    AfterAnswers,
}

/// How CRI-O finds out whether a reference is an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It requests the manifest; for an index, then the entry for the node, by its digest as a reference of its own.
    ByReference,
    /// It does not check: whatever failed as an image is pulled as an artifact.
    None,
    /// It requests the manifest; for an index, once more, together with the entry for the node.
    Twice,
}

impl Version {
    /// Parses `1.36.3`, `v1.35.0-rc.1` or `1.34`; a part that is missing or not a number is 0.
    pub fn parse(text: &str) -> Self {
        let Parts(major, minor, patch) = Parts::parse(text);
        Self(major, minor, patch)
    }

    /// If TLS fails at a loopback address, plain HTTP is tried, and certificates are not checked there, whatever `registries.conf` says
    /// (`insecure_registries` of crio.conf, whose default is 127.0.0.0/8; gone since 1.35).
    pub(super) fn trusts_loopback(self) -> bool {
        self < Self(1, 35, 0)
    }

    /// A short name with several search registries fails as ambiguous (`short_name_mode` of crio.conf, whose default is `enforcing`).
    /// Otherwise they are tried in order.
    pub(crate) fn refuses_ambiguous_names(self) -> bool {
        self >= Self(1, 34, 0)
    }

    /// Docker manifests may have layers compressed with zstd (containers/image 5.37).
    pub(super) fn takes_docker_zstd(self) -> bool {
        self >= Self(1, 35, 0)
    }

    /// When a reference is tried as an artifact.
    pub(super) fn artifacts(self) -> Artifacts {
        match self {
            _ if self < Self(1, 33, 0) => Artifacts::Never,
            _ if self < Self(1, 33, 4) => Artifacts::First,
            _ if self < Self(1, 35, 1) => Artifacts::AfterAnyFailure,
            _ => Artifacts::AfterAnswers,
        }
    }

    /// How it finds out whether a reference is an artifact.
    pub(super) fn looks_for_artifacts(self) -> Look {
        match self {
            _ if self < Self(1, 35, 0) => Look::ByReference,
            _ if self < Self(1, 35, 2) => Look::None,
            _ => Look::Twice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("1.36.3", Version(1, 36, 3)),
            ("v1.35.0-rc.1", Version(1, 35, 0)),
            ("1.34", Version(1, 34, 0)),
            ("", Version(0, 0, 0)),
        ] {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn artifacts() {
        let of = |text| (Version::parse(text).artifacts(), Version::parse(text).looks_for_artifacts());
        assert_eq!(of("1.32.13").0, Artifacts::Never);
        assert_eq!(of("1.33.3"), (Artifacts::First, Look::ByReference));
        assert_eq!(of("1.34.11"), (Artifacts::AfterAnyFailure, Look::ByReference));
        assert_eq!(of("1.35.0"), (Artifacts::AfterAnyFailure, Look::None));
        assert_eq!(of("1.35.1"), (Artifacts::AfterAnswers, Look::None));
        assert_eq!(of("1.36.3"), (Artifacts::AfterAnswers, Look::Twice));
    }
}
