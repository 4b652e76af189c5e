//! Does the image serve the nodes that its pods could land on? (contract 3 `PlatformMismatch`, `ArchitectureMismatch`,
//! `NotAnImage`; pull-semantics 5.5 and 7.4)

mod artifact;
mod index;
mod tally;

use super::cause::base;
use super::finding::{Finding, FindingEvidence, Kubelet};
use super::size::Size;
use super::{Cause, Outlook};
use crate::image::platform::Fit;
use crate::image::{Platform, Reference, escape};
use crate::runtime::containerd::ends::{self, KnownBuilds, PossibleEnd};
use crate::runtime::content::{Content, IndexEntry};
use crate::runtime::outcome::{Failure, ImageFacts};
use crate::runtime::{Puller, Setup};
pub use crate::verdict::audience::{Audience, Group, Need, PlatformSource, Use, of_group, pullers};
use tally::{Tally, tally, who};

/// The platforms that an image serves, for the report: as its entries say, and where one says nothing as far as its config was read.
pub fn served(facts: &ImageFacts) -> Vec<String> {
    let mut all: Vec<String> = match &facts.content {
        Content::Index(entries) => ends::platforms(&KnownBuilds::of(facts), entries)
            .into_iter()
            .map(name)
            .collect(),
        Content::Image { platform, .. } => {
            let named = platform.iter().filter(|platform| !platform.architecture.is_empty());
            named.map(name).collect()
        }
        Content::Artifact { .. } | Content::Schema1 => Vec::new(),
    };
    all.dedup();
    all
}

fn name(platform: &Platform) -> String {
    platform.normalized().to_string()
}

/// Entries that are not attestations.
fn runnable(entries: &[IndexEntry]) -> impl Iterator<Item = &IndexEntry> {
    entries
        .iter()
        .filter(|entry| !entry.platform.as_ref().is_some_and(Platform::is_unknown))
}

/// The findings, and what is known about the size.
#[derive(Debug, Default)]
pub struct Objections<'a> {
    /// About platforms and kinds of content.
    pub findings: Vec<Finding>,
    /// About parts of the image that were looked for.
    pub troubles: Vec<Trouble<'a>>,
    /// What would be fetched, by platform.
    pub sizes: Vec<Size>,
}

/// Something is wrong with a part of the image.
#[derive(Debug)]
pub struct Trouble<'a> {
    /// What.
    pub failure: &'a Failure,
    /// What that means for these nodes.
    pub outlook: Outlook,
    /// Whom it concerns, as a clause.
    pub note: Option<String>,
}

/// What was found of an image, by the setups that found it.
#[derive(Debug)]
pub struct FoundImage<'a> {
    /// With most setups.
    pub facts: &'a ImageFacts,
    /// What setups with another result found.
    pub others: Vec<(Setup, Result<&'a ImageFacts, &'a Failure>)>,
}

impl<'a> FoundImage<'a> {
    /// What every runtime has found.
    pub fn by_all(facts: &'a ImageFacts) -> Self {
        Self {
            facts,
            others: Vec::new(),
        }
    }

    fn possible_ends(&self, puller: &Puller) -> Vec<PossibleEnd<'a>> {
        let other = self.others.iter().find(|(setup, _)| *setup == puller.setup());
        match other.map_or(Ok(self.facts), |(_, result)| *result) {
            Ok(facts) => puller.runtime.possible_ends(facts, &puller.platform),
            Err(failure) => vec![PossibleEnd {
                end: ends::EndRef::Failed(failure),
                size: None,
            }],
        }
    }
}

