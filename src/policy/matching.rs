//! The policies that apply to one object, and how they vote (contract 5).

use super::Circumstances;
use super::applies::{Certainty, Requester, Subject, applies, doubt};
use super::compiled::Policy;
use super::dates;
use super::exemptions::{self, Used};
use super::model::Mode;
use super::refusals::RULES;
use super::votes::{Ballot, Fallback, Vote, count};
use crate::image::Platform;
use crate::verdict::decision::Decision;
use crate::verdict::finding::Finding;
use crate::verdict::{Cause, Outlook};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// The policies that apply to an object, or to one of its images. Cheap to clone: an object may have tens of thousands of images.
#[derive(Debug, Clone)]
pub struct Matching(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) matched: Vec<Matched>,
    /// Policies that would apply if an exemption did not remove them.
    pub(super) exempting: Vec<Arc<str>>,
    /// The settings' mode for the namespace.
    pub(super) settings_mode: Mode,
    pub(super) now: Timestamp,
    pub(super) rulings: OnceLock<Vec<[Decision; 3]>>,
}

#[derive(Debug, Clone)]
pub(super) struct Matched {
    pub(super) policy: Arc<Policy>,
    certainty: Certainty,
    /// Why that is not certain, as a clause.
    doubt: &'static str,
    /// The mode in which it acts.
    mode: Mode,
    /// When it will be enforced, if it only warns until then.
    from: Option<Timestamp>,
    /// An exemption that still holds, and ends so soon that it is a warning.
    ending: Option<Used>,
}

/// A finding of a name rule, and the policy that raised it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// The finding: `RegistryNotAllowed`, `TagNotAllowed` or `DigestRequired`.
    pub finding: Finding,
    /// The policy.
    pub policy: Arc<str>,
}

/// One policy's platforms and size limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The policy.
    pub policy: Arc<str>,
    /// Whether it is enforced. If not, its demand does not change what is found without it.
    pub enforced: bool,
    /// Its platforms, if it sets any.
    pub platforms: Option<Vec<Platform>>,
    /// Its limit on the compressed size, in bytes, if it sets one.
    pub size_max: Option<u64>,
}

/// By policy: the findings if only that policy's demands counted.
pub type FindingsByPolicy = BTreeMap<Arc<str>, Vec<(Cause, Outlook)>>;

