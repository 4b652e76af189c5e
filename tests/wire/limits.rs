//! What keeps one server from harming the others: 429s, silence, the breaker; one flight for all who wait.

use crate::faulty::{Faulty, Manner, Reply};
use crate::support::*;
use futures_util::future::join_all;
use pullgate::ask::Source as _;
use pullgate::registry::on_behalf_of;
use pullgate::runtime::answer::FaultKind;
use pullgate::runtime::outcome::{ConnectionFault, TimeoutStage};
use pullgate::runtime::request::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const INTERRUPTED: FaultKind = FaultKind::Connection(ConnectionFault::Interrupted);

#[tokio::test]
async fn a_429_holds_for_its_lane() {
    let server = Faulty::start(|seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", _) | (_, "/v2/b/manifests/1") => Reply::new(429).header("Retry-After", "30"),
        _ => Reply::new(200),
    })
    .await;
    let wire = wire();
    let first = get(&server, "/v2/a/manifests/1");
    let answer = response(&wire, &first).await;
    assert_eq!((answer.status, answer.retry_after), (429, Some(Duration::from_secs(30))));
    assert_eq!(
        response(&wire, &again(&first)).await.status,
        429,
        "a second attempt is answered by the first"
    );
    let left = throttled(&wire, &get(&server, "/v2/a/manifests/2")).await;
    assert!(left > Duration::from_secs(20) && left <= Duration::from_secs(30), "{left:?}");
    assert_eq!(
        response(&wire, &head(&server, "/v2/a/manifests/2")).await.status,
        200,
        "HEADs go on"
    );
    let other = wire.knows(&credential("alice", "p"));
    assert_eq!(
        response(&wire, &asked_by(other, &first)).await.status,
        429,
        "others ask for themselves"
    );
    assert_eq!(response(&wire, &head(&server, "/v2/b/manifests/1")).await.status, 429);
    throttled(&wire, &head(&server, "/v2/a/manifests/3")).await;
    assert_eq!(server.lines().len(), 4);
    later(Duration::from_secs(30)).await;
    assert_eq!(response(&wire, &head(&server, "/v2/a/manifests/3")).await.status, 200);
}

#[tokio::test]
async fn a_silent_host_is_asked_once_by_each() {
    let server = Faulty::start(|_| Reply::new(200).manner(Manner::Hangup)).await;
    let wire = wire();
    let first = head(&server, "/v2/a/manifests/1");
    assert_eq!(fails(&wire, &first).await, INTERRUPTED);
    let sent = server.lines().len();
    assert_eq!(sent, 2, "it might have been a connection that was kept too long");
    assert_eq!(fails(&wire, &again(&first)).await, INTERRUPTED);
    let other = fault(&wire, &get(&server, "/v2/a/manifests/2")).await;
    assert_eq!((other.what, &*other.asked_at.path), (INTERRUPTED, "/v2/a/manifests/2"));
    assert_eq!(server.lines().len(), sent);
    later(Duration::from_secs(5)).await;
    assert_eq!(fails(&wire, &first).await, INTERRUPTED);
    assert_eq!(server.lines().len(), 2 * sent);
}

#[tokio::test]
async fn the_breaker_opens_after_three() {
    let server = Faulty::start(|_| Reply::new(200).manner(Manner::Hangup)).await;
    let wire = wire();
    for n in 0..5 {
        let who = wire.knows(&credential("alice", &n.to_string()));
        assert_eq!(
            fails(&wire, &asked_by(who, &head(&server, "/v2/a/manifests/1"))).await,
            INTERRUPTED
        );
    }
    assert_eq!(server.lines().len(), 6, "two for each of three");
    later(Duration::from_secs(5)).await;
    assert_eq!(fails(&wire, &head(&server, "/v2/a/manifests/1")).await, INTERRUPTED);
    assert_eq!(server.lines().len(), 8);
}

#[tokio::test]
async fn a_post_is_not_repeated() {
    let server = Faulty::start(|_| Reply::new(200).manner(Manner::Hangup)).await;
    let wire = wire();
    let who = wire.knows(&credential("alice", "p"));
    let token = std::sync::Arc::new(TokenRequest {
        origin: at(&server),
        realm: std::sync::Arc::from(format!("http://{}/token", server.host())),
        service: None,
        scopes: Vec::new(),
        who,
        by: Grant::Password,
    });
    let asked = request(Method::Post, &at(&server), "/token", Want::Token(token));
    assert_eq!(fails(&wire, &asked_by(who, &asked)).await, INTERRUPTED);
    assert_eq!(server.lines(), ["POST /token"]);
}

#[tokio::test]
async fn patience_ends() {
    let server = Faulty::start(|_| Reply::new(200).manner(Manner::Silence)).await;
    let wire = wire_with(pullgate::registry::RegistrySettings {
        look_up_limit: Duration::from_millis(200),
        ..settings()
    });
    let what = fails(&wire, &head(&server, "/v2/a/manifests/1")).await;
    assert_eq!(what, FaultKind::TimedOut(TimeoutStage::Response));
}

