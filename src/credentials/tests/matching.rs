use super::*;

const NGINX: &str = "docker.io/library/nginx";

/// The table of pull-semantics 4.4: keys, repository, and the keys found, in order.
const TABLE: &[(&[&str], &str, &[&str])] = &[
    (&["https://index.docker.io/v1/"], NGINX, &["https://index.docker.io/v1/"]),
    (&["https://index.docker.io/v2/"], NGINX, &["https://index.docker.io/v2/"]),
    (&["index.docker.io"], NGINX, &["index.docker.io"]),
    (&["index.docker.io/"], NGINX, &["index.docker.io/"]),
    (&["https://index.docker.io/v1"], NGINX, &[]),
    (&["docker.io"], NGINX, &["docker.io"]),
    (&["https://docker.io"], NGINX, &["https://docker.io"]),
    (&["docker.io/v1/"], NGINX, &["docker.io/v1/"]),
    (&["https://index.docker.io/v1/", "docker.io"], NGINX, &["docker.io"]),
    (
        &[
            "registry-1.docker.io",
            "hub.docker.com",
            "registry.hub.docker.com",
            "*.docker.io",
        ],
        NGINX,
        &[],
    ),
    (&["index.docker.io/myorg"], "docker.io/myorg/app", &[]),
    (&["docker.io/myorg"], "docker.io/myorg/app", &["docker.io/myorg"]),
    (&["docker.io/myorg"], "docker.io/myorg2/app", &["docker.io/myorg"]),
    (&["docker.io/myorg/"], "docker.io/myorg2/app", &[]),
    (&["docker.io/myorg/"], "docker.io/myorg/app", &["docker.io/myorg/"]),
    (
        &["quay.io", "quay.io/coreos/etcd", "quay.io/coreos"],
        "quay.io/coreos/etcd",
        &["quay.io/coreos/etcd", "quay.io/coreos", "quay.io"],
    ),
    (&["http://quay.io"], "quay.io/x", &["http://quay.io"]),
    (&["https://quay.io/v2/"], "quay.io/x", &["https://quay.io/v2/"]),
    (
        &["https://quay.io/v2", "https://quay.io/api", "oci://quay.io", "QUAY.io"],
        "quay.io/x",
        &[],
    ),
    (&["reg.example.com"], "reg.example.com:5000/a", &[]),
    (&["reg.example.com:443"], "reg.example.com/a", &[]),
    (&["reg.example.com:5000"], "reg.example.com:5000/a", &["reg.example.com:5000"]),
    (&["*.example.com"], "a.b.example.com/x", &[]),
    (&["*.*.example.com"], "a.b.example.com/x", &["*.*.example.com"]),
    (
        &["*.dkr.ecr.*.amazonaws.com"],
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app",
        &["*.dkr.ecr.*.amazonaws.com"],
    ),
    (&["reg*.example.com"], "reg7.example.com/a", &["reg*.example.com"]),
    (&["reg?.example.com"], "reg7.example.com/a", &[]),
    (&["*.example.com:*"], "reg.example.com:5000/a", &[]),
    (&["reg.example.com/*"], "reg.example.com/a", &[]),
    (&["reg.example.com/a:tag"], "reg.example.com/a", &[]),
    (&[" reg.example.com", "reg.example.com "], "reg.example.com/a", &[]),
    (&["user@reg.example.com"], "reg.example.com/a", &["user@reg.example.com"]),
    (
        &["*.example.com", "reg.example.com", "*.example.com/foo", "reg.example.com/foo"],
        "reg.example.com/foo/a",
        &["reg.example.com/foo", "reg.example.com", "*.example.com/foo", "*.example.com"],
    ),
    // Beyond the table; each settled by Go's own net/url, net and path/filepath.
    (&["reg.example.com:"], "reg.example.com/a", &["reg.example.com:"]),
    (&["reg[a-c].example.com", "reg[b.example.com"], "regb.example.com/a", &[]),
    (&["[::1]:5000", "[::1]"], "[::1]:5000/a", &["[::1]:5000"]),
    (&["[::1]"], "[::1]/a", &[]),
    (&["reg.example.com/%61"], "reg.example.com/abc", &["reg.example.com/%61"]),
    (&["reg.example.com/%zz"], "reg.example.com/a", &[]),
    (&["reg.example.com#x"], "reg.example.com/a", &["reg.example.com#x"]),
    (&["reg.example.com?x"], "reg.example.com/a", &["reg.example.com?x"]),
    (&["HTTPS://reg.example.com"], "reg.example.com/a", &[]),
    (&[""], "reg.example.com/a", &[]),
    (&["*"], "reg.example.com/a", &[]),
    (&["*"], "localhost/a", &["*"]),
    (&["localhost:5000"], "localhost:5000/a", &["localhost:5000"]),
    (&["index.docker.io"], "localhost/a", &["index.docker.io"]),
    (&["index.docker.io"], "localhost:5000/a", &[]),
    (&["index.docker.io"], "index.docker.io/a/b", &["index.docker.io"]),
];

