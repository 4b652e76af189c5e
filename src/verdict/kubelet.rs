//! What a kubelet would show for a failed pull, in containerd's own words (pull-semantics 6.2). People search for these texts.
//!
//! Measured with the kubelet of Kubernetes 1.37.2 and containerd 2.4.2, by its transfer service and by its client; the words of containerd
//! 1.x by CRI, on 1.7.34. Messages of gRPC's code Unknown come bare, others keep their `rpc error: code = … desc = `. What cannot be
//! predicted is left out at the end (which member of a manifest has the wrong type, what a registry says in the body of an error other than a 403) or
//! appears as `...` (names of temporary files).

use super::audience::{Audience, Group};
use super::finding::Kubelet;
use super::wording::resting_on;
use crate::image::platform::IndexRules;
use crate::image::{Reference, Target, escape};
use crate::runtime::containerd::PullPath;
use crate::runtime::outcome::{
    AuthStage, CUT_SHORT, ConnectionFault, ContentFault, Evidence, Failure, NodeSettingsFault, Purpose, Rejection, ScopeError,
    TimeoutStage, TlsFault, WEB_PAGE,
};
use core::net::Ipv4Addr;

/// How nodes pull, and so in which words they fail: the newest path of the candidate nodes; today's where none is known (that of
/// `use_local_image_pull`, which turns to the client, is not seen from outside). `None` where all of them run CRI-O, whose words are others.
pub(super) fn newest_path(audience: &Audience) -> Option<PullPath> {
    let all = |known: &[IndexRules]| {
        let mut groups = audience.groups.iter().map(Group::index_rules);
        !audience.groups.is_empty() && groups.all(|its| !its.is_empty() && its.iter().all(|one| known.contains(one)))
    };
    if all(&[IndexRules::CriO]) {
        None
    } else if all(&[IndexRules::ContainerdOld, IndexRules::ContainerdClient, IndexRules::CriO]) {
        Some(PullPath::Local)
    } else {
        Some(PullPath::Transfer)
    }
}

/// The reference as containerd prints it (`ParseDockerRef`: a tag beside a digest is dropped).
pub(super) fn containerd_reference(reference: &Reference) -> String {
    match reference.target() {
        Target::Tag(tag) => format!("{}:{tag}", reference.name()),
        Target::Digest(digest) => format!("{}@{digest}", reference.name()),
    }
}

/// `failed to pull and unpack image "REF": `, with which most of containerd's texts begin.
fn prefix(reference: &Reference) -> String {
    format!("failed to pull and unpack image \"{}\": ", containerd_reference(reference))
}

fn not_found(text: &str) -> String {
    format!("rpc error: code = NotFound desc = {text}")
}

fn invalid_argument(text: &str) -> String {
    format!("rpc error: code = InvalidArgument desc = {text}: invalid argument")
}

fn err_image_pull(message: String) -> Kubelet {
    Kubelet {
        reason: "ErrImagePull".to_owned(),
        message,
    }
}

/// Why an index does not serve a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoMatch<'a> {
    /// No entry is for the node.
    Entry,
    /// An entry without a platform was fetched, and its config is not for the node.
    Config,
    /// The entry of this digest is for what the node is compatible with. The transfer service does not fetch it, and then looks for it.
    NotFetched(&'a str),
}

/// The index of this digest serves no node.
pub(super) fn no_platform(path: Option<PullPath>, why: NoMatch<'_>, index: &str, reference: &Reference) -> Option<Kubelet> {
    let text = match (path?, why) {
        (PullPath::Local, NoMatch::Entry | NoMatch::NotFetched(_)) => {
            format!("{}no match for platform in manifest: not found", prefix(reference))
        }
        (PullPath::Local, NoMatch::Config) | (PullPath::Transfer, NoMatch::Entry | NoMatch::Config) => {
            format!("get image config descriptor: no match for platform in manifest {index}: not found")
        }
        (PullPath::Transfer, NoMatch::NotFetched(entry)) => {
            format!("get image config descriptor: content digest {}: not found", escape(entry))
        }
    };
    Some(err_image_pull(not_found(&text)))
}

/// The image of this name was pulled, and could not be measured by the entry of this digest, which was not fetched.
pub(super) fn unmeasured(path: Option<PullPath>, name: &str, entry: &str) -> Option<Kubelet> {
    path?;
    Some(err_image_pull(not_found(&format!(
        "failed to update image store \"{name}\": get image info from containerd: get image compressed resource size: \
         content digest {}: not found",
        escape(entry)
    ))))
}

