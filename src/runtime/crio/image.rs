//! The pull of an image (`copy.Image` of containers/image, into its storage): manifest, entry of an index, config, layers.

use crate::ask::Ask;
use crate::image::{Platform, Target};
use crate::runtime::containerd::ends::{runs, worst};
use crate::runtime::content::{BlobRef, Content, Descriptor, Document, clipped};
use crate::runtime::crio::choose::choose;
use crate::runtime::crio::manifest::{self, Form};
use crate::runtime::crio::source::{Served, Source};
use crate::runtime::crio::{Failed, Got, Stop, Walk, caught};
use crate::runtime::outcome::{Build, ContentFault, Evidence, Failure, ImageFacts};
use crate::runtime::request::Request;
use crate::runtime::{Depth, End};
use std::collections::HashSet;
use std::sync::Arc;

/// How many layers of one image are looked up: whoever writes a manifest may list any number.
const MOST_LAYERS: usize = 1000;

/// What was found, and how the pull ends.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) facts: ImageFacts,
    pub(super) end: End,
    /// There was no answer for the part that fails the pull.
    pub(super) by_network: bool,
}

/// A manifest of one image, as far as it was read.
struct Single {
    content: Content,
    /// The problems of its parts, in the order in which they are found.
    troubles: Vec<Failed>,
}

/// Pulls the reference as an image.
pub(super) fn pull(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>) -> Got<Found> {
    let reference = walk.reference;
    let mut source = Source::open(walk, ask, reference)?;
    let served = source.manifest.clone();
    let broken = |fault| Stop::from(served.broken(fault));
    served.is_what_was_asked_for(reference.target()).map_err(broken)?;
    if served.form.is_list() {
        let document = served.document().map_err(broken)?;
        let entries = manifest::index(served.form, &document).map_err(broken)?;
        let Some(entry) = choose(&document, served.form, walk.platform) else {
            return Ok(Found::new(
                walk,
                &source,
                Content::Index(entries),
                Vec::new(),
                End::NoMatch,
                false,
            ));
        };
        walk.check_policy()?;
        let (builds, end, by_network) = match walk.until {
            // If the index names the platform, all that matters is whether the entry exists.
            Depth::Manifest if entry.platform.is_some() => there(walk, ask, &mut source, entry)?,
            Depth::Manifest => of_entry(walk, ask, &mut source, entry, Depth::Config)?,
            Depth::Sizes | Depth::Config | Depth::Layers => of_entry(walk, ask, &mut source, entry, walk.until)?,
        };
        return Ok(Found::new(walk, &source, Content::Index(entries), builds, end, by_network));
    }
    walk.check_policy()?;
    let until = Depth::Config.max(walk.until);
    let single = single(walk, ask, &mut source, &served, until)?;
    let (end, by_network) = single.end(None, walk.platform);
    let builds = if walk.until == Depth::Layers || !single.troubles.is_empty() {
        vec![single.build(served.digest.to_string(), served.media_type.clone())]
    } else {
        Vec::new()
    };
    Ok(Found::new(walk, &source, single.content, builds, end, by_network))
}

impl Found {
    pub(super) fn new(walk: &Walk<'_>, source: &Source, content: Content, builds: Vec<Build>, end: End, by_network: bool) -> Self {
        Self {
            facts: ImageFacts {
                digest: source.manifest.digest.clone(),
                media_type: source.manifest.media_type.clone(),
                content,
                quota: walk.quota,
                authenticated: source.session.is_authenticated(),
                stale: false,
                builds,
            },
            end,
            by_network,
        }
    }
}

impl Single {
    fn build(&self, digest: String, media_type: String) -> Build {
        Build {
            digest,
            media_type,
            content: Ok(self.content.clone()),
            troubles: self.troubles.iter().map(|failed| failed.failure.clone()).collect(),
        }
    }

    /// How the pull ends, and whether that is for lack of an answer. The first problem is reported; a certain one counts more than an
    /// unknown.
    fn end(&self, entry: Option<&Descriptor>, host: &Platform) -> (End, bool) {
        if let Some(first) = self.troubles.first() {
            let all: Vec<&Failure> = self.troubles.iter().map(|failed| &failed.failure).collect();
            let worst = worst(&all).unwrap_or(&first.failure);
            return (End::Failed(worst.clone()), first.by_network);
        }
        let end = match &self.content {
            Content::Artifact { kind, .. } => End::Artifact {
                kind: kind.clone(),
                fails: true,
            },
            // CRI-O goes by the platforms in the index, and does not compare them with the configs.
            Content::Image {
                platform: Some(platform),
                ..
            } if entry.is_some() && !platform.architecture.is_empty() && !runs(host, platform) => End::Foreign(platform.clone()),
            Content::Image { body, .. } => End::Pulled { size: body.size },
            Content::Index(_) | Content::Schema1 => End::Pulled { size: None },
        };
        (end, false)
    }
}

/// The parts of an entry, how the pull ends with it, and whether that is for lack of an answer.
pub(super) type Entry = (Vec<Build>, End, bool);

/// Whether the entry of an index for the node exists.
fn there(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, source: &mut Source, entry: &Descriptor) -> Got<Entry> {
    Ok(match caught(source.is_there(walk, ask, &entry.digest))? {
        Ok(()) => (Vec::new(), End::Pulled { size: None }, false),
        Err(failed) => missing(entry, failed),
    })
}

