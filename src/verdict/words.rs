//! A failure in words: what happened and why (in the registry's own words), what the kubelet would show, what to do.

use super::evidence::{AuthStage, ConnectionFault, ContentFault, Evidence, Failure, Refusal, Rejection, TimeoutStage, TlsFault};
use super::finding::Kubelet;
use crate::image::{Reference, Target, escape};
use std::fmt::Write as _;

/// What the words depend on beside the failure itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topic<'a> {
    /// The image.
    pub(super) reference: &'a Reference,
    /// Which credentials were tried, as a phrase: `secret "regcred"`; `None` for an anonymous attempt.
    pub(super) tried: Option<&'a str>,
    /// The namespace, for the fix.
    pub(super) namespace: &'a str,
}

/// The first sentence: what, and why.
pub(super) fn what(failure: &Failure, topic: Topic<'_>) -> String {
    let repository = escape(topic.reference.repository());
    let target = match topic.reference.target() {
        Target::Tag(tag) => format!("tag \"{tag}\""),
        Target::Digest(digest) => format!("digest {digest}"),
    };
    let said = said(failure);
    let host = escape(&failure.host);
    let with = topic
        .tried
        .map_or_else(|| "without a credential".to_owned(), |tried| format!("with {tried}"));
    let tried = topic.tried.unwrap_or("the credential");
    match &failure.evidence {
        Evidence::RepositoryUnknown => format!("{host} has no repository \"{repository}\"{said}"),
        Evidence::TagUnknown { repository_exists: true } => {
            format!("repository \"{repository}\" exists, {target} does not{said}")
        }
        Evidence::TagUnknown {
            repository_exists: false,
        } => {
            format!("{host} has no {target} in repository \"{repository}\"; it does not say whether the repository exists{said}")
        }
        Evidence::DigestUnknown => format!("{host} has no manifest {target} in repository \"{repository}\"{said}"),
        Evidence::AuthenticationRequired { .. } => {
            format!("{host} asks for authentication: \"{repository}\" does not exist or is not readable {with}{said}")
        }
        Evidence::InsufficientScope { .. } => {
            format!("\"{repository}\" at {host} does not exist or is not readable {with}{said}")
        }
        Evidence::CredentialRefused { at } => {
            let by = match at {
                AuthStage::Basic | AuthStage::Registry => "the registry",
                AuthStage::TokenServer => "the registry's token server",
            };
            format!(
                "{by} {host} refused {tried}; the kubelet does not fall back to an anonymous pull, even of a public image{said}"
            )
        }
        Evidence::Forbidden { address_bound: true, .. } => {
            format!("{host} refuses this caller's address; a node's address may fare otherwise{said}")
        }
        Evidence::Forbidden { .. } => match failure.status {
            Some(412) => format!("{host} blocks this image by a rule of its own (unsigned or vulnerable, for instance){said}"),
            Some(451) => format!("{host} withholds this image for legal reasons{said}"),
            _ => format!("{host} forbids reading \"{repository}\" {with}{said}"),
        },
        Evidence::Rejected(rejection) => {
            let why = match rejection {
                Rejection::Status => format!("{host} rejects the request"),
                Rejection::NoUsableChallenge => {
                    format!("{host} answers 401 without a challenge that a container runtime can answer")
                }
                Rejection::UnauthorizedAgain => format!("{host} answers 401 again, with a fresh token ({with})"),
                Rejection::TokenStatus => format!("the token server {host} rejects the request"),
                Rejection::NoToken => format!("the token server {host} gave no usable token"),
                Rejection::RedirectLoop => format!("{host} redirects more than 10 times"),
                Rejection::NoRealm => format!("{host} asks for a token and names no usable realm"),
            };
            format!("{why}{said}")
        }
        Evidence::RateLimited => {
            let until = failure
                .retry_after
                .map_or_else(String::new, |after| format!("; it asks to wait {} s", after.as_secs()));
            format!("{host} throttles us{said}{until}; whether a node fares better is not known")
        }
        Evidence::NameNotResolved => format!("the name {host} does not resolve from here{said}"),
        Evidence::ConnectionFailed(fault) => match fault {
            ConnectionFault::Refused => format!("{host} refuses connections from here{said}"),
            ConnectionFault::Interrupted => format!("{host} breaks off the connection{said}"),
            ConnectionFault::Unreachable => format!("{host} cannot be reached from here{said}"),
        },
        Evidence::TimedOut(stage) => match stage {
            TimeoutStage::Connect => format!("{host} does not accept a connection in time"),
            TimeoutStage::Response => format!("{host} does not answer in time"),
            TimeoutStage::Deadline => format!("no answer from {host} before the deadline of this review{said}"),
        },
        Evidence::Tls(fault) => match fault {
            TlsFault::UnknownIssuer => format!("the certificate of {host} is signed by an authority that is not trusted here"),
            TlsFault::Expired => format!("the certificate of {host} has expired or is not valid yet"),
            TlsFault::WrongName => format!("the certificate of {host} is for another name"),
            TlsFault::PlainHttp => format!("{host} speaks plain HTTP where HTTPS is expected"),
            TlsFault::Other => format!("no TLS connection to {host} comes about{said}"),
        },
        Evidence::ServerError { token_server } => {
            let who = if *token_server { "the token server " } else { "" };
            format!("{who}{host} fails{said}")
        }
        Evidence::Refused(refusal) => match refusal {
            Refusal::Address { range } => {
                format!("{host} has an address in {range}, which pullgate's settings do not admit; nothing was sent")
            }
            Refusal::NeverAdmitted { address } => format!(
                "{host} has the address {}, a link-local, metadata or reserved address that is never asked; nothing was sent",
                escape(address)
            ),
            Refusal::Redirect => {
                format!("the registry redirects to {host}, which pullgate does not follow; nothing was sent there")
            }
            Refusal::Realm => {
                format!("the registry names {host} as its token server, which pullgate does not admit; nothing was sent there")
            }
        },
        Evidence::ContentInvalid(fault) => content(fault, &host, &target, &said),
        Evidence::ContentMissing {
            part,
            digest,
            media_type,
        } => format!(
            "the manifest exists, its {part} {} ({}) does not{said}",
            escape(digest),
            escape(media_type)
        ),
        Evidence::TooLong { bytes } => {
            format!("the manifest has {bytes} bytes; runtimes reject one over 4393216")
        }
        Evidence::Internal => "pullgate's own look-up failed; this is a bug, see its log".to_owned(),
    }
}

