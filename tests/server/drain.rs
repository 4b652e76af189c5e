//! The way out.

use crate::support::{Answer, Running, closes, connect, head, limits, post, until};
use pullgate::server::{Ended, Limits};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_review_in_flight_is_answered_and_nobody_new_is_let_in() {
    let mut server = Running::start(limits()).await;
    let mut busy = server.tls().await;
    let mut idle = server.tls().await;
    assert_eq!(post(&mut idle, "/validate", "x").await.status, 200);
    busy.write_all(&head("/validate", "Content-Length: 4\r\n")).await.unwrap();
    busy.write_all(b"wait").await.unwrap();
    server.begun(2).await;

    server.tell_to_stop();
    // Idle connections close at once, not when the review is done.
    closes(&mut idle).await;
    assert!(TcpStream::connect(server.webhook).await.is_err(), "the port is closed");
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503, "the plain port still answers");
    assert!(ready.body.starts_with("stopping: "), "{}", ready.body);

    server.go();
    let answer = Answer::read(&mut busy).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "waited"));
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    let plain = server.plain;
    assert_eq!(server.ended().await, Ended::Drained);
    assert!(TcpStream::connect(plain).await.is_err());
}

#[tokio::test]
async fn first_not_ready_then_closed() {
    let delay = Duration::from_secs(6);
    let mut server = Running::start(Limits {
        drain_delay: delay,
        ..limits()
    })
    .await;
    let mut kept = server.tls().await;
    assert_eq!(post(&mut kept, "/validate", "x").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    let begin = std::time::Instant::now();
    server.tell_to_stop();
    until("it is not ready", async || server.get("/readyz").await.status == 503).await;
    assert_eq!(server.get("/healthz").await.status, 200, "stopping is no reason to be killed");
    let late = server.post("/validate", "x").await;
    assert_eq!(late.status, 200, "whoever still comes is answered");
    let answer = post(&mut kept, "/validate", "x").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("connection: close"),
        "and told to go elsewhere: {}",
        answer.head
    );
    let webhook = server.webhook;
    assert_eq!(server.ended().await, Ended::Drained);
    assert!(begin.elapsed() >= delay);
    assert!(TcpStream::connect(webhook).await.is_err());
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut_off() {
    let mut server = Running::start(Limits {
        drain: Duration::from_millis(500),
        ..limits()
    })
    .await;
    let mut busy = server.tls().await;
    busy.write_all(&head("/validate", "Content-Length: 4\r\n")).await.unwrap();
    busy.write_all(b"wait").await.unwrap();
    server.begun(1).await;
    server.tell_to_stop();
    closes(&mut busy).await;
    assert_eq!(server.ended().await, Ended::CutOff);
}

/// A server at its cap, full of connections in every state, still hears that it shall stop.
#[tokio::test]
async fn a_full_server_stops_too() {
    let mut server = Running::start(Limits {
        connections: 3,
        handshake: Duration::from_secs(2),
        head: Duration::from_secs(2),
        ..limits()
    })
    .await;
    let _raw = TcpStream::connect(server.webhook).await.unwrap();
    let _open = connect(server.webhook, &server.ca).await.unwrap();
    let mut half = connect(server.webhook, &server.ca).await.unwrap();
    half.write_all(b"POST /val").await.unwrap();
    until("it is full", async || server.count("pullgate_connections") == 3).await;
    let _queued = TcpStream::connect(server.webhook).await.unwrap();
    server.tell_to_stop();
    assert_eq!(server.ended().await, Ended::Drained);
}
