//! Judges an index for nodes that take different entries of it.

use super::tally::{Tally, tally, who};
use super::{Audience, FoundImage, Group, Objections, Trouble, Use, artifact, does_not_start, runnable, served};
use crate::image::platform::Fit;
use crate::image::{Reference, escape};
use crate::runtime::containerd::PullPath;
use crate::runtime::containerd::ends::{EndRef, PossibleEnd};
use crate::runtime::containerd::platforms::fetches;
use crate::runtime::content::IndexEntry;
use crate::runtime::outcome::{Failure, ImageFacts};
use crate::verdict::cause::base;
use crate::verdict::finding::{Finding, FindingEvidence};
use crate::verdict::kubelet::{self, NoMatch, containerd_reference, newest_path};
use crate::verdict::platforms::of_group;
use crate::verdict::size::Size;
use crate::verdict::{Cause, Outlook};

/// How each group ends with an index.
pub(super) struct PossibleEnds<'a> {
    audience: &'a Audience,
    /// In the order of the groups; none for those that do not matter.
    groups: Vec<Vec<PossibleEnd<'a>>>,
}

impl<'a> PossibleEnds<'a> {
    /// How many are hit by what `is`.
    pub(super) fn tally(&self, is: impl Fn(EndRef<'a>) -> bool) -> Tally {
        let fit = |possible: &Vec<PossibleEnd<'a>>| {
            let hit = possible.iter().filter(|one| is(one.end)).count();
            if possible.is_empty() {
                return None;
            }
            Some(match hit {
                0 => Fit::Yes,
                hit if hit == possible.len() => Fit::No,
                _ => Fit::Perhaps,
            })
        };
        tally(self.audience, self.groups.iter().map(fit))
    }

    pub(super) fn ends(&self) -> impl Iterator<Item = EndRef<'a>> {
        self.groups.iter().flatten().map(|one| one.end)
    }

    /// How each group of nodes gets on with what was found.
    pub(super) fn of(found: &FoundImage<'a>, audience: &'a Audience) -> Self {
        let of_group = |group: &Group| {
            of_group(group)
                .iter()
                .flat_map(|puller| found.possible_ends(puller))
                .collect()
        };
        let mut groups: Vec<Vec<PossibleEnd<'_>>> = audience.groups.iter().map(of_group).collect();
        let unserved = |possible: &Vec<PossibleEnd<'_>>| possible.iter().all(|one| one.end == EndRef::NoMatch);
        if audience.some_will_do() && !groups.iter().all(unserved) {
            // Its pods go to others, or there may be none such.
            groups.iter_mut().filter(|possible| unserved(possible)).for_each(Vec::clear);
        }
        Self { audience, groups }
    }

    /// What is wrong with parts of the image, and whom it concerns. `fails` makes of an outlook what it comes to where that part fails the
    /// pull for certain; `cap` is the worst that may be said.
    pub(super) fn troubles(&self, fails: impl Fn(Outlook) -> Outlook, cap: Outlook) -> Vec<Trouble<'a>> {
        let mut failures: Vec<&Failure> = Vec::new();
        for end in self.ends() {
            if let EndRef::Failed(failure) = end
                && !failures.contains(&failure)
            {
                failures.push(failure);
            }
        }
        let troubles = failures.into_iter().filter_map(|failure| {
            let hit = self.tally(|end| end == EndRef::Failed(failure));
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
        troubles.collect()
    }

    /// The largest that is fetched, by platform.
    fn sizes(&self) -> Vec<Size> {
        let mut sizes: Vec<Size> = Vec::new();
        for (group, possible) in self.audience.groups.iter().zip(&self.groups) {
            let Some(bytes) = possible.iter().filter_map(|one| one.size).max() else {
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

pub(super) fn index<'a>(
    found: &FoundImage<'a>,
    entries: &'a [IndexEntry],
    reference: &Reference,
    audience: &'a Audience,
    used_by: Use,
) -> Objections<'a> {
    let facts = found.facts;
    let path = newest_path(audience);
    let possible = PossibleEnds::of(found, audience);
    let nothing = runnable(entries).next().is_none();
    // Whether every pull fails, in whatever way.
    let all_fail = nothing || possible.tally(EndRef::fails).outlook() == Some(Outlook::WillFail);
    let cap = audience.cap();
    let fails = |some: Outlook| {
        if all_fail {
            Outlook::WillFail
        } else {
            some.min(Outlook::MayFail)
        }
    };

    let unmatched = possible.tally(|end| end == EndRef::NoMatch);
    let told = if nothing {
        Some(Outlook::WillFail)
    } else {
        unmatched.outlook()
    };
    let mut findings: Vec<Finding> = told
        .map(|told| {
            let words = mismatch(facts, &unmatched, told.min(cap), audience);
            let why = why_no_match(entries, audience);
            Finding {
                outlook: fails(told).min(cap),
                kubelet: kubelet::no_platform(path, why, facts.digest.as_str(), reference),
                ..words
            }
        })
        .into_iter()
        .collect();
    findings.extend(without_platform(&possible, reference, path).map(|finding| Finding {
        outlook: fails(finding.outlook).min(cap),
        ..finding
    }));
    if used_by == Use::Container {
        findings.extend(foreign(&possible));
        findings
            .extend(artifacts(&possible, all_fail, cap).map(|(kind, outlook)| artifact::finding(kind, outlook, reference, path)));
    }

    Objections {
        findings,
        troubles: possible.troubles(fails, cap),
        sizes: possible.sizes(),
    }
}

/// What the runtime makes of an index that does not serve a node, for its words.
fn why_no_match<'a>(entries: &'a [IndexEntry], audience: &Audience) -> NoMatch<'a> {
    let pullers = audience.groups.iter().flat_map(of_group);
    let not_fetched = pullers.map(|puller| fetches(entries, &puller)).find_map(|fetches| {
        fetches
            .image
            .first()
            .copied()
            .filter(|place| !fetches.needed().contains(place))
    });
    match not_fetched.and_then(|place| entries.get(place)) {
        Some(entry) => NoMatch::NotFetched(&entry.digest),
        None if runnable(entries).any(|entry| entry.platform.is_none() && entry.is_image()) => NoMatch::Config,
        None => NoMatch::Entry,
    }
}

