//! An answer as it is remembered: of most only what makes them differ, a digest and a length. The request that asks again says the rest.

use super::{QUOTA, asked};
use crate::image::Digest;
use crate::registry::bounded::Weighs;
use crate::runtime::answer::{Answer, AnsweredBy, Body, Fault, NotSent, Response};
use crate::runtime::content::{Document, ReadConfig};
use crate::runtime::outcome::Quota;
use crate::runtime::request::Request;
use std::mem::size_of;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many content types are kept once for all; registries have a dozen.
const TYPES: usize = 64;

/// Content types, each kept once.
#[derive(Default)]
pub(super) struct Types(Mutex<Vec<Arc<str>>>);

impl Types {
    fn one(&self, text: &Arc<str>) -> Arc<str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().find(|known| *known == text) {
            return Arc::clone(same);
        }
        if known.len() < TYPES {
            known.push(Arc::clone(text));
        }
        Arc::clone(text)
    }
}

/// What was answered last, and the last good answer.
pub(super) struct Kept {
    latest: Packed,
    given: Instant,
    pub(super) fresh_until: Instant,
    good: Good,
}

/// The last good answer; it serves while the registry is down, and is forgotten once that says otherwise.
enum Good {
    None,
    Latest,
    /// And when it was given.
    Before(Box<(Packed, Instant)>),
}

/// An answer, in fewer bytes.
pub(super) enum Packed {
    /// A registry's own, to what was asked for.
    Plain {
        status: u16,
        content_type: Arc<str>,
        length: Option<u64>,
        /// Of sha256.
        digest: Option<[u8; 32]>,
        quota: Option<Box<Quota>>,
        /// `None` where none is read.
        body: Option<Box<Read>>,
    },
    Whole(Answer),
}

/// A body that was read, its sha256 digest and its length.
pub(super) enum Read {
    Manifest(Arc<Document>, [u8; 32], u64),
    Config(Arc<ReadConfig>, [u8; 32], u64),
}

impl Read {
    /// What is kept of a body that was read; `None` where it is none of these.
    fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Manifest {
                document: Ok(document),
                digest,
                length,
            } => Some(Self::Manifest(Arc::clone(document), digest.to_sha256()?, *length)),
            Body::Config {
                config: Ok(config),
                digest,
                length,
            } => Some(Self::Config(Arc::clone(config), digest.to_sha256()?, *length)),
            _ => None,
        }
    }

    fn unpack(&self) -> Body {
        match self {
            Self::Manifest(document, digest, length) => Body::Manifest {
                document: Ok(Arc::clone(document)),
                digest: Digest::of_sha256(digest),
                length: *length,
            },
            Self::Config(config, digest, length) => Body::Config {
                config: Ok(Arc::clone(config)),
                digest: Digest::of_sha256(digest),
                length: *length,
            },
        }
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Manifest(document, ..) => document.weight(),
                Self::Config(config, ..) => config.weight(),
            }
    }
}

impl Packed {
    pub(super) fn of(request: &Request, answer: &Answer, types: &Types) -> Self {
        Self::plain(request, answer, types).unwrap_or_else(|| Self::Whole(answer.clone()))
    }

    fn plain(request: &Request, answer: &Answer, types: &Types) -> Option<Self> {
        let Answer::Response(response) = answer else { return None };
        let Response {
            at,
            status,
            as_somebody: false,
            challenges,
            content_type,
            length,
            encoded: false,
            digest,
            body,
            quota,
            retry_after: None,
            answered_by: AnsweredBy::Registry,
        } = &**response
        else {
            return None;
        };
        let digest = match digest {
            Some(text) => Some(Digest::parse(text)?.to_sha256()?),
            None => None,
        };
        let body = match body {
            Body::Unread => None,
            read => Some(Box::new(Read::of(read)?)),
        };
        (challenges.is_empty() && *at == asked(request)).then(|| Self::Plain {
            status: *status,
            content_type: types.one(content_type),
            length: *length,
            digest,
            quota: quota.map(Box::new),
            body,
        })
    }

