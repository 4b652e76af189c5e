//! CRI-O's own messages about failed pulls; people search for them. The kubelet shows them unchanged, except for `RegistryUnavailable`,
//! which it words itself. Read from the sources, not measured.
//!
//! What cannot be predicted appears as `...` (addresses, file names). Some messages are left out altogether, because too much in them
//! cannot be predicted: an index that is no JSON, whose text it repeats, the body of an error that no registry sent, the failures of several mirrors.

use crate::image::{Reference, Target};
use crate::runtime::crio::choose::variants;
use crate::runtime::crio::node::NodeSettings;
use crate::runtime::crio::pull_sources::pull_sources;
use crate::runtime::crio::version::{Artifacts, Look};
use crate::runtime::crio::{Crio, Failure, candidates};
use crate::runtime::outcome::{
    AuthStage, ConnectionFault, ContentFault, Evidence, ImageFacts, NodeSettingsFault, Purpose, Rejection, TimeoutStage, TlsFault,
};
use crate::runtime::{End, NodeConfig, Outcome, Pull};
use core::net::Ipv4Addr;
use oci_client::manifest::{IMAGE_MANIFEST_LIST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE};
use url::Url;

/// An error, and the stage at which CRI-O meets it.
enum Met {
    /// Before any place has returned a manifest (`newImageSource`).
    Source(String),
    /// After a manifest was returned, with the result of the check for an artifact.
    Image(String, Looked),
}

/// The result of the check for an artifact.
enum Looked {
    /// It is an image.
    Image,
    /// An index has no entry for the node.
    NoEntry(String),
    /// The manifest that an index names cannot be fetched.
    NoChild(String),
    /// A manifest is not JSON.
    NotJson(String),
}

/// What CRI-O up to 1.34 says of a reference that is an image (`ErrIsAnImage`).
const IS_AN_IMAGE: &str = "provided artifact is a container image";

impl Crio {
    /// The text of the gRPC error (code Unknown) with which a pull ends; `None` if it does not fail or the text is not known.
    pub fn text(&self, pull: &Pull, outcome: &Outcome) -> Option<String> {
        let nothing = NodeSettings::default();
        let conf = match &pull.node {
            NodeConfig::Crio(node) => &node.registries,
            NodeConfig::Default | NodeConfig::Unreadable(_) | NodeConfig::PeersOnly | NodeConfig::Containerd(_) => {
                &nothing.registries
            }
        };
        let end = outcome.ends.first()?;
        let written = written(pull);
        if let End::Failed(failure) = end
            && let Evidence::NodeSettings(why) = &failure.evidence
        {
            match why {
                NodeSettingsFault::ShortName
                | NodeSettingsFault::Unreadable
                | NodeSettingsFault::NodeCredential
                | NodeSettingsFault::SignatureNotChecked
                | NodeSettingsFault::PlainHttp
                | NodeSettingsFault::InvalidName
                // Of containerd alone.
                | NodeSettingsFault::NoHost
                | NodeSettingsFault::PeersOnly
                | NodeSettingsFault::NoAddress => return None,
                NodeSettingsFault::NoSearchRegistry => {
                    return Some(format!(
                        "short-name \"{written}\" did not resolve to an alias and no unqualified-search registries are defined in \"...\""
                    ));
                }
                NodeSettingsFault::Ambiguous => {
                    let text = "short name mode is enforcing, but image name";
                    return Some(format!("{text} {written} returns ambiguous list"));
                }
                NodeSettingsFault::Blocked | NodeSettingsFault::RejectedByPolicy => {}
            }
        }
        let names = match &pull.short {
            Some(short) => candidates::candidates(conf, self.version, short, &pull.reference).ok()?,
            None => vec![pull.reference.clone()],
        };
        let reference = names.last()?;
        let places = pull_sources(conf, self.version, reference).ok()?;
        let rejected =
            matches!(end, End::Failed(failure) if failure.evidence == Evidence::NodeSettings(NodeSettingsFault::RejectedByPolicy));
        let place = match &places[..] {
            [place] => place,
            [.., last] if rejected => last,
            _ => return None,
        };
        let words = Words {
            named: format!("docker://{}", familiar(reference)),
            there: place.reference.name(),
            target: target(reference),
            found: outcome.found.as_deref(),
        };
        let (met, by_network) = match end {
            End::Failed(failure) => match &failure.evidence {
                Evidence::NodeSettings(NodeSettingsFault::RejectedByPolicy) => {
                    let text = format!("Source image rejected: Running image {} is rejected by policy.", words.named);
                    (Met::Image(text, Looked::Image), false)
                }
                Evidence::NodeSettings(_) => {
                    let prefix = &conf.find(&place.reference.name())?.prefix;
                    (Met::Source(format!("registry {prefix} is blocked in ... or ...")), false)
                }
                _ => (
                    words.of(failure)?,
                    failure.status.is_none() && failure.request.is_some() && !failure.is_cut_short(),
                ),
            },
            End::NoMatch => (words.no_match(pull)?, false),
            End::Pulled { .. } | End::Unmeasured { .. } | End::Foreign(_) | End::Artifact { .. } => return None,
        };
        let text = self.framed(&words, &met, by_network)?;
        let refused =
            matches!(end, End::Failed(failure) if failure.evidence == Evidence::ConnectionFailed(ConnectionFault::Refused));
        Some(if refused {
            format!("RegistryUnavailable: {text}")
        } else if rejected {
            format!("SignatureValidationFailed: {text}")
        } else {
            text
        })
    }

