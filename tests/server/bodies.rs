//! Requests, right and wrong.

use crate::support::{Answer, Running, closes, head, limits, post, say, until};
use pullgate::server::{Limits, Readiness};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_review_goes_in_and_its_reply_comes_out() {
    let server = Running::start(limits()).await;
    let mut stream = server.tls().await;
    assert_eq!(
        stream.get_ref().1.alpn_protocol(),
        Some(&b"http/1.1"[..]),
        "HTTP/1.1 only, whatever is offered"
    );
    // Three on one connection.
    for _ in 0..3 {
        let answer = post(&mut stream, "/validate?timeout=10s", "12345").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "5 bytes"));
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        assert!(!answer.head.contains("connection: close"), "{}", answer.head);
    }
    assert_eq!(server.count("pullgate_responses_total{code=\"200\"}"), 3);
}

#[tokio::test]
async fn the_timeout_is_read_as_go_writes_it_and_garbage_counts_as_none() {
    let server = Running::start(limits()).await;
    // What has passed since the request came in is taken off.
    for (query, most) in [
        ("?timeout=100s", 100_000),
        ("?timeout=93s", 93_000),
        ("?timeout=90500ms", 90_500),
        ("?x=y&timeout=1m30s", 90_000),
        ("?timeout=91.5s", 91_500),
    ] {
        let begin = Instant::now();
        let said = server.post(&format!("/validate{query}"), "timeout").await.body;
        let passed = begin.elapsed();
        let most = Duration::from_millis(most);
        let left = said.strip_prefix("Some(").and_then(|text| text.strip_suffix(')')).unwrap();
        let left = pullgate::config::values::duration(left).unwrap();
        assert!(left <= most && left + passed >= most, "{query}: {said} after {passed:?}");
    }
    for query in [
        "",
        "?",
        "?timeout=",
        "?timeout=10",
        "?timeout=-3s",
        "?timeout=soon",
        "?timeout=0s",
        "?timeout=%ff",
    ] {
        assert_eq!(
            server.post(&format!("/validate{query}"), "timeout").await.body,
            "None",
            "{query}"
        );
    }
}

#[tokio::test]
async fn other_methods_and_paths_get_a_sentence() {
    let server = Running::start(limits()).await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let mut stream = server.tls().await;
        let head = format!("{method} /validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = Answer::read(&mut stream).await;
        assert_eq!(answer.status, 405);
        assert!(answer.head.contains("allow: post"), "{}", answer.head);
        assert!(
            answer.body.starts_with(method) && answer.body.contains("POST"),
            "{}",
            answer.body
        );
    }
    for target in ["/", "/validate/", "/validate/x", "/metrics", "/readyz", "//validate"] {
        let answer = server.post(target, "{}").await;
        assert_eq!(answer.status, 404, "{target}");
        assert!(answer.body.contains("POST /validate"), "{}", answer.body);
    }
    assert_eq!(server.count("pullgate_bad_requests_total{reason=\"method\"}"), 5);
    assert_eq!(server.count("pullgate_bad_requests_total{reason=\"path\"}"), 6);
}

