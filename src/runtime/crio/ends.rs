//! How a pull ends on a CRI-O node, given what was found.

use crate::image::Platform;
use crate::runtime::containerd::ends::{EndRef, PossibleEnd, runs, trouble};
use crate::runtime::content::{Content, IndexEntry};
use crate::runtime::crio::Crio;
use crate::runtime::crio::choose::variants;
use crate::runtime::crio::version::{Artifacts, Look};
use crate::runtime::outcome::{Build, ImageFacts};
use oci_client::manifest::IMAGE_MANIFEST_LIST_MEDIA_TYPE;

impl Crio {
    /// How the pull of an image with these facts ends on a node of this platform.
    pub(crate) fn possible_ends<'a>(self, facts: &'a ImageFacts, host: &Platform) -> Vec<PossibleEnd<'a>> {
        let own = || facts.builds.iter().find(|build| build.digest == facts.digest.as_str());
        let (end, size) = match &facts.content {
            Content::Index(entries) => match chosen(facts, entries, host) {
                None => (EndRef::NoMatch, None),
                Some(entry) => build_of(facts, entry).map_or((EndRef::Pulled, None), |build| self.of_entry(build, host)),
            },
            content => match own().and_then(trouble) {
                Some(failure) => (EndRef::Failed(failure), None),
                None => self.of_content(content),
            },
        };
        vec![PossibleEnd { end, size }]
    }

    fn of_entry<'a>(self, build: &'a Build, host: &Platform) -> (EndRef<'a>, Option<u64>) {
        if let Some(failure) = trouble(build) {
            return (EndRef::Failed(failure), None);
        }
        match &build.content {
            // CRI-O goes by the platforms in the index, and does not compare them with the configs.
            Ok(Content::Image {
                platform: Some(platform),
                body,
            }) if !platform.architecture.is_empty() && !runs(host, platform) => (EndRef::Foreign(platform), body.size),
            Ok(content) => self.of_content(content),
            Err(failure) => (EndRef::Failed(failure), None),
        }
    }

    /// Whether it fails to pull an artifact of this kind. An artifact that does not declare its type is not one to CRI-O, where CRI-O
    /// checks.
    pub(crate) fn refuses(self, kind: &str) -> bool {
        match self.version.artifacts() {
            Artifacts::Never => true,
            Artifacts::First | Artifacts::AfterAnyFailure | Artifacts::AfterAnswers => {
                kind.is_empty() && self.version.looks_for_artifacts() != Look::None
            }
        }
    }

    fn of_content(self, content: &Content) -> (EndRef<'_>, Option<u64>) {
        match content {
            Content::Image { body, .. } => (EndRef::Pulled, body.size),
            Content::Artifact { kind, body, .. } => {
                let fails = self.refuses(kind);
                (EndRef::Artifact { kind, fails }, body.size)
            }
            Content::Schema1 | Content::Index(_) => (EndRef::Pulled, None),
        }
    }
}

/// The entry of an index for a node. Of equal entries, the one that was fetched: newer versions prefer one compressed with zstd
/// ([`super::choose`]).
fn chosen<'a>(facts: &ImageFacts, entries: &'a [IndexEntry], host: &Platform) -> Option<&'a IndexEntry> {
    let variants = variants(host);
    let rank = |entry: &IndexEntry| match &entry.platform {
        Some(platform) if platform.os == host.os && platform.architecture == host.architecture => {
            variants.iter().position(|variant| *variant == platform.variant)
        }
        Some(_) => None,
        // An entry without a platform is the last resort, but not in a Docker list.
        None => (facts.media_type != IMAGE_MANIFEST_LIST_MEDIA_TYPE).then_some(usize::MAX),
    };
    let ranked = entries.iter().filter_map(|entry| Some((rank(entry)?, entry)));
    let best = ranked.min_by_key(|(rank, entry)| (*rank, build_of(facts, entry).is_none()));
    best.map(|(_, entry)| entry)
}

fn build_of<'a>(facts: &'a ImageFacts, entry: &IndexEntry) -> Option<&'a Build> {
    let is_it = |build: &&Build| (&build.digest, &build.media_type) == (&entry.digest, &entry.media_type);
    facts.builds.iter().find(is_it)
}
