//! The result of a pull, or of one of its requests: the evidence on which `verdict` judges.

use crate::image::{Digest, Reference};
use crate::runtime::answer::{Answer, AnsweredBy, AskedAt, Fault, FaultKind, NotSent, Response, Withheld};
use crate::runtime::content::{Content, clipped};
pub use crate::runtime::fault::{
    ConnectionFault, ContentFault, Counted, GuardRule, Level, Quota, TimeoutStage, TlsFault, UnreadLayer,
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
    /// The pull quota as a successful answer stated it, if that is still current.
    pub quota: Option<Quota>,
    /// Whether a credential was sent and accepted.
    pub authenticated: bool,
    /// The successful answer has outlived its lifetime, and the registry is failing now.
    pub stale: bool,
    /// The parts that the candidate nodes would fetch, as far as a depth beyond `manifest` looked.
    pub builds: Vec<Build>,
}

impl ImageFacts {
    /// The size in memory in bytes, roughly.
    pub fn weight(&self) -> usize {
        let of_build = |build: &Build| {
            let content = build.content.as_ref().map_or(0, Content::weight);
            size_of::<Build>() + build.digest.len() + build.media_type.len() + content + build.troubles.len() * size_of::<Failure>()
        };
        size_of::<Self>() + self.media_type.len() + self.content.weight() + self.builds.iter().map(of_build).sum::<usize>()
    }
}

/// A manifest that a runtime would fetch: its contents and its problems, as far as the depth looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its digest, as the index has it; the image's own where there is no index.
    pub digest: String,
    /// Its media type, as the index has it.
    pub media_type: String,
    /// Its contents, or why a runtime does not get it.
    pub content: Result<Content, Failure>,
    /// The problems of its config and layers.
    pub troubles: Vec<Failure>,
}

