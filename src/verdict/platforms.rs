//! Does the image serve the nodes that its pods could land on? (DESIGN 3 `PlatformMismatch`, `ArchitectureMismatch`, `NotAnImage`;
//! pull-semantics 5.5 and 7.4)

mod artifact;

use super::cause::base;
use super::evidence::{Content, Failure, ImageFacts, IndexEntry};
use super::fates::{self, Fared, Fate, Known};
use super::fetches::of_group;
use super::finding::{Finding, Kubelet, Proof};
use super::kubelet::containerd_reference;
use super::size::Size;
use super::{Cause, Outlook};
use crate::image::platform::{Fit, Personality};
use crate::image::{Platform, Reference, escape};
use std::fmt::Write as _;

/// Nodes of one kind among the candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their platform.
    pub platform: Platform,
    /// How their runtimes choose from an index.
    pub personalities: Vec<Personality>,
    /// How many admit the pod.
    pub tolerated: usize,
    /// How many would, but for a taint.
    pub tainted: usize,
    /// Their names; filled for DaemonSets only, whose messages name the nodes that they miss.
    pub names: Vec<String>,
    /// Allocatable ephemeral storage in bytes of those that admit the pod, as far as they tell it.
    pub storage: Vec<u64>,
}

/// Where the platforms come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Real candidate nodes.
    Nodes,
    /// No such node is known; the selectors name the architectures.
    Selectors,
    /// No such node is known; somebody wrote `defaultPlatforms` or `--platform`.
    Configured,
    /// No such node is known and nobody said anything: a guess, which denies nothing.
    #[default]
    Assumed,
}

/// Everyone who may have to pull the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    /// By platform; empty when nothing can be said.
    pub groups: Vec<Group>,
    /// Where they come from.
    pub origin: Origin,
    /// Candidate nodes whose platform is not known: they may be served.
    pub unknown: usize,
    /// Whether a DaemonSet puts a pod on each of them.
    pub every: Need,
}

/// How many of the candidates must be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// The scheduler chooses.
    #[default]
    Any,
    /// A DaemonSet.
    Every,
}

/// What uses the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Use {
    /// A container: it must run.
    #[default]
    Container,
    /// An image volume: any content will do.
    Volume,
}

/// The platforms that an image serves, for the report: as its entries say, and where one says nothing as far as its config was read.
pub fn served(facts: &ImageFacts) -> Vec<String> {
    let mut all: Vec<String> = match &facts.content {
        Content::Index(entries) => fates::platforms(&Known::of(facts), entries).into_iter().map(name).collect(),
        Content::Image { platform, .. } => platform.iter().map(name).collect(),
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

/// What there is to object to, and what is known about the size.
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
    /// What that comes to for this audience.
    pub outlook: Outlook,
    /// Whom it concerns, as a clause.
    pub note: Option<String>,
}

/// Judges what was found for the audience.
pub fn judge<'a>(facts: &'a ImageFacts, reference: &Reference, audience: &'a Audience, used_by: Use) -> Objections<'a> {
    let finding = match &facts.content {
        Content::Index(entries) => return index(facts, entries, reference, audience, used_by),
        Content::Image {
            platform: Some(platform),
            ..
        } if used_by == Use::Container => single(platform, audience),
        Content::Image { .. } => None,
        Content::Artifact { .. } | Content::Schema1 if used_by == Use::Volume => None,
        Content::Artifact { kind, unpack_fails, .. } => Some(artifact::whole(kind, *unpack_fails, audience, reference)),
        Content::Schema1 => Some(artifact::schema1(audience, reference)),
    };
    let own = facts.builds.iter().filter(|build| build.digest == facts.digest.as_str());
    let troubles: Vec<&Failure> = own.flat_map(|build| &build.troubles).collect();
    Objections {
        findings: finding.into_iter().collect(),
        troubles: whole(&troubles).into_iter().collect(),
        sizes: whole_size(facts, audience),
    }
}

/// The worst of what is wrong with the image that everybody fetches.
fn whole<'a>(troubles: &[&'a Failure]) -> Option<Trouble<'a>> {
    let failure = fates::worst(troubles)?;
    let others = troubles.len() - 1;
    Some(Trouble {
        failure,
        outlook: base(&failure.evidence).1,
        note: (others > 0).then(|| format!("so it is with {others} more of its parts, or worse could not be found out")),
    })
}

