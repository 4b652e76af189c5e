//! The registry room against real servers: Debian's `docker-registry`, and faulty ones of our own.
#![allow(unreachable_pub, reason = "modules of a test target")]

#[path = "../support/faulty.rs"]
mod faulty;

mod auth;
mod cache;
mod content;
mod debian;
mod faults;
mod guard;
mod sample;
mod support;
