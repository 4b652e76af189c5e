//! A failure in words: what happened and why (in the registry's own words), and what to do.

pub(super) mod asked;
mod fix;
pub(super) mod hint;
mod quota;

pub(super) use fix::fix;
pub(super) use quota::quota;

use crate::image::{Reference, Target, escape};
use crate::runtime::content::UNSIGNED_SCHEMA1;
use crate::runtime::outcome::{
    AuthStage, ConnectionFault, ContentFault, Evidence, Failure, GuardRule, NodeSettingsFault, Rejection, TimeoutStage, TlsFault,
    UnreadLayer,
};
use crate::runtime::{containerd, crio};
use std::fmt::Write as _;
use std::time::Duration;

/// What the words depend on beside the failure itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topic<'a> {
    /// The image.
    pub(super) reference: &'a Reference,
    /// Which credentials were tried, as a phrase: `secret "regcred"`; `None` for an anonymous attempt.
    pub(super) tried: Option<&'a str>,
    /// The namespace, for the fix.
    pub(super) namespace: &'a str,
    /// Whether the image names its registry.
    pub(super) naming: Naming,
    /// Whether the nodes have pulled of its repository before.
    pub(super) pulled: Pulled,
}

/// Whether the nodes have pulled of a repository by what they hold themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulled {
    /// Nothing is known of that.
    Unknown,
    /// Pods of the object run with an image of it.
    Before,
}

/// Whether an image names its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// `registry.example/app`, or a rewrite gave it one.
    #[default]
    Full,
    /// `app`, `team/app`: it is Docker Hub's, which not everybody means.
    Short,
    /// The same, and the nodes completed it by their own settings (CRI-O).
    Completed,
}

/// Whether Docker Hub's answer may be about another image than the one that was meant.
fn may_mean_another(failure: &Failure, topic: Topic<'_>) -> bool {
    topic.naming == Naming::Short
        && match &failure.evidence {
            Evidence::RepositoryUnknown
            | Evidence::TagUnknown { .. }
            | Evidence::TagWithoutManifest
            | Evidence::DigestUnknown
            | Evidence::AuthenticationRequired { .. }
            | Evidence::InsufficientScope { .. } => true,
            Evidence::Forbidden { address_bound, .. } => !address_bound && !matches!(failure.status, Some(412 | 451)),
            Evidence::CredentialRefused { .. }
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
            | Evidence::ContentInvalid(_)
            | Evidence::ContentMissing { .. }
            | Evidence::ForeignUrls { .. }
            | Evidence::Redirected { .. }
            | Evidence::ByChance { .. }
            | Evidence::TooLong { .. }
            | Evidence::NoRegistry { .. }
            | Evidence::Internal => false,
        }
}

/// Who answered, and for which registry where that is another: a token server, a mirror, the target of a redirect.
fn place(failure: &Failure, topic: Topic<'_>) -> String {
    let registry = topic.reference.registry();
    let itself = match registry {
        "docker.io" => failure.host == "registry-1.docker.io" || failure.host == registry,
        registry => failure.host.eq_ignore_ascii_case(registry),
    };
    let host = escape(&failure.host);
    if itself {
        host
    } else {
        format!("{host} (for {})", escape(registry))
    }
}

/// The first sentence: what, and why.
pub(super) fn what(failure: &Failure, topic: Topic<'_>) -> String {
    let why = why(failure, topic);
    let name = || escape(&topic.reference.name());
    if topic.naming == Naming::Completed {
        format!("no registry is named, and the nodes make it {}: {why}", name())
    } else if may_mean_another(failure, topic) {
        format!("no registry is named, so this is {}: {why}", name())
    } else {
        why
    }
}

