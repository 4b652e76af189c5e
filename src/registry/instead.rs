//! What we send instead of what a runtime would send. The runtime modules ask exactly as runtimes do; sparing the registry is our own rule,
//! and only this file applies it. Pure.
//!
//! Invariant: with it a verdict is the same as without, or unknown. A refusal counts only if it answers the request that a runtime sends.
//! Of the answers to a HEAD sent in its place, only success counts, and whatever proves nothing either way (429, no answer).
//!
//! - Content that is requested without authorisation, right after the repository asked the same caller for it: nothing; it would ask again.
//! - A layer: HEAD; if that fails, or reports another length, GET decides. Its body is not read.
//! - Content by digest that pullgate has already read: nothing, if this asker was shown the digest within the last minutes with the same
//!   credential; otherwise HEAD, to prove that the asker may read it. A config that nobody has read for minutes: HEAD, since it may be gone.
//! - A request that a runtime sends again after 401, 408, 429 or no answer: nothing; the first answer holds. (The 401 was answered by a
//!   fresh token or by user name and password: the wire sees to it. A GET is sent once more: a caller that HEAD let in may be let in
//!   again.)
//! - A request that succeeded or got a 404, and is repeated without a pause (as CRI-O does to look for an artifact): nothing.
//! - A HEAD whose refusal does not show that a registry sent it: then the same GET, whose body may show it ([`beyond`]).
//!
//! CRI-O's GET by tag is sent as it is, although Docker Hub counts it as a pull: registries differ in how they treat HEAD and GET (rights,
//! rate limits, what a proxy fetches), and CRI-O never sends a HEAD that could be judged in its place.

use crate::runtime::answer::{Answer, AnsweredBy, AskedAt, Body, Fault, NotSent, Response};
use crate::runtime::challenge::Challenge;
use crate::runtime::request::{Method, Request, Retry, Want};
use std::sync::Arc;
use std::time::Duration;

/// What the wire knows.
pub(super) trait Known {
    /// The answer to a request, if it holds.
    fn answer(&self, request: &Request) -> Option<Answer>;
    /// The answer that brought the content of this digest, whoever asked.
    fn content(&self, request: &Request) -> Option<Arc<Response>>;
    /// What the repository of a request asked of this asker when it came without authorisation.
    fn challenge(&self, request: &Request) -> Option<Answer>;
    /// Whether this asker, with the same authorization, has just been given this content, or been told its digest.
    fn is_shown(&self, request: &Request) -> bool;
    /// Whether the content of this digest was read lately, whoever asked for it: a clean-up may have removed it since.
    fn is_recent(&self, request: &Request) -> bool;
}

/// What to do about a request.
#[derive(Debug, Clone)]
pub(super) enum Instead {
    /// Nothing is sent: this is the answer.
    Answer(Answer),
    /// This one is sent first.
    First(Box<Request>),
    /// It is sent.
    Send,
}

/// Decides about `request`; `first` is the answer to the request that was sent first.
pub(super) fn instead(request: &Request, known: &dyn Known, first: Option<&Answer>) -> Instead {
    if let Some(answer) = before(request).find_map(|before| known.answer(&before))
        && ends_the_same(request, &answer)
    {
        return Instead::Answer(answer);
    }
    if request.method != Method::Get {
        return Instead::Send;
    }
    if request.auth.is_empty()
        && request.retry.nth == 0
        && let Some(challenge) = known.challenge(request)
    {
        return Instead::Answer(challenge);
    }
    let stored = match &request.want {
        Want::Blob { .. } => None,
        Want::Manifest { by: Some(_) } | Want::Config { .. } => match known.content(request) {
            // A manifest shows that its config may be read, and not that the registry still has it.
            Some(stored) if known.is_shown(request) && (is_manifest(request) || known.is_recent(request)) => {
                return Instead::Answer(Answer::Response(stored));
            }
            Some(stored) => Some(stored),
            None => return Instead::Send,
        },
        Want::Nothing | Want::Manifest { by: None } | Want::Token(_) | Want::Tags { .. } | Want::ErrorText => return Instead::Send,
    };
    let Some(answer) = first else {
        return Instead::First(Box::new(Request {
            method: Method::Head,
            want: Want::Nothing,
            ..request.clone()
        }));
    };
    match answer {
        Answer::Response(head) if head.is_success() && !head.is_of_no_registry() => match stored {
            Some(stored) if is_of(head, &stored) => Instead::Answer(Answer::Response(stored)),
            None if is_as_long(head, &request.want) => Instead::Answer(as_get(answer)),
            Some(_) | None => Instead::Send,
        },
        Answer::Response(head) if head.status == 429 || asks_who(request, head) => Instead::Answer(as_get(answer)),
        Answer::Response(_) => Instead::Send,
        Answer::Fault(_) | Answer::NotSent(_) | Answer::Late => Instead::Answer(as_get(answer)),
    }
}

