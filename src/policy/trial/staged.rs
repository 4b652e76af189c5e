//! What a registry would show, as evidence: what is said of it is then said by the same rules as in a cluster.

use super::{Registry, Shown};
use crate::image::{Digest, Platform, Reference};
use crate::runtime::content::{Body, Content, IndexEntry, Unpack};
use crate::runtime::outcome::{
    AuthStage, Build, ConnectionFault, ContentFault, Evidence, Failure, ImageFacts, Refusal, Rejection, TimeoutStage, TlsFault,
};
use crate::verdict::Cause;

/// What the pod brings along that has to do with the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// It lists none.
    None,
    /// One that is not there.
    Missing,
    /// One that the kubelet ignores.
    WrongType,
    /// One that the kubelet cannot parse.
    Malformed,
    /// One for another registry.
    NoMatch,
    /// One for this registry.
    Good,
}

/// The causes that come about by a pull secret.
const SECRETS: [(Cause, Secret); 5] = [
    (Cause::PullSecretMissing, Secret::Missing),
    (Cause::PullSecretWrongType, Secret::WrongType),
    (Cause::PullSecretMalformed, Secret::Malformed),
    (Cause::PullSecretNoMatch, Secret::NoMatch),
    (Cause::CredentialRefused, Secret::Good),
];

/// What is staged for one case.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The pull secret.
    pub secret: Secret,
    /// Whether `imagePullPolicy` is `Never`.
    pub never: Never,
    /// What the registry answers.
    pub answer: Result<ImageFacts, Failure>,
}

/// Whether the pod has the node pull at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Never {
    /// `imagePullPolicy: Never`.
    Pulled,
    /// It is pulled.
    No,
}

/// Stages what a registry shows of `reference` to nodes of these platforms.
pub fn stage(registry: &Registry, shown: Shown, reference: &Reference, platforms: &[Platform]) -> Stage {
    let served = match &registry.platforms {
        Some(written) => written.iter().filter_map(|text| Platform::parse(text).ok()).collect(),
        None => platforms.to_vec(),
    };
    let size = registry
        .size
        .as_ref()
        .and_then(|size| super::super::quantity::bytes(&size.to_string()).ok());
    let fail = |status, code: &str, evidence| Err(failure(reference, status, code, evidence));
    let mut stage = Stage {
        secret: Secret::None,
        never: Never::No,
        answer: Ok(facts(index(&served), &served, size)),
    };
    let Shown::Leads(cause) = shown else { return stage };
    let no_right = || Evidence::AuthenticationRequired {
        at: AuthStage::TokenServer,
    };
    let denied = || fail(401, "UNAUTHORIZED", no_right());
    let secret = SECRETS.iter().find(|(needs, _)| *needs == cause);
    stage.secret = secret.map_or(Secret::None, |(_, secret)| *secret);
    stage.answer = match cause {
        Cause::RepositoryNotFound => fail(404, "NAME_UNKNOWN", Evidence::RepositoryUnknown),
        Cause::TagNotFound => fail(404, "MANIFEST_UNKNOWN", Evidence::TagUnknown { repository_exists: true }),
        Cause::DigestNotFound => fail(404, "MANIFEST_UNKNOWN", Evidence::DigestUnknown),
        Cause::NotFoundOrDenied
        | Cause::PullSecretMissing
        | Cause::PullSecretWrongType
        | Cause::PullSecretMalformed
        | Cause::PullSecretNoMatch => denied(),
        Cause::CredentialRefused => fail(
            401,
            "UNAUTHORIZED",
            Evidence::CredentialRefused {
                at: AuthStage::TokenServer,
            },
        ),
        Cause::Forbidden => fail(
            403,
            "DENIED",
            Evidence::Forbidden {
                address_bound: false,
                with_credential: false,
            },
        ),
        Cause::RegistryRejected => fail(400, "", Evidence::Rejected(Rejection::Status)),
        Cause::RateLimited => fail(429, "TOOMANYREQUESTS", Evidence::RateLimited),
        Cause::DnsFailure => fail(0, "", Evidence::NameNotResolved),
        Cause::ConnectionFailed => fail(0, "", Evidence::ConnectionFailed(ConnectionFault::Refused)),
        Cause::Timeout => fail(0, "", Evidence::TimedOut(TimeoutStage::Response)),
        Cause::TlsFailure => fail(0, "", Evidence::Tls(TlsFault::UnknownIssuer)),
        Cause::RegistryError => fail(503, "", Evidence::ServerError { token_server: false }),
        Cause::LookupRefused => fail(
            0,
            "",
            Evidence::Refused(Refusal::Address {
                range: "10.0.0.0/8".to_owned(),
            }),
        ),
        Cause::PlatformMismatch => {
            let elsewhere = foreign(platforms);
            Ok(facts(index(&elsewhere), &elsewhere, size))
        }
        Cause::ArchitectureMismatch => Ok(facts(
            Content::Image {
                platform: foreign(platforms).pop(),
                body: Body::default(),
            },
            &[],
            None,
        )),
        Cause::NotAnImage => Ok(facts(
            Content::Artifact {
                kind: "application/vnd.cncf.helm.config.v1+json".to_owned(),
                unpack: Unpack::Partly,
                body: Body::default(),
            },
            &[],
            None,
        )),
        Cause::ContentInvalid => fail(200, "", Evidence::ContentInvalid(ContentFault::NotJson)),
        Cause::ContentMissing => fail(
            404,
            "BLOB_UNKNOWN",
            Evidence::ContentMissing {
                part: "config",
                digest: Digest::sha256(b"config").to_string(),
                media_type: "application/vnd.oci.image.config.v1+json".to_owned(),
            },
        ),
        Cause::ImageTooLarge => Ok(facts(index(&served), &served, Some(size.unwrap_or(u64::MAX >> 1)))),
        Cause::NeverPulled => {
            stage.never = Never::Pulled;
            stage.answer
        }
        // Not staged: no registry shows them, and a test that writes one is refused.
        Cause::InvalidImageName | Cause::RegistryNotAllowed | Cause::TagNotAllowed | Cause::DigestRequired => stage.answer,
    };
    stage
}

