//! The tree on a disk: which folder counts, what it means, and when it is read again.

use super::folder::{Folder, Meaning, notes, problems};
use super::*;
use crate::net::Reach;
use crate::registry::clients::Factory;
use crate::runtime::containerd::hosts::Server;
use std::fs;
use std::path::Path;

fn settings_table() -> Arc<HostSettingsTable> {
    let reach = Arc::new(Reach::Everything);
    let factory = Factory::new(&reach, &[], &[], None, Duration::from_secs(5)).unwrap();
    Arc::new(HostSettingsTable::new(factory).unwrap())
}

fn vault() -> Vault {
    Vault::new(1 << 20)
}

fn nodes(root: &Path) -> Nodes {
    Nodes::new(vec![root.to_owned()], settings_table()).unwrap()
}

/// Makes `folder/hosts.toml`.
fn write(root: &Path, folder: &str, text: &str) {
    let folder = root.join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("hosts.toml"), text).unwrap();
}

/// Those that cannot be asked with a `!`.
fn names(hosts: &[Host]) -> Vec<String> {
    let shown = |server: &Server| server.https.authority();
    hosts
        .iter()
        .map(|host| match (&host.server, &host.unusable) {
            (Some(server), None) => shown(server),
            _ => format!("!{}", host.shown),
        })
        .collect()
}

async fn hosts(nodes: &Nodes, registry: &str) -> Arc<Hosts> {
    match nodes.config(registry, &vault()).await {
        NodeConfig::Containerd(hosts) => hosts,
        _ => panic!("hosts of {registry}"),
    }
}

async fn found(nodes: &Nodes, registry: &str) -> Vec<String> {
    names(&hosts(nodes, registry).await.hosts)
}

fn ca() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(Vec::new())
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem()
}

#[tokio::test]
async fn folders_in_the_order_of_containerd() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nodes = Nodes::new(vec![first.path().to_owned(), second.path().to_owned()], settings_table()).unwrap();
    let found = |registry: &str| {
        let roots = [first.path().to_owned(), second.path().to_owned()];
        Folder::find(&roots, registry).map(|folder| folder.path.file_name().unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(found("r:5000"), None);
    assert_eq!(nodes.config("docker.io", &vault()).await, NodeConfig::Default);
    write(second.path(), "_default", "");
    assert_eq!(found("r:5000").as_deref(), Some("_default"));
    fs::create_dir(second.path().join("r:5000")).unwrap();
    assert_eq!(found("r:5000").as_deref(), Some("r:5000"));
    fs::create_dir(second.path().join("r_5000_")).unwrap();
    assert_eq!(found("r:5000").as_deref(), Some("r_5000_"));
    fs::create_dir(first.path().join("_default")).unwrap();
    assert_eq!(found("r:5000").as_deref(), Some("_default"), "the first root wins");
    fs::create_dir(first.path().join("[fd00::1]_5000_")).unwrap();
    assert_eq!(found("[fd00::1]:5000").as_deref(), Some("[fd00::1]_5000_"));
    for outside in ["", ".", "..", "../x", "a/b", "a\0b"] {
        assert_eq!(found(outside), None, "{outside:?}");
    }
    assert_eq!(self::found(&nodes, "quay.io").await, ["quay.io"]);
}

#[tokio::test]
async fn the_server_is_the_last_host() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "docker.io", "[host.\"https://m2\"]\n[host.\"http://m1:5000\"]\n");
    write(dir.path(), "ghcr.io", "server = \"https://proxy\"\n[host.\"m\"]\n");
    write(dir.path(), "_default", "[host.\"m\"]\ncapabilities = [\"pull\"]\n");
    let nodes = nodes(dir.path());
    assert_eq!(found(&nodes, "docker.io").await, ["m2", "m1:5000", "registry-1.docker.io"]);
    assert_eq!(found(&nodes, "ghcr.io").await, ["m", "proxy"]);
    let default = hosts(&nodes, "quay.io").await;
    assert_eq!(names(&default.hosts), ["m", "quay.io"]);
    let [mirror, upstream] = default.hosts.as_slice() else {
        panic!("two hosts")
    };
    assert!(mirror.pull && !mirror.resolve && upstream.pull && upstream.resolve);
    let host_settings = nodes.settings_table.get(mirror.settings).unwrap();
    assert!(host_settings.names(&mirror.server.as_ref().unwrap().https));
    assert_eq!(upstream.settings, HostSettingsId::default(), "a folder for all names nobody");
}

