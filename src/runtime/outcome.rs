//! The result of a pull, or of one of its requests: the evidence on which `verdict` judges.

use crate::image::{Digest, Reference};
use crate::runtime::answer::{Answer, At, Fault, FaultKind, NotSent, Response, Speaker, Withheld};
use crate::runtime::content::{Content, clipped};
pub use crate::runtime::fault::{
    ConnectionFault, ContentFault, Counted, Level, Quota, Refusal, TimeoutStage, TlsFault, UnreadLayer,
};
use crate::runtime::request::{Method, Request, Want};
use std::sync::Arc;
use std::time::Duration;

/// What was learned about an image with one credential (or none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// The digest that the target resolved to.
    pub digest: Digest,
    /// The media type the registry sent, without parameters.
    pub media_type: String,
    /// What the manifest is.
    pub content: Content,
    /// What a good answer said of the pull quota, where it did and that is news still.
    pub quota: Option<Quota>,
    /// Whether a credential was sent and accepted.
    pub authenticated: bool,
    /// The good answer is older than its lifetime; the registry is failing now.
    pub stale: bool,
    /// What a greater depth than `manifest` found of the parts that the pullers of the check would fetch.
    pub builds: Vec<Build>,
}

impl ImageFacts {
    /// In bytes of memory, roughly.
    pub fn weight(&self) -> usize {
        let of_build = |build: &Build| {
            let content = build.content.as_ref().map_or(0, Content::weight);
            size_of::<Build>() + build.digest.len() + build.media_type.len() + content + build.troubles.len() * size_of::<Failure>()
        };
        size_of::<Self>() + self.media_type.len() + self.content.weight() + self.builds.iter().map(of_build).sum::<usize>()
    }
}

/// A manifest that a runtime would fetch: what it is, and what is wrong with it, as far as the depth looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its digest, as the index has it; the image's own where there is no index.
    pub digest: String,
    /// Its media type, as the index has it.
    pub media_type: String,
    /// What it is, or why a runtime does not get it.
    pub content: Result<Content, Failure>,
    /// What is wrong with its config and layers.
    pub troubles: Vec<Failure>,
}

/// A look-up that did not end in an image, with what is needed to tell a person about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub evidence: Evidence,
    /// The host that gave (or did not give) the answer: registry, token realm or redirect target, with port.
    pub host: String,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The registry's own error code (`MANIFEST_UNKNOWN`).
    pub code: Option<String>,
    /// The registry's own words, or the transport's: one line, at most 200 characters, no control characters, no secret.
    pub detail: Option<String>,
    /// `HEAD https://host/v2/…` without query: for the kubelet's text.
    pub request: Option<RequestLine>,
    /// Closest existing tags, best first.
    pub suggestions: Vec<String>,
    /// How long the registry asks to wait, where it does.
    pub retry_after: Option<Duration>,
    /// The digest of the content that it is about, for the kubelet's text; where the evidence does not name it.
    pub digest: Option<String>,
    /// What the runtime says of it, where its words are known here as a whole (CRI-O).
    pub said: Option<Arc<str>>,
    /// The request that was refused, where its words are still to be asked for.
    pub asked: Option<Box<Request>>,
    /// What containerd prints of the registry's errors behind its own words, on lines of their own.
    pub printed: Option<Arc<str>>,
    /// A host before the last one said by a 404 that it has nothing, and the runtime went on to the next: what that one says counts.
    pub passed_on: bool,
    /// Another host that was asked by a path with a second `/v2`: its address up to that.
    pub doubled: Option<Box<str>>,
    /// What the runtime tells, where this failure of another host counts for more.
    pub told: Option<Box<Failure>>,
    /// The image as the node completed its name, where that says no registry (CRI-O).
    pub completed: Option<Reference>,
}

impl Failure {
    /// A failure before any request.
    pub fn plain(evidence: Evidence, host: String) -> Self {
        Self {
            evidence,
            host,
            status: None,
            code: None,
            detail: None,
            request: None,
            suggestions: Vec::new(),
            retry_after: None,
            digest: None,
            said: None,
            asked: None,
            printed: None,
            passed_on: false,
            doubled: None,
            told: None,
            completed: None,
        }
    }