fn why(failure: &Failure, topic: Topic<'_>) -> String {
    let repository = escape(topic.reference.repository());
    let target = match topic.reference.target() {
        Target::Tag(tag) => format!("tag \"{tag}\""),
        Target::Digest(digest) => format!("digest {digest}"),
    };
    let said = said(failure);
    let host = place(failure, topic);
    let with = topic
        .tried
        .map_or_else(|| "without a credential".to_owned(), |tried| format!("with {tried}"));
    let tried = topic.tried.unwrap_or("the credential");
    match &failure.evidence {
        Evidence::RepositoryUnknown => format!("{host} has no repository \"{repository}\"{said}"),
        Evidence::TagUnknown { repository_exists: true } => {
            format!("repository \"{repository}\" exists, {target} does not{said}")
        }
        Evidence::TagWithoutManifest => {
            format!(
                "{host} lists {target} in repository \"{repository}\", but has no manifest for it{said}: it was deleted, or is not written yet"
            )
        }
        Evidence::TagUnknown { .. } | Evidence::DigestUnknown if hint::is_page(failure) => {
            format!("{host} answers with a web page instead of {target} of \"{repository}\": is it a registry?{said}")
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
        // The two cases are not told apart there: a token server may answer 403 to hide a repository.
        Evidence::CredentialRefused {
            at: AuthStage::TokenServer,
        } if failure.status == Some(403) => {
            format!(
                "{host} gives no token for {tried}: it is not valid, or \"{repository}\" does not exist or is not readable with it; \
                 the kubelet does not fall back to an anonymous pull{said}"
            )
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
        Evidence::CredentialNotText { every_kubelet } => {
            let older = if *every_kubelet {
                ""
            } else {
                "; kubelets before 1.34 send it as it is"
            };
            format!(
                "a user name or password in {tried} is not UTF-8: the kubelet fails on it before it asks the registry, and does \
                 not fall back to an anonymous pull{older}"
            )
        }
        Evidence::Forbidden { address_bound: true, .. } => {
            format!("{host} refuses pullgate's address; it may accept a node's{said}")
        }
        Evidence::Forbidden { .. } => match failure.status {
            Some(412) => format!(
                "{host} blocks this image by one of its own rules (for example, because it is unsigned or vulnerable){said}"
            ),
            Some(451) => format!("{host} withholds this image for legal reasons{said}"),
            _ => format!("{host} forbids it: \"{repository}\" or its {target} does not exist or is not readable {with}{said}"),
        },
        Evidence::Rejected(rejection) => {
            let why = match rejection {
                Rejection::Status => format!("{host} rejects the request"),
                Rejection::NoUsableChallenge => {
                    format!("{host} answers 401 without a challenge that a container runtime can answer")
                }
                Rejection::UnauthorizedAgain => format!("{host} answers 401 again, even to a fresh token ({with})"),
                Rejection::TokenStatus => format!("the token server {host} rejects the request"),
                Rejection::NoToken => format!("the token server {host} gave no usable token"),
                Rejection::RedirectLoop => format!("{host} redirects ten times in a row, and runtimes give up at the tenth"),
                Rejection::NoRealm => format!("{host} asks for a token but names no usable realm"),
                Rejection::HeadOnly => format!(
                    "{host} answers HEAD for {target} of \"{repository}\" with 404, but GET succeeds: containerd sends HEAD, and fails"
                ),
            };
            format!("{why}{said}")
        }
        Evidence::NodeSettings(fault) => {
            let name = escape(&topic.reference.name());
            let nodes = "the nodes' registries.conf";
            match fault {
                NodeSettingsFault::ShortName => {
                    "the name has no registry, and CRI-O nodes complete it from their own registries.conf".to_owned()
                }
                NodeSettingsFault::PlainHttp => {
                    format!("{host} does not speak TLS; the nodes' registries.conf decides whether CRI-O uses plain HTTP")
                }
                NodeSettingsFault::NodeCredential => {
                    format!("the nodes have a credential of their own for {host}, which pullgate does not have")
                }
                NodeSettingsFault::RejectedByPolicy => format!("the nodes' policy.json rejects \"{name}\""),
                NodeSettingsFault::SignatureNotChecked => {
                    format!("the nodes' policy.json admits \"{name}\" if it is signed, and pullgate does not check signatures")
                }
                NodeSettingsFault::Unreadable => format!("pullgate does not know the registry settings of the nodes{said}"),
                NodeSettingsFault::NoSearchRegistry => {
                    format!("the name has no registry, and {nodes} has neither an alias for it nor a search registry")
                }
                NodeSettingsFault::Ambiguous => {
                    format!("the name has no registry, and {nodes} has several search registries, of which CRI-O chooses none")
                }
                NodeSettingsFault::Blocked => format!("{nodes} blocks \"{name}\""),
                NodeSettingsFault::InvalidName => format!("{nodes} turns \"{name}\" into an invalid name"),
                NodeSettingsFault::NoHost => {
                    format!("the hosts.toml for {host} names no host that may be asked for {target}{said}")
                }
                NodeSettingsFault::PeersOnly => format!(
                    "nodes ask only each other for {target} of \"{repository}\" (k3s' embedded registry, without the default endpoint), \
                     and never {host}{said}"
                ),
                NodeSettingsFault::NoAddress => {
                    format!("{host} is in brackets but is not an IPv6 address, so containerd cannot make a URL of it{said}")
                }
            }
        }
        Evidence::RateLimited => {
            let until = failure
                .retry_after
                .map_or_else(String::new, |after| format!("; it asks to wait {}", wait(after)));
            format!("{host} throttles pullgate{said}{until}; it may treat the nodes differently")
        }
        Evidence::NameNotResolved => format!("the name {host} does not resolve from here{said}"),
        Evidence::ConnectionFailed(fault) => match fault {
            ConnectionFault::Refused => format!("{host} refuses connections from here{said}"),
            ConnectionFault::Interrupted => format!("{host} breaks off the connection{said}"),
            ConnectionFault::Unreachable => format!("{host} cannot be reached from here{said}"),
        },
        Evidence::TimedOut(stage) => match stage {
            TimeoutStage::Connect => format!("{host} does not accept a connection in time (connecting)"),
            TimeoutStage::Handshake => {
                format!("{host} accepts the connection and does not finish the TLS handshake in time (TLS handshake)")
            }
            TimeoutStage::Response => {
                format!("{host} takes the request and does not answer in time (waiting for the answer)")
            }
            TimeoutStage::Deadline => format!("no answer from {host} before the deadline of this review{said}"),
        },
        Evidence::Tls(fault) => match fault {
            TlsFault::UnknownIssuer => format!("the certificate of {host} is signed by an authority that is not trusted here"),
            TlsFault::Expired => format!("the certificate of {host} has expired or is not valid yet"),
            TlsFault::WrongName => format!("the certificate of {host} is for another name"),
            TlsFault::PlainHttp => format!("{host} speaks plain HTTP where HTTPS is expected"),
            TlsFault::Other => format!("the TLS handshake with {host} fails{said}"),
        },
        Evidence::ServerError { token_server } => {
            let who = if *token_server { "the token server " } else { "" };
            format!("{who}{host} fails{said}")
        }
        Evidence::StoppedByGuard(rule) => match rule {
            GuardRule::Address { range } => {
                format!("{host} has an address in {range}, which pullgate's settings do not admit; nothing was sent")
            }
            GuardRule::NeverAdmitted { address } => format!(
                "{host} has the address {}, a link-local, metadata or reserved address that pullgate never contacts; nothing was sent",
                escape(address)
            ),
            GuardRule::Metadata { name } => format!(
                "{} is the name of a cloud's metadata service, which pullgate never contacts; nothing was sent",
                escape(name)
            ),
            GuardRule::Redirect if failure.host.is_empty() => {
                "the registry redirects to a URL that names no host, which pullgate does not follow".to_owned()
            }
            GuardRule::Redirect => {
                format!("the registry redirects to {host}, which pullgate does not follow; nothing was sent there")
            }
            GuardRule::CredentialNotSent => format!(
                "the registry redirects to {host}, which refuses requests without a credential; pullgate sends none along a redirect, but a node may{said}"
            ),
            GuardRule::Realm => {
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
        Evidence::ForeignUrls { part, host, digest } => format!(
            "nodes try to fetch {part} {} from {} before they ask the registry; pullgate does not contact that host",
            escape(digest),
            escape(host)
        ),
        Evidence::Redirected { by, fails } => format!(
            "{} redirects to {host} for this; {}",
            escape(by),
            what(&resting_on(failure, fails), topic)
        ),
        Evidence::ByChance { names, fails } => format!(
            "several rewrites match, and k3s takes one of them at random at every request ({}); {}",
            names.iter().map(|name| escape(name)).collect::<Vec<_>>().join(", "),
            what(&resting_on(failure, fails), topic)
        ),
        Evidence::TooLong { bytes } if *bytes <= containerd::manifest::LONGEST => {
            format!(
                "the manifest has {bytes} bytes; CRI-O rejects more than {}",
                crio::LONGEST_MANIFEST
            )
        }
        Evidence::TooLong { bytes } => {
            format!(
                "the manifest has {bytes} bytes; runtimes reject more than {}",
                containerd::manifest::LONGEST
            )
        }
        Evidence::NoRegistry { spoke_before, .. } => {
            let before = if *spoke_before {
                format!("; a registry answered at {host} before, so the registry, or the path to it, is failing now")
            } else {
                String::new()
            };
            let kind = if hint::is_page(failure) { " with a web page" } else { "" };
            format!(
                "something before the registry answered at {host}{kind}: nothing in the answer shows a \
                 registry{said}{before}; a node that gets this answer fails too"
            )
        }
        Evidence::Internal => "pullgate's own look-up failed; this is a bug, see its log".to_owned(),
    }
}

fn content(fault: &ContentFault, host: &str, target: &str, said: &str) -> String {
    match fault {
        ContentFault::MediaType(media_type) if media_type.starts_with("text/html") => {
            format!("{host} answers with a web page (text/html) instead of a manifest: a login page or a proxy?")
        }
        ContentFault::MediaType(media_type) if media_type == UNSIGNED_SCHEMA1 => {
            format!("{target} at {host} is a Docker schema 1 manifest without signatures, which containerd takes for a blob")
        }
        ContentFault::MediaType(media_type) => {
            format!(
                "{host} serves {target} as \"{}\", which no runtime accepts as a manifest",
                escape(media_type)
            )
        }
        ContentFault::EntryType(media_type) => {
            format!(
                "{target} lists an image of type \"{}\", which no runtime accepts as a manifest",
                escape(media_type)
            )
        }
        ContentFault::NotJson(_) => format!("the manifest of {target} at {host} is not JSON"),
        ContentFault::BodyMismatch(_) => format!("the manifest of {target} at {host} is not what its media type says"),
        ContentFault::Empty => format!("{host} reports a manifest of 0 bytes for {target}"),
        ContentFault::DigestMalformed(value) => {
            format!("{host} sends a malformed Docker-Content-Digest, \"{}\"", escape(value))
        }
        ContentFault::DigestWrong => {
            format!("the content that {host} serves for {target} does not have the digest it states{said}")
        }
        ContentFault::OtherDigest { part, has } => format!(
            "the {part} that {host} serves for {target} does not have the digest that was asked for: {}",
            escape(has)
        ),
        ContentFault::Unsigned => {
            format!("{target} at {host} is a Docker schema 1 manifest without signatures, which containerd does not convert")
        }
        ContentFault::NotServed => format!(
            "{host} resolves {target} to a digest, and then does not serve that digest{said}: a proxy cache has a stale tag, or \
             a clean-up left the tag behind"
        ),
        ContentFault::ConfigNotJson(_) => format!("the image config of {target} at {host} is not JSON"),
        ContentFault::ConfigWrongKind => {
            format!("the image config of {target} at {host} is damaged: one of its fields has the wrong type")
        }
        ContentFault::SizeOf {
            part: "config", digest, ..
        } if digest.is_empty() => {
            format!("the manifest of {target} at {host} is damaged: the manifest names no config")
        }
        ContentFault::SizeOf { part, digest, .. } if digest.is_empty() => {
            format!("the manifest of {target} at {host} is damaged: a {part} has no digest")
        }
        ContentFault::SizeOf { part, digest, says } => format!(
            "the manifest of {target} at {host} is damaged: a {part} is said to have {says} bytes, which containerd refuses: {}",
            escape(digest)
        ),
        ContentFault::LayerCount { layers, diff_ids } => {
            format!("number of layers and diffIDs don't match: the manifest has {layers}, the config {diff_ids}")
        }
        ContentFault::DigestIsBlob => format!("{target} names a blob (a config or a layer), not a manifest"),
        ContentFault::OtherSize { part, by, has, says } => {
            format!("the {part} of {target} at {host} has {has} bytes, but the {by} says {says}")
        }
        ContentFault::NoImage => format!("the index of {target} at {host} lists no image"),
        ContentFault::NeedsPlugin(media_type) => format!(
            "a layer has the type \"{}\", which containerd unpacks only where its node has a plugin for it",
            escape(media_type)
        ),
        ContentFault::CompressedUnderPlainType(media_type) => format!(
            "containerd unpacks a layer of type \"{}\" as plain tar, but it is not plain tar: its digest is not the diff_id in the config",
            escape(media_type)
        ),
        ContentFault::CrioMayFail(UnreadLayer::Packing(media_type)) => format!(
            "the type \"{}\" of a layer names no compression, but the layer is not the plain tar that the config lists: CRI-O \
             pulls it only if it detects a compression that it knows",
            escape(media_type)
        ),
        ContentFault::CrioMayFail(UnreadLayer::Length { has, says }) => format!(
            "a layer of {target} at {host} has {has} bytes, but the manifest says {says}: CRI-O fails if its digest differs too"
        ),
        ContentFault::DiffId(id) => format!(
            "the config names a layer by \"{}\"; containerd compares that with the sha256 of what it unpacks",
            escape(id)
        ),
        ContentFault::PartForOtherPlatform(platform) => format!(
            "a descriptor in the manifest says that its part is for {}, but the config does not; other runtimes skip that part",
            escape(platform)
        ),
        ContentFault::UnreadableSinceContainerd2(what) => format!(
            "containerd 2 and later cannot read the manifest of {target} at {host}: {}",
            escape(what)
        ),
        ContentFault::WrongKind(what) => {
            format!("the manifest of {target} at {host} is damaged: the {what} has a field of the wrong type")
        }
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

/// The same failure, resting on another evidence.
pub(super) fn resting_on(failure: &Failure, evidence: &Evidence) -> Failure {
    Failure {
        evidence: evidence.clone(),
        ..failure.clone()
    }
}

/// A time to wait, rounded up. Beyond a day it is no limit but a date that somebody set, or a mistake.
fn wait(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    match seconds {
        0..=120 => format!("{seconds} s"),
        121..=7200 => format!("{} minutes", seconds.div_ceil(60)),
        7201..=86400 => format!("{} hours", seconds.div_ceil(3600)),
        _ => "more than a day".to_owned(),
    }
}
