//! How a pull ends: which entry of an index the node takes, and what was found for it.

use crate::image::Platform;
use crate::image::platform::IndexRules;
use crate::runtime::Puller;
use crate::runtime::containerd::DEEPEST;
use crate::runtime::containerd::platforms::{fetches, unmeasured};
use crate::runtime::content::{Body, Content, IndexEntry, Unpack};
use crate::runtime::outcome::{Build, ContentFault, Evidence, Failure, ImageFacts, ProvesFailure};
use std::collections::{HashMap, HashSet};

/// How the pull of one node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndRef<'a> {
    /// It pulls, as far as the look-up went.
    Pulled,
    /// The index has no entry for the node.
    NoMatch,
    /// It takes an entry without a platform, and then misses this other entry when it measures the image.
    Unmeasured {
        missing: &'a IndexEntry,
        /// The digest of the config of what it pulled, where that is known.
        image: Option<&'a str>,
    },
    /// It takes an entry that is broken in this way.
    Failed(&'a Failure),
    /// It pulls an image whose config names a platform that the node does not run.
    Foreign(&'a Platform),
    /// It takes something that is not an image.
    Artifact {
        kind: &'a str,
        /// Whether this runtime fails to unpack it; otherwise it pulls, and cannot start.
        fails: bool,
    },
}

impl EndRef<'_> {
    /// The same, as an owned value.
    pub(crate) fn to_owned(self, size: Option<u64>) -> crate::runtime::End {
        use crate::runtime::End as Owned;
        match self {
            Self::Pulled => Owned::Pulled { size },
            Self::NoMatch => Owned::NoMatch,
            Self::Unmeasured { missing, image } => Owned::Unmeasured {
                missing: missing.clone(),
                image: image.map(str::to_owned),
            },
            Self::Failed(failure) => Owned::Failed(failure.clone()),
            Self::Foreign(platform) => Owned::Foreign(platform.clone()),
            Self::Artifact { kind, fails } => Owned::Artifact {
                kind: kind.to_owned(),
                fails,
            },
        }
    }

    /// Whether the pull fails for certain.
    pub(crate) fn fails(self) -> bool {
        match self {
            Self::NoMatch | Self::Unmeasured { .. } => true,
            Self::Failed(failure) => certain(failure),
            Self::Artifact { fails, .. } => fails,
            Self::Pulled | Self::Foreign(_) => false,
        }
    }
}

fn certain(failure: &Failure) -> bool {
    failure.evidence.proves_failure() == ProvesFailure::OnAllNodes
}

/// One of the ways in which a pull may end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PossibleEnd<'a> {
    pub(crate) end: EndRef<'a>,
    /// How many bytes it fetches (config and layers).
    pub(crate) size: Option<u64>,
}

/// How many choices of one puller in one index are followed: whoever writes an index may nest indexes without end.
const MOST_CHOICES: usize = 6;

/// What is known about the parts of an image, by digest and media type.
pub(crate) struct KnownBuilds<'a>(HashMap<(&'a str, &'a str), &'a Build>);

impl<'a> KnownBuilds<'a> {
    pub(crate) fn of(facts: &'a ImageFacts) -> Self {
        let key = |build: &'a Build| ((build.digest.as_str(), build.media_type.as_str()), build);
        Self(facts.builds.iter().map(key).collect())
    }

    fn find(&self, entry: &IndexEntry) -> Option<&'a Build> {
        self.0.get(&(entry.digest.as_str(), entry.media_type.as_str())).copied()
    }
}

/// How the pull of `puller` may end with an index of these entries. Several ends where versions of its runtime choose differently.
pub(crate) fn of_index<'a>(known: &KnownBuilds<'a>, entries: &'a [IndexEntry], puller: &Puller) -> Vec<PossibleEnd<'a>> {
    within(known, entries, puller, DEEPEST)
}