impl Matching {
    pub(super) fn of<'a>(
        policies: impl Iterator<Item = &'a Arc<Policy>>,
        subject: &Subject<'_>,
        requester: &Requester,
        circumstances: Circumstances<'_>,
    ) -> Self {
        let mut matching = Inner::none(circumstances.modes.of(subject), circumstances.now);
        for policy in policies {
            let Ok(certainty) = applies(policy, subject) else { continue };
            let matched = Matched {
                policy: Arc::clone(policy),
                certainty,
                doubt: doubt(policy, subject),
                mode: policy.mode_at(matching.now),
                from: policy.enforce_from.filter(|from| matching.now < *from),
                ending: None,
            };
            let used = exemptions::of_requester(policy, subject, requester, matching.now);
            matching.add(matched, used);
        }
        Self(Arc::new(matching))
    }

    /// No policies, and the settings' mode is `Enforce`.
    pub fn none() -> Self {
        Self(Arc::new(Inner::none(Mode::Enforce, Timestamp::UNIX_EPOCH)))
    }

    /// The settings' mode for the namespace.
    pub fn settings_mode(&self) -> Mode {
        self.0.settings_mode
    }

    #[cfg(test)]
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether no policy applies.
    pub fn is_empty(&self) -> bool {
        self.0.matched.is_empty()
    }

    /// Policies that an exemption has removed.
    pub fn exempting(&self) -> &[Arc<str>] {
        &self.0.exempting
    }

    /// Policies that apply, with the modes in which they act.
    pub fn modes(&self) -> impl Iterator<Item = (&Arc<str>, Mode)> {
        self.0.matched.iter().map(|matched| (&matched.policy.name, matched.mode))
    }

    /// How each policy votes on a finding; `raised_by` is the policy whose rule raised it.
    pub fn votes(&self, finding: &Finding, raised_by: Option<&str>) -> Vec<Vote> {
        self.votes_on(finding.cause, finding.outlook, raised_by)
    }

    fn votes_on(&self, cause: Cause, outlook: Outlook, raised_by: Option<&str>) -> Vec<Vote> {
        let ballot = |matched: &Matched| {
            let written = matched.policy.actions.of(cause, outlook).map(Ballot::Action);
            // A policy that sets a rule votes against violations of it.
            let own = (raised_by == Some(&*matched.policy.name)).then(|| Ballot::Rule(outlook.default_verdict()));
            written.or(own)
        };
        let now = self.0.now;
        self.0
            .matched
            .iter()
            .map(|matched| matched.vote(ballot(matched), now))
            .collect()
    }

    /// What each policy demands by itself.
    pub fn demands(&self) -> Vec<Demand> {
        self.certain()
            .filter(|matched| matched.policy.demands())
            .map(|matched| Demand {
                policy: Arc::clone(&matched.policy.name),
                enforced: matched.mode == Mode::Enforce,
                platforms: matched.policy.platforms.clone(),
                size_max: matched.policy.size_max,
            })
            .collect()
    }

    /// Like [`Self::decide`], for what a registry returns. A policy with demands of its own votes on those alone: the demands of
    /// another policy must not make it object. `raised_by`: the policy that is not enforced whose demand alone brings the finding about.
    pub fn decide_by_policy(&self, finding: &Finding, raised_by: Option<&str>, own: &FindingsByPolicy) -> Decision {
        let mut votes = self.votes(finding, raised_by);
        for (vote, matched) in votes.iter_mut().zip(&self.0.matched) {
            let policy = &matched.policy;
            if let Some(found) = own.get(&policy.name) {
                let outlooks = found.iter().filter(|(cause, _)| *cause == finding.cause);
                let worst = outlooks.map(|(_, outlook)| *outlook).max();
                let breaks = raised_by == Some(&*policy.name) || (matched.mode == Mode::Enforce && policy.rules_on(finding.cause));
                vote.ballot = worst.and_then(|outlook| {
                    let written = policy.actions.of(finding.cause, outlook).map(Ballot::Action);
                    written.or_else(|| breaks.then(|| Ballot::Rule(outlook.default_verdict())))
                });
            }
        }
        let default = match raised_by {
            Some(_) => Fallback::None,
            None => Fallback::Of(finding.outlook, self.0.settings_mode),
        };
        count(&votes, default, Certainty::Certain)
    }

    /// What is done about a finding: the severest vote; what no policy votes on follows the settings' mode (contract 5).
    ///
    /// A policy that may not apply can add a warning but cannot soften anything; findings of its own name rules never deny, however others
    /// vote (`docs/decisions/0009`).
    pub fn decide(&self, finding: &Finding, raised_by: Option<&str>) -> Decision {
        let rule = RULES.iter().position(|cause| *cause == finding.cause);
        let policy = raised_by.and_then(|name| self.0.matched.iter().position(|matched| *matched.policy.name == *name));
        match (rule, policy) {
            (Some(rule), Some(policy)) if finding.outlook == Outlook::NotAllowed => self.rulings()[policy][rule].clone(),
            _ => self.weigh(finding.cause, finding.outlook, raised_by),
        }
    }

    pub(super) fn weigh(&self, cause: Cause, outlook: Outlook, raised_by: Option<&str>) -> Decision {
        let default = match raised_by {
            Some(_) => Fallback::None,
            None => Fallback::Of(outlook, self.0.settings_mode),
        };
        count(&self.votes_on(cause, outlook, raised_by), default, self.doubtful(raised_by))
    }

    /// What is done about findings of an outlook when no policy sets an action for their cause.
    pub(super) fn decide_outlook(&self, outlook: Outlook) -> Decision {
        let ballot = |matched: &Matched| matched.policy.actions.of_outlook(outlook).map(Ballot::Action);
        let now = self.0.now;
        let votes: Vec<Vote> = self
            .0
            .matched
            .iter()
            .map(|matched| matched.vote(ballot(matched), now))
            .collect();
        count(&votes, Fallback::Of(outlook, self.0.settings_mode), Certainty::Certain)
    }

    /// Whether a finding is certain: it is not if the policy that raised it may not apply.
    fn doubtful(&self, raised_by: Option<&str>) -> Certainty {
        let matched = self.0.matched.iter().find(|matched| raised_by == Some(&*matched.policy.name));
        matched.map_or(Certainty::Certain, |matched| matched.certainty)
    }

    /// The platforms that enforced policies demand instead of the nodes' own; `None` if none does.
    pub fn platforms(&self) -> Option<Vec<Platform>> {
        let mut all: Vec<Platform> = self
            .certain()
            .filter(|matched| matched.mode == Mode::Enforce)
            .filter_map(|matched| matched.policy.platforms.as_ref())
            .flatten()
            .cloned()
            .collect();
        all.sort();
        all.dedup();
        (!all.is_empty()).then_some(all)
    }

    /// The smallest limit on the compressed size that an enforced policy sets, in bytes, and the policy.
    pub fn size_max(&self) -> Option<(u64, Arc<str>)> {
        self.certain()
            .filter(|matched| matched.mode == Mode::Enforce)
            .filter_map(|matched| Some((matched.policy.size_max?, Arc::clone(&matched.policy.name))))
            .min()
    }

    /// The places that allow lists name: registry and path before the first wildcard, without duplicates, in order.
    pub fn places(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for place in self.0.matched.iter().flat_map(|matched| matched.policy.places()) {
            if !all.contains(&place) {
                all.push(place);
            }
        }
        all
    }

    /// The policies that apply.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.0.matched.iter().map(|matched| &matched.policy)
    }

    fn certain(&self) -> impl Iterator<Item = &Matched> {
        self.0
            .matched
            .iter()
            .filter(|matched| matched.certainty == Certainty::Certain)
    }
}