    /// The text that covers both the image and the artifact (`pullImageImplementation`).
    fn framed(self, words: &Words<'_>, met: &Met, by_network: bool) -> Option<String> {
        let image = match met {
            Met::Source(error) => format!("initializing source {}: {error}", words.named),
            Met::Image(error, _) => error.clone(),
        };
        let of_list = words
            .found
            .is_some_and(|found| found.media_type == IMAGE_MANIFEST_LIST_MEDIA_TYPE);
        let artifact = || {
            Some(match (self.version.looks_for_artifacts(), met) {
                (Look::None, _) => return None,
                (Look::ByReference, Met::Image(_, Looked::NoEntry(error))) if !of_list => format!("choose instance: {error}"),
                (Look::ByReference, Met::Image(_, Looked::NoChild(error)) | Met::Source(error)) if !of_list => {
                    format!("get manifest: build image source: {error}")
                }
                (Look::ByReference, Met::Image(_, Looked::NotJson(said))) if !of_list => {
                    format!("parse manifest from blob: {said}")
                }
                (Look::ByReference, _) => IS_AN_IMAGE.to_owned(),
                (Look::Twice, Met::Source(error)) => {
                    format!("image reference: get manifest from ref: create image source: {error}")
                }
                (Look::Twice, Met::Image(_, Looked::NoEntry(error))) => {
                    format!("image reference: choose manifest instance: {error}")
                }
                (Look::Twice, Met::Image(_, Looked::NoChild(error))) => format!("image reference: get instance manifest: {error}"),
                (Look::Twice, Met::Image(_, Looked::NotJson(said))) => format!("image reference: parse manifest: {said}"),
                (Look::Twice, Met::Image(_, Looked::Image)) => {
                    "image reference: reference is a container image, not an OCI artifact".to_owned()
                }
            })
        };
        Some(match (self.version.artifacts(), met) {
            (Artifacts::Never, _) => image,
            (Artifacts::First, _) => match artifact()? {
                artifact if artifact == IS_AN_IMAGE => image,
                artifact => format!("unable to try pulling possible OCI artifact: {artifact}"),
            },
            (Artifacts::AfterAnswers, _) if by_network => format!("unable to pull image: {image}"),
            (Artifacts::AfterAnyFailure | Artifacts::AfterAnswers, _) => {
                format!(
                    "unable to pull image or OCI artifact: pull image err: {image}; artifact err: {}",
                    artifact()?
                )
            }
        })
    }
}

/// The names and numbers that the text contains.
struct Words<'a> {
    /// `docker://app:v1`
    named: String,
    /// The image's name at the place that was asked.
    there: String,
    /// The tag, or the digest.
    target: String,
    found: Option<&'a ImageFacts>,
}

