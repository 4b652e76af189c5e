//! Against real runtimes: several containerds, those of today in both their ways of pulling, and CRI-O.

use crate::cases::{Against, Case, CrioFiles};
use crate::cri::{self, Login};
use crate::engine::{self, Opinion};
use crate::objects;
use crate::requests::{self, Masks, Pull};
use crate::run::{Deed, End, Row, Run};
use crate::server::Registries;
use futures_util::future::join_all;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use pullgate::credentials::{Contents, CredentialSource, Hidden, Keyring, PullSecret, ReadOnce, data_key, inspect};
use pullgate::image::Reference;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Pulls in flight at one containerd.
const AT_ONCE: usize = 6;
/// The same at CRI-O, which waits for a minute where a registry throttles it.
const AT_ONCE_CRIO: usize = 24;

/// Cases whose requests depend on chance, and are not recorded: here a descriptor fails the pull before, or after, others are asked for.
const BY_CHANCE: &[&str] = &["odd-layer-null", "entry-of-nothing"];

/// One that runs.
struct Runtime {
    /// In `tests/cluster/runtimes`: `containerd-2.4-transfer`
    id: String,
    /// `containerd 2.4.2 transfer`
    name: String,
    /// As a node's `containerRuntimeVersion` has it.
    on_nodes: String,
    socket: PathBuf,
}

impl Runtime {
    /// From a line of `tests/cluster/runtimes up`.
    fn new(line: &str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let [id, version, socket] = fields[..] else {
            panic!("runtimes up: {line}");
        };
        let (name, on_nodes) = if id.starts_with("crio") {
            (format!("CRI-O {version}"), format!("cri-o://{version}"))
        } else {
            let way = ["transfer", "local"].into_iter().find(|way| id.ends_with(way));
            let way = way.map_or_else(String::new, |way| format!(" {way}"));
            (format!("containerd {version}{way}"), format!("containerd://{version}"))
        };
        Self {
            id: id.to_owned(),
            name,
            on_nodes,
            socket: socket.into(),
        }
    }

    fn is_crio(&self) -> bool {
        self.id.starts_with("crio")
    }

    /// Its `short_name_mode`, if it is there for cases that need a CRI-O to themselves.
    fn apart(&self) -> Option<&str> {
        self.id.strip_prefix("crio-")
    }

    fn takes(&self, case: &Case) -> bool {
        if let Some(mode) = self.apart() {
            case.is_apart() && case.crio.short_name_mode.name() == mode
        } else if case.is_apart() {
            false
        } else if self.is_crio() {
            case.is_against_crio()
        } else if self.id.starts_with("k3s") {
            case.is_against(Against::K3s)
        } else {
            case.is_against(Against::Containerd)
        }
    }
}

/// All of them; they stop when this is dropped.
struct Runtimes(Vec<Runtime>);

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/runtimes");

impl Runtimes {
    fn up() -> Self {
        let output = Command::new(SCRIPT).arg("up").output().unwrap();
        assert!(
            output.status.success(),
            "runtimes up: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        Self(text.lines().map(Runtime::new).collect())
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT).arg("down").status();
    }
}

/// What we say of a case, and what we ask for that.
struct Said {
    opinion: Opinion,
    asked: Pull,
    /// Of the registries that we asked.
    masks: Masks,
}

/// What one runtime did with a case, and what it asked.
struct Done {
    case: Case,
    deed: Deed,
    asked: Vec<Pull>,
}

