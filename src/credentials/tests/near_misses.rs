use super::*;

/// Key, repository, reason, and the key that would match.
const TABLE: &[(&str, &str, &str, Option<&str>)] = &[
    (
        "https://index.docker.io/v1",
        "docker.io/library/nginx",
        "/v1 is only removed if a slash follows it",
        Some("https://index.docker.io/v1/"),
    ),
    (
        "registry-1.docker.io",
        "docker.io/library/nginx",
        "Docker Hub is looked up as docker.io and index.docker.io, not as registry-1.docker.io",
        Some("https://index.docker.io/v1/"),
    ),
    (
        "https://hub.docker.com/v2/",
        "docker.io/myorg/app",
        "Docker Hub is looked up as docker.io and index.docker.io, not as hub.docker.com",
        Some("https://index.docker.io/v1/"),
    ),
    (
        "*.docker.io",
        "docker.io/myorg/app",
        "Docker Hub is looked up as docker.io and index.docker.io, not as *.docker.io",
        Some("https://index.docker.io/v1/"),
    ),
    (
        "index.docker.io/myorg",
        "docker.io/myorg/app",
        "index.docker.io only means Docker Hub without a path",
        Some("docker.io/myorg"),
    ),
    (
        "docker.io/nginx",
        "docker.io/library/nginx",
        "Docker Hub's official images are below /library",
        Some("docker.io/library/nginx"),
    ),
    (
        "https://quay.io/v2",
        "quay.io/x",
        "/v2 is only removed if a slash follows it",
        Some("https://quay.io"),
    ),
    (
        "https://quay.io/api",
        "quay.io/x",
        "/api is read as the path of a repository",
        Some("https://quay.io"),
    ),
    (
        "oci://quay.io",
        "quay.io/x",
        "only http:// and https:// are removed from keys, not oci://",
        Some("quay.io"),
    ),
    (
        "https://https://quay.io",
        "quay.io/x",
        "a second scheme, https://, follows the first",
        Some("quay.io"),
    ),
    ("//quay.io", "quay.io/x", "it begins with slashes", Some("quay.io")),
    (
        "u^@quay.io",
        "quay.io/x",
        "the kubelet cannot parse it as a URL and skips it",
        Some("quay.io"),
    ),
    (
        "HTTPS://quay.io",
        "quay.io/x",
        "only http:// and https:// are removed from keys, not HTTPS://",
        Some("quay.io"),
    ),
    ("QUAY.io", "quay.io/x", "the host is case-sensitive", Some("quay.io")),
    (
        "quay.io/Team",
        "quay.io/team/x",
        "the path is case-sensitive",
        Some("quay.io/team"),
    ),
    (
        "reg.example.com",
        "reg.example.com:5000/a",
        "it has no port, the image's registry has 5000",
        Some("reg.example.com:5000"),
    ),
    (
        "reg.example.com:443",
        "reg.example.com/a",
        "its port is 443, the image's registry has none",
        Some("reg.example.com"),
    ),
    (
        "reg.example.com:5000",
        "reg.example.com:5001/a",
        "its port is 5000, the image's registry has 5001",
        Some("reg.example.com:5001"),
    ),
    (
        "*.example.com:*",
        "reg.example.com:5000/a",
        "its port is not a number, and ports cannot have wildcards",
        Some("*.example.com:5000"),
    ),
    (
        "*.example.com",
        "a.b.example.com/x",
        "`*` does not match dots: its host has 3 parts, the image's registry has 4",
        Some("*.*.example.com"),
    ),
    (
        "*",
        "reg.example.com/x",
        "`*` does not match dots: its host has 1 part, the image's registry has 3",
        Some("reg.example.com"),
    ),
    (
        "reg?.example.com",
        "reg7.example.com/a",
        "`?` starts a URL query there and is not a wildcard",
        Some("reg*.example.com"),
    ),
    (
        "reg[67].example.com",
        "reg7.example.com/a",
        "brackets may only contain an IPv6 address: a kubelet built with Go 1.24.8, 1.25.2 or later (each from 1.36 on is) cannot \
         parse it as a URL and skips it",
        Some("reg*.example.com"),
    ),
    (
        "reg.example.com/*",
        "reg.example.com/a",
        "`*` is only a wildcard in the host; a path matches everything that starts with it",
        Some("reg.example.com"),
    ),
    (
        "reg.example.com/a:tag",
        "reg.example.com/a",
        "it ends in a tag, and keys end with the repository",
        Some("reg.example.com/a"),
    ),
    (
        " reg.example.com",
        "reg.example.com/a",
        "there is white space before it",
        Some("reg.example.com"),
    ),
    (
        "reg.example.com\n",
        "reg.example.com/a",
        "there is white space after it",
        Some("reg.example.com"),
    ),
    (
        "reg.example.com/a/",
        "reg.example.com/a",
        "with the slash at its end it only matches what is below",
        Some("reg.example.com/a"),
    ),
    (
        "reg.example.com//a",
        "reg.example.com/a",
        "its path has a double slash",
        Some("reg.example.com/a"),
    ),
    (
        "reg.example.com/team-a",
        "reg.example.com/team-b/app",
        "it is only for repositories below /team-a, the image's is /team-b/app",
        None,
    ),
    (
        "https://REG.example.com:443/team-a",
        "reg.example.com/team-b/app",
        "its port is 443, the image's registry has none, and the host is case-sensitive, and it is only for repositories below /team-a, the image's is /team-b/app",
        None,
    ),
    (
        "ghrc.io",
        "ghcr.io/x/y",
        "it is for ghrc.io, the image's registry is ghcr.io",
        Some("ghcr.io"),
    ),
    (
        "example.com",
        "reg.example.com/a",
        "it is for example.com, and a key does not match subdomains",
        Some("reg.example.com"),
    ),
    (
        "harbor.corp.example",
        "registry.corp.example/a",
        "it is for harbor.corp.example, the image's registry is registry.corp.example",
        None,
    ),
    (
        "OCI://QUAY.io:443",
        "quay.io/x",
        "only http:// and https:// are removed from keys, not OCI://, and its port is 443, the image's registry has none, and the host is case-sensitive",
        Some("quay.io"),
    ),
    (
        "reg.example.com/\u{7}%zz",
        "reg.example.com/a",
        "the kubelet cannot parse it as a URL and skips it",
        Some("reg.example.com"),
    ),
];