impl Words<'_> {
    fn of(&self, failure: &Failure) -> Option<Met> {
        if let Evidence::NoRegistry { fails, .. } = &failure.evidence {
            // The text does not depend on who answers.
            let evidence = Evidence::clone(fails);
            return self.of(&Failure {
                evidence,
                ..failure.clone()
            });
        }
        let url = failure.request.as_ref().map_or("", |request| &request.url);
        let purpose = failure.request.as_ref().map(|request| request.purpose);
        if failure.is_cut_short() && purpose == Some(Purpose::Content) {
            // What it says of a blob depends on how often it asks again.
            return url.contains("/manifests/").then(|| Met::Source("unexpected EOF".to_owned()));
        }
        if let Some(why) = unanswered(failure) {
            let error = format!("Get \"{url}\": {why}");
            return Some(match purpose? {
                _ if url.ends_with("/v2/") => Met::Source(format!("pinging container registry {}: {error}", authority(url)?)),
                Purpose::Content if url.contains("/blobs/") => Met::Image(self.of_blob(failure, &error)?, Looked::Image),
                Purpose::Content | Purpose::AnonymousToken | Purpose::OauthToken => Met::Source(error),
            });
        }
        match (&failure.evidence, purpose) {
            (Evidence::Rejected(Rejection::NoRealm), _) => Some(Met::Source("missing realm in bearer auth challenge".to_owned())),
            (Evidence::Rejected(Rejection::NoToken), _) => None,
            (
                Evidence::RateLimited
                | Evidence::AuthenticationRequired {
                    at: AuthStage::TokenServer,
                }
                | Evidence::CredentialRefused {
                    at: AuthStage::TokenServer,
                }
                | Evidence::Forbidden { .. }
                | Evidence::Rejected(_)
                | Evidence::ServerError { .. },
                Some(Purpose::AnonymousToken | Purpose::OauthToken),
            ) => token_refused(failure).map(Met::Source),
            (Evidence::TooLong { .. }, _) => Some(Met::Source("exceeded maximum allowed size of 4194304 bytes".to_owned())),
            // What it says of an index has the body in it.
            (Evidence::ContentInvalid(ContentFault::NotJson(said)), _) if !said.is_empty() => {
                let error = format!("initializing image from source {}: {said}", self.named);
                Some(Met::Image(self.within_an_index(&error), Looked::NotJson(said.clone())))
            }
            (Evidence::ContentInvalid(fault), _) => Some(Met::Image(self.of_content(failure, fault)?, Looked::Image)),
            (Evidence::ContentMissing { part, digest, .. }, _) => {
                let refused = refused(failure)?;
                Some(if *part == "child manifest" {
                    let error = format!("reading manifest {digest} in {}: {refused}", self.there);
                    let image = format!("determining manifest MIME type for {}: {error}", self.named);
                    Met::Image(self.within_an_index(&image), Looked::NoChild(error))
                } else {
                    Met::Image(self.of_blob(failure, &format!("fetching blob: {refused}"))?, Looked::Image)
                })
            }
            _ if url.ends_with("/v2/") => {
                let error = format!("pinging container registry {}: {}", authority(url)?, refused(failure)?);
                Some(Met::Source(error))
            }
            _ if url.contains("/blobs/") => {
                let error = format!("fetching blob: {}", refused(failure)?);
                Some(Met::Image(self.of_blob(failure, &error)?, Looked::Image))
            }
            _ if url.ends_with(&format!("/manifests/{}", self.target)) => {
                let (target, there) = (&self.target, &self.there);
                Some(Met::Source(format!(
                    "reading manifest {target} in {there}: {}",
                    refused(failure)?
                )))
            }
            _ => None,
        }
    }

    /// The rest of the text after a name, once the manifest was returned.
    fn of_content(&self, failure: &Failure, fault: &ContentFault) -> Option<String> {
        let about = failure.digest.as_deref();
        match fault {
            ContentFault::DigestWrong => Some(format!(
                "determining manifest MIME type for {}: Manifest does not match provided manifest digest {}",
                self.named, self.target
            )),
            ContentFault::OtherDigest { part: "config", has } => Some(self.within_an_index(&format!(
                "parsing image configuration: Download config.json digest {has} does not match expected {}",
                about?
            ))),
            ContentFault::OtherDigest { .. } => Some(self.within_an_index(&format!(
                "determining manifest MIME type for {}: Manifest does not match provided manifest digest {}",
                self.named, about?
            ))),
            ContentFault::ConfigNotJson(said) => Some(self.within_an_index(&format!("parsing image configuration: {said}"))),
            ContentFault::OtherSize { part: "config", .. } => Some(self.within_an_index("writing blob: blob size mismatch")),
            _ => None,
        }
    }

    /// The text for a blob that cannot be fetched; the config is read first.
    fn of_blob(&self, failure: &Failure, error: &str) -> Option<String> {
        let digest = match &failure.evidence {
            Evidence::ContentMissing { part: "config", .. } => None,
            Evidence::ContentMissing { digest, .. } => Some(digest.clone()),
            _ => {
                let url = &failure.request.as_ref()?.url;
                let digest = url.rsplit_once("/blobs/").map(|(_, digest)| digest.to_owned())?;
                // If there is a config, it was read before any layer was requested.
                self.layers()?.contains(&digest.as_str()).then_some(digest)
            }
        };
        Some(self.within_an_index(&match digest {
            Some(digest) => format!("reading blob {digest}: {error}"),
            None => format!("parsing image configuration: {error}"),
        }))
    }

    /// The digests of the layers, if a manifest was read.
    fn layers(&self) -> Option<Vec<&str>> {
        use crate::runtime::content::Content;
        let found = self.found?;
        let content = found
            .builds
            .first()
            .map_or(Some(&found.content), |build| build.content.as_ref().ok())?;
        match content {
            Content::Image { body, .. } => Some(body.blobs.iter().map(|blob| blob.digest.as_str()).collect()),
            Content::Index(_) | Content::Artifact { .. } | Content::Schema1 => None,
        }
    }

    fn within_an_index(&self, error: &str) -> String {
        if self.found.is_some_and(|found| is_list(&found.media_type)) {
            format!("copying system image from manifest list: {error}")
        } else {
            error.to_owned()
        }
    }

    /// The error if an index has no entry for the node.
    fn no_match(&self, pull: &Pull) -> Option<Met> {
        let what = match self.found?.media_type.as_str() {
            OCI_IMAGE_INDEX_MEDIA_TYPE => "image index",
            _ => "manifest list",
        };
        let (os, architecture) = (&pull.platform.os, &pull.platform.architecture);
        let variant = variants(&pull.platform).first().copied().unwrap_or_default();
        let none = format!("no image found in {what} for architecture \"{architecture}\", variant \"{variant}\", OS \"{os}\"");
        let image = format!("choosing an image from manifest list {}: {none}", self.named);
        Some(Met::Image(image, Looked::NoEntry(none)))
    }
}