    /// The same, of a host after which another one is asked. Of a plain 404 it is not known who gave it, but the verdict is the next host's;
    /// unless a registry has answered here before, which is in trouble then.
    #[must_use]
    pub fn of_host(self, last: bool) -> Self {
        let nobody = matches!(self.evidence, Evidence::NoRegistry { spoke_before: false, .. });
        Self {
            passed_on: !last && nobody && self.status == Some(404),
            ..self
        }
    }

    /// A failure at a place that was asked.
    pub fn at(evidence: Evidence, at: &At, purpose: Purpose) -> Self {
        Self {
            request: Some(RequestLine {
                method: at.method.name(),
                url: format!("{}{}", at.origin, at.path),
                purpose,
            }),
            ..Self::plain(evidence, at.origin.authority())
        }
    }

    /// A failure that rests on an answer, in its own words. Nothing that is definite rests on what no registry shows itself in.
    pub fn of(evidence: Evidence, response: &Response, purpose: Purpose) -> Self {
        let words = response.words();
        let proves = purpose != Purpose::Content || evidence.is_unknown() || !response.is_of_no_registry();
        let (evidence, kind) = if proves {
            (evidence, None)
        } else {
            let spoke_before = response.speaker == Speaker::SomethingNow;
            let fails = Box::new(evidence);
            (Evidence::NoRegistry { fails, spoke_before }, shown_type(response))
        };
        Self {
            status: Some(response.status),
            code: words.code.as_deref().map(str::to_owned),
            detail: words.detail.as_deref().map(str::to_owned).or(kind),
            retry_after: response.retry_after,
            printed: words.printed.clone().filter(|_| response.at.method == Method::Get),
            ..Self::at(evidence, &response.at, purpose)
        }
    }

    /// A failure that rests on an answer whose body is content, not an error to be quoted.
    pub fn unworded(evidence: Evidence, response: &Response) -> Self {
        let failure = Self::of(evidence, response, Purpose::Content);
        let detail = match failure.evidence {
            Evidence::NoRegistry { .. } => failure.detail,
            _ => None,
        };
        Self {
            code: None,
            detail,
            ..failure
        }
    }

    /// A good answer to a request for a part whose body nobody reads, and which is not that part as far as it shows: a login page.
    pub fn of_page(part: &'static str, digest: &(impl ToString + ?Sized), response: &Response) -> Self {
        let has = "...".to_owned();
        let fault = ContentFault::OtherDigest { part, has };
        Self::unworded(Evidence::ContentInvalid(fault), response).about(digest)
    }

    /// What kept a request from being answered.
    fn unanswered(request: &Request, fault: &Fault) -> Self {
        let evidence = match fault.what {
            FaultKind::NameNotResolved => Evidence::NameNotResolved,
            FaultKind::Connection(fault) => Evidence::ConnectionFailed(fault),
            FaultKind::TimedOut(stage) => Evidence::TimedOut(stage),
            FaultKind::Tls(fault) => Evidence::Tls(fault),
            // A runtime would unpack it.
            FaultKind::Unreadable => Evidence::ServerError { token_server: false },
            FaultKind::RedirectLoop => Evidence::Rejected(Rejection::RedirectLoop),
            FaultKind::Internal => Evidence::Internal,
        };
        let silent = matches!(
            evidence,
            Evidence::NameNotResolved | Evidence::ConnectionFailed(_) | Evidence::TimedOut(_) | Evidence::Tls(_)
        );
        let purpose = request.purpose();
        let elsewhere = fault.at.origin.host != request.origin.host || fault.at.origin.port != request.origin.port;
        // No fault of the host that redirects.
        let evidence = if silent && elsewhere && purpose == Purpose::Content {
            Evidence::SentOn {
                by: request.origin.authority(),
                fails: Box::new(evidence),
            }
        } else {
            evidence
        };
        Self {
            detail: fault.detail.as_deref().map(str::to_owned),
            ..Self::at(evidence, &fault.at, purpose)
        }
    }

