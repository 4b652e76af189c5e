//! The tree on a disk: which folder counts, what it means, and when it is read again.

use super::folder::{Folder, Meaning, problems};
use super::*;
use crate::net::Reach;
use std::fs;
use std::path::Path;

fn factory() -> Arc<Factory> {
    let reach = Arc::new(Reach::Everything);
    Arc::new(Factory::new(&reach, &[], &[], None, Duration::from_secs(5)).unwrap())
}

fn tree(root: &Path) -> Tree {
    Tree::new(vec![root.to_owned()]).unwrap()
}

/// Makes `folder/hosts.toml`.
fn write(root: &Path, folder: &str, text: &str) {
    let folder = root.join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("hosts.toml"), text).unwrap();
}

fn names(route: &Route) -> Vec<String> {
    route
        .hosts
        .iter()
        .map(|host| match host {
            Host::Usable(endpoint) => endpoint.shown(),
            Host::Unusable(unusable) => format!("!{}", unusable.shown),
        })
        .collect()
}

async fn route(tree: &Tree, registry: &str) -> Vec<String> {
    names(&*tree.route(registry, &factory()).await)
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
    let tree = Tree::new(vec![first.path().to_owned(), second.path().to_owned()]).unwrap();
    let found = |registry: &str| {
        let roots = [first.path().to_owned(), second.path().to_owned()];
        Folder::find(&roots, registry).map(|folder| folder.path.file_name().unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(found("r:5000"), None);
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
    assert_eq!(route(&tree, "docker.io").await, ["registry-1.docker.io"]);
}

#[tokio::test]
async fn the_server_is_the_last_host() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "docker.io", "[host.\"https://m2\"]\n[host.\"http://m1:5000\"]\n");
    write(dir.path(), "ghcr.io", "server = \"https://proxy\"\n[host.\"m\"]\n");
    write(dir.path(), "_default", "[host.\"m\"]\ncapabilities = [\"pull\"]\n");
    let tree = tree(dir.path());
    assert_eq!(route(&tree, "docker.io").await, ["m2", "m1:5000", "registry-1.docker.io"]);
    assert_eq!(route(&tree, "ghcr.io").await, ["m", "proxy"]);
    let default = tree.route("quay.io", &factory()).await;
    assert_eq!(names(&default), ["m", "quay.io"]);
    let Some(Host::Usable(mirror)) = default.hosts.first() else {
        panic!("a host")
    };
    assert_eq!(mirror.standing, Standing::Named);
    assert!(mirror.capabilities.pull && !mirror.capabilities.resolve);
    let Some(Host::Usable(upstream)) = default.hosts.last() else {
        panic!("a host")
    };
    assert_eq!(upstream.standing, Standing::Stranger, "a folder for all names nobody");
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
    let route = tree(dir.path()).route("r", &factory()).await;
    let [Host::Usable(host)] = route.hosts.as_slice() else {
        panic!("one host: {route:?}")
    };
    assert_eq!(host.capabilities, Capabilities::ALL);
    assert_eq!(host.headers.len(), 1);
    assert!(host.profile.is_some());
    assert_eq!(host.standing, Standing::Stranger);
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
    assert_eq!(files.ca, Some(vec![folder.join("a.crt"), folder.join("b.crt")]));
    let clients = vec![
        (folder.join("c.cert"), Some(folder.join("c.key"))),
        (folder.join("d.cert"), None),
    ];
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
    assert!(problems(dir.path()).is_empty());
    write(dir.path(), "b.example", "server = \"m\"\nskip_verify = 1\n");
    write(dir.path(), "a.example", "server =\n");
    let error = Tree::new(vec![dir.path().to_owned()]).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    let at = |folder: &str, place: &str| format!("{}/{folder}/hosts.toml:{place}: ", dir.path().display());
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].starts_with(&at("a.example", "1:9")), "{error}");
    assert_eq!(
        lines[1],
        format!("{}skip_verify must be true or false", at("b.example", "2:15"))
    );
    let absent = dir.path().join("absent");
    let error = Tree::new(vec![absent.clone()]).unwrap_err().to_string();
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
    let (tree, factory) = (tree(dir.path()), factory());
    let first = tree.route("r", &factory).await;
    assert_eq!(names(&first), ["m", "r"]);
    tokio::time::advance(RECHECK).await;
    let same = tree.route("r", &factory).await;
    assert!(Arc::ptr_eq(&first, &same), "unchanged files are the same route");

    // A file that is only named counts as well.
    fs::write(dir.path().join("r/ca.pem"), ca()).unwrap();
    let still = tree.route("r", &factory).await;
    assert!(Arc::ptr_eq(&first, &still), "not looked at within a second");
    tokio::time::advance(RECHECK).await;
    let second = tree.route("r", &factory).await;
    assert_ne!(first.id, second.id);

    write(dir.path(), "r", "[host.\"n\"]\n");
    tokio::time::advance(RECHECK).await;
    assert_eq!(names(&*tree.route("r", &factory).await), ["n", "r"]);
    // A file that breaks degrades as on a node; one that goes away leaves the registry itself.
    write(dir.path(), "r", "[host.\"n\"\n");
    tokio::time::advance(RECHECK).await;
    assert_eq!(names(&*tree.route("r", &factory).await), ["r"]);
    fs::remove_dir_all(dir.path().join("r")).unwrap();
    tokio::time::advance(RECHECK).await;
    let plain = tree.route("r", &factory).await;
    assert_eq!((names(&plain), plain.id), (vec!["r".to_owned()], RouteId::default()));
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
    let route = tree(dir.path()).route("r", &factory()).await;
    assert_eq!(names(&route), ["!m", "!n", "r"]);
    // A folder whose hosts.toml cannot be read: nodes may know mirrors that we do not.
    fs::create_dir_all(dir.path().join("s/hosts.toml")).unwrap();
    let route = tree_at_run_time(dir.path()).route("s", &factory()).await;
    assert_eq!(names(&route), ["!s", "s"]);
}

#[tokio::test]
async fn what_older_runtimes_ask_instead() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
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
        let route = tree.route(folder, &factory()).await;
        let found = route.older.as_ref().map(|hosts| match hosts.as_slice() {
            [Host::Usable(endpoint)] => endpoint.shown(),
            other => panic!("one host: {other:?}"),
        });
        assert_eq!(found.as_deref(), older, "{text:?}");
    }
}

/// Without the check of the start.
fn tree_at_run_time(root: &Path) -> Tree {
    let mut tree = Tree::new(Vec::new()).unwrap();
    tree.roots = Arc::new(vec![root.to_owned()]);
    tree
}

#[tokio::test]
async fn equal_trust_shares_its_clients() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "_default", "[host.\"m\"]\nskip_verify = true\n");
    let (tree, factory) = (tree(dir.path()), factory());
    let profile = |route: &Route| match route.hosts.first() {
        Some(Host::Usable(endpoint)) => Arc::clone(endpoint.profile.as_ref().unwrap()),
        _ => panic!("a host"),
    };
    let (a, b) = (tree.route("a", &factory).await, tree.route("b", &factory).await);
    assert!(Arc::ptr_eq(&profile(&a), &profile(&b)));
}
