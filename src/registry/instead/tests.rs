use super::*;
use crate::image::Digest;
use crate::runtime::answer::{AnsweredBy, FaultKind, Withheld};
use crate::runtime::challenge::Bearer;
use crate::runtime::content::Document;
use crate::runtime::outcome::{ContentFault, GuardRule};
use crate::runtime::request::{Agent, Auth, HostSettingsId, Origin, Scheme, Who};
use std::collections::HashMap;

/// What is known, as told.
#[derive(Default)]
struct Scripted {
    answers: HashMap<Request, Answer>,
    content: Option<Arc<Response>>,
    shown: bool,
    recent: bool,
    challenge: Option<Answer>,
}

impl Known for Scripted {
    fn answer(&self, request: &Request) -> Option<Answer> {
        self.answers.get(request).cloned()
    }

    fn content(&self, _: &Request) -> Option<Arc<Response>> {
        self.content.clone()
    }

    fn is_shown(&self, _: &Request) -> bool {
        self.shown
    }

    fn is_recent(&self, _: &Request) -> bool {
        self.recent
    }

    fn challenge(&self, _: &Request) -> Option<Answer> {
        self.challenge.clone()
    }
}

const TEXT: &[u8] = b"{}";

fn origin() -> Origin {
    Origin::new(Scheme::Https, "r.example").unwrap()
}

fn request(method: Method, want: Want) -> Request {
    Request {
        asker: Who::default(),
        method,
        origin: origin(),
        path: Arc::from("/v2/a/x"),
        accept: Arc::from("*/*"),
        auth: Vec::new(),
        want,
        host_settings: HostSettingsId::default(),
        agent: Agent::default(),
        retry: Retry::default(),
    }
}

fn manifest() -> Request {
    let by = Some(Digest::sha256(TEXT));
    request(Method::Get, Want::Manifest { by })
}

fn layer(size: i64) -> Request {
    request(Method::Get, Want::Blob { size: Some(size) })
}

fn response(method: Method, status: u16) -> Response {
    Response {
        asked_at: AskedAt {
            method,
            origin: origin(),
            path: Arc::from("/v2/a/x"),
        },
        status,
        as_somebody: false,
        challenges: Vec::new(),
        content_type: Arc::from("m"),
        length: Some(2),
        encoded: false,
        digest: None,
        body: Body::Unread,
        quota: None,
        retry_after: None,
        answered_by: AnsweredBy::Registry,
    }
}

fn head(status: u16) -> Answer {
    Answer::Response(Arc::new(response(Method::Head, status)))
}

fn stored() -> Arc<Response> {
    let body = Body::Manifest {
        document: Ok(Arc::new(Document::default())),
        digest: Digest::sha256(TEXT),
        length: 2,
    };
    Arc::new(Response {
        body,
        ..response(Method::Get, 200)
    })
}

fn fault() -> Answer {
    Answer::Fault(Arc::new(Fault {
        asked_at: response(Method::Head, 0).asked_at,
        what: FaultKind::NameNotResolved,
        detail: None,
    }))
}

fn not_sent() -> Answer {
    Answer::NotSent(Arc::new(NotSent {
        asked_at: response(Method::Head, 0).asked_at,
        why: Withheld::Guard(GuardRule::Redirect),
    }))
}

/// `Send`, `First HEAD`, or the answer: its method and status, or what it is otherwise.
#[track_caller]
fn says(request: &Request, known: &Scripted, first: Option<&Answer>) -> String {
    match instead(request, known, first) {
        Instead::Send => "Send".to_owned(),
        Instead::First(first) => {
            assert_eq!(first.want, Want::Nothing);
            assert_eq!(
                (&first.path, &first.auth, first.retry),
                (&request.path, &request.auth, request.retry)
            );
            format!("First {}", first.method.name())
        }
        Instead::Answer(Answer::Response(response)) => format!("{} {}", response.asked_at.method.name(), response.status),
        Instead::Answer(Answer::Fault(fault)) => format!("{} fault", fault.asked_at.method.name()),
        Instead::Answer(Answer::NotSent(not_sent)) => format!("{} not sent", not_sent.asked_at.method.name()),
        Instead::Answer(Answer::Late) => "late".to_owned(),
    }
}

