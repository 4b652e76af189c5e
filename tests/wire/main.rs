//! The wire against servers of our own: one request, one answer.
#![allow(
    unreachable_pub,
    dead_code,
    reason = "modules of a test target, some of which others use in full"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    clippy::wildcard_imports,
    reason = "tests, and helpers of tests"
)]

#[path = "../support/faulty.rs"]
mod faulty;
#[path = "../registry/sample.rs"]
mod sample;

mod bodies;
mod families;
mod floods;
mod limits;
mod memory;
mod pulls;
mod redirects;
mod settings;
mod support;
mod tokens;