/// A look-up that found no image, with all that a message needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub evidence: Evidence,
    /// The host that answered (or should have): registry, token realm or redirect target, with port.
    pub host: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The registry's own error code (`MANIFEST_UNKNOWN`).
    pub code: Option<String>,
    /// The text of the registry's error, or of the transport's: one line, at most 200 characters, without control characters and secrets.
    pub detail: Option<String>,
    /// `HEAD https://host/v2/…` without query: for the kubelet's text.
    pub request: Option<RequestLine>,
    /// Closest existing tags, best first.
    pub suggestions: Vec<String>,
    /// How long the registry asks to wait, if it does.
    pub retry_after: Option<Duration>,
    /// The digest of the content concerned, for the kubelet's text, if the evidence does not name it.
    pub digest: Option<String>,
    /// The runtime's own text, where the whole text is known (CRI-O).
    pub runtime_text: Option<Arc<str>>,
    /// The refused request, if its error text is still to be fetched.
    pub request_for_reason: Option<Box<Request>>,
    /// The registry's errors, as containerd prints them on lines of their own behind its own text.
    pub registry_errors_as_printed: Option<Arc<str>>,
    /// A host before the last one answered 404, and the runtime went on to the next host, whose answer counts.
    pub next_host_decides: bool,
    /// The address of another host that was asked by a path with `/v2` twice, up to the second one.
    pub doubled_v2_base: Option<Box<str>>,
    /// The failure that the runtime reports, if it is not this one: this one is of another host, and counts for more.
    pub reported_instead: Option<Box<Failure>>,
    /// The image by the full name that the node gave it, if its own name has no registry (CRI-O).
    pub full_name: Option<Reference>,
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
            runtime_text: None,
            request_for_reason: None,
            registry_errors_as_printed: None,
            next_host_decides: false,
            doubled_v2_base: None,
            reported_instead: None,
            full_name: None,
        }
    }

    /// The same, for a host that is followed by another one. A plain 404 does not show who gave it, but the next host decides anyway;
    /// unless a registry has answered here before, which is then in trouble.
    #[must_use]
    pub fn of_host(self, last: bool) -> Self {
        let nobody = matches!(self.evidence, Evidence::NoRegistry { spoke_before: false, .. });
        Self {
            next_host_decides: !last && nobody && self.status == Some(404),
            ..self
        }
    }

    /// A failure at a place that was asked.
    pub fn of_request(evidence: Evidence, asked_at: &AskedAt, purpose: Purpose) -> Self {
        Self {
            request: Some(RequestLine {
                method: asked_at.method.name(),
                url: format!("{}{}", asked_at.origin, asked_at.path),
                purpose,
            }),
            ..Self::plain(evidence, asked_at.origin.authority())
        }
    }

    /// A failure because of an answer, in that answer's own words. If nothing shows that a registry gave the answer, the failure is not definite.
    pub fn of(evidence: Evidence, response: &Response, purpose: Purpose) -> Self {
        let error = response.error_text();
        let proves = purpose != Purpose::Content || evidence.is_unknown() || !response.is_of_no_registry();
        let (evidence, kind) = if proves {
            (evidence, None)
        } else {
            let spoke_before = response.answered_by == AnsweredBy::OtherThanBefore;
            let fails = Box::new(evidence);
            (Evidence::NoRegistry { fails, spoke_before }, shown_type(response))
        };
        Self {
            status: Some(response.status),
            code: error.code.as_deref().map(str::to_owned),
            detail: error.detail.as_deref().map(str::to_owned).or(kind),
            retry_after: response.retry_after,
            registry_errors_as_printed: error.printed.clone().filter(|_| response.asked_at.method == Method::Get),
            ..Self::of_request(evidence, &response.asked_at, purpose)
        }
    }

    /// A failure because of an answer whose body is content, not an error text.
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

    /// A successful answer to the request for a part, whose body is not read and which is clearly not that part: a login page.
    pub fn of_page(part: &'static str, digest: &(impl ToString + ?Sized), response: &Response) -> Self {
        let has = "...".to_owned();
        let fault = ContentFault::OtherDigest { part, has };
        Self::unworded(Evidence::ContentInvalid(fault), response).about(digest)
    }

    /// Whether an answer had begun and did not end.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.evidence == Evidence::ConnectionFailed(ConnectionFault::Interrupted) && self.detail.as_deref() == Some(CUT_SHORT)
    }

    /// The failure of whoever reads an answer to its end, where that does not come.
    pub fn cut_short(response: &Response) -> Option<Self> {
        let interrupted = Evidence::ConnectionFailed(ConnectionFault::Interrupted);
        response.ends_early().then(|| Self {
            status: None,
            detail: Some(CUT_SHORT.to_owned()),
            ..Self::unworded(interrupted, response)
        })
    }

    /// A failure because no answer came.
    fn unanswered(request: &Request, fault: &Fault) -> Self {
        let evidence = match fault.what {
            FaultKind::NameNotResolved => Evidence::NameNotResolved,
            FaultKind::Connection(fault) => Evidence::ConnectionFailed(fault),
            FaultKind::TimedOut(stage) => Evidence::TimedOut(stage),
            FaultKind::Tls(fault) => Evidence::Tls(fault),
            // A runtime would decompress it.
            FaultKind::Unreadable => Evidence::ServerError { token_server: false },
            FaultKind::RedirectLoop => Evidence::Rejected(Rejection::RedirectLoop),
            FaultKind::Internal => Evidence::Internal,
        };
        let silent = matches!(
            evidence,
            Evidence::NameNotResolved | Evidence::ConnectionFailed(_) | Evidence::TimedOut(_) | Evidence::Tls(_)
        );
        let purpose = request.purpose();
        let elsewhere = fault.asked_at.origin.host != request.origin.host || fault.asked_at.origin.port != request.origin.port;
        // The host that redirects is not to blame.
        let evidence = if silent && elsewhere && purpose == Purpose::Content {
            Evidence::Redirected {
                by: request.origin.authority(),
                fails: Box::new(evidence),
            }
        } else {
            evidence
        };
        Self {
            detail: fault.detail.as_deref().map(str::to_owned),
            ..Self::of_request(evidence, &fault.asked_at, purpose)
        }
    }

    /// A failure because our own rules forbade to send the request.
    fn not_sent(request: &Request, not_sent: &NotSent) -> Self {
        let purpose = request.purpose();
        match &not_sent.why {
            Withheld::Guard(rule) => Self::of_request(Evidence::StoppedByGuard(rule.clone()), &not_sent.asked_at, purpose),
            Withheld::Throttled { left, asked } => Self {
                status: Some(429),
                detail: Some("it throttled pullgate a moment ago, and was not asked again".to_owned()),
                retry_after: asked.then_some(*left),
                ..Self::plain(Evidence::RateLimited, not_sent.asked_at.origin.authority())
            },
            Withheld::Unusable(why) => Self {
                detail: Some(why.to_string()),
                ..Self::plain(
                    Evidence::ConnectionFailed(ConnectionFault::Unreachable),
                    not_sent.asked_at.origin.authority(),
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
    /// The response, or the failure if there is none.
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
    /// What the request is for.
    pub fn purpose(&self) -> Purpose {
        match &self.want {
            Want::Token(token) if token.is_anonymous() => Purpose::AnonymousToken,
            Want::Token(_) => Purpose::OauthToken,
            _ => Purpose::Content,
        }
    }
}

/// A request line, for the kubelet's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    /// `HEAD`, `GET` or `POST`.
    pub method: &'static str,
    /// Without userinfo. The query is kept only for token requests (scope and service).
    pub url: String,
    /// What the request was for.
    pub purpose: Purpose,
}

/// The purpose of a request: containerd words its failures accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A manifest, a blob or a tag list.
    Content,
    /// An anonymous token.
    AnonymousToken,
    /// A token for a credential, by POST or by the GET that follows it.
    OauthToken,
}

/// The content type of an answer whose body was not read, in words; `None` if it has none.
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

/// Stands in [`Failure::detail`] for an error whose body is a web page.
pub const WEB_PAGE: &str = "a web page";

/// What stands in [`Failure::detail`] of an interrupted connection where the answer had begun.
pub const CUT_SHORT: &str = "the answer ends before its announced length";

/// The kinds of evidence. [`Evidence::proves_failure`] says how much each proves, which is its base outlook; `verdict::cause` names its cause. Both are
/// exhaustive matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The registry says that the repository is unknown (`NAME_UNKNOWN`, on the manifest or on the tag list).
    RepositoryUnknown,
    /// 404 for the tag.
    TagUnknown {
        /// Whether the tag list proved that the repository exists.
        repository_exists: bool,
    },
    /// 404 for a tag that is in the tag list.
    TagWithoutManifest,
    /// 404 for the digest, both as a manifest and as a blob.
    DigestUnknown,
    /// 401 (or a token server's 401/403) without any credential: authentication is required.
    AuthenticationRequired {
        /// Where the refusal was.
        at: AuthStage,
    },
    /// A credential (or an anonymous token) was accepted, and lacks the right.
    InsufficientScope {
        /// Whether a credential was sent.
        with_credential: bool,
        /// How the registry says so.
        error: ScopeError,
    },
    /// A credential was sent and refused.
    CredentialRefused {
        /// Where the refusal was.
        at: AuthStage,
    },
    /// The credential is not UTF-8: the kubelet fails before it asks the registry.
    CredentialNotText {
        /// Whether this holds on every candidate node; kubelets before 1.34 send the credential as it is.
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
    /// The TLS handshake failed.
    Tls(TlsFault),
    /// 408, 5xx, or a status that makes no sense.
    ServerError {
        /// Whether it was the token server.
        token_server: bool,
    },
    /// Our own guard: nothing was sent there, or not what a node would send.
    StoppedByGuard(GuardRule),
    /// The manifest exists and is unusable.
    ContentInvalid(ContentFault),
    /// The manifest exists, one of its parts does not.
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
    /// The node's own settings lead to no registry that may be asked, or leave open what becomes of the pull.
    NodeSettings(NodeSettingsFault),
    /// A layer or config whose `urls` lead to another host. Runtimes ask there first; we never do.
    ForeignUrls {
        /// `layer` or `config`.
        part: &'static str,
        /// That host.
        host: String,
        /// Its digest.
        digest: String,
    },
    /// The registry answered with a redirect, and the target did not answer.
    Redirected {
        /// The host that redirects.
        by: String,
        /// What happened at the target.
        fails: Box<Evidence>,
    },
    /// Something answered, but nothing shows that it was a registry.
    NoRegistry {
        /// What the answer would prove if a registry had given it; runtimes take it for that.
        fails: Box<Evidence>,
        /// A registry has answered there before.
        spoke_before: bool,
    },
    /// The node asks for the repository by one of several names, at random, and not all of them lead to the image (`rewrite` of k3s).
    ByChance {
        /// The names.
        names: Vec<String>,
        /// What happens with one of them.
        fails: Box<Evidence>,
    },
    /// A look-up task died (a bug); never a reason to deny.
    Internal,
}

impl Evidence {
    /// Whether it shows nothing about what a node would get.
    pub fn is_unknown(&self) -> bool {
        self.proves_failure() == ProvesFailure::No
    }

    /// Whether it proves that the pull fails, and on which nodes.
    pub fn proves_failure(&self) -> ProvesFailure {
        match self {
            Self::Redirected { fails, .. } => fails.proves_failure(),
            Self::ByChance { fails, .. } => fails.proves_failure().min(ProvesFailure::OnSomeNodes),
            Self::Forbidden { address_bound: true, .. }
            | Self::RateLimited
            | Self::NameNotResolved
            | Self::ConnectionFailed(_)
            | Self::TimedOut(_)
            | Self::Tls(_)
            | Self::ServerError { .. }
            | Self::StoppedByGuard(_)
            | Self::NoRegistry { .. }
            | Self::Internal => ProvesFailure::No,
            Self::CredentialNotText { every_kubelet: false } | Self::ForeignUrls { .. } => ProvesFailure::OnSomeNodes,
            Self::Rejected(rejection) => rejection.proves_failure(),
            Self::NodeSettings(why) => why.proves_failure(),
            Self::ContentInvalid(fault) => proved_by(fault),
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
            | Self::ContentMissing { .. }
            | Self::TooLong { .. } => ProvesFailure::OnAllNodes,
        }
    }

    /// Whether the registry, or the way to it, is in trouble: an older answer may then be used. Throttling and our own rules do not count.
    pub fn is_down(&self) -> bool {
        match self {
            Self::Redirected { fails, .. } | Self::ByChance { fails, .. } => fails.is_down(),
            Self::NameNotResolved
            | Self::ConnectionFailed(_)
            | Self::TimedOut(_)
            | Self::Tls(_)
            | Self::ServerError { .. }
            | Self::NoRegistry { .. } => true,
            Self::RepositoryUnknown
            | Self::TagUnknown { .. }
            | Self::TagWithoutManifest
            | Self::DigestUnknown
            | Self::AuthenticationRequired { .. }
            | Self::InsufficientScope { .. }
            | Self::CredentialRefused { .. }
            | Self::CredentialNotText { .. }
            | Self::Forbidden { .. }
            | Self::Rejected(_)
            | Self::RateLimited
            | Self::StoppedByGuard(_)
            | Self::NodeSettings(_)
            | Self::ContentInvalid(_)
            | Self::ContentMissing { .. }
            | Self::ForeignUrls { .. }
            | Self::TooLong { .. }
            | Self::Internal => false,
        }
    }

    /// The name of a failure in metrics, and its cause in the log.
    pub fn label(&self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::NameNotResolved => "dns",
            Self::ConnectionFailed(_) => "connect",
            Self::TimedOut(_) => "timeout",
            Self::Tls(_) => "tls",
            Self::ServerError { .. } | Self::NoRegistry { .. } => "server_error",
            Self::StoppedByGuard(_) => "refused",
            Self::RepositoryUnknown
            | Self::TagUnknown { .. }
            | Self::TagWithoutManifest
            | Self::DigestUnknown
            | Self::ContentMissing { .. }
            | Self::ForeignUrls { .. } => "not_found",
            Self::AuthenticationRequired { .. }
            | Self::InsufficientScope { .. }
            | Self::CredentialRefused { .. }
            | Self::CredentialNotText { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::Rejected(_) | Self::NodeSettings(_) | Self::ContentInvalid(_) | Self::TooLong { .. } => "client_error",
            Self::Redirected { fails, .. } | Self::ByChance { fails, .. } => fails.label(),
            Self::Internal => "internal",
        }
    }

    /// What the status of a refusal proves: throttled, server error, forbidden, or another refusal. 401 and 404 are left to the runtime
    /// modules, which know what was asked, and with which rights.
    pub fn of_status(response: &Response, with_credential: bool) -> Self {
        match response.status {
            429 => Self::RateLimited,
            403 | 412 | 451 => Self::Forbidden {
                address_bound: response.error_text().about_address,
                with_credential,
            },
            400..=407 | 409..=499 => Self::Rejected(Rejection::Status),
            // 408, 5xx, and statuses that make no sense here (1xx, 3xx without a target).
            _ => Self::ServerError { token_server: false },
        }
    }
}

/// Whether a piece of evidence proves that the pull fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProvesFailure {
    /// Nothing: a node may fare better, or we asked nobody.
    No,
    /// Some nodes fail, depending on their runtime, or on hosts that we do not ask.
    OnSomeNodes,
    /// Every node fails.
    OnAllNodes,
}