#[test]
fn what_is_sent_as_it_is() {
    let known = Scripted {
        content: Some(stored()),
        shown: true,
        ..Scripted::default()
    };
    let tags = Want::Tags { near: Arc::from("1") };
    for request in [
        request(Method::Head, Want::Nothing),
        request(Method::Get, Want::Manifest { by: None }),
        request(Method::Get, tags),
        request(Method::Get, Want::ErrorText),
    ] {
        assert_eq!(says(&request, &known, None), "Send", "{request:?}");
    }
    assert_eq!(says(&manifest(), &Scripted::default(), None), "Send");
}

#[test]
fn layers_are_asked_for_by_head_and_refused_by_get_only() {
    let known = Scripted::default();
    assert_eq!(says(&layer(2), &known, None), "First HEAD");
    for (first, expected) in [
        (head(200), "GET 200"),
        (head(206), "GET 206"),
        (head(429), "GET 429"),
        (fault(), "GET fault"),
        (not_sent(), "GET not sent"),
        (Answer::Late, "late"),
        (head(401), "Send"),
        (head(403), "Send"),
        (head(404), "Send"),
        (head(405), "Send"),
        (head(500), "Send"),
        (head(302), "Send"),
    ] {
        assert_eq!(says(&layer(2), &known, Some(&first)), expected, "{first:?}");
    }
}

#[test]
fn only_get_proves_another_length() {
    let known = Scripted::default();
    assert_eq!(says(&layer(3), &known, Some(&head(200))), "Send");
    let any = request(Method::Get, Want::Blob { size: None });
    assert_eq!(says(&any, &known, Some(&head(200))), "GET 200");
    for tells_nothing in [
        Response {
            length: None,
            ..response(Method::Head, 200)
        },
        Response {
            encoded: true,
            ..response(Method::Head, 200)
        },
    ] {
        let first = Answer::Response(Arc::new(tells_nothing));
        assert_eq!(says(&layer(3), &known, Some(&first)), "GET 200");
    }
}

#[test]
fn a_question_who_asks_is_answered_by_the_runtime() {
    let known = Scripted::default();
    let asks = |challenge| {
        Answer::Response(Arc::new(Response {
            challenges: vec![challenge],
            ..response(Method::Head, 401)
        }))
    };
    let bearer = |realm: Option<&str>| {
        asks(Challenge::Bearer(Bearer {
            realm: realm.map(str::to_owned),
            ..Bearer::default()
        }))
    };
    assert_eq!(says(&layer(2), &known, Some(&bearer(Some("https://t")))), "GET 401");
    assert_eq!(says(&layer(2), &known, Some(&asks(Challenge::Basic))), "GET 401");
    assert_eq!(says(&layer(2), &known, Some(&bearer(None))), "Send");
    assert_eq!(says(&layer(2), &known, Some(&asks(Challenge::Other))), "Send");
    let with = Request {
        auth: vec![(origin(), Auth::Basic(Who::default()))],
        ..layer(2)
    };
    assert_eq!(
        says(&with, &known, Some(&asks(Challenge::Basic))),
        "Send",
        "a refusal takes a GET"
    );
    let elsewhere = Request {
        auth: vec![(Origin::new(Scheme::Https, "s.example").unwrap(), Auth::Basic(Who::default()))],
        ..layer(2)
    };
    assert_eq!(says(&elsewhere, &known, Some(&asks(Challenge::Basic))), "GET 401");
}

