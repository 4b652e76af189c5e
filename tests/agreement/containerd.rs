//! Against real containerds: Debian's 1.6, and today's in both its ways of pulling.

use crate::cases::{Against, Case};
use crate::cri::{self, Login};
use crate::engine;
use crate::objects;
use crate::run::{Deed, End, Row, Run};
use crate::server::Registries;
use pullgate::credentials::{Contents, Hidden, Keyring, PullSecret, Source, data_key, inspect};
use pullgate::image::Reference;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pulls in flight at one containerd.
const AT_ONCE: usize = 6;

/// One that runs.
struct Runtime {
    /// `containerd 2.1.9 transfer`
    name: String,
    version: String,
    socket: PathBuf,
}

/// The three of them; they stop when this is dropped.
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
        let all = text.lines().map(|line| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap().to_owned();
            let (name, version, socket) = (next(), next(), PathBuf::from(next()));
            let way = name.strip_prefix("2-").map_or_else(String::new, |way| format!(" {way}"));
            Runtime {
                name: format!("containerd {version}{way}"),
                version,
                socket,
            }
        });
        Self(all.collect())
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT).arg("down").status();
    }
}

/// Runs every case that names containerd against each of them.
pub(crate) async fn compare_all(cases: Vec<Case>) -> Vec<Run> {
    let cases: Arc<Vec<Case>> = Arc::new(
        cases
            .into_iter()
            .filter(|case| case.is_against(Against::Containerd))
            .collect(),
    );
    let runtimes = Runtimes::up();
    let runs = runtimes.0.iter().map(|runtime| against(runtime, Arc::clone(&cases)));
    futures_util::future::join_all(runs).await
}

async fn against(runtime: &Runtime, cases: Arc<Vec<Case>>) -> Run {
    let registries = Arc::new(Registries::start(&cases).await);
    // Beside the socket lies a folder of its name, and in it the tree of hosts.toml.
    let tree = runtime.socket.with_extension("").join("certs.d");
    registries.write_hosts(&tree, &cases);
    // Our own look-ups see registries of their own, in the same state.
    let ours = Arc::new(Registries::start(&cases).await);
    ours.lose();
    registries.lose();
    let node = objects::usual_node("node", &format!("containerd://{}", runtime.version), "v1.34.1");
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let tasks: Vec<_> = (0..cases.len())
        .map(|at| {
            let (cases, registries, ours, permits) = (
                Arc::clone(&cases),
                Arc::clone(&registries),
                Arc::clone(&ours),
                Arc::clone(&permits),
            );
            let (socket, node) = (runtime.socket.clone(), node.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire().await.unwrap();
                let case = &cases[at];
                let said = engine::judge(case, &ours, std::slice::from_ref(&node)).await;
                let deed = pull(case, &registries, &socket).await;
                (said, deed)
            })
        })
        .collect();
    let mut rows = Vec::new();
    for (case, task) in cases.iter().zip(tasks) {
        let (said, deed) = task.await.unwrap();
        rows.push(Row::new(case, &runtime.name, said, deed));
    }
    Run {
        against: runtime.name.clone(),
        rows,
    }
}

/// As a kubelet: every credential that matches in turn, and nobody's only where there is none.
async fn pull(case: &Case, registries: &Registries, socket: &std::path::Path) -> Deed {
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
    let mut words = Vec::new();
    for login in offers {
        match cri::pull(socket, &asked, login).await {
            Ok(_) => {
                return Deed {
                    end: End::Pulled,
                    reason: String::new(),
                    words: String::new(),
                };
            }
            Err(said) if !words.contains(&said) => words.push(said),
            Err(_) => {}
        }
    }
    Deed {
        end: End::NotPulled,
        reason: String::new(),
        words: words.join(", "),
    }
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