    /// What our own rules kept from being sent.
    fn not_sent(request: &Request, not_sent: &NotSent) -> Self {
        let purpose = request.purpose();
        match &not_sent.why {
            Withheld::Guard(refusal) => Self::at(Evidence::Refused(refusal.clone()), &not_sent.at, purpose),
            Withheld::Throttled { left, asked } => Self {
                status: Some(429),
                detail: Some("it throttled pullgate a moment ago, and was not asked again".to_owned()),
                retry_after: asked.then_some(*left),
                ..Self::plain(Evidence::RateLimited, not_sent.at.origin.authority())
            },
            Withheld::Unusable(why) => Self {
                detail: Some(why.to_string()),
                ..Self::plain(
                    Evidence::ConnectionFailed(ConnectionFault::Unreachable),
                    not_sent.at.origin.authority(),
                )
            },
        }
    }

    /// The same, about the content of this digest.
    #[must_use]
    pub fn about(self, digest: &(impl ToString + ?Sized)) -> Self {
        Self {
            digest: Some(digest.to_string()),
            ..self
        }
    }
}

impl Answer {
    /// The response, or the failure that stands for there being none.
    pub fn response(self, request: &Request) -> Result<std::sync::Arc<Response>, Failure> {
        match self {
            Self::Response(response) => Ok(response),
            Self::Fault(fault) => Err(Failure::unanswered(request, &fault)),
            Self::NotSent(not_sent) => Err(Failure::not_sent(request, &not_sent)),
            Self::Late => Err(Failure::plain(
                Evidence::TimedOut(TimeoutStage::Deadline),
                request.origin.authority(),
            )),
        }
    }
}

impl Request {
    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        match &self.want {
            Want::Token(token) if token.is_anonymous() => Purpose::AnonymousToken,
            Want::Token(_) => Purpose::OauthToken,
            _ => Purpose::Content,
        }
    }
}

/// The request that an answer belongs to, for the kubelet's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    /// `HEAD`, `GET` or `POST`.
    pub method: &'static str,
    /// Without userinfo. Query kept only for token requests (scope and service).
    pub url: String,
    /// What was asked for.
    pub purpose: Purpose,
}

/// What a request is for: containerd words its failures accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A manifest, a blob or a tag list.
    Content,
    /// A token for nobody.
    AnonymousToken,
    /// A token for a credential, by POST or by the GET that follows it.
    OauthToken,
}

/// The content type of an answer whose body was not read, as words; nothing where it has none.
fn shown_type(response: &Response) -> Option<String> {
    let media_type = response.content_type.split(';').next().unwrap_or_default().trim();
    if media_type.is_empty() {
        return None;
    }
    if media_type.eq_ignore_ascii_case("text/html") {
        return Some(WEB_PAGE.to_owned());
    }
    Some(clipped(media_type))
}

/// What stands for the body of an error that is a web page, in [`Failure::detail`].
pub const WEB_PAGE: &str = "a web page";

/// What stands in [`Failure::detail`] of an interrupted connection where the answer had begun.
pub const CUT_SHORT: &str = "the answer ends before its announced length";

