//! Against a real kubelet: every case becomes an object of the cluster, and what its container waits for is read from its status.

use crate::cases::{Against, Case, fill};
use crate::cri;
use crate::engine;
use crate::kubectl::{create_namespace, default_account, delete_namespace, kubectl};
use crate::objects;
use crate::run::{Deed, End, Row, Run};
use crate::server::Registries;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// So many are created by one command, unless they are the last.
const CHUNK: usize = 20;
/// How long a pod may take.
const LIMIT: Duration = Duration::from_mins(5);
/// How long a pull that should work may go on failing, unless its second attempt is seen to fail too. A busy kubelet tries without a pull
/// secret that it could not read within a second: the attempt after that, ten to twenty seconds later, has it.
const DOUBT: Duration = Duration::from_mins(1);

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

    /// Its pods, each time one changes.
    fn watch(&self) -> Watch {
        let mut kubectl = Command::new("kubectl")
            .args(["get", "pods", "--namespace", &self.0, "--watch", "--output", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, pods) = channel();
        let output = std::io::BufReader::new(kubectl.stdout.take().unwrap());
        std::thread::spawn(move || {
            for pod in serde_json::Deserializer::from_reader(output)
                .into_iter::<Value>()
                .map_while(Result::ok)
            {
                if sender.send(pod).is_err() {
                    break;
                }
            }
        });
        Watch { kubectl, pods }
    }
}

/// A `kubectl` that tells of every change of a pod; it ends when this is dropped.
struct Watch {
    kubectl: Child,
    pods: Receiver<Value>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
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
    let pods = &nodes["items"][0]["status"]["allocatable"]["pods"];
    let pods: usize = pods.as_str().and_then(|pods| pods.parse().ok()).unwrap();
    // Those that are deleted stay for a while, and the node has other work too.
    let at_once = pods * 2 / 3;

    hold(&cases, &registries, &folder.join("containerd.sock")).await;
    registries.lose();
    let namespace = Namespace::new();
    let from = Instant::now();
    let deeds = tokio::task::block_in_place(|| run(&namespace, &registries, &cases, at_once));
    println!("kubelet: {} cases in {} s", cases.len(), from.elapsed().as_secs());
    let mut rows = Vec::new();
    for case in &cases {
        let mut own = objects::nodes(case, ours.world(case));
        for node in &mut own {
            node["status"]["nodeInfo"]["kubeletVersion"] = kubelet.as_str().into();
            node["status"]["nodeInfo"]["containerRuntimeVersion"] = runtime.as_str().into();
        }
        let nodes = if own.is_empty() { vec![usual.clone()] } else { own };
        let said = engine::judge(case, &ours, &nodes).await;
        let deed = deeds[&case.name].clone();
        let (said, deed) = ((said, &ours.masks(case)), (deed, &registries.masks(case)));
        rows.push(Row::new(case, "kubelet", said, deed, Vec::new()));
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
            let pulled = cri::pull(socket, &fill(image, &world.values), login.as_ref(), "default").await;
            pulled.unwrap_or_else(|words| panic!("{}: the node cannot pull what it should hold: {words}", case.name));
        }
    }
}

/// A case whose object was created.
struct Open<'a> {
    case: &'a Case,
    since: Instant,
    /// What its container came to so far, and when.
    seen: Option<(Deed, Instant)>,
    /// Whether the kubelet waits for its next attempt to pull.
    waits: bool,
    /// How many attempts to pull have failed.
    failed: usize,
}

impl Open<'_> {
    /// When what was seen may be taken for the end.
    fn settles(&self) -> Option<Instant> {
        let (deed, at) = self.seen.as_ref()?;
        // The next attempt may have another end.
        let changes = self.case.expected.outlook == "Pulls" || self.case.registry.rules.iter().any(|rule| rule.times.is_some());
        let doubt = deed.end == End::NotPulled && changes && self.failed < 2;
        Some(if doubt { *at + DOUBT } else { *at })
    }

    fn object(&self) -> String {
        format!("{}/{}", self.case.kind.to_lowercase(), self.case.name)
    }
}

