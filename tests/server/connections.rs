//! Connections that cost without giving.

use crate::support::{Answer, Running, SOON, closes, connect, head, limits, pass, post, until};
use pullgate::server::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let handshake = Duration::from_secs(3);
    let server = Running::start(Limits { handshake, ..limits() }).await;
    let begin = Instant::now();
    let mut silent = TcpStream::connect(server.webhook).await.unwrap();
    closes(&mut silent).await;
    assert!(begin.elapsed() >= handshake, "{:?}", begin.elapsed());
    // The first bytes of a ClientHello, and no more.
    let mut half = TcpStream::connect(server.webhook).await.unwrap();
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).await.unwrap();
    closes(&mut half).await;
    until("both are counted", async || {
        server.count("pullgate_connection_ends_total{reason=\"handshake_timeout\"}") == 2
    })
    .await;
    assert_eq!(server.post("/validate", "x").await.status, 200);
}

#[tokio::test]
async fn what_is_not_tls_is_turned_away() {
    let server = Running::start(limits()).await;
    let mut plain = TcpStream::connect(server.webhook).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closes(&mut plain).await;
    let stranger = crate::support::made().ca;
    let error = connect(server.webhook, &stranger).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    until("both failed handshakes are counted", async || {
        server.count("pullgate_connection_ends_total{reason=\"handshake_failed\"}") == 2
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let first_byte = Duration::from_secs(1);
    let server = Running::start(Limits { first_byte, ..limits() }).await;
    let begin = Instant::now();
    closes(&mut server.tls().await).await;
    assert!(begin.elapsed() >= first_byte, "{:?}", begin.elapsed());
    until("the timeout is counted", async || {
        server.count("pullgate_connection_ends_total{reason=\"timeout\"}") == 1
    })
    .await;
}

#[tokio::test]
async fn a_head_that_stalls_is_given_up() {
    let limit = Duration::from_secs(1);
    let server = Running::start(Limits { head: limit, ..limits() }).await;
    let mut stream = server.tls().await;
    let begin = Instant::now();
    stream.write_all(b"POST /validate HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    closes(&mut stream).await;
    assert!(begin.elapsed() >= limit, "{:?}", begin.elapsed());
    until("the timeout is counted", async || {
        server.count("pullgate_connection_ends_total{reason=\"timeout\"}") == 1
    })
    .await;
}

/// Each byte arrives in time, the head as a whole does not; also on a connection that was good before.
#[tokio::test]
async fn a_head_that_dribbles_is_given_up_even_after_a_good_request() {
    let limit = Duration::from_secs(1);
    let server = Running::start(Limits { head: limit, ..limits() }).await;
    let mut stream = server.tls().await;
    assert_eq!(post(&mut stream, "/validate", "x").await.status, 200);
    let (mut read, mut write) = tokio::io::split(stream);
    let begin = Instant::now();
    let writing = tokio::spawn(async move {
        for byte in b"POST /validate HTTP/1.1\r\nHost: ".iter().chain(std::iter::repeat(&b'x')) {
            if write.write_all(&[*byte]).await.is_err() || write.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    closes(&mut read).await;
    assert!(begin.elapsed() >= limit, "{:?}", begin.elapsed());
    tokio::time::timeout(SOON, writing)
        .await
        .expect("writing fails once the connection is closed")
        .unwrap();
}

/// Longer than the deadlines for a first byte and for a head: those do not hold between requests.
#[tokio::test]
async fn an_idle_connection_is_kept() {
    let limit = Duration::from_secs(2);
    let server = Running::start(Limits {
        first_byte: limit,
        head: limit,
        ..limits()
    })
    .await;
    let mut stream = server.tls().await;
    for _ in 0..2 {
        assert_eq!(post(&mut stream, "/validate", "x").await.status, 200);
        pass(limit + limit / 4).await;
    }
    tokio::time::pause();
    assert_eq!(post(&mut stream, "/validate", "sleep 2500").await.status, 200);
    tokio::time::resume();
    assert_eq!(server.count("pullgate_connections"), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let idle = Duration::from_millis(700);
    let server = Running::start(Limits { idle, ..limits() }).await;
    let mut stream = server.tls().await;
    let begin = Instant::now();
    assert_eq!(post(&mut stream, "/validate", "x").await.status, 200);
    closes(&mut stream).await;
    assert!(begin.elapsed() >= idle, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let server = Running::start(limits()).await;
    let mut stream = server.tls().await;
    stream
        .write_all(&head("/validate", &format!("X: {}\r\n", "x".repeat(100_000))))
        .await
        .unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 431);
    let mut stream = server.tls().await;
    let many = "X: y\r\n".repeat(100);
    stream.write_all(&head("/validate", &many)).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 431);
}

/// At the cap, who holds idle connections loses the oldest, and a review gets through.
#[tokio::test]
async fn idle_connections_at_the_cap_make_room() {
    let server = Running::start(Limits {
        connections: 4,
        ..limits()
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut stream = server.tls().await;
        assert_eq!(post(&mut stream, "/validate", "x").await.status, 200);
        idle.push(stream);
    }
    assert_eq!(server.post("/validate", "x").await.status, 200);
    closes(&mut idle[0]).await;
    assert_eq!(
        post(&mut idle[3], "/validate", "x").await.status,
        200,
        "the youngest is still there"
    );
    assert!(server.count("pullgate_connection_ends_total{reason=\"recycled\"}") >= 1);
    assert!(server.count("pullgate_connections") <= 4);
}

/// Anyone may open connections and say nothing: those who do have something to ask get through all the same.
#[tokio::test]
async fn silent_connections_at_the_cap_keep_nobody_out() {
    let server = Running::start(Limits {
        connections: 4,
        ..limits()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(server.webhook).await.unwrap());
    }
    until("it is full", async || server.count("pullgate_connections") == 4).await;
    assert_eq!(server.post("/validate", "x").await.status, 200);
    closes(&mut silent[0]).await;
    assert!(server.count("pullgate_connection_ends_total{reason=\"recycled\"}") >= 1);
}

/// The kubelet's probes are asked on a port that everybody reaches: if they were kept out, it would kill us.
#[tokio::test]
async fn silent_connections_do_not_keep_the_probes_out() {
    let server = Running::start(limits()).await;
    let mut silent = Vec::new();
    for _ in 0..800 {
        silent.push(TcpStream::connect(server.plain).await.unwrap());
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    drop(silent);
}

/// A busy connection is not cut off to make room: it answers first. And the cap holds meanwhile.
#[tokio::test]
async fn busy_connections_at_the_cap_are_waited_for() {
    let server = Running::start(Limits {
        connections: 2,
        ..limits()
    })
    .await;
    let third = AtomicBool::new(false);
    let (one, two, three, ()) = tokio::join!(
        server.post("/validate", "wait"),
        server.post("/validate", "wait"),
        async {
            server.begun(2).await;
            let answer = server.post("/validate", "x").await;
            third.store(true, Ordering::Relaxed);
            answer
        },
        async {
            server.begun(2).await;
            pass(Duration::from_secs(1)).await;
            assert!(!third.load(Ordering::Relaxed), "served only once a place is free");
            assert_eq!(server.count("pullgate_connections"), 2);
            server.go();
            server.go();
        },
    );
    assert_eq!((one.status, two.status, three.status), (200, 200, 200));
}

/// Requests one after the other, and no answer ever read: what waits to be sent has a deadline, too.
#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let server = Running::start(Limits {
        write: Duration::from_millis(700),
        ..limits()
    })
    .await;
    let stream = server.tls().await;
    let (_unread, mut write) = tokio::io::split(stream);
    // Answers so large that a few fill what lies between the two.
    let body = "say 1000000";
    let mut request = head("/validate", &format!("Content-Length: {}\r\n", body.len()));
    request.extend_from_slice(body.as_bytes());
    let writing = async { while write.write_all(&request).await.is_ok() {} };
    tokio::time::timeout(SOON, writing).await.expect("it reads on for ever");
    until("the timeout is counted", async || {
        server.count("pullgate_connection_ends_total{reason=\"timeout\"}") == 1
    })
    .await;
}

/// Reviews keep every thread that serves them. The probe is sent from a thread of the test, since nothing else runs meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probes_are_answered_while_every_thread_is_busy() {
    use std::io::{Read as _, Write as _};
    let server = Arc::new(
        Running::start(Limits {
            probes_apart: true,
            ..limits()
        })
        .await,
    );
    let held = server.stage.threads.lock().unwrap();
    let blocked = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.post("/validate", "block").await.body }
    });
    while server.stage.begun.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let mut stream = std::net::TcpStream::connect(server.plain).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(held);
    assert_eq!(blocked.await.unwrap(), "blocked");
}
