//! Counts how many nodes are served and how many are not, and puts it into words.

use crate::image::escape;
use crate::image::platform::Fit;
use crate::verdict::Outlook;
use crate::verdict::audience::{Audience, Need, PlatformSource};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// How the groups of nodes get on: nodes that are served for certain, by some runtimes only, and not at all.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) yes: usize,
    pub(super) perhaps: usize,
    pub(super) no: usize,
    /// The same among those that tolerate the taints.
    pub(super) tolerated_yes: usize,
    pub(super) tolerated_perhaps: usize,
    pub(super) tolerated_no: usize,
    pub(super) missed: Vec<String>,
    pub(super) missed_names: Vec<String>,
}

/// `fits` are in the order of the groups; `None` for one that does not matter.
pub(super) fn tally(audience: &Audience, fits: impl Iterator<Item = Option<Fit>>) -> Tally {
    let mut tally = Tally::default();
    for (group, fit) in audience.groups.iter().zip(fits) {
        let Some(fit) = fit else { continue };
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
    pub(super) fn outlook(&self) -> Option<Outlook> {
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

/// The nodes that are not served, in words.
pub(super) fn who(audience: &Audience, tally: &Tally, outlook: Outlook) -> String {
    let missed = tally.missed.join(", ");
    let who = match audience.source {
        PlatformSource::Nodes => {
            let all = tally.yes + tally.perhaps + tally.no;
            let lacking = tally.no + tally.perhaps;
            // An image that fails to run serves none either.
            let nobody = tally.yes + tally.perhaps == 0;
            let mut text = if nobody || matches!(outlook, Outlook::WillFail | Outlook::FailsToRun) {
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
        PlatformSource::System => {
            let systems: BTreeSet<&str> = audience.groups.iter().map(|group| group.platform.os.as_str()).collect();
            let systems = systems.into_iter().map(escape).collect::<Vec<_>>().join(", ");
            format!("the pods select {systems}, and no such node is known")
        }
        PlatformSource::Selectors => format!("the pods select {missed}, and no such node is known"),
        PlatformSource::Configured => format!("the platforms to serve are set to {}", platforms(audience)),
        PlatformSource::Builds => format!("no node is known, and the index offers {}", platforms(audience)),
        PlatformSource::Assumed => format!("no node is known, so {} is assumed", platforms(audience)),
    };
    match &audience.doubt {
        Some(why) => format!("{who}; but {why}"),
        None => who,
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