/// Runs every case against each runtime that it names.
pub(crate) async fn compare_all(cases: &[Case]) -> Vec<Run> {
    let all = Runtimes::up();
    let (apart, runtimes): (Vec<&Runtime>, Vec<&Runtime>) = all.0.iter().partition(|runtime| runtime.apart().is_some());
    let taken = |runtime: &Runtime| -> Vec<Case> { cases.iter().filter(|case| runtime.takes(case)).cloned().collect() };
    // Both ways of one containerd are the same to us.
    let nodes: BTreeMap<&str, &Runtime> = runtimes.iter().map(|runtime| (runtime.on_nodes.as_str(), *runtime)).collect();
    let judging = nodes.iter().map(|(node, runtime)| judge(node, taken(runtime)));
    let pulling = runtimes.iter().map(|runtime| pull_all(runtime, taken(runtime)));
    let (said, done) = futures_util::future::join(join_all(judging), join_all(pulling)).await;
    let said: BTreeMap<&str, BTreeMap<String, Said>> = nodes.into_keys().zip(said).collect();

    let mut recorded = Vec::new();
    for case in cases {
        let mut asked = Vec::new();
        for (runtime, (registries, done)) in runtimes.iter().zip(&done) {
            let one = done.iter().find(|known| known.case.name == case.name);
            let is_kept = |_: &&Done| {
                !registries.holds_ports(case) && !BY_CHANCE.contains(&case.name.as_str()) && case.crio == CrioFiles::default()
            };
            if let Some(one) = one.filter(is_kept) {
                asked.push((runtime.id.clone(), one.asked.clone()));
            }
        }
        if !asked.is_empty() {
            recorded.push((case, asked));
        }
    }
    requests::write(&recorded);

    let run = |(runtime, (registries, done)): (&&Runtime, (Arc<Registries>, Vec<Done>))| {
        let said = &said[runtime.on_nodes.as_str()];
        let rows = done.into_iter().map(|done| row(runtime, &registries, done, said));
        Run {
            against: runtime.name.clone(),
            rows: rows.collect(),
        }
    };
    let mut runs: Vec<Run> = runtimes.iter().zip(done).map(run).collect();
    for runtime in apart {
        for case in taken(runtime) {
            let drop_ins = runtime.socket.with_extension("").join("registries.conf.d");
            for old in std::fs::read_dir(&drop_ins).unwrap() {
                std::fs::remove_file(old.unwrap().path()).unwrap();
            }
            let said = judge(&runtime.on_nodes, vec![case.clone()]).await;
            let (registries, done) = pull_all(runtime, vec![case]).await;
            let rows = done.into_iter().map(|done| row(runtime, &registries, done, &said));
            let run = runs.iter_mut().find(|run| run.against == runtime.name).unwrap();
            run.rows.extend(rows);
        }
    }
    runs
}

/// What a runtime did with a case, beside what we said.
fn row(runtime: &Runtime, registries: &Registries, done: Done, said: &BTreeMap<String, Said>) -> Row {
    let Done { case, deed, asked } = done;
    let said = &said[&case.name];
    let requests = requests::compare(&asked, std::slice::from_ref(&said.asked), &registries.configs(&case));
    let deed = (deed, &registries.masks(&case));
    Row::new(&case, &runtime.name, (said.opinion.clone(), &said.masks), deed, requests)
}

/// Does something with each case, so many at the same time; in the order of the cases.
async fn each<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    cases: Vec<Case>,
    at_once: usize,
    act: impl Fn(Case) -> F,
) -> Vec<T> {
    let acting = cases
        .into_iter()
        .enumerate()
        .map(|(at, case)| tokio::spawn(act(case)).map(move |done| (at, done.unwrap())));
    // Some take a minute: the others do not wait for them.
    let mut done: Vec<(usize, T)> = stream::iter(acting).buffer_unordered(at_once).collect().await;
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, done)| done).collect()
}

/// What we say of each case where the nodes run this. Our look-ups see registries of their own.
async fn judge(on_nodes: &str, cases: Vec<Case>) -> BTreeMap<String, Said> {
    let registries = Arc::new(Registries::start(&cases).await);
    registries.lose();
    let node = objects::usual_node("node", on_nodes, objects::KUBELET);
    let said = each(cases, AT_ONCE, |case| {
        let (registries, node) = (Arc::clone(&registries), node.clone());
        async move {
            let opinion = engine::judge(&case, &registries, std::slice::from_ref(&node)).await;
            let said = Said {
                asked: Pull::new(&case, &registries, None, opinion.outlook == "Pulls"),
                masks: registries.masks(&case),
                opinion,
            };
            (case.name, said)
        }
    });
    said.await.into_iter().collect()
}