/// An artifact: the client holds its layers against a config that counts none. The transfer service pulls it.
pub(super) fn artifact(path: Option<PullPath>, reference: &Reference) -> Option<Kubelet> {
    path?;
    Some(err_image_pull(format!(
        "{}failed to unpack image on snapshotter overlayfs: mismatched image rootfs and manifest layers",
        prefix(reference)
    )))
}

/// A manifest of schema 1, which containerd refuses since 2.1.
pub(super) fn schema1(path: Option<PullPath>, reference: &Reference) -> Option<Kubelet> {
    path?;
    let text = format!("{}schema 1 image manifests are no longer supported", prefix(reference));
    Some(err_image_pull(invalid_argument(&text)))
}

/// What the kubelet would show for a failed pull (pull-semantics 6.2). `None` where that is not known.
pub(super) fn predict(failure: &Failure, reference: &Reference, path: Option<PullPath>) -> Option<Kubelet> {
    if let Evidence::CredentialNotText { .. } = failure.evidence {
        // Its own, whatever the runtime.
        let text = "rpc error: code = Internal desc = grpc: error while marshaling: string field contains invalid UTF-8";
        return Some(err_image_pull(text.to_owned()));
    }
    let Some(path) = path else {
        return of_crio(failure, reference);
    };
    if let Some(reported) = &failure.reported_instead {
        return predict(reported, reference, Some(path));
    }
    Phrases::of(failure, reference, path).kubelet()
}

/// The same for CRI-O, whose whole text is known or nothing of it.
fn of_crio(failure: &Failure, reference: &Reference) -> Option<Kubelet> {
    // Of a registry that refuses connections the kubelet makes a sentence of its own.
    let said = failure
        .runtime_text
        .as_deref()
        .filter(|said| !said.starts_with("RegistryUnavailable: "))?;
    // This applies to images that a policy rejects, too.
    let (reason, said) = match said.strip_prefix("SignatureValidationFailed") {
        Some(rest) => {
            let image = containerd_reference(reference);
            let text = format!("image pull failed for {image} because the signature validation failed{rest}");
            ("SignatureValidationFailed", text)
        }
        None => ("ErrImagePull", said.to_owned()),
    };
    Some(Kubelet {
        reason: reason.to_owned(),
        message: escape_words(&said),
    })
}

const DENIED: &str = "pull access denied, repository does not exist or may require authorization: ";

/// The parts from which containerd's text about one failure is made.
struct Phrases<'a> {
    failure: &'a Failure,
    reference: &'a Reference,
    path: PullPath,
    /// The reference as containerd prints it.
    name: String,
    /// How nearly all begin.
    pull: String,
    /// How those begin that are about resolving the reference.
    resolve: String,
    /// How those begin that are about the request. A token server's failures have their own.
    stage: String,
    /// What HEAD found, or a redirect leads to, is fetched by its digest, and fails in other words.
    fetching: bool,
    method: &'static str,
    url: String,
    purpose: Purpose,
    /// What the registry says in the body (`unexpectedResponseErr`; `dockerFetcher.open` of 1.x), but no token server (`auth.FetchToken`). Of
    /// several errors containerd makes a list.
    printed: String,
    /// The URL as the host's settings have it.
    written: String,
    /// 0 if there was no answer.
    status: u16,
    /// The digest of the content concerned; empty if there is none.
    about: String,
}

