//! Answers that never come to their point.

use crate::support::*;
use pullgate::runtime::answer::{Answer, FaultKind};
use pullgate::runtime::outcome::{ConnectionFault, TimeoutStage};
use pullgate::runtime::request::*;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A server with threads of its own that begins each answer with `head`, and goes on with `more` for as long as anybody reads.
struct Flood {
    address: SocketAddr,
    /// Bytes that were taken.
    sent: Arc<AtomicUsize>,
}

impl Flood {
    fn start(head: &'static [u8], more: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::<AtomicUsize>::default();
        let (count, more) = (Arc::clone(&sent), Arc::new(more));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), count, more) = (stream, Arc::clone(&count), Arc::clone(&more)) else {
                    return;
                };
                std::thread::spawn(move || {
                    let mut request = [0_u8; 4096];
                    let _ = stream.read(&mut request);
                    let mut written = stream.write_all(head);
                    for turn in 0.. {
                        if written.is_err() {
                            break;
                        }
                        let part = more(turn);
                        written = stream.write_all(&part);
                        count.fetch_add(part.len(), Ordering::Relaxed);
                    }
                });
            }
        });
        Self { address, sent }
    }

    fn asked(&self, method: Method, want: Want) -> Request {
        request(
            method,
            &origin(&format!("http://{}", self.address)),
            "/v2/a/manifests/1",
            want,
        )
    }
}

#[tokio::test]
async fn a_flood_of_interim_answers_ends_by_itself_and_leaves_everybody_else_the_processor() {
    let flood = Flood::start(b"", |_| b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000));
    let wire = wire_with(pullgate::registry::Settings {
        look_up_limit: Duration::from_secs(3),
        ..settings()
    });
    let over = Arc::new(AtomicBool::new(false));
    // What reviews and health would do meanwhile, on the only thread of this test.
    let others = tokio::spawn({
        let (over, sent) = (Arc::clone(&over), Arc::clone(&flood.sent));
        async move {
            let mut turns = 0;
            while !over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                turns += usize::from(sent.load(Ordering::Relaxed) > 1 << 20);
            }
            turns
        }
    });
    let what = fails(&wire, &flood.asked(Method::Head, Want::Nothing)).await;
    over.store(true, Ordering::Relaxed);
    assert_eq!(what, FaultKind::TimedOut(TimeoutStage::Response));
    let turns = others.await.unwrap();
    assert!(turns > 20, "{turns} turns during the flood");
}

#[tokio::test]
async fn a_flood_of_headers_ends_at_a_small_bound() {
    let many = Flood::start(b"HTTP/1.1 200 OK\r\n", |turn| format!("X-{turn}: y\r\n").into_bytes());
    let long = Flood::start(b"HTTP/1.1 200 OK\r\nX: ", |_| vec![b'y'; 1000]);
    let trailers = Flood::start(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        |turn| format!("X-{turn}: y\r\n").into_bytes(),
    );
    for flood in [many, long, trailers] {
        let asked = flood.asked(Method::Get, Want::Manifest { by: None });
        assert_eq!(
            fails(&wire(), &asked).await,
            FaultKind::Connection(ConnectionFault::Interrupted)
        );
        // What the kernel holds of it besides is not ours.
        let sent = flood.sent.load(Ordering::Relaxed);
        assert!(sent < 32 << 20, "{sent} bytes");
    }
}

#[tokio::test]
async fn a_flood_of_tiny_chunks_and_of_their_extensions_ends_at_a_small_bound() {
    let start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let tiny = Flood::start(start, |_| b"1\r\n \r\n".repeat(1000));
    let answer = ask(&wire(), &tiny.asked(Method::Get, Want::Token(token(&tiny)))).await;
    // Sixty-four kibibytes of an answer with a token are read, however they are cut.
    assert!(!matches!(answer, Answer::Late), "{answer:?}");
    let sent = tiny.sent.load(Ordering::Relaxed);
    assert!(sent < 32 << 20, "{sent} bytes");
    let extended = Flood::start(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", |_| {
        vec![b'x'; 1000]
    });
    let asked = extended.asked(Method::Get, Want::Manifest { by: None });
    assert_eq!(
        fails(&wire(), &asked).await,
        FaultKind::Connection(ConnectionFault::Interrupted)
    );
}

fn token(flood: &Flood) -> Arc<TokenRequest> {
    let origin = origin(&format!("http://{}", flood.address));
    Arc::new(TokenRequest {
        realm: Arc::from(format!("{origin}/token")),
        origin,
        service: None,
        scopes: Vec::new(),
        who: Who::default(),
        by: Grant::Anonymous,
    })
}