fn within<'a>(known: &KnownBuilds<'a>, entries: &'a [IndexEntry], puller: &Puller, levels: usize) -> Vec<PossibleEnd<'a>> {
    let only = |end| vec![PossibleEnd { end, size: None }];
    let fetched = fetches(entries, puller);
    if fetched.image.is_empty() {
        return only(EndRef::NoMatch);
    }
    let all = fetched.all.as_deref();
    // Entries that are fetched beside the image must exist too.
    let beside = all.into_iter().flatten().filter(|at| !fetched.image.contains(at));
    let troubles: Vec<&Failure> = beside
        .filter_map(|at| known.find(entries.get(*at)?))
        .flat_map(|build| beside_the_image(known, build, puller, levels.saturating_sub(1)))
        // An entry that is not a manifest is fetched as a blob, which may well exist; and of an index without images nothing is fetched.
        .filter(|failure| {
            !matches!(
                failure.evidence,
                Evidence::ContentInvalid(ContentFault::EntryType(_) | ContentFault::NoImage)
            )
        })
        .collect();
    let trouble = troubles.iter().find(|failure| certain(failure)).or(troubles.first());
    if let Some(failure) = trouble.filter(|failure| certain(failure)) {
        return only(EndRef::Failed(failure));
    }
    let of_entry = |at: &usize| -> Vec<PossibleEnd<'a>> {
        if all.is_some_and(|all| !all.contains(at)) {
            // It was found among compatible entries, and not fetched.
            return only(EndRef::NoMatch);
        }
        entries.get(*at).map_or_else(
            || only(EndRef::NoMatch),
            |entry| entry_of(known, entry, puller, levels.saturating_sub(1)),
        )
    };
    let mut possible: Vec<PossibleEnd<'a>> = fetched.image.iter().take(MOST_CHOICES).flat_map(of_entry).collect();
    if fetched.image.len() > MOST_CHOICES {
        // One of the other entries may do.
        possible.extend(only(EndRef::Pulled));
    }
    if let Some(failure) = trouble {
        for one in possible.iter_mut().filter(|one| !one.end.fails()) {
            one.end = EndRef::Failed(failure);
        }
    }
    if let Some(missing) = unmeasured(entries, &fetched, puller) {
        let arrives = |end: EndRef<'_>| !end.fails() && !matches!(end, EndRef::Failed(_));
        let taken = fetched.image.first().and_then(|at| known.find(entries.get(*at)?));
        let config = taken.and_then(|build| body(build.content.as_ref().ok()?));
        let image = config.map(|body| body.config.as_str());
        for one in possible.iter_mut().filter(|one| arrives(one.end)) {
            one.end = EndRef::Unmeasured { missing, image };
        }
    }
    possible
}

/// The problems of an entry that is fetched beside the image; for an index within the index, also of what would be fetched from it.
fn beside_the_image<'a>(known: &KnownBuilds<'a>, build: &'a Build, puller: &Puller, levels: usize) -> Vec<&'a Failure> {
    match &build.content {
        Ok(Content::Index(children)) if levels > 0 => {
            let possible = within(known, children, puller, levels);
            let failure = |one: PossibleEnd<'a>| match one.end {
                EndRef::Failed(failure) => Some(failure),
                EndRef::Pulled | EndRef::NoMatch | EndRef::Unmeasured { .. } | EndRef::Foreign(_) | EndRef::Artifact { .. } => None,
            };
            possible.into_iter().filter_map(failure).collect()
        }
        Ok(Content::Index(_) | Content::Image { .. } | Content::Artifact { .. } | Content::Schema1) | Err(_) => {
            trouble(build).into_iter().collect()
        }
    }
}

fn entry_of<'a>(known: &KnownBuilds<'a>, entry: &'a IndexEntry, puller: &Puller, levels: usize) -> Vec<PossibleEnd<'a>> {
    let Some(build) = known.find(entry) else {
        return vec![PossibleEnd {
            end: EndRef::Pulled,
            size: None,
        }];
    };
    let (end, size) = match &build.content {
        Err(failure) => (EndRef::Failed(failure), None),
        Ok(Content::Index(_)) if levels == 0 => (EndRef::Pulled, None),
        Ok(Content::Index(children)) => return within(known, children, puller, levels),
        Ok(Content::Image { platform, body }) => (of_image(entry, build, platform.as_ref(), puller), body.size),
        Ok(Content::Artifact { kind, unpack, body }) => (
            trouble(build).map_or(
                EndRef::Artifact {
                    kind,
                    fails: fails_to_unpack(*unpack, puller.runtime.index_rules()),
                },
                EndRef::Failed,
            ),
            body.size,
        ),
        Ok(Content::Schema1) => (
            EndRef::Artifact {
                kind: "Docker schema 1",
                fails: false,
            },
            None,
        ),
    };
    vec![PossibleEnd { end, size }]
}