impl<'a> Phrases<'a> {
    fn of(failure: &'a Failure, reference: &'a Reference, path: PullPath) -> Self {
        let name = containerd_reference(reference);
        let pull = prefix(reference);
        let resolve = match path {
            PullPath::Local => format!("{pull}failed to resolve reference \"{name}\": "),
            PullPath::Transfer => format!("{pull}failed to resolve image: "),
        };
        let (method, url, purpose) = failure.request.as_ref().map_or_else(
            || {
                let target = match reference.target() {
                    Target::Tag(tag) => tag,
                    Target::Digest(digest) => digest.to_string(),
                };
                let url = format!("https://{}/v2/{}/manifests/{target}", failure.host, reference.repository());
                ("HEAD", url, Purpose::Content)
            },
            |request| (request.method, escape_long(&request.url), request.purpose),
        );
        let fetching =
            purpose == Purpose::Content && method == "GET" && (!url.contains("/manifests/") || url.contains("/manifests/sha"));
        let stage = match purpose {
            Purpose::Content if fetching => format!("{pull}failed to copy: httpReadSeeker: failed open: "),
            Purpose::Content => resolve.clone(),
            Purpose::AnonymousToken => at_token(&resolve, "anonymous"),
            Purpose::OauthToken => at_token(&resolve, "oauth"),
        };
        let printed = failure
            .registry_errors_as_printed
            .iter()
            .filter(|_| purpose == Purpose::Content);
        let printed: Vec<String> = printed.flat_map(|printed| printed.lines()).map(escape_words).collect();
        Self {
            written: as_written(&url, failure, reference),
            status: failure.status.unwrap_or(0),
            about: failure.digest.as_deref().map(escape_long).unwrap_or_default(),
            printed: printed.join("\n"),
            failure,
            reference,
            path,
            name,
            pull,
            resolve,
            stage,
            fetching,
            method,
            url,
            purpose,
        }
    }

    fn kubelet(&self) -> Option<Kubelet> {
        let Self {
            failure,
            reference,
            path,
            name,
            pull,
            resolve,
            stage,
            fetching,
            written,
            status,
            ..
        } = self;
        let message = match &failure.evidence {
            Evidence::Redirected { fails, .. } | Evidence::NoRegistry { fails, .. } | Evidence::ByChance { fails, .. } => {
                return predict(&resting_on(failure, fails), reference, Some(*path));
            }
            Evidence::RepositoryUnknown | Evidence::TagUnknown { .. } | Evidence::TagWithoutManifest | Evidence::DigestUnknown => {
                not_found(&format!("{resolve}{name}: not found"))
            }
            Evidence::AuthenticationRequired { at: AuthStage::Basic } if *fetching => {
                format!("{stage}authorization failed: no basic auth credentials")
            }
            Evidence::AuthenticationRequired { at: AuthStage::Basic } => {
                format!("{resolve}{DENIED}authorization failed: no basic auth credentials")
            }
            Evidence::AuthenticationRequired {
                at: AuthStage::TokenServer,
            } => self.token(or_status(*status, 401), "anonymous"),
            Evidence::CredentialRefused {
                at: AuthStage::TokenServer,
            } => self.token(or_status(*status, 401), "oauth"),
            Evidence::AuthenticationRequired { at: AuthStage::Registry } | Evidence::CredentialRefused { .. } => {
                self.answered(or_status(*status, 401))
            }
            Evidence::InsufficientScope {
                error: ScopeError::Unnamed,
                ..
            } => self.answered(or_status(*status, 401)),
            Evidence::InsufficientScope {
                error: ScopeError::Named,
                ..
            } if *fetching => format!("{stage}server message: insufficient_scope: authorization failed"),
            Evidence::InsufficientScope {
                error: ScopeError::Named,
                ..
            } => {
                format!("{resolve}{DENIED}server message: insufficient_scope: authorization failed")
            }
            Evidence::Forbidden { .. } => self.answered(or_status(*status, 403)),
            Evidence::Rejected(Rejection::HeadOnly) if *status == 404 => not_found(&format!("{resolve}{name}: not found")),
            Evidence::Rejected(rejection) => self.rejection(*rejection),
            Evidence::NodeSettings(fault) => self.node_settings(*fault)?,
            Evidence::RateLimited => self.answered(or_status(*status, 429)),
            Evidence::ServerError { token_server: true } => self.token(or_status(*status, 500), self.whose()),
            Evidence::ServerError { token_server: false } => self.answered(or_status(*status, 500)),
            Evidence::NameNotResolved | Evidence::ConnectionFailed(_) | Evidence::TimedOut(_) | Evidence::Tls(_) => {
                self.unanswered()?
            }
            Evidence::ContentInvalid(fault) => return self.content_fault(fault),
            Evidence::ContentMissing {
                part: "child manifest", ..
            } => not_found(&format!(
                "{pull}failed to copy: httpReadSeeker: failed open: content at {written} not found: not found"
            )),
            Evidence::ContentMissing { digest, media_type, .. } => not_found(&format!(
                "{pull}failed to copy: httpReadSeeker: failed open: could not fetch content descriptor {} ({}) from remote: not found",
                escape(digest),
                escape(media_type)
            )),
            Evidence::TooLong { bytes } => not_found(&format!("{resolve}rejecting {bytes} byte manifest for {name}: not found")),
            // What a node would see is not known in these cases; of the first it is said above.
            Evidence::CredentialNotText { .. }
            | Evidence::StoppedByGuard(_)
            | Evidence::ForeignUrls { .. }
            | Evidence::Internal => {
                return None;
            }
        };
        Some(err_image_pull(message))
    }

