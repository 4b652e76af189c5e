//! What a registry would return, as evidence: the same rules as in a cluster then judge it.

use super::{CaseOutcome, Registry};
use crate::image::{Digest, Platform, Reference};
use crate::runtime::content::{Body, Content, IndexEntry, Unpack};
use crate::runtime::outcome::{
    AuthStage, Build, ConnectionFault, ContentFault, Evidence, Failure, GuardRule, ImageFacts, Rejection, TimeoutStage, TlsFault,
};
use crate::verdict::Cause;

/// The pod's pull secret, as far as it affects the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// The pod lists none.
    None,
    /// It does not exist.
    Missing,
    /// Its type is one that the kubelet ignores.
    WrongType,
    /// The kubelet cannot parse it.
    Malformed,
    /// It is for another registry.
    NoMatch,
    /// It is for this registry.
    Good,
}

/// The causes that a pull secret brings about.
const SECRETS: [(Cause, Secret); 5] = [
    (Cause::PullSecretMissing, Secret::Missing),
    (Cause::PullSecretWrongType, Secret::WrongType),
    (Cause::PullSecretMalformed, Secret::Malformed),
    (Cause::PullSecretNoMatch, Secret::NoMatch),
    (Cause::CredentialRefused, Secret::Good),
];

/// What one case simulates.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The pull secret.
    pub secret: Secret,
    /// The container's pull policy.
    pub pull_policy: PullPolicy,
    /// What the registry answers.
    pub answer: Result<ImageFacts, Failure>,
}

/// The container's `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// `Never`.
    Never,
    /// Not set.
    Default,
}

/// Simulates what a registry returns for `reference` to nodes with these platforms.
pub fn simulate(registry: &Registry, shown: CaseOutcome, reference: &Reference, platforms: &[Platform]) -> Simulation {
    let served = match &registry.platforms {
        Some(written) => written.iter().filter_map(|text| Platform::parse(text).ok()).collect(),
        None => platforms.to_vec(),
    };
    let size = registry
        .size
        .as_ref()
        .and_then(|size| super::super::quantity::bytes(&size.to_string()).ok());
    let fail = |status, code: &str, evidence| Err(failure(reference, status, code, evidence));
    let mut simulation = Simulation {
        secret: Secret::None,
        pull_policy: PullPolicy::Default,
        answer: Ok(facts(index(&served), &served, size)),
    };
    let CaseOutcome::Fails(cause) = shown else { return simulation };
    let no_right = || Evidence::AuthenticationRequired {
        at: AuthStage::TokenServer,
    };
    let denied = || fail(401, "UNAUTHORIZED", no_right());
    let secret = SECRETS.iter().find(|(needs, _)| *needs == cause);
    simulation.secret = secret.map_or(Secret::None, |(_, secret)| *secret);
    simulation.answer = match cause {
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
            Evidence::StoppedByGuard(GuardRule::Address {
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
        Cause::ContentInvalid => fail(
            200,
            "",
            Evidence::ContentInvalid(ContentFault::NotJson("unexpected end of JSON input".to_owned())),
        ),
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
            simulation.pull_policy = PullPolicy::Never;
            simulation.answer
        }
        // Not simulated: no registry brings these about, and a test that sets one is refused.
        Cause::InvalidImageName | Cause::RegistryNotAllowed | Cause::TagNotAllowed | Cause::DigestRequired => simulation.answer,
    };
    simulation
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
        status: (status != 0).then_some(status),
        code: (!code.is_empty()).then(|| code.to_owned()),
        ..Failure::plain(evidence, reference.registry().to_owned())
    }
}
