//! The requests and answers of a pull, for people and for programs. Credentials appear by name only.

use crate::engine::{Conversation, Transcript};
use crate::image::escape;
use crate::runtime::answer::{Answer, Body, FaultKind, Response, Withheld};
use crate::runtime::challenge::Challenge;
use crate::runtime::kubelet::{Attempt, PodPull};
use crate::runtime::outcome::{ConnectionFault, TimeoutStage};
use crate::runtime::request::{Auth, Request, Want, Who};
use crate::runtime::{self, Pool};
use crate::verdict::ways::title;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// One pull, by all kinds of nodes.
#[derive(Debug, Serialize)]
pub(super) struct Pulled {
    reference: String,
    /// In the order in which the kubelet tries them; empty: anonymous.
    credentials: Vec<Offered>,
    runtimes: Vec<ByRuntime>,
}

/// A credential by name.
#[derive(Debug, Serialize)]
struct Offered {
    source: String,
    /// What it has: `user`, `password`, `identity token`.
    has: Vec<&'static str>,
}

/// What nodes of one kind ask.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ByRuntime {
    runtime: String,
    pool: Option<String>,
    platforms: Vec<String>,
    requests: Vec<Exchanged>,
    attempts: Vec<Tried>,
}

/// A request and its answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Exchanged {
    method: &'static str,
    url: String,
    /// What is sent along: `nothing`, `user name and password of Secret x`, `a token for Secret x`.
    sends: String,
    answer: Said,
}

/// An answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    status: Option<u16>,
    /// Where the answer came from, where redirects led elsewhere.
    from: Option<String>,
    content_type: Option<String>,
    digest: Option<String>,
    length: Option<u64>,
    /// How it asks to be let in: `Bearer of https://auth.example/token`, `Basic`.
    challenges: Vec<String>,
    /// The registry's code.
    code: Option<String>,
    /// Its words, or why there is no answer.
    detail: Option<String>,
}

/// One attempt of the kubelet.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Tried {
    /// The credential it used; `null`: anonymous.
    credential: Option<String>,
    /// The digest that it ended with.
    digest: Option<String>,
    /// Why it failed: the registry's words, or the transport's.
    failure: Option<String>,
}

impl Pulled {
    pub(super) fn of(transcript: &Transcript, pools: &[String]) -> Self {
        let pod = &transcript.pod;
        let offered = pod.offers.iter().map(|offer| Offered {
            source: source(offer),
            has: [
                (offer.who.user, "user"),
                (offer.who.password, "password"),
                (offer.who.identity_token, "identity token"),
            ]
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect(),
        });
        let mut runtimes: Vec<ByRuntime> = Vec::new();
        for one in transcript.conversations() {
            let one = by_runtime(&one, pod, pools);
            // Versions that ask the same are listed once.
            if !runtimes.contains(&one) {
                runtimes.push(one);
            }
        }
        Self {
            reference: pod.reference.to_string(),
            credentials: offered.collect(),
            runtimes,
        }
    }
}

fn by_runtime(conversation: &Conversation, pod: &PodPull, pools: &[String]) -> ByRuntime {
    let setup = conversation.setup;
    let pullers = pod.pullers.iter().filter(|puller| puller.setup() == setup);
    let platforms: BTreeSet<String> = pullers.map(|puller| puller.platform.to_string()).collect();
    ByRuntime {
        runtime: title(setup.runtime),
        pool: pool(setup.pool, pools),
        platforms: platforms.into_iter().collect(),
        requests: conversation
            .exchanged
            .iter()
            .map(|(request, answer)| exchanged(request, answer, pod))
            .collect(),
        attempts: conversation.attempts.attempts.iter().map(tried).collect(),
    }
}

fn source(offer: &runtime::kubelet::OfferedCredential) -> String {
    offer.source.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string)
}

fn pool(pool: Pool, pools: &[String]) -> Option<String> {
    let at = usize::from(pool.0).checked_sub(1)?;
    pools.get(at).cloned()
}

fn tried(attempt: &Attempt) -> Tried {
    let credential = attempt.source.as_ref().map(ToString::to_string);
    match &attempt.result {
        Ok(facts) => Tried {
            credential,
            digest: Some(facts.digest.as_str().to_owned()),
            failure: None,
        },
        Err(failure) => {
            let status = failure.status.map(|status| status.to_string());
            let words = [status, failure.code.clone(), failure.detail.clone()];
            let words: Vec<String> = words.into_iter().flatten().collect();
            Tried {
                credential,
                digest: None,
                failure: Some(
                    if failure.status.is_some_and(|status| status < 300) && failure.detail.is_none() {
                        format!("its answer is unusable ({})", words.join(" "))
                    } else if words.is_empty() {
                        "no answer".to_owned()
                    } else {
                        words.join(" ")
                    },
                ),
            }
        }
    }
}