    /// Of a refusal.
    fn rejection(&self, rejection: Rejection) -> String {
        let Self {
            failure,
            resolve,
            stage,
            fetching,
            status,
            ..
        } = self;
        let whose = self.whose();
        match rejection {
            Rejection::Status | Rejection::HeadOnly => self.answered(or_status(*status, 400)),
            Rejection::NoUsableChallenge => self.answered(or_status(*status, 401)),
            // The error that registries name here.
            Rejection::UnauthorizedAgain => {
                let before = if *fetching {
                    stage.clone()
                } else {
                    format!("{resolve}{DENIED}")
                };
                format!("{before}server message: invalid_token: authorization failed")
            }
            Rejection::TokenStatus => self.token(or_status(*status, 400), whose),
            Rejection::NoToken if failure.detail.as_deref() == Some(WEB_PAGE) => {
                let stage = at_token(resolve, whose);
                format!("{stage}unable to decode token response: invalid character '<' looking for beginning of value")
            }
            Rejection::NoToken => format!(
                "{resolve}failed to authorize: failed to fetch {whose} token: authorization server did not include a token in the response"
            ),
            Rejection::RedirectLoop => self.transport("stopped after 10 redirects"),
            Rejection::NoRealm => format!("{resolve}no realm specified for token auth challenge"),
        }
    }

    /// Where the node's settings lead to no registry.
    fn node_settings(&self, fault: NodeSettingsFault) -> Option<String> {
        let Self {
            failure, name, resolve, ..
        } = self;
        Some(match fault {
            NodeSettingsFault::PeersOnly => not_found(&format!("{resolve}{name}: not found")),
            NodeSettingsFault::NoHost => not_found(&format!("{resolve}no resolve hosts: not found")),
            NodeSettingsFault::NoAddress => {
                let address = failure.host.trim_start_matches('[').split(']').next().unwrap_or_default();
                // For an address with colons, Go's text has more than is known here.
                let why = if address.contains(':') { "" } else { "unable to parse IP" };
                format!("{resolve}parse \"dummy://{name}\": invalid host: ParseAddr(\"{address}\"): {why}")
            }
            // CRI-O's, whose words are others, and those where what a node would see is not known.
            NodeSettingsFault::ShortName
            | NodeSettingsFault::Unreadable
            | NodeSettingsFault::NoSearchRegistry
            | NodeSettingsFault::Ambiguous
            | NodeSettingsFault::Blocked
            | NodeSettingsFault::InvalidName
            | NodeSettingsFault::PlainHttp
            | NodeSettingsFault::NodeCredential
            | NodeSettingsFault::RejectedByPolicy
            | NodeSettingsFault::SignatureNotChecked => return None,
        })
    }