fn content(fault: &ContentFault, host: &str, target: &str, said: &str) -> String {
    match fault {
        ContentFault::MediaType(media_type) if media_type.starts_with("text/html") => {
            format!("{host} answers with a web page (text/html) instead of a manifest: a login page or a proxy?")
        }
        ContentFault::MediaType(media_type) => {
            format!(
                "{host} serves {target} as \"{}\", which no runtime takes for a manifest",
                escape(media_type)
            )
        }
        ContentFault::NotJson => format!("the manifest of {target} at {host} is not JSON"),
        ContentFault::BodyMismatch => format!("the manifest of {target} at {host} is not what its media type says"),
        ContentFault::Empty => format!("{host} reports a manifest of 0 bytes for {target}"),
        ContentFault::DigestMalformed(value) => {
            format!("{host} sends a malformed Docker-Content-Digest, \"{}\"", escape(value))
        }
        ContentFault::DigestWrong => {
            format!("the content that {host} serves for {target} does not have the digest it states{said}")
        }
        ContentFault::ConfigNotJson => format!("the image config of {target} at {host} is not JSON"),
        ContentFault::LayerCount { layers, diff_ids } => {
            format!("number of layers and diffIDs don't match: the manifest has {layers}, the config {diff_ids}")
        }
        ContentFault::DigestIsBlob => format!("{target} names a blob (a config or a layer), not a manifest"),
        ContentFault::Structure(what) => format!("the manifest of {target} at {host} is damaged: {}", escape(what)),
    }
}

/// ` (404 MANIFEST_UNKNOWN: manifest unknown)`, as much of it as is known.
fn said(failure: &Failure) -> String {
    let mut inside = String::new();
    if let Some(status) = failure.status {
        let _ = write!(inside, "{status}");
    }
    if let Some(code) = &failure.code {
        let _ = write!(inside, "{}{}", if inside.is_empty() { "" } else { " " }, escape(code));
    }
    if let Some(detail) = &failure.detail {
        let _ = write!(inside, "{}{}", if inside.is_empty() { "" } else { ": " }, escape(detail));
    }
    if inside.is_empty() { inside } else { format!(" ({inside})") }
}

