//! Nodes that reach registries in ways of their own.

use super::*;
use crate::runtime::Runtime;
use crate::runtime::crio::Crio;
use crate::workload::selector::Requirement;

fn crio() -> Runtime {
    Runtime::Crio(Crio::of_node("1.36.3"))
}

fn in_pool(name: &str, runtime: &str, pool: &str) -> Node {
    Node::from_json(&json!({
        "metadata": {"name": name, "labels": {"pool": pool}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": runtime}},
    }))
}

fn pools(names: &[&str]) -> Settings {
    let pool = |name: &&str| NodePool {
        name: Arc::from(*name),
        selector: NodeSelector(vec![Requirement {
            key: "pool".to_owned(),
            operator: "In".to_owned(),
            values: vec![(*name).to_owned()],
        }]),
    };
    Settings {
        pools: names.iter().map(pool).collect(),
        ..settings()
    }
}

fn setups(nodes: Vec<Node>, settings: &Settings) -> Vec<(Runtime, u16)> {
    let facts = Facts {
        nodes: Arc::new(nodes),
        ..facts()
    };
    let workload = extract(&deployment("reg.example/app:1", &[]), None, "ns", &Kinds::default()).unwrap();
    let plan = plan(&workload, &facts, settings);
    let pullers = plan.checks[0].pullers.iter();
    let mut setups: Vec<(Runtime, u16)> = pullers.map(|puller| (puller.runtime, puller.pool.0)).collect();
    // By platform first.
    setups.sort_unstable();
    setups.dedup();
    setups
}

#[test]
fn each_node_pulls_by_its_runtime_and_its_pool() {
    let settings = pools(&["gpu", "edge"]);
    let old = Runtime::of_node("containerd://1.6.9").unwrap()[0];
    let nodes = vec![
        in_pool("a", "cri-o://1.36.3", "gpu"),
        in_pool("b", "cri-o://1.36.3", "other"),
        in_pool("c", "containerd://1.6.9", "edge"),
        in_pool("d", "containerd://1.6.9", "edge"),
    ];
    assert_eq!(setups(nodes, &settings), [(old, 2), (crio(), 0), (crio(), 1)]);
    // The first that selects it.
    let twice = pools(&["gpu", "gpu"]);
    assert_eq!(setups(vec![in_pool("a", "cri-o://1.36.3", "gpu")], &twice), [(crio(), 1)]);
}

#[test]
fn what_nodes_run_that_do_not_say_it_and_what_all_are_taken_to_run() {
    let nodes = || vec![in_pool("a", "docker://20.10", "x"), in_pool("b", "containerd://1.6.9", "gpu")];
    let old = Runtime::of_node("containerd://1.6.9").unwrap()[0];
    let with = |runtimes| Settings {
        runtimes,
        ..pools(&["gpu"])
    };
    let given = with(Runtimes::Default(vec![crio()]));
    assert_eq!(setups(nodes(), &given), [(old, 1), (crio(), 0)]);
    let exactly = with(Runtimes::Exactly(vec![crio()]));
    assert_eq!(setups(nodes(), &exactly), [(crio(), 0), (crio(), 1)]);
    assert_eq!(setups(Vec::new(), &given), [(crio(), 0)]);
    let guessed = setups(Vec::new(), &with(Runtimes::Guess));
    assert!(
        guessed.iter().all(|(runtime, _)| matches!(runtime, Runtime::Containerd(_))),
        "{guessed:?}"
    );
}
