//! What others get while a tenant or a registry takes what it can: reviews of other namespaces, hosts and repositories, timed in a quiet run and during
//! each attack. The rules themselves have tests of their own (`src/registry/queue.rs`, `tests/wire/limits.rs`); this measures, and asserts no time:
//!
//! ```text
//! cargo test --release --locked --test server -- --ignored --nocapture fairness
//! ```

use crate::binary::Serving;
use crate::soak::answer;
use crate::support::{connect, post};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a usual registry takes for an answer, and a slow one.
const USUAL: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_secs(2);
/// Longer than anybody waits.
const NEVER: Duration = Duration::from_mins(1);
/// Objects that attack at once, and the images of each.
const OBJECTS: usize = 24;
const IMAGES: usize = 64;
/// Namespaces beside the attacker's, and the reviews of each in a run.
const OTHERS: usize = 4;

/// A registry that has every image, except that repositories named `hang…` get no answer and `limited…` a 429.
async fn registry(host: &str, usual: Duration) -> SocketAddr {
    let listener = TcpListener::bind(format!("{host}:0")).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(attend(stream, usual));
        }
    });
    address
}

async fn attend(stream: TcpStream, usual: Duration) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 || !line.starts_with(|c: char| c.is_ascii_uppercase()) {
            return Ok(());
        }
        let is_head = line.starts_with("HEAD");
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while !line.trim().is_empty() {
            line.clear();
            stream.read_line(&mut line).await?;
        }
        let (status, headers, body) = if path.starts_with("/v2/hang") {
            tokio::time::sleep(NEVER).await;
            return Ok(());
        } else if path.starts_with("/v2/limited") {
            (429, "Retry-After: 1\r\n".to_owned(), String::new())
        } else {
            tokio::time::sleep(usual).await;
            answer(&path, true)
        };
        let mut whole = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        if !is_head {
            whole += &body;
        }
        stream.get_mut().write_all(whole.as_bytes()).await?;
    }
}

fn review(namespace: &str, images: impl Iterator<Item = String>) -> String {
    let containers: Vec<Value> = images
        .enumerate()
        .map(|(at, image)| json!({"name": format!("c{at}"), "image": image}))
        .collect();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "operation": "CREATE",
        "namespace": namespace, "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}}})
    .to_string()
}

/// An image that nobody has asked for yet: its registry is asked.
fn new_image(host: SocketAddr, numbers: &AtomicUsize) -> String {
    format!("{host}/shop/app-{}:v1", numbers.fetch_add(10, Ordering::Relaxed))
}

/// One attack.
struct Attack {
    name: &'static str,
    /// The image of that number.
    image: Box<dyn Fn(usize) -> String + Send + Sync>,
}

struct Bench {
    serving: Serving,
    ca: String,
    numbers: Arc<AtomicUsize>,
}

impl Bench {
    /// How long each review of the others takes, one after the other in each namespace: of images at these hosts in turn.
    async fn others(&self, hosts: &[SocketAddr], reviews: usize) -> Vec<Duration> {
        let asked = (0..OTHERS).map(async |at| {
            let namespace = format!("other-{at}");
            let mut stream = connect(self.serving.webhook, &self.ca).await.unwrap();
            let mut all = Vec::new();
            for turn in 0..reviews {
                let body = review(
                    &namespace,
                    std::iter::once(new_image(hosts[turn % hosts.len()], &self.numbers)),
                );
                let began = Instant::now();
                let answer = post(&mut stream, "/validate?timeout=10s", &body).await;
                all.push(began.elapsed());
                assert!(
                    answer.body.contains(r#""allowed":true"#) && !answer.body.contains("warnings"),
                    "{}",
                    answer.body
                );
            }
            all
        });
        let mut all: Vec<Duration> = futures_util::future::join_all(asked).await.concat();
        all.sort_unstable();
        all
    }

    /// The attacker's objects, again and again until it is `over`.
    async fn attack(&self, attack: &Attack, over: &AtomicBool) {
        let next = AtomicUsize::new(0);
        let objects = (0..OBJECTS).map(async |_| {
            while !over.load(Ordering::Relaxed) {
                let images = (0..IMAGES).map(|_| (attack.image)(next.fetch_add(1, Ordering::Relaxed)));
                let mut stream = connect(self.serving.webhook, &self.ca).await.unwrap();
                post(&mut stream, "/validate?timeout=10s", &review("greedy", images)).await;
            }
        });
        futures_util::future::join_all(objects).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; takes minutes"]
async fn fairness() {
    let number = |name: &str, usual: usize| std::env::var_os(name).map_or(usual, |text| text.to_str().unwrap().parse().unwrap());
    let reviews = number("PULLGATE_REVIEWS", 50);
    let (shared, other) = (registry("127.0.3.1", USUAL).await, registry("127.0.3.4", USUAL).await);
    let slow = registry("127.0.3.2", SLOW).await;
    let mut ports = Vec::new();
    for _ in 0..64 {
        ports.push(registry("127.0.3.3", SLOW).await);
    }
    let attacks = [
        Attack {
            name: "a slow registry that answers (2 s)",
            image: Box::new(move |at| format!("{slow}/shop/app-{}:v1", at * 10)),
        },
        Attack {
            name: "64 ports of one slow machine",
            image: Box::new(move |at| format!("{}/shop/app-{}:v1", ports[at % ports.len()], at * 10)),
        },
        Attack {
            name: "24 objects of 64 images at the shared registry",
            image: Box::new(move |at| format!("{shared}/shop/app-{}:v2", at * 10)),
        },
        Attack {
            name: "429 for one repository of it",
            image: Box::new(move |at| format!("{shared}/limited/app:v{at}")),
        },
        Attack {
            name: "three repositories of it that hang",
            image: Box::new(move |at| format!("{shared}/hang{}/app:v{at}", at % 3)),
        },
    ];
    println!("| attack | quiet p50 | quiet p99 | attacked p50 | attacked p99 | p99 of quiet |\n|---|---|---|---|---|---|");
    for attack in attacks {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yaml");
        std::fs::write(&config, "network: {allow: [127.0.0.0/8]}\n").unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let serving = Serving::start(&["--tls-dev", "--tls-dev-out", &text(dir.path()), "--config", &text(&config)]);
        let ca = std::fs::read_to_string(dir.path().join("ca.crt")).unwrap();
        let numbers = Arc::new(AtomicUsize::new(1_000_000));
        let bench = Bench { serving, ca, numbers };
        let quiet = bench.others(&[shared, other], reviews).await;
        let over = AtomicBool::new(false);
        let attacked = async {
            // All its objects are under way.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let all = bench.others(&[shared, other], reviews).await;
            over.store(true, Ordering::Relaxed);
            all
        };
        let (attacked, ()) = futures_util::future::join(attacked, bench.attack(&attack, &over)).await;
        let at = |all: &[Duration], part: usize| all[(all.len() * part / 100).min(all.len() - 1)].as_secs_f64();
        let ms = |seconds: f64| format!("{:.0} ms", seconds * 1000.0);
        println!(
            "| {} | {} | {} | {} | {} | {:.2} |",
            attack.name,
            ms(at(&quiet, 50)),
            ms(at(&quiet, 99)),
            ms(at(&attacked, 50)),
            ms(at(&attacked, 99)),
            at(&attacked, 99) / at(&quiet, 99)
        );
    }
}