/// What one runtime does with each case, and the registries that it asks.
async fn pull_all(runtime: &Runtime, cases: Vec<Case>) -> (Arc<Registries>, Vec<Done>) {
    let from = std::time::Instant::now();
    let registries = Arc::new(Registries::start(&cases).await);
    // Beside the socket lies a folder of its name with the runtime's settings.
    let folder = runtime.socket.with_extension("");
    if runtime.is_crio() {
        let socket = runtime.socket.clone();
        let try_pull = async |image: &str| drop(cri::pull(&socket, image, None, "default").await);
        registries.write_crio(&folder, &cases, try_pull).await;
    } else {
        registries.write_hosts(&folder.join("certs.d"), &cases);
    }
    registries.lose();
    let at_once = if runtime.is_crio() { AT_ONCE_CRIO } else { AT_ONCE };
    let done = each(cases, at_once, |case| {
        let (registries, socket) = (Arc::clone(&registries), runtime.socket.clone());
        async move {
            let (deed, asked) = pull(&case, &registries, &socket).await;
            Done { case, deed, asked }
        }
    });
    let done = done.await;
    println!("{}: {} cases in {} s", runtime.name, done.len(), from.elapsed().as_secs());
    (registries, done)
}

/// As a kubelet: every credential that matches in turn, and nobody's only where there is none.
async fn pull(case: &Case, registries: &Registries, socket: &Path) -> (Deed, Vec<Pull>) {
    let world = registries.world(case);
    let image = world.image();
    let reference = Reference::parse(&image).unwrap_or_else(|_| panic!("{}: a kubelet would not even ask", case.name));
    let logins = logins(case, registries, &reference);
    let asked = if reference.tag().is_none() && reference.digest().is_none() {
        format!("{image}:latest")
    } else {
        image
    };
    let offers: Vec<Option<&Login>> = if logins.is_empty() {
        vec![None]
    } else {
        logins.iter().map(Some).collect()
    };
    let mut pulls = Vec::new();
    let mut words = Vec::new();
    let mut end = End::NotPulled;
    for login in offers {
        let pulled = cri::pull(socket, &asked, login, case.namespace()).await;
        let user = login.map(|(user, _)| user.clone());
        pulls.push(Pull::new(case, registries, user, pulled.is_ok()));
        match pulled.map_err(|failure| failure.to_string()) {
            Ok(_) => {
                end = End::Pulled;
                words.clear();
                break;
            }
            Err(said) if !words.contains(&said) => words.push(said),
            Err(_) => {}
        }
    }
    let deed = Deed {
        end,
        reason: String::new(),
        words: as_kubelet(&asked, &words),
    };
    (deed, pulls)
}

/// What a kubelet makes of the errors of its attempts (`evalCRIPullErr`).
fn as_kubelet(image: &str, errors: &[String]) -> String {
    let all = match errors {
        [one] => one.clone(),
        [] => String::new(),
        several => format!("[{}]", several.join(", ")),
    };
    for (error, meaning) in [
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ] {
        if let Some(rest) = all.strip_prefix(error) {
            return format!("image pull failed for {image} because {meaning}{rest}");
        }
    }
    all
}

/// The credentials that a kubelet would offer. Our own keyring finds them: what the kubelet's finds is compared with the real one.
fn logins(case: &Case, registries: &Registries, reference: &Reference) -> Vec<Login> {
    let world = registries.world(case);
    let objects = objects::beside(case, world);
    let pod = objects::object(case, world);
    let listed: Vec<&Value> = pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten().collect();
    let mut keyring = Keyring::default();
    for name in listed.iter().filter_map(|secret| secret["name"].as_str()) {
        let Some(secret) = objects
            .iter()
            .find(|object| object["kind"] == "Secret" && object["metadata"]["name"] == name)
        else {
            continue;
        };
        let kind = secret["type"].as_str().unwrap_or_default();
        let data = data_key(kind)
            .and_then(|key| secret["data"][key].as_str())
            .map(|text| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap())
            .unwrap_or_default();
        let secret = PullSecret {
            name: name.to_owned(),
            kind: kind.to_owned(),
            data: Hidden::new(String::from_utf8(data).unwrap()),
            version: String::new(),
            opened: ReadOnce::default(),
        };
        match inspect(&secret) {
            Contents::Usable(entries) => keyring.add(&CredentialSource::Secret(name.to_owned()), &entries),
            Contents::WrongType { .. } => {}
            Contents::Malformed(_) => panic!("{}: a kubelet would not even ask", case.name),
        }
    }
    keyring
        .lookup(&reference.name())
        .iter()
        .map(|entry| {
            let credential = &entry.credential;
            (
                credential.username.expose().into_owned(),
                credential.password.expose().into_owned(),
            )
        })
        .collect()
}