#[tokio::test]
async fn the_root_holds_for_the_default_host_too() {
    let dir = tempfile::tempdir().unwrap();
    // Capabilities of a root without a server are nothing to containerd.
    write(
        dir.path(),
        "r",
        "capabilities = [\"push\"]\nca = \"ca.pem\"\n[header]\nx-a = \"b\"\n",
    );
    fs::write(dir.path().join("r/ca.pem"), ca()).unwrap();
    let nodes = nodes(dir.path());
    let hosts = hosts(&nodes, "r").await;
    let [host] = hosts.hosts.as_slice() else {
        panic!("one host: {hosts:?}")
    };
    assert!(host.pull && host.resolve);
    let host_settings = nodes.settings_table.get(host.settings).unwrap();
    let own = &host.server.as_ref().unwrap().https;
    assert_eq!(host_settings.headers(own).count(), 1);
    assert!(!host_settings.names(own));
    let itself = nodes.settings_table.get(HostSettingsId::default()).unwrap();
    let profile = |host_settings| std::ptr::from_ref(nodes.settings_table.profile(host_settings, own));
    assert_ne!(profile(&*host_settings), profile(&*itself), "clients of its own");
}

#[tokio::test]
async fn certificates_as_docker_lays_them_out() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("r_5000_");
    fs::create_dir(&folder).unwrap();
    let found = || Folder::find(&[dir.path().to_owned()], "r:5000").unwrap();
    for (name, text) in [
        ("b.crt", ca()),
        ("a.crt", ca()),
        ("c.cert", ca()),
        ("d.cert", ca()),
        ("c.key", String::new()),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::write(folder.join("readme"), "x").unwrap();
    let Meaning::Certificates(files) = found().meaning else {
        panic!("certificates")
    };
    assert_eq!(files.ca, Some(vec!["a.crt".to_owned(), "b.crt".to_owned()]));
    let clients = vec![("c.cert".to_owned(), Some("c.key".to_owned())), ("d.cert".to_owned(), None)];
    assert_eq!(files.client, Some(clients));
    // The same where there is a hosts.toml that cannot be used.
    write(dir.path(), "r_5000_", "[host.\"m\"]\ncapabilities = [\"fly\"]\n");
    assert!(matches!(found().meaning, Meaning::Certificates(_)));
    fs::write(folder.join("hosts.toml"), [0xff, 0xfe]).unwrap();
    assert!(matches!(found().meaning, Meaning::Certificates(_)));
    // Not where it is empty of meaning.
    write(dir.path(), "r_5000_", "# nothing\n");
    assert!(matches!(found().meaning, Meaning::File { .. }));
}

#[tokio::test]
async fn problems_of_a_whole_tree() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "good.example", "server = \"m\"\n");
    assert!(problems(dir.path()).is_empty() && notes(dir.path()).is_empty());
    write(dir.path(), "b.example", "server = \"m\"\nskip_verify = 1\n");
    write(dir.path(), "a.example", "server =\n");
    let error = Nodes::new(vec![dir.path().to_owned()], settings_table())
        .err()
        .unwrap()
        .to_string();
    let lines: Vec<&str> = error.lines().collect();
    let at = |folder: &str, place: &str| format!("{}/{folder}/hosts.toml:{place}: ", dir.path().display());
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].starts_with(&at("a.example", "1:9")), "{error}");
    assert_eq!(
        lines[1],
        format!("{}skip_verify must be true or false", at("b.example", "2:15"))
    );
    let absent = dir.path().join("absent");
    let error = Nodes::new(vec![absent.clone()], settings_table()).err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("registries.hostsDir: {}: ", absent.display())),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn read_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "r", "[host.\"m\"]\nca = \"ca.pem\"\n");
    fs::write(dir.path().join("r/ca.pem"), ca()).unwrap();
    let nodes = nodes(dir.path());
    let first = hosts(&nodes, "r").await;
    assert_eq!(names(&first.hosts), ["m", "r"]);
    tokio::time::advance(RECHECK).await;
    let same = hosts(&nodes, "r").await;
    assert!(Arc::ptr_eq(&first, &same), "unchanged files are the same configuration");

    // A file that is only named counts as well.
    fs::write(dir.path().join("r/ca.pem"), ca()).unwrap();
    let still = hosts(&nodes, "r").await;
    assert!(Arc::ptr_eq(&first, &still), "not looked at within a second");
    tokio::time::advance(RECHECK).await;
    assert_ne!(first, hosts(&nodes, "r").await, "other authorities are another configuration");

    write(dir.path(), "r", "[host.\"n\"]\n");
    tokio::time::advance(RECHECK).await;
    assert_eq!(found(&nodes, "r").await, ["n", "r"]);
    // A file that breaks degrades as on a node; one that goes away leaves the registry itself.
    write(dir.path(), "r", "[host.\"n\"\n");
    tokio::time::advance(RECHECK).await;
    assert_eq!(found(&nodes, "r").await, ["r"]);
    fs::remove_dir_all(dir.path().join("r")).unwrap();
    tokio::time::advance(RECHECK).await;
    assert_eq!(nodes.config("r", &vault()).await, NodeConfig::Default);
}