/// The same for every node.
fn whole_size(facts: &ImageFacts, audience: &Audience) -> Vec<Size> {
    let Some(bytes) = fates::body(&facts.content).and_then(|body| body.size) else {
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

/// How the groups fare: nodes served for sure, by some runtimes only, and not at all.
#[derive(Default)]
struct Tally {
    yes: usize,
    perhaps: usize,
    no: usize,
    /// The same among those that tolerate the taints.
    tolerated_yes: usize,
    tolerated_perhaps: usize,
    tolerated_no: usize,
    missed: Vec<String>,
    missed_names: Vec<String>,
}

/// `fits` are in the order of the groups.
fn tally(audience: &Audience, fits: impl Iterator<Item = Fit>) -> Tally {
    let mut tally = Tally::default();
    for (group, fit) in audience.groups.iter().zip(fits) {
        let all = group.tolerated + group.tainted;
        match fit {
            Fit::Yes => {
                tally.yes += all;
                tally.tolerated_yes += group.tolerated;
            }
            Fit::Perhaps => {
                tally.perhaps += all;
                tally.tolerated_perhaps += group.tolerated;
                tally.missed.push(group.platform.to_string());
            }
            Fit::No => {
                tally.no += all;
                tally.tolerated_no += group.tolerated;
                tally.missed.push(group.platform.to_string());
                tally.missed_names.extend(group.names.iter().cloned());
            }
        }
    }
    tally.yes += audience.unknown;
    tally.tolerated_yes += audience.unknown;
    tally.missed.sort();
    tally.missed.dedup();
    tally.missed_names.sort();
    tally
}

impl Tally {
    /// WillFail when nobody admitted is served, taints ignored; MayFail when only some are, or only nodes whose taints are not
    /// tolerated; `None` when all are.
    fn outlook(&self) -> Option<Outlook> {
        if self.yes + self.perhaps + self.no == 0 {
            None
        } else if self.yes + self.perhaps == 0 {
            Some(Outlook::WillFail)
        } else {
            let some_miss_it = self.tolerated_no + self.tolerated_perhaps > 0;
            let only_tainted = self.tolerated_yes == 0 && self.no + self.perhaps > 0;
            (some_miss_it || only_tainted).then_some(Outlook::MayFail)
        }
    }
}

/// How each group fares with an index.
struct Fortunes<'a> {
    audience: &'a Audience,
    /// In the order of the groups.
    groups: Vec<Vec<Fared<'a>>>,
}

impl<'a> Fortunes<'a> {
    /// How many are hit by what `is`.
    fn tally(&self, is: impl Fn(Fate<'a>) -> bool) -> Tally {
        let fit = |ways: &Vec<Fared<'a>>| {
            let hit = ways.iter().filter(|way| is(way.fate)).count();
            match hit {
                0 => Fit::Yes,
                hit if hit == ways.len() => Fit::No,
                _ => Fit::Perhaps,
            }
        };
        tally(self.audience, self.groups.iter().map(fit))
    }

    fn fates(&self) -> impl Iterator<Item = Fate<'a>> {
        self.groups.iter().flatten().map(|way| way.fate)
    }

    /// The largest that is fetched, by platform.
    fn sizes(&self) -> Vec<Size> {
        let mut sizes: Vec<Size> = Vec::new();
        for (group, ways) in self.audience.groups.iter().zip(&self.groups) {
            let Some(bytes) = ways.iter().filter_map(|way| way.size).max() else {
                continue;
            };
            let platform = group.platform.to_string();
            match sizes.iter_mut().find(|size| size.platform == platform) {
                Some(size) => size.bytes = size.bytes.max(bytes),
                None => sizes.push(Size { platform, bytes }),
            }
        }
        sizes
    }
}