/// The stage at which authentication failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthStage {
    /// The registry itself, by a Basic challenge.
    Basic,
    /// The token server.
    TokenServer,
    /// The registry, with a fresh token.
    Registry,
}

/// How a registry says that a credential lacks a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScopeError {
    /// 401 with `error="insufficient_scope"` in the challenge (Docker Hub).
    Named,
    /// Another 401 in spite of a fresh token, without an error code (Quay, Harbor).
    Unnamed,
}

/// Refusals that stay the same on a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Another 4xx.
    Status,
    /// 401 without a challenge that a runtime can use.
    NoUsableChallenge,
    /// Another 401 in spite of a fresh token, with an error that is not about rights (`invalid_token`).
    UnauthorizedAgain,
    /// The token server answered another 4xx.
    TokenStatus,
    /// The token server's answer has no token that can be sent (HTML, empty, not a header value).
    NoToken,
    /// A HEAD gets a 404 and a GET of the same a success.
    HeadOnly,
    /// More than nine redirects in a row.
    RedirectLoop,
    /// A Bearer challenge without a usable realm.
    NoRealm,
}

impl Rejection {
    fn proves_failure(self) -> ProvesFailure {
        match self {
            Self::Status
            | Self::NoUsableChallenge
            | Self::UnauthorizedAgain
            | Self::TokenStatus
            | Self::NoToken
            | Self::HeadOnly
            | Self::RedirectLoop
            | Self::NoRealm => ProvesFailure::OnAllNodes,
        }
    }
}

