//! Host against index entry, for each personality (pull-semantics 5.5, the compatibility matrix).

use super::{Fit, Personality, Platform, windows};

/// What a node with an arm processor may be: node objects do not tell (pull-semantics 7.1).
const ARM_VARIANTS: [&str; 4] = ["v5", "v6", "v7", "v8"];

/// Whether `host` takes `entry`, over its possible variants and `personalities`.
pub(super) fn fit(host: &Platform, entry: &Platform, personalities: &[Personality]) -> Fit {
    let answers = |host: &Platform| -> Vec<bool> {
        let normal = entry.normalized();
        personalities
            .iter()
            .map(|personality| takes(host, entry, &normal, *personality))
            .collect()
    };
    let answers: Vec<bool> = if host.architecture.eq_ignore_ascii_case("arm") && host.variant.is_empty() {
        ARM_VARIANTS
            .iter()
            .flat_map(|variant| {
                answers(
                    &Platform {
                        variant: (*variant).to_owned(),
                        ..host.clone()
                    }
                    .normalized(),
                )
            })
            .collect()
    } else {
        answers(&host.normalized())
    };
    match (answers.contains(&true), answers.contains(&false)) {
        (true, false) => Fit::Yes,
        (true, true) => Fit::Perhaps,
        (false, _) => Fit::No,
    }
}

/// Whether one runtime on one normalised host takes an entry, given as declared and as normalised.
fn takes(host: &Platform, declared: &Platform, normal: &Platform, personality: Personality) -> bool {
    if declared.is_unknown() {
        return false;
    }
    match personality {
        Personality::ContainerdOld => system(host, normal) && compatible(host, normal),
        Personality::ContainerdClient => system(host, normal) && features(host, normal) && compatible(host, normal),
        Personality::ContainerdTransfer => {
            system(host, normal)
                && features(host, normal)
                && (&host.architecture, &host.variant) == (&normal.architecture, &normal.variant)
        }
        Personality::CriO => crio(host, declared),
    }
}

/// Operating system, and its version on Windows. An entry without an operating system has the host's.
fn system(host: &Platform, entry: &Platform) -> bool {
    (entry.os.is_empty() || entry.os == host.os) && (host.os != "windows" || windows::takes(&host.os_version, &entry.os_version))
}

/// Every Windows host but Nano Server has win32k, and containerd does not hold its absence against an entry.
fn features(host: &Platform, entry: &Platform) -> bool {
    entry
        .os_features
        .iter()
        .all(|feature| feature == "win32k" || host.os_features.contains(feature))
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
