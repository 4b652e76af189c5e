//! Nodes that reach registries in ways of their own.

use super::*;
use crate::plan::pools::Kind;
use crate::runtime::Runtime;
use crate::runtime::crio::Crio;
use crate::workload::selector::{NodeSelector, Requirement};

fn crio() -> Runtime {
    Runtime::Crio(Crio::of_node("1.36.3"))
}

fn in_pool(name: &str, runtime: &str, pool: &str) -> Node {
    Node::from_json(&json!({
        "metadata": {"name": name, "labels": {"pool": pool}},
        "status": {"nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": runtime}},
    }))
}

fn pools(names: &[&str]) -> PlanSettings {
    let pool = |name: &&str| NodePool {
        name: Arc::from(*name),
        selector: NodeSelector(vec![Requirement {
            key: "pool".to_owned(),
            operator: "In".to_owned(),
            values: vec![(*name).to_owned()],
        }]),
        runtime: Kind::Containerd,
    };
    PlanSettings {
        pools: names.iter().map(pool).collect(),
        ..settings()
    }
}

fn setups(nodes: Vec<Node>, settings: &PlanSettings) -> Vec<(Runtime, u16)> {
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

/// What is said where one setup fails and the others pull.
fn told(failing: impl Fn(&crate::runtime::Setup) -> bool, evidence: &Evidence) -> Judgement {
    let settings = pools(&["gpu", "edge"]);
    let facts = Facts {
        nodes: Arc::new(vec![
            in_pool("a", "cri-o://1.36.3", "gpu"),
            in_pool("b", "containerd://1.6.9", "edge"),
            in_pool("c", "containerd://1.6.9", "other"),
        ]),
        ..facts()
    };
    let workload = extract(&deployment("reg.example/app:1", &[]), None, "ns", &Kinds::default()).unwrap();
    let mut plan = plan(&workload, &facts, &settings);
    let attempts = |result| vec![Attempt { source: None, result }];
    let setups: Vec<_> = plan.checks[0].pullers.iter().map(crate::runtime::Puller::setup).collect();
    let outcome = Attempts {
        attempts: attempts(found(index(&["amd64"]))),
        others: setups
            .iter()
            .filter(|setup| failing(setup))
            .map(|setup| (*setup, attempts(Err(failure(evidence.clone(), 404)))))
            .collect(),
        settings: setups
            .iter()
            .map(|setup| (*setup, format!("/etc/{}:3", setup.pool.0)))
            .collect(),
    };
    decide(&mut plan, &[outcome]).remove(0)
}

#[test]
fn one_finding_names_the_pool_its_runtime_and_what_it_would_do() {
    let gone = Evidence::TagUnknown { repository_exists: true };
    let judgement = told(|setup| setup.pool.0 == 1, &gone);
    assert_eq!(judgement.outlook, Outlook::MayFail);
    let [finding] = &judgement.findings[..] else {
        panic!("{judgement:?}")
    };
    let begins = "2 of 3 pools pull it; pool gpu (CRI-O 1.36.3) does not: ";
    assert!(finding.message.starts_with(begins), "{finding:?}");
    // In the words of its runtime, which are not known here.
    assert_eq!(finding.kubelet, None);
    let ways: Vec<_> = judgement
        .ways
        .iter()
        .map(|way| (way.pool.as_deref(), way.runtime.as_str(), way.nodes, way.outlook))
        .collect();
    assert_eq!(
        ways,
        [
            (Some("gpu"), "CRI-O 1.36.3", 1, Outlook::WillFail),
            (Some("edge"), "containerd", 1, Outlook::Pulls),
            (None, "containerd", 1, Outlook::Pulls),
        ]
    );
    assert_eq!(judgement.ways[0].settings, ["/etc/1:3"]);
    // What is not known of a pool is not known, whatever others do.
    let unknown = Evidence::NodeSettings(crate::runtime::outcome::NodeSettingsFault::Unreadable);
    let judgement = told(|setup| setup.pool.0 == 1, &unknown);
    assert_eq!(judgement.outlook, Outlook::Unknown);
    let message = &judgement.findings[0].message;
    assert!(
        message.starts_with("2 of 3 pools pull it; for pool gpu (CRI-O 1.36.3) it is not known: "),
        "{message}"
    );
    let judgement = told(|_| true, &gone);
    assert_eq!(judgement.outlook, Outlook::WillFail);
    assert!(!judgement.findings[0].message.contains("pool"), "{judgement:?}");
}

#[test]
fn a_policy_judges_a_short_name_as_each_node_completes_it() {
    use crate::policy::{Policy, PolicyLocation};
    use crate::runtime::Pool;
    use crate::runtime::crio::registries_conf::RegistriesConf;
    let object = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"},
                        "spec": {"registries": {"allow": ["docker.io/**"]}}});
    let policies = Policies::new(vec![Arc::new(Policy::compile(&object, PolicyLocation::Cluster).unwrap())]);
    let workload = extract(&deployment("app:1", &[]), None, "ns", &Kinds::default()).unwrap();
    let raised = |nodes: Vec<Node>, conf: Option<&str>| {
        let conf = conf.map(|text| Arc::new(RegistriesConf::parse(text, &[]).unwrap().into()));
        let settings = PlanSettings {
            registries_conf: conf.into_iter().map(|conf| (Pool::default(), conf)).collect(),
            ..settings()
        };
        let facts = Facts {
            nodes: Arc::new(nodes),
            ..facts()
        };
        let matching = matching(
            &workload,
            &facts,
            &policies,
            &Requester::default(),
            std::slice::from_ref(&workload.object.kind),
            super::policies::circumstances(&Modes::default()),
        );
        let plan = crate::plan::plan(&workload, &facts, &settings, &NodeCredentials::default(), &matching);
        let raised = plan.images[0].raised.iter();
        raised.map(|raised| raised.finding.message.clone()).collect::<Vec<_>>()
    };
    let crio = || in_pool("a", "cri-o://1.36.3", "x");
    let containerd = || in_pool("b", "containerd://2.4.2", "x");
    let search = |registry: &str| format!("unqualified-search-registries = ['{registry}']\n");
    assert!(raised(vec![containerd()], None).is_empty());
    assert!(raised(vec![crio()], Some(&search("docker.io"))).is_empty());
    let elsewhere = raised(vec![crio(), containerd()], Some(&search("quay.test")));
    assert!(elsewhere.len() == 1 && elsewhere[0].contains("quay.test"), "{elsewhere:?}");
    for unresolved in [None, Some("")] {
        let told = raised(vec![crio()], unresolved);
        assert!(
            told.len() == 1 && told[0].starts_with("the name has no registry, "),
            "{told:?}"
        );
    }
}

