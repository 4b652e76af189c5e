//! A runtime's machine, driven over the wire.

use crate::faulty::{Faulty, Reply};
use crate::sample::{good, image};
use crate::support::*;
use pullgate::ask::{Log, Step, step};
use pullgate::engine::drive;
use pullgate::image::{Platform, Reference};
use pullgate::runtime::containerd::version::Version;
use pullgate::runtime::containerd::{Containerd, Fork, PullPath};
use pullgate::runtime::request::{Agent, Who};
use pullgate::runtime::{Depth, NodeConfig, Pull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

fn pull(server: &Faulty, who: Who, until: Depth) -> Pull {
    Pull {
        reference: Reference::parse(&format!("{}/team/app:1", server.host())).unwrap(),
        short: None,
        node: NodeConfig::Default,
        who,
        platform: Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            ..Platform::default()
        },
        until,
        agent: Agent::default(),
    }
}

const CONTAINERD: Containerd = Containerd {
    version: Version(2, 2, 9),
    path: PullPath::Transfer,
    fork: Fork::Upstream,
};

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[tokio::test]
async fn a_private_image_down_to_its_layers() {
    let app = image("amd64");
    let down = Arc::new(AtomicBool::new(false));
    let (is_down, copy) = (Arc::clone(&down), app.clone());
    let server = Faulty::start(move |seen| {
        if is_down.load(Ordering::Relaxed) {
            return Reply::new(503);
        }
        let host = seen.header("host").unwrap_or_default();
        match (seen.method.as_str(), seen.path.split('?').next().unwrap_or_default()) {
            ("POST", "/token") => Reply::new(404),
            (_, "/token") => Reply::new(200).json(r#"{"token":"the-token","expires_in":300}"#),
            _ if seen.header("authorization") != Some("Bearer the-token") => Reply::new(401).header(
                "WWW-Authenticate",
                &format!("Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:team/app:pull\""),
            ),
            (_, path) if path.ends_with(&copy.layer.digest) => Reply::new(200).body(copy.layer.bytes.clone()),
            _ => good(&copy, seen),
        }
    })
    .await;
    let wire = wire();
    let who = wire.knows(&credential("alice", "secret-password"));
    let pull = pull(&server, who, Depth::Layers);
    let (outcome, log) = drive(&wire, soon(), |net| CONTAINERD.pull(&pull, net)).await;
    assert!(outcome.is_pulled(), "{outcome:?}");
    let (manifest, config, layer) = (&app.manifest.digest, &app.config.digest, &app.layer.digest);
    assert_eq!(
        server.lines(),
        [
            "HEAD /v2/team/app/manifests/1".to_owned(),
            "POST /token".to_owned(),
            "GET /token?scope=repository%3Ateam%2Fapp%3Apull&service=s".to_owned(),
            "HEAD /v2/team/app/manifests/1".to_owned(),
            // It fetches by another client than it resolves by, which first asks as nobody: the challenge to that is known.
            format!("GET /v2/team/app/manifests/{manifest}"),
            format!("GET /v2/team/app/blobs/{config}"),
            format!("HEAD /v2/team/app/blobs/{layer}"),
        ]
    );
    assert!(!format!("{log:?} {outcome:?}").contains("the-token"));

    // Warm: the machine run once over what is remembered.
    server.forget();
    later(Duration::from_secs(50)).await;
    let run = |memory: &dyn pullgate::ask::Recall<_>| match step(&mut Log::default(), memory, |net| CONTAINERD.pull(&pull, net)) {
        Step::Done(outcome) => Some(outcome),
        Step::Ask(_) => None,
    };
    assert_eq!(run(&wire).as_ref(), Some(&outcome));
    later(Duration::from_secs(10)).await;
    assert_eq!(run(&wire), None, "a tag is believed for a minute");

    // Down: what was good before.
    down.store(true, Ordering::Relaxed);
    later(Duration::from_hours(1)).await;
    let (failed, _) = drive(&wire, soon(), |net| CONTAINERD.pull(&pull, net)).await;
    assert!(!failed.is_pulled());
    assert_eq!(run(&wire.stale()).as_ref(), Some(&outcome));
}

#[tokio::test]
async fn another_asker_sends_proofs_only() {
    let app = image("amd64");
    let copy = app.clone();
    let server = Faulty::start(move |seen| good(&copy, seen)).await;
    let wire = wire();
    let (mine, _) = drive(&wire, soon(), |net| {
        CONTAINERD.pull(&pull(&server, Who::default(), Depth::Manifest), net)
    })
    .await;
    server.forget();
    let who = wire.knows(&credential("alice", "secret-password"));
    let (theirs, _) = drive(&wire, soon(), |net| {
        CONTAINERD.pull(&pull(&server, who, Depth::Manifest), net)
    })
    .await;
    assert!(mine.is_pulled());
    assert_eq!(
        mine.found.map(|found| found.digest.clone()),
        theirs.found.map(|found| found.digest.clone())
    );
    assert_eq!(server.lines(), ["HEAD /v2/team/app/manifests/1"]);
}
