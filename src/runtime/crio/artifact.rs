//! The pull of an artifact (`internal/ociartifact`). No container can be made of one.

use crate::ask::Ask;
use crate::image::{Digest, Reference};
use crate::runtime::containerd::ends::worst;
use crate::runtime::content::{BlobRef, Content};
use crate::runtime::crio::choose::choose;
use crate::runtime::crio::image::{Entry, Found, child, missing};
use crate::runtime::crio::manifest::{self, Form, Manifest};
use crate::runtime::crio::source::{Served, Source};
use crate::runtime::crio::version::Look;
use crate::runtime::crio::{Got, Stop, Walk, caught};
use crate::runtime::outcome::{Build, ContentFault, Evidence, Failure};
use crate::runtime::request::Request;
use crate::runtime::{Depth, End};
use std::collections::HashSet;

/// What a reference turns out to be.
enum Looked {
    Image,
    Artifact(Reference),
    /// An index whose entry for the node fails: the pull ends as that of an image would.
    Failed(Box<Found>),
}

/// Pulls the reference as an artifact; `None` if it is an image.
pub(super) fn pull(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>) -> Got<Option<Found>> {
    let looked = match walk.version.looks_for_artifacts() {
        Look::None => Looked::Artifact(walk.reference.clone()),
        Look::ByReference => look_by_reference(walk, ask)?,
        Look::Twice => look_twice(walk, ask)?.map_or(Looked::Image, Looked::Artifact),
    };
    match looked {
        Looked::Artifact(reference) => copy(walk, ask, &reference).map(Some),
        Looked::Failed(found) => Ok(Some(*found)),
        Looked::Image => Ok(None),
    }
}

/// `PullManifest` up to 1.34: returns the reference to pull if it is an artifact.
fn look_by_reference(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>) -> Got<Looked> {
    let reference = walk.reference.clone();
    let source = Source::open(walk, ask, &reference)?;
    let served = &source.manifest;
    if served.form == Form::DockerList {
        return Ok(Looked::Image);
    }
    let (manifest, reference) = if served.form == Form::OciIndex {
        let document = served.document().map_err(|fault| served.broken(fault))?;
        let entries = manifest::index(served.form, &document).map_err(|fault| served.broken(fault))?;
        let ends = |walk: &Walk<'_>, (builds, end, by_network): Entry| {
            let found = Found::new(walk, &source, Content::Index(entries), builds, end, by_network);
            Ok(Looked::Failed(Box::new(found)))
        };
        let Some(entry) = choose(&document, served.form, walk.platform) else {
            return ends(walk, (Vec::new(), End::NoMatch, false));
        };
        let malformed = || ContentFault::Structure("the digest of a child manifest is malformed".to_owned());
        let digest = Digest::parse(&entry.digest).ok_or_else(|| served.broken(malformed()))?;
        let reference = reference.at_digest(digest);
        match caught(Source::open(walk, ask, &reference))? {
            Ok(child) => (child.manifest, reference),
            Err(mut failed) => {
                if failed.failure.evidence == Evidence::DigestUnknown {
                    failed.failure.evidence = Evidence::ContentMissing {
                        part: "child manifest",
                        digest: entry.digest.clone(),
                        media_type: String::new(),
                    };
                }
                return ends(walk, missing(entry, failed));
            }
        }
    } else {
        (served.clone(), reference)
    };
    let is_artifact = read(walk, &manifest)?.is_artifact();
    Ok(if is_artifact {
        Looked::Artifact(reference)
    } else {
        Looked::Image
    })
}

/// `EnsureNotContainerImage`, since 1.35.2.
fn look_twice(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>) -> Got<Option<Reference>> {
    let reference = walk.reference;
    let mut source = Source::open(walk, ask, reference)?;
    let mut served = source.manifest.clone();
    if served.form.is_list() {
        let entry = chosen(walk, &served)?;
        source = Source::open(walk, ask, reference)?;
        served = source.child(walk, ask, &entry)?;
    }
    Ok(read(walk, &served)?.is_artifact().then(|| reference.clone()))
}

/// The digest of the entry of an index for the node.
fn chosen(walk: &Walk<'_>, index: &Served) -> Got<String> {
    let document = index.document().map_err(|fault| index.broken(fault))?;
    manifest::index(index.form, &document).map_err(|fault| index.broken(fault))?;
    match choose(&document, index.form, walk.platform) {
        Some(entry) => Ok(entry.digest.clone()),
        None => Err(index.broken(ContentFault::NoImage).into()),
    }
}

fn read(walk: &Walk<'_>, served: &Served) -> Got<Manifest> {
    let document = served.document().map_err(|fault| served.broken(fault))?;
    let manifest = manifest::manifest(walk.version, served.form, &served.media_type, &document);
    manifest.map_err(|fault| Stop::from(served.broken(fault)))
}

/// `copy.Image` into a store of artifacts: its layers, then its config. Layers with `urls` are not fetched.
fn copy(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, reference: &Reference) -> Got<Found> {
    let mut source = Source::open(walk, ask, reference)?;
    let root = source.manifest.clone();
    let broken = |fault| Stop::from(root.broken(fault));
    root.is_what_was_asked_for(reference.target()).map_err(broken)?;
    let (served, index) = if root.form.is_list() {
        let entry = chosen(walk, &root)?;
        let document = root.document().map_err(broken)?;
        let entries = manifest::index(root.form, &document).map_err(broken)?;
        let by_digest = entries.iter().find(|one| one.digest == entry).cloned();
        (
            child(walk, ask, &mut source, &entry)?,
            by_digest.map(|entry| (entry, entries)),
        )
    } else {
        (root.clone(), None)
    };
    walk.check_policy()?;
    let manifest = read(walk, &served)?;
    let troubles = match walk.until {
        Depth::Layers => blobs(walk, ask, &source, &manifest)?,
        Depth::Manifest | Depth::Sizes | Depth::Config => Vec::new(),
    };
    let end = match troubles.first() {
        Some(first) => End::Failed(worst(&troubles.iter().collect::<Vec<_>>()).unwrap_or(first).clone()),
        None => End::Artifact {
            kind: manifest.kind(),
            fails: false,
        },
    };
    let content = manifest.artifact();
    let (digest, media_type, least) = match &index {
        Some((entry, _)) => (entry.digest.clone(), entry.media_type.clone(), Depth::Sizes),
        None => (root.digest.to_string(), root.media_type.clone(), Depth::Layers),
    };
    let build = Build {
        digest,
        media_type,
        content: Ok(content.clone()),
        troubles,
    };
    let builds = if walk.until >= least { vec![build] } else { Vec::new() };
    let content = index.map_or(content, |(_, entries)| Content::Index(entries));
    Ok(Found::new(walk, &source, content, builds, end, false))
}

/// The problems of its blobs.
fn blobs(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, source: &Source, manifest: &Manifest) -> Got<Vec<Failure>> {
    const MOST: usize = 1000;
    let mut seen = HashSet::new();
    let here = |blob: &&BlobRef| blob.elsewhere.is_none();
    let layers = manifest.layers.iter().filter(here);
    let config = manifest.config.iter().filter(|config| !config.digest.is_empty());
    let all: Vec<&BlobRef> = layers
        .chain(config)
        .filter(|blob| seen.insert(blob.digest.as_str()))
        .take(MOST)
        .collect();
    let found = walk.branch(ask, all, |walk, ask, blob| source.clone().blob(walk, ask, blob))?;
    Ok(found
        .into_iter()
        .filter_map(|one| one.err().map(|failed| failed.failure))
        .collect())
}