/// A platform that none of `platforms` can run.
fn foreign(platforms: &[Platform]) -> Vec<Platform> {
    let architectures = ["s390x", "ppc64le", "riscv64", "mips64le"];
    let free = architectures
        .iter()
        .find(|architecture| !platforms.iter().any(|platform| platform.architecture == **architecture));
    free.and_then(|architecture| Platform::parse(&format!("linux/{architecture}")).ok())
        .into_iter()
        .collect()
}

fn child(platform: &Platform) -> String {
    Digest::sha256(platform.to_string().as_bytes()).to_string()
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn index(platforms: &[Platform]) -> Content {
    let entry = |platform: &Platform| IndexEntry {
        digest: child(platform),
        media_type: MANIFEST.to_owned(),
        platform: Some(platform.clone()),
        size: 1000,
    };
    Content::Index(platforms.iter().map(entry).collect())
}

fn facts(content: Content, children: &[Platform], size: Option<u64>) -> ImageFacts {
    let build = |platform: &Platform| Build {
        digest: child(platform),
        media_type: MANIFEST.to_owned(),
        content: Ok(Content::Image {
            platform: Some(platform.clone()),
            body: Body { size, ..Body::default() },
        }),
        troubles: Vec::new(),
    };
    ImageFacts {
        digest: Digest::sha256(b"pullgate"),
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        content,
        quota: None,
        authenticated: false,
        stale: false,
        builds: children.iter().map(build).collect(),
    }
}

fn failure(reference: &Reference, status: u16, code: &str, evidence: Evidence) -> Failure {
    Failure {
        evidence,
        host: reference.registry().to_owned(),
        status: (status != 0).then_some(status),
        code: (!code.is_empty()).then(|| code.to_owned()),
        detail: None,
        request: None,
        suggestions: Vec::new(),
        retry_after: None,
        digest: None,
        asked: None,
    }
}
