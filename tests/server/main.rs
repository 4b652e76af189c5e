//! The server over real sockets and real TLS: limits, rotation, drain. The reviewer is a scripted closure; what it would judge is
//! other tests' concern.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy knows that only inside #[test]"
)]

mod attacks;
mod binary;
mod bodies;
mod clients;
#[path = "../support/confined.rs"]
mod confined;
mod connections;
mod deploy;
mod drain;
mod endurance;
mod fairness;
mod faults;
#[allow(unreachable_pub, reason = "other targets use it too")]
#[path = "../support/faulty.rs"]
mod faulty;
#[path = "../support/program.rs"]
mod program;
mod rotation;
mod soak;
mod support;
