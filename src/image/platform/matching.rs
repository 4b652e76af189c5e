//! Host against index entry, by the rules of each runtime (pull-semantics 5.5, the compatibility matrix).

use super::{Fit, IndexRules, Platform, windows};

/// The variants that a node with an arm processor may have: Node objects do not show which (pull-semantics 7.1).
const ARM_VARIANTS: [&str; 4] = ["v5", "v6", "v7", "v8"];

/// Whether `host` takes `entry`, over its possible variants and all of these rules.
pub(super) fn fit(host: &Platform, entry: &Platform, index_rules: &[IndexRules]) -> Fit {
    let answers = |host: &Platform| -> Vec<bool> {
        let normal = entry.normalized();
        index_rules
            .iter()
            .map(|index_rules| takes(host, entry, &normal, *index_rules))
            .collect()
    };
    let answers: Vec<bool> = possible(host).iter().flat_map(answers).collect();
    match (answers.contains(&true), answers.contains(&false)) {
        (true, false) => Fit::Yes,
        (true, true) => Fit::Perhaps,
        (false, _) => Fit::No,
    }
}

/// The platforms that `host` may have, normalised.
pub(super) fn possible(host: &Platform) -> Vec<Platform> {
    if !host.architecture.eq_ignore_ascii_case("arm") || !host.variant.is_empty() {
        return vec![host.normalized()];
    }
    let of_variant = |variant: &&str| Platform {
        variant: (*variant).to_owned(),
        ..host.clone()
    };
    ARM_VARIANTS.iter().map(|variant| of_variant(variant).normalized()).collect()
}

/// The place of `entry` in the order that one runtime on one normalised host prefers: its own platform, then the older variants that
/// its processor runs too, newest first, then other architectures.
pub(super) fn rank(host: &Platform, entry: &Platform, index_rules: IndexRules) -> Option<u32> {
    let normal = entry.normalized();
    if !takes(host, entry, &normal, index_rules) {
        return None;
    }
    Some(match index_rules {
        IndexRules::ContainerdOld | IndexRules::ContainerdClient => behind(host, &normal),
        IndexRules::ContainerdTransfer => 0,
        // The variants from its own down to v5, then an entry without a variant.
        IndexRules::CriO if entry.variant.is_empty() => 1000,
        IndexRules::CriO => level(&host.variant, 8)
            .unwrap_or(0)
            .abs_diff(level(&entry.variant, 8).unwrap_or(0))
            .into(),
    })
}

/// How far behind the host a compatible entry is.
fn behind(host: &Platform, entry: &Platform) -> u32 {
    const OTHER_ARCHITECTURE: u32 = 1_000_000;
    let steps = |platform: &Platform| match platform.architecture.as_str() {
        "arm64" => arm64_level(&platform.variant).map_or(0, |(major, minor)| u32::from(major) * 1000 + u32::from(minor)),
        "arm" => level(&platform.variant, 7).map_or(0, u32::from),
        _ => level(&platform.variant, 1).map_or(0, u32::from),
    };
    if host.architecture == entry.architecture {
        steps(host).saturating_sub(steps(entry))
    } else {
        OTHER_ARCHITECTURE - steps(entry)
    }
}

/// Whether one runtime on one normalised host takes an entry, given as declared and as normalised.
fn takes(host: &Platform, declared: &Platform, normal: &Platform, index_rules: IndexRules) -> bool {
    if declared.is_unknown() {
        return false;
    }
    match index_rules {
        IndexRules::ContainerdOld => system(host, normal, index_rules) && compatible(host, normal),
        IndexRules::ContainerdClient => system(host, normal, index_rules) && features(host, normal) && compatible(host, normal),
        IndexRules::ContainerdTransfer => {
            system(host, normal, index_rules)
                && features(host, normal)
                && (&host.architecture, &host.variant) == (&normal.architecture, &normal.variant)
        }
        IndexRules::CriO => crio(host, declared),
    }
}

/// Operating system, and its version on Windows. An entry without an operating system has the host's.
fn system(host: &Platform, entry: &Platform, index_rules: IndexRules) -> bool {
    (entry.os.is_empty() || entry.os == host.os)
        && (host.os != "windows" || windows::takes(&host.os_version, &entry.os_version, index_rules))
}

/// Every Windows host except Nano Server has win32k, and containerd does not refuse an entry for lack of it. On other systems it is a
/// feature like any other.
fn features(host: &Platform, entry: &Platform) -> bool {
    let every = host.os_features.iter().any(|feature| feature == super::EVERY_FEATURE);
    every
        || entry
            .os_features
            .iter()
            .all(|feature| (feature == "win32k" && host.os == "windows") || host.os_features.contains(feature))
}

/// The compatibility vector of containerd/platforms (`platformVector`), as a predicate.
fn compatible(host: &Platform, entry: &Platform) -> bool {
    if (&host.architecture, &host.variant) == (&entry.architecture, &entry.variant) {
        return true;
    }
    match (host.architecture.as_str(), entry.architecture.as_str()) {
        ("amd64", "386") => entry.variant.is_empty(),
        ("amd64", "amd64") => match (level(&host.variant, 1), level(&entry.variant, 1)) {
            (Some(host), Some(entry)) => entry >= 1 && entry <= host,
            (None, _) | (_, None) => false,
        },
        ("arm", "arm") => match (level(&host.variant, 7), level(&entry.variant, 7)) {
            (Some(host), Some(entry)) => (5..=host).contains(&entry),
            (None, _) | (_, None) => false,
        },
        ("arm64", "arm") => {
            arm64_level(&host.variant).is_some() && level(&entry.variant, 7).is_some_and(|entry| (5..=8).contains(&entry))
        }
        ("arm64", "arm64") => match (arm64_level(&host.variant), arm64_level(&entry.variant)) {
            // v9.0 branched off from v8.5.
            (Some((9, host)), Some((8, entry))) => entry <= host.saturating_add(5),
            (Some((major, host)), Some((entry_major, entry))) => major == entry_major && entry <= host,
            (None, _) | (_, None) => false,
        },
        _ => false,
    }
}

/// `v7` → 7; `default` where there is no variant.
fn level(variant: &str, default: u8) -> Option<u8> {
    if variant.is_empty() {
        Some(default)
    } else {
        variant.strip_prefix('v')?.parse().ok()
    }
}

/// `v8.2` → (8, 2); no variant is v8.
fn arm64_level(variant: &str) -> Option<(u8, u8)> {
    if variant.is_empty() {
        return Some((8, 0));
    }
    let (major, minor) = variant
        .strip_prefix('v')?
        .split_once('.')
        .unwrap_or((variant.strip_prefix('v')?, "0"));
    Some((major.parse().ok().filter(|major| *major >= 8)?, minor.parse().ok()?))
}

/// containers/image compares what is declared, letter by letter, and walks the variants of arm down to none
/// (`internal/pkg/platform`, `WantedPlatforms` and `MatchesPlatform`); it looks at neither os.version nor os.features.
fn crio(host: &Platform, entry: &Platform) -> bool {
    if entry.os != host.os || entry.architecture != host.architecture {
        return false;
    }
    if entry.variant.is_empty() {
        return true;
    }
    match host.architecture.as_str() {
        "arm" => {
            entry.variant == host.variant
                || ARM_VARIANTS
                    .iter()
                    .take_while(|known| ARM_VARIANTS.contains(&host.variant.as_str()) && **known != host.variant)
                    .any(|known| *known == entry.variant)
        }
        // The normal form of v8 is none.
        "arm64" if host.variant.is_empty() => entry.variant == "v8",
        _ => entry.variant == host.variant,
    }
}