/// Whose credential it is, by name.
fn name(who: Who, pod: &PodPull) -> String {
    let offer = pod.offers.iter().find(|offer| offer.who.id == who.id);
    match (who.id, offer) {
        (None, _) => "nobody".to_owned(),
        (Some(_), Some(offer)) => source(offer),
        (Some(_), None) => "the node's own settings".to_owned(),
    }
}

fn exchanged(request: &Request, answer: &Answer, pod: &PodPull) -> Exchanged {
    let sent: Vec<String> = request
        .auth
        .iter()
        .map(|(_, auth)| match auth {
            Auth::Basic(who) => format!("user name and password of {}", name(*who, pod)),
            Auth::Bearer(token) if token.is_anonymous() => "an anonymous token".to_owned(),
            Auth::Bearer(token) => format!("a token for {}", name(token.who, pod)),
        })
        .collect();
    let sends = match (&request.want, sent.is_empty()) {
        (Want::Token(token), true) if !token.is_anonymous() => format!("the credential of {}", name(token.who, pod)),
        (_, true) => "nothing".to_owned(),
        (_, false) => sent.join(", "),
    };
    Exchanged {
        method: request.method.name(),
        url: url(request, answer),
        sends,
        answer: said(request, answer),
    }
}

/// The URL of a request. Its query is shown only as far as the answer's address shows it.
fn url(request: &Request, answer: &Answer) -> String {
    let at = match answer {
        Answer::Response(response) => Some(&response.asked_at),
        Answer::Fault(fault) => Some(&fault.asked_at),
        Answer::NotSent(not_sent) => Some(&not_sent.asked_at),
        Answer::Late => None,
    };
    let path = request.path.split('?').next().unwrap_or_default();
    match at {
        Some(at) if at.origin == request.origin && at.path.split('?').next() == Some(path) => format!("{}{}", at.origin, at.path),
        Some(_) | None => format!("{}{path}", request.origin),
    }
}

fn said(request: &Request, answer: &Answer) -> Said {
    let none = Said {
        status: None,
        from: None,
        content_type: None,
        digest: None,
        length: None,
        challenges: Vec::new(),
        code: None,
        detail: None,
    };
    match answer {
        Answer::Response(response) => response_said(request, response),
        Answer::Fault(fault) => Said {
            detail: Some(match &fault.detail {
                Some(detail) => format!("{}: {detail}", fault_clause(fault.what)),
                None => fault_clause(fault.what).to_owned(),
            }),
            ..none
        },
        Answer::NotSent(not_sent) => Said {
            detail: Some(match &not_sent.why {
                Withheld::Guard(_) => "not sent: a rule of pullgate forbids this address or redirect".to_owned(),
                Withheld::Throttled { left, .. } => format!("not sent: the registry throttles for {} s more", left.as_secs()),
                Withheld::Unusable(why) => format!("not sent: {why}"),
            }),
            ..none
        },
        Answer::Late => Said {
            detail: Some("no answer in time".to_owned()),
            ..none
        },
    }
}

fn response_said(request: &Request, response: &Response) -> Said {
    let error = response.error_text();
    let challenges = response.challenges.iter().map(|challenge| match challenge {
        Challenge::Bearer(bearer) => {
            let realm = bearer.realm.as_deref().unwrap_or("no realm");
            // A query may contain anything, even a secret.
            format!("Bearer of {}", escape(realm.split(['?', '#']).next().unwrap_or_default()))
        }
        Challenge::Basic => "Basic".to_owned(),
        Challenge::Other => "another scheme".to_owned(),
    });
    let text = |text: &str| Some(escape(text)).filter(|text| !text.is_empty());
    let (digest, what) = match &response.body {
        Body::Manifest { digest, .. } | Body::Config { digest, .. } => (Some(digest.as_str().to_owned()), None),
        Body::Granted => (None, Some("a token".to_owned())),
        Body::NoToken { .. } => (None, Some("no token".to_owned())),
        Body::Tags(tags) => (None, Some(format!("tags, closest: {}", tags.closest.join(", ")))),
        Body::TooLong(read) => (None, Some(format!("longer than {read} bytes"))),
        Body::Unread | Body::ErrorText(_) => (None, None),
    };
    Said {
        status: Some(response.status),
        from: (response.asked_at.origin != request.origin).then(|| response.asked_at.origin.to_string()),
        content_type: text(&response.content_type),
        digest: digest.or_else(|| response.digest.as_deref().and_then(text)),
        length: response.length,
        challenges: if response.status == 401 {
            challenges.collect()
        } else {
            Vec::new()
        },
        code: error.code.as_deref().and_then(text),
        detail: error.detail.as_deref().and_then(text).or(what),
    }
}

