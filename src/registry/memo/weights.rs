//! What answers take in memory as they are, before they are packed.

use crate::runtime::answer::{Answer, Body, Fault, NotSent, Response};
use std::mem::size_of;
use std::sync::Arc;

/// An answer, in bytes of memory, roughly.
pub(super) fn weight(answer: &Answer) -> usize {
    match answer {
        Answer::Response(response) => weight_of_response(response),
        Answer::Fault(fault) => size_of::<Fault>() + fault.detail.as_ref().map_or(0, |detail| detail.len()),
        Answer::NotSent(_) => size_of::<NotSent>() + 100,
        Answer::Late => 0,
    }
}

pub(super) fn weight_of_response(response: &Response) -> usize {
    let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    let body = match &response.body {
        Body::Manifest {
            document: Ok(document), ..
        } => document.weight(),
        Body::Config { config: Ok(config), .. } => config.weight(),
        Body::Tags(tags) => 100 + tags.closest.iter().map(|tag| 24 + tag.len()).sum::<usize>(),
        Body::ErrorText(error) => text(&error.code) + text(&error.detail),
        Body::Manifest { .. } | Body::Config { .. } => 300,
        Body::Unread | Body::Granted | Body::NoToken { .. } | Body::TooLong(_) => 0,
    };
    size_of::<Response>() + response.asked_at.path.len() + response.content_type.len() + 100 * response.challenges.len() + body
}