fn is_list(media_type: &str) -> bool {
    super::manifest::Form::of(media_type).is_list()
}

/// The text for a missing answer, in Go's words.
fn unanswered(failure: &Failure) -> Option<String> {
    let dialled = || {
        let url = Url::parse(&failure.request.as_ref()?.url).ok()?;
        let host = url.host_str()?;
        let address = if host.parse::<Ipv4Addr>().is_ok() { host } else { "..." };
        Some(format!("{address}:{}", url.port_or_known_default()?))
    };
    let host = failure.host.split(':').next().unwrap_or_default();
    let verify = "tls: failed to verify certificate: x509: certificate";
    Some(match &failure.evidence {
        Evidence::NameNotResolved => format!("dial tcp: lookup {host} on ...:53: no such host"),
        Evidence::ConnectionFailed(ConnectionFault::Refused) => format!("dial tcp {}: connect: connection refused", dialled()?),
        Evidence::ConnectionFailed(ConnectionFault::Interrupted) => "EOF".to_owned(),
        Evidence::ConnectionFailed(ConnectionFault::Unreachable) => format!("dial tcp {}: connect: no route to host", dialled()?),
        Evidence::TimedOut(TimeoutStage::Connect) => format!("dial tcp {}: i/o timeout", dialled()?),
        Evidence::TimedOut(TimeoutStage::Handshake) => "net/http: TLS handshake timeout".to_owned(),
        Evidence::Tls(TlsFault::UnknownIssuer) => format!("{verify} signed by unknown authority"),
        Evidence::Tls(TlsFault::Expired) => format!("{verify} has expired or is not yet valid"),
        Evidence::Tls(TlsFault::WrongName) => format!("{verify} is valid for ..., not {host}"),
        Evidence::Tls(TlsFault::PlainHttp) => "http: server gave HTTP response to HTTPS client".to_owned(),
        Evidence::Rejected(Rejection::RedirectLoop) => "stopped after 10 redirects".to_owned(),
        _ => return None,
    })
}