#[test]
fn what_nodes_run_that_do_not_say_it_and_what_all_are_taken_to_run() {
    let nodes = || vec![in_pool("a", "docker://20.10", "x"), in_pool("b", "containerd://1.6.9", "gpu")];
    let old = Runtime::of_node("containerd://1.6.9").unwrap()[0];
    let with = |runtimes| PlanSettings {
        runtimes,
        ..pools(&["gpu"])
    };
    let given = with(Runtimes::Default(vec![crio()]));
    assert_eq!(setups(nodes(), &given), [(old, 1), (crio(), 0)]);
    let exactly = with(Runtimes::Exactly(vec![crio()]));
    assert_eq!(setups(nodes(), &exactly), [(crio(), 0), (crio(), 1)]);
    let none = |runtimes| PlanSettings { runtimes, ..settings() };
    assert_eq!(setups(Vec::new(), &none(Runtimes::Default(vec![crio()]))), [(crio(), 0)]);
    let guessed = setups(Vec::new(), &none(Runtimes::Guess));
    assert!(
        guessed.iter().all(|(runtime, _)| matches!(runtime, Runtime::Containerd(_))),
        "{guessed:?}"
    );
}

/// Each pool by its number, and nodes of no pool.
fn without_nodes(selector: &Value, settings: &PlanSettings) -> Vec<(Runtime, u16)> {
    let mut object = deployment("reg.example/app:1", &[]);
    object["spec"]["template"]["spec"]["nodeSelector"] = selector.clone();
    let facts = Facts {
        nodes: Arc::default(),
        ..facts()
    };
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let plan = plan(&workload, &facts, settings);
    let pullers = plan.checks[0].pullers.iter();
    let mut all: Vec<(Runtime, u16)> = pullers.map(|puller| (puller.runtime, puller.pool.0)).collect();
    // A containerd of an unknown version may be any.
    all.iter_mut()
        .filter(|(runtime, _)| matches!(runtime, Runtime::Containerd(_)))
        .for_each(|(runtime, _)| *runtime = Runtime::today());
    all.sort_unstable_by_key(|(runtime, pool)| (*pool, *runtime));
    all.dedup();
    all
}