fn index<'a>(
    facts: &'a ImageFacts,
    entries: &'a [IndexEntry],
    reference: &Reference,
    audience: &'a Audience,
    used_by: Use,
) -> Objections<'a> {
    let known = Known::of(facts);
    let of_group = |group: &Group| -> Vec<Fared<'a>> {
        let ways = of_group(group)
            .into_iter()
            .flat_map(|puller| fates::of_index(&known, entries, &puller));
        ways.collect()
    };
    let fortunes = Fortunes {
        audience,
        groups: audience.groups.iter().map(of_group).collect(),
    };
    let nothing = runnable(entries).next().is_none();
    // Whether every pull fails, in whatever way.
    let all_fail = nothing || fortunes.tally(Fate::fails).outlook() == Some(Outlook::WillFail);
    let cap = match audience.origin {
        Origin::Assumed => Outlook::MayFail,
        Origin::Nodes | Origin::Selectors | Origin::Configured => Outlook::WillFail,
    };
    let fails = |some: Outlook| {
        if all_fail {
            Outlook::WillFail
        } else {
            some.min(Outlook::MayFail)
        }
    };

    let unmatched = fortunes.tally(|fate| fate == Fate::NoMatch);
    let told = if nothing {
        Some(Outlook::WillFail)
    } else {
        unmatched.outlook()
    };
    let mut findings: Vec<Finding> = told
        .map(|told| {
            let volume = if used_by == Use::Volume { Outlook::MayFail } else { cap };
            let words = mismatch(facts, &unmatched, told.min(cap), audience, reference);
            Finding {
                outlook: fails(told).min(cap).min(volume),
                ..words
            }
        })
        .into_iter()
        .collect();
    if used_by == Use::Container {
        findings.extend(foreign(&fortunes));
        findings.extend(artifacts(&fortunes, all_fail, cap, reference));
    }

    let mut failures: Vec<&Failure> = Vec::new();
    for fate in fortunes.fates() {
        if let Fate::Trouble(failure) = fate
            && !failures.contains(&failure)
        {
            failures.push(failure);
        }
    }
    let troubles = failures.into_iter().filter_map(|failure| {
        let hit = fortunes.tally(|fate| fate == Fate::Trouble(failure));
        let told = hit.outlook()?;
        let outlook = match base(&failure.evidence).1 {
            Outlook::WillFail | Outlook::NotAllowed => fails(told).min(cap),
            soft @ (Outlook::Pulls | Outlook::Unknown | Outlook::FailsToRun | Outlook::MayFail) => soft,
        };
        let whom = format!("it concerns the build for {}", hit.missed.join(", "));
        Some(Trouble {
            failure,
            outlook,
            note: (!hit.missed.is_empty()).then_some(whom),
        })
    });
    Objections {
        findings,
        troubles: troubles.collect(),
        sizes: fortunes.sizes(),
    }
}

fn mismatch(facts: &ImageFacts, tally: &Tally, outlook: Outlook, audience: &Audience, reference: &Reference) -> Finding {
    let has = {
        let served = served(facts);
        if served.is_empty() {
            "nothing a node could run".to_owned()
        } else {
            format!("only {}", served.join(", "))
        }
    };
    let wanted = if tally.missed.is_empty() {
        "any".to_owned()
    } else {
        tally.missed.join(", ")
    };
    Finding {
        cause: Cause::PlatformMismatch,
        outlook,
        message: format!("the index offers {has}; {}", who(audience, tally, outlook)),
        fix: format!("push a build for {wanted}, or select nodes that it serves (nodeSelector kubernetes.io/arch)"),
        kubelet: Some(Kubelet {
            reason: "ErrImagePull".to_owned(),
            message: format!(
                "rpc error: code = NotFound desc = failed to pull and unpack image \"{}\": no match for platform in manifest: not found",
                containerd_reference(reference)
            ),
        }),
        evidence: Proof::default(),
        suggestions: Vec::new(),
    }
}

