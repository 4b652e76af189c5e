//! Against a real kubelet: every case becomes an object of the cluster, and what its container waits for is read from its status.

use crate::cases::{Against, Case, fill};
use crate::cri;
use crate::engine;
use crate::kubectl::{create_namespace, default_account, delete_namespace, kubectl, list};
use crate::objects;
use crate::run::{Deed, End, Row, Run};
use crate::server::Registries;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pods at a time: a node takes 110, and this one has other work too.
const AT_ONCE: usize = 40;
/// How long a batch may take.
const LIMIT: Duration = Duration::from_mins(10);
/// Looks without news after which a batch is settled.
const QUIET: u32 = 4;
/// The same while something was not pulled that we say pulls. A busy kubelet tries without a pull secret that it could not read within a
/// second: the attempt after that, ten to twenty seconds later, has it.
const QUIET_IN_DOUBT: u32 = 80;

/// A namespace that goes when this is dropped.
struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        let name = format!("pullgate-agreement-{}", std::process::id());
        create_namespace(&name, &[]);
        let namespace = Self(name);
        default_account(&namespace.0);
        namespace
    }

    fn create(&self, objects: &[Value]) {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        kubectl(&["create", "--namespace", &self.0, "-f", "-"], &list).done();
    }

    fn list(&self, kind: &str) -> Vec<Value> {
        list(&self.0, kind)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete_namespace(&self.0);
    }
}

/// The folder of the cluster that `tests/cluster/up` started.
fn folder() -> PathBuf {
    let folder =
        std::env::var_os("PULLGATE_TEST_CLUSTER_DIR").map_or_else(|| PathBuf::from("/tmp/pullgate-cluster"), PathBuf::from);
    assert!(
        folder.join("certs.d").is_dir(),
        "these tests write the node's registry settings: they need the cluster of tests/cluster/up"
    );
    folder
}

/// Runs every case that names the kubelet.
pub(crate) async fn compare_all(cases: Vec<Case>) -> Run {
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.is_against(Against::Kubelet)).collect();
    let folder = folder();
    let registries = Registries::start(&cases).await;
    registries.write_hosts(&folder.join("certs.d"), &cases);
    // Our own look-ups see registries of their own, in the same state.
    let ours = Registries::start(&cases).await;
    ours.lose();

    let nodes: Value = serde_json::from_str(&kubectl(&["get", "nodes", "-o", "json"], "").done().stdout).unwrap();
    let info = &nodes["items"][0]["status"]["nodeInfo"];
    let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
    let (kubelet, runtime) = (text("kubeletVersion"), text("containerRuntimeVersion"));
    let usual = objects::usual_node("node1", &runtime, &kubelet);

    hold(&cases, &registries, &folder.join("containerd.sock")).await;
    registries.lose();
    let namespace = Namespace::new();
    let mut deeds = BTreeMap::new();
    for batch in cases.chunks(AT_ONCE) {
        let beside: Vec<Value> = batch
            .iter()
            .flat_map(|case| objects::beside(case, registries.world(case)))
            .collect();
        if !beside.is_empty() {
            namespace.create(&beside);
        }
        let pods: Vec<Value> = batch
            .iter()
            .map(|case| objects::object(case, registries.world(case)))
            .collect();
        namespace.create(&pods);
        tokio::task::block_in_place(|| deeds.extend(watch(&namespace, batch)));
        // The next batch needs the room.
        for kind in ["deployments,daemonsets,statefulsets,replicasets,jobs", "pods"] {
            kubectl(
                &[
                    "delete",
                    kind,
                    "--all",
                    "--namespace",
                    &namespace.0,
                    "--wait=false",
                    "--grace-period=0",
                    "--force",
                ],
                "",
            );
        }
    }
    let mut rows = Vec::new();
    for case in &cases {
        let mut own = objects::nodes(case, ours.world(case));
        for node in &mut own {
            node["status"]["nodeInfo"]["kubeletVersion"] = kubelet.as_str().into();
            node["status"]["nodeInfo"]["containerRuntimeVersion"] = runtime.as_str().into();
        }
        let nodes = if own.is_empty() { vec![usual.clone()] } else { own };
        let said = engine::judge(case, &ours, &nodes).await;
        rows.push(Row::new(case, "kubelet", said, deeds[&case.name].clone()));
    }
    Run {
        against: format!("kubelet {kubelet}, {}", runtime.replace("://", " ")),
        rows,
    }
}