    /// The answer to `request`, the one that it was given to. What it said of the pull quota only where that is `news`.
    pub(super) fn unpack(&self, request: &Request, news: bool) -> Answer {
        match self {
            Self::Plain {
                status,
                content_type,
                length,
                digest,
                quota,
                body,
            } => Answer::Response(Arc::new(Response {
                at: asked(request),
                status: *status,
                as_somebody: false,
                challenges: Vec::new(),
                content_type: Arc::clone(content_type),
                length: *length,
                encoded: false,
                digest: digest.map(|bytes| Arc::from(Digest::of_sha256(&bytes).as_str())),
                body: body.as_deref().map_or(Body::Unread, Read::unpack),
                quota: quota.as_deref().filter(|_| news).copied(),
                retry_after: None,
                answered_by: AnsweredBy::Registry,
            })),
            Self::Whole(Answer::Response(response)) if response.quota.is_some() && !news => Answer::Response(Arc::new(Response {
                quota: None,
                ..Response::clone(response)
            })),
            Self::Whole(answer) => answer.clone(),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Plain { quota, body, .. } => {
                quota.as_ref().map_or(0, |_| size_of::<Quota>()) + body.as_deref().map_or(0, Read::weight)
            }
            Self::Whole(answer) => weight(answer),
        }
    }
}

impl Kept {
    /// An answer that was given `now`.
    pub(super) fn new(request: &Request, answer: &Answer, types: &Types, now: Instant, lives: Duration) -> Self {
        Self {
            latest: Packed::of(request, answer, types),
            given: now,
            fresh_until: now + lives,
            good: Good::None,
        }
    }

    /// The same, a good one.
    pub(super) fn good(self) -> Self {
        Self {
            good: Good::Latest,
            ..self
        }
    }

    /// The same, with the last good one before it, and when that was given.
    pub(super) fn after(self, request: &Request, good: (&Answer, Instant), types: &Types) -> Self {
        let (answer, at) = good;
        Self {
            good: Good::Before(Box::new((Packed::of(request, answer, types), at))),
            ..self
        }
    }

    /// The latest answer as it was given.
    pub(super) fn latest(&self, request: &Request) -> Answer {
        self.latest.unpack(request, true)
    }

    /// The latest answer as it is to be told now.
    pub(super) fn as_of(&self, request: &Request, now: Instant) -> Answer {
        let age = now.duration_since(self.given);
        match &self.latest {
            Packed::Whole(Answer::Response(response)) if response.status == 429 => Answer::Response(Arc::new(Response {
                // What it asked for, not how long we wait at most.
                retry_after: response.retry_after.map(|asked| asked.saturating_sub(age)),
                ..Response::clone(response)
            })),
            latest => latest.unpack(request, age < QUOTA),
        }
    }

    /// The last good answer, whose word on the pull quota is no news any longer, and when it was given.
    pub(super) fn last_good(&self, request: &Request) -> Option<(Answer, Instant)> {
        match &self.good {
            Good::None => None,
            Good::Latest => Some((self.latest.unpack(request, false), self.given)),
            Good::Before(before) => Some((before.0.unpack(request, false), before.1)),
        }
    }
}

impl Weighs for Box<(Packed, Instant)> {
    fn weight(&self) -> usize {
        size_of::<(Packed, Instant)>() + self.0.weight()
    }
}

impl Weighs for Box<Kept> {
    fn weight(&self) -> usize {
        let before = match &self.good {
            Good::None | Good::Latest => 0,
            Good::Before(before) => size_of::<(Packed, Instant)>() + before.0.weight(),
        };
        size_of::<Kept>() + self.latest.weight() + before
    }
}

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
        Body::Words(words) => text(&words.code) + text(&words.detail),
        Body::Manifest { .. } | Body::Config { .. } => 300,
        Body::Unread | Body::Granted | Body::NoToken { .. } | Body::TooLong(_) => 0,
    };
    size_of::<Response>() + response.at.path.len() + response.content_type.len() + 100 * response.challenges.len() + body
}
