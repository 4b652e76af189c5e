//! What we say against what nodes do: a table of cases (`cases/*.yaml`), run three ways.
//!
//! - Against our engine alone, on every `cargo test`.
//! - Against real containerds and CRI-O, over CRI: `cargo test --test agreement -- --ignored runtimes` (needs root).
//! - Against a real kubelet: `cargo test --test agreement -- --ignored kubelet` (needs `tests/cluster/up`).
//!
//! `tests/run` does all of it, and `docs/agreement.md` and `tests/agreement/results.json` are what came of it.
#![allow(unreachable_pub, reason = "a module that test targets share")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed expectation is how a test reports"
)]

mod cases;
mod content;
mod cri;
mod engine;
#[path = "../support/faulty.rs"]
mod faulty;
#[path = "../support/kubectl.rs"]
mod kubectl;
mod kubelet;
mod objects;
mod replay;
mod report;
mod requests;
mod run;
mod runtimes;
mod server;

use cases::Case;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::Value;
use server::Registries;
use std::fmt::Write as _;
use std::sync::Arc;

/// The runtimes whose nodes the engine is told of when a case names none.
const OLD: &str = "containerd://1.7.34";
const NEW: &str = "containerd://2.4.2";
const K3S: &str = "containerd://2.1.5-k3s1";

/// Cases judged at the same time.
const AT_ONCE: usize = 4;

fn usual(runtimes: &[&str]) -> Vec<Value> {
    runtimes
        .iter()
        .enumerate()
        .map(|(at, runtime)| objects::usual_node(&format!("node{at}"), runtime, objects::KUBELET))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_says_what_the_table_expects() {
    let (apart, cases): (Vec<Case>, Vec<Case>) = cases::all().into_iter().partition(Case::is_apart);
    let cases = Arc::new(cases);
    let registries = Arc::new(Registries::start(&cases).await);
    registries.lose();
    let judging = (0..cases.len()).map(|at| {
        let (cases, registries) = (Arc::clone(&cases), Arc::clone(&registries));
        tokio::spawn(async move { wrong(&cases[at], &registries).await }).map(Result::unwrap)
    });
    let mut judged: Vec<Vec<String>> = stream::iter(judging).buffered(AT_ONCE).collect().await;
    for case in &apart {
        let registries = Registries::start(std::slice::from_ref(case)).await;
        judged.push(wrong(case, &registries).await);
    }
    let all = judged.concat().join("\n");
    assert!(all.is_empty(), "\n{all}");
}

/// Where we say something else than the table expects.
async fn wrong(case: &Case, registries: &Registries) -> Vec<String> {
    let expected = &case.expected;
    let mut wrong = Vec::new();
    let own = objects::nodes(case, registries.world(case));
    let nodes = if own.is_empty() { usual(&[OLD, NEW]) } else { own };
    let said = engine::judge(case, registries, &nodes).await;
    let mut object = |what: String| {
        let asked = registries.asked(case).join(", ");
        wrong.push(format!(
            "{}: {what}\n    we said: {}\n    asked: {asked}",
            case.name, said.message
        ));
    };
    if said.outlook != expected.outlook {
        object(format!("expected {}, said {}", expected.outlook, said.outlook));
    }
    for cause in &expected.causes {
        if !said.causes.contains(cause) {
            object(format!("expected {cause}, said {:?}", said.causes));
        }
    }
    if expected.causes.is_empty() && !said.causes.is_empty() {
        object(format!("expected no cause, said {:?}", said.causes));
    }
    if let Some(reason) = &expected.kubelet
        && said.kubelet.as_ref().map(|(said, _)| said) != Some(reason)
    {
        object(format!("expected the kubelet to show {reason}, said {:?}", said.kubelet));
    }
    for (runtime, expected) in [
        (OLD, &expected.containerd1),
        (NEW, &expected.containerd2),
        (K3S, &expected.k3s),
    ] {
        let Some(expected) = expected else { continue };
        let said = engine::judge(case, registries, &usual(&[runtime])).await;
        if said.outlook != *expected {
            object(format!("expected {expected} on {runtime}, said {}", said.outlook));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root; tests/run runs it"]
async fn runtimes_do_what_we_say() {
    let cases = cases::all();
    let runs = runtimes::compare_all(&cases).await;
    run::keep("runtimes", &runs);
    report::write(&cases);
    judge(&cases, &runs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster; tests/run has one"]
async fn a_kubelet_does_what_we_say() {
    let cases = cases::all();
    let run = kubelet::compare_all(cases.clone()).await;
    run::keep("kubelet", std::slice::from_ref(&run));
    report::write(&cases);
    judge(&cases, &[run]);
}

/// Fails where nodes do something else than we say, and where that is explained or known though it is not so.
fn judge(cases: &[Case], runs: &[run::Run]) {
    let mut all = String::new();
    for case in cases {
        for explained in &case.explained {
            let mut rows = runs
                .iter()
                .filter(|run| run.against.starts_with(&explained.against))
                .filter_map(|run| run.rows.iter().find(|row| row.case == case.name))
                .peekable();
            let needed = rows.peek().is_none() || rows.any(|row| row.kind.name() == explained.kind);
            if !needed {
                writeln!(all, "{}: nothing needs to be explained: {}", case.name, explained.why).unwrap();
            }
        }
    }
    for run in runs {
        for known in run::known_wrong(&run.against).keys() {
            let is_case = cases.iter().any(|case| case.name == *known);
            let is_wrong = run.rows.iter().any(|row| row.case == *known && row.known_wrong.is_some());
            if is_case && !is_wrong {
                writeln!(
                    all,
                    "{known}: we have it right for {}: it goes from known-wrong.yaml",
                    run.against
                )
                .unwrap();
            }
        }
        for row in run.rows.iter().filter(|row| row.is_bad()) {
            writeln!(
                all,
                "{} on {}: {}\n    we said {} {:?}: {}\n    for the kubelet: {:?}\n    it: {:?} {}: {}",
                row.case,
                run.against,
                row.kind.name(),
                row.said.outlook,
                row.said.causes,
                row.said.message,
                row.said.kubelet,
                row.deed.end,
                row.deed.reason,
                row.deed.words
            )
            .unwrap();
        }
    }
    assert!(all.is_empty(), "\n{all}");
}
