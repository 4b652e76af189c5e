//! The registry module against real servers: Debian's `docker-registry`, and faulty ones of our own.
#![allow(unreachable_pub, reason = "modules of a test target")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    clippy::unnecessary_wraps,
    clippy::wildcard_imports,
    reason = "tests, and helpers of tests"
)]

#[path = "../support/faulty.rs"]
mod faulty;

mod auth;
mod cache;
mod content;
mod debian;
mod depth;
mod faults;
mod guard;
mod hiding;
mod identify;
mod mirrors;
mod node;
mod pin;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/program.rs"]
mod program;
mod proxy;
mod sample;
mod support;