/// What to do next.
pub(super) fn fix(failure: &Failure, topic: Topic<'_>) -> String {
    let host = escape(&failure.host);
    let registry = escape(topic.reference.registry());
    let repository = escape(topic.reference.repository());
    match &failure.evidence {
        Evidence::TagUnknown { .. } => {
            let closest = if failure.suggestions.is_empty() {
                String::new()
            } else {
                format!(
                    " (closest: {})",
                    failure
                        .suggestions
                        .iter()
                        .map(|tag| escape(tag))
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            };
            let tag = match topic.reference.target() {
                Target::Tag(tag) => tag,
                Target::Digest(digest) => digest.to_string(),
            };
            format!("use a tag that exists{closest}, or push {tag}")
        }
        Evidence::RepositoryUnknown => format!("check the spelling of \"{repository}\", or push the image to {registry}"),
        Evidence::DigestUnknown => "use a digest that the repository holds, or push that manifest".to_owned(),
        Evidence::AuthenticationRequired { .. } | Evidence::InsufficientScope { .. } => format!(
            "check the spelling; for a private image list a pull secret for {registry} in imagePullSecrets (namespace {}); \
             if the nodes hold credentials for {registry}, add it to nodeCredentials",
            or(topic.namespace, "of the pod")
        ),
        Evidence::CredentialRefused { .. } => {
            let tried = topic.tried.unwrap_or("the credential");
            format!("renew {tried} for {registry}, or remove its entry if the image is public")
        }
        Evidence::Forbidden { address_bound: true, .. } => {
            format!("check that the nodes' addresses are admitted by {host}")
        }
        Evidence::Forbidden { .. } => match failure.status {
            Some(412) => format!("ask the owners of {host} why the image is blocked (signature, scan), and push one that passes"),
            Some(451) => "use another source of the image".to_owned(),
            _ => format!(
                "grant read access to \"{repository}\" to {}; if the nodes hold credentials for {registry}, add it to nodeCredentials",
                topic.tried.unwrap_or("a credential, and list it as a pull secret")
            ),
        },
        Evidence::Rejected(_) => format!("ask the owners of {host}; the same request by a node gets the same answer"),
        Evidence::RateLimited => format!("wait, or pull with a credential or through a mirror; nothing is wrong with {repository}"),
        Evidence::NameNotResolved => format!("check the spelling of {host}, and that the nodes can resolve it"),
        Evidence::ConnectionFailed(_) | Evidence::TimedOut(_) => {
            format!("check that {host} is up and that the nodes reach it; pullgate could not")
        }
        Evidence::Tls(TlsFault::PlainHttp) => {
            format!("serve {host} over TLS, or configure it as plain HTTP on the nodes")
        }
        Evidence::Tls(_) => format!("check the certificate of {host}; the nodes must trust it, and so must pullgate to check it"),
        Evidence::ServerError { .. } => format!("try again when {host} works"),
        Evidence::Refused(Refusal::Address { range }) => {
            format!("if a registry may live there, add {range} to network.allow in pullgate's settings")
        }
        Evidence::Refused(_) => format!("check the registry {registry}: where it points is not followed"),
        Evidence::ContentInvalid(ContentFault::DigestIsBlob) => "use the digest of the manifest or index".to_owned(),
        Evidence::ContentInvalid(_) | Evidence::ContentMissing { .. } => {
            format!("push the image again, or repair what {host} serves")
        }
        Evidence::TooLong { .. } => "push a smaller manifest or index (fewer entries or annotations)".to_owned(),
        Evidence::Internal => "try again; report the bug with pullgate's log".to_owned(),
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
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

/// What the kubelet would show for a failed pull, in the words of containerd 1.7 (pull-semantics 6.2).
pub(super) fn kubelet(failure: &Failure, reference: &Reference) -> Option<Kubelet> {
    let name = containerd_reference(reference);
    let pull = prefix(reference);
    let resolve = format!("{pull}failed to resolve reference \"{name}\": ");
    let (method, url) = failure
        .request
        .as_ref()
        .map_or(("HEAD", format!("https://{}/v2/", failure.host)), |request| {
            (request.method, escape_long(&request.url))
        });
    let answered = |status: u16| {
        format!(
            "{resolve}unexpected status from {method} request to {url}: {status} {}",
            reason_phrase(status)
        )
    };
    let denied = "pull access denied, repository does not exist or may require authorization: ";
    let not_found = |text: String| format!("rpc error: code = NotFound desc = {text}");
    let transport = |why: &str| format!("{resolve}failed to do request: {} \"{url}\": {why}", title(method));
    let token = |status: u16, with: &str| {
        format!(
            "{resolve}failed to authorize: failed to fetch {with} token: unexpected status from {method} request to {url}: {status} {}",
            reason_phrase(status)
        )
    };
    let status = failure.status.unwrap_or(0);
    let message = match &failure.evidence {
        Evidence::RepositoryUnknown | Evidence::TagUnknown { .. } | Evidence::DigestUnknown => {
            not_found(format!("{resolve}{name}: not found"))
        }
        Evidence::AuthenticationRequired { at: AuthStage::Basic } => {
            format!("{resolve}{denied}authorization failed: no basic auth credentials")
        }
        Evidence::AuthenticationRequired {
            at: AuthStage::TokenServer,
        } => token(or_status(status, 401), "anonymous"),
        Evidence::CredentialRefused {
            at: AuthStage::TokenServer,
        } => token(or_status(status, 401), "oauth"),
        Evidence::AuthenticationRequired { at: AuthStage::Registry } | Evidence::CredentialRefused { .. } => {
            answered(or_status(status, 401))
        }
        Evidence::InsufficientScope { .. } => {
            format!("{resolve}{denied}server message: insufficient_scope: authorization failed")
        }
        Evidence::Forbidden { .. } => answered(or_status(status, 403)),
        Evidence::Rejected(rejection) => match rejection {
            Rejection::Status => answered(or_status(status, 400)),
            Rejection::NoUsableChallenge | Rejection::UnauthorizedAgain => answered(or_status(status, 401)),
            Rejection::TokenStatus => token(or_status(status, 400), "anonymous"),
            Rejection::NoToken => format!(
                "{resolve}failed to authorize: failed to fetch anonymous token: authorization server did not include a token in the response"
            ),
            Rejection::RedirectLoop => transport("stopped after 10 redirects"),
            Rejection::NoRealm => format!("{resolve}no realm specified for token auth challenge"),
        },
        Evidence::RateLimited => answered(or_status(status, 429)),
        Evidence::ServerError { token_server: true } => token(or_status(status, 500), "anonymous"),
        Evidence::ServerError { token_server: false } => answered(or_status(status, 500)),
        Evidence::NameNotResolved => transport(&format!("dial tcp: lookup {}: no such host", without_port(&failure.host))),
        Evidence::ConnectionFailed(ConnectionFault::Refused) => {
            transport(&format!("dial tcp {}: connect: connection refused", failure.host))
        }
        Evidence::ConnectionFailed(ConnectionFault::Interrupted) => transport("EOF"),
        Evidence::ConnectionFailed(ConnectionFault::Unreachable) => {
            transport(&format!("dial tcp {}: connect: no route to host", failure.host))
        }
        Evidence::TimedOut(TimeoutStage::Connect) => transport(&format!("dial tcp {}: i/o timeout", failure.host)),
        Evidence::Tls(fault) => transport(match fault {
            TlsFault::UnknownIssuer => "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            TlsFault::Expired => "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
            TlsFault::WrongName => "tls: failed to verify certificate: x509: certificate is not valid for this name",
            TlsFault::PlainHttp => "http: server gave HTTP response to HTTPS client",
            TlsFault::Other => "tls: handshake failure",
        }),
        Evidence::ContentInvalid(fault) => match fault {
            ContentFault::MediaType(media_type) => not_found(format!(
                "{pull}failed to copy: httpReadSeeker: failed open: could not fetch content descriptor ({}) from remote: not found",
                escape(media_type)
            )),
            ContentFault::NotJson | ContentFault::BodyMismatch | ContentFault::Structure(_) => {
                format!("{pull}failed to read the manifest: invalid content")
            }
            ContentFault::Empty => format!(
                "rpc error: code = InvalidArgument desc = {pull}unable to fetch descriptor which reports content size of zero: invalid argument"
            ),
            ContentFault::DigestMalformed(value) => {
                format!("{resolve}\"{}\" in header not a valid digest", escape(value))
            }
            ContentFault::DigestWrong => not_found(format!(
                "{pull}failed to copy: httpReadSeeker: failed open: content at {url} not found: not found"
            )),
            ContentFault::ConfigNotJson => format!("{pull}unmarshal image config: invalid character"),
            ContentFault::LayerCount { layers, diff_ids } => {
                format!("{pull}number of layers and diffIDs don't match: {layers} != {diff_ids}")
            }
            ContentFault::DigestIsBlob => not_found(format!("{pull}unexpected media type application/octet-stream: not found")),
        },
        Evidence::ContentMissing { digest, media_type, .. } => not_found(format!(
            "{pull}failed to copy: httpReadSeeker: failed open: could not fetch content descriptor {} ({}) from remote: not found",
            escape(digest),
            escape(media_type)
        )),
        Evidence::TooLong { bytes } => not_found(format!("{resolve}rejecting {bytes} byte manifest for {name}: not found")),
        // What a node would see is not known in these cases.
        Evidence::TimedOut(TimeoutStage::Response | TimeoutStage::Deadline) | Evidence::Refused(_) | Evidence::Internal => {
            return None;
        }
    };
    Some(Kubelet {
        reason: "ErrImagePull".to_owned(),
        message,
    })
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

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// URLs are longer than what [`escape`] keeps; they hold nothing but what the reference and the registry gave.
fn escape_long(url: &str) -> String {
    url.chars().filter(|c| !c.is_control()).take(600).collect()
}

/// The phrases Go prints behind a status.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Precondition Failed",
        415 => "Unsupported Media Type",
        418 => "I'm a teapot",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

/// The end of a kubelet message, past the parts that only repeat the name; what a person looks for.
pub(super) fn tail(message: &str) -> &str {
    message
        .rfind("\": ")
        .map_or(message, |at| message.get(at + 3..).unwrap_or(message))
}