#[test]
fn the_table() {
    for (key, name, why, suggestion) in TABLE {
        let ring = keyring(&[key]);
        assert!(ring.lookup(name).is_empty(), "{key} {name}");
        let miss = ring.nearest(name).unwrap_or_else(|| panic!("{key} {name}: nothing near"));
        assert_eq!(
            (miss.why.as_str(), miss.suggestion.as_deref()),
            (*why, *suggestion),
            "{key} {name}"
        );
        assert_eq!(
            (miss.key, &miss.source),
            (endpoint::masked(key), &CredentialSource::Secret("regcred".to_owned()))
        );
    }
}

#[test]
fn what_is_suggested_matches() {
    for (key, name, _, suggestion) in TABLE {
        if let Some(suggestion) = suggestion {
            assert_eq!(found(&keyring(&[suggestion]), name), [*suggestion], "{key} {name}");
        }
    }
}

#[test]
fn the_closest_is_chosen() {
    let ring = keyring(&[
        "quay.io",
        "reg.example.com/other",
        "OCI://REG.example.com",
        "reg.example.com:443",
        "reg.example.org",
    ]);
    assert_eq!(
        ring.nearest("reg.example.com/a").map(|miss| miss.key).as_deref(),
        Some("reg.example.com:443")
    );
}

#[test]
fn what_is_not_near_is_not_named() {
    let ring = keyring(&["quay.io", "ghcr.io", "", "localhost:5000", "*.azurecr.io"]);
    assert_eq!(ring.nearest("registry.corp.example/app"), None);
    assert_eq!(Keyring::default().nearest("quay.io/x"), None);
}

#[test]
fn userinfo_is_never_told() {
    let ring = keyring(&["https://admin:hunter2@reg.example.com:443/team"]);
    let miss = ring.nearest("reg.example.com/team/app").unwrap();
    assert_eq!(miss.key, "https://***@reg.example.com:443/team");
    assert_eq!(miss.suggestion.as_deref(), Some("https://reg.example.com/team"));
    let told = format!("{miss:?}{ring:?}");
    assert!(!told.contains("hunter2") && !told.contains("admin"), "{told}");
}