/// What the settings of a node, or a name for which there is no address, have to do with a pull that fails or whose end is not known. No
/// registry said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeSettingsFault {
    /// The name has no registry, and the nodes' aliases and search registries are not known.
    ShortName,
    /// The settings exist and cannot be read here.
    Unreadable,
    /// The name has no registry, and there is neither an alias for it nor a search registry.
    NoSearchRegistry,
    /// The name has no registry, and there are several search registries, none of which is chosen.
    Ambiguous,
    /// The registry is blocked.
    Blocked,
    /// The settings turn the name into an invalid one.
    InvalidName,
    /// The registry does not speak TLS, and it is not known whether nodes use plain HTTP there.
    PlainHttp,
    /// The node has its own credential, or a program that supplies one, and we do not know it.
    NodeCredential,
    /// `policy.json` rejects the image.
    RejectedByPolicy,
    /// `policy.json` admits only signed images, and we do not check signatures.
    SignatureNotChecked,
    /// No host of the registry's `hosts.toml` may be asked for this (a tag takes `pull` and `resolve`).
    NoHost,
    /// k3s asks only other nodes of the cluster, and none of them shares it.
    PeersOnly,
    /// The registry's name is in brackets and is not an IPv6 address, so that there is no URL for it.
    NoAddress,
}

