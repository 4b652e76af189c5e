//! Answers to requests, reduced to what matters to a runtime and to the message about a failure.

use crate::ask::Question;
use crate::image::Digest;
use crate::runtime::challenge::Challenge;
use crate::runtime::content::{Document, ReadConfig};
use crate::runtime::fault::{ConnectionFault, ContentFault, Quota, Refusal, TimeoutStage, TlsFault};
use crate::runtime::request::{Method, Origin, Request};
use std::sync::Arc;
use std::time::Duration;

/// What came of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An answer, of whatever status.
    Response(Arc<Response>),
    /// There was none.
    Fault(Arc<Fault>),
    /// Our own rules forbid to send it, here or to where it was redirected.
    NotSent(Arc<NotSent>),
    /// Nobody waits for it any longer.
    Late,
}

/// A place that was asked last: of the request itself, or where redirects led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The method, which a redirect may change.
    pub method: Method,
    /// Where it was sent.
    pub origin: Origin,
    /// Path and query. Of the query only what may be shown: `ns`, and the `scope` and `service` of a token request.
    pub path: Arc<str>,
}

/// An answer of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Who gave it.
    pub at: At,
    /// The HTTP status.
    pub status: u16,
    /// Whether a redirect named a user, whom a node would have been to the host that it led to. We are nobody there.
    pub as_somebody: bool,
    /// The challenges of `WWW-Authenticate`, in the order of the headers; of each header as many as a runtime reads.
    pub challenges: Vec<Challenge>,
    /// The content type as it was sent; empty where there is none.
    pub content_type: Arc<str>,
    /// `Content-Length`; `None` where none was sent.
    pub length: Option<u64>,
    /// The body is packed, although it was asked for as it is.
    pub encoded: bool,
    /// `Docker-Content-Digest` as it was sent, where that is not empty.
    pub digest: Option<Arc<str>>,
    /// What came with it, read as was wanted.
    pub body: Body,
    /// The pull quota, if the headers tell it.
    pub quota: Option<Quota>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Who gave it, as far as it shows.
    pub speaker: Speaker,
}

/// Whether an answer shows that a registry gave it (contract 3). Who lets in is not asked that: of a 401, and of what a token server says, the
/// runtime's rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// It does.
    Registry,
    /// It does not: an ingress, a proxy, a firewall, a login page.
    Something,
    /// It does not, and a registry has answered there before.
    SomethingNow,
}

impl Response {
    /// 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it proves nothing of the image, since nothing shows that a registry gave it.
    pub fn is_of_no_registry(&self) -> bool {
        let claims = self.is_success() || (400..500).contains(&self.status) && !matches!(self.status, 401 | 408 | 429);
        claims && self.speaker != Speaker::Registry
    }

    /// The registry's own words.
    pub fn words(&self) -> Words {
        match &self.body {
            Body::Words(words) => words.clone(),
            _ => Words::default(),
        }
    }
}

/// What was made of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// It was not read, or there was none.
    Unread,
    /// A manifest or an index.
    Manifest {
        /// As its JSON says it, or why that cannot be read.
        document: Result<Arc<Document>, ContentFault>,
        /// What its bytes come to.
        digest: Digest,
        /// In bytes.
        length: u64,
    },
    /// The config of an image.
    Config {
        /// What it says, or why that cannot be read.
        config: Result<Arc<ReadConfig>, ContentFault>,
        /// What its bytes come to.
        digest: Digest,
        /// In bytes.
        length: u64,
    },
    /// A token, which the wire keeps.
    Granted,
    /// An answer of a token server without a token that can be sent.
    NoToken {
        /// It is a web page.
        page: bool,
    },
    /// A tag list.
    Tags(Arc<Tags>),
    /// The body of a refusal.
    Words(Words),
    /// It is longer than is read; so much was read.
    TooLong(u64),
}

/// What a tag list shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    /// There are tags.
    pub any: bool,
    /// The wanted one is among them.
    pub has_it: bool,
    /// Those closest to the wanted one, best first.
    pub closest: Vec<String>,
}

/// What the body of a refusal says: made safe to show, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// The registry's code (`MANIFEST_UNKNOWN`).
    pub code: Option<Arc<str>>,
    /// One line.
    pub detail: Option<Arc<str>>,
    /// It speaks of the caller's address (firewall, geography).
    pub about_address: bool,
    /// It has the form in which registries, or the stores behind them, tell errors.
    pub of_a_registry: bool,
    /// The errors of a registry as containerd prints them, one a line.
    pub printed: Option<Arc<str>>,
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What was asked last.
    pub at: At,
    /// What happened.
    pub what: FaultKind,
    /// In the transport's words: one line, safe to show.
    pub detail: Option<Arc<str>>,
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The name does not resolve.
    NameNotResolved,
    /// Refused, reset, unreachable, closed early.
    Connection(ConnectionFault),
    /// No answer in time.
    TimedOut(TimeoutStage),
    /// TLS did not come about.
    Tls(TlsFault),
    /// It came packed although it was asked for as it is, or in another form that we cannot read and a runtime may.
    Unreadable,
    /// More redirects in a row than runtimes follow.
    RedirectLoop,
    /// A look-up died: a bug of ours.
    Internal,
}

/// Why a request was not sent, or a redirect not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSent {
    /// What would have been asked.
    pub at: At,
    /// Why not.
    pub why: Withheld,
}

/// Which rule of ours it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// The address guard, or the rule of redirects.
    Guard(Refusal),
    /// A 429 of before still holds.
    Throttled {
        /// For so long.
        left: Duration,
        /// The registry said how long to wait; otherwise the pause is our own.
        asked: bool,
    },
    /// The settings of this host cannot be used here; a clause.
    Unusable(Arc<str>),
}

impl Question for Request {
    type Answer = Answer;

    fn late(&self) -> Answer {
        Answer::Late
    }
}
