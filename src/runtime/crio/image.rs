//! The pull of an image (`copy.Image` of containers/image, into its storage): manifest, entry of an index, config, layers.

use crate::ask::Ask;
use crate::image::Target;
use crate::runtime::Depth;
use crate::runtime::content::{BlobRef, Content, Document};
use crate::runtime::crio::choose::choose;
use crate::runtime::crio::manifest::{self, Form, Manifest};
use crate::runtime::crio::source::{Served, Source};
use crate::runtime::crio::{Failed, Got, Stop, Walk, caught};
use crate::runtime::outcome::{Build, ContentFault, Evidence, Failure, ImageFacts};
use crate::runtime::request::Request;
use std::collections::HashSet;
use std::sync::Arc;

/// Layers of one image that are looked for: a manifest is a stranger's text.
const MOST_LAYERS: usize = 1000;

/// What became of a pull that got so far that there are facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// As far as was looked.
    Pulled,
    /// The facts tell why.
    Failed {
        /// Nobody answered for a part.
        by_network: bool,
    },
}

/// What a manifest of one image comes to.
struct Single {
    content: Content,
    /// What is wrong with its parts, the first of which is told.
    troubles: Vec<Failure>,
    fate: Fate,
}

/// Pulls it as an image.
pub(super) fn pull(walk: &mut Walk<'_>, net: &mut Ask<'_, Request>) -> Got<(ImageFacts, Fate)> {
    let reference = walk.reference;
    let mut source = Source::open(walk, net, reference)?;
    let served = source.manifest.clone();
    let broken = |fault| Stop::from(served.broken(fault));
    served.is_what_was_asked_for(reference.target()).map_err(broken)?;
    let (content, builds, fate) = if served.form.is_list() {
        let document = served.document().map_err(broken)?;
        let entries = manifest::index(served.form, &document).map_err(broken)?;
        let (builds, fate) = match walk.until {
            Depth::Manifest => (Vec::new(), Fate::Pulled),
            Depth::Sizes | Depth::Config | Depth::Layers => entry(walk, net, &mut source, served.form, &document)?,
        };
        (Content::Index(entries), builds, fate)
    } else {
        let single = single(walk, net, &mut source, &served, Depth::Config.max(walk.until))?;
        let builds = match walk.until {
            Depth::Layers => vec![Build {
                digest: served.digest.to_string(),
                media_type: served.media_type.clone(),
                content: Ok(single.content.clone()),
                troubles: single.troubles,
            }],
            Depth::Manifest | Depth::Sizes | Depth::Config => Vec::new(),
        };
        (single.content, builds, single.fate)
    };
    let facts = facts(walk, &source, content, builds);
    Ok((facts, fate))
}

/// What is told of an image that was found at a source.
pub(super) fn facts(walk: &Walk<'_>, source: &Source, content: Content, builds: Vec<Build>) -> ImageFacts {
    ImageFacts {
        digest: source.manifest.digest.clone(),
        media_type: source.manifest.media_type.clone(),
        content,
        quota: walk.quota,
        authenticated: source.session.is_authenticated(),
        stale: false,
        builds,
    }
}

/// The entry of an index that is for the node, if one is.
fn entry(
    walk: &mut Walk<'_>,
    net: &mut Ask<'_, Request>,
    source: &mut Source,
    form: Form,
    index: &Document,
) -> Got<(Vec<Build>, Fate)> {
    let Some(entry) = choose(index, form, walk.platform) else {
        return Ok((Vec::new(), Fate::Failed { by_network: false }));
    };
    let until = walk.until;
    let found = caught(child(walk, net, source, &entry.digest).and_then(|served| single(walk, net, source, &served, until)))?;
    let (content, troubles, fate) = match found {
        Ok(single) => (Ok(single.content), single.troubles, single.fate),
        Err(failed) => {
            let Failed {
                mut told, by_network, ..
            } = failed;
            if let Evidence::ContentMissing { media_type, .. } = &mut told.evidence
                && media_type.is_empty()
            {
                media_type.clone_from(&entry.media_type);
            }
            (Err(told), Vec::new(), Fate::Failed { by_network })
        }
    };
    let build = Build {
        digest: entry.digest.clone(),
        media_type: entry.media_type.clone(),
        content,
        troubles,
    };
    Ok((vec![build], fate))
}