    /// Where no answer came.
    fn unanswered(&self) -> Option<String> {
        let Self {
            failure,
            path,
            pull,
            url,
            purpose,
            ..
        } = self;
        let dialled = address(&failure.host, url);
        let wrong_name = format!(
            "tls: failed to verify certificate: x509: certificate is valid for ..., not {}",
            without_port(&failure.host)
        );
        Some(match &failure.evidence {
            // Found out before anybody is asked.
            Evidence::ConnectionFailed(_) if let Some(port) = impossible_port(&failure.host) => {
                self.transport(&format!("dial tcp: address {port}: invalid port"))
            }
            Evidence::NameNotResolved => self.transport(&format!(
                "dial tcp: lookup {} on ...:53: no such host",
                without_port(&failure.host)
            )),
            Evidence::ConnectionFailed(ConnectionFault::Refused) => {
                self.transport(&format!("dial tcp {dialled}: connect: connection refused"))
            }
            // Where less comes than the manifest says, it is asked for again, and found to be too short.
            Evidence::ConnectionFailed(ConnectionFault::Interrupted)
                if *purpose == Purpose::Content && failure.detail.as_deref() == Some(CUT_SHORT) =>
            {
                match path {
                    PullPath::Local => format!("{pull}failed to read expected number of bytes: unexpected EOF"),
                    PullPath::Transfer => format!("{pull}short read: expected ... bytes but got ...: unexpected EOF"),
                }
            }
            Evidence::ConnectionFailed(ConnectionFault::Interrupted) => self.transport("EOF"),
            Evidence::ConnectionFailed(ConnectionFault::Unreachable) => {
                self.transport(&format!("dial tcp {dialled}: connect: no route to host"))
            }
            Evidence::TimedOut(TimeoutStage::Connect) => self.transport(&format!("dial tcp {dialled}: i/o timeout")),
            Evidence::TimedOut(TimeoutStage::Handshake) => self.transport("net/http: TLS handshake timeout"),
            Evidence::TimedOut(TimeoutStage::Response) => match path {
                // They wait until the pull has made no progress for five minutes (`image_pull_progress_timeout`).
                PullPath::Local => format!("rpc error: code = Canceled desc = {}", self.transport("context canceled")),
                // For thirty seconds, since 2.3.
                PullPath::Transfer => {
                    let text = self.transport("net/http: timeout awaiting response headers");
                    format!("rpc error: code = DeadlineExceeded desc = {text}")
                }
            },
            Evidence::Tls(fault) => self.transport(match fault {
                TlsFault::UnknownIssuer => "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                TlsFault::Expired => "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
                TlsFault::WrongName => &wrong_name,
                TlsFault::PlainHttp => "http: server gave HTTP response to HTTPS client",
                TlsFault::Other => "tls: handshake failure",
            }),
            _ => return None,
        })
    }

