use super::*;

fn read(text: &str) -> Registries {
    Registries::parse(text).unwrap()
}

/// `endpoint` or `endpoint (server)`, with `!` before one that has settings for TLS, by folder.
fn shown(registries: &Registries, default_endpoint: DefaultEndpoint) -> Vec<String> {
    let url = |line: &Line| {
        let tls = if line.tls.is_explicit() { "!" } else { "" };
        match &line.written {
            Some(at) => format!("{tls}{}://{}{}", at.scheme.name(), at.authority, at.path),
            None => format!("{tls}-"),
        }
    };
    let tree = registries.tree(default_endpoint);
    tree.iter()
        .map(|(folder, file)| {
            let server = file.names_server.then(|| format!("({})", url(&file.server)));
            let all: Vec<String> = file.hosts.iter().map(&url).chain(server).collect();
            format!("{folder}: {}", all.join(" "))
        })
        .collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let registries = read(text);
    assert_eq!(shown(&registries, DefaultEndpoint::Asked), expected, "{text}");
    assert_eq!(registries.notes, [], "{text}");
}

// The inputs and outcomes of `Test_UnitGetHostConfigs` of k3s.
#[test]
fn endpoints_as_k3s_writes_them_down() {
    let mirror = |endpoint: &str| format!("mirrors:\n  docker.io:\n    endpoint:\n      - {endpoint}\n");
    for (endpoint, url) in [
        (
            "https://registry.example.com/prefix/v2",
            "https://registry.example.com/prefix/v2",
        ),
        ("registry.example.com/prefix", "https://registry.example.com/prefix"),
        ("registry.example.com", "https://registry.example.com/v2"),
        ("https://registry.example.com/", "https://registry.example.com/v2"),
        ("registry.example.com:443", "https://registry.example.com:443/v2"),
        ("1.2.3.4", "https://1.2.3.4/v2"),
        ("http://1.2.3.4:5000/v2", "http://1.2.3.4:5000/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("localhost:443", "https://localhost:443/v2"),
        ("https://127.0.0.1:5000", "https://127.0.0.1:5000/v2"),
    ] {
        let expected = format!("docker.io: {url} (https://registry-1.docker.io/v2)");
        check(&mirror(endpoint), &[&expected]);
    }
    // Without endpoints, or with itself alone, nothing is written.
    check("mirrors:\n  docker.io:\n", &[]);
    check(&mirror("docker.io"), &[]);
    check(
        "mirrors:\n  r.example:\n    endpoint: [a.example, https://b.example, a.example, https://a.example/v2, r.example]\n",
        &["r.example: https://a.example/v2 https://b.example/v2 (https://r.example/v2)"],
    );
    // Itself before others is an endpoint of its own.
    check(
        "mirrors:\n  r.example:\n    endpoint: [r.example, a.example]\n",
        &["r.example: https://r.example/v2 https://a.example/v2 (https://r.example/v2)"],
    );
}

#[test]
fn every_registry_that_has_no_key_of_its_own() {
    // `server = ""`: containerd asks the registry itself all the same.
    check(
        "mirrors:\n  \"*\":\n    endpoint: [m.example]\n",
        &["_default: https://m.example/v2 (-)"],
    );
    check(
        "configs:\n  \"*\":\n    tls: {insecure_skip_verify: true}\n  docker.io:\n",
        &["_default: (!-)"],
    );
    // Its settings for TLS are not those of its mirrors, which are hosts with keys of their own.
    check(
        "mirrors:\n  \"*\":\n    endpoint: [m.example]\nconfigs:\n  \"*\":\n    tls: {insecure_skip_verify: true}\n",
        &["_default: https://m.example/v2 (-)"],
    );
}

#[test]
fn configs_are_by_host_and_port_of_the_endpoint() {
    let registries = read(
        "mirrors:\n  docker.io:\n    endpoint: [\"https://m.example:5000\", \"https://m.example\"]\n\
         configs:\n  m.example:5000:\n    tls: {ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem}\n\
         \x20   auth: {username: u, password: p}\n  docker.io:\n    auth: {auth: dTI6cDI=}\n",
    );
    assert_eq!(
        shown(&registries, DefaultEndpoint::Asked),
        [
            "docker.io: !https://m.example:5000/v2 https://m.example/v2 (https://registry-1.docker.io/v2)",
            "m.example:5000: (!https://m.example:5000/v2)"
        ]
    );
    let mirror = &registries.tree(DefaultEndpoint::Asked)["docker.io"].hosts[0];
    let names: Vec<&String> = mirror.tls.names().collect();
    assert_eq!(names, ["/ca.pem", "/c.pem", "/k.pem"]);
    let user = |host: &str| registries.credential(host).map(|one| one.username.expose().into_owned());
    assert_eq!(user("m.example:5000").as_deref(), Some("u"));
    assert_eq!(user("m.example"), None);
    assert_eq!(user("registry-1.docker.io").as_deref(), Some("u2"), "by its other name");
    assert!(registries.has_credentials());
    // As CRI's `ParseAuth` reads them.
    let read_user = |auth: &str| {
        let registries = read(&format!("configs:\n  r.example:\n    auth: {auth}\n"));
        let one = registries.credential("r.example").cloned().unwrap();
        (one.username.expose().into_owned(), one.password.expose().into_owned())
    };
    assert_eq!(
        read_user("{username: 12, password: true, auth: dTI6cDI=}"),
        ("12".into(), "true".into())
    );
    assert_eq!(
        read_user("{identity_token: t, auth: dTI6cDI=}"),
        (String::new(), String::new())
    );
}

#[test]
fn without_the_default_endpoint() {
    let registries = read(
        "mirrors:\n  docker.io:\n    endpoint: [m.example]\n  quay.io:\n  \"*\":\n    endpoint: [m.example]\n\
         \x20 own.example:\n    endpoint: [m.example]\n  last.example:\n    endpoint: [m.example, last.example]\n\
         configs:\n  own.example:\n    auth: {username: u, password: p}\n",
    );
    assert_eq!(
        shown(&registries, DefaultEndpoint::Disabled),
        [
            "_default: https://m.example/v2",
            "docker.io: https://m.example/v2",
            "last.example: https://m.example/v2 https://last.example/v2",
            // A host that stands in `configs` keeps its own.
            "own.example: https://m.example/v2 (https://own.example/v2)",
        ]
    );
    // An endpoint is not needed to share images among nodes.
    let names = ["*", "docker.io", "last.example", "own.example", "quay.io"];
    let shared = registries.shared(DefaultEndpoint::Asked);
    assert_eq!(shared.mirrors, names.map(str::to_owned).into());
    assert_eq!(shared.peers_only, BTreeSet::new());
    // To the embedded registry, which is an endpoint, the default endpoint is none beside it.
    let shared = registries.shared(DefaultEndpoint::Disabled);
    assert_eq!(shared.peers_only, BTreeSet::from(["quay.io".to_owned()]));
    let all = read("mirrors:\n  \"*\":\n  kept.example:\nconfigs:\n  kept.example:\n  \"*\":\n    tls: {ca_file: /ca.pem}\n");
    let shared = all.shared(DefaultEndpoint::Disabled);
    assert!(shared.has_only_peers("quay.io"), "of configs, * does not keep it");
    assert!(!shared.has_only_peers("kept.example"));
}

// `endpointHasConfig`: and so `*` does not count for them.
#[test]
fn whatever_stands_below_a_host_in_configs_makes_a_folder_of_its_own() {
    let registries = read(
        "mirrors:\n  \"*\":\n    endpoint: [m.example]\nconfigs:\n  auth.example:\n    auth: {username: u, password: p}\n\
         \x20 tls.example:\n    tls: {}\n  nothing.example:\n  null.example:\n    auth:\n    tls:\n",
    );
    assert_eq!(
        shown(&registries, DefaultEndpoint::Asked),
        [
            "_default: https://m.example/v2 (-)",
            "auth.example: (https://auth.example/v2)",
            "tls.example: (https://tls.example/v2)",
        ]
    );
    let shared = registries.shared(DefaultEndpoint::Asked);
    assert!(shared.has("nothing.example") && !shared.has("auth.example") && !shared.has("tls.example"));
}

#[test]
fn rewrites_are_those_of_the_mirrors_alone() {
    let registries =
        read("mirrors:\n  r.example:\n    endpoint: [m.example, r.example]\n    rewrite:\n      \"^team/(.*)\": proj/$1\n");
    let tree = registries.tree(DefaultEndpoint::Asked);
    let file = &tree["r.example"];
    assert_eq!(file.hosts[0].rewrites, [("^team/(.*)".to_owned(), "proj/$1".to_owned())]);
    assert_eq!(file.server.rewrites, []);
    assert!(file.by_k3s);
}

#[test]
fn what_k3s_passes_over_is_noted_with_its_place() {
    let notes = |text: &str| -> Vec<String> { read(text).notes.iter().map(ToString::to_string).collect() };
    assert_eq!(
        notes(
            "mirrors:\n  docker.io:\n    endpoints: [m.example]\n  https://quay.io:\n    endpoint: [\"ftp://m.example\"]\nmirror: {}\n"
        ),
        [
            "3:5: unknown key \"endpoints\"; did you mean \"endpoint\"?; k3s ignores it",
            "4:3: \"https://quay.io\" stands for no registry; write the host alone, without a scheme",
            "5:16: nodes ignore this endpoint: \"ftp\" is not http or https",
            "6:1: unknown key \"mirror\"; did you mean \"mirrors\"?; k3s ignores it",
        ]
    );
    assert_eq!(
        notes("mirrors:\n  docker.io:\n    endpoint: [m.example]\n    rewrite:\n      \"^(\": x\n      \"^ok\": y\n"),
        ["5:7: this pattern is not a regular expression; k3s ignores it"]
    );
    assert_eq!(
        notes("configs:\n  r.example:\n    auth: {token: x}\n    tls: {ca: /x}\n  \"*\":\n    auth: {username: u}\nauths: {}\n"),
        [
            "3:12: unknown key \"token\"; known here: username, password, auth, identity_token; k3s ignores it",
            "4:11: unknown key \"ca\"; known here: ca_file, cert_file, key_file, insecure_skip_verify; k3s ignores it",
            "6:5: k3s never sends a credential for \"*\"; write it for the host and port of an endpoint",
            "7:1: auths is not used any more; write the credential under configs",
        ]
    );
}

#[test]
fn malformed() {
    let problem = |text: &str| Registries::parse(text).unwrap_err().to_string();
    assert_eq!(problem("mirrors:\n  - docker.io\n"), "1:1: expected `key: value`");
    assert_eq!(
        problem("mirrors:\n  docker.io:\n    endpoint: https://m.example\n"),
        "3:5: endpoint must be a list of URLs"
    );
    assert!(
        problem("mirrors:\n  docker.io: [\n").starts_with("2:"),
        "{}",
        problem("mirrors:\n  docker.io: [\n")
    );
    assert_eq!(
        problem("configs:\n  r:\n    tls: {insecure_skip_verify: sure}\n"),
        "3:11: insecure_skip_verify must be true or false"
    );
    assert_eq!(read(""), Registries::default());
    assert_eq!(read("# nothing\n"), Registries::default());
}