/// The kinds of evidence. `cause` maps each to a cause and a base outlook, in one exhaustive match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The registry says that the repository is unknown (`NAME_UNKNOWN`, on the manifest or on the tag list).
    RepositoryUnknown,
    /// 404 for the tag.
    TagUnknown {
        /// Whether the tag list proved that the repository exists.
        repository_exists: bool,
    },
    /// 404 for the tag, which the list of tags has.
    TagWithoutManifest,
    /// 404 for the digest, as manifest and as blob.
    DigestUnknown,
    /// 401 (or a token server's 401/403) without any credential: authentication is required.
    AuthenticationRequired {
        /// Where the refusal was.
        at: AuthStage,
    },
    /// A credential (or an anonymous token) was accepted, the right is missing.
    InsufficientScope {
        /// Whether a credential was sent.
        with_credential: bool,
        /// How the registry says so.
        told: Told,
    },
    /// A credential was sent and refused.
    CredentialRefused {
        /// Where the refusal was.
        at: AuthStage,
    },
    /// The credential is not UTF-8: the kubelet fails before it asks anybody.
    CredentialNotText {
        /// Whether every candidate node's does; those before 1.34 send it as it is.
        every_kubelet: bool,
    },
    /// 403, 412 or 451 on the manifest or a blob.
    Forbidden {
        /// Whether the body speaks of the caller's address (firewall, geography).
        address_bound: bool,
        /// Whether a credential was sent.
        with_credential: bool,
    },
    /// Another refusal.
    Rejected(Rejection),
    /// 429.
    RateLimited,
    /// The name does not resolve.
    NameNotResolved,
    /// Refused, reset, unreachable, closed early.
    ConnectionFailed(ConnectionFault),
    /// No answer in time.
    TimedOut(TimeoutStage),
    /// TLS did not come about.
    Tls(TlsFault),
    /// 408 or 5xx (or a status that makes no sense).
    ServerError {
        /// Whether it was the token server.
        token_server: bool,
    },
    /// Our guard refused; nothing was sent there.
    Refused(Refusal),
    /// The manifest is there and unusable.
    ContentInvalid(ContentFault),
    /// The manifest exists, a part of it does not.
    ContentMissing {
        /// `child manifest`, `config` or `layer`.
        part: &'static str,
        /// Its digest.
        digest: String,
        /// Its media type.
        media_type: String,
    },
    /// The manifest is longer than the runtimes read.
    TooLong {
        /// Bytes announced or read.
        bytes: u64,
    },
    /// The node's own settings lead to no registry that may be asked; nothing was sent.
    Unresolved(Unresolved),
    /// A layer or config whose `urls` lead to another host. Runtimes ask there first, and we never do.
    Elsewhere {
        /// `layer` or `config`.
        part: &'static str,
        /// That host.
        host: String,
        /// Its digest.
        digest: String,
    },
    /// The registry answered with a redirect, and where that leads there was no answer.
    SentOn {
        /// Who redirects.
        by: String,
        /// What became of it.
        fails: Box<Evidence>,
    },
    /// Something answered, and nothing in the answer shows that it was a registry.
    NoRegistry {
        /// What it would prove if a registry had given it, and what runtimes take it for.
        fails: Box<Evidence>,
        /// A registry has answered there before.
        spoke_before: bool,
    },
    /// The node asks for the repository by one of several names, at random, and not all of them lead to the image (`rewrite` of k3s).
    ByChance {
        /// The names.
        names: Vec<String>,
        /// What becomes of one of them.
        fails: Box<Evidence>,
    },
    /// A look-up task died (a bug); never a reason to deny.
    Internal,
}

impl Evidence {
    /// Whether it shows nothing about what a node would get.
    pub fn is_unknown(&self) -> bool {
        self.shows() == Shows::Nothing
    }

    /// What it shows about a node's pull.
    pub fn shows(&self) -> Shows {
        match self {
            Self::SentOn { fails, .. } => fails.shows(),
            Self::ByChance { fails, .. } => fails.shows().min(Shows::FailureOfSome),
            Self::Forbidden { address_bound: true, .. }
            | Self::RateLimited
            | Self::NameNotResolved
            | Self::ConnectionFailed(_)
            | Self::TimedOut(_)
            | Self::Tls(_)
            | Self::ServerError { .. }
            | Self::Refused(_)
            | Self::Unresolved(
                Unresolved::ShortName
                | Unresolved::PlainHttp
                | Unresolved::NodeCredential
                | Unresolved::Signatures
                | Unresolved::Unreadable,
            )
            | Self::NoRegistry { .. }
            | Self::Internal => Shows::Nothing,
            // Where there is nothing to unpack, containerd's transfer service does not count.
            Self::CredentialNotText { every_kubelet: false }
            | Self::Elsewhere { .. }
            | Self::ContentInvalid(
                ContentFault::NeedsPlugin(_)
                | ContentFault::Unread(_)
                | ContentFault::LayerCount { layers: 0, .. }
                | ContentFault::PartOfOthers(_)
                | ContentFault::Newer(_),
            ) => Shows::FailureOfSome,
            Self::RepositoryUnknown
            | Self::TagUnknown { .. }
            | Self::TagWithoutManifest
            | Self::DigestUnknown
            | Self::AuthenticationRequired { .. }
            | Self::InsufficientScope { .. }
            | Self::CredentialRefused { .. }
            | Self::CredentialNotText { every_kubelet: true }
            | Self::Forbidden {
                address_bound: false, ..
            }
            | Self::Rejected(_)
            | Self::Unresolved(_)
            | Self::ContentInvalid(_)
            | Self::ContentMissing { .. }
            | Self::TooLong { .. } => Shows::Failure,
        }
    }