    /// Of content that cannot be used.
    fn content_fault(&self, fault: &ContentFault) -> Option<Kubelet> {
        let Self {
            reference,
            path,
            pull,
            resolve,
            written,
            about,
            ..
        } = self;
        let unknown = match path {
            PullPath::Local => ": unknown",
            PullPath::Transfer => "",
        };
        let message = match fault {
            ContentFault::MediaType(media_type) | ContentFault::EntryType(media_type) => not_found(&format!(
                "{pull}failed to copy: httpReadSeeker: failed open: could not fetch content descriptor {} from remote: not found",
                self.with_digest(&format!("({})", escape(media_type)))
            )),
            ContentFault::NotJson(said) if !about.is_empty() => format!("{pull}children: invalid desc {about}: {said}"),
            ContentFault::BodyMismatch(why) if !about.is_empty() => {
                format!("{pull}children: invalid desc {about}: media-type: {}", escape(why))
            }
            ContentFault::WrongKind(_) | ContentFault::UnreadableSinceContainerd2(_) => format!("{pull}json: cannot unmarshal"),
            // What more there is to it differs.
            ContentFault::Unsigned | ContentFault::NotJson(_) | ContentFault::BodyMismatch(_) | ContentFault::Structure(_) => {
                pull.trim_end_matches(": ").to_owned()
            }
            ContentFault::OtherSize { says, .. } if *says < 0 && *path == PullPath::Transfer => invalid_argument(&format!(
                "{pull}unable to fetch descriptor ({about}) which reports negative content size ({says})"
            )),
            ContentFault::Empty | ContentFault::OtherSize { says: 0, .. } => invalid_argument(&format!(
                "{pull}unable to fetch descriptor {}which reports content size of zero",
                if about.is_empty() {
                    String::new()
                } else {
                    format!("({about}) ")
                }
            )),
            ContentFault::DigestMalformed(value) => {
                format!(
                    "{resolve}\"{}\" in header not a valid digest: {}",
                    escape(value).replace('"', "\\\""),
                    why_no_digest(value)
                )
            }
            ContentFault::OtherDigest { part, has } => format!(
                "rpc error: code = FailedPrecondition desc = {pull}failed commit on ref \"{}-{about}\": unexpected commit digest {has}, \
                 expected {about}: failed precondition",
                part.trim_start_matches("child ")
            ),
            ContentFault::DigestWrong | ContentFault::NotServed => not_found(&format!(
                "{pull}failed to copy: httpReadSeeker: failed open: content at {written} not found: not found"
            )),
            ContentFault::ConfigNotJson(said) => format!("{pull}unmarshal image config: {said}"),
            ContentFault::ConfigWrongKind => match path {
                PullPath::Local => format!("{pull}unmarshal image config"),
                PullPath::Transfer => {
                    format!("failed to update image store \"{about}\": get image info from containerd: get image diffIDs")
                }
            },
            ContentFault::SizeOf { digest, says: 0, .. } => invalid_argument(&format!(
                "{pull}unable to fetch descriptor ({}) which reports content size of zero",
                escape(digest)
            )),
            ContentFault::SizeOf { digest, says, .. } => match path {
                PullPath::Local => format!(
                    "rpc error: code = FailedPrecondition desc = {pull}failed commit on ref \"...-{}\": failed size validation",
                    escape(digest)
                ),
                PullPath::Transfer => invalid_argument(&format!(
                    "{pull}unable to fetch descriptor ({}) which reports negative content size ({says})",
                    escape(digest)
                )),
            },
            ContentFault::LayerCount { layers: 0, .. } => {
                format!("{pull}failed to unpack image on snapshotter overlayfs: mismatched image rootfs and manifest layers")
            }
            ContentFault::LayerCount { layers, diff_ids } => {
                format!("{pull}number of layers and diffIDs don't match: {layers} != {diff_ids}")
            }
            ContentFault::OtherSize { has, says, .. } if has < says => match path {
                PullPath::Local => format!("{pull}failed to read expected number of bytes: unexpected EOF"),
                PullPath::Transfer => format!("{pull}short read: expected {says} bytes but got {has}: unexpected EOF"),
            },
            ContentFault::OtherSize { says, .. } if *path == PullPath::Transfer => {
                format!(
                    "rpc error: code = FailedPrecondition desc = {pull}failed to copy: httpReadSeeker: read past expected size {says}: \
                     failed precondition"
                )
            }
            ContentFault::OtherSize { part, has, says, .. } => {
                let kept = format!("{}-{about}", part.trim_start_matches("child "));
                let commit = format!("failed commit on ref \"{kept}\": \"{kept}\" ");
                format!(
                    "rpc error: code = FailedPrecondition desc = {pull}{}failed size validation: {has} != {says}: failed precondition",
                    if about.is_empty() { "" } else { &commit }
                )
            }
            ContentFault::NoImage => return no_platform(Some(*path), NoMatch::Entry, about, reference),
            ContentFault::NeedsPlugin(media_type) => {
                let layer = self.extracting(media_type);
                format!(
                    "{layer}failed to get stream processor for {}: no processor for media-type{unknown}",
                    escape(media_type)
                )
            }
            ContentFault::CompressedUnderPlainType(media_type) => {
                let layer = self.extracting(media_type);
                format!("{layer}mount callback failed on ...: archive/tar: invalid tar header{unknown}")
            }
            // Of CRI-O alone, whose words are others.
            ContentFault::CrioMayFail(_) => pull.trim_end_matches(": ").to_owned(),
            ContentFault::DiffId(id) => match path {
                PullPath::Local => format!("{pull}wrong diff id calculated on extraction \"{}\"", escape_long(id)),
                PullPath::Transfer => format!("{pull}wrong diff id \"...\" calculated on extraction \"{}\"", escape_long(id)),
            },
            ContentFault::PartForOtherPlatform(_) => not_found(&match path {
                PullPath::Local => format!(
                    "{pull}failed to unpack image on snapshotter overlayfs: failed to resolve rootfs: content digest {about}: not found"
                ),
                PullPath::Transfer => format!(
                    "failed to update image store \"{about}\": get image info from containerd: get image diffIDs: \
                     content digest {about}: not found"
                ),
            }),
            ContentFault::DigestIsBlob => {
                let digest = match reference.target() {
                    Target::Digest(digest) => format!(" for {digest}"),
                    Target::Tag(_) => String::new(),
                };
                let stage = match path {
                    PullPath::Local => format!("{pull}failed to unpack image on snapshotter overlayfs"),
                    PullPath::Transfer => "get image config descriptor".to_owned(),
                };
                not_found(&format!(
                    "{stage}: unexpected media type application/octet-stream{digest}: not found"
                ))
            }
        };
        Some(err_image_pull(message))
    }

