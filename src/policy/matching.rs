//! The policies that apply to one object, and how they vote (contract 5).

use super::applies::{Certainty, Requester, Subject, applies, doubt, exempt};
use super::compiled::Policy;
use super::model::Mode;
use super::names::held;
use super::refusals::{digest_required, not_allowed, tag_not_allowed};
use crate::image::{Platform, Reference};
use crate::verdict::decision::{Decision, Voice};
use crate::verdict::finding::Finding;
use crate::verdict::{Cause, Outlook, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The policies that apply to an object, or to one of its images.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    matched: Vec<Matched>,
    /// Policies that would apply, but for an exemption.
    exempting: Vec<Arc<str>>,
}

#[derive(Debug, Clone)]
struct Matched {
    policy: Arc<Policy>,
    certainty: Certainty,
    /// Why that is not certain, as a clause.
    doubt: &'static str,
}

/// A finding of a name rule, and the policy that raised it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// The finding: `RegistryNotAllowed`, `TagNotAllowed` or `DigestRequired`.
    pub finding: Finding,
    /// The policy.
    pub policy: Arc<str>,
}

/// One policy's platforms and size limit, used when several policies set some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The policy.
    pub policy: Arc<str>,
    /// Its platforms, if it sets any.
    pub platforms: Option<Vec<Platform>>,
    /// Its limit on the compressed size, in bytes, if it sets one.
    pub size_max: Option<u64>,
}

/// By policy: the findings if only that policy's demands counted.
pub type FindingsByPolicy = BTreeMap<Arc<str>, Vec<(Cause, Outlook)>>;

/// How one policy votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// The policy.
    pub policy: Arc<str>,
    /// Its mode.
    pub mode: Mode,
    /// Its action for the finding (`Deny` for its own name rule); `None`: it does not vote.
    pub action: Option<Verdict>,
}

