//! Draining: what a shutdown does to open connections and new ones.

use crate::support::{Answer, Running, SOON, closes, connect, head, limits, post, secured, until};
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

/// A cluster that is slow to learn that this replica leaves still sends it reviews: they must not find the port closed.
#[tokio::test]
async fn who_still_comes_is_waited_for() {
    let delay = Duration::from_secs(5);
    let mut server = Running::start(Limits {
        drain_delay: delay,
        linger: limits().drain,
        ..limits()
    })
    .await;
    server.tell_to_stop();
    let begin = std::time::Instant::now();
    let mut last = begin;
    while begin.elapsed() < delay + Duration::from_secs(1) {
        last = std::time::Instant::now();
        assert_eq!(server.post("/validate", "x").await.status, 200);
    }
    let webhook = server.webhook;
    assert_eq!(server.ended().await, Ended::Drained);
    assert!(last.elapsed() >= delay, "{:?}", last.elapsed());
    assert!(TcpStream::connect(webhook).await.is_err());
}

#[tokio::test]
async fn who_comes_for_ever_is_not() {
    let mut server = Running::start(Limits {
        drain_delay: Duration::from_secs(1),
        linger: Duration::from_secs(1),
        ..limits()
    })
    .await;
    server.tell_to_stop();
    let (webhook, ca) = (server.webhook, server.ca.clone());
    let coming = tokio::spawn(async move {
        while let Ok(mut stream) = connect(webhook, &ca).await {
            let _ = stream.write_all(&head("/validate", "Content-Length: 0\r\n")).await;
            let _ = Answer::try_read(&mut stream).await;
        }
    });
    assert_eq!(server.ended().await, Ended::Drained);
    tokio::time::timeout(SOON, coming).await.expect("the port is closed").unwrap();
}

/// A connection that has just been made has its request on the way.
#[tokio::test]
async fn who_has_just_connected_is_answered() {
    let mut server = Running::start(limits()).await;
    let (mut idle, mut fresh) = (server.tls().await, server.tls().await);
    assert_eq!(post(&mut idle, "/validate", "x").await.status, 200);
    server.tell_to_stop();
    closes(&mut idle).await;
    assert_eq!(post(&mut fresh, "/validate", "x").await.status, 200);
    assert_eq!(server.ended().await, Ended::Drained);
}

/// What the system has accepted for us, and we have not looked at yet, was sent here before the port closed.
#[tokio::test]
async fn who_waits_in_the_queue_is_answered() {
    let mut server = Running::start(limits()).await;
    until("it serves", async || server.get("/healthz").await.status == 200).await;
    // Not by tokio: nobody else gets a turn between these lines.
    let queued = std::net::TcpStream::connect(server.webhook).unwrap();
    server.tell_to_stop();
    queued.set_nonblocking(true).unwrap();
    let mut stream = secured(TcpStream::from_std(queued).unwrap(), &server.ca).await.unwrap();
    assert_eq!(post(&mut stream, "/validate", "x").await.status, 200);
    assert_eq!(server.ended().await, Ended::Drained);
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