/// The node pulls what it holds in the cases, before anything is lost.
async fn hold(cases: &[Case], registries: &Registries, socket: &Path) {
    for case in cases {
        for image in case.nodes.iter().flat_map(|node| &node.images) {
            let world = registries.world(case);
            let login = case
                .registry
                .auth
                .as_ref()
                .and_then(|auth| auth.users.iter().next())
                .map(|(user, password)| (user.clone(), password.clone()));
            // A node lists an image by its tag and by its digest.
            let pulled = cri::pull(socket, &fill(image, &world.values), login.as_ref()).await;
            pulled.unwrap_or_else(|words| panic!("{}: the node cannot pull what it should hold: {words}", case.name));
        }
    }
}

/// Waits until the containers in question are settled.
fn watch(namespace: &Namespace, cases: &[Case]) -> BTreeMap<String, Deed> {
    let wanted: BTreeMap<&str, &Case> = cases.iter().map(|case| (case.name.as_str(), case)).collect();
    let mut seen: BTreeMap<String, Deed> = BTreeMap::new();
    // The pods of each case, which may be made of its name.
    let mut pods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let doubtful = |(name, deed): (&String, &Deed)| {
        let case = wanted[name.as_str()];
        deed.end == End::NotPulled && case.expected.outlook == "Pulls" && case.today.is_none()
    };
    let end = Instant::now() + LIMIT;
    let mut quiet = 0;
    while seen.len() < cases.len() || quiet < QUIET || (quiet < QUIET_IN_DOUBT && seen.iter().any(doubtful)) {
        assert!(
            Instant::now() < end,
            "not settled: {:?}",
            wanted.keys().filter(|name| !seen.contains_key(**name)).collect::<Vec<_>>()
        );
        quiet += 1;
        for pod in namespace.list("pods") {
            let name = pod["metadata"]["labels"]["case"].as_str().unwrap_or_default();
            let Some(case) = wanted.get(name) else { continue };
            let own = pod["metadata"]["name"].as_str().unwrap_or_default();
            pods.entry(name.to_owned()).or_default().insert(own.to_owned());
            let Some(deed) = read(&pod["status"], &case.container) else {
                continue;
            };
            match seen.get(name) {
                // "Back-off pulling image" says less than the attempt before it did.
                Some(before) if before.end == deed.end && deed.reason == "ImagePullBackOff" => {}
                Some(before) if before.end == deed.end && before.reason == deed.reason => {}
                // A container that ended well is started again by a Deployment.
                Some(before) if before.end == End::Pulled => {}
                _ => {
                    seen.insert(name.to_owned(), deed);
                    quiet = 0;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    // Where only the back-off was seen, the events tell what the attempt said.
    let events = namespace.list("events");
    for (name, deed) in seen.iter_mut().filter(|(_, deed)| deed.reason == "ImagePullBackOff") {
        let attempt = events.iter().find_map(|event| {
            let message = event["message"].as_str()?;
            let of_case = pods[name].contains(event["involvedObject"]["name"].as_str()?);
            (of_case && message.starts_with("Failed to pull image"))
                .then(|| message.split_once("\": ").map_or(message, |(_, said)| said))
        });
        if let Some(message) = attempt {
            message.clone_into(&mut deed.words);
            "ErrImagePull".clone_into(&mut deed.reason);
        }
    }
    seen
}

/// Reads a container's state; `None` while it is not settled.
fn read(status: &Value, container: &str) -> Option<Deed> {
    let status = ["containerStatuses", "initContainerStatuses"]
        .iter()
        .flat_map(|list| status[list].as_array().into_iter().flatten())
        .find(|status| status["name"] == container)?;
    let deed = |end, at: &Value| {
        let text = |key: &str| at[key].as_str().unwrap_or_default().to_owned();
        Some(Deed {
            end,
            reason: text("reason"),
            words: text("message"),
        })
    };
    let state = &status["state"];
    for ended in [&state["terminated"], &status["lastState"]["terminated"]] {
        if ended.is_object() {
            let end = if ended["exitCode"] == 0 {
                End::Pulled
            } else {
                End::NotStarted
            };
            return deed(end, ended);
        }
    }
    if state["running"].is_object() {
        // The program of every case ends at once: how, is what counts.
        return None;
    }
    let waiting = &state["waiting"];
    match waiting["reason"].as_str()? {
        "ContainerCreating" | "PodInitializing" => None,
        "CrashLoopBackOff" | "CreateContainerError" | "CreateContainerConfigError" | "RunContainerError" | "StartError" => {
            deed(End::NotStarted, waiting)
        }
        // ErrImagePull, ImagePullBackOff, InvalidImageName, ErrImageNeverPull, ImageInspectError, and whatever newer ones there are.
        _ => deed(End::NotPulled, waiting),
    }
}
