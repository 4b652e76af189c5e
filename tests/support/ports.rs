//! Ports of loopback for servers that are told where to listen, and for nobody.
//!
//! What the system hands out for port 0 it may hand out again as soon as it is free: to another test, or to any outgoing connection of
//! this machine. A server that begins (or begins again) a moment later then finds its port taken.
#![allow(dead_code, reason = "each test target uses its own part")]
#![allow(clippy::expect_used, reason = "a test that finds no port must fail")]

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::net::TcpSocket;

/// Where ports are taken from: below those that the system hands out, beside those of `tests/cluster/up`.
const FROM: u16 = 10_000;
const TO: u16 = 20_000;

/// An address where nobody listens now, and that the system gives to nobody by itself; another one each time.
pub(crate) fn free() -> SocketAddr {
    static TURN: AtomicU16 = AtomicU16::new(0);
    // Another process of tests begins elsewhere.
    let first = std::process::id().wrapping_mul(97) % u32::from(TO - FROM);
    for _ in FROM..TO {
        let turn = u32::from(TURN.fetch_add(1, Ordering::Relaxed));
        let port = FROM + u16::try_from((first + turn) % u32::from(TO - FROM)).unwrap_or_default();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("every port from {FROM} to {TO} is taken");
}

/// An address where connections are refused for as long as this lives: it is bound, so nobody else gets it, and nobody listens.
#[derive(Debug)]
pub(crate) struct Nobody(TcpSocket);

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        self.address().to_string()
    }
}
