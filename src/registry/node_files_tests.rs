use super::*;
use crate::net::Reach;
use crate::registry::clients::Factory;
use crate::runtime::crio::registries_conf::RegistriesConf;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

fn settings_table() -> Arc<HostSettingsTable> {
    let factory = Factory::new(&Arc::new(Reach::Everything), &[], &[], None, Duration::from_secs(5)).unwrap();
    Arc::new(HostSettingsTable::new(factory).unwrap())
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What nodes of no pool have.
fn usual(conf: Option<std::path::PathBuf>) -> PoolFiles {
    PoolFiles {
        registries_conf: conf,
        ..PoolFiles::default()
    }
}

fn pool(folder: &TempDir, hosts: Option<&str>, crio: Option<&str>) -> PoolFiles {
    PoolFiles {
        name: "gpu".to_owned(),
        hosts_dirs: hosts.into_iter().map(|name| folder.path().join(name)).collect(),
        registries_conf: crio.map(|name| folder.path().join(name)),
        k3s: None,
    }
}

fn conf(config: &NodeConfig) -> &RegistriesConf {
    match config {
        NodeConfig::Crio(node) => &node.registries,
        other => panic!("{other:?}"),
    }
}

fn why(config: &NodeConfig) -> &str {
    match config {
        NodeConfig::Unreadable(why) => why,
        other => panic!("{other:?}"),
    }
}

async fn configs(files: &NodeFiles, pool: Pool, registry: &str) -> NodeConfigs {
    let reference = Reference::parse(&format!("{registry}/app")).unwrap();
    files.configs(pool, &reference, "ns", &Vault::new(1 << 20)).await
}

const NONE: Pool = Pool(0);
const GPU: Pool = Pool(1);

#[tokio::test(start_paused = true)]
async fn each_pool_has_its_own_files_and_those_of_all_nodes_for_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("all/registries.conf"), "unqualified-search-registries = ['a.example']\n");
    write(&at("gpu/registries.conf"), "unqualified-search-registries = ['b.example']\n");
    write(
        &at("gpu/registries.conf.d/20.conf"),
        "unqualified-search-registries = ['d.example']\n",
    );
    write(
        &at("gpu/registries.conf.d/10.conf"),
        "unqualified-search-registries = ['c.example']\n",
    );
    write(&at("gpu/registries.conf.d/30.txt"), "no TOML\n");
    write(
        &at("hosts/r.example/hosts.toml"),
        "server = 'https://m.example'\n[host.'https://m.example']\n",
    );
    let pools = vec![pool(&folder, None, Some("gpu")), pool(&folder, Some("hosts"), None)];
    let files = NodeFiles::new(usual(Some(at("all"))), pools, &settings_table()).unwrap();
    let search = async |number: u16| conf(&configs(&files, Pool(number), "r.example").await.crio).search.clone();
    assert_eq!(search(0).await, ["a.example"]);
    assert_eq!(search(1).await, ["d.example"]);
    assert_eq!(search(2).await, ["a.example"], "what a pool does not have is as for all");
    assert_eq!(configs(&files, GPU, "r.example").await.containerd, NodeConfig::Default);
    let hosts = configs(&files, Pool(2), "r.example").await.containerd;
    assert!(matches!(hosts, NodeConfig::Containerd(_)), "{hosts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_of_all_nodes_is_an_error_and_one_of_a_pool_makes_its_nodes_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("broken/registries.conf"), "\n\n[[registry]\n");
    write(&at("hosts/r.example/hosts.toml"), "[host\n");
    let error = NodeFiles::new(usual(Some(at("broken"))), Vec::new(), &settings_table())
        .err()
        .unwrap()
        .0;
    assert!(
        error.starts_with(&format!("{}:3:", at("broken/registries.conf").display())),
        "{error}"
    );
    let pools = vec![pool(&folder, Some("hosts"), None), pool(&folder, None, Some("broken"))];
    let files = NodeFiles::new(usual(None), pools, &settings_table()).unwrap();
    assert_eq!(configs(&files, NONE, "r.example").await, NodeConfigs::default());
    let hosts = configs(&files, GPU, "r.example").await.containerd;
    assert!(why(&hosts).contains("hosts.toml:1:"), "{hosts:?}");
    assert_eq!(configs(&files, GPU, "other.example").await.containerd, NodeConfig::Default);
    let crio = configs(&files, Pool(2), "r.example").await.crio;
    assert!(why(&crio).contains("registries.conf:3:"), "{crio:?}");
    // Once it is mended, it counts.
    write(
        &at("broken/registries.conf"),
        "unqualified-search-registries = ['a.example']\n",
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(conf(&configs(&files, Pool(2), "r.example").await.crio).search, ["a.example"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_counts_after_a_second_and_the_last_good_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registries.conf");
    write(&file, "unqualified-search-registries = ['a.example']\n");
    let files = NodeFiles::new(usual(Some(file.clone())), Vec::new(), &settings_table()).unwrap();
    let search = async || conf(&configs(&files, NONE, "r.example").await.crio).search.clone();
    assert_eq!(search().await, ["a.example"]);
    for (text, expected) in [
        ("unqualified-search-registries = ['b.example']\n", "b.example"),
        ("unqualified-search-registries = [\n", "b.example"),
        ("unqualified-search-registries = ['c.example']\n", "c.example"),
    ] {
        write(&file, text);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(search().await, [expected], "{text}");
    }
    std::fs::remove_file(&file).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(search().await, ["c.example"]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_laid_out_as_the_node_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(
        &at("registries.conf"),
        "[[registry]]\nlocation = 'r.example:5000'\ninsecure = true\n",
    );
    write(
        &at("crio.conf"),
        "[crio.runtime]\nx = 1\n[crio.image]\nsignature_policy = '/etc/crio/policy.json'\nshort_name_mode = 'enforcing'\n",
    );
    write(
        &at("crio.conf.d/10-x"),
        "[crio.image]\nshort_name_mode = 'disabled'\nglobal_auth_file = '/var/lib/kubelet/config.json'\n",
    );
    write(&at("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    write(&at("policies/shop.json"), r#"{"default": [{"type": "reject"}]}"#);
    write(&at("config.json"), r#"{"auths": {"r.example:5000": {"auth": "dTpw"}}}"#);
    write(&at("auth.json"), r#"{"auths": {}}"#);
    write(&at("certs.d/b.example:5000/client.cert"), "no key beside it");
    let files = NodeFiles::new(usual(Some(folder.path().to_owned())), Vec::new(), &settings_table()).unwrap();
    let settings = async |namespace: &str| {
        let reference = Reference::parse("r.example:5000/app").unwrap();
        let vault = Vault::new(1 << 20);
        match files.configs(NONE, &reference, namespace, &vault).await.crio {
            NodeConfig::Crio(node) => node,
            other => panic!("{other:?}"),
        }
    };
    let node = settings("default").await;
    assert!(node.registries.tries_all);
    assert_eq!(node.auth.key("r.example:5000/app", "r.example:5000"), Some("r.example:5000"));
    assert_eq!(*node.files, [Arc::from(at("registries.conf").display().to_string())]);
    let own = &node.hosts["r.example:5000"];
    assert!(own.secure != own.insecure && own.broken.is_none());
    assert!(
        node.hosts["b.example:5000"]
            .broken
            .as_ref()
            .unwrap()
            .contains("its key is not there")
    );
    let shop = settings("shop").await;
    assert_ne!(shop.policy, node.policy);
    assert_eq!(shop.registries, node.registries);
    // A node has one that is not here: what it would show is not known.
    std::fs::remove_file(at("config.json")).unwrap();
    std::fs::remove_file(at("auth.json")).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(settings("default").await.auth.unknown);
    // Everything that is wrong is told, and changes nothing.
    for (file, text, place) in [
        ("policy.json", "{\n\"default\": []}", "policy.json:2:"),
        ("policies/shop.json", "{", "policies/shop.json:1:"),
        ("crio.conf", "[crio.image]\nshort_name_mode = 5\n", "crio.conf:2:19: "),
        ("auth.json", "{", "auth.json:1:"),
    ] {
        write(&at(file), text);
        let error = NodeFiles::new(usual(Some(folder.path().to_owned())), Vec::new(), &settings_table())
            .err()
            .unwrap()
            .0;
        assert!(error.contains(place), "{place}: {error}");
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(settings("default").await.policy.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_registries_yaml_of_k3s_with_its_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registries.yaml");
    let text = "mirrors:\n  docker.io:\n    endpoint: [\"https://m.example:5000\"]\n    rewrite: {\"^team/\": \"proj/\"}\n";
    write(&file, text);
    let vault = Vault::new(1 << 20);
    let k3s = PoolFiles {
        k3s: Some(crate::registry::K3sFile {
            path: file.clone(),
            default_endpoint: crate::runtime::containerd::k3s::DefaultEndpoint::Disabled,
        }),
        ..PoolFiles::default()
    };
    let files = NodeFiles::new(k3s.clone(), vec![], &settings_table()).unwrap();
    let found = async |registry: &str| {
        let reference = Reference::parse(&format!("{registry}/app")).unwrap();
        files.configs(NONE, &reference, "ns", &vault).await.containerd
    };
    let hosts = async |registry: &str| match found(registry).await {
        NodeConfig::Containerd(hosts) => hosts,
        other => panic!("{other:?}"),
    };
    let docker = hosts("docker.io").await;
    assert_eq!(docker.hosts.len(), 1, "no default endpoint");
    assert_eq!(docker.hosts[0].rewrites.lines().collect::<Vec<_>>(), [("^team/", "proj/")]);
    assert!(!docker.by_client && docker.hosts[0].node.id.is_none());
    let from = async |registry: &str| {
        let reference = Reference::parse(&format!("{registry}/app")).unwrap();
        let from = files.configs(NONE, &reference, "ns", &vault).await.containerd_from.unwrap();
        from.replace(&format!("{}/", folder.path().display()), "")
    };
    assert_eq!(from("docker.io").await, "registries.yaml:2", "for people, by the line");
    assert_eq!(from("quay.io").await, "registries.yaml");
    assert_eq!(found("quay.io").await, NodeConfig::Default);
    // A credential anywhere makes containerd pull by its client everywhere.
    let auth =
        "configs:\n  m.example:5000:\n    auth: {username: u, password: p}\n  r.example:\n    auth: {username: u, password: q}\n";
    write(&file, &format!("{text}{auth}"));
    tokio::time::advance(Duration::from_secs(2)).await;
    let docker = hosts("docker.io").await;
    let who = docker.hosts[0].node;
    assert!(docker.by_client && who.user && who.password);
    assert_eq!(vault.credential(who).unwrap().password.bytes(), b"p");
    let own = hosts("r.example").await;
    assert!(own.hosts[0].node.id.is_some() && own.hosts[0].node != who);
    assert!(hosts("quay.io").await.by_client);
    // The last good one serves.
    write(&file, "mirrors: [\n");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(hosts("docker.io").await.hosts[0].node, who);
    let error = NodeFiles::new(k3s.clone(), vec![], &settings_table()).err().unwrap().0;
    assert!(
        error.starts_with(&format!("{}:2:", file.display())) || error.starts_with(&format!("{}:1:", file.display())),
        "{error}"
    );
    // Of a pool, it makes its nodes unknown.
    let files = NodeFiles::new(usual(None), vec![k3s], &settings_table()).unwrap();
    assert!(why(&configs(&files, GPU, "docker.io").await.containerd).contains("registries.yaml:"));
}

#[test]
fn what_a_node_stumbles_on_in_files_that_it_can_use_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("registries.conf"), "[[registry]]\nlocation = 'r.example'\n");
    write(
        &at("registries.conf.d/10-x.conf"),
        "\nunqualified-serach-registries = ['docker.io']\n",
    );
    write(
        &at("auth.json"),
        "{\"auths\": {\n  \"good.example\": {\"auth\": \"dTpw\"},\n  \"bad.example\": {\"auth\": \"hunter2!\"}\n}}\n",
    );
    write(&at("certs.d/b.example:5000/client.cert"), "no key beside it");
    let settings = RegistrySettings {
        registries_conf: Some(folder.path().to_owned()),
        ..RegistrySettings::default()
    };
    let found: Vec<String> = faults(&settings)
        .iter()
        .map(|line| line.replace(&format!("{}/", folder.path().display()), ""))
        .collect();
    assert_eq!(
        found,
        [
            "registries.conf.d/10-x.conf:2:1: unknown key \"unqualified-serach-registries\"; did you mean \"unqualified-search-registries\"?; \
             CRI-O ignores it",
            "auth.json:3:19: auth must be user:password in base64; every pull from \"bad.example\" fails",
            "certs.d/b.example:5000/client.cert: its key is not there; every pull from \"b.example:5000\" fails",
        ]
    );
}
