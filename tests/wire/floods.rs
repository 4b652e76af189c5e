//! Answers that never come to their point.

use crate::support::*;
use pullgate::runtime::answer::{Answer, FaultKind};
use pullgate::runtime::outcome::ConnectionFault;
use pullgate::runtime::request::*;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
async fn floods_of_interim_answers_end_at_once_and_leave_everybody_else_the_processor() {
    // More than there are threads for registries.
    let floods: Vec<Flood> = [
        &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    ]
    .into_iter()
    .cycle()
    .take(16)
    .map(|interim| Flood::start(b"", |_| interim.repeat(1000)))
    .collect();
    let wire = wire();
    let asked = floods.iter().map(|flood| flood.asked(Method::Head, Want::Nothing));
    let asked: Vec<Request> = asked.collect();
    let ends = futures_util::future::join_all(asked.iter().map(|request| fails(&wire, request))).await;
    for (what, flood) in ends.into_iter().zip(&floods) {
        assert_eq!(what, FaultKind::Connection(ConnectionFault::Interrupted));
        // What the kernel holds of it besides is not ours.
        let sent = flood.sent.load(Ordering::Relaxed);
        assert!(sent < 32 << 20, "{sent} bytes");
    }
}

#[tokio::test]
async fn a_few_interim_answers_are_passed_over() {
    let few = Flood::start(b"", |turn| match turn {
        0..4 => b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    });
    let answer = ask(&wire(), &few.asked(Method::Head, Want::Nothing)).await;
    assert!(
        matches!(&answer, Answer::Response(response) if response.status == 404),
        "{answer:?}"
    );
}

/// A length may have zeros before it, and each is a step of its own to who reads it.
#[tokio::test]
async fn a_length_of_zeros_without_end_ends_at_a_small_bound() {
    let zeros = Flood::start(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", |_| {
        vec![b'0'; 1 << 16]
    });
    let asked = zeros.asked(Method::Get, Want::Token(token(&zeros)));
    assert_eq!(
        fails(&wire(), &asked).await,
        FaultKind::Connection(ConnectionFault::Interrupted)
    );
    let sent = zeros.sent.load(Ordering::Relaxed);
    assert!(sent < 32 << 20, "{sent} bytes");
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
