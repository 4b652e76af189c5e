//! Which entry of an index is the image (`ChooseInstance` and `internal/pkg/platform` of containers/image): it compares the declared values
//! literally, and ignores `os.version` and `os.features`.

use crate::image::Platform;
use crate::runtime::content::{Descriptor, Document};
use crate::runtime::crio::manifest::Form;

/// The variants that a host runs, best first (`WantedPlatforms`). Only arm hosts report theirs.
pub(super) fn variants(host: &Platform) -> Vec<&str> {
    const ARM: [&str; 4] = ["v8", "v7", "v6", "v5"];
    let own = match (host.architecture.as_str(), host.variant.as_str()) {
        ("arm64", "") => "v8",
        ("arm" | "arm64", variant) => variant,
        (_, _) => return vec![""],
    };
    let known: &[&str] = if host.architecture == "arm" { &ARM } else { &["v8"] };
    match known.iter().position(|one| *one == own) {
        _ if own.is_empty() => std::iter::once("").chain(known.iter().copied()).collect(),
        Some(at) => known.iter().skip(at).copied().chain([""]).collect(),
        None => vec![own, ""],
    }
}

/// The entry of an index for `host`; `None` if there is none.
pub(super) fn choose<'a>(document: &'a Document, form: Form, host: &Platform) -> Option<&'a Descriptor> {
    let variants = variants(host);
    let rank = |entry: &Descriptor| match &entry.platform {
        Some(platform) if platform.os == host.os && platform.architecture == host.architecture => {
            variants.iter().position(|variant| *variant == platform.variant)
        }
        Some(_) => None,
        // An entry without a platform is the last resort, but not in a Docker list.
        None => (form == Form::OciIndex).then_some(usize::MAX),
    };
    let ranked = document.manifests.iter().filter_map(|entry| Some((rank(entry)?, entry)));
    // Of equal entries the first, but one compressed with zstd comes before the others.
    let best = ranked.min_by_key(|(rank, entry)| (*rank, form == Form::OciIndex && !entry.zstd));
    best.map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::content::document;

    #[track_caller]
    fn check(host: &str, form: Form, entries: &[&str], expected: Option<usize>) {
        let entry = |(at, text): (usize, &&str)| {
            let zstd = text.strip_suffix("+zstd");
            let annotation = r#","annotations":{"io.github.containers.compression.zstd":"true"}"#;
            let annotations = if zstd.is_some() { annotation } else { "" };
            let platform = match zstd.unwrap_or(text) {
                "none" => String::new(),
                text => {
                    let mut parts = text.split('/').map(|part| format!("\"{part}\""));
                    let mut part = || parts.next().unwrap_or_else(|| "\"\"".to_owned());
                    format!(
                        r#","platform":{{"os":{},"architecture":{},"variant":{}}}"#,
                        part(),
                        part(),
                        part()
                    )
                }
            };
            format!(r#"{{"digest":"{at}"{platform}{annotations}}}"#)
        };
        let all: Vec<String> = entries.iter().enumerate().map(entry).collect();
        let read = document(format!(r#"{{"manifests":[{}]}}"#, all.join(",")).as_bytes()).unwrap();
        let mut host_platform = Platform::parse(host).unwrap();
        if !host.ends_with("v7") && host_platform.architecture == "arm" {
            host_platform.variant = host.rsplit('/').next().unwrap().trim_start_matches("arm").to_owned();
        }
        let found = choose(&read, form, &host_platform).map(|entry| entry.digest.parse().unwrap());
        assert_eq!(found, expected, "{host} of {entries:?}");
    }

    #[test]
    fn what_is_declared_counts_letter_by_letter() {
        let amd64 = |entries: &[&str], expected| check("linux/amd64", Form::OciIndex, entries, expected);
        amd64(&["linux/arm64", "linux/amd64", "linux/amd64"], Some(1));
        amd64(&["linux/x86_64"], None);
        amd64(&["Linux/amd64"], None);
        amd64(&["/amd64"], None);
        amd64(&["linux/amd64/v1", "linux/amd64/v2"], None);
        amd64(&[], None);
        check("linux/amd64/v3", Form::OciIndex, &["linux/amd64/v3", "linux/amd64"], Some(1));
    }

    #[test]
    fn variants_of_arm() {
        let arm64 = |entries: &[&str], expected| check("linux/arm64", Form::OciIndex, entries, expected);
        arm64(&["linux/arm64", "linux/arm64/v8"], Some(1));
        arm64(&["linux/arm64"], Some(0));
        arm64(&["linux/arm64/v9", "linux/arm/v7"], None);
        check(
            "linux/arm/v7",
            Form::OciIndex,
            &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"],
            Some(1),
        );
        check("linux/arm/v6", Form::OciIndex, &["linux/arm/v7", "linux/arm"], Some(1));
        // If the host's variant is unknown, an entry without a variant comes first.
        check("linux/arm", Form::OciIndex, &["linux/arm/v7", "linux/arm"], Some(1));
        check("linux/arm", Form::OciIndex, &["linux/arm/v7", "linux/arm/v8"], Some(1));
    }

    #[test]
    fn without_a_platform_it_is_the_last_resort() {
        check("linux/amd64", Form::OciIndex, &["none", "linux/amd64"], Some(1));
        check("linux/amd64", Form::OciIndex, &["linux/arm64", "none", "none"], Some(1));
        check("linux/amd64", Form::DockerList, &["none"], None);
    }

    #[test]
    fn zstd_goes_before() {
        check("linux/amd64", Form::OciIndex, &["linux/amd64", "linux/amd64+zstd"], Some(1));
        check(
            "linux/arm64",
            Form::OciIndex,
            &["linux/arm64/v8", "linux/arm64+zstd"],
            Some(0),
        );
        check("linux/amd64", Form::DockerList, &["linux/amd64", "linux/amd64+zstd"], Some(0));
    }
}
