//! The policies that are about one object, and how they vote (contract 5).

use super::about::{Presence, Requester, Subject, about, doubt, exempt};
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

/// The policies that are about an object, or about one image of it.
#[derive(Debug, Clone, Default)]
pub struct Jury {
    members: Vec<Member>,
    /// Policies that would be about it, but for an exemption.
    exempting: Vec<Arc<str>>,
}

#[derive(Debug, Clone)]
struct Member {
    policy: Arc<Policy>,
    presence: Presence,
    /// Why it is not sure, as a clause, if it is not.
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

/// What one policy asks of images beside the rules on names, where several do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The policy.
    pub policy: Arc<str>,
    /// Its platforms, if it names some.
    pub platforms: Option<Vec<Platform>>,
    /// Its limit on the compressed size, in bytes, if it has one.
    pub size_max: Option<u64>,
}

/// What would be found if only one policy's demands held, by policy.
pub type Own = BTreeMap<Arc<str>, Vec<(Cause, Outlook)>>;

/// How one policy votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// The policy.
    pub policy: Arc<str>,
    /// Its mode.
    pub mode: Mode,
    /// What it writes for the finding (or, for its own name rule, `Deny`); `None`: it does not vote.
    pub action: Option<Verdict>,
}

impl Jury {
    pub(super) fn call<'a>(policies: impl Iterator<Item = &'a Arc<Policy>>, subject: &Subject<'_>, requester: &Requester) -> Self {
        let mut jury = Self::default();
        for policy in policies {
            let Ok(presence) = about(policy, subject) else { continue };
            if exempt(policy, requester).is_some() {
                jury.exempting.push(Arc::clone(&policy.name));
            } else {
                jury.members.push(Member {
                    policy: Arc::clone(policy),
                    presence,
                    doubt: doubt(policy, subject),
                });
            }
        }
        jury
    }

    /// The policies that are about one image: `exempt.images` takes it out of its policy, and of that one only.
    #[must_use]
    pub fn narrowed(&self, reference: &Reference) -> Self {
        let name = held(reference);
        let mut jury = Self {
            members: Vec::new(),
            exempting: self.exempting.clone(),
        };
        for member in &self.members {
            if member.policy.exempt_images.iter().any(|pattern| pattern.matches(&name)) {
                jury.exempting.push(Arc::clone(&member.policy.name));
            } else {
                jury.members.push(member.clone());
            }
        }
        jury
    }

    /// Whether no policy is about it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Policies that an exemption has taken out.
    pub fn exempting(&self) -> &[Arc<str>] {
        &self.exempting
    }

    /// Policies that are about it, with their modes.
    pub fn members(&self) -> impl Iterator<Item = (&Arc<str>, Mode)> {
        self.members.iter().map(|member| (&member.policy.name, member.policy.mode()))
    }

    /// What the name rules object to; `shown` is the image as written. No network is needed for any of it.
    pub fn names(&self, reference: &Reference, shown: &str) -> Vec<Raised> {
        self.members
            .iter()
            .flat_map(|member| {
                let raise = |finding: Finding| Raised {
                    finding: member.note(finding),
                    policy: Arc::clone(&member.policy.name),
                };
                let policy = &member.policy;
                let mut findings = Vec::new();
                if let Err(why) = policy.registries.judge(&held(reference)) {
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

    /// How each policy votes on a finding; `raised_by` is the policy whose name rule it is.
    pub fn votes(&self, finding: &Finding, raised_by: Option<&str>) -> Vec<Vote> {
        let vote = |member: &Member| {
            let policy = &member.policy;
            let written = policy.actions.of(finding.cause, finding.outlook);
            // Who writes a rule has voted on what breaks it.
            let own = (raised_by == Some(&*policy.name)).then_some(Verdict::Deny);
            Vote {
                policy: Arc::clone(&policy.name),
                mode: member.mode(),
                action: written.or(own),
            }
        };
        self.members.iter().map(vote).collect()
    }

    /// What each policy asks for by itself; empty where at most one asks for anything.
    pub fn demands(&self) -> Vec<Demand> {
        let demands: Vec<Demand> = self
            .sure()
            .filter(|policy| policy.platforms.is_some() || policy.size_max.is_some())
            .map(|policy| Demand {
                policy: Arc::clone(&policy.name),
                platforms: policy.platforms.clone(),
                size_max: policy.size_max,
            })
            .collect();
        if demands.len() > 1 { demands } else { Vec::new() }
    }

    /// As [`Self::decide`], for what a registry shows. A policy with demands of its own votes on what breaks those: another one's, which
    /// may be on trial, do not make it object.
    pub fn decide_by_own(&self, finding: &Finding, own: &Own) -> Decision {
        let mut votes = self.votes(finding, None);
        for (vote, member) in votes.iter_mut().zip(&self.members) {
            if let Some(found) = own.get(&member.policy.name) {
                let outlooks = found.iter().filter(|(cause, _)| *cause == finding.cause);
                let worst = outlooks.map(|(_, outlook)| *outlook).max();
                vote.action = worst.and_then(|outlook| member.policy.actions.of(finding.cause, outlook));
            }
        }
        self.count(&votes, &Decision::by_default(finding), Presence::Sure)
    }

    /// What is done about a finding: the severest vote; where none voted, the default through the laxest mode (contract 5).
    ///
    /// A policy that only may be about the object can bring a warning, and takes nothing back; a finding of such a policy's name rule
    /// denies nothing, whoever votes (`docs/decisions/0009`).
    pub fn decide(&self, finding: &Finding, raised_by: Option<&str>) -> Decision {
        self.count(
            &self.votes(finding, raised_by),
            &Decision::by_default(finding),
            self.doubtful(raised_by),
        )
    }

    /// What is done about findings of an outlook, where no policy writes an action for their cause.
    pub(super) fn decide_outlook(&self, outlook: Outlook) -> Decision {
        let vote = |member: &Member| Vote {
            policy: Arc::clone(&member.policy.name),
            mode: member.mode(),
            action: member.policy.actions.of_outlook(outlook),
        };
        let votes: Vec<Vote> = self.members.iter().map(vote).collect();
        let verdict = outlook.default_verdict();
        let by_default = Decision {
            verdict,
            voice: Voice::Spoken,
            policy: None,
            enforced: verdict,
        };
        self.count(&votes, &by_default, Presence::Sure)
    }

    /// Whether a finding is one for sure: it is not where a policy raised it that may not be about the object.
    fn doubtful(&self, raised_by: Option<&str>) -> Presence {
        let member = self.members.iter().find(|member| raised_by == Some(&*member.policy.name));
        member.map_or(Presence::Sure, |member| member.presence)
    }

    /// Counts the votes of the members, in their order.
    fn count(&self, votes: &[Vote], by_default: &Decision, finding: Presence) -> Decision {
        let cast: Vec<Cast<'_>> = self
            .members
            .iter()
            .zip(votes)
            .filter_map(|(member, vote)| {
                Some(Cast {
                    policy: &vote.policy,
                    verdict: through(vote.mode, vote.action?),
                    enforced: through(member.ceiling(), vote.action?),
                    presence: member.presence,
                })
            })
            .collect();
        let severest = |presence: Presence| {
            let cast = cast.iter().filter(move |cast| cast.presence == presence);
            cast.max_by_key(|cast| (cast.verdict, cast.enforced))
        };
        let doubtful = finding == Presence::Perhaps;
        let mut decision = match severest(Presence::Sure) {
            Some(cast) => cast.decision(),
            // It is no finding but for a policy that may not be about the object.
            None if doubtful => Decision {
                verdict: Verdict::Allow,
                voice: Voice::Silent,
                policy: None,
                enforced: Verdict::Allow,
            },
            None => self.unvoted(by_default.clone()),
        };
        if let Some(cast) = severest(Presence::Perhaps)
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

    /// The default through the laxest mode of the policies that are about it for sure.
    fn unvoted(&self, by_default: Decision) -> Decision {
        let Some(laxest) = self.sure().min_by_key(|policy| policy.mode()) else {
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

    /// The platforms that policies ask for instead of the nodes' own; `None` where none does.
    pub fn platforms(&self) -> Option<Vec<Platform>> {
        let mut all: Vec<Platform> = self
            .sure()
            .filter_map(|policy| policy.platforms.as_ref())
            .flatten()
            .cloned()
            .collect();
        all.sort();
        all.dedup();
        (!all.is_empty()).then_some(all)
    }

    /// The smallest limit on the compressed size, in bytes, and whose it is.
    pub fn size_max(&self) -> Option<(u64, Arc<str>)> {
        self.sure()
            .filter_map(|policy| Some((policy.size_max?, Arc::clone(&policy.name))))
            .min()
    }

    /// Where the allow lists say that images live: registry and components before the first wildcard, each once, in their order.
    pub fn places(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for place in self.members.iter().flat_map(|member| member.policy.places()) {
            if !all.contains(&place) {
                all.push(place);
            }
        }
        all
    }

    /// The policies that are about it.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.members.iter().map(|member| &member.policy)
    }

    fn sure(&self) -> impl Iterator<Item = &Arc<Policy>> {
        let sure = self.members.iter().filter(|member| member.presence == Presence::Sure);
        sure.map(|member| &member.policy)
    }
}

/// A vote that was cast.
#[derive(Debug)]
struct Cast<'a> {
    policy: &'a Arc<str>,
    /// Through the policy's mode.
    verdict: Verdict,
    /// As if the policy were enforced.
    enforced: Verdict,
    presence: Presence,
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

impl Member {
    fn mode(&self) -> Mode {
        self.policy.mode().min(self.ceiling())
    }

    /// How far the policy may go, whatever it says.
    fn ceiling(&self) -> Mode {
        match self.presence {
            Presence::Sure => Mode::Enforce,
            Presence::Perhaps => Mode::Warn,
        }
    }

    fn note(&self, mut finding: Finding) -> Finding {
        if self.presence == Presence::Perhaps {
            finding
                .message
                .push_str("; whether the policy is about it is not known, since ");
            finding.message.push_str(self.doubt);
        }
        finding
    }
}

/// A vote through its policy's mode.
fn through(mode: Mode, verdict: Verdict) -> Verdict {
    match mode {
        Mode::Enforce => verdict,
        Mode::Warn => verdict.min(Verdict::Warn),
        Mode::Audit => Verdict::Allow,
    }
}