fn fault_clause(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::NameNotResolved => "the name does not resolve",
        FaultKind::Connection(ConnectionFault::Refused) => "the connection was refused",
        FaultKind::Connection(ConnectionFault::Interrupted) => "the connection was interrupted",
        FaultKind::Connection(ConnectionFault::Unreachable) => "the host cannot be reached",
        FaultKind::TimedOut(TimeoutStage::Connect) => "connecting took too long",
        FaultKind::TimedOut(TimeoutStage::Handshake) => "the TLS handshake took too long",
        FaultKind::TimedOut(TimeoutStage::Response | TimeoutStage::Deadline) => "no answer in time",
        FaultKind::Tls(_) => "TLS failed",
        FaultKind::Unreadable => "the answer is compressed, and cannot be read",
        FaultKind::RedirectLoop => "too many redirects",
        FaultKind::Internal => "the look-up died",
    }
}

/// All of it as text.
pub(super) fn text(image: &str, reference: Option<&str>, pulls: &[Pulled]) -> String {
    let mut out = String::new();
    let image = escape(image);
    match reference.filter(|reference| *reference != image) {
        Some(reference) => _ = writeln!(out, "{image} is {}", escape(reference)),
        None => _ = writeln!(out, "{image}"),
    }
    if pulls.is_empty() {
        out.push_str("no registry is asked\n");
    }
    for pull in pulls {
        one(&mut out, pull);
    }
    out.push('\n');
    out
}

fn one(out: &mut String, pull: &Pulled) {
    let _ = writeln!(out, "\npull of {}", escape(&pull.reference));
    let _ = writeln!(out, "  credentials, in the order in which the kubelet tries them:");
    if pull.credentials.is_empty() {
        let _ = writeln!(out, "    nobody's");
    }
    for (at, offer) in pull.credentials.iter().enumerate() {
        let has = match offer.has.join(", ") {
            nothing if nothing.is_empty() => nothing,
            has => format!(" ({has})"),
        };
        let _ = writeln!(out, "    {}. {}{has}", at + 1, escape(&offer.source));
    }
    for by in &pull.runtimes {
        let pool = by
            .pool
            .as_ref()
            .map_or_else(String::new, |pool| format!(" of pool {}", escape(pool)));
        let on = if by.platforms.is_empty() {
            String::new()
        } else {
            format!(" on {}", by.platforms.join(", "))
        };
        let _ = writeln!(out, "  {}{pool}{on}:", by.runtime);
        for exchanged in &by.requests {
            let _ = writeln!(
                out,
                "    {} {}, with {}",
                exchanged.method,
                escape(&exchanged.url),
                escape(&exchanged.sends)
            );
            let _ = writeln!(out, "      {}", answered(&exchanged.answer));
        }
        for tried in &by.attempts {
            let with = tried.credential.as_deref().unwrap_or("nobody's credential");
            let end = match (&tried.digest, &tried.failure) {
                (Some(digest), _) => format!("pulls {digest}"),
                (None, Some(failure)) => format!("fails: {}", escape(failure)),
                (None, None) => "fails".to_owned(),
            };
            let _ = writeln!(out, "    with {}: {end}", escape(with));
        }
    }
}

/// `200 application/vnd.oci.image.index.v1+json sha256:… 1234 bytes`
fn answered(said: &Said) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(said.status.map(|status| status.to_string()));
    parts.extend(said.from.as_ref().map(|from| format!("from {from}")));
    parts.extend(said.content_type.clone());
    parts.extend(said.digest.clone());
    parts.extend(said.length.map(|length| format!("{length} bytes")));
    parts.extend(said.challenges.iter().cloned());
    parts.extend(said.code.clone());
    parts.extend(said.detail.clone());
    parts.join(", ")
}