    /// The label of a failure in metrics, and its cause in the log.
    pub fn label(&self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::NameNotResolved => "dns",
            Self::ConnectionFailed(_) => "connect",
            Self::TimedOut(_) => "timeout",
            Self::Tls(_) => "tls",
            Self::ServerError { .. } | Self::NoRegistry { .. } => "server_error",
            Self::Refused(_) => "refused",
            Self::RepositoryUnknown
            | Self::TagUnknown { .. }
            | Self::TagWithoutManifest
            | Self::DigestUnknown
            | Self::ContentMissing { .. }
            | Self::Elsewhere { .. } => "not_found",
            Self::AuthenticationRequired { .. }
            | Self::InsufficientScope { .. }
            | Self::CredentialRefused { .. }
            | Self::CredentialNotText { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::Rejected(_) | Self::Unresolved(_) | Self::ContentInvalid(_) | Self::TooLong { .. } => "client_error",
            Self::SentOn { fails, .. } | Self::ByChance { fails, .. } => fails.label(),
            Self::Internal => "internal",
        }
    }

    /// What every refusal has in common: throttled, broken, forbidden, otherwise refused. 401 and 404 are for the runtime, which knows what it
    /// asked for and by what right.
    pub fn of_status(response: &Response, with_credential: bool) -> Self {
        match response.status {
            429 => Self::RateLimited,
            403 | 412 | 451 => Self::Forbidden {
                address_bound: response.words().about_address,
                with_credential,
            },
            400..=407 | 409..=499 => Self::Rejected(Rejection::Status),
            // 408, 5xx, and statuses that make no sense here (1xx, 3xx without a target).
            _ => Self::ServerError { token_server: false },
        }
    }
}

/// What a piece of evidence shows about a node's pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shows {
    /// Nothing: a node may fare better, or we asked nobody.
    Nothing,
    /// Some nodes fail: it depends on their runtime, or on what we do not ask.
    FailureOfSome,
    /// Every node fails.
    Failure,
}

/// Where an authentication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthStage {
    /// The registry itself, by a Basic challenge.
    Basic,
    /// The token server.
    TokenServer,
    /// The registry, with a fresh token.
    Registry,
}

/// How a registry says that a right is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Told {
    /// 401 with `error="insufficient_scope"` in the challenge (Docker Hub).
    InsufficientScope,
    /// 401 again to a fresh token, and no more (Quay, Harbor).
    Nothing,
}

/// Refusals that a retry does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Another 4xx.
    Status,
    /// 401 without a challenge that a runtime can use.
    NoUsableChallenge,
    /// 401 again with a fresh token, and the challenge names an error that is not about rights (`invalid_token`).
    UnauthorizedAgain,
    /// The token server answered another 4xx.
    TokenStatus,
    /// The token server's answer holds no token (HTML, empty, not a header value).
    NoToken,
    /// HEAD is answered by 404, and the same question by GET well.
    HeadOnly,
    /// A tenth redirect in a row.
    RedirectLoop,
    /// A Bearer challenge without a usable realm.
    NoRealm,
    /// No host of the registry's `hosts.toml` may be asked for this (a tag takes `pull` and `resolve`); nothing was sent.
    NoHost,
    /// k3s asks only other nodes of the cluster, of which none gives it. Nothing was sent.
    PeersOnly,
    /// The name of the registry is in brackets and no IPv6 address: it does not make a URL. Nothing was sent.
    NoAddress,
}

