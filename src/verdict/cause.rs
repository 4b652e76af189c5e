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
use crate::runtime::content::UNSIGNED_SCHEMA1;
use crate::runtime::outcome::{ContentFault, ProvesFailure};

/// What holds for every finding of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Another credential, or a right that is granted to this one, may change it.
    RestsOnCredentials,
    /// It may be that the pull only lacks a credential that the registry accepts.
    LacksCredential,
    /// It is about a pull secret; findings of the cause differ in the secret's name.
    AboutPullSecret,
    /// The image may simply not be where its name says.
    Absent,
    /// Pushing an image may fix it.
    FixedByPush,
    /// The registry refuses the caller: it may have the image, and no push changes that.
    CallerRefused,
    /// Asking again a little later may give an answer.
    Transient,
    /// It is raised by a policy's rule about names, before any registry is asked.
    NameRule,
    /// A policy's `platforms` may be what it breaks.
    BreaksPlatforms,
    /// A policy's `size.max` may be what it breaks.
    BreaksSize,
}

impl Cause {
    /// Whether this holds for every finding of this cause.
    pub fn has(self, property: Property) -> bool {
        self.properties().contains(&property)
    }

    fn properties(self) -> &'static [Property] {
        use Property::{
            AboutPullSecret, Absent, BreaksPlatforms, BreaksSize, CallerRefused, FixedByPush, LacksCredential, NameRule,
            RestsOnCredentials, Transient,
        };
        match self {
            Self::RepositoryNotFound | Self::TagNotFound | Self::DigestNotFound => &[Absent, FixedByPush],
            Self::NotFoundOrDenied => &[Absent, FixedByPush, RestsOnCredentials, LacksCredential],
            Self::PullSecretMissing | Self::PullSecretNoMatch => &[AboutPullSecret, RestsOnCredentials, LacksCredential],
            Self::PullSecretWrongType | Self::PullSecretMalformed => &[AboutPullSecret, RestsOnCredentials],
            Self::CredentialRefused => &[RestsOnCredentials, LacksCredential, CallerRefused],
            Self::Forbidden => &[RestsOnCredentials, CallerRefused],
            Self::RegistryRejected => &[RestsOnCredentials],
            Self::RateLimited | Self::DnsFailure | Self::ConnectionFailed | Self::Timeout | Self::RegistryError => &[Transient],
            Self::PlatformMismatch => &[FixedByPush, BreaksPlatforms],
            Self::ArchitectureMismatch => &[BreaksPlatforms],
            Self::ContentMissing => &[FixedByPush],
            Self::ImageTooLarge => &[BreaksSize],
            Self::RegistryNotAllowed | Self::TagNotAllowed | Self::DigestRequired => &[NameRule],
            Self::InvalidImageName
            | Self::TlsFailure
            | Self::LookupRefused
            | Self::NotAnImage
            | Self::ContentInvalid
            | Self::NeverPulled => &[],
        }
    }

    /// The outlook of a finding of this cause before anything softens it (contract 3), where no evidence says more: a pull without its
    /// secret is taken for one of a private image.
    pub fn usual_outlook(self) -> Outlook {
        match self {
            Self::InvalidImageName
            | Self::RepositoryNotFound
            | Self::TagNotFound
            | Self::DigestNotFound
            | Self::NotFoundOrDenied
            | Self::PullSecretMissing
            | Self::PullSecretWrongType
            | Self::PullSecretMalformed
            | Self::PullSecretNoMatch
            | Self::CredentialRefused
            | Self::Forbidden
            | Self::RegistryRejected
            | Self::PlatformMismatch
            | Self::NotAnImage
            | Self::ContentInvalid
            | Self::ContentMissing => Outlook::WillFail,
            Self::RateLimited
            | Self::DnsFailure
            | Self::ConnectionFailed
            | Self::Timeout
            | Self::TlsFailure
            | Self::RegistryError
            | Self::LookupRefused => Outlook::Unknown,
            Self::ArchitectureMismatch => Outlook::FailsToRun,
            Self::NeverPulled | Self::ImageTooLarge => Outlook::MayFail,
            Self::RegistryNotAllowed | Self::TagNotAllowed | Self::DigestRequired => Outlook::NotAllowed,
        }
    }
}

/// The cause that a piece of evidence is named by, and its base outlook: what the evidence shows ([`Evidence::proves_failure`]). Context may only
/// soften the outlook afterwards.
pub fn base(evidence: &Evidence) -> (Cause, Outlook) {
    let outlook = match evidence.proves_failure() {
        ProvesFailure::No => Outlook::Unknown,
        ProvesFailure::OnSomeNodes => Outlook::MayFail,
        ProvesFailure::OnAllNodes => Outlook::WillFail,
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
        Evidence::Rejected(_) | Evidence::NodeSettings(_) => Cause::RegistryRejected,
        Evidence::RateLimited => Cause::RateLimited,
        Evidence::NameNotResolved => Cause::DnsFailure,
        Evidence::ConnectionFailed(_) => Cause::ConnectionFailed,
        Evidence::TimedOut(_) => Cause::Timeout,
        Evidence::Tls(_) => Cause::TlsFailure,
        // A look-up that died is our own fault; the registry is only where it happened.
        Evidence::ServerError { .. } | Evidence::NoRegistry { .. } | Evidence::Internal => Cause::RegistryError,
        Evidence::StoppedByGuard(_) => Cause::LookupRefused,
        Evidence::ContentInvalid(ContentFault::MediaType(media_type)) if media_type == UNSIGNED_SCHEMA1 => Cause::NotAnImage,
        Evidence::ContentInvalid(ContentFault::Unsigned) | Evidence::TooLong { .. } => Cause::NotAnImage,
        Evidence::ContentInvalid(_) => Cause::ContentInvalid,
        Evidence::ContentMissing { .. } | Evidence::ForeignUrls { .. } => Cause::ContentMissing,
        Evidence::Redirected { fails, .. } | Evidence::ByChance { fails, .. } => cause(fails),
    }
}