    /// Whose token a token server was asked for.
    fn whose(&self) -> &'static str {
        match self.purpose {
            Purpose::Content | Purpose::AnonymousToken => "anonymous",
            Purpose::OauthToken => "oauth",
        }
    }

    /// An answer of this status.
    fn answered(&self, status: u16) -> String {
        let Self {
            path,
            stage,
            fetching,
            printed,
            written,
            ..
        } = self;
        let (before, between) = if *fetching && *path == PullPath::Local {
            let text = format!("{stage}unexpected status code {written}: {status} {}", reason_phrase(status));
            (text, " - Server message: ")
        } else {
            (self.status_of(stage, status), "\n")
        };
        if printed.is_empty() {
            before
        } else {
            format!("{before}{between}{printed}")
        }
    }

    /// A token server's answer of this status.
    fn token(&self, status: u16, whose: &str) -> String {
        self.status_of(&at_token(&self.resolve, whose), status)
    }

    fn status_of(&self, before: &str, status: u16) -> String {
        let Self { method, url, .. } = self;
        format!(
            "{before}unexpected status from {method} request to {url}: {status} {}",
            reason_phrase(status)
        )
    }

    /// A request without an answer, and why.
    fn transport(&self, why: &str) -> String {
        let Self { method, url, stage, .. } = self;
        match self.purpose {
            Purpose::Content => format!("{stage}failed to do request: {} \"{url}\": {why}", title(method)),
            Purpose::AnonymousToken | Purpose::OauthToken => format!("{stage}{} \"{url}\": {why}", title(method)),
        }
    }

    fn with_digest(&self, text: &str) -> String {
        if self.about.is_empty() {
            text.to_owned()
        } else {
            format!("{} {text}", self.about)
        }
    }

    fn extracting(&self, media_type: &str) -> String {
        let pull = &self.pull;
        match self.path {
            PullPath::Local => format!("{pull}failed to extract layer ...: "),
            PullPath::Transfer => {
                format!(
                    "{pull}failed to extract layer ({} ...) to overlayfs as \"extract-...\": ",
                    escape(media_type)
                )
            }
        }
    }
}

/// How a token server's failures begin.
fn at_token(resolve: &str, whose: &str) -> String {
    format!("{resolve}failed to authorize: failed to fetch {whose} token: ")
}

/// Word by word, because the whole may be longer than [`escape`] allows for one name.
fn escape_words(line: &str) -> String {
    line.split(' ').map(escape).collect::<Vec<_>>().join(" ")
}

/// The address as the host's settings have it: it does not change where a loopback registry is asked without TLS in the end.
fn as_written(url: &str, failure: &Failure, reference: &Reference) -> String {
    match url.strip_prefix("http://") {
        Some(rest) if failure.host == reference.registry() && !failure.host.ends_with(":80") => format!("https://{rest}"),
        _ => url.to_owned(),
    }
}

/// What Go's digest package says about an invalid digest.
fn why_no_digest(text: &str) -> &'static str {
    let Some((algorithm, hex)) = text
        .split_once(':')
        .filter(|(algorithm, hex)| !algorithm.is_empty() && !hex.is_empty())
    else {
        return "invalid checksum digest format";
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ if algorithm.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) => return "unsupported digest algorithm",
        _ => return "invalid checksum digest format",
    };
    if hex.len() == length {
        "invalid checksum digest format"
    } else {
        "invalid checksum digest length"
    }
}

fn or_status(status: u16, otherwise: u16) -> u16 {
    if status == 0 { otherwise } else { status }
}

fn title(method: &str) -> &str {
    match method {
        "HEAD" => "Head",
        "GET" => "Get",
        "POST" => "Post",
        other => other,
    }
}

/// The port of `host:port`, where it is over 65535.
fn impossible_port(host: &str) -> Option<&str> {
    let (_, port) = host.rsplit_once(':')?;
    (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_err()).then_some(port)
}

/// What a connection to `host[:port]` is made to; the address of a name is not known.
fn address(host: &str, url: &str) -> String {
    let name = without_port(host);
    let port = match host.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')) {
        Some(port) => port,
        None if url.starts_with("http://") => "80",
        None => "443",
    };
    let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
    format!("{}:{port}", if is_address { name } else { "..." })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// URLs are longer than [`escape`] allows; they hold only text from the reference and the registry.
fn escape_long(url: &str) -> String {
    url.chars().filter(|c| !c.is_control()).take(600).collect()
}

/// The phrases Go prints behind a status.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// The end of a kubelet message, past the parts that only repeat the name; what a person looks for.
pub(super) fn tail(message: &str) -> &str {
    let end = message
        .rfind("\": ")
        .map_or(message, |at| message.get(at + 3..).unwrap_or(message));
    end.strip_prefix("failed to resolve image: ").unwrap_or(end)
}
