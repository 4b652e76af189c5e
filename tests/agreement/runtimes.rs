//! Against real runtimes: several containerds, those of today in both their ways of pulling, and CRI-O.

use crate::cases::{Against, Case};
use crate::cri::{self, Login};
use crate::engine::{self, Opinion};
use crate::objects;
use crate::requests::{self, Masks, Pull};
use crate::run::{Deed, End, Row, Run};
use crate::server::Registries;
use pullgate::credentials::{Contents, Hidden, Keyring, PullSecret, Source, data_key, inspect};
use pullgate::image::Reference;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pulls in flight at one containerd.
const AT_ONCE: usize = 6;
/// The same at CRI-O, which waits for a minute where a registry throttles it.
const AT_ONCE_CRIO: usize = 24;

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
        let (name, on_nodes) = if id == "crio" {
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
        self.id == "crio"
    }

    fn takes(&self, case: &Case) -> bool {
        if self.is_crio() {
            case.is_against_crio()
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

/// What one runtime did with a case.
struct Compared {
    said: Opinion,
    deed: Deed,
    /// What it asked, and what we did.
    asked: Vec<Pull>,
    ours: Vec<Pull>,
    /// Of the registries that we asked.
    masks: Masks,
}

/// Runs every case against each runtime that it names.
pub(crate) async fn compare_all(cases: &[Case]) -> Vec<Run> {
    let runtimes = Runtimes::up();
    let all = runtimes.0.iter().map(|runtime| {
        let cases: Vec<Case> = cases.iter().filter(|case| runtime.takes(case)).cloned().collect();
        against(runtime, cases)
    });
    let all = futures_util::future::join_all(all).await;
    let mut recorded = Vec::new();
    for case in cases {
        let mut asked = Vec::new();
        for (runtime, (registries, compared)) in runtimes.0.iter().zip(&all) {
            let one = compared.iter().find(|(known, _)| known.name == case.name);
            if let Some((_, one)) = one.filter(|_| !registries.holds_ports(case)) {
                asked.push((runtime.id.clone(), one.asked.clone()));
            }
        }
        if !asked.is_empty() {
            recorded.push((case, asked));
        }
    }
    requests::write(&recorded);
    let rows = |registries: &Registries, compared: Vec<(Case, Compared)>, runtime: &Runtime| {
        compared
            .into_iter()
            .map(|(case, one)| {
                let differences = requests::compare(&one.asked, &one.ours, &registries.configs(&case));
                let said = (one.said, &one.masks);
                let deed = (one.deed, &registries.masks(&case));
                Row::new(&case, &runtime.name, said, deed, differences)
            })
            .collect()
    };
    runtimes
        .0
        .iter()
        .zip(all)
        .map(|(runtime, (registries, compared))| Run {
            against: runtime.name.clone(),
            rows: rows(&registries, compared, runtime),
        })
        .collect()
}

/// One runtime, and the registries that it asked.
async fn against(runtime: &Runtime, cases: Vec<Case>) -> (Arc<Registries>, Vec<(Case, Compared)>) {
    let from = std::time::Instant::now();
    let registries = Arc::new(Registries::start(&cases).await);
    // Beside the socket lies a folder of its name with the runtime's settings.
    let folder = runtime.socket.with_extension("");
    if runtime.is_crio() {
        let socket = runtime.socket.clone();
        let try_pull = async |image: &str| drop(cri::pull(&socket, image, None).await);
        registries
            .write_registries_conf(&folder.join("registries.conf.d"), &cases, try_pull)
            .await;
    } else {
        registries.write_hosts(&folder.join("certs.d"), &cases);
    }
    // Our own look-ups see registries of their own, in the same state.
    let ours = Arc::new(Registries::start(&cases).await);
    ours.lose();
    registries.lose();
    let node = objects::usual_node("node", &runtime.on_nodes, objects::KUBELET);
    let permits = Arc::new(Semaphore::new(if runtime.is_crio() { AT_ONCE_CRIO } else { AT_ONCE }));
    let tasks: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let (registries, ours, permits) = (Arc::clone(&registries), Arc::clone(&ours), Arc::clone(&permits));
            let (socket, node) = (runtime.socket.clone(), node.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire().await.unwrap();
                let said = engine::judge(&case, &ours, std::slice::from_ref(&node)).await;
                let (deed, asked) = pull(&case, &registries, &socket).await;
                let compared = Compared {
                    deed,
                    asked,
                    ours: vec![Pull::new(&case, &ours, None, said.outlook == "Pulls")],
                    masks: ours.masks(&case),
                    said,
                };
                (case, compared)
            })
        })
        .collect();
    let mut compared = Vec::new();
    for task in tasks {
        compared.push(task.await.unwrap());
    }
    println!("{}: {} cases in {} s", runtime.name, compared.len(), from.elapsed().as_secs());
    (registries, compared)
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
        let pulled = cri::pull(socket, &asked, login).await;
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
        };
        match inspect(&secret) {
            Contents::Usable(entries) => keyring.add(&Source::Secret(name.to_owned()), &entries),
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