#[test]
fn content_is_shared_after_a_proof() {
    let mut known = Scripted {
        content: Some(stored()),
        shown: true,
        ..Scripted::default()
    };
    assert_eq!(says(&manifest(), &known, None), "GET 200", "it was shown the digest");
    known.shown = false;
    assert_eq!(says(&manifest(), &known, None), "First HEAD");
    let told = |digest: Option<&str>, length| {
        Answer::Response(Arc::new(Response {
            digest: digest.map(Arc::from),
            length,
            ..response(Method::Head, 200)
        }))
    };
    let (own, other) = (Digest::sha256(TEXT).to_string(), Digest::sha256(b"x").to_string());
    for (first, expected) in [
        (told(None, None), "GET 200"),
        (told(Some(&own), Some(2)), "GET 200"),
        (told(Some(&other), Some(2)), "Send"),
        (told(Some(&own), Some(3)), "Send"),
        (head(404), "Send"),
        (head(403), "Send"),
        (head(503), "Send"),
        (head(429), "GET 429"),
        (fault(), "GET fault"),
    ] {
        assert_eq!(says(&manifest(), &known, Some(&first)), expected, "{first:?}");
    }
    let config = request(
        Method::Get,
        Want::Config {
            by: Digest::sha256(TEXT),
        },
    );
    let body = Body::Config {
        config: Err(ContentFault::ConfigNotJson(String::new())),
        digest: Digest::sha256(TEXT),
        length: 2,
    };
    known.content = Some(Arc::new(Response {
        body,
        ..response(Method::Get, 200)
    }));
    assert_eq!(says(&config, &known, Some(&head(200))), "GET 200");
    // Found by the simulation (seed 1000264): a config that had been cleaned up since was not asked for.
    known.shown = true;
    assert_eq!(says(&config, &known, None), "First HEAD");
    assert_eq!(says(&config, &known, Some(&head(404))), "Send");
    known.recent = true;
    assert_eq!(says(&config, &known, None), "GET 200");
}

#[test]
fn what_a_runtime_repeats_is_answered_once() {
    let again = |nth, after| Request {
        retry: Retry { nth, after },
        ..request(Method::Head, Want::Nothing)
    };
    let pause = Duration::from_millis(50);
    for (answer, expected, after_a_pause) in [
        (head(401), "HEAD 401", "HEAD 401"),
        (head(408), "HEAD 408", "HEAD 408"),
        (head(429), "HEAD 429", "HEAD 429"),
        (fault(), "HEAD fault", "HEAD fault"),
        (not_sent(), "HEAD not sent", "HEAD not sent"),
        (head(500), "Send", "Send"),
        (head(503), "Send", "Send"),
        (head(403), "Send", "Send"),
        (head(404), "HEAD 404", "Send"),
        (head(200), "HEAD 200", "Send"),
    ] {
        let known = Scripted {
            answers: HashMap::from([(again(0, Duration::ZERO), answer.clone())]),
            ..Scripted::default()
        };
        assert_eq!(says(&again(1, Duration::ZERO), &known, None), expected, "{answer:?}");
        assert_eq!(says(&again(1, pause), &known, None), after_a_pause, "{answer:?}");
        assert_eq!(says(&again(0, Duration::ZERO), &known, None), "Send");
        assert_eq!(
            says(&again(2, Duration::ZERO), &known, None),
            expected,
            "by the latest before"
        );
    }
}

#[test]
fn who_was_just_asked_for_authorisation_is_not_asked_again() {
    let known = Scripted {
        challenge: Some(Answer::Late),
        ..Scripted::default()
    };
    assert!(matches!(instead(&manifest(), &known, None), Instead::Answer(Answer::Late)));
    let head = Request {
        method: Method::Head,
        ..manifest()
    };
    assert!(matches!(instead(&head, &known, None), Instead::Send));
    let with = Request {
        auth: vec![(origin(), Auth::Basic(Who::default()))],
        ..manifest()
    };
    assert!(matches!(instead(&with, &known, None), Instead::Send));
}

#[test]
fn a_challenge_that_is_remembered_makes_no_page_a_registrys_answer() {
    let page = Answer::Response(Arc::new(Response {
        answered_by: AnsweredBy::Other,
        ..response(Method::Head, 403)
    }));
    let got = |status| {
        Answer::Response(Arc::new(Response {
            answered_by: AnsweredBy::Registry,
            ..response(Method::Get, status)
        }))
    };
    let who = |answer: &Answer| match answer {
        Answer::Response(response) => Some(response.answered_by),
        _ => None,
    };
    for (status, expected) in [
        (200, AnsweredBy::Registry),
        (403, AnsweredBy::Registry),
        (404, AnsweredBy::Registry),
        (401, AnsweredBy::Other),
    ] {
        assert_eq!(who(&shown_by(&page, &got(status))), Some(expected), "{status}");
    }
}