#[tokio::test]
async fn twenty_mebibytes_are_read_and_of_more_the_beginning() {
    let server = Running::start(limits()).await;
    let most = 20 * MIB;
    let exactly = server.post("/validate", &"x".repeat(most)).await;
    assert_eq!((exactly.status, exactly.body), (200, format!("{most} bytes")));

    // The client writes all of it before it reads: the answer must still reach it.
    let announced = server.post("/validate", &"x".repeat(most + 1)).await;
    assert_eq!((announced.status, announced.body.as_str()), (200, "262144 bytes at first"));

    let mut stream = server.tls().await;
    say(&mut stream, &head("/validate", "Transfer-Encoding: chunked\r\n")).await;
    let chunk = "x".repeat(MIB);
    for _ in 0..21 {
        say(&mut stream, format!("{MIB:x}\r\n{chunk}\r\n").as_bytes()).await;
    }
    say(&mut stream, b"0\r\n\r\n").await;
    let chunked = Answer::read(&mut stream).await;
    assert_eq!((chunked.status, chunked.body), (200, announced.body));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_before_it_sends() {
    let server = Running::start(limits()).await;
    let mut stream = server.tls().await;
    let rest = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", 21 * MIB);
    stream.write_all(&head("/validate", &rest)).await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!(answer.status, 413);
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_read_for_ever() {
    let server = Running::start(Limits {
        body_bytes: 1 << 16,
        ..limits()
    })
    .await;
    let mut stream = server.tls().await;
    stream
        .write_all(&head("/validate", "Transfer-Encoding: chunked\r\n"))
        .await
        .unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let writing = tokio::spawn(async move { while write.write_all(chunk.as_bytes()).await.is_ok() {} });
    let answer = Answer::try_read(&mut read).await;
    // A client that writes on regardless may lose the answer, but it does lose the connection.
    if let Ok(answer) = answer {
        assert_eq!((answer.status, answer.body.as_str()), (200, "65536 bytes at first"));
    }
    tokio::time::timeout(crate::support::SOON, writing)
        .await
        .expect("the connection is closed")
        .unwrap();
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let body = Duration::from_millis(700);
    let server = Running::start(Limits { body, ..limits() }).await;
    let mut stream = server.tls().await;
    let begin = Instant::now();
    stream.write_all(&head("/validate", "Content-Length: 100\r\n")).await.unwrap();
    stream.write_all(b"abc").await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.body, "the body did not arrive within 700 ms\n");
    assert!(begin.elapsed() >= body, "{:?}", begin.elapsed());
    assert_eq!(server.count("pullgate_bad_requests_total{reason=\"body_timeout\"}"), 1);
}

/// One byte every 100 ms: each arrives in time, the whole does not.
#[tokio::test]
async fn a_body_that_dribbles_is_given_up() {
    let server = Running::start(Limits {
        body: Duration::from_millis(700),
        ..limits()
    })
    .await;
    let mut stream = server.tls().await;
    stream.write_all(&head("/validate", "Content-Length: 100\r\n")).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() && write.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!(Answer::read(&mut read).await.status, 408);
    writing.abort();
}

#[tokio::test]
async fn a_body_that_is_not_http_is_refused() {
    let server = Running::start(limits()).await;
    let mut stream = server.tls().await;
    stream
        .write_all(&head("/validate", "Transfer-Encoding: chunked\r\n"))
        .await
        .unwrap();
    stream.write_all(b"zzz\r\nxx").await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 400);
    assert_eq!(server.count("pullgate_bad_requests_total{reason=\"body_broken\"}"), 1);
}