#[tokio::test]
async fn what_cannot_be_used_here() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "r",
        "[host.\"m\"]\nca = \"absent.pem\"\n[host.\"n\"]\nclient = \"bad.pem\"\n",
    );
    fs::write(dir.path().join("r/bad.pem"), "not a certificate").unwrap();
    assert_eq!(found(&nodes(dir.path()), "r").await, ["!m", "!n", "r"]);
    // A folder whose hosts.toml cannot be read: nodes may know mirrors that we do not.
    fs::create_dir_all(dir.path().join("s/hosts.toml")).unwrap();
    let mut running = Nodes::new(Vec::new(), settings_table()).unwrap();
    running.source = Arc::new(Source::Roots(vec![dir.path().to_owned()]));
    assert_eq!(found(&running, "s").await, ["!s", "s"]);
}

#[tokio::test]
async fn what_older_runtimes_ask_instead() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = nodes(dir.path());
    for (folder, text, older) in [
        ("a", "server = \"m\"\n", Some("a")),
        ("b", "skip_verify = true\n", None),
        ("c", "server = \"m\"\n[host.\"n\"]\n", None),
        (
            "d",
            "server = \"m\"\n[host.\"n\"]\ncapabilities = [\"pull\", \"referrers\"]\n",
            Some("d"),
        ),
    ] {
        write(dir.path(), folder, text);
        let hosts = hosts(&nodes, folder).await;
        let found = hosts.by_1_x.as_deref().map(names);
        assert_eq!(found, older.map(|older| vec![older.to_owned()]), "{text:?}");
    }
    write(dir.path(), "e", "[host.\"m\"]\ndial_timeout = 3\n");
    // Newer ones take it for broken, and find no certificates beside it.
    let mut running = Nodes::new(Vec::new(), settings_table()).unwrap();
    running.source = Arc::new(Source::Roots(vec![dir.path().to_owned()]));
    let hosts = hosts(&running, "e").await;
    assert_eq!(names(&hosts.hosts), ["e"]);
    assert_eq!(hosts.by_1_x.as_deref().map(names), Some(vec!["m".to_owned(), "e".to_owned()]));
}

#[tokio::test]
async fn equal_settings_share_their_clients_and_their_name() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "_default", "[host.\"m\"]\nskip_verify = true\n");
    let nodes = nodes(dir.path());
    let (a, b) = (hosts(&nodes, "a").await, hosts(&nodes, "b").await);
    assert_eq!(a.hosts[0].settings, b.hosts[0].settings);
    assert_ne!(a.hosts[0], b.hosts[0], "each stands in for another registry");
}

#[test]
fn what_nodes_pass_over_in_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("hosts.toml"), text).unwrap();
    };
    write(
        "a.example",
        "server = 'https://a.example'\nsevrer = 1\n[host.'https://m.example']\n  capabilites = ['pull']\n  Skip_Verify = true\n\
         [host.'https://m.example'.header]\n  x-any = ['y']\n[host.'https://m.example'.rewrite]\n  '^(' = 'x'\n  '^ok' = 'y'\n",
    );
    write("b.example", "[host\n");
    let found: Vec<String> = notes(dir.path())
        .iter()
        .map(|line| line.replace(&format!("{}/", dir.path().display()), ""))
        .collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("a.example/hosts.toml:2:1: unknown key \"sevrer\""),
        "{}",
        found[0]
    );
    assert_eq!(
        found[1],
        "a.example/hosts.toml:4:3: unknown key \"capabilites\"; did you mean \"capabilities\"?; containerd ignores it"
    );
    assert_eq!(
        found[2],
        "a.example/hosts.toml:9:3: this pattern is not a regular expression; k3s ignores it"
    );
}