/// The entry of an index for the node, to the depth of `until`.
fn of_entry(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, source: &mut Source, entry: &Descriptor, until: Depth) -> Got<Entry> {
    let found = child(walk, ask, source, &entry.digest).and_then(|served| single(walk, ask, source, &served, until));
    Ok(match caught(found)? {
        Ok(single) => {
            let (end, by_network) = single.end(Some(entry), walk.platform);
            let build = single.build(entry.digest.clone(), entry.media_type.clone());
            (vec![build], end, by_network)
        }
        Err(failed) => missing(entry, failed),
    })
}

/// An entry that cannot be fetched.
pub(super) fn missing(entry: &Descriptor, failed: Failed) -> Entry {
    let Failed {
        mut failure, by_network, ..
    } = failed;
    if let Evidence::ContentMissing { media_type, .. } = &mut failure.evidence
        && media_type.is_empty()
    {
        *media_type = clipped(&entry.media_type);
    }
    let build = Build {
        digest: entry.digest.clone(),
        media_type: entry.media_type.clone(),
        content: Err(failure.clone()),
        troubles: Vec::new(),
    };
    (vec![build], End::Failed(failure), by_network)
}

/// The manifest that an index names.
pub(super) fn child(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, source: &mut Source, digest: &str) -> Got<Served> {
    let served = source.child(walk, ask, digest)?;
    if served.digest.as_str() != digest || !digest.starts_with("sha256:") {
        let has = served.digest.to_string();
        let part = "child manifest";
        return Err(served.broken(ContentFault::OtherDigest { part, has }).about(digest).into());
    }
    if served.form.is_list() {
        let text = "an entry of the index leads to another index, which CRI-O does not follow";
        return Err(served.broken(ContentFault::Structure(text.to_owned())).into());
    }
    Ok(served)
}

/// A manifest of one image, to the depth of `until` (`copySingleImage`).
fn single(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, source: &mut Source, served: &Served, until: Depth) -> Got<Single> {
    let broken = |fault| Stop::from(served.broken(fault));
    let document = served.document().map_err(broken)?;
    let manifest = manifest::manifest(walk.version, served.form, &served.media_type, &document).map_err(broken)?;
    if !manifest.is_image().map_err(broken)? {
        return Ok(Single {
            content: manifest.artifact(),
            troubles: Vec::new(),
        });
    }
    let config = match &manifest.config {
        Some(config) if until >= Depth::Config => source.config(walk, ask, config)?,
        Some(_) | None => None,
    };
    let mut troubles = match until {
        Depth::Layers => {
            let counted = manifest.counted(config.as_ref().map(|(config, _)| &**config));
            layers(walk, ask, source, manifest.layers.iter().take(counted))?
        }
        Depth::Manifest | Depth::Sizes | Depth::Config => Vec::new(),
    };
    let read = config.as_ref().map(|(config, length)| (&**config, *length));
    if let Err(fault) = manifest.commits(walk.version, &document, read) {
        let about = manifest
            .config
            .as_ref()
            .map(|config| config.digest.as_str())
            .unwrap_or_default();
        troubles.push(Failed::from(served.broken(fault).about(about)));
    }
    let content = match manifest.form {
        Form::Schema1 => Content::Schema1,
        Form::Oci | Form::Docker | Form::OciIndex | Form::DockerList => Content::Image {
            platform: config.map(|(config, _)| config.platform.clone()),
            body: manifest.body(),
        },
    };
    Ok(Single { content, troubles })
}

/// The problems of the layers, in their order. All are requested concurrently, whatever happens to the others.
fn layers<'a>(
    walk: &mut Walk<'_>,
    ask: &mut Ask<'_, Request>,
    source: &Source,
    layers: impl Iterator<Item = &'a BlobRef>,
) -> Got<Vec<Failed>> {
    let mut seen = HashSet::new();
    let each: Vec<&BlobRef> = layers
        .filter(|layer| seen.insert(layer.digest.as_str()))
        .take(MOST_LAYERS)
        .collect();
    let found = walk.branch(ask, each, |walk, ask, layer| source.clone().blob(walk, ask, layer))?;
    Ok(found.into_iter().filter_map(Result::err).collect())
}

impl Served {
    /// The document, or why it cannot be read.
    pub(super) fn document(&self) -> Result<Arc<Document>, ContentFault> {
        self.document.clone().map_err(|fault| match self.form {
            // It was read as something that it is not.
            Form::Schema1 => ContentFault::MediaType(clipped(&self.response.content_type)),
            // Its words about a list hold the whole body.
            Form::OciIndex | Form::DockerList if matches!(fault, ContentFault::NotJson(_)) => ContentFault::NotJson(String::new()),
            Form::Oci | Form::Docker | Form::OciIndex | Form::DockerList => fault,
        })
    }

    /// A failure because of its content.
    pub(super) fn broken(&self, fault: ContentFault) -> Failure {
        Failure::unworded(Evidence::ContentInvalid(fault), &self.response).about(&self.digest)
    }

    /// Whether its digest is the one that it was requested by, which must be a sha256 (`MatchesDigest`).
    pub(super) fn is_what_was_asked_for(&self, target: Target) -> Result<(), ContentFault> {
        let Target::Digest(digest) = target else {
            return Ok(());
        };
        // The digest of a signed schema 1 manifest leaves the signatures out, and we cannot compute it.
        let signed = |document: &Arc<Document>| document.has_signatures && document.schema_version == 1;
        let is_same = self.digest == digest || self.document.as_ref().is_ok_and(signed);
        if is_same && digest.algorithm() == "sha256" {
            Ok(())
        } else {
            Err(ContentFault::DigestWrong)
        }
    }
}