/// The manifest that an index names.
pub(super) fn child(walk: &mut Walk<'_>, net: &mut Ask<'_, Request>, source: &mut Source, digest: &str) -> Got<Served> {
    let served = source.child(walk, net, digest)?;
    if served.digest.as_str() != digest || !digest.starts_with("sha256:") {
        let text = "the child manifest served does not have the digest that the index names";
        return Err(served.broken(ContentFault::Structure(text.to_owned())).into());
    }
    if served.form.is_list() {
        let text = "an entry of the index leads to another index, which CRI-O does not follow";
        return Err(served.broken(ContentFault::Structure(text.to_owned())).into());
    }
    Ok(served)
}

/// A manifest of one image, as deep as `until` says (`copySingleImage`).
fn single(walk: &mut Walk<'_>, net: &mut Ask<'_, Request>, source: &mut Source, served: &Served, until: Depth) -> Got<Single> {
    let broken = |fault| Stop::from(served.broken(fault));
    let document = served.document().map_err(broken)?;
    let manifest = manifest::manifest(walk.version, served.form, &served.media_type, &document).map_err(broken)?;
    if let Some(fault) = manifest.no_image() {
        return Err(broken(fault));
    }
    let mut config = None;
    if let Some(blob) = &manifest.config
        && until >= Depth::Config
    {
        config = source.config(walk, net, blob)?;
    }
    let mut troubles = Vec::new();
    let mut fate = Fate::Pulled;
    if until >= Depth::Layers {
        for failed in layers(walk, net, source, &manifest)? {
            // That of the lowest layer is told.
            if troubles.is_empty() {
                fate = Fate::Failed {
                    by_network: failed.by_network,
                };
            }
            troubles.push(failed.told);
        }
    }
    let read = config.as_ref().map(|(config, length)| (&**config, *length));
    if let Err(fault) = manifest.commits(walk.version, &document, read) {
        let about = manifest
            .config
            .as_ref()
            .map(|config| config.digest.clone())
            .unwrap_or_default();
        let failure = served.broken(fault).about(&about);
        if troubles.is_empty() && served.is_root(source) {
            return Err(failure.into());
        }
        if troubles.is_empty() {
            fate = Fate::Failed { by_network: false };
        }
        troubles.push(failure);
    }
    let content = match manifest.form {
        Form::Schema1 => Content::Schema1,
        Form::Oci | Form::Docker | Form::OciIndex | Form::DockerList => Content::Image {
            platform: config.map(|(config, _)| config.platform.clone()),
            body: manifest.body(),
        },
    };
    Ok(Single { content, troubles, fate })
}

/// What is wrong with the layers, in their order. All are asked for at the same time, whatever becomes of the others.
fn layers(walk: &mut Walk<'_>, net: &mut Ask<'_, Request>, source: &Source, manifest: &Manifest) -> Got<Vec<Failed>> {
    let mut seen = HashSet::new();
    let each: Vec<&BlobRef> = manifest
        .layers
        .iter()
        .filter(|layer| seen.insert(layer.digest.as_str()))
        .take(MOST_LAYERS)
        .collect();
    let found = walk.branch(net, each, |walk, net, layer| source.clone().blob(walk, net, layer))?;
    Ok(found.into_iter().filter_map(Result::err).collect())
}

impl Served {
    /// Its document, or why it cannot be read.
    pub(super) fn document(&self) -> Result<Arc<Document>, ContentFault> {
        self.document.clone().map_err(|fault| match self.form {
            // Read as what it is not.
            Form::Schema1 => ContentFault::MediaType(crate::runtime::content::clipped(&self.response.content_type)),
            Form::Oci | Form::Docker | Form::OciIndex | Form::DockerList => fault,
        })
    }

    /// A failure that rests on its content.
    pub(super) fn broken(&self, fault: ContentFault) -> Failure {
        Failure::unworded(Evidence::ContentInvalid(fault), &self.response).about(&self.digest)
    }

    fn is_root(&self, source: &Source) -> bool {
        Arc::ptr_eq(&self.response, &source.manifest.response)
    }

    /// Whether it has the digest that it was asked for by, which must be one by sha256 (`MatchesDigest`).
    pub(super) fn is_what_was_asked_for(&self, target: Target) -> Result<(), ContentFault> {
        let Target::Digest(digest) = target else {
            return Ok(());
        };
        // The signatures of schema 1 do not count, and nobody here can tell what is left without them.
        let signed = |document: &Arc<Document>| document.has_signatures && document.schema_version == 1;
        let is_same = self.digest == digest || self.document.as_ref().is_ok_and(signed);
        if is_same && digest.algorithm() == "sha256" {
            Ok(())
        } else {
            Err(ContentFault::DigestWrong)
        }
    }
}