#[tokio::test]
async fn equal_requests_are_one_whoever_goes_away() {
    let (open, gate) = watch::channel(false);
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let server = Faulty::start(move |_| {
        arrived.send(()).unwrap();
        Reply::new(200).manner(Manner::When(gate.clone()))
    })
    .await;
    let wire = wire();
    let asked = head(&server, "/v2/a/manifests/1");
    let first = tokio::spawn({
        let (wire, asked) = (wire.clone(), asked.clone());
        async move { wire.fetch(asked).await }
    });
    arrivals.recv().await.unwrap();
    // Who began it goes away.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let waiting = join_all((0..20).map(|_| ask(&wire, &asked)));
    let (answers, ()) = tokio::join!(waiting, async {
        tokio::task::yield_now().await;
        open.send_replace(true);
    });
    assert_eq!(answers.len(), 20);
    for answer in answers {
        assert_eq!(as_response(answer).status, 200);
    }
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn one_namespace_with_many_images_does_not_stand_before_another() {
    const AT_ONCE: usize = pullgate::limits::REQUESTS_PER_HOST;
    let server = Faulty::start(|_| Reply::new(200).manner(Manner::After(Duration::from_millis(20)))).await;
    let wire = wire();
    let mut greedy = Vec::new();
    for n in 0..20 * AT_ONCE {
        let (wire, asked) = (wire.clone(), head(&server, &format!("/v2/greedy/manifests/{n}")));
        greedy.push(tokio::spawn(on_behalf_of(Arc::from("greedy"), async move {
            wire.fetch(asked).await
        })));
    }
    while server.lines().len() < AT_ONCE {
        tokio::task::yield_now().await;
    }
    let asked = head(&server, "/v2/modest/manifests/1");
    let before = server.lines().len();
    on_behalf_of(Arc::from("modest"), response(&wire, &asked)).await;
    let lines = server.lines();
    let at = lines.iter().position(|line| line.contains("modest")).unwrap();
    assert!(at <= before + 2 * AT_ONCE, "{at} after {before}");
    for one in greedy {
        assert!(one.await.is_ok(), "it is served as well");
    }
}

#[tokio::test]
async fn paths_that_hang_leave_the_others_of_their_host() {
    let server = Faulty::start(|seen| {
        if seen.path.contains("hang") {
            Reply::new(200).manner(Manner::Silence)
        } else {
            Reply::new(200)
        }
    })
    .await;
    let wire = wire_with(pullgate::registry::RegistrySettings {
        look_up_limit: Duration::from_secs(4),
        ..settings()
    });
    let hanging: Vec<_> = (0..6)
        .map(|n| head(&server, &format!("/v2/hang{}/manifests/{n}", n % 3)))
        .collect();
    for what in join_all(hanging.iter().map(|asked| fails(&wire, asked))).await {
        assert_eq!(what, FaultKind::TimedOut(TimeoutStage::Response));
    }
    let sent = server.lines().len();
    assert_eq!(
        fails(&wire, &again(&hanging[0])).await,
        FaultKind::TimedOut(TimeoutStage::Response)
    );
    assert_eq!(server.lines().len(), sent, "they are not waited for again");
    assert_eq!(response(&wire, &head(&server, "/v2/fine/manifests/1")).await.status, 200);
}

/// Twenty requests of each of three repositories hang at once, for a namespace and then for three: others of the same registry are asked meanwhile.
#[tokio::test]
async fn repositories_that_hang_leave_places_for_others() {
    let (open, gate) = watch::channel(false);
    let server = Faulty::start(move |seen| {
        if seen.path.contains("hang") {
            Reply::new(200).manner(Manner::When(gate.clone()))
        } else {
            Reply::new(200)
        }
    })
    .await;
    let wire = wire();
    let mut hanging = Vec::new();
    for n in 0..120 {
        let namespace = if n < 60 {
            "one".to_owned()
        } else {
            format!("of-three-{}", n % 3)
        };
        let (wire, asked) = (wire.clone(), head(&server, &format!("/v2/hang{}/manifests/{n}", n % 3)));
        hanging.push(tokio::spawn(on_behalf_of(Arc::from(namespace), async move {
            wire.fetch(asked).await
        })));
    }
    // Each asks for as many as half of what would be left: ten, if they take turns.
    while server.lines().len() < 10 {
        tokio::task::yield_now().await;
    }
    for namespace in ["one", "modest"] {
        let asked = head(&server, &format!("/v2/fine/manifests/{namespace}"));
        assert_eq!(on_behalf_of(Arc::from(namespace), response(&wire, &asked)).await.status, 200);
    }
    let lines = server.lines();
    let hang = lines.iter().filter(|line| line.contains("hang")).count();
    assert_eq!(
        (hang, lines.len()),
        (10, 12),
        "none has ended, and no more are sent: {lines:?}"
    );
    open.send_replace(true);
    for one in hanging {
        assert!(one.await.is_ok(), "they are served as well");
    }
}
