use super::*;
use crate::budget::Claim;
use crate::credentials::{Credential, Hidden};
use crate::image::Platform;
use crate::runtime::answer::{AnsweredBy, AskedAt};
use crate::runtime::challenge::Challenge;
use crate::runtime::content::{Descriptor, Document, Members, ReadConfig};
use crate::runtime::outcome::{ConnectionFault, Counted, GuardRule, Quota, TimeoutStage};
use crate::runtime::request::{Agent, Auth, Scheme};
use tokio::time::advance;

const STALE: Duration = Duration::from_hours(24);

fn memo() -> Memo {
    Memo::new(16 << 20, STALE)
}

fn who(name: &str) -> Who {
    Who::of(&Credential {
        username: Hidden::new(name),
        password: Hidden::new("p"),
        ..Credential::default()
    })
}

fn digest() -> Digest {
    Digest::sha256(b"{}")
}

fn request(method: Method, rest: &str, want: Want) -> Request {
    Request {
        asker: Who::default(),
        method,
        origin: Origin::new(Scheme::Https, "r.example").unwrap(),
        path: Arc::from(format!("/v2/a/{rest}?ns=q.example")),
        accept: Arc::from("*/*"),
        auth: Vec::new(),
        want,
        host_settings: HostSettingsId::default(),
        agent: Agent::default(),
        retry: Retry::default(),
    }
}

fn head(rest: &str) -> Request {
    request(Method::Head, rest, Want::Nothing)
}

fn by_digest() -> Request {
    let want = Want::Manifest { by: Some(digest()) };
    request(Method::Get, &format!("manifests/{}", digest()), want)
}

fn response(status: u16) -> Response {
    Response {
        asked_at: asked(&head("manifests/1")),
        status,
        as_somebody: false,
        challenges: Vec::new(),
        content_type: Arc::from(""),
        length: None,
        encoded: false,
        digest: None,
        body: Body::Unread,
        quota: None,
        retry_after: None,
        answered_by: AnsweredBy::Registry,
    }
}

fn answer(response: Response) -> Answer {
    Answer::Response(Arc::new(response))
}

fn fault(what: FaultKind) -> Answer {
    Answer::Fault(Arc::new(Fault {
        asked_at: asked(&head("manifests/1")),
        what,
        detail: None,
    }))
}

const REFUSED: FaultKind = FaultKind::Connection(ConnectionFault::Refused);

fn status(answer: Option<Answer>) -> Option<u16> {
    match answer? {
        Answer::Response(response) => Some(response.status),
        Answer::Fault(_) | Answer::NotSent(_) | Answer::Late => Some(0),
    }
}

