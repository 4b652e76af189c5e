//! Which policies applied and what they decided, in the short form of the audit annotations and the log.

use crate::verdict::review_result::{Exemption, PolicyContext, ReviewResult};
use crate::verdict::{Decision, Finding, Verdict};
use std::fmt::Write as _;

/// How many entries a text lists; the rest is counted.
const LISTED: usize = 20;

/// What an auditor needs to know about a result. Texts are empty if there is nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// The policies that applied to the object, with their modes: `production=Enforce,baseline=Audit`.
    pub policies: String,
    /// What policies decided: `RegistryNotAllowed=Deny(production)`. If a mode weakened it: `TagNotFound=Allow(baseline; enforced:
    /// Deny)`; if the settings' did, `TagNotFound=Warn(enforced: Deny)`.
    pub decisions: String,
    /// The settings' mode for the namespace, where it is not `Enforce`.
    pub mode: Option<&'static str>,
    /// The verdict if every policy and the settings' mode were enforced, where it differs.
    pub enforced: Option<&'static str>,
    /// Why the object was not judged (`namespace_label`, `annotation`), or the policies that an exemption removed
    /// (`policy:production`).
    pub exempt: String,
}

impl Audit {
    /// Of one result.
    pub fn of(result: &ReviewResult) -> Self {
        let context = &result.policies;
        let ruled = || result.images.iter().flat_map(|judged| judged.judgement.ruled());
        let enforced = ruled().map(|(_, decision)| decision.enforced).max().unwrap_or(Verdict::Allow);
        let whole = result.exempt.as_ref().map(Exemption::name).map(str::to_owned);
        let partly = context.exempting.iter().map(|name| format!("policy:{name}"));
        Self {
            policies: list(context.matching.iter().map(|(name, mode)| format!("{name}={mode}"))),
            decisions: list(ruled().filter_map(entry)),
            mode: Some(context.mode).filter(|mode| *mode != PolicyContext::ENFORCED),
            enforced: (enforced != result.verdict()).then(|| enforced.name()),
            exempt: list(whole.into_iter().chain(partly)),
        }
    }
}

fn entry((finding, decision): (&Finding, &Decision)) -> Option<String> {
    let kept_back = (decision.enforced != decision.verdict).then(|| format!("enforced: {}", decision.enforced.name()));
    let policy = decision.policy.as_deref().map(str::to_owned);
    let about: Vec<String> = policy.into_iter().chain(kept_back).collect();
    // What holds without any policy needs no entry.
    (!about.is_empty()).then(|| format!("{}={}({})", finding.cause.name(), decision.verdict.name(), about.join("; ")))
}

/// The entries without duplicates, in order.
fn list(entries: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for entry in entries {
        if !all.contains(&entry) {
            all.push(entry);
        }
    }
    let rest = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    let mut text = all.join(",");
    if rest > 0 {
        let _ = write!(text, " and {rest} more");
    }
    text
}