/// Judges what was found for these nodes.
pub fn judge<'a>(found: &FoundImage<'a>, reference: &Reference, audience: &'a Audience, used_by: Use) -> Objections<'a> {
    let facts = found.facts;
    let finding = match &facts.content {
        Content::Index(entries) => return index::index(found, entries, reference, audience, used_by),
        Content::Image {
            platform: Some(platform),
            ..
        } if used_by == Use::Container && !platform.architecture.is_empty() => single(platform, audience),
        Content::Image { .. } => None,
        Content::Artifact { unpack, .. } if used_by == Use::Volume => artifact::mounted(*unpack, audience),
        Content::Artifact { kind, unpack, .. } => Some(artifact::whole(kind, *unpack, audience, reference)),
        Content::Schema1 => Some(artifact::schema1(audience, reference)),
    };
    let troubles = if found.others.is_empty() {
        let own = facts.builds.iter().filter(|build| build.digest == facts.digest.as_str());
        let troubles: Vec<&Failure> = own.flat_map(|build| &build.troubles).collect();
        whole(&troubles).into_iter().collect()
    } else {
        let possible = index::PossibleEnds::of(found, audience);
        let all_fail = possible.tally(ends::EndRef::fails).outlook() == Some(Outlook::WillFail);
        let fails = |some: Outlook| {
            if all_fail {
                Outlook::WillFail
            } else {
                some.min(Outlook::MayFail)
            }
        };
        possible.troubles(fails, Outlook::WillFail)
    };
    Objections {
        findings: finding.into_iter().collect(),
        troubles,
        sizes: whole_size(facts, audience),
    }
}

/// The worst problem of the parts that every node fetches.
fn whole<'a>(troubles: &[&'a Failure]) -> Option<Trouble<'a>> {
    let failure = ends::worst(troubles)?;
    let others = troubles.len() - 1;
    Some(Trouble {
        failure,
        outlook: base(&failure.evidence).1,
        note: (others > 0).then(|| format!("{others} more of its parts have problems, or could not be checked")),
    })
}

/// The same for every node.
fn whole_size(facts: &ImageFacts, audience: &Audience) -> Vec<Size> {
    let Some(bytes) = ends::body(&facts.content).and_then(|body| body.size) else {
        return Vec::new();
    };
    let mut platforms: Vec<String> = audience.groups.iter().map(|group| group.platform.to_string()).collect();
    if platforms.is_empty() {
        platforms = served(facts);
    }
    platforms.sort();
    platforms.dedup();
    platforms.into_iter().map(|platform| Size { platform, bytes }).collect()
}

fn single(platform: &Platform, audience: &Audience) -> Option<Finding> {
    // Nobody compares it, and whether a processor runs amd64/v3 or arm64/v9 is not known of nodes: of the variants only arm's tell.
    let normal = platform.normalized();
    let variant = if normal.architecture == "arm" {
        normal.variant
    } else {
        String::new()
    };
    let named = Platform {
        variant,
        ..platform.clone()
    };
    let mut fits: Vec<Option<Fit>> = audience
        .groups
        .iter()
        .map(|group| Some(group.platform.takes(&named, &group.index_rules())))
        .collect();
    if audience.some_will_do() && fits.iter().any(|fit| *fit != Some(Fit::No)) {
        fits.iter_mut()
            .filter(|fit| **fit == Some(Fit::No))
            .for_each(|fit| *fit = None);
    }
    let tally = tally(audience, fits.into_iter());
    // No runtime compares the config of a single manifest: the pull works, and the container does not start.
    let outlook = match tally.outlook()? {
        Outlook::WillFail => Outlook::FailsToRun,
        other => other,
    };
    let message = format!(
        "the image is built for {} (a single manifest, whose platform runtimes do not check); {}",
        escape(&platform.normalized().to_string()),
        who(audience, &tally, outlook)
    );
    Some(does_not_start(outlook, message, &tally))
}

/// What pulls and does not start, for the platforms that are missed.
fn does_not_start(outlook: Outlook, message: String, tally: &Tally) -> Finding {
    Finding {
        cause: Cause::ArchitectureMismatch,
        outlook,
        message,
        fix: format!(
            "push an index that has {}, or select nodes of that platform",
            tally.missed.join(", ")
        ),
        kubelet: Some(Kubelet {
            reason: "CrashLoopBackOff".to_owned(),
            message: "exec format error".to_owned(),
        }),
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}