#[test]
fn the_table() {
    for (keys, name, expected) in TABLE {
        assert_eq!(found(&keyring(keys), name), *expected, "{keys:?} {name}");
    }
}

#[test]
fn agrees_with_go() {
    let lines = include_str!("../../../tests/data/keys-go.tsv").lines();
    let mut count = 0;
    for line in lines.filter(|line| !line.starts_with("# ")) {
        let [key, name, verdict] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let served = !keyring(&[key]).lookup(name).is_empty();
        assert_eq!(served, verdict == "serves", "{key} {name}");
        if verdict == "skipped" {
            let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
            assert_eq!(
                endpoint::parse(rest.unwrap_or(key).as_bytes(), endpoint::GoVersion::Current),
                None,
                "{key}"
            );
        }
        count += 1;
    }
    assert!(count > 1500);
}

#[test]
fn one_key_keeps_the_order_of_the_secrets() {
    let mut ring = Keyring::default();
    let entry = |key: &str, user: &str| vec![(key.to_owned(), credential(user, "pw"))];
    ring.add(&CredentialSource::Secret("first".to_owned()), &entry("https://quay.io", "1"));
    ring.add(&CredentialSource::Secret("second".to_owned()), &entry("quay.io/team", "2"));
    ring.add(&CredentialSource::Secret("third".to_owned()), &entry("quay.io/", "3"));
    // The same credential twice is tried twice.
    ring.add(&CredentialSource::DockerConfig, &entry("quay.io", "1"));
    assert_eq!(found(&ring, "quay.io/team/app"), ["2", "1", "3", "1"]);
    let sources: Vec<String> = ring
        .lookup("quay.io/team/app")
        .iter()
        .map(|entry| entry.source.to_string())
        .collect();
    assert_eq!(
        sources,
        ["Secret second", "Secret first", "Secret third", "the docker config"]
    );
}

#[test]
fn patterns_that_only_older_kubelets_take() {
    for (pattern, name, expected) in [
        ("reg[67].example.com", "reg7.example.com/a", true),
        ("reg[67].example.com", "reg8.example.com/a", false),
        ("reg*.example.com", "reg7.example.com/a", false),
    ] {
        let patterns: RegistryPatterns = [pattern].iter().collect();
        assert_eq!(patterns.matches_only_with_older_go(name), expected, "{pattern} {name}");
        assert_eq!(patterns.matches(name), pattern.contains('*'), "{pattern} {name}");
    }
}

#[test]
fn patterns_of_node_credentials() {
    for (pattern, name, expected) in [
        ("*", "anything.example.com:5000/a/b", true),
        ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com/app", true),
        (
            "*.dkr.ecr.*.amazonaws.com",
            "1.dkr.ecr.cn-north-1.amazonaws.com.cn/app",
            false,
        ),
        ("*.azurecr.io", "myacr.azurecr.io/api", true),
        ("*.azurecr.io", "azurecr.io/api", false),
        ("*.pkg.dev", "europe-docker.pkg.dev/p/r/i", true),
        ("gcr.io", "gcr.io/p/i", true),
        ("gcr.io", "eu.gcr.io/p/i", false),
        ("reg.example.com", "reg.example.com:5000/a", false),
        ("reg.example.com:5000", "reg.example.com:5000/a", true),
        ("reg.example.com/team", "reg.example.com/team/app", true),
        ("reg.example.com/team", "reg.example.com/other", false),
        ("", "reg.example.com/a", false),
    ] {
        assert_eq!(
            [pattern].iter().collect::<RegistryPatterns>().matches(name),
            expected,
            "{pattern} {name}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_key_and_no_name_panics(
        keys in proptest::collection::vec(r"(https?://)?[a-z*.:@%\[\]?/-]{0,20}|.{0,20}", 0..5),
        name in r"[a-z0-9.:\[\]]{0,12}(/[a-z/]{0,10})?|.{0,20}",
    ) {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let ring = keyring(&keys);
        let found = ring.lookup(&name).len();
        proptest::prop_assert!(found <= keys.len());
        if let (0, Some(miss)) = (found, ring.nearest(&name)) {
            proptest::prop_assert!(!miss.why.is_empty());
        }
    }

    #[test]
    fn a_host_and_its_paths_always_match(
        host in r"[a-z][a-z0-9-]{0,8}(\.[a-z0-9]{1,5}){0,3}(:[0-9]{1,5})?", path in "[a-z0-9]{1,6}(/[a-z0-9]{1,6}){0,3}",
    ) {
        let name = format!("{host}/{path}");
        proptest::prop_assert_eq!(found(&keyring(&[&host]), &name).len(), 1);
        // A key's path loses a leading `v1` or `v2`.
        proptest::prop_assume!(!path.starts_with("v1/") && !path.starts_with("v2/"));
        let both = keyring(&[&host, &name]);
        proptest::prop_assert_eq!(found(&both, &name), vec![name.as_str(), host.as_str()]);
        proptest::prop_assert!([&host].into_iter().collect::<RegistryPatterns>().matches(&name));
    }
}
