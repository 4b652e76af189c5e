//! Finds an image at the first of its places that has the manifest (`docker/docker_image_src.go` of containers/image).

use crate::ask::Ask;
use crate::image::{Digest, Reference, Target};
use crate::runtime::answer::{Body, Response};
use crate::runtime::content::{BlobRef, Document, ReadConfig};
use crate::runtime::crio::manifest::{ACCEPT, Form, LONGEST};
use crate::runtime::crio::pull_sources::pull_sources;
use crate::runtime::crio::session::{Asked, Session};
use crate::runtime::crio::{Failed, Got, Stop, Walk, by_node_settings, caught};
use crate::runtime::outcome::{ContentFault, Evidence, Failure, Purpose, UnreadLayer};
use crate::runtime::request::{Request, Want};
use std::sync::Arc;

/// The place that is asked for everything else.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) session: Session,
    /// The reference under its name there.
    reference: Reference,
    /// What the reference leads to.
    pub(super) manifest: Served,
}

/// A manifest or an index as it is served.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) response: Arc<Response>,
    pub(super) form: Form,
    /// As sent, without parameters.
    pub(super) media_type: String,
    pub(super) document: Result<Arc<Document>, ContentFault>,
    pub(super) digest: Digest,
}

impl Source {
    /// Asks the places of a reference in turn. Whatever fails before there is a manifest leads to the next (`newImageSource`).
    pub(super) fn open(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, reference: &Reference) -> Got<Self> {
        let places =
            pull_sources(&walk.node.registries, walk.version, reference).map_err(|why| by_node_settings(why, reference))?;
        let mut failures: Vec<Failed> = Vec::new();
        for place in &places {
            let there = Session::connect(walk, ask, place).and_then(|mut session| {
                let target = place.reference.target();
                let manifest = fetch(walk, ask, &mut session, &place.reference, &target)?;
                Ok(Self {
                    session,
                    reference: place.reference.clone(),
                    manifest,
                })
            });
            match caught(there)? {
                Ok(source) => {
                    walk.pass(failures.into_iter().map(|failed| failed.failure).collect());
                    return Ok(source);
                }
                Err(failed) => failures.push(failed),
            }
        }
        let before = failures.len().saturating_sub(1);
        for failed in failures.iter_mut().take(before) {
            failed.failure = failed.failure.clone().of_host(false);
        }
        // That of the registry itself is told first, the others in brackets behind it.
        let Some(last) = failures.pop() else {
            return Err(Failure::plain(Evidence::Internal, reference.registry().to_owned()).into());
        };
        Err(Stop::Failed(Box::new(Failed {
            before: failures.into_iter().map(|failed| failed.failure).collect(),
            ..last
        })))
    }

    /// A manifest that an index names.
    pub(super) fn child(&mut self, walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, digest: &str) -> Got<Served> {
        let digest = self.digest("child manifest", digest)?;
        fetch(walk, ask, &mut self.session, &self.reference, &Target::Digest(digest))
    }

    /// Whether a manifest that an index names is there. Asked as [`Self::child`] asks for it, and not read.
    pub(super) fn is_there(&mut self, walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, digest: &str) -> Got<()> {
        let digest = self.digest("child manifest", digest)?;
        let asked = Asked {
            path: Arc::from(format!("/v2/{}/manifests/{digest}", self.reference.path())),
            accept: Arc::clone(&ACCEPT),
            want: Want::Blob { size: None },
        };
        let response = self.session.request(walk, ask, &asked)?;
        match response.status {
            200 if response.is_of_no_registry() => Err(Failure::of_page("child manifest", &digest, &response).into()),
            200 => Ok(()),
            404 => Err(Failure::of(absent(&digest), &response, Purpose::Content).into()),
            _ => Err(Failure::of(self.session.refused(&response), &response, Purpose::Content).into()),
        }
    }

    /// The config of an image, as long as its descriptor says or not. `None` where it is too long to be read here.
    pub(super) fn config(
        &mut self,
        walk: &mut Walk<'_>,
        ask: &mut Ask<'_, Request>,
        config: &BlobRef,
    ) -> Got<Option<(Arc<ReadConfig>, u64)>> {
        self.elsewhere(config)?;
        let digest = self.digest("config", &config.digest)?;
        let response = self.fetch_blob(walk, ask, config, Want::Config { by: digest.clone() })?;
        let broken = |fault| Stop::from(Failure::unworded(Evidence::ContentInvalid(fault), &response).about(&digest));
        let (read, has, length) = match &response.body {
            Body::Config { config, digest, length } => (config, digest, *length),
            Body::TooLong(read) if response.length.unwrap_or(*read).max(*read) <= LONGEST => return Ok(None),
            Body::TooLong(_) => return Err(broken(too_long())),
            _ => return Err(unreadable(&response)),
        };
        if length > LONGEST {
            return Err(broken(too_long()));
        }
        // It is counted by sha256, whatever names it.
        if *has != digest || digest.algorithm() != "sha256" {
            let (part, has) = ("config", has.to_string());
            return Err(broken(ContentFault::OtherDigest { part, has }));
        }
        let read = read.as_ref().map_err(|fault| broken(fault.clone()))?;
        Ok(Some((Arc::clone(read), length)))
    }