impl Matching {
    pub(super) fn of<'a>(policies: impl Iterator<Item = &'a Arc<Policy>>, subject: &Subject<'_>, requester: &Requester) -> Self {
        let mut matching = Self::default();
        for policy in policies {
            let Ok(certainty) = applies(policy, subject) else { continue };
            if exempt(policy, requester).is_some() {
                matching.exempting.push(Arc::clone(&policy.name));
            } else {
                matching.matched.push(Matched {
                    policy: Arc::clone(policy),
                    certainty,
                    doubt: doubt(policy, subject),
                });
            }
        }
        matching
    }

    /// The policies that apply to one image: `exempt.images` exempts an image from its own policy only.
    #[must_use]
    pub fn narrowed(&self, reference: &Reference) -> Self {
        let name = held(reference);
        let mut matching = Self {
            matched: Vec::new(),
            exempting: self.exempting.clone(),
        };
        for matched in &self.matched {
            if matched.policy.exempt_images.iter().any(|pattern| pattern.matches(&name)) {
                matching.exempting.push(Arc::clone(&matched.policy.name));
            } else {
                matching.matched.push(matched.clone());
            }
        }
        matching
    }

    /// The policies about an image that nodes know by several names: exempt is what all of them are.
    pub fn narrowed_by_all(&self, references: &[Reference]) -> Self {
        let mut all = references.iter().map(|reference| self.narrowed(reference));
        let Some(mut widest) = all.next() else {
            return self.clone();
        };
        for other in all {
            for matched in other.matched {
                if widest.matched.iter().all(|known| known.policy.name != matched.policy.name) {
                    widest.exempting.retain(|name| *name != matched.policy.name);
                    widest.matched.push(matched);
                }
            }
        }
        widest
    }

    /// Whether no policy applies.
    pub fn is_empty(&self) -> bool {
        self.matched.is_empty()
    }

    /// Policies that an exemption has removed.
    pub fn exempting(&self) -> &[Arc<str>] {
        &self.exempting
    }

    /// Policies that apply, with their modes.
    pub fn modes(&self) -> impl Iterator<Item = (&Arc<str>, Mode)> {
        self.matched
            .iter()
            .map(|matched| (&matched.policy.name, matched.policy.mode()))
    }

    /// What the name rules object to; `shown` is the image as written. Needs no network.
    pub fn names(&self, reference: &Reference, shown: &str) -> Vec<Raised> {
        self.matched
            .iter()
            .flat_map(|matched| {
                let raise = |finding: Finding| Raised {
                    finding: matched.note(finding),
                    policy: Arc::clone(&matched.policy.name),
                };
                let policy = &matched.policy;
                let mut findings = Vec::new();
                let judged = if Reference::is_whole_image_id(shown) {
                    policy.registries.judge_image_id()
                } else {
                    policy.registries.judge(&held(reference)).map(|_| ())
                };
                if let Err(why) = judged {
                    findings.push(not_allowed(policy, reference, &why));
                }
                if let Some((tag, pattern)) = policy.tags.refuse(reference) {
                    findings.push(tag_not_allowed(policy, reference, tag, pattern));
                }
                if policy.tags.wants_digest(reference) {
                    findings.push(digest_required(policy, shown));
                }
                findings.into_iter().map(raise).collect::<Vec<_>>()
            })
            .collect()
    }

    /// How each policy votes on a finding; `raised_by` is the policy whose name rule raised it.
    pub fn votes(&self, finding: &Finding, raised_by: Option<&str>) -> Vec<Vote> {
        let vote = |matched: &Matched| {
            let policy = &matched.policy;
            let written = policy.actions.of(finding.cause, finding.outlook);
            // A policy that sets a rule votes against violations of it.
            let own = (raised_by == Some(&*policy.name)).then_some(Verdict::Deny);
            Vote {
                policy: Arc::clone(&policy.name),
                mode: matched.mode(),
                action: written.or(own),
            }
        };
        self.matched.iter().map(vote).collect()
    }

    /// What each policy demands by itself; empty if at most one demands anything.
    pub fn demands(&self) -> Vec<Demand> {
        let demands: Vec<Demand> = self
            .certain()
            .filter(|policy| policy.platforms.is_some() || policy.size_max.is_some())
            .map(|policy| Demand {
                policy: Arc::clone(&policy.name),
                platforms: policy.platforms.clone(),
                size_max: policy.size_max,
            })
            .collect();
        if demands.len() > 1 { demands } else { Vec::new() }
    }

    /// Like [`Self::decide`], for what a registry returns. A policy with demands of its own votes on those alone: the demands of
    /// another policy, which may be in Audit mode, must not make it object.
    pub fn decide_by_policy(&self, finding: &Finding, own: &FindingsByPolicy) -> Decision {
        let mut votes = self.votes(finding, None);
        for (vote, matched) in votes.iter_mut().zip(&self.matched) {
            if let Some(found) = own.get(&matched.policy.name) {
                let outlooks = found.iter().filter(|(cause, _)| *cause == finding.cause);
                let worst = outlooks.map(|(_, outlook)| *outlook).max();
                vote.action = worst.and_then(|outlook| matched.policy.actions.of(finding.cause, outlook));
            }
        }
        self.count(&votes, &Decision::by_default(finding), Certainty::Certain)
    }

    /// What is done about a finding: the severest vote; without votes, the default, limited by the laxest mode (contract 5).
    ///
    /// A policy that only may apply can add a warning and takes nothing back; findings of its own name rules never deny, however
    /// others vote (`docs/decisions/0009`).
    pub fn decide(&self, finding: &Finding, raised_by: Option<&str>) -> Decision {
        self.count(
            &self.votes(finding, raised_by),
            &Decision::by_default(finding),
            self.doubtful(raised_by),
        )
    }

    /// What is done about findings of an outlook when no policy sets an action for their cause.
    pub(super) fn decide_outlook(&self, outlook: Outlook) -> Decision {
        let vote = |matched: &Matched| Vote {
            policy: Arc::clone(&matched.policy.name),
            mode: matched.mode(),
            action: matched.policy.actions.of_outlook(outlook),
        };
        let votes: Vec<Vote> = self.matched.iter().map(vote).collect();
        let verdict = outlook.default_verdict();
        let by_default = Decision {
            verdict,
            voice: Voice::Spoken,
            policy: None,
            enforced: verdict,
        };
        self.count(&votes, &by_default, Certainty::Certain)
    }

    /// Whether a finding is certain: it is not if the policy that raised it may not apply.
    fn doubtful(&self, raised_by: Option<&str>) -> Certainty {
        let matched = self.matched.iter().find(|matched| raised_by == Some(&*matched.policy.name));
        matched.map_or(Certainty::Certain, |matched| matched.certainty)
    }

    /// Counts the votes, in the order of the policies.
    fn count(&self, votes: &[Vote], by_default: &Decision, finding: Certainty) -> Decision {
        let cast: Vec<Cast<'_>> = self
            .matched
            .iter()
            .zip(votes)
            .filter_map(|(matched, vote)| {
                Some(Cast {
                    policy: &vote.policy,
                    verdict: through(vote.mode, vote.action?),
                    enforced: through(matched.ceiling(), vote.action?),
                    certainty: matched.certainty,
                })
            })
            .collect();
        let severest = |certainty: Certainty| {
            let cast = cast.iter().filter(move |cast| cast.certainty == certainty);
            cast.max_by_key(|cast| (cast.verdict, cast.enforced))
        };
        let doubtful = finding == Certainty::Uncertain;
        let mut decision = match severest(Certainty::Certain) {
            Some(cast) => cast.decision(),
            // Without the policy that may not apply, there is no finding.
            None if doubtful => Decision {
                verdict: Verdict::Allow,
                voice: Voice::Silent,
                policy: None,
                enforced: Verdict::Allow,
            },
            None => self.unvoted(by_default.clone()),
        };
        if let Some(cast) = severest(Certainty::Uncertain)
            && cast.verdict > decision.verdict
        {
            decision = cast.decision();
        }
        let enforced = cast.iter().map(|cast| cast.enforced).max();
        decision.enforced = enforced.map_or(decision.enforced, |enforced| enforced.max(decision.enforced));
        if doubtful {
            decision.verdict = decision.verdict.min(Verdict::Warn);
            decision.enforced = decision.enforced.min(Verdict::Warn);
        }
        decision
    }

    /// The default, limited by the laxest mode of the policies that surely apply.
    fn unvoted(&self, by_default: Decision) -> Decision {
        let Some(laxest) = self.certain().min_by_key(|policy| policy.mode()) else {
            return by_default;
        };
        let verdict = through(laxest.mode(), by_default.verdict);
        let named = || Some(Arc::clone(&laxest.name));
        match laxest.mode() {
            Mode::Enforce => by_default,
            Mode::Warn => Decision {
                verdict,
                policy: if verdict == by_default.verdict { None } else { named() },
                ..by_default
            },
            Mode::Audit => Decision {
                verdict,
                voice: Voice::Silent,
                policy: named(),
                ..by_default
            },
        }
    }

    /// The platforms that policies demand instead of the nodes' own; `None` if none does.
    pub fn platforms(&self) -> Option<Vec<Platform>> {
        let mut all: Vec<Platform> = self
            .certain()
            .filter_map(|policy| policy.platforms.as_ref())
            .flatten()
            .cloned()
            .collect();
        all.sort();
        all.dedup();
        (!all.is_empty()).then_some(all)
    }

    /// The smallest limit on the compressed size, in bytes, and the policy that sets it.
    pub fn size_max(&self) -> Option<(u64, Arc<str>)> {
        self.certain()
            .filter_map(|policy| Some((policy.size_max?, Arc::clone(&policy.name))))
            .min()
    }

    /// The places that allow lists name: registry and path before the first wildcard, without duplicates, in order.
    pub fn places(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for place in self.matched.iter().flat_map(|matched| matched.policy.places()) {
            if !all.contains(&place) {
                all.push(place);
            }
        }
        all
    }

    /// The policies that apply.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.matched.iter().map(|matched| &matched.policy)
    }

    fn certain(&self) -> impl Iterator<Item = &Arc<Policy>> {
        let sure = self.matched.iter().filter(|matched| matched.certainty == Certainty::Certain);
        sure.map(|matched| &matched.policy)
    }
}