/// What is sent beyond what a runtime sends, so that a refusal can be believed: a HEAD has no body, and where its headers do not show that a
/// registry gave it, the body of the same GET may.
pub(super) fn beyond(request: &Request, answer: &Answer) -> Option<Request> {
    let Answer::Response(response) = answer else {
        return None;
    };
    let refused = (400..500).contains(&response.status) && response.is_of_no_registry();
    // If a HEAD replaces the GET of a part, that GET decides (above).
    let decides = request.method == Method::Head && request.accept.contains("manifest");
    (refused && decides).then(|| Request {
        method: Method::Get,
        want: Want::ErrorText,
        retry: Retry::default(),
        ..request.clone()
    })
}

/// The answer to a HEAD, with what the same GET shows: a registry that has it after all shows itself too.
pub(super) fn shown_by(answer: &Answer, got: &Answer) -> Answer {
    match (answer, got) {
        // A 401 asks who it is, and may be one that is remembered: it says nothing of the refusal.
        (Answer::Response(head), Answer::Response(got)) if got.answered_by == AnsweredBy::Registry && got.status != 401 => {
            Answer::Response(Arc::new(Response {
                answered_by: AnsweredBy::Registry,
                ..Response::clone(head)
            }))
        }
        _ => answer.clone(),
    }
}

/// The same request, as it was sent before, the latest first.
fn before(request: &Request) -> impl Iterator<Item = Request> {
    (0..request.retry.nth).rev().map(|nth| Request {
        retry: Retry {
            nth,
            after: Duration::ZERO,
        },
        ..request.clone()
    })
}

/// Whether asking again soon would be answered the same, or prove nothing.
fn ends_the_same(request: &Request, answer: &Answer) -> bool {
    // Whoever was admitted to find the image may be admitted to fetch it, if we ask once more.
    let fetches_again = request.method == Method::Get && request.retry.nth == 1;
    match answer {
        Answer::Response(response) if response.status == 401 => !fetches_again,
        Answer::Response(response) if response.is_success() || response.status == 404 => request.retry.after.is_zero(),
        Answer::Response(response) => matches!(response.status, 408 | 429),
        Answer::Fault(_) | Answer::NotSent(_) | Answer::Late => true,
    }
}

/// Whether a 401 is but a question: what it asks for was not sent.
pub(super) fn asks_who(request: &Request, response: &Response) -> bool {
    let usable = |challenge: &Challenge| match challenge {
        Challenge::Bearer(bearer) => bearer.realm.is_some(),
        Challenge::Basic => true,
        Challenge::Other => false,
    };
    let sent = request.auth.iter().any(|(origin, _)| *origin == response.asked_at.origin);
    response.status == 401 && !sent && response.challenges.iter().any(usable)
}

fn is_manifest(request: &Request) -> bool {
    matches!(request.want, Want::Manifest { .. })
}

/// Whether a HEAD describes the content that is stored.
fn is_of(head: &Response, stored: &Response) -> bool {
    let (digest, length) = match &stored.body {
        Body::Manifest { digest, length, .. } | Body::Config { digest, length, .. } => (digest, *length),
        _ => return false,
    };
    let same_length = head.encoded || head.length.is_none_or(|says| says == length);
    let same_digest = head.digest.as_deref().is_none_or(|says| says == digest.as_str());
    same_length && same_digest
}

/// Whether a HEAD finds a blob as long as it should be. Only GET proves another length.
fn is_as_long(head: &Response, want: &Want) -> bool {
    let Want::Blob { size: Some(size) } = want else {
        return true;
    };
    head.encoded || head.length.is_none_or(|says| i64::try_from(says) == Ok(*size))
}

/// The answer to a HEAD as one to GET: that is what a node would have sent.
fn as_get(answer: &Answer) -> Answer {
    let at = |at: &AskedAt| AskedAt {
        method: Method::Get,
        ..at.clone()
    };
    match answer {
        Answer::Response(response) => Answer::Response(Arc::new(Response {
            asked_at: at(&response.asked_at),
            ..Response::clone(response)
        })),
        Answer::Fault(fault) => Answer::Fault(Arc::new(Fault {
            asked_at: at(&fault.asked_at),
            ..Fault::clone(fault)
        })),
        Answer::NotSent(not_sent) => Answer::NotSent(Arc::new(NotSent {
            asked_at: at(&not_sent.asked_at),
            ..NotSent::clone(not_sent)
        })),
        Answer::Late => Answer::Late,
    }
}

#[cfg(test)]
mod tests;