/// An entry says what its config does not: it is pulled, and does not start.
fn foreign(fortunes: &Fortunes<'_>) -> Option<Finding> {
    let platform = fortunes.fates().find_map(|fate| match fate {
        Fate::Foreign(platform) => Some(platform),
        Fate::Pulls | Fate::NoMatch | Fate::Trouble(_) | Fate::Artifact { .. } => None,
    })?;
    let hit = fortunes.tally(|fate| matches!(fate, Fate::Foreign(_)));
    let outlook = match hit.outlook()? {
        Outlook::WillFail => Outlook::FailsToRun,
        other => other,
    };
    let named = escape(&platform.normalized().to_string());
    let message = format!(
        "what the index offers for {} is built for {named}, says its config; runtimes pull it without a look",
        hit.missed.join(", ")
    );
    Some(does_not_start(outlook, message, &hit))
}

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
        evidence: Proof::default(),
        suggestions: Vec::new(),
    }
}

/// An entry that is no image.
fn artifacts(fortunes: &Fortunes<'_>, all_fail: bool, cap: Outlook, reference: &Reference) -> Option<Finding> {
    let kind = fortunes.fates().find_map(|fate| match fate {
        Fate::Artifact { kind, .. } => Some(kind),
        Fate::Pulls | Fate::NoMatch | Fate::Trouble(_) | Fate::Foreign(_) => None,
    })?;
    let hit = fortunes.tally(|fate| matches!(fate, Fate::Artifact { .. })).outlook()?;
    let fail = fortunes
        .tally(|fate| matches!(fate, Fate::Artifact { fails: true, .. }))
        .outlook();
    let outlook = match (fail, hit) {
        (Some(_), _) if all_fail => Outlook::WillFail.min(cap),
        (Some(_), _) => Outlook::MayFail,
        (None, Outlook::WillFail) => Outlook::FailsToRun,
        (None, some) => some,
    };
    Some(artifact::finding(kind, outlook, reference))
}

/// Who misses it, in words.
fn who(audience: &Audience, tally: &Tally, outlook: Outlook) -> String {
    let missed = tally.missed.join(", ");
    match audience.origin {
        Origin::Nodes => {
            let all = tally.yes + tally.perhaps + tally.no;
            let lacking = tally.no + tally.perhaps;
            let mut text = if outlook == Outlook::WillFail {
                let noun = if all == 1 { "candidate" } else { "candidates" };
                format!("no node that the pods could land on is served ({all} {noun}, {missed})")
            } else if tally.tolerated_yes + tally.tolerated_perhaps == 0 {
                format!("only nodes whose taints are not tolerated are served (missing: {missed})")
            } else {
                format!("{lacking} of {all} candidate nodes are not served, or not by every runtime ({missed})")
            };
            if audience.every == Need::Every && !tally.missed_names.is_empty() {
                const SHOWN: usize = 5;
                let shown: Vec<String> = tally.missed_names.iter().take(SHOWN).map(|name| escape(name)).collect();
                let rest = tally.missed_names.len().saturating_sub(SHOWN);
                let _ = write!(text, "; the DaemonSet misses {}", shown.join(", "));
                if rest > 0 {
                    let _ = write!(text, " and {rest} more");
                }
            }
            text
        }
        Origin::Selectors => format!("the pods select {missed}, and no such node is known"),
        Origin::Configured => format!("the platforms to serve are set to {}", platforms(audience)),
        Origin::Assumed => format!("no node is known, and {} is what is usual", platforms(audience)),
    }
}

fn platforms(audience: &Audience) -> String {
    audience
        .groups
        .iter()
        .map(|group| group.platform.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn single(platform: &Platform, audience: &Audience) -> Option<Finding> {
    let fits = audience
        .groups
        .iter()
        .map(|group| group.platform.takes(platform, &group.personalities));
    let tally = tally(audience, fits);
    // No runtime compares the config of a single manifest: the pull works, and the container does not start.
    let outlook = match tally.outlook()? {
        Outlook::WillFail => Outlook::FailsToRun,
        other => other,
    };
    let message = format!(
        "the image is built for {} (a single manifest, which runtimes pull without a look); {}",
        escape(&platform.normalized().to_string()),
        who(audience, &tally, outlook)
    );
    Some(does_not_start(outlook, message, &tally))
}