impl NodeSettingsFault {
    fn proves_failure(self) -> ProvesFailure {
        match self {
            Self::ShortName | Self::Unreadable | Self::PlainHttp | Self::NodeCredential | Self::SignatureNotChecked => {
                ProvesFailure::No
            }
            Self::NoSearchRegistry
            | Self::Ambiguous
            | Self::Blocked
            | Self::InvalidName
            | Self::RejectedByPolicy
            | Self::NoHost
            | Self::PeersOnly
            | Self::NoAddress => ProvesFailure::OnAllNodes,
        }
    }
}

fn proved_by(fault: &ContentFault) -> ProvesFailure {
    match fault {
        ContentFault::NeedsPlugin(_)
        | ContentFault::CrioMayFail(_)
        // If there is nothing to unpack, containerd's transfer service does not count layers.
        | ContentFault::LayerCount { layers: 0, .. }
        | ContentFault::PartForOtherPlatform(_)
        | ContentFault::UnreadableSinceContainerd2(_) => ProvesFailure::OnSomeNodes,
        ContentFault::MediaType(_)
        | ContentFault::EntryType(_)
        | ContentFault::NotJson(_)
        | ContentFault::BodyMismatch(_)
        | ContentFault::WrongKind(_)
        | ContentFault::Empty
        | ContentFault::DigestMalformed(_)
        | ContentFault::DigestWrong
        | ContentFault::OtherDigest { .. }
        | ContentFault::NotServed
        | ContentFault::Unsigned
        | ContentFault::ConfigNotJson(_)
        | ContentFault::ConfigWrongKind
        | ContentFault::SizeOf { .. }
        | ContentFault::LayerCount { .. }
        | ContentFault::DigestIsBlob
        | ContentFault::OtherSize { .. }
        | ContentFault::NoImage
        | ContentFault::CompressedUnderPlainType(_)
        | ContentFault::DiffId(_)
        | ContentFault::Structure(_) => ProvesFailure::OnAllNodes,
    }
}