/// Whether a runtime fails to unpack something that is not an image.
pub(crate) fn fails_to_unpack(unpack: Unpack, index_rules: IndexRules) -> bool {
    match index_rules {
        IndexRules::ContainerdOld => unpack != Unpack::Nothing,
        IndexRules::ContainerdClient => unpack == Unpack::Partly,
        IndexRules::ContainerdTransfer | IndexRules::CriO => false,
    }
}

fn of_image<'a>(entry: &IndexEntry, build: &'a Build, platform: Option<&'a Platform>, puller: &Puller) -> EndRef<'a> {
    if let Some(failure) = trouble(build) {
        return EndRef::Failed(failure);
    }
    let by_variant = match (puller.runtime.index_rules(), &entry.platform) {
        // Here runtimes compare the whole platform; 1.6 leaves the variant out. Where an entry has a platform, none of them compares.
        (IndexRules::ContainerdClient | IndexRules::ContainerdTransfer, None) => platform.is_some_and(|platform| {
            let named = Platform {
                os_version: String::new(),
                os_features: Vec::new(),
                ..platform.normalized()
            };
            named.os == "linux" && puller.platform.ranks(&named, IndexRules::ContainerdClient).is_none()
        }),
        (IndexRules::ContainerdOld | IndexRules::CriO, None) | (_, Some(_)) => false,
    };
    let Some(platform) = platform.filter(|platform| by_variant || !runs(&puller.platform, platform)) else {
        return EndRef::Pulled;
    };
    if entry.platform.is_some() && platform.architecture.is_empty() {
        return EndRef::Pulled;
    }
    match (puller.runtime.index_rules(), &entry.platform) {
        // The config decides where the entry does not.
        (IndexRules::ContainerdOld | IndexRules::ContainerdClient | IndexRules::ContainerdTransfer, None) => EndRef::NoMatch,
        (IndexRules::CriO, None) | (_, Some(_)) => EndRef::Foreign(platform),
    }
}

/// Whether the host runs the platform that a config names. Only arm's variants are compared: runtimes do not tell the others apart here.
pub(crate) fn runs(host: &Platform, platform: &Platform) -> bool {
    let named = platform.normalized();
    let named = Platform {
        variant: if named.architecture == "arm" {
            named.variant
        } else {
            String::new()
        },
        os_version: String::new(),
        os_features: Vec::new(),
        ..named
    };
    host.ranks(&named, IndexRules::ContainerdClient).is_some()
}

/// The problem of a build that counts: a certain one before one that is not known.
pub(crate) fn trouble(build: &Build) -> Option<&Failure> {
    match &build.content {
        Err(failure) => Some(failure),
        Ok(_) => worst(&build.troubles.iter().collect::<Vec<_>>()),
    }
}

/// A certain problem before one that is not known.
pub(crate) fn worst<'a>(troubles: &[&'a Failure]) -> Option<&'a Failure> {
    // The first of those that are worst: `max_by_key` would give the last.
    troubles
        .iter()
        .rev()
        .max_by_key(|failure| failure.evidence.proves_failure())
        .copied()
}

/// The platforms of entries: what they declare, otherwise what their configs or the entries of their indexes declare, as far as these were
/// read.
pub(crate) fn platforms<'a>(known: &KnownBuilds<'a>, entries: &'a [IndexEntry]) -> Vec<&'a Platform> {
    let mut platforms = Vec::new();
    let mut followed: HashSet<&str> = HashSet::new();
    let mut open = vec![entries];
    while let Some(entries) = open.pop() {
        for entry in entries {
            if let Some(platform) = &entry.platform {
                if !platform.is_unknown() {
                    platforms.push(platform);
                }
                continue;
            }
            match known.find(entry).map(|build| &build.content) {
                Some(Ok(Content::Image { platform, .. })) => {
                    platforms.extend(platform.as_ref().filter(|platform| !platform.architecture.is_empty()));
                }
                Some(Ok(Content::Index(children))) if followed.insert(&entry.digest) => open.push(children),
                Some(Ok(Content::Index(_) | Content::Artifact { .. } | Content::Schema1) | Err(_)) | None => {}
            }
        }
    }
    platforms
}

/// The blobs of a manifest; `None` for an index and for Docker schema 1.
pub(crate) fn body(content: &Content) -> Option<&Body> {
    match content {
        Content::Image { body, .. } | Content::Artifact { body, .. } => Some(body),
        Content::Index(_) | Content::Schema1 => None,
    }
}
