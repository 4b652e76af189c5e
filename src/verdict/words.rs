//! A failure in words: what happened and why (in the registry's own words), and what to do.

use super::evidence::{AuthStage, ConnectionFault, ContentFault, Evidence, Failure, Refusal, Rejection, TimeoutStage, TlsFault};
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
                Rejection::NoHost => format!("the hosts.toml for {host} names no host that may be asked for {target}"),
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
        Evidence::Elsewhere { host, digest } => format!(
            "layer {} is to be fetched from {} before the registry is asked; pullgate does not ask there",
            escape(digest),
            escape(host)
        ),
        Evidence::SentOn { by, fails } => format!(
            "{} redirects to {host} for this; {}",
            escape(by),
            what(&resting_on(failure, fails), topic)
        ),
        Evidence::TooLong { bytes } => {
            format!("the manifest has {bytes} bytes; runtimes reject one over 4393216")
        }
        Evidence::SomeRuntimes(fails) => format!(
            "{}; containerd 1.x passes over the nodes' hosts.toml, asks the registry itself, and gets the image",
            what(&resting_on(failure, fails), topic)
        ),
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
        ContentFault::EntryType(media_type) => {
            format!(
                "{target} lists an image of type \"{}\", which no runtime takes for a manifest",
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
        Evidence::Rejected(Rejection::NoHost) => {
            format!("give a host in the nodes' hosts.toml for {registry} the capabilities \"pull\" and \"resolve\"")
        }
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
        Evidence::Elsewhere { host, .. } => format!(
            "check that the nodes reach {}, or push the image again with its layers in the registry",
            escape(host)
        ),
        Evidence::SentOn { by, .. } => format!(
            "let the nodes reach {host} too, not {} alone{}",
            escape(by),
            data_endpoint(&host)
        ),
        Evidence::TooLong { .. } => "push a smaller manifest or index (fewer entries or annotations)".to_owned(),
        Evidence::SomeRuntimes(fails) => fix(&resting_on(failure, fails), topic),
        Evidence::Internal => "try again; report the bug with pullgate's log".to_owned(),
    }
}

/// Azure's registries keep manifests at one host and everything else at another; firewall rules that know the first only are common.
fn data_endpoint(host: &str) -> &'static str {
    let name = host.split(':').next().unwrap_or_default();
    if name.ends_with(".data.azurecr.io") || name.ends_with(".blob.core.windows.net") {
        " (firewall rules for Azure's registry need its data endpoint, *.data.azurecr.io or *.blob.core.windows.net)"
    } else {
        ""
    }
}

/// The same failure, resting on another evidence.
pub(super) fn resting_on(failure: &Failure, evidence: &Evidence) -> Failure {
    Failure {
        evidence: evidence.clone(),
        ..failure.clone()
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}
