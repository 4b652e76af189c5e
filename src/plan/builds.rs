//! A guess at the nodes denies nothing. Where the build for it is gone from the registry, all builds of the index are asked for: with none
//! of them there, the pull fails on every node, whatever its platform.

use super::{Next, Plan};
use crate::image::Platform;
use crate::runtime::content::{Content, IndexEntry};
use crate::runtime::kubelet::Attempts;
use crate::runtime::outcome::{Evidence, ImageFacts};
use crate::verdict::platforms::pullers;
use crate::verdict::platforms::{Audience, Group, PlatformSource};
use std::borrow::Borrow;
use std::sync::Arc;

/// An index with more builds is not looked through: it is a stranger's text.
const MOST: usize = 16;

/// Widens the checks of guesses to all builds of their indexes; whether there is anything more to ask.
pub fn every_build<A: Borrow<Attempts>>(plan: &mut Plan<'_>, outcomes: &[A]) -> bool {
    let mut any = false;
    for planned in &mut plan.images {
        let Next::Ask { check, known } = &mut planned.next else {
            continue;
        };
        if known.audience.source != PlatformSource::Assumed {
            continue;
        }
        let found = outcomes.get(*check).and_then(|outcome| outcome.borrow().attempts.last());
        let Some(platforms) = found.and_then(|attempt| attempt.result.as_ref().ok()).and_then(builds) else {
            continue;
        };
        let groups = known.audience.groups.iter().flat_map(|group| {
            platforms.iter().map(|platform| Group {
                platform: platform.clone(),
                ..group.clone()
            })
        });
        let audience = Arc::new(Audience {
            groups: groups.collect(),
            source: PlatformSource::Builds,
            ..Audience::clone(&known.audience)
        });
        if let Some(check) = plan.checks.get_mut(*check) {
            let mut all: Vec<_> = check.pullers.iter().cloned().chain(pullers(&audience)).collect();
            all.sort_unstable();
            all.dedup();
            check.pullers = all.into();
            known.audience = audience;
            any = true;
        }
    }
    any
}

/// The platforms of an index one of whose builds is gone.
fn builds(facts: &ImageFacts) -> Option<Vec<Platform>> {
    let Content::Index(entries) = &facts.content else {
        return None;
    };
    let gone = |failure: &Evidence| matches!(failure, Evidence::ContentMissing { .. });
    let is_gone = facts
        .builds
        .iter()
        .any(|build| build.content.as_ref().is_err_and(|failure| gone(&failure.evidence)));
    let images = entries
        .iter()
        .filter(|entry| !entry.platform.as_ref().is_some_and(Platform::is_unknown));
    let platform = |entry: &IndexEntry| entry.platform.clone().filter(|_| entry.is_image());
    let mut platforms = images.map(platform).collect::<Option<Vec<Platform>>>()?;
    platforms.sort_unstable();
    platforms.dedup();
    (is_gone && platforms.len() <= MOST).then_some(platforms)
}
