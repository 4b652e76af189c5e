//! End to end: `kubectl` against a real API server, `pullgate serve` behind its webhook, real registries, and a real kubelet.
//!
//! `tests/run` starts a cluster and runs these. By hand, with a cluster whose API server runs on this machine:
//!
//! ```text
//! eval "$(tests/cluster/up)"
//! cargo test --locked --test e2e -- --ignored
//! ```
//!
//! They are `#[ignore]`d so that a plain `cargo test` says that they did not run, instead of calling them passed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed expectation is how a test reports"
)]

mod apiserver;
mod apply;
mod certificates;
mod clients;
mod comparison;
mod credentials;
mod events;
mod exported;
#[path = "../support/kubectl.rs"]
mod kubectl;
mod live;
mod platforms;
mod policies;
#[path = "../support/ports.rs"]
mod ports;
mod rolling;
mod samples;
mod support;
mod update;

/// In CI a missing part is a failure: nobody may believe that the suite ran where nobody runs it. `tests/run` runs all of it and
/// says so by `PULLGATE_E2E`.
#[test]
fn ci_runs_the_ignored_tests_too() {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
    assert!(
        !set("CI") || set("PULLGATE_E2E"),
        "in CI the end-to-end tests must run: use tests/run, or set PULLGATE_E2E=1 and run `cargo test --test e2e -- --ignored` too"
    );
}