/// An answer other than 200 (`registryHTTPResponseToError`).
fn refused(failure: &Failure) -> Option<String> {
    let status = failure.status?;
    if !(400..500).contains(&status) {
        return Some(unexpected(status));
    }
    let code = failure.code.as_deref()?;
    let said = failure.detail.as_deref().unwrap_or_default();
    let (known, usual) = match code {
        "UNAUTHORIZED" => ("unauthorized", "authentication required"),
        "DENIED" => ("denied", "requested access to the resource is denied"),
        "TOOMANYREQUESTS" => ("toomanyrequests", "too many requests"),
        "MANIFEST_UNKNOWN" => ("manifest unknown", "manifest unknown"),
        "NAME_UNKNOWN" => ("name unknown", "repository name not known to registry"),
        "NAME_INVALID" => ("name invalid", "invalid repository name"),
        "BLOB_UNKNOWN" => ("blob unknown", "blob unknown to registry"),
        // CRI-O does not know any other code.
        _ => ("unknown", "unknown error"),
    };
    match said {
        _ if said == usual && known == usual => Some(usual.to_owned()),
        "" if known == usual => Some(usual.to_owned()),
        // Which of the two it is depends on a member that we do not keep.
        "" => None,
        _ if said == usual => None,
        _ => Some(format!("{known}: {said}")),
    }
}

fn token_refused(failure: &Failure) -> Option<String> {
    Some(match failure.status? {
        429 => "too many requests to registry".to_owned(),
        401 => format!(
            "unable to retrieve auth token: invalid username/password: {}",
            refused(failure)?
        ),
        status => format!("Requesting bearer token: {}", unexpected(status)),
    })
}

fn unexpected(status: u16) -> String {
    let known = http::StatusCode::from_u16(status).ok();
    let phrase = known.and_then(|status| status.canonical_reason()).unwrap_or_default();
    format!("received unexpected HTTP status: {status} {phrase}")
}

/// `host[:port]` of a URL.
fn authority(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    rest.split('/').next().map(str::to_owned)
}

/// The image's name as the kubelet passes it.
fn written(pull: &Pull) -> String {
    let name = pull.short.as_deref().map_or_else(|| pull.reference.name(), str::to_owned);
    let (tag, digest) = (pull.reference.tag(), pull.reference.digest());
    match (tag, digest) {
        (None, None) => format!("{name}:latest"),
        (tag, digest) => {
            let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
            let digest = digest.map_or_else(String::new, |digest| format!("@{digest}"));
            format!("{name}{tag}{digest}")
        }
    }
}

fn target(reference: &Reference) -> String {
    match reference.target() {
        Target::Tag(tag) => tag,
        Target::Digest(digest) => digest.to_string(),
    }
}

/// The short form of a reference (`FamiliarString`); a tag beside a digest is dropped.
fn familiar(reference: &Reference) -> String {
    let name = reference.name();
    let hub = name.strip_prefix("docker.io/");
    let short = hub.map(|path| {
        path.strip_prefix("library/")
            .filter(|rest| !rest.contains('/'))
            .unwrap_or(path)
    });
    let name = short.unwrap_or(&name);
    match reference.target() {
        Target::Tag(tag) => format!("{name}:{tag}"),
        Target::Digest(digest) => format!("{name}@{digest}"),
    }
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