fn mismatch(facts: &ImageFacts, tally: &Tally, outlook: Outlook, audience: &Audience) -> Finding {
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
        kubelet: None,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

/// An entry without a platform that is pulled, and then not measured.
fn without_platform(possible: &PossibleEnds<'_>, reference: &Reference, path: Option<PullPath>) -> Option<Finding> {
    let (missing, image) = possible.ends().find_map(|end| match end {
        EndRef::Unmeasured { missing, image } => Some((missing, image)),
        EndRef::Pulled | EndRef::NoMatch | EndRef::Failed(_) | EndRef::Foreign(_) | EndRef::Artifact { .. } => None,
    })?;
    let hit = possible.tally(|end| matches!(end, EndRef::Unmeasured { .. }));
    let outlook = hit.outlook()?;
    let other = missing.platform.as_ref().map(|platform| platform.normalized().to_string());
    let missed = hit.missed.join(", ");
    Some(Finding {
        cause: Cause::PlatformMismatch,
        outlook,
        message: format!(
            "no entry of the index is for {missed}: containerd pulls an entry without a platform, and then fails to compute the \
             image's size from the first entry with a platform ({}), which it did not fetch",
            escape(&other.unwrap_or_default())
        ),
        fix: format!("push the index again with a platform in every entry, and {missed} in the entry that is for it"),
        kubelet: kubelet::unmeasured(
            path,
            &image.map_or_else(|| containerd_reference(reference), escape),
            &missing.digest,
        ),
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    })
}

/// An entry says what its config does not: it is pulled, and does not start.
fn foreign(possible: &PossibleEnds<'_>) -> Option<Finding> {
    let platform = possible.ends().find_map(|end| match end {
        EndRef::Foreign(platform) => Some(platform),
        EndRef::Pulled | EndRef::NoMatch | EndRef::Unmeasured { .. } | EndRef::Failed(_) | EndRef::Artifact { .. } => None,
    })?;
    let hit = possible.tally(|end| matches!(end, EndRef::Foreign(_)));
    let outlook = match hit.outlook()? {
        Outlook::WillFail => Outlook::FailsToRun,
        other => other,
    };
    let named = escape(&platform.normalized().to_string());
    let message = format!(
        "the image that the index offers for {} is built for {named}, according to its config; runtimes do not check that",
        hit.missed.join(", ")
    );
    Some(does_not_start(outlook, message, &hit))
}

/// An entry that is no image: of what kind it is, and what that comes to.
fn artifacts<'a>(possible: &PossibleEnds<'a>, all_fail: bool, cap: Outlook) -> Option<(&'a str, Outlook)> {
    let kind = possible.ends().find_map(|end| match end {
        EndRef::Artifact { kind, .. } => Some(kind),
        EndRef::Pulled | EndRef::NoMatch | EndRef::Unmeasured { .. } | EndRef::Failed(_) | EndRef::Foreign(_) => None,
    })?;
    let hit = possible.tally(|end| matches!(end, EndRef::Artifact { .. })).outlook()?;
    let fail = possible
        .tally(|end| matches!(end, EndRef::Artifact { fails: true, .. }))
        .outlook();
    let outlook = match (fail, hit) {
        (Some(_), _) if all_fail => Outlook::WillFail.min(cap),
        (Some(_), _) => Outlook::MayFail,
        (None, Outlook::WillFail) => Outlook::FailsToRun,
        (None, some) => some,
    };
    Some((kind, outlook))
}