#[test]
fn without_nodes_each_pool_is_a_candidate_unless_the_selector_rules_it_out() {
    let mut two = pools(&["gpu", "edge"]);
    two.pools = two
        .pools
        .iter()
        .map(|pool| NodePool {
            runtime: if &*pool.name == "gpu" { Kind::Crio } else { Kind::Containerd },
            ..pool.clone()
        })
        .collect();
    let with = |runtimes| PlanSettings { runtimes, ..two.clone() };
    let (today, any) = (Runtime::usual_crio()[0], Runtime::today());
    let guessed = with(Runtimes::Guess);
    let all = [(any, 0), (today, 1), (any, 2)];
    assert_eq!(without_nodes(&json!({}), &guessed), all);
    assert_eq!(without_nodes(&json!({"disk": "ssd"}), &guessed), all);
    assert_eq!(without_nodes(&json!({"pool": "gpu"}), &guessed), [(today, 1)]);
    assert_eq!(without_nodes(&json!({"pool": "other"}), &guessed), [(any, 0)]);
    // A version by `defaultRuntimes`, for the pools of that runtime.
    let given = with(Runtimes::Default(vec![crio()]));
    assert_eq!(without_nodes(&json!({}), &given), [(crio(), 0), (crio(), 1), (any, 2)]);
    let exactly = with(Runtimes::Exactly(vec![crio()]));
    assert_eq!(without_nodes(&json!({}), &exactly), [(crio(), 0), (crio(), 1), (crio(), 2)]);
}

#[test]
fn registries_are_asked_as_the_newest_node_of_each_runtime() {
    let asked_as = |nodes: Vec<Node>, runtimes: Runtimes| {
        let settings = PlanSettings { runtimes, ..settings() };
        let facts = Facts {
            nodes: Arc::new(nodes),
            ..facts()
        };
        let workload = extract(&deployment("reg.example/app:1", &[]), None, "ns", &Kinds::default()).unwrap();
        let agents = plan(&workload, &facts, &settings).checks[0].agents;
        [agents.containerd.to_string(), agents.crio.to_string()]
    };
    let nodes = || {
        vec![
            in_pool("a", "containerd://2.1.5-k3s1", "x"),
            in_pool("b", "containerd://2.1.9", "x"),
            in_pool("c", "containerd://1.7.34", "x"),
            in_pool("d", "cri-o://1.33.4", "x"),
        ]
    };
    assert_eq!(asked_as(nodes(), Runtimes::Guess), ["containerd/2.1.9", "cri-o/1.33.4"]);
    let given = Runtimes::Default(vec![crio()]);
    assert_eq!(asked_as(nodes(), given.clone()), ["containerd/2.1.9", "cri-o/1.33.4"]);
    assert_eq!(asked_as(Vec::new(), given), ["containerd/2.4.2", "cri-o/1.36.3"]);
    let exactly = Runtimes::Exactly(vec![Runtime::Crio(Crio::of_node("1.32.0"))]);
    assert_eq!(asked_as(nodes(), exactly)[1], "cri-o/1.32.0");
}
