//! Platforms, normalised and matched as containerd/platforms does (pull-semantics 5.5).

use std::fmt;

/// An operating system, an architecture and their refinements, as written in an index, a config or a flag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Platform {
    /// GOOS; empty means "the node's own".
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// `v7`, `v8` …; empty where there is none.
    pub variant: String,
    /// Windows build, `10.0.20348.2340`; empty where there is none.
    pub os_version: String,
    /// `win32k` and others.
    pub os_features: Vec<String>,
}

/// How a runtime chooses from an index; where they disagree the outlook is `MayFail`, never `WillFail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Personality {
    /// containerd 1.x, and 2.x by local pull: the host platform and its compatibility vector.
    ContainerdClient,
    /// containerd 2.1 and later by the transfer service: the exact normalised host platform only.
    ContainerdTransfer,
    /// CRI-O (containers/image).
    CriO,
}

/// Whether a runtime takes an index entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fit {
    /// Every personality that the node may have takes it.
    Yes,
    /// Some personalities take it, some do not (386 on amd64, arm/v6 on v7, an unknown arm variant).
    Perhaps,
    /// None takes it.
    No,
}

impl Platform {
    /// Parses `os/arch[/variant]` (`linux/arm64/v8`), normalised. The error is a sentence for the reader.
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// The normal form (`x86_64` → `amd64`, `aarch64` → `arm64`, `arm` → `arm/v7` …).
    pub fn normalized(&self) -> Self {
        todo!()
    }
    /// `unknown/unknown`: an attestation entry, filtered out by every runtime.
    pub fn is_unknown(&self) -> bool {
        todo!()
    }
    /// Whether a node of platform `self` takes an index entry that declares `entry`, over the personalities it may have.
    /// `self.variant` empty on `arm` means that the variant is not known (node objects do not tell it).
    pub fn takes(&self, _entry: &Platform, _personalities: &[Personality]) -> Fit {
        todo!()
    }
}

/// `os/arch[/variant]`, and `(os.version)` for Windows builds.
impl fmt::Display for Platform {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// The personalities a node may have, from `status.nodeInfo.containerRuntimeVersion` (`containerd://2.3.4`).
pub fn personalities(_container_runtime_version: &str) -> &'static [Personality] {
    todo!()
}
