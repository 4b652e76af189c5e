use super::*;
use crate::image::Platform;
use crate::runtime::containerd::Containerd;
use crate::runtime::{Pool, Runtime};
use IndexRules::{ContainerdClient as Client, ContainerdOld as Old, ContainerdTransfer as Transfer};

/// `none` is an entry without a platform.
fn entries(declared: &[&str]) -> Vec<IndexEntry> {
    let entry = |declared: &&str| {
        let mut parts = declared.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let (os, os_version) = part()
            .split_once('(')
            .unwrap_or((declared.split('/').next().unwrap_or_default(), ""));
        let platform = Platform {
            os: os.to_owned(),
            architecture: part().to_owned(),
            variant: part().to_owned(),
            os_version: os_version.trim_end_matches(')').to_owned(),
            os_features: Vec::new(),
        };
        IndexEntry {
            digest: String::new(),
            media_type: String::new(),
            platform: (*declared != "none").then_some(platform),
            size: 1,
        }
    };
    declared.iter().map(entry).collect()
}

fn puller(host: &str, index_rules: IndexRules) -> Puller {
    Puller {
        platform: Platform::parse(host).unwrap(),
        pool: Pool::default(),
        runtime: match index_rules {
            Old => old(),
            Client => Runtime::Containerd(Containerd::local()),
            Transfer | IndexRules::CriO => Runtime::today(),
        },
    }
}

fn old() -> Runtime {
    Runtime::of_node("containerd://1.6.20").unwrap()[0]
}

#[track_caller]
fn takes(host: &str, index_rules: IndexRules, declared: &[&str], image: &[usize], all: Option<&[usize]>) {
    let fetched = fetches(&entries(declared), &puller(host, index_rules));
    assert_eq!(fetched.image, image, "{host} {index_rules:?} {declared:?}");
    assert_eq!(fetched.all.as_deref(), all, "{host} {index_rules:?} {declared:?}");
}

#[test]
fn a_client_takes_the_best_one() {
    for index_rules in [Old, Client] {
        let one = |host: &str, declared: &[&str], image: &[usize]| takes(host, index_rules, declared, image, None);
        one("linux/amd64", &["linux/arm64", "linux/amd64"], &[1]);
        one("linux/amd64", &["linux/386", "linux/amd64"], &[1]);
        one("linux/amd64", &["linux/arm64", "linux/386"], &[1]);
        one("linux/amd64", &["linux/amd64", "linux/amd64"], &[0]);
        one("linux/amd64", &["linux/arm64"], &[]);
        one("linux/amd64", &[], &[]);
        one("linux/amd64", &["unknown/unknown"], &[]);
        one("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], &[1]);
        one("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], &[1]);
        one("linux/arm64", &["linux/arm/v6", "linux/arm/v7", "linux/arm64/v9"], &[1]);
        one("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], &[1]);
        one("linux/arm64/v9", &["linux/arm64", "linux/arm64/v8.5", "linux/arm/v8"], &[1]);
    }
}

#[test]
fn entries_without_a_platform_come_last() {
    for index_rules in [Old, Client] {
        takes("linux/amd64", index_rules, &["none", "linux/amd64"], &[1], None);
        takes("linux/amd64", index_rules, &["none", "linux/386"], &[1], None);
        takes("linux/amd64", index_rules, &["linux/arm64", "none", "none"], &[1], None);
    }
}

#[test]
fn the_transfer_service_fetches_all_that_match_exactly() {
    takes(
        "linux/amd64",
        Transfer,
        &["linux/amd64", "linux/386", "linux/amd64/v1", "none"],
        &[0],
        Some(&[0, 2, 3]),
    );
    // What only is compatible, it looks for and has not fetched.
    takes("linux/amd64", Transfer, &["linux/386"], &[0], Some(&[]));
    takes("linux/amd64", Transfer, &["linux/386", "none"], &[0], Some(&[1]));
    takes("linux/amd64", Transfer, &["none", "none"], &[0], Some(&[0, 1]));
    takes("linux/amd64", Transfer, &["linux/arm64"], &[], Some(&[]));
}

#[test]
fn where_versions_differ_every_choice_is_named() {
    let builds = [
        "windows(10.0.20348.1)/amd64",
        "windows(10.0.20348.2)/amd64",
        "windows(10.0.17763.1)/amd64",
        "linux/amd64",
    ];
    takes("windows(10.0.20348.9)/amd64", Client, &builds, &[0, 1], None);
    takes("windows(10.0.20348.9)/amd64", Transfer, &builds, &[0, 1], Some(&[0, 1]));
}

#[test]
fn needed_is_what_may_be_fetched() {
    let needed = |declared: &[&str], index_rules| fetches(&entries(declared), &puller("linux/amd64", index_rules)).needed();
    assert_eq!(needed(&["linux/386", "none"], Transfer), [1]);
    assert_eq!(needed(&["linux/386", "none"], Client), [0]);
}

#[test]
fn what_has_no_platform_is_measured_by_what_has_one() {
    let missing = |index_rules, declared: &[&str]| {
        let mut entries = entries(declared);
        for (at, entry) in entries.iter_mut().enumerate() {
            entry.digest = at.to_string();
            entry.media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
        }
        let puller = puller("linux/amd64", index_rules);
        let found = unmeasured(&entries, &fetches(&entries, &puller), &puller);
        found.map(|entry| entry.digest.clone())
    };
    for index_rules in [Old, Client, Transfer] {
        assert_eq!(missing(index_rules, &["none", "linux/arm64"]).as_deref(), Some("1"));
        assert_eq!(
            missing(index_rules, &["linux/arm64", "linux/s390x", "none"]).as_deref(),
            Some("0")
        );
        assert_eq!(missing(index_rules, &["none", "unknown/unknown"]).as_deref(), Some("1"));
        assert_eq!(missing(index_rules, &["none", "none"]), None);
        assert_eq!(missing(index_rules, &["none", "linux/arm64", "linux/amd64"]), None);
    }
}
