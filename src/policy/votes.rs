//! How votes on one finding are counted (contract 5).

use super::applies::Certainty;
use super::model::Mode;
use crate::verdict::decision::{Decision, Pending, PolicyMessage, Told};
use crate::verdict::{Outlook, Verdict};
use jiff::Timestamp;
use std::sync::Arc;

/// How one policy votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// The policy.
    pub policy: Arc<str>,
    /// The mode in which it acts.
    pub mode: Mode,
    /// What it says about the finding; `None`: it does not vote.
    pub ballot: Option<Ballot>,
    pub(super) certainty: Certainty,
    /// When it will be enforced, if it only warns until then; and that date as shown to users.
    pub(super) from: Option<(Timestamp, String)>,
    /// What its author says to users.
    pub(super) policy_message: Option<Arc<PolicyMessage>>,
}

/// What a policy says about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ballot {
    /// Its action for the finding, which replaces the default.
    Action(Verdict),
    /// One of its own rules is violated. This adds to the default.
    Rule(Verdict),
}

impl Ballot {
    /// What the policy wants done.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Action(verdict) | Self::Rule(verdict) => verdict,
        }
    }
}

/// Whether the finding would exist without policies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    /// It would: the default of this outlook applies, in the settings' mode for the namespace.
    Of(Outlook, Mode),
    /// It would not: only a policy's rule raises it.
    None,
}

/// Counts the votes, in the order of the policies. `finding`: whether the policy that raised it certainly applies.
pub(super) fn count(votes: &[Vote], default: Fallback, finding: Certainty) -> Decision {
    let severest = |certainty: Certainty| {
        let cast = votes.iter().filter(move |vote| vote.certainty == certainty);
        cast.filter_map(Vote::cast).max_by_key(|cast| (cast.verdict, cast.enforced))
    };
    let acted = |vote: &Vote| vote.certainty == Certainty::Certain && matches!(vote.ballot, Some(Ballot::Action(_)));
    let by_default = match default {
        Fallback::Of(outlook, mode) if !votes.iter().any(acted) => Some(by_default(outlook, mode)),
        Fallback::Of(..) | Fallback::None => None,
    };
    let by_gate = by_default.is_some() && by_default_denies(default);
    let mut decision = match (severest(Certainty::Certain), by_default) {
        (Some(cast), Some(default)) if (default.verdict, default.enforced) > (cast.verdict, cast.enforced) => default,
        (Some(cast), _) => cast,
        (None, Some(default)) => default,
        // Without the policy that may not apply, there is no finding.
        (None, None) => Decision {
            verdict: Verdict::Allow,
            told: Told::No,
            policy: None,
            enforced: Verdict::Allow,
            pending: None,
            policy_message: None,
        },
    };
    let enforced = votes.iter().filter_map(Vote::cast).map(|cast| cast.enforced).max();
    let enforced = enforced.unwrap_or(decision.enforced).max(decision.enforced);
    if let Some(cast) = severest(Certainty::Uncertain)
        && cast.verdict > decision.verdict
    {
        decision = cast;
    }
    decision.enforced = enforced;
    if finding == Certainty::Uncertain {
        decision.verdict = decision.verdict.min(Verdict::Warn);
        decision.enforced = decision.enforced.min(Verdict::Warn);
    }
    if (decision.verdict, decision.enforced) == (Verdict::Warn, Verdict::Deny) {
        decision.pending = pending(votes, by_gate);
    }
    decision
}

/// Whether the default would deny, if the settings' mode were not `Warn`.
fn by_default_denies(default: Fallback) -> bool {
    matches!(default, Fallback::Of(outlook, Mode::Warn) if outlook.default_verdict() == Verdict::Deny)
}

/// Which policy will deny once it is enforced, and from when. Policies in Audit mode are not announced.
fn pending(votes: &[Vote], by_default: bool) -> Option<Pending> {
    let denies = |vote: &&Vote| vote.mode == Mode::Warn && vote.cast().is_some_and(|cast| cast.enforced == Verdict::Deny);
    let voting = || votes.iter().filter(denies);
    let dated = voting().filter(|vote| vote.from.is_some()).min_by_key(|vote| &vote.from);
    let of = |vote: &Vote| Pending {
        policy: Some(Arc::clone(&vote.policy)),
        from: vote.from.as_ref().map(|(_, shown)| shown.clone()),
    };
    let by_default = || {
        by_default.then_some(Pending {
            policy: None,
            from: None,
        })
    };
    dated.or_else(|| voting().next()).map(of).or_else(by_default)
}

/// The decision on a finding that no policy votes on, in the settings' mode.
fn by_default(outlook: Outlook, mode: Mode) -> Decision {
    let verdict = outlook.default_verdict();
    Decision {
        verdict: through(mode, verdict),
        // A finding that comes with Allow is a remark that the user reads (docs/decisions/0004).
        told: if mode == Mode::Audit { Told::No } else { Told::Yes },
        policy: None,
        enforced: verdict,
        pending: None,
        policy_message: None,
    }
}

impl Vote {
    /// The vote as a decision, limited by the policy's mode, and by what a policy may do if it is uncertain whether it applies.
    fn cast(&self) -> Option<Decision> {
        let wanted = self.ballot?.verdict();
        let ceiling = self.certainty.ceiling();
        let verdict = through(self.mode.min(ceiling), wanted);
        Some(Decision {
            verdict,
            told: if verdict == Verdict::Allow { Told::No } else { Told::Yes },
            policy: Some(Arc::clone(&self.policy)),
            enforced: through(ceiling, wanted),
            pending: None,
            policy_message: self.policy_message.clone().filter(|_| verdict != Verdict::Allow),
        })
    }
}

impl Certainty {
    /// The strictest mode in which a policy may act, whatever it sets.
    pub(super) fn ceiling(self) -> Mode {
        match self {
            Self::Certain => Mode::Enforce,
            Self::Uncertain => Mode::Warn,
        }
    }
}

/// A verdict, limited by a mode.
fn through(mode: Mode, verdict: Verdict) -> Verdict {
    match mode {
        Mode::Enforce => verdict,
        Mode::Warn => verdict.min(Verdict::Warn),
        Mode::Audit => Verdict::Allow,
    }
}
