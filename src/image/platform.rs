//! Platforms, normalised and matched as containerd/platforms does (pull-semantics 5.5).

mod matching;
mod windows;

use super::escape::escape;
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
pub enum IndexRules {
    /// containerd up to 1.6: as [`Self::ContainerdClient`], but it does not know `os.features`, and compares layers of every type
    /// with the config (`tests/agreement` found both).
    ContainerdOld,
    /// containerd 1.7, and 2.x by local pull: the host platform and its compatibility vector.
    ContainerdClient,
    /// containerd 2.1 and later by the transfer service: the exact normalised host platform only.
    ContainerdTransfer,
    /// CRI-O (containers/image).
    CriO,
}

/// Whether a runtime takes an index entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fit {
    /// All rules that the node may have take it.
    Yes,
    /// Some of them take it, some do not (386 on amd64, arm/v6 on v7, an unknown arm variant).
    Perhaps,
    /// None takes it.
    No,
}

impl Platform {
    /// The heap memory it takes, in bytes, roughly.
    pub fn weight(&self) -> usize {
        let words = [&self.os, &self.architecture, &self.variant, &self.os_version];
        let features = self.os_features.iter().map(|feature| size_of::<String>() + feature.len());
        words.map(String::len).iter().sum::<usize>() + features.sum::<usize>()
    }

    /// Parses `os/arch[/variant]` (`linux/arm64/v8`), normalised; `windows(10.0.20348)/amd64` carries an os.version.
    /// The error is a sentence for the reader.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "\"{}\" is not a platform: write os/architecture or os/architecture/variant, such as linux/arm64",
                escape(text)
            )
        };
        let parts: Vec<&str> = text.split('/').take(4).collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] if !variant.is_empty() => (*os, *architecture, *variant),
            _ => return Err(refuse()),
        };
        let (os, os_version) = match os.split_once('(') {
            Some((os, version)) => (os, version.strip_suffix(')').filter(|v| is_word(v)).ok_or_else(refuse)?),
            None => (os, ""),
        };
        if !is_word(os) || !is_word(architecture) || (!variant.is_empty() && !is_word(variant)) {
            return Err(refuse());
        }
        let platform = Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os_version: os_version.to_owned(),
            os_features: Vec::new(),
        };
        Ok(platform.normalized())
    }

    /// The platform of a node, from its Node object. Aliases are resolved, but an `arm` without variant stays as it is, because Node
    /// objects do not show the variant (pull-semantics 7.1).
    pub fn of_node(os: &str, architecture: &str, os_version: &str) -> Self {
        let mut platform = Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            os_version: os_version.to_owned(),
            ..Self::default()
        }
        .normalized();
        if architecture.eq_ignore_ascii_case("arm") {
            platform.variant.clear();
        }
        platform
    }

    /// The normal form (`x86_64` → `amd64`, `aarch64` → `arm64`, `arm` → `arm/v7` …).
    pub fn normalized(&self) -> Self {
        let mut os_features = self.os_features.clone();
        os_features.sort_unstable();
        os_features.dedup();
        let os = match self.os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let (architecture, variant) = normal_architecture(&self.architecture.to_lowercase(), &self.variant.to_lowercase());
        Self {
            os,
            architecture,
            variant,
            os_version: self.os_version.clone(),
            os_features,
        }
    }

    /// `unknown/unknown`: an attestation entry, filtered out by every runtime.
    pub fn is_unknown(&self) -> bool {
        self.os.eq_ignore_ascii_case("unknown") && self.architecture.eq_ignore_ascii_case("unknown")
    }

    /// Whether a node of platform `self` takes an index entry that declares `entry`, considering all the rules it may have (if none
    /// is given, every one). An empty `self.variant` on `arm` means that the variant is unknown.
    pub fn takes(&self, entry: &Platform, index_rules: &[IndexRules]) -> Fit {
        matching::fit(self, entry, if index_rules.is_empty() { ALL } else { index_rules })
    }

    /// The platforms that such a node may have, normalised: this one, or for an `arm` without variant, one for each variant.
    pub fn possible(&self) -> Vec<Self> {
        matching::possible(self)
    }

    /// How well an index entry that declares `entry` suits a runtime on a host of this platform, which is one of
    /// [`Self::possible`]; `None` if it does not take it. The lowest rank is preferred.
    pub fn ranks(&self, entry: &Platform, index_rules: IndexRules) -> Option<u32> {
        matching::rank(self, entry, index_rules)
    }
}

/// Architecture and variant in their normal form (containerd/platforms `normalizeArch`); both are lower case already.
fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", if variant == "v1" { "" } else { variant }),
        ("aarch64" | "arm64", variant) => (
            "arm64",
            match variant {
                "8" | "v8" | "v8.0" => "",
                "9" | "9.0" | "v9.0" => "v9",
                variant => variant,
            },
        ),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", variant) => (
            "arm",
            match variant {
                "" | "7" => "v7",
                "5" => "v5",
                "6" => "v6",
                "8" => "v8",
                variant => variant,
            },
        ),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// What a component of a platform may hold, as containerd/platforms parses it.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `os/arch[/variant]`, with `os(version)` for Windows builds, as containerd prints it. Escaped, because index entries are text from
/// strangers.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { escape(text) };
        f.write_str(&known(&self.os))?;
        if !self.os_version.is_empty() {
            write!(f, "({})", escape(&self.os_version))?;
        }
        write!(f, "/{}", known(&self.architecture))?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", escape(&self.variant))
        }
    }
}

/// All of them: for a node whose runtime is unknown, or when no node is known.
pub const ALL: &[IndexRules] = &[
    IndexRules::ContainerdOld,
    IndexRules::ContainerdClient,
    IndexRules::ContainerdTransfer,
    IndexRules::CriO,
];

/// In a node's `os_features`: every feature, because its runtime ignores the features that an entry asks for.
pub(crate) const EVERY_FEATURE: &str = "*";

/// Whether a node's runtime compares the `os.features` of an entry with the node's: containerd does from 2.3 on (containerd/platforms
/// v1.0.0-rc.4; `tests/agreement` compares 1.7, 2.1 and 2.4).
pub(crate) fn looks_at_features(container_runtime_version: &str) -> bool {
    let containerd = container_runtime_version.strip_prefix("containerd://");
    containerd.and_then(major_minor).is_none_or(|version| version >= (2, 3))
}

/// `2.1` of `v2.1.3-rc.1`.
fn major_minor(version: &str) -> Option<(u32, u32)> {
    let digits = |text: &str| -> Option<u32> {
        text.split(|c: char| !c.is_ascii_digit())
            .next()
            .filter(|digits| !digits.is_empty())?
            .parse()
            .ok()
    };
    let (major, rest) = version.trim().trim_start_matches('v').split_once('.')?;
    Some((major.parse().ok()?, digits(rest)?))
}

#[cfg(test)]
mod tests;