/// Whether another credential could have got another answer: a failure of authentication or authorization.
pub fn hinges_on_credentials(failure: &Failure) -> bool {
    hinges(&failure.evidence, failure)
}

fn hinges(evidence: &Evidence, failure: &Failure) -> bool {
    match evidence {
        Evidence::Redirected { fails, .. } | Evidence::ByChance { fails, .. } => hinges(fails, failure),
        // A scanner's block (412) and a legal one (451) apply to everyone.
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
        | Evidence::Rejected(Rejection::Status | Rejection::HeadOnly | Rejection::RedirectLoop | Rejection::NoRealm)
        | Evidence::RateLimited
        | Evidence::NameNotResolved
        | Evidence::ConnectionFailed(_)
        | Evidence::TimedOut(_)
        | Evidence::Tls(_)
        | Evidence::ServerError { .. }
        | Evidence::StoppedByGuard(_)
        | Evidence::NodeSettings(_)
        | Evidence::ContentInvalid(_)
        | Evidence::ContentMissing { .. }
        | Evidence::ForeignUrls { .. }
        | Evidence::TooLong { .. }
        | Evidence::NoRegistry { .. }
        | Evidence::Internal => false,
    }
}

/// Whether the registry's answer was about the image itself, so that the credentials used (or none) may read there. Silence, throttling and
/// errors show nothing: anyone can cause some of them.
pub fn shows_readable(failure: &Failure) -> bool {
    readable(&failure.evidence, failure)
}

fn readable(evidence: &Evidence, failure: &Failure) -> bool {
    match evidence {
        Evidence::Redirected { fails, .. } | Evidence::ByChance { fails, .. } => readable(fails, failure),
        Evidence::RepositoryUnknown
        | Evidence::TagUnknown { .. }
        | Evidence::TagWithoutManifest
        | Evidence::DigestUnknown
        | Evidence::ContentInvalid(_)
        | Evidence::ContentMissing { .. }
        | Evidence::ForeignUrls { .. }
        | Evidence::TooLong { .. } => true,
        // A block by a rule (412, 451) is about an image that could otherwise be read.
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
        | Evidence::StoppedByGuard(_)
        | Evidence::NodeSettings(_)
        | Evidence::NoRegistry { .. }
        | Evidence::Internal => false,
    }
}