/// A vote that was cast.
#[derive(Debug)]
struct Cast<'a> {
    policy: &'a Arc<str>,
    /// Limited by the policy's mode.
    verdict: Verdict,
    /// As if the policy were enforced.
    enforced: Verdict,
    certainty: Certainty,
}

impl Cast<'_> {
    fn decision(&self) -> Decision {
        Decision {
            verdict: self.verdict,
            voice: if self.verdict == Verdict::Allow {
                Voice::Silent
            } else {
                Voice::Spoken
            },
            policy: Some(Arc::clone(self.policy)),
            enforced: self.enforced,
        }
    }
}

impl Matched {
    fn mode(&self) -> Mode {
        self.policy.mode().min(self.ceiling())
    }

    /// The strictest mode it may act in, whatever it sets.
    fn ceiling(&self) -> Mode {
        match self.certainty {
            Certainty::Certain => Mode::Enforce,
            Certainty::Uncertain => Mode::Warn,
        }
    }

    fn note(&self, mut finding: Finding) -> Finding {
        if self.certainty == Certainty::Uncertain {
            finding
                .message
                .push_str("; it is not known whether the policy applies, since ");
            finding.message.push_str(self.doubt);
        }
        finding
    }
}

/// A vote, limited by its policy's mode.
fn through(mode: Mode, verdict: Verdict) -> Verdict {
    match mode {
        Mode::Enforce => verdict,
        Mode::Warn => verdict.min(Verdict::Warn),
        Mode::Audit => Verdict::Allow,
    }
}
