//! A rolling restart: two replicas behind one address, restarted in turn by SIGTERM while objects are created. `failurePolicy: Fail`:
//! a review that gets no answer is a creation that fails.
//!
//! The address is a small stand-in for a Service: a new connection goes to a replica that was ready when it was last asked, half a
//! second ago at most; nobody tries another when that one does not answer; connections stay where they are.

use crate::ports;
use crate::support::daemon::Daemon;
use crate::support::gate::{LABEL, configuration, get, reviews, run, settings_file, write_certificates};
use crate::support::kubectl::{Gated, Namespace, eventually, kubectl, manifest};
use crate::support::objects::pod_spec;
use crate::support::{folder, registries};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_mins(2);
/// How often replicas are asked whether they are ready.
const PROBE: Duration = Duration::from_millis(500);

/// Where a replica listens, in every life.
#[derive(Clone, Copy)]
struct Place {
    webhook: SocketAddr,
    metrics: SocketAddr,
}

impl Place {
    fn new() -> Self {
        Self {
            webhook: ports::free(),
            metrics: ports::free(),
        }
    }

    fn is_ready(self) -> bool {
        get(self.metrics, "/readyz").is_some()
    }

    /// Reviews that it has answered in this life.
    fn reviews(self) -> u64 {
        reviews(self.metrics)
    }
}

/// Starts a replica; it is told to stop by SIGTERM when the result is dropped, which waits for its end.
fn start(name: &str, place: Place) -> Daemon {
    let certificates = folder("rolling");
    let kubeconfig = std::env::var_os("KUBECONFIG").expect("KUBECONFIG");
    let daemon = Daemon::start(
        name,
        "",
        &[
            env!("CARGO_BIN_EXE_pullgate"),
            "serve",
            "--listen",
            &place.webhook.to_string(),
            "--metrics-listen",
            &place.metrics.to_string(),
            "--tls-cert",
            certificates.join("tls.crt").to_str().unwrap(),
            "--tls-key",
            certificates.join("tls.key").to_str().unwrap(),
            "--config",
            settings_file().to_str().unwrap(),
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
        ],
    );
    daemon.wait_until("/readyz", || place.is_ready());
    daemon
}

/// Sends connections to places that are ready, in turn.
struct Balancer {
    address: SocketAddr,
    ready: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    fn start(places: &[Place]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ready: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let (places, known) = (places.to_vec(), Arc::clone(&ready));
        thread::spawn(move || {
            loop {
                let now = places
                    .iter()
                    .filter(|place| place.is_ready())
                    .map(|place| place.webhook)
                    .collect();
                *known.lock().unwrap() = now;
                thread::sleep(PROBE);
            }
        });
        let known = Arc::clone(&ready);
        thread::spawn(move || {
            for (turn, client) in listener.incoming().flatten().enumerate() {
                let to = {
                    let known = known.lock().unwrap();
                    (!known.is_empty()).then(|| known[turn % known.len()])
                };
                // Without an endpoint, or where nobody listens, the client's connection ends: nobody tries again.
                if let Some(server) = to.and_then(|to| TcpStream::connect(to).ok()) {
                    let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    thread::spawn(move || carry(client, server));
                    thread::spawn(move || carry(back_from, back_to));
                }
            }
        });
        Self { address, ready }
    }

    fn knows(&self, place: Place) -> bool {
        self.ready.lock().unwrap().contains(&place.webhook)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// A batch of objects that get their names from the API server.
fn batch(count: usize) -> String {
    let image = registries().open.image("shop/api:v1.0");
    let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"generateName": "rolling-"},
                          "template": {"metadata": {"labels": {"app": "rolling"}}, "spec": pod_spec(&[("api", &image)])}});
    let objects: Vec<Value> = std::iter::repeat_n(template, count).collect();
    manifest(&objects)
}

#[test]
#[ignore = "needs a cluster; tests/run has one"]
fn a_rolling_restart_loses_no_review() {
    const BATCH: usize = 10;
    const WRITERS: usize = 3;
    let name = format!("{}-rolling", run());
    let authority = write_certificates(&folder("rolling"));
    let places = [Place::new(), Place::new()];
    let mut lives: Vec<Option<Daemon>> = places
        .iter()
        .enumerate()
        .map(|(at, place)| Some(start(&format!("rolling-{at}-0"), *place)))
        .collect();
    let balancer = Balancer::start(&places);
    eventually("both are endpoints", SOON, || {
        places.iter().all(|place| balancer.knows(*place)).then_some(())
    });
    // However this test ends, the registration goes.
    let cleanup = format!("kubectl delete validatingwebhookconfiguration {name}");
    let _registered = Daemon::start("rolling-registration", &cleanup, &["sleep", "infinity"]);
    kubectl(
        &["apply", "-f", "-"],
        &configuration(&name, balancer.address, &authority).to_string(),
    )
    .done();
    let namespace = Namespace::new(Gated::No);
    kubectl(&["label", "namespace", &namespace.name, &format!("{LABEL}={name}")], "").done();
    let input = batch(BATCH);
    let create = || kubectl(&["create", "--namespace", &namespace.name, "-f", "-"], &input);
    eventually("the API server asks", SOON, || {
        create().done();
        (places.iter().map(|place| place.reviews()).sum::<u64>() > 0).then_some(())
    });

    let (over, created) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut answered = 0;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        create().done();
                        created.fetch_add(BATCH, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        // The writers end even if this thread fails.
        let rolled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 1..=2 {
                for (at, place) in places.iter().enumerate() {
                    let before = place.reviews();
                    eventually("it is asked", SOON, || (place.reviews() > before).then_some(()));
                    answered += place.reviews();
                    drop(lives[at].take());
                    assert!(!place.is_ready(), "it has ended");
                    lives[at] = Some(start(&format!("rolling-{at}-{round}"), *place));
                    eventually("it is an endpoint again", SOON, || balancer.knows(*place).then_some(()));
                }
            }
        }));
        over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("no creation fails");
        }
        rolled.unwrap();
    });
    let created = created.load(Ordering::Relaxed);
    assert!(created > 0 && answered > 0);
    for round in 0..2 {
        for at in 0..places.len() {
            let log = std::fs::read_to_string(folder("logs").join(format!("rolling-{at}-{round}.log"))).unwrap();
            assert!(log.contains("told to stop"), "replica {at} in its life {round}:\n{log}");
            assert!(!log.contains("cut off"), "replica {at} in its life {round}:\n{log}");
        }
    }
    println!("{created} objects were created during four restarts, {answered} reviews answered by those that ended");
}