    /// Whether a blob that nobody reads is there.
    pub(super) fn blob(&mut self, walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, blob: &BlobRef) -> Got<()> {
        let digest = self.digest(blob.part, &blob.digest)?;
        self.elsewhere(blob)?;
        let response = self.fetch_blob(walk, ask, blob, Want::Blob { size: None })?;
        let length = response.length.filter(|_| !response.encoded);
        let fault = match length {
            _ if digest.algorithm() != "sha256" => ContentFault::Structure(format!(
                "a {} is named by a digest other than sha256: \"{digest}\"",
                blob.part
            )),
            Some(has) if blob.size >= 0 && i64::try_from(has) != Ok(blob.size) => {
                ContentFault::CrioMayFail(UnreadLayer::Length { has, says: blob.size })
            }
            _ if response.is_of_no_registry() => return Err(Failure::of_page(blob.part, &digest, &response).into()),
            Some(_) | None => return Ok(()),
        };
        Err(Failure::unworded(Evidence::ContentInvalid(fault), &response)
            .about(&digest)
            .into())
    }

    fn fetch_blob(&mut self, walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, blob: &BlobRef, want: Want) -> Got<Arc<Response>> {
        let asked = Asked {
            path: Arc::from(format!("/v2/{}/blobs/{}", self.reference.path(), blob.digest)),
            accept: Arc::from(""),
            want,
        };
        let response = self.session.request(walk, ask, &asked)?;
        let evidence = match response.status {
            200 => return Ok(response),
            404 => Evidence::ContentMissing {
                part: blob.part,
                digest: blob.digest.clone(),
                media_type: blob.media_type.clone(),
            },
            // A storage behind the registry knows neither our credential nor a node's, but may know addresses.
            403 if !self.session.is_at(&response.asked_at.origin) => Evidence::Forbidden {
                address_bound: true,
                with_credential: self.session.is_authenticated(),
            },
            _ => self.session.refused(&response),
        };
        Err(Failure::of(evidence, &response, Purpose::Content).into())
    }

    /// The first of its `urls` that answers decides, and we never ask there.
    fn elsewhere(&self, blob: &BlobRef) -> Got<()> {
        let Some(host) = &blob.elsewhere else {
            return Ok(());
        };
        let evidence = Evidence::ForeignUrls {
            part: blob.part,
            host: host.clone(),
            digest: blob.digest.clone(),
        };
        let failure = Failure::plain(evidence, self.reference.domain().to_owned()).about(&blob.digest);
        Err(Stop::unanswered(failure))
    }

    /// The digest of a descriptor by which something can be fetched.
    fn digest(&self, part: &'static str, digest: &str) -> Got<Digest> {
        Digest::parse(digest).ok_or_else(|| {
            let fault = ContentFault::Structure(format!("the digest of a {part} is malformed: \"{digest}\""));
            let failure = Failure::plain(Evidence::ContentInvalid(fault), self.reference.domain().to_owned());
            failure.about(digest).into()
        })
    }
}

/// Asks a registry for a manifest (`fetchManifest`). Whether it is the one that was asked for, is for the caller to judge.
fn fetch(
    walk: &mut Walk<'_>,
    ask: &mut Ask<'_, Request>,
    session: &mut Session,
    reference: &Reference,
    target: &Target,
) -> Got<Served> {
    let (text, by) = match target {
        Target::Tag(tag) => (tag.clone(), None),
        Target::Digest(digest) => (digest.to_string(), Some(digest.clone())),
    };
    let is_child = reference.target() != *target;
    let asked = Asked {
        path: Arc::from(format!("/v2/{}/manifests/{text}", reference.path())),
        accept: Arc::clone(&ACCEPT),
        want: Want::Manifest { by },
    };
    let response = session.request(walk, ask, &asked)?;
    if response.status != 200 {
        let evidence = match (response.status, target) {
            (404, Target::Digest(digest)) if is_child => absent(digest),
            (404, Target::Digest(_)) => Evidence::DigestUnknown,
            (404, Target::Tag(_)) => Evidence::TagUnknown {
                repository_exists: false,
            },
            (_, _) => session.refused(&response),
        };
        let failure = Failure::of(evidence, &response, Purpose::Content);
        return Err(Failure {
            request_for_reason: session.latest.clone(),
            ..failure
        }
        .into());
    }
    let bytes = match &response.body {
        Body::Manifest { length, .. } => *length,
        Body::TooLong(read) => response.length.unwrap_or(*read).max(*read).max(LONGEST + 1),
        _ => return Err(unreadable(&response)),
    };
    if bytes > LONGEST {
        return Err(Failure::unworded(Evidence::TooLong { bytes }, &response).into());
    }
    match &response.body {
        // Go asks for gzip, and unpacks it; we have asked for what it is.
        Body::Manifest { document, digest, .. } if !response.encoded => Ok(Served {
            form: Form::of(&response.content_type),
            media_type: Form::media_type(&response.content_type),
            document: document.clone(),
            digest: digest.clone(),
            response: Arc::clone(&response),
        }),
        _ => Err(unreadable(&response)),
    }
}

/// The child of an index is not there.
fn absent(digest: &Digest) -> Evidence {
    Evidence::ContentMissing {
        part: "child manifest",
        digest: digest.to_string(),
        media_type: String::new(),
    }
}

fn too_long() -> ContentFault {
    ContentFault::Structure(format!("its config has more than {LONGEST} bytes, and CRI-O reads no more"))
}

/// The wire has not read what it was asked to read, and a runtime may.
fn unreadable(response: &Response) -> Stop {
    Failure::unworded(Evidence::ServerError { token_server: false }, response).into()
}
