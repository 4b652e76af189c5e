//! Answers to requests, reduced to what matters to a runtime and to the message about a failure.

use crate::ask::Question;
use crate::image::Digest;
use crate::runtime::challenge::Challenge;
use crate::runtime::content::{Document, ReadConfig};
use crate::runtime::fault::{ConnectionFault, ContentFault, GuardRule, Quota, TimeoutStage, TlsFault};
use crate::runtime::request::{Method, Origin, Request};
use std::sync::Arc;
use std::time::Duration;

/// The result of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A response, of any status.
    Response(Arc<Response>),
    /// No response came.
    Fault(Arc<Fault>),
    /// Our own rules forbid to send the request, here or to where it was redirected.
    NotSent(Arc<NotSent>),
    /// Nobody waits for the answer any longer.
    Late,
}

/// The place that was asked last: that of the request itself, or where redirects led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedAt {
    /// The method, which a redirect may change.
    pub method: Method,
    /// Where it was sent.
    pub origin: Origin,
    /// Path and query. Of the query only what may be shown: `ns`, and the `scope` and `service` of a token request.
    pub path: Arc<str>,
}

/// A server's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Who gave it.
    pub asked_at: AskedAt,
    /// The HTTP status.
    pub status: u16,
    /// A redirect named a user. A node would have asked the next host as that user; we ask it as nobody.
    pub as_somebody: bool,
    /// The challenges of `WWW-Authenticate`, in the order of the headers; of each header only those that a runtime reads.
    pub challenges: Vec<Challenge>,
    /// The content type as it was sent; empty where there is none.
    pub content_type: Arc<str>,
    /// `Content-Length`; `None` where none was sent.
    pub length: Option<u64>,
    /// The body is compressed, although we asked for it uncompressed.
    pub encoded: bool,
    /// `Docker-Content-Digest` as it was sent, where that is not empty.
    pub digest: Option<Arc<str>>,
    /// The body, read for what the request wanted.
    pub body: Body,
    /// The pull quota, if the headers state it.
    pub quota: Option<Quota>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Whether a registry gave it, as far as the answer shows.
    pub answered_by: AnsweredBy,
}

/// Whether an answer shows that a registry gave it (contract 3). This is not asked of a 401 or of a token server's answer: there the
/// runtime's rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// It does.
    Registry,
    /// It does not: an ingress, a proxy, a firewall, a login page.
    Other,
    /// It does not, and a registry has answered there before.
    OtherThanBefore,
}

impl Response {
    /// 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it proves nothing about the image, because nothing shows that a registry gave it.
    pub fn is_of_no_registry(&self) -> bool {
        let claims = self.is_success() || (400..500).contains(&self.status) && !matches!(self.status, 401 | 408 | 429);
        claims && self.answered_by != AnsweredBy::Registry
    }

    /// Whether the body is the content that was asked for, and shorter than the headers say: the connection ended behind it. Whoever
    /// reads as many bytes as the content has does not notice; whoever reads to the end fails.
    pub fn ends_early(&self) -> bool {
        let (Body::Manifest { length: came, .. } | Body::Config { length: came, .. }) = &self.body else {
            return false;
        };
        !self.encoded && self.length.is_some_and(|announced| announced > *came)
    }

    /// What the registry says of the error.
    pub fn error_text(&self) -> ErrorText {
        match &self.body {
            Body::ErrorText(text) => text.clone(),
            _ => ErrorText::default(),
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
        /// The digest of its bytes.
        digest: Digest,
        /// In bytes.
        length: u64,
    },
    /// The config of an image.
    Config {
        /// What it says, or why that cannot be read.
        config: Result<Arc<ReadConfig>, ContentFault>,
        /// The digest of its bytes.
        digest: Digest,
        /// In bytes.
        length: u64,
    },
    /// A token. The wire keeps it.
    Granted,
    /// A token server's answer without a token that can be sent.
    NoToken {
        /// It is a web page.
        page: bool,
    },
    /// A tag list.
    Tags(Arc<Tags>),
    /// The body of a refusal.
    ErrorText(ErrorText),
    /// It is longer than we read; this many bytes were read.
    TooLong(u64),
}

/// What a tag list contains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    /// There are tags.
    pub any: bool,
    /// The wanted tag is among them.
    pub has_it: bool,
    /// Those closest to the wanted one, best first.
    pub closest: Vec<String>,
}

/// The text of a refusal, made safe to show, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorText {
    /// The registry's code (`MANIFEST_UNKNOWN`).
    pub code: Option<Arc<str>>,
    /// One line.
    pub detail: Option<Arc<str>>,
    /// It is about the caller's address (firewall, geography).
    pub about_address: bool,
    /// It has the form in which registries, or the stores behind them, report errors.
    pub of_a_registry: bool,
    /// The registry's errors as containerd prints them, one per line.
    pub printed: Option<Arc<str>>,
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What was asked last.
    pub asked_at: AskedAt,
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
    /// The TLS handshake failed.
    Tls(TlsFault),
    /// The answer is compressed although we asked for it uncompressed, or in another form that we cannot read and a runtime may.
    Unreadable,
    /// More redirects in a row than runtimes follow.
    RedirectLoop,
    /// A look-up panicked: a bug of ours.
    Internal,
}

/// Why we did not send a request, or did not follow a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSent {
    /// Where it would have been sent.
    pub asked_at: AskedAt,
    /// Why not.
    pub why: Withheld,
}

/// The rule of ours that forbids it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// The address guard, or the rule for redirects.
    Guard(GuardRule),
    /// The pause after an earlier 429 is not over.
    Throttled {
        /// How long it still lasts.
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