/// Each answer holds for so long, and no longer.
#[tokio::test(start_paused = true)]
async fn lifetimes_by_kind_of_answer() {
    let (tag, digest) = (head("manifests/1"), head(&format!("manifests/{}", digest())));
    let basic = |request: &Request| Request {
        auth: vec![(request.origin.clone(), Auth::Basic(request.asker))],
        ..request.clone()
    };
    let asks = || {
        answer(Response {
            challenges: vec![Challenge::Basic],
            ..response(401)
        })
    };
    let after = |seconds| {
        answer(Response {
            retry_after: Some(Duration::from_secs(seconds)),
            ..response(429)
        })
    };
    let guarded = Answer::NotSent(Arc::new(NotSent {
        asked_at: asked(&tag),
        why: Withheld::Guard(GuardRule::Redirect),
    }));
    for (request, answer, ttl) in [
        (&tag, answer(response(200)), 60),
        (&digest, answer(response(200)), 300),
        (&tag, asks(), 60),
        (&digest, asks(), 300),
        (&basic(&tag), asks(), 2),
        (&tag, answer(response(401)), 2),
        (&tag, answer(response(403)), 2),
        (&tag, answer(response(404)), 2),
        (&tag, answer(response(408)), 5),
        (&tag, answer(response(500)), 5),
        (&tag, answer(response(304)), 5),
        (&tag, answer(response(429)), 5),
        (&tag, after(0), 1),
        (&tag, after(30), 30),
        (&tag, after(86_400), 900),
        (&tag, fault(REFUSED), 5),
        (&tag, fault(FaultKind::Internal), 2),
        (&tag, fault(FaultKind::Tls(TlsFault::PlainHttp)), 600),
        (&tag, guarded, 2),
        (&tag, Answer::Late, 0),
    ] {
        let memo = memo();
        memo.keep(request, &answer);
        if ttl > 0 {
            advance(Duration::from_millis(ttl * 1000 - 1)).await;
            assert!(memo.recall(request, Age::Fresh).is_some(), "{answer:?}");
            advance(Duration::from_millis(1)).await;
        }
        assert!(memo.recall(request, Age::Fresh).is_none(), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_learns_from_anothers_answers() {
    let memo = memo();
    let mine = Request {
        asker: who("me"),
        ..head("manifests/1")
    };
    memo.keep(&mine, &answer(response(200)));
    assert!(memo.recall(&mine, Age::Fresh).is_some());
    for other in [
        Request {
            asker: who("you"),
            ..mine.clone()
        },
        Request {
            asker: Who::default(),
            ..mine.clone()
        },
        Request {
            host_settings: HostSettingsId([1; 16]),
            ..mine.clone()
        },
        Request {
            retry: Retry {
                nth: 1,
                after: Duration::ZERO,
            },
            ..mine.clone()
        },
    ] {
        assert!(memo.recall(&other, Age::Fresh).is_none(), "{other:?}");
    }
    let later = Request {
        retry: Retry {
            nth: 0,
            after: Duration::from_millis(50),
        },
        ..mine.clone()
    };
    assert!(memo.recall(&later, Age::Fresh).is_some(), "a pause makes no other request");
}

#[tokio::test(start_paused = true)]
async fn quotas_are_news_for_a_minute() {
    let memo = memo();
    let quota = Some(Quota {
        remaining: 3,
        limit: None,
        window: None,
        counted: Counted::NotSaid,
    });
    let request = head(&format!("manifests/{}", digest()));
    memo.keep(&request, &answer(Response { quota, ..response(200) }));
    let told = |memo: &Memo| match memo.recall(&request, Age::Fresh) {
        Some(Answer::Response(response)) => response.quota,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&memo), quota);
    advance(QUOTA).await;
    assert_eq!(told(&memo), None);
}

#[tokio::test(start_paused = true)]
async fn a_429_holds_for_others_of_its_lane() {
    let memo = memo();
    let left = |request: &Request| match memo.withheld(request) {
        Some(Answer::NotSent(not_sent)) => match not_sent.why {
            Withheld::Throttled { left, asked: true } => Some(left.as_secs()),
            _ => panic!("{not_sent:?}"),
        },
        None => None,
        other => panic!("{other:?}"),
    };
    let slow = answer(Response {
        retry_after: Some(Duration::from_secs(30)),
        ..response(429)
    });
    let get = request(Method::Get, "manifests/1", Want::Manifest { by: None });
    memo.keep(&get, &slow);
    advance(Duration::from_secs(10)).await;
    assert_eq!(left(&by_digest()), Some(20));
    assert_eq!(left(&head("manifests/2")), None, "HEADs go on");
    let other = Request {
        asker: who("me"),
        ..by_digest()
    };
    assert_eq!(left(&other), None);
    let Some(Answer::Response(told)) = memo.recall(&get, Age::Fresh) else {
        panic!("a 429")
    };
    assert_eq!(told.retry_after, Some(Duration::from_secs(20)), "what is left of it");
    memo.keep(&head("manifests/1"), &slow);
    assert_eq!(left(&head("manifests/2")), Some(30));
    let elsewhere = |path: &str| Request {
        path: Arc::from(path),
        ..head("manifests/1")
    };
    assert_eq!(left(&elsewhere("/v2/another/manifests/1")), None, "another repository");
    assert_eq!(left(&by_digest()), Some(30), "nothing can be asked");
    advance(Duration::from_secs(20)).await;
    // Another repository is throttled too, before the pause of the first is over: it is the host.
    memo.keep(&elsewhere("/v2/another/manifests/1"), &slow);
    assert_eq!(left(&elsewhere("/v2/third/manifests/1")), Some(30));
    advance(Duration::from_secs(30)).await;
    assert_eq!(left(&by_digest()), None);
    // When it is over, it is a new one.
    memo.keep(&elsewhere("/v2/another/manifests/1"), &slow);
    assert_eq!(left(&elsewhere("/v2/third/manifests/1")), None);
    // Docker Hub counts by account.
    let hub = |path: &str| Request {
        origin: Origin::new(Scheme::Https, "registry-1.docker.io").unwrap(),
        ..elsewhere(path)
    };
    memo.keep(&hub("/v2/library/a/manifests/1"), &slow);
    assert_eq!(left(&hub("/v2/library/b/manifests/1")), Some(30));
}

#[tokio::test(start_paused = true)]
async fn a_path_that_hangs_keeps_nobody_from_another() {
    let memo = memo();
    memo.keep(&head("manifests/1"), &fault(FaultKind::TimedOut(TimeoutStage::Response)));
    assert!(memo.withheld(&by_digest()).is_some(), "of the same repository");
    let other = Request {
        path: Arc::from("/v2/another/manifests/1"),
        ..by_digest()
    };
    assert!(memo.withheld(&other).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_silent_host_is_not_waited_for_again() {
    let memo = memo();
    memo.keep(&head("manifests/1"), &fault(REFUSED));
    let told = memo.withheld(&by_digest());
    assert!(
        matches!(&told, Some(Answer::Fault(fault)) if fault.what == REFUSED && fault.asked_at == asked(&by_digest())),
        "{told:?}"
    );
    let plain = Request {
        origin: Origin::new(Scheme::Http, "r.example:443").unwrap(),
        ..by_digest()
    };
    let other = Request {
        asker: who("me"),
        ..by_digest()
    };
    let named = Request {
        host_settings: HostSettingsId([1; 16]),
        ..by_digest()
    };
    for unaffected in [plain, other, named] {
        assert!(memo.withheld(&unaffected).is_none(), "{unaffected:?}");
    }
    advance(FAULT_TTL).await;
    assert!(memo.withheld(&by_digest()).is_none());
    // What a host redirects to is not the host; what is answered is no silence.
    let elsewhere = Fault {
        asked_at: AskedAt {
            origin: Origin::new(Scheme::Https, "cdn.example").unwrap(),
            ..asked(&by_digest())
        },
        what: REFUSED,
        detail: None,
    };
    memo.keep(&by_digest(), &Answer::Fault(Arc::new(elsewhere)));
    memo.keep(&by_digest(), &fault(FaultKind::Unreadable));
    assert!(memo.withheld(&head("manifests/1")).is_none());
}

fn manifest() -> Response {
    let config = Descriptor {
        digest: Digest::sha256(b"config").to_string(),
        ..Descriptor::default()
    };
    Response {
        body: Body::Manifest {
            document: Ok(Arc::new(Document {
                config: Some(config),
                ..Document::default()
            })),
            digest: digest(),
            length: 2,
        },
        ..response(200)
    }
}

#[tokio::test(start_paused = true)]
async fn content_is_found_by_all_and_shown_to_each() {
    let memo = memo();
    memo.keep(&by_digest(), &answer(manifest()));
    let mine = Request {
        asker: who("me"),
        ..by_digest()
    };
    assert!(memo.content(&mine, Age::Fresh).is_some());
    assert!(memo.shown(&by_digest(), Age::Fresh).is_some() && memo.shown(&mine, Age::Fresh).is_none());
    for elsewhere in [
        Request {
            path: Arc::from(format!("/v2/b/manifests/{}", digest())),
            ..mine.clone()
        },
        Request {
            host_settings: HostSettingsId([1; 16]),
            ..mine.clone()
        },
    ] {
        assert!(memo.content(&elsewhere, Age::Fresh).is_none(), "{elsewhere:?}");
    }
    // The tag that somebody is told stands for the digest.
    let tag = Request {
        asker: who("me"),
        ..head("manifests/1")
    };
    let told = Response {
        digest: Some(Arc::from(digest().as_str())),
        ..response(200)
    };
    memo.keep(&tag, &answer(told));
    assert!(memo.shown(&mine, Age::Fresh).is_some());
    let by_another_right = Request {
        auth: vec![(mine.origin.clone(), Auth::Basic(mine.asker))],
        ..mine.clone()
    };
    assert!(memo.shown(&by_another_right, Age::Fresh).is_none());
    // And the manifest shows its config.
    let config = Request {
        path: Arc::from(format!("/v2/a/blobs/{}", Digest::sha256(b"config"))),
        ..mine.clone()
    };
    assert!(memo.shown(&config, Age::Fresh).is_none());
    advance(Duration::from_secs(299)).await;
    memo.grant_config(&mine, &answer(manifest()));
    assert!(memo.shown(&config, Age::Fresh).is_some());
    advance(Duration::from_secs(1)).await;
    assert!(memo.shown(&mine, Age::Fresh).is_none());
    assert!(memo.shown(&config, Age::Fresh).is_none(), "no longer than the manifest");
    assert!(memo.shown(&config, Age::Stale).is_some());
    advance(CONTENT).await;
    assert!(memo.content(&mine, Age::Fresh).is_none() && memo.content(&mine, Age::Stale).is_some());
}

#[test]
fn what_is_not_the_content_of_its_digest_is_not_shared() {
    let memo = memo();
    let other = Request {
        want: Want::Manifest {
            by: Some(Digest::sha256(b"other")),
        },
        ..by_digest()
    };
    memo.keep(&other, &answer(manifest()));
    assert!(memo.content(&other, Age::Fresh).is_none());
    let by_tag = request(Method::Get, "manifests/1", Want::Manifest { by: Some(digest()) });
    memo.keep(&by_tag, &answer(manifest()));
    assert!(memo.content(&by_tag, Age::Fresh).is_none());
    assert_eq!(status(memo.recall(&by_tag, Age::Fresh)), Some(200));
}

#[tokio::test(start_paused = true)]
async fn old_good_answers_serve_while_a_registry_is_down() {
    let memo = memo();
    let tag = head("manifests/1");
    let ask = |age| status(memo.recall(&tag, age));
    memo.keep(&tag, &answer(response(200)));
    advance(TAG).await;
    assert_eq!((ask(Age::Fresh), ask(Age::Stale)), (None, Some(200)));
    for down in [answer(response(503)), fault(REFUSED)] {
        memo.keep(&tag, &down);
        assert_ne!(ask(Age::Fresh), Some(200), "{down:?}");
        assert_eq!(ask(Age::Stale), Some(200), "{down:?}");
    }
    memo.keep(&tag, &answer(response(429)));
    assert_eq!((ask(Age::Fresh), ask(Age::Stale)), (Some(429), Some(429)), "it is not down");
    memo.keep(&tag, &fault(REFUSED));
    assert_eq!(ask(Age::Stale), Some(200));
    advance(STALE).await;
    assert_eq!(ask(Age::Stale), None, "too old");
    // One that the registry takes back is forgotten.
    memo.keep(&tag, &answer(response(200)));
    memo.keep(&tag, &answer(response(404)));
    assert_eq!((ask(Age::Fresh), ask(Age::Stale)), (Some(404), Some(404)));
    memo.keep(&tag, &fault(REFUSED));
    assert_eq!(ask(Age::Stale), Some(0));
    // That a host speaks no TLS is good to know when it is down.
    memo.keep(&tag, &fault(FaultKind::Tls(TlsFault::PlainHttp)));
    memo.keep(&tag, &fault(REFUSED));
    let told = memo.recall(&tag, Age::Stale);
    assert!(matches!(told, Some(Answer::Fault(fault)) if fault.what == FaultKind::Tls(TlsFault::PlainHttp)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_leads_on_holds_as_long_as_where_it_leads() {
    let memo = memo();
    let post = request(Method::Post, "token", Want::Nothing);
    memo.keep_as_good(&post, TAG);
    assert!(memo.recall(&post, Age::Fresh).is_none());
    memo.keep(&post, &answer(response(404)));
    memo.keep_as_good(&post, TAG);
    advance(TAG.checked_sub(Duration::from_secs(1)).unwrap()).await;
    assert_eq!(status(memo.recall(&post, Age::Fresh)), Some(404));
    advance(Duration::from_secs(1)).await;
    assert!(memo.recall(&post, Age::Fresh).is_none());
    assert_eq!(status(memo.recall(&post, Age::Stale)), Some(404));
}

#[test]
fn weights_are_bounded() {
    let memo = Memo::new(1 << 20, STALE);
    for n in 0..10_000 {
        memo.keep(&head(&format!("manifests/{n}")), &answer(manifest()));
    }
    let [answers, _] = memo.weights();
    assert!(answers > 1 << 17 && answers <= 1 << 19, "{answers}");
}

/// What each leaves: the digest of its tag, its manifest and its config. With as much of the default budget (`cache.maxBytes`, a hundred
/// thousand of them) as so many may have, less what tokens have of it.
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_references_are_remembered_in_little_memory() {
    const PART: u64 = 10;
    const REFERENCES: u64 = 100_000 / PART;
    let memo = Memo::new((64 << 20) / 5 * 4 / PART, STALE);
    let about = |n: u64, rest: &str, request: Request| Request {
        path: Arc::from(format!("/v2/team/one-of-many-{n}/{rest}?ns=registry.example")),
        ..request
    };
    let (of_manifest, of_config) = (
        |n: u64| Digest::sha256(&n.to_le_bytes()),
        |n: u64| Digest::sha256(&n.to_be_bytes()),
    );
    let all = |n: u64| {
        let tag = about(n, "manifests/v1.2.3", head(""));
        let told = Response {
            asked_at: asked(&tag),
            content_type: Arc::from("application/vnd.oci.image.index.v1+json"),
            length: Some(1000 + n),
            digest: Some(Arc::from(of_manifest(n).as_str())),
            ..response(200)
        };
        let want = Want::Manifest {
            by: Some(of_manifest(n)),
        };
        let get = about(n, &format!("manifests/{}", of_manifest(n)), request(Method::Get, "", want));
        let read = Response {
            body: Body::Manifest {
                document: Ok(Arc::new(Document {
                    config: Some(Descriptor {
                        media_type: "application/vnd.oci.image.config.v1+json".to_owned(),
                        digest: of_config(n).to_string(),
                        size: Some(7023),
                        ..Descriptor::default()
                    }),
                    ..Document::default()
                })),
                digest: of_manifest(n),
                length: 1000 + n,
            },
            asked_at: asked(&get),
            ..told.clone()
        };
        let blob = about(
            n,
            &format!("blobs/{}", of_config(n)),
            request(Method::Get, "", Want::Config { by: of_config(n) }),
        );
        let config = Response {
            body: Body::Config {
                config: Ok(Arc::new(ReadConfig {
                    platform: Platform::parse("linux/amd64").unwrap(),
                    diff_ids: Vec::new(),
                    held: Claim::default(),
                })),
                digest: of_config(n),
                length: 7023,
            },
            asked_at: asked(&blob),
            content_type: Arc::from("application/octet-stream"),
            length: Some(7023),
            digest: None,
            ..told.clone()
        };
        [(tag, told), (get, read), (blob, config)]
    };
    for n in 0..REFERENCES {
        for (request, told) in all(n) {
            memo.keep(&request, &answer(told));
        }
    }
    for n in 0..REFERENCES {
        let [(tag, told), (get, read), (blob, config)] = all(n);
        let Some(Answer::Response(recalled)) = memo.recall(&tag, Age::Fresh) else {
            panic!("{n} is forgotten");
        };
        assert_eq!(*recalled, told);
        assert!(
            memo.shown(&get, Age::Fresh).is_some() && memo.shown(&blob, Age::Fresh).is_some(),
            "{n}"
        );
        assert_eq!(memo.content(&get, Age::Fresh).as_deref(), Some(&read), "{n}");
        assert_eq!(memo.content(&blob, Age::Fresh).as_deref(), Some(&config), "{n}");
    }
    let each = (memo.weights().iter().sum::<u64>() + memo.grants.weight()) / REFERENCES;
    assert!(each < WEIGHS, "{each} bytes");
}

/// In bytes, with the place of each of the five: three answers, and two proofs of who may read them.
const WEIGHS: u64 = 480;

/// Every member says something.
fn of_many_members() -> Response {
    let platform = Platform {
        os_features: vec!["win32k".to_owned(), String::new()],
        os_version: "10.0.20348".to_owned(),
        variant: "v8".to_owned(),
        ..Platform::parse("windows/arm64").unwrap()
    };
    let descriptor = |n: i64| Descriptor {
        media_type: format!("application/x{n}"),
        digest: format!("sha256:{n}"),
        size: Some(-n),
        elsewhere: Some("cdn.example:8443".to_owned()),
        data_decodes: n % 2 == 0,
        platform: Some(platform.clone()),
        zstd: n % 2 == 1,
    };
    Response {
        digest: Some(Arc::from(Digest::sha256(b"another").as_str())),
        length: Some(u64::MAX),
        content_type: Arc::from("x".repeat(1000)),
        body: Body::Manifest {
            document: Ok(Arc::new(Document {
                media_type: String::new(),
                config: Some(descriptor(i64::MAX)),
                // More texts than are kept once for all.
                layers: (0..100).map(descriptor).collect(),
                manifests: vec![descriptor(1 << 40), Descriptor::default()],
                artifact_type: Some(String::new()),
                odd_artifact_type: true,
                odd_subject: false,
                has_config: true,
                has_layers: false,
                has_manifests: true,
                has_fs_layers: false,
                has_signatures: true,
                schema_version: -2,
                members: Members {
                    config: true,
                    fs_layers: false,
                    history: true,
                    layers: false,
                    manifests: true,
                },
                schema1: None,
                held: Claim::default(),
            })),
            digest: digest(),
            length: 1 << 33,
        },
        ..response(200)
    }
}

/// What is kept in few bytes comes back as it was given, whatever it was.
#[tokio::test(start_paused = true)]
async fn answers_come_back_as_they_were() {
    let quota = Some(Quota {
        remaining: 3,
        limit: Some(100),
        window: None,
        counted: Counted::Address,
    });
    let told = [
        Response { quota, ..response(200) },
        Response {
            digest: Some(Arc::from("sha256:no digest")),
            ..response(200)
        },
        Response {
            digest: Some(Arc::from(format!("sha512:{}", "a".repeat(128)))),
            ..response(200)
        },
        Response {
            asked_at: AskedAt {
                path: Arc::from("/elsewhere"),
                ..asked(&head("manifests/1"))
            },
            ..response(404)
        },
        Response {
            encoded: true,
            ..response(200)
        },
        Response {
            as_somebody: true,
            ..response(200)
        },
        Response {
            answered_by: AnsweredBy::Other,
            ..response(403)
        },
        Response {
            challenges: vec![Challenge::Basic],
            ..response(401)
        },
        manifest(),
        of_many_members(),
    ];
    for told in told {
        let memo = memo();
        memo.keep(&head("manifests/1"), &answer(told.clone()));
        let recalled = memo.recall(&head("manifests/1"), Age::Fresh);
        assert!(
            matches!(&recalled, Some(Answer::Response(recalled)) if **recalled == told),
            "{told:?} {recalled:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn content_is_kept_once_and_serves_while_its_registry_is_down() {
    let memo = memo();
    memo.keep(&by_digest(), &fault(REFUSED));
    assert_eq!(status(memo.recall(&by_digest(), Age::Fresh)), Some(0));
    memo.keep(&by_digest(), &answer(manifest()));
    assert!(memo.recall(&by_digest(), Age::Fresh).is_none(), "the fault is over");
    assert_eq!(memo.weights()[0], 0, "content is kept as content");
    let told = Response {
        asked_at: asked(&by_digest()),
        ..manifest()
    };
    memo.keep(&by_digest(), &answer(told.clone()));
    assert_eq!(*memo.content(&by_digest(), Age::Fresh).unwrap(), told);
    advance(DIGEST).await;
    memo.keep(&by_digest(), &answer(response(503)));
    assert_eq!(status(memo.recall(&by_digest(), Age::Fresh)), Some(503));
    assert_eq!(status(memo.recall(&by_digest(), Age::Stale)), Some(200));
    let stranger = Request {
        asker: who("me"),
        ..by_digest()
    };
    memo.keep(&stranger, &answer(response(503)));
    assert_eq!(status(memo.recall(&stranger, Age::Stale)), Some(503), "without a proof");
}
