//! The way out.

use crate::support::{Answer, Running, closes_after, connect, head, limits, post};
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
    let body = "sleep 1200";
    let mut bytes = head("/validate", &format!("Content-Length: {}\r\n", body.len()));
    bytes.extend_from_slice(body.as_bytes());
    busy.write_all(&bytes).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;

    server.tell_to_stop();
    let took = closes_after(&mut idle).await;
    assert!(took < Duration::from_millis(800), "idle connections close at once: {took:?}");
    assert!(TcpStream::connect(server.webhook).await.is_err(), "the port is closed");
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503, "the plain port still answers");
    assert!(ready.body.starts_with("stopping: "), "{}", ready.body);

    let answer = Answer::read(&mut busy).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "slept"));
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    let plain = server.plain;
    assert_eq!(server.ended().await, Ended::Drained);
    assert!(TcpStream::connect(plain).await.is_err());
}

#[tokio::test]
async fn first_not_ready_then_closed() {
    let mut server = Running::start(Limits {
        drain_delay: Duration::from_millis(1500),
        ..limits()
    })
    .await;
    let mut kept = server.tls().await;
    assert_eq!(post(&mut kept, "/validate", "x").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    server.tell_to_stop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.get("/readyz").await.status, 503);
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
    let begin = std::time::Instant::now();
    assert_eq!(server.ended().await, Ended::Drained);
    assert!(begin.elapsed() >= Duration::from_millis(900));
    assert!(TcpStream::connect(webhook).await.is_err());
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut_off() {
    let mut server = Running::start(Limits {
        answer: Duration::from_secs(30),
        drain: Duration::from_millis(500),
        ..limits()
    })
    .await;
    let mut busy = server.tls().await;
    busy.write_all(&head("/validate?timeout=30s", "Content-Length: 11\r\n"))
        .await
        .unwrap();
    busy.write_all(b"sleep 20000").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.tell_to_stop();
    let took = closes_after(&mut busy).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(server.ended().await, Ended::CutOff);
}

/// A server at its cap, full of connections in every state, still hears that it shall stop.
#[tokio::test]
async fn a_full_server_stops_too() {
    let mut server = Running::start(Limits {
        connections: 3,
        handshake: Duration::from_secs(2),
        first_byte: Duration::from_secs(60),
        head: Duration::from_secs(2),
        ..limits()
    })
    .await;
    let _raw = TcpStream::connect(server.webhook).await.unwrap();
    let _open = connect(server.webhook, &server.ca).await.unwrap();
    let mut begun = connect(server.webhook, &server.ca).await.unwrap();
    begun.write_all(b"POST /val").await.unwrap();
    let _queued = TcpStream::connect(server.webhook).await.unwrap();
    server.tell_to_stop();
    let begin = std::time::Instant::now();
    assert_eq!(server.ended().await, Ended::Drained);
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}
