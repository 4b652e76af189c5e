//! Extra questions after a failed pull, so that the message can say more: the registry's own words, whether the repository exists, which
//! tags are close. The answers can improve the message and soften the outlook; they never harden it.

use crate::ask::{Ask, Missing};
use crate::image::{Reference, Target};
use crate::runtime::answer::{Answer, AnsweredBy, Body, Response};
use crate::runtime::outcome::{Evidence, Failure, Rejection};
use crate::runtime::request::{Method, Request, Retry, Want};
use std::sync::Arc;

/// The registry's code for a repository that it does not know.
const NAME_UNKNOWN: &str = "NAME_UNKNOWN";

/// A failure to find an image, with everything that a message can say about it.
pub fn explain(reference: &Reference, failure: &Failure, ask: &mut Ask<'_, Request>) -> Result<Failure, Missing> {
    let (Some(asked), Some(status)) = (&failure.request_for_reason, failure.status) else {
        return Ok(failure.clone());
    };
    let refused = (400..500).contains(&status) && !matches!(status, 408 | 429);
    if !refused {
        return Ok(failure.clone());
    }
    // A GET has brought the registry's error text.
    let by_head = asked.method == Method::Head;
    let tag = match reference.target() {
        Target::Tag(tag) if status == 404 => Some(tag),
        Target::Tag(_) | Target::Digest(_) => None,
    };
    let list = tag.as_deref().and_then(|tag| tags(asked, tag));
    let questions = by_head.then(|| error_by_get(asked)).into_iter().chain(list);
    let answers = ask.each(questions, Ask::get)?;
    let answers: Vec<Option<Arc<Response>>> = answers
        .into_iter()
        .map(|answer| match answer {
            Answer::Response(response) => Some(response),
            Answer::Fault(_) | Answer::NotSent(_) | Answer::Late => None,
        })
        .collect();
    let mut answers = answers.into_iter();
    let got = if by_head { answers.next().flatten() } else { None };
    if got
        .as_ref()
        .is_some_and(|got| got.is_success() && got.answered_by == AnsweredBy::Registry)
    {
        let mut told = failure.clone();
        match &told.evidence {
            Evidence::TagUnknown { .. } | Evidence::DigestUnknown => told.evidence = Evidence::Rejected(Rejection::HeadOnly),
            _ => told.detail = told.detail.or_else(|| Some("only to HEAD; GET succeeds".to_owned())),
        }
        return Ok(told);
    }
    let said = got.filter(|said| said.status == status);
    let list = answers.next().flatten();
    Ok(told(failure, said.as_deref(), list.as_deref()))
}

/// A refused HEAD, and the same question by GET: its body says why.
fn error_by_get(asked: &Request) -> Request {
    Request {
        method: Method::Get,
        want: Want::ErrorText,
        retry: Retry::default(),
        ..asked.clone()
    }
}

/// The tags of the repository.
fn tags(asked: &Request, tag: &str) -> Option<Request> {
    let (path, query) = match asked.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*asked.path, None),
    };
    let repository = path.strip_suffix(&format!("/manifests/{tag}"))?;
    let query = query.map_or_else(String::new, |query| format!("&{query}"));
    Some(Request {
        method: Method::Get,
        path: Arc::from(format!("{repository}/tags/list?n=1000{query}")),
        accept: Arc::from("application/json"),
        want: Want::Tags { near: Arc::from(tag) },
        retry: Retry::default(),
        ..asked.clone()
    })
}

fn told(failure: &Failure, said: Option<&Response>, list: Option<&Response>) -> Failure {
    let mut told = failure.clone();
    if let Some(error) = said.map(Response::error_text) {
        told.code = told.code.or(error.code.as_deref().map(str::to_owned));
        told.detail = told.detail.or(error.detail.as_deref().map(str::to_owned));
        if let Evidence::Forbidden { address_bound, .. } = &mut told.evidence {
            *address_bound |= error.about_address;
        }
    }
    if !matches!(told.evidence, Evidence::TagUnknown { .. } | Evidence::DigestUnknown) {
        return told;
    }
    if told.code.as_deref() == Some(NAME_UNKNOWN) {
        told.evidence = Evidence::RepositoryUnknown;
        return told;
    }
    let Some(list) = list else { return told };
    let error = list.error_text();
    if list.status == 404 && error.code.as_deref() == Some(NAME_UNKNOWN) {
        told.evidence = Evidence::RepositoryUnknown;
        told.code = error.code.as_deref().map(str::to_owned);
        told.detail = error.detail.as_deref().map(str::to_owned).or(told.detail);
    } else if let Body::Tags(tags) = &list.body
        && tags.has_it
    {
        told.evidence = Evidence::TagWithoutManifest;
    } else if let Body::Tags(tags) = &list.body {
        told.evidence = Evidence::TagUnknown {
            repository_exists: tags.any,
        };
        told.suggestions.clone_from(&tags.closest);
    }
    told
}