/// What an API server never sends, and a client of the port may: each has a status and a sentence or none, and is counted by its reason.
#[tokio::test]
async fn odd_requests_are_refused_and_counted() {
    let server = Running::start(limits()).await;
    let many: Vec<String> = (0..65).map(|at| format!("X-{at}: y\r\n")).collect();
    let many = many.concat();
    let long = format!("X: {}\r\n", "y".repeat(40 << 10));
    let review = "Content-Length: 2\r\n";
    let post = |rest: &str| format!("POST /validate HTTP/1.1\r\nHost: localhost\r\n{rest}\r\n{{}}");
    for (what, request, status, reason) in [
        ("gzip", post(&format!("Content-Encoding: gzip\r\n{review}")), 415, "encoding"),
        ("br", post(&format!("Content-Encoding: br\r\n{review}")), 415, "encoding"),
        (
            "a list",
            post(&format!("Content-Encoding: identity, gzip\r\n{review}")),
            415,
            "encoding",
        ),
        ("two lengths", post(&format!("{review}Content-Length: 3\r\n")), 400, "head"),
        ("a length that is none", post("Content-Length: +2\r\n"), 400, "head"),
        ("an unknown transfer coding", post("Transfer-Encoding: gzip\r\n"), 400, "head"),
        ("65 headers", post(&format!("{many}{review}")), 431, "head"),
        ("a header of 40 KiB", post(&format!("{long}{review}")), 431, "head"),
        ("a space before a colon", post(&format!("X : y\r\n{review}")), 400, "head"),
        (
            "TRACE",
            "TRACE /validate HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            405,
            "method",
        ),
        (
            "CONNECT",
            "CONNECT metadata.internal:80 HTTP/1.1\r\nHost: metadata.internal\r\n\r\n".to_owned(),
            404,
            "path",
        ),
        (
            "an absolute target elsewhere",
            "GET http://metadata.internal/latest HTTP/1.1\r\nHost: metadata.internal\r\n\r\n".to_owned(),
            404,
            "path",
        ),
        (
            "the asterisk",
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            404,
            "path",
        ),
        (
            "an upgrade by GET",
            "GET /validate HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(),
            405,
            "method",
        ),
        (
            "extensions of a chunk without end",
            post("Transfer-Encoding: chunked\r\n").replace("{}", &format!("1;{}", "x".repeat(20 << 10))),
            400,
            "body_broken",
        ),
        (
            "trailers without end",
            post("Transfer-Encoding: chunked\r\n").replace("{}", &format!("2\r\n{{}}\r\n0\r\nX: {}", "x".repeat(40 << 10))),
            400,
            "body_broken",
        ),
    ] {
        let line = format!("pullgate_bad_requests_total{{reason=\"{reason}\"}}");
        let before = server.count(&line);
        let mut stream = server.tls().await;
        // It may be refused before all of it is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.flush().await;
        let answer = Answer::read(&mut stream).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        until(what, async || server.count(&line) == before + 1).await;
    }
    // HTTP/2 in plain words has no answer that its client would understand.
    let before = server.count("pullgate_bad_requests_total{reason=\"head\"}");
    let mut stream = server.tls().await;
    say(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    closes(&mut stream).await;
    assert_eq!(server.count("pullgate_bad_requests_total{reason=\"head\"}"), before + 1);
    // What is odd and well-formed is read: an absolute target (RFC 9112, 3.2.2), extensions of chunks, a wish to upgrade, a client that asks.
    for (what, request) in [
        (
            "an absolute target",
            post(review).replace("POST /", "POST https://localhost/"),
        ),
        (
            "extensions",
            post("Transfer-Encoding: chunked\r\n").replace("{}", "2;a=b;c\r\n{}\r\n0\r\nX: y\r\n\r\n"),
        ),
        (
            "an upgrade",
            post(&format!("{review}Connection: Upgrade\r\nUpgrade: h2c\r\n")),
        ),
        ("two lengths that are one", post(&format!("{review}{review}"))),
    ] {
        let mut stream = server.tls().await;
        say(&mut stream, request.as_bytes()).await;
        let answer = Answer::read(&mut stream).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "2 bytes"), "{what}");
    }
    let mut stream = server.tls().await;
    say(
        &mut stream,
        post(&format!("{review}Expect: 100-continue\r\n"))
            .trim_end_matches("{}")
            .as_bytes(),
    )
    .await;
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    say(&mut stream, b"{}").await;
    assert_eq!(Answer::read(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_panic_is_answered_500_and_counted_and_the_server_lives() {
    let server = Running::start(limits()).await;
    let mut stream = server.tls().await;
    let answer = post(&mut stream, "/validate", "panic").await;
    assert_eq!(answer.status, 500);
    assert!(
        !answer.body.contains("told to"),
        "what the panic said stays inside: {}",
        answer.body
    );
    assert_eq!(
        post(&mut stream, "/validate", "x").await.status,
        200,
        "even the same connection goes on"
    );
    assert_eq!(server.count("pullgate_panics_total"), 1);
    assert_eq!(server.count("pullgate_responses_total{code=\"500\"}"), 1);
}

#[tokio::test]
async fn an_overrun_is_answered_503_within_the_callers_patience() {
    let short = Duration::from_millis(1500);
    for (target, answer, least) in [
        ("/validate", short, 1400),
        ("/validate?timeout=10m", short, 1400),
        // A little less than the caller's own second.
        ("/validate?timeout=1s", limits().answer, 500),
    ] {
        let server = Running::start(Limits { answer, ..limits() }).await;
        let mut stream = server.tls().await;
        let begin = Instant::now();
        let answer = post(&mut stream, target, "wait").await;
        let took = begin.elapsed();
        assert_eq!(answer.status, 503, "{target}");
        assert!(answer.body.contains("in time"), "{}", answer.body);
        assert!(took >= Duration::from_millis(least), "{target}: {took:?}");
        assert_eq!(server.count("pullgate_responses_total{code=\"503\"}"), 1);
    }
}

#[tokio::test]
async fn the_plain_port_answers_probes_and_scrapers() {
    let made = crate::support::made();
    let metrics = pullgate::telemetry::Metrics::new();
    let certificate =
        pullgate::server::tls::Certificate::from_pem(made.certificate.as_bytes(), made.key.as_bytes(), metrics.clone()).unwrap();
    let synced = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = synced.clone();
    let readiness = Readiness::default().with("cluster", move || {
        if flag.load(std::sync::atomic::Ordering::Relaxed) {
            Ok(())
        } else {
            Err("nodes were not listed yet".to_owned())
        }
    });
    let server = Running::with(limits(), certificate, metrics, made.ca, readiness).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    let not_yet = server.get("/readyz").await;
    assert_eq!(
        (not_yet.status, not_yet.body.as_str()),
        (503, "cluster: nodes were not listed yet\n")
    );
    synced.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(server.get("/readyz").await.status, 200);

    server.post("/validate", "x").await;
    let scraped = server.get("/metrics").await;
    assert!(
        scraped
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        scraped.head
    );
    assert!(
        scraped.body.contains("pullgate_responses_total{code=\"200\"} 1\n"),
        "{}",
        scraped.body
    );
    assert!(scraped.body.ends_with("# EOF\n"));
    assert_eq!(server.get("/validate").await.status, 404);
}

#[tokio::test]
async fn an_ended_certificate_is_not_ready() {
    let ended = pullgate::server::tls::generate(&["localhost".to_owned()], Duration::ZERO).unwrap();
    let metrics = pullgate::telemetry::Metrics::new();
    let certificate =
        pullgate::server::tls::Certificate::from_pem(ended.certificate.as_bytes(), ended.key.as_bytes(), metrics.clone()).unwrap();
    let server = Running::with(limits(), certificate, metrics, ended.ca, Readiness::default()).await;
    until("it has ended", async || server.get("/readyz").await.status != 200).await;
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.starts_with("certificate: the served certificate expired at"),
        "{}",
        answer.body
    );
}

/// Many bodies at once are a lot of memory: they share it, and who does not fit waits.
#[tokio::test]
async fn bodies_share_a_limit_and_wait_for_each_other() {
    // A quarter is for bodies of usual size.
    let server = Running::start(Limits {
        bodies_bytes: 4000,
        ..limits()
    })
    .await;
    let padded = |script: &str| format!("{script} {}", "x".repeat(600));
    let (wait, late) = (padded("wait"), padded(""));
    let (first, second) = tokio::join!(server.post("/validate", &wait), async {
        server.begun(1).await;
        // A small one fits beside it. Behind one that waits it would wait, too: nobody is overtaken.
        assert_eq!(server.post("/validate", "small").await.status, 200);
        let (second, ()) = tokio::join!(server.post("/validate", &late), async { server.go() });
        second
    });
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(server.count("pullgate_bad_requests_total{reason=\"too_many\"}"), 0);
}

#[tokio::test]
async fn who_has_waited_for_room_until_the_end_is_told_so() {
    let server = Running::start(Limits {
        bodies_bytes: 4000,
        ..limits()
    })
    .await;
    let padded = |script: &str| format!("{script} {}", "x".repeat(600));
    let wait = padded("wait");
    let (waiting, ()) = tokio::join!(server.post("/validate", &wait), async {
        server.begun(1).await;
        let refused = server.post("/validate?timeout=1s", &padded("")).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.body.contains("4000 bytes"), "{}", refused.body);
        server.go();
    });
    assert_eq!(waiting.status, 200);
    assert_eq!(server.count("pullgate_bad_requests_total{reason=\"too_many\"}"), 1);
}

/// Who sends a little and then nothing makes room for who sends it all.
#[tokio::test]
async fn bodies_that_do_not_arrive_give_way() {
    let server = Running::start(Limits {
        bodies_bytes: 4000,
        ..limits()
    })
    .await;
    let mut stalled = server.tls().await;
    stalled
        .write_all(&head("/validate", "Content-Length: 700\r\n"))
        .await
        .unwrap();
    stalled.write_all(b"abc").await.unwrap();
    let whole = "x".repeat(600);
    let (gone, answered) = tokio::join!(Answer::read(&mut stalled), server.post("/validate", &whole));
    assert_eq!((gone.status, answered.status), (408, 200), "{}", gone.body);
    assert_eq!(server.count("pullgate_bad_requests_total{reason=\"body_slow\"}"), 1);
}