/// Why the settings of a node lead to no registry (`registries.conf`, which CRI-O reads).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unresolved {
    /// The name says no registry, and by which aliases and search registries the nodes complete it is not known.
    ShortName,
    /// The settings are there, and cannot be read here.
    Unreadable,
    /// The name says no registry, and there is neither an alias for it nor a search registry.
    NoSearchRegistry,
    /// The name says no registry, and there are several search registries, of which none is taken.
    Ambiguous,
    /// The registry is blocked.
    Blocked,
    /// What the settings make of the name is none.
    Name,
    /// The registry speaks no TLS, and whether nodes ask it without is not known.
    PlainHttp,
    /// The node has a credential of its own, or a program that gives one, and it is not known here.
    NodeCredential,
    /// `policy.json` rejects the image.
    Rejected,
    /// `policy.json` lets in what is signed, and that is not looked at here.
    Signatures,
}

/// Whether another credential could have had another answer: an authentication or authorisation failure.
pub fn hinges_on_credentials(failure: &Failure) -> bool {
    hinges(&failure.evidence, failure)
}

fn hinges(evidence: &Evidence, failure: &Failure) -> bool {
    match evidence {
        Evidence::SentOn { fails, .. } | Evidence::ByChance { fails, .. } => hinges(fails, failure),
        // A scanner's block (412) and a legal one (451) hold for everyone.
        Evidence::Forbidden { .. } => !matches!(failure.status, Some(412 | 451)),
        Evidence::AuthenticationRequired { .. }
        | Evidence::InsufficientScope { .. }
        | Evidence::CredentialRefused { .. }
        | Evidence::CredentialNotText { .. }
        | Evidence::Rejected(
            Rejection::NoUsableChallenge | Rejection::UnauthorizedAgain | Rejection::TokenStatus | Rejection::NoToken,
        ) => true,
        Evidence::RepositoryUnknown
        | Evidence::TagUnknown { .. }
        | Evidence::TagWithoutManifest
        | Evidence::DigestUnknown
        | Evidence::Rejected(
            Rejection::Status
            | Rejection::HeadOnly
            | Rejection::RedirectLoop
            | Rejection::NoRealm
            | Rejection::NoHost
            | Rejection::PeersOnly
            | Rejection::NoAddress,
        )
        | Evidence::RateLimited
        | Evidence::NameNotResolved
        | Evidence::ConnectionFailed(_)
        | Evidence::TimedOut(_)
        | Evidence::Tls(_)
        | Evidence::ServerError { .. }
        | Evidence::Refused(_)
        | Evidence::Unresolved(_)
        | Evidence::ContentInvalid(_)
        | Evidence::ContentMissing { .. }
        | Evidence::Elsewhere { .. }
        | Evidence::TooLong { .. }
        | Evidence::NoRegistry { .. }
        | Evidence::Internal => false,
    }
}

/// Whether the registry answered about the image itself, so that the credentials used (or none) may read there. Silence, throttling
/// and errors show nothing: anyone can bring some of them about.
pub fn shows_readable(failure: &Failure) -> bool {
    readable(&failure.evidence, failure)
}

fn readable(evidence: &Evidence, failure: &Failure) -> bool {
    match evidence {
        Evidence::SentOn { fails, .. } | Evidence::ByChance { fails, .. } => readable(fails, failure),
        Evidence::RepositoryUnknown
        | Evidence::TagUnknown { .. }
        | Evidence::TagWithoutManifest
        | Evidence::DigestUnknown
        | Evidence::ContentInvalid(_)
        | Evidence::ContentMissing { .. }
        | Evidence::Elsewhere { .. }
        | Evidence::TooLong { .. } => true,
        // A block by a rule (412, 451) is about an image that could be read otherwise.
        Evidence::Forbidden { .. } => !hinges(evidence, failure),
        Evidence::AuthenticationRequired { .. }
        | Evidence::InsufficientScope { .. }
        | Evidence::CredentialRefused { .. }
        | Evidence::CredentialNotText { .. }
        | Evidence::Rejected(_)
        | Evidence::RateLimited
        | Evidence::NameNotResolved
        | Evidence::ConnectionFailed(_)
        | Evidence::TimedOut(_)
        | Evidence::Tls(_)
        | Evidence::ServerError { .. }
        | Evidence::Refused(_)
        | Evidence::Unresolved(_)
        | Evidence::NoRegistry { .. }
        | Evidence::Internal => false,
    }
}