impl Inner {
    /// Adds a policy that applies, unless an exemption removes it. In the week before its end, an exemption turns the policy into a warning.
    pub(super) fn add(&mut self, mut matched: Matched, used: Option<Used>) {
        if let Some(used) = used {
            let name = &matched.policy.name;
            if !self.exempting.contains(name) {
                self.exempting.push(Arc::clone(name));
            }
            let Some(end) = used.ending(self.now) else { return };
            if matched.ending.as_ref().is_none_or(|known| known.end() < used.end()) {
                matched.mode = matched.mode.min(Mode::Warn);
                // Whichever is later.
                matched.from =
                    (matched.policy.mode() == Mode::Enforce).then(|| matched.policy.enforce_from.map_or(end, |from| from.max(end)));
                matched.ending = Some(used);
            }
        }
        self.matched.push(matched);
    }

    pub(super) fn none(settings_mode: Mode, now: Timestamp) -> Self {
        Self {
            matched: Vec::new(),
            exempting: Vec::new(),
            settings_mode,
            now,
            rulings: OnceLock::new(),
        }
    }
}

impl Matched {
    fn vote(&self, ballot: Option<Ballot>, now: Timestamp) -> Vote {
        Vote {
            policy: Arc::clone(&self.policy.name),
            mode: self.mode,
            ballot,
            certainty: self.certainty,
            from: self.from.map(|from| (from, dates::shown(from, now))),
            policy_message: self.policy.message.clone(),
        }
    }

    pub(super) fn note(&self, mut finding: Finding, now: Timestamp) -> Finding {
        if let Some(ending) = &self.ending {
            finding.message.push_str("; it is exempt, and the exemption ");
            finding.message.push_str(&ending.ends(now));
        }
        if self.certainty == Certainty::Uncertain {
            finding
                .message
                .push_str("; it is not known whether the policy applies, since ");
            finding.message.push_str(self.doubt);
        }
        finding
    }
}
