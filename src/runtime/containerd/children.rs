//! What a pull fetches after the first manifest: the entries of an index that are for the node, their configs and layers
//! (`images.ChildrenHandler`, `images.FilterPlatforms`, `images.LimitManifests`).

use crate::ask::Ask;
use crate::image::Platform;
use crate::runtime::Depth;
use crate::runtime::containerd::manifest::{Config, Parsed};
use crate::runtime::containerd::platforms::fetches;
use crate::runtime::containerd::{Got, Walk, caught};
use crate::runtime::content::{Body, Content, IndexEntry};
use crate::runtime::outcome::{Build, Failure, ImageFacts};
use crate::runtime::request::Request;
use std::collections::HashSet;

/// How deep indexes within indexes are followed.
pub(crate) const DEEPEST: usize = 4;
/// How many children of one index are looked up. The transfer service fetches each that has no platform, and whoever writes an index may
/// list any number.
const MOST_CHILDREN: usize = 1000;
/// The same, if we only ask whether they exist.
const MOST_ASKED_FOR: usize = 20;

/// The parts that this node would fetch, to the depth of `until`.
pub(super) fn builds(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, facts: &ImageFacts, until: Depth) -> Got<Vec<Build>> {
    match &facts.content {
        Content::Index(entries) => children(walk, ask, entries, until, DEEPEST),
        Content::Artifact { body, .. } if until >= Depth::Layers => Ok(vec![own(facts, blobs(walk, ask, body, until)?)]),
        Content::Image { .. } | Content::Artifact { .. } | Content::Schema1 => Ok(Vec::new()),
    }
}

/// The problems of the parts of an image that every node fetches.
pub(super) fn own(facts: &ImageFacts, troubles: Vec<Failure>) -> Build {
    Build {
        digest: facts.digest.to_string(),
        media_type: facts.media_type.clone(),
        content: Ok(facts.content.clone()),
        troubles,
    }
}

fn children(
    walk: &mut Walk<'_>,
    ask: &mut Ask<'_, Request>,
    entries: &[IndexEntry],
    until: Depth,
    levels: usize,
) -> Got<Vec<Build>> {
    let puller = walk.by.puller(walk.platform);
    let needed = fetches(entries, &puller).needed();
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    let needed: Vec<&IndexEntry> = needed
        .into_iter()
        .filter_map(|at| entries.get(at))
        .filter(|entry| seen.insert((&entry.digest, &entry.media_type)))
        .take(if until == Depth::Manifest {
            MOST_ASKED_FOR
        } else {
            MOST_CHILDREN
        })
        .collect();
    let found = walk.branch(ask, needed, |walk, ask, entry| {
        // If the index names the platform of an image, all that matters is whether the image exists.
        if until == Depth::Manifest && entry.platform.is_some() && entry.is_image() {
            there(walk, ask, entry)
        } else {
            child(walk, ask, entry, until, levels)
        }
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// An entry that a node would take and that is missing, or not known to exist.
fn there(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, entry: &IndexEntry) -> Got<Vec<Build>> {
    let Err(failures) = caught(walk.is_there(ask, entry))? else {
        return Ok(Vec::new());
    };
    let failure = walk.reported(failures).map(|failure| Build {
        digest: entry.digest.clone(),
        media_type: entry.media_type.clone(),
        content: Err(failure),
        troubles: Vec::new(),
    });
    Ok(failure.into_iter().collect())
}

fn child(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, entry: &IndexEntry, until: Depth, levels: usize) -> Got<Vec<Build>> {
    let build = |content, troubles| Build {
        digest: entry.digest.clone(),
        media_type: entry.media_type.clone(),
        content,
        troubles,
    };
    let parsed = match caught(walk.child(ask, entry))? {
        Ok(parsed) => parsed,
        Err(failures) => {
            return Ok(walk
                .reported(failures)
                .map(|failure| build(Err(failure), Vec::new()))
                .into_iter()
                .collect());
        }
    };
    Ok(match parsed {
        Parsed::Index(entries) => {
            let inner = if levels > 1 {
                children(walk, ask, &entries, until, levels - 1)?
            } else {
                Vec::new()
            };
            std::iter::once(build(Ok(Content::Index(entries)), Vec::new()))
                .chain(inner)
                .collect()
        }
        Parsed::Artifact { kind, unpack, body } => {
            let troubles = blobs(walk, ask, &body, until)?;
            vec![build(Ok(Content::Artifact { kind, unpack, body }), troubles)]
        }
        Parsed::Image { config, body } => {
            // If the index does not name the platform, the config does, and runtimes read it.
            let config = (until >= Depth::Config || entry.platform.is_none()).then_some(&config);
            let (platform, mut troubles) = image(walk, ask, config, &body, until)?;
            let platform = platform.unwrap_or_else(|failures| {
                troubles.splice(0..0, walk.reported(failures));
                None
            });
            vec![build(Ok(Content::Image { platform, body }), troubles)]
        }
    })
}

/// The platform of an image by its config (or why it is unknown), and the problems of its blobs.
type Unpacked = (Result<Option<Platform>, Vec<Failure>>, Vec<Failure>);

/// Reads an image's config, and then its blobs (`unpacker.unpack`).
pub(super) fn image(
    walk: &mut Walk<'_>,
    ask: &mut Ask<'_, Request>,
    config: Option<&Config>,
    body: &Body,
    until: Depth,
) -> Got<Unpacked> {
    let platform = match config {
        Some(config) => caught(walk.config(ask, config))?,
        None => Ok(None),
    };
    Ok((platform, blobs(walk, ask, body, until)?))
}

/// The problems of the blobs.
fn blobs(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, body: &Body, until: Depth) -> Got<Vec<Failure>> {
    if until < Depth::Layers {
        return Ok(Vec::new());
    }
    let mut seen: HashSet<(&str, i64)> = HashSet::new();
    let each = body
        .blobs
        .iter()
        .filter(|blob| seen.insert((&blob.digest, blob.size)))
        .take(MOST_CHILDREN);
    let found = walk.branch(ask, each, |walk, ask, blob| {
        Ok(match caught(walk.blob(ask, blob))? {
            Ok(()) => None,
            Err(failures) => walk.reported(failures),
        })
    })?;
    Ok(found.into_iter().flatten().collect())
}
