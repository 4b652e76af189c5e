//! The causes: stable names, used in messages, JSON, metric labels and policy (contract 3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! causes {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Why an image would not pull, or why we cannot tell. `docs/causes.md` has a section for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Cause {
            $($(#[doc = $doc])* $name,)*
        }

        impl Cause {
            /// Every cause, in the order of contract 3.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it means, in a sentence or two.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),*).trim_ascii(),)*
                }
            }
        }
    };
}

causes! {
    /// The reference does not parse.
    InvalidImageName,
    /// The registry says that the repository is unknown.
    RepositoryNotFound,
    /// The repository exists, the tag does not.
    TagNotFound,
    /// No manifest of that digest.
    DigestNotFound,
    /// Authentication is required, or the right is missing, and the registry does not say whether the repository exists.
    NotFoundOrDenied,
    /// A listed pull secret is not in the pod's namespace.
    PullSecretMissing,
    /// A listed pull secret is of a type that the kubelet ignores.
    PullSecretWrongType,
    /// A pull secret that the kubelet's parser refuses: no image of the pod is pulled then.
    PullSecretMalformed,
    /// Secrets were read, none has an entry for this registry and path.
    PullSecretNoMatch,
    /// Every matching credential was refused.
    CredentialRefused,
    /// 403, 412 or 451.
    Forbidden,
    /// Another refusal that a retry does not change.
    RegistryRejected,
    /// 429, or the quota is used up.
    RateLimited,
    /// The registry's name does not resolve here.
    DnsFailure,
    /// Refused, reset, or no route.
    ConnectionFailed,
    /// No answer in time.
    Timeout,
    /// Certificate not trusted, expired or of another name; plain HTTP on a TLS port.
    TlsFailure,
    /// 408 and 5xx, of the registry or its token server, or an answer of something before the registry.
    RegistryError,
    /// Our own guard: an address, redirect or realm that the settings do not admit.
    LookupRefused,
    /// The index serves no candidate node, or only some.
    PlatformMismatch,
    /// A single manifest whose config names another platform.
    ArchitectureMismatch,
    /// An artifact, chart, schema 1 manifest, or a manifest over the runtimes' limit.
    NotAnImage,
    /// The manifest exists and is unusable.
    ContentInvalid,
    /// The manifest exists, a part of it does not.
    ContentMissing,
    /// `imagePullPolicy: Never`.
    NeverPulled,
    /// Over a size limit.
    ImageTooLarge,
    /// The policy's allow and deny lists.
    RegistryNotAllowed,
    /// The policy's tag rules.
    TagNotAllowed,
    /// The policy asks for a digest.
    DigestRequired,
}

use super::{Evidence, Outlook};
use crate::runtime::outcome::{ContentFault, Shows};

/// Evidence → cause and base outlook. Context may only soften the outlook afterwards.
pub fn base(evidence: &Evidence) -> (Cause, Outlook) {
    let outlook = match evidence.shows() {
        Shows::Nothing => Outlook::Unknown,
        Shows::FailureOfSome => Outlook::MayFail,
        Shows::Failure => Outlook::WillFail,
    };
    (cause(evidence), outlook)
}

fn cause(evidence: &Evidence) -> Cause {
    match evidence {
        Evidence::RepositoryUnknown => Cause::RepositoryNotFound,
        Evidence::TagUnknown { .. } | Evidence::TagWithoutManifest => Cause::TagNotFound,
        Evidence::DigestUnknown => Cause::DigestNotFound,
        Evidence::AuthenticationRequired { .. } | Evidence::InsufficientScope { .. } => Cause::NotFoundOrDenied,
        Evidence::CredentialRefused { .. } | Evidence::CredentialNotText { .. } => Cause::CredentialRefused,
        Evidence::Forbidden { .. } => Cause::Forbidden,
        Evidence::Rejected(_) | Evidence::Unresolved(_) => Cause::RegistryRejected,
        Evidence::RateLimited => Cause::RateLimited,
        Evidence::NameNotResolved => Cause::DnsFailure,
        Evidence::ConnectionFailed(_) => Cause::ConnectionFailed,
        Evidence::TimedOut(_) => Cause::Timeout,
        Evidence::Tls(_) => Cause::TlsFailure,
        // A look-up that died is our own fault; the registry is only where it happened.
        Evidence::ServerError { .. } | Evidence::NoRegistry { .. } | Evidence::Internal => Cause::RegistryError,
        Evidence::Refused(_) => Cause::LookupRefused,
        Evidence::ContentInvalid(ContentFault::MediaType(media_type))
            if media_type == "application/vnd.docker.distribution.manifest.v1+json" =>
        {
            Cause::NotAnImage
        }
        Evidence::ContentInvalid(ContentFault::Unsigned) | Evidence::TooLong { .. } => Cause::NotAnImage,
        Evidence::ContentInvalid(_) => Cause::ContentInvalid,
        Evidence::ContentMissing { .. } | Evidence::ForeignUrls { .. } => Cause::ContentMissing,
        Evidence::Redirected { fails, .. } | Evidence::ByChance { fails, .. } => cause(fails),
    }
}