/// Creates every case's object, no more than so many at a time, and waits for what becomes of each.
fn run(namespace: &Namespace, registries: &Registries, cases: &[Case], at_once: usize) -> BTreeMap<String, Deed> {
    let watch = namespace.watch();
    let mut ahead: VecDeque<&Case> = cases.iter().collect();
    let mut open: BTreeMap<&str, Open<'_>> = BTreeMap::new();
    let mut ended: Vec<String> = Vec::new();
    let mut deeds = BTreeMap::new();
    while deeds.len() < cases.len() {
        let chunk = CHUNK.min(ahead.len());
        if chunk > 0 && open.len() + ended.len() + chunk <= at_once {
            let chunk: Vec<&Case> = ahead.drain(..chunk).collect();
            create(namespace, registries, &chunk);
            let since = Instant::now();
            open.extend(chunk.into_iter().map(|case| {
                let open = Open {
                    case,
                    since,
                    seen: None,
                    waits: false,
                    failed: 0,
                };
                (case.name.as_str(), open)
            }));
        }
        if ended.len() >= CHUNK || (open.is_empty() && !ended.is_empty()) {
            delete(namespace, &ended);
            ended.clear();
        }
        let next = open.values().filter_map(Open::settles).min();
        let wait = next.map_or(Duration::from_secs(1), |next| next.saturating_duration_since(Instant::now()));
        match watch.pods.recv_timeout(wait.min(Duration::from_secs(1))) {
            Ok(pod) => {
                let name = pod["metadata"]["labels"]["case"].as_str().unwrap_or_default();
                if let Some(open) = open.get_mut(name) {
                    look(open, &pod);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("kubectl get --watch ended"),
        }
        let now = Instant::now();
        let late: Vec<&str> = open
            .values()
            .filter(|open| open.since + LIMIT < now)
            .map(|open| open.case.name.as_str())
            .collect();
        assert!(late.is_empty(), "not settled: {late:?}");
        let settled: Vec<&str> = open
            .iter()
            .filter(|(_, open)| open.settles().is_some_and(|at| at <= now))
            .map(|(name, _)| *name)
            .collect();
        for name in settled {
            let settled = open.remove(name).unwrap();
            ended.push(settled.object());
            deeds.insert(name.to_owned(), settled.seen.unwrap().0);
        }
    }
    deeds
}

fn create(namespace: &Namespace, registries: &Registries, cases: &[&Case]) {
    let beside: Vec<Value> = cases
        .iter()
        .flat_map(|case| objects::beside(case, registries.world(case)))
        .collect();
    if !beside.is_empty() {
        namespace.create(&beside);
    }
    let objects: Vec<Value> = cases
        .iter()
        .map(|case| objects::object(case, registries.world(case)))
        .collect();
    namespace.create(&objects);
}

/// The next ones need the room.
fn delete(namespace: &Namespace, objects: &[String]) {
    let mut arguments = vec![
        "delete",
        "--namespace",
        &namespace.0,
        "--wait=false",
        "--grace-period=0",
        "--force",
    ];
    arguments.extend(objects.iter().map(String::as_str));
    kubectl(&arguments, "");
}

/// Takes up what became of a pod.
fn look(open: &mut Open<'_>, pod: &Value) {
    let container = looked_at(&pod["spec"], &open.case.container);
    let Some(deed) = read(&pod["status"], container) else {
        let refused = pod["status"]["phase"] == "Failed" && pod["status"]["containerStatuses"].is_null();
        assert!(
            !refused,
            "{}: the kubelet did not take its pod: {}",
            open.case.name, pod["status"]
        );
        return;
    };
    let waits = deed.reason == "ImagePullBackOff";
    open.failed += usize::from(deed.end == End::NotPulled && (open.failed == 0 || (open.waits && !waits)));
    open.waits = waits;
    let (reason, words) = attempt(&deed.reason, &deed.words);
    let deed = Deed {
        end: deed.end,
        reason: reason.to_owned(),
        words: words.to_owned(),
    };
    match &open.seen {
        Some((before, _)) if before.end == deed.end => {}
        // A container that ended well is started again by a Deployment.
        Some((before, _)) if before.end == End::Pulled => {}
        _ => open.seen = Some((deed, Instant::now())),
    }
}

/// The container where the image in question shows: its own; an image volume's shows at the first one that mounts it. One that nobody
/// mounts shows nowhere but in an event: then the pod's usual container tells whether it runs.
fn looked_at<'a>(spec: &'a Value, name: &'a str) -> &'a str {
    let list = |key: &str| spec[key].as_array().into_iter().flatten();
    if !list("volumes").any(|volume| volume["name"] == name && volume["image"].is_object()) {
        return name;
    }
    let mounts = |container: &&Value| {
        let mounts = container["volumeMounts"].as_array();
        mounts.into_iter().flatten().any(|mount| mount["name"] == name)
    };
    let found = list("initContainers").chain(list("containers")).find(mounts);
    found.and_then(|container| container["name"].as_str()).unwrap_or("app")
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

/// What the attempt before said, where the kubelet is waiting for the next one: `Back-off pulling image "X": ErrImagePull: …`.
fn attempt<'a>(reason: &'a str, message: &'a str) -> (&'a str, &'a str) {
    let before = message
        .strip_prefix("Back-off pulling image \"")
        .and_then(|rest| rest.split_once("\": "))
        .and_then(|(_, said)| said.split_once(": "));
    before.filter(|_| reason == "ImagePullBackOff").unwrap_or((reason, message))
}
