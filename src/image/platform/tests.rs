use super::*;
use Fit::{No, Perhaps, Yes};
use IndexRules::{ContainerdClient as Client, ContainerdOld as Old, ContainerdTransfer as Transfer, CriO};

fn platform(text: &str) -> Platform {
    Platform::parse(text).expect(text)
}

/// An entry exactly as declared, not normalised.
fn entry(text: &str) -> Platform {
    let parts: Vec<&str> = text.split('/').collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let (os, os_version) = part(0)
        .split_once('(')
        .map_or((part(0), ""), |(os, rest)| (os, rest.trim_end_matches(')')));
    Platform {
        os: os.to_owned(),
        architecture: part(1).to_owned(),
        variant: part(2).to_owned(),
        os_version: os_version.to_owned(),
        os_features: vec![],
    }
}

#[test]
fn normal_forms() {
    for (written, normal) in [
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm64/9", "linux/arm64/v9"),
        ("linux/i386", "linux/386"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/5", "linux/arm/v5"),
        ("macos/arm64", "darwin/arm64"),
        ("windows(10.0.20348.2340)/amd64", "windows(10.0.20348.2340)/amd64"),
    ] {
        assert_eq!(platform(written).to_string(), normal, "{written}");
        assert_eq!(entry(written).normalized(), platform(written));
    }
}

#[test]
fn refused_platforms() {
    for text in [
        "",
        "linux",
        "amd64",
        "linux/",
        "/amd64",
        "linux/arm/v7/x",
        "linux/arm/",
        "li nux/amd64",
        "linux/*",
        "windows(10/amd64",
        "\u{1b}/x",
    ] {
        let error = Platform::parse(text).expect_err(text);
        assert!(error.contains("linux/arm64") && !error.contains(char::is_control), "{error}");
    }
}

#[test]
fn of_nodes() {
    assert_eq!(Platform::of_node("linux", "arm", "").variant, "");
    assert_eq!(Platform::of_node("linux", "arm64", ""), platform("linux/arm64"));
    assert_eq!(
        Platform::of_node("windows", "amd64", "10.0.20348.1").to_string(),
        "windows(10.0.20348.1)/amd64"
    );
    assert_eq!(Platform::default().to_string(), "unknown/unknown");
    assert_eq!(entry("a\nb/c").to_string(), "a\\u{a}b/c");
}

/// Node, entry, and the verdicts of containerd's client pull, of its transfer service and of CRI-O.
#[test]
fn the_matrix() {
    for (node, declared, client, transfer, crio) in [
        ("linux/amd64", "linux/amd64", true, true, true),
        ("linux/amd64", "linux/amd64/v1", true, true, false),
        ("linux/amd64", "linux/x86_64", true, true, false),
        ("linux/amd64", "linux/386", true, false, false),
        ("linux/amd64", "linux/i386", true, false, false),
        ("linux/amd64", "linux/amd64/v2", false, false, false),
        ("linux/amd64", "linux/amd64/v3", false, false, false),
        ("linux/amd64", "linux/amd64/v4", false, false, false),
        ("linux/amd64", "/amd64", true, true, false),
        ("linux/amd64", "windows/amd64", false, false, false),
        ("linux/amd64", "linux/arm64", false, false, false),
        ("linux/amd64", "unknown/unknown", false, false, false),
        ("linux/amd64/v2", "linux/amd64", true, false, true),
        ("linux/amd64/v2", "linux/amd64/v2", true, true, true),
        ("linux/amd64/v2", "linux/amd64/v3", false, false, false),
        ("linux/arm64", "linux/arm64", true, true, true),
        ("linux/arm64", "linux/arm64/v8", true, true, true),
        ("linux/arm64", "linux/arm/v8", true, false, false),
        ("linux/arm64", "linux/arm/v7", true, false, false),
        ("linux/arm64", "linux/arm/v6", true, false, false),
        ("linux/arm64", "linux/arm/v5", true, false, false),
        ("linux/arm64", "linux/arm/v4", false, false, false),
        ("linux/arm64", "linux/arm", true, false, false),
        ("linux/arm64", "linux/arm64/v8.2", false, false, false),
        ("linux/arm64", "linux/arm64/v9", false, false, false),
        ("linux/arm64/v8.1", "linux/arm64", true, false, true),
        ("linux/arm64/v9", "linux/arm64/v8.5", true, false, false),
        ("linux/arm64/v9", "linux/arm64/v8.6", false, false, false),
        ("linux/arm64/v9", "linux/arm64/v9.0", true, true, false),
        ("linux/arm64/v9", "linux/arm/v7", true, false, false),
        ("linux/arm/v7", "linux/arm/v7", true, true, true),
        ("linux/arm/v7", "linux/arm", true, true, true),
        ("linux/arm/v7", "linux/armhf", true, true, false),
        ("linux/arm/v7", "linux/arm/v6", true, false, true),
        ("linux/arm/v7", "linux/armel", true, false, false),
        ("linux/arm/v7", "linux/arm/v5", true, false, true),
        ("linux/arm/v7", "linux/arm/v8", false, false, false),
        ("linux/arm/v6", "linux/arm/v6", true, true, true),
        ("linux/arm/v6", "linux/arm/v5", true, false, true),
        ("linux/arm/v6", "linux/arm", false, false, true),
        ("linux/arm/v8", "linux/arm/v8", true, true, true),
        ("linux/arm/v8", "linux/arm/v7", true, false, true),
        ("linux/arm/v8", "linux/arm/v5", true, false, true),
        ("linux/386", "linux/386", true, true, true),
        ("linux/386", "linux/amd64", false, false, false),
        ("linux/ppc64le", "linux/ppc64le", true, true, true),
        ("linux/s390x", "linux/s390x", true, true, true),
        ("linux/riscv64", "linux/riscv64", true, true, true),
        ("linux/riscv64", "linux/amd64", false, false, false),
        ("windows(10.0.17763.1)/amd64", "windows/amd64", true, true, true),
        (
            "windows(10.0.17763.1)/amd64",
            "windows(10.0.17763.999)/amd64",
            true,
            true,
            true,
        ),
        (
            "windows(10.0.17763.1)/amd64",
            "windows(10.0.20348.1)/amd64",
            false,
            false,
            true,
        ),
        (
            "windows(10.0.20348.1)/amd64",
            "windows(10.0.17763.1)/amd64",
            false,
            false,
            true,
        ),
        ("windows(10.0.20348.1)/amd64", "windows(10.0.20348.2)/amd64", true, true, true),
        (
            "windows(10.0.20348.1)/amd64",
            "windows(10.0.22621.2)/amd64",
            false,
            false,
            true,
        ),
        ("windows(10.0.22621.1)/amd64", "windows(10.0.20348.2)/amd64", true, true, true),
        (
            "windows(10.0.22621.1)/amd64",
            "windows(10.0.17763.2)/amd64",
            false,
            false,
            true,
        ),
        ("windows(10.0.26100.1)/amd64", "windows(10.0.20348.2)/amd64", true, true, true),
        ("windows(10.0.26100.1)/amd64", "windows(10.0.26100)/amd64", true, true, true),
        ("windows(10.0.26100.1)/amd64", "windows(10.0.26101)/amd64", false, false, true),
        ("windows(10.0.26100.1)/amd64", "windows(10.1.26100)/amd64", false, false, true),
        ("windows(10.0.26100.1)/amd64", "windows(nonsense)/amd64", false, false, true),
        ("windows/amd64", "windows(10.0.17763.1)/amd64", true, true, true),
        ("windows/amd64", "linux/amd64", false, false, false),
    ] {
        let (host, entry) = (platform(node), entry(declared));
        for (index_rules, expected) in [(Old, client), (Client, client), (Transfer, transfer), (CriO, crio)] {
            let expected = if expected { Yes } else { No };
            assert_eq!(
                host.takes(&entry, &[index_rules]),
                expected,
                "{node} takes {declared} ({index_rules:?})"
            );
        }
    }
}

#[test]
fn where_personalities_disagree() {
    let host = platform("linux/amd64");
    assert_eq!(host.takes(&entry("linux/386"), &[Client, Transfer]), Perhaps);
    assert_eq!(host.takes(&entry("linux/386"), &[]), Perhaps);
    assert_eq!(host.takes(&entry("linux/amd64"), &[]), Yes);
    assert_eq!(host.takes(&entry("linux/arm64"), &[]), No);
}

#[test]
fn arm_nodes_of_unknown_variant() {
    let node = Platform::of_node("linux", "arm", "");
    assert_eq!(node.takes(&entry("linux/arm/v5"), &[Client]), Yes);
    assert_eq!(node.takes(&entry("linux/arm/v6"), &[Client]), Perhaps);
    assert_eq!(node.takes(&entry("linux/arm/v7"), &[Client]), Perhaps);
    assert_eq!(node.takes(&entry("linux/arm"), &[Client]), Perhaps);
    assert_eq!(node.takes(&entry("linux/arm"), &[CriO]), Yes);
    assert_eq!(node.takes(&entry("linux/arm/v7"), &[Transfer]), Perhaps);
    assert_eq!(node.takes(&entry("linux/arm/v4"), &[]), No);
    assert_eq!(node.takes(&entry("linux/arm64"), &[]), No);
}

#[test]
fn os_features() {
    let with = |features: &[&str]| Platform {
        os_features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        ..platform("windows(10.0.20348.1)/amd64")
    };
    let host = with(&["a", "b"]);
    for (features, fit) in [(&["win32k"][..], Yes), (&["b", "a", "a"], Yes), (&["a", "c"], No), (&[], Yes)] {
        assert_eq!(host.takes(&with(features), &[Client, Transfer]), fit, "{features:?}");
    }
    assert_eq!(with(&[]).takes(&with(&["a"]), &[Client]), No);
    assert_eq!(with(&[]).takes(&with(&["a"]), &[Old]), Yes, "1.6 does not look");
    assert_eq!(with(&[]).takes(&with(&["a"]), &[Old, Client]), Perhaps);
}

#[test]
fn which_runtimes_look_at_os_features() {
    for (runtime, looks) in [
        ("containerd://1.7.34", false),
        ("containerd://2.2.5-k3s1", false),
        ("containerd://2.3.0", true),
        ("containerd://2.4.2", true),
        ("containerd://Unknown", true),
        ("cri-o://1.36.3", true),
        ("", true),
    ] {
        assert_eq!(looks_at_features(runtime), looks, "{runtime}");
    }
    let heedless = Platform {
        os_features: vec![EVERY_FEATURE.to_owned()],
        ..platform("linux/amd64")
    };
    let entry = Platform {
        os_features: vec!["a".to_owned()],
        ..platform("linux/amd64")
    };
    assert_eq!(heedless.takes(&entry, &[Client, Transfer]), Yes);
    assert_eq!(platform("linux/amd64").takes(&entry, &[Client, Transfer]), No);
}
