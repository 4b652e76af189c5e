use super::*;
use crate::net::Reach;
use crate::registry::clients::Factory;
use crate::runtime::crio::registries_conf::RegistriesConf;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

fn trusts() -> Arc<Trusts> {
    let factory = Factory::new(&Arc::new(Reach::Everything), &[], &[], None, Duration::from_secs(5)).unwrap();
    Arc::new(Trusts::new(factory).unwrap())
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn pool(folder: &TempDir, hosts: Option<&str>, crio: Option<&str>) -> PoolFiles {
    PoolFiles {
        name: "gpu".to_owned(),
        hosts_dirs: hosts.into_iter().map(|name| folder.path().join(name)).collect(),
        registries_conf: crio.map(|name| folder.path().join(name)),
    }
}

fn conf(config: &NodeConfig) -> &RegistriesConf {
    match config {
        NodeConfig::Crio(conf) => conf,
        other => panic!("{other:?}"),
    }
}

fn why(config: &NodeConfig) -> &str {
    match config {
        NodeConfig::Unreadable(why) => why,
        other => panic!("{other:?}"),
    }
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
    let pools = Pools::new(Vec::new(), Some(at("all")), pools, &trusts()).unwrap();
    let search = async |number: u16| conf(&pools.configs(Pool(number), "r.example").await.crio).search.clone();
    assert_eq!(search(0).await, ["a.example"]);
    assert_eq!(search(1).await, ["d.example"]);
    assert_eq!(search(2).await, ["a.example"], "what a pool does not have is as for all");
    assert_eq!(pools.configs(GPU, "r.example").await.containerd, NodeConfig::Default);
    let hosts = pools.configs(Pool(2), "r.example").await.containerd;
    assert!(matches!(hosts, NodeConfig::Containerd(_)), "{hosts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_of_all_nodes_is_an_error_and_one_of_a_pool_makes_its_nodes_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("broken/registries.conf"), "\n\n[[registry]\n");
    write(&at("hosts/r.example/hosts.toml"), "[host\n");
    let error = Pools::new(Vec::new(), Some(at("broken")), Vec::new(), &trusts())
        .err()
        .unwrap()
        .0;
    assert!(
        error.starts_with(&format!("{}: line 3: ", at("broken/registries.conf").display())),
        "{error}"
    );
    let pools = vec![pool(&folder, Some("hosts"), None), pool(&folder, None, Some("broken"))];
    let pools = Pools::new(Vec::new(), None, pools, &trusts()).unwrap();
    assert_eq!(pools.configs(NONE, "r.example").await, NodeConfigs::default());
    let hosts = pools.configs(GPU, "r.example").await.containerd;
    assert!(why(&hosts).contains("hosts.toml:1:"), "{hosts:?}");
    assert_eq!(pools.configs(GPU, "other.example").await.containerd, NodeConfig::Default);
    let crio = pools.configs(Pool(2), "r.example").await.crio;
    assert!(why(&crio).contains("registries.conf: line 3: "), "{crio:?}");
    // Once it is mended, it counts.
    write(
        &at("broken/registries.conf"),
        "unqualified-search-registries = ['a.example']\n",
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(conf(&pools.configs(Pool(2), "r.example").await.crio).search, ["a.example"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_counts_after_a_second_and_the_last_good_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registries.conf");
    write(&file, "unqualified-search-registries = ['a.example']\n");
    let pools = Pools::new(Vec::new(), Some(file.clone()), Vec::new(), &trusts()).unwrap();
    let search = async || conf(&pools.configs(NONE, "r.example").await.crio).search.clone();
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
