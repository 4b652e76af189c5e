//! Why an image is treated the way it is: each policy, each rule, and what is done about anything a registry may return.

use super::applies::{Certainty, applies, doubt};
use super::dates;
use super::exemptions::{self, Used};
use super::names::{components, held};
use super::{Circumstances, Policies, Policy, PolicyLocation, Requester, Subject};
use crate::image::{Reference, escape, mask_userinfo};
use crate::verdict::decision::{Decision, Told};
use crate::verdict::finding::FindingEvidence;
use crate::verdict::{Cause, Finding, Outlook, Verdict};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;

/// The schema's name.
pub const VERSION: &str = "pullgate.dev/explain/v1";

/// Everything about one image in one place.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// [`VERSION`].
    pub version: &'static str,
    /// The image as given.
    pub image: String,
    /// What patterns match: registry and repository, with the registry's host in lower case.
    pub name: String,
    /// The tag as written.
    pub tag: Option<String>,
    /// The digest as written.
    pub digest: Option<String>,
    /// The object's namespace.
    pub namespace: String,
    /// The object's kind.
    pub kind: String,
    /// The settings' mode: it governs findings that no policy votes on.
    pub mode: &'static str,
    /// Each policy, sorted by name.
    pub policies: Vec<Explained>,
    /// What name rules object to.
    pub findings: Vec<Objection>,
    /// Whether the registry is asked.
    pub registry_asked: bool,
    /// What is done about anything a registry may return: by outlook, then for the causes that a policy names.
    pub verdicts: Vec<Row>,
}

/// An exemption with an end or a reason.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExemptionShown {
    /// Where it is written: `exempt.entries[0]`.
    pub path: String,
    /// When it ends; null: never.
    pub until: Option<String>,
    /// How many days are left, a day that has begun included; 0 where it has ended.
    pub days_left: Option<i64>,
    /// Why.
    pub reason: Option<String>,
}

/// One policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Its name.
    pub name: String,
    /// Where it was read from.
    pub origin: String,
    /// The mode in which it acts.
    pub mode: &'static str,
    /// When it is enforced, if it only warns until then.
    pub enforced_from: Option<String>,
    /// How many days are left until then, a day that has begun included.
    pub days_left: Option<i64>,
    /// Its exemptions that have an end or a reason.
    pub exemptions: Vec<ExemptionShown>,
    /// Whether it applies to the image.
    pub about: Applies,
    /// Why it does not, or may not; empty otherwise.
    pub why: String,
    /// What its name rules say; empty if it does not apply.
    pub rules: Vec<Rule>,
}

/// Whether a policy applies to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Applies {
    /// It applies.
    Yes,
    /// It depends on labels that are not known.
    Perhaps,
    /// It does not apply.
    No,
    /// It would apply, but the image or the requester is exempt.
    Exempt,
}

/// What one rule says.
#[derive(Debug, Serialize)]
pub struct Rule {
    /// `registries`, `tags.deny` or `tags.requireDigest`.
    pub rule: &'static str,
    /// Whether the name passes.
    pub allowed: bool,
    /// The reason, as a clause.
    pub why: String,
}

/// A finding of a name rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Objection {
    /// The cause.
    pub cause: &'static str,
    /// Whose rule it is.
    pub raised_by: String,
    /// The text.
    pub message: String,
    /// What to do.
    pub fix: String,
    /// What is done about it.
    pub done: Done,
}

/// What is done about findings of one kind.
#[derive(Debug, Serialize)]
pub struct Row {
    /// An outlook or a cause.
    #[serde(rename = "for")]
    pub subject: &'static str,
    /// What is done.
    pub done: Done,
}

/// What is done, and which policy decided it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// What is done.
    pub verdict: &'static str,
    /// The policy that decided; null for the default.
    pub policy: Option<String>,
    /// Whether the user is told.
    pub told: bool,
    /// What would be done if every policy were enforced.
    pub enforced: &'static str,
}

impl From<Decision> for Done {
    fn from(decision: Decision) -> Self {
        Self {
            verdict: decision.verdict.name(),
            policy: decision.policy.as_deref().map(str::to_owned),
            told: decision.told == Told::Yes && decision.verdict != Verdict::Allow,
            enforced: decision.enforced.name(),
        }
    }
}

/// Explains how policies treat an image.
pub fn explain(
    policies: &Policies,
    image: &str,
    reference: &Reference,
    subject: &Subject<'_>,
    requester: &Requester,
    circumstances: Circumstances<'_>,
) -> Explanation {
    let matching = policies.matching(subject, requester, circumstances).narrowed(reference);
    let raised = matching.names(reference, image);
    let mut registry_asked = true;
    let findings = raised
        .into_iter()
        .map(|raised| {
            let decision = matching.decide(&raised.finding, Some(&raised.policy));
            registry_asked &= raised.finding.cause == Cause::DigestRequired || decision.verdict != Verdict::Deny;
            Objection {
                cause: raised.finding.cause.name(),
                raised_by: raised.policy.to_string(),
                message: raised.finding.message,
                fix: raised.finding.fix,
                done: decision.into(),
            }
        })
        .collect();
    let by_outlook = Outlook::ALL
        .iter()
        .copied()
        // Name rules have their own findings above.
        .filter(|outlook| *outlook != Outlook::NotAllowed)
        .map(|outlook| Row {
            subject: outlook.name(),
            done: matching.decide_outlook(outlook).into(),
        });
    let named: BTreeSet<Cause> = matching.policies().flat_map(|policy| policy.actions.causes()).collect();
    let by_cause = named.into_iter().filter_map(|cause| {
        let outlook = Some(cause.usual_outlook()).filter(|outlook| *outlook != Outlook::NotAllowed)?;
        Some(Row {
            subject: cause.name(),
            done: matching.decide(&finding(cause, outlook), None).into(),
        })
    });
    Explanation {
        version: VERSION,
        image: mask_userinfo(image).into_owned(),
        name: held(reference),
        tag: reference.tag().map(str::to_owned),
        digest: reference.digest().map(ToString::to_string),
        namespace: subject.namespace.to_owned(),
        kind: subject.kinds.join(" or "),
        mode: matching.settings_mode().name(),
        policies: policies
            .iter()
            .map(|policy| explained(policy, reference, subject, requester, circumstances.now))
            .collect(),
        findings,
        registry_asked,
        verdicts: by_outlook.chain(by_cause).collect(),
    }
}

fn explained(policy: &Policy, reference: &Reference, subject: &Subject<'_>, requester: &Requester, now: Timestamp) -> Explained {
    let image = exemptions::of_image(policy, &held(reference), now);
    let used = exemptions::of_requester(policy, subject, requester, now)
        .into_iter()
        .chain(image);
    let (about, why) = match applies(policy, subject) {
        Err(why) => (Applies::No, why),
        Ok(certainty) => match (used.max_by_key(Used::end), certainty) {
            (Some(used), _) if used.ending(now).is_none() => {
                let ends = if used.until.is_none() && used.reason.is_none() {
                    String::new()
                } else {
                    format!("; it {}", used.ends(now))
                };
                (Applies::Exempt, used.why + &ends)
            }
            (None, Certainty::Certain) => (Applies::Yes, String::new()),
            (Some(used), Certainty::Certain) => (
                Applies::Yes,
                format!("{}, but that {}: it warns until then", used.why, used.ends(now)),
            ),
            (Some(_) | None, Certainty::Uncertain) => (
                Applies::Perhaps,
                format!("not known, since {}; it can warn, but not deny", doubt(policy, subject)),
            ),
        },
    };
    let from = policy.enforce_from.filter(|from| now < *from);
    let dated = policy
        .exemptions
        .iter()
        .filter(|exemption| exemption.until.is_some() || exemption.reason.is_some());
    Explained {
        name: policy.name.to_string(),
        origin: match &policy.location {
            PolicyLocation::File(place) => place.clone(),
            PolicyLocation::Cluster => "the cluster".to_owned(),
        },
        mode: policy.mode_at(now).name(),
        enforced_from: from.map(dates::written),
        days_left: from.map(|from| dates::days_left(from, now)),
        exemptions: dated
            .map(|exemption| ExemptionShown {
                path: exemption.path.clone(),
                until: exemption.until.map(dates::written),
                days_left: exemption.until.map(|until| dates::days_left(until, now)),
                reason: exemption.reason.as_deref().map(str::to_owned),
            })
            .collect(),
        about,
        why,
        rules: match about {
            Applies::Yes | Applies::Perhaps => rules(policy, reference),
            Applies::No | Applies::Exempt => Vec::new(),
        },
    }
}

/// What its name rules say, for each rule that is set.
fn rules(policy: &Policy, reference: &Reference) -> Vec<Rule> {
    let mut rules = Vec::new();
    if policy.registries.allow.is_some() || !policy.registries.deny.is_empty() {
        rules.push(registries(policy, reference));
    }
    if !policy.tags.deny.is_empty() {
        let refused = policy.tags.refuse(reference);
        let why = match (refused, reference.tag()) {
            (Some((tag, pattern)), _) => format!("\"{}\" matches the tag \"{}\"", escape(pattern), escape(tag)),
            (None, Some(tag)) => format!("no pattern matches the tag \"{}\"", escape(tag)),
            (None, None) if reference.digest().is_some() => "it has a digest and no tag".to_owned(),
            (None, None) => "no pattern matches latest, the tag of an image without one".to_owned(),
        };
        rules.push(Rule {
            rule: "tags.deny",
            allowed: refused.is_none(),
            why,
        });
    }
    if policy.tags.require_digest {
        let missing = policy.tags.wants_digest(reference);
        rules.push(Rule {
            rule: "tags.requireDigest",
            allowed: !missing,
            why: if missing { "it has no digest" } else { "it has a digest" }.to_owned(),
        });
    }
    rules
}

fn registries(policy: &Policy, reference: &Reference) -> Rule {
    let list = &policy.registries;
    let name = held(reference);
    let name = components(&name);
    let allowed = list.judge(&name).is_ok();
    let why = match list.weigh(&name) {
        (Some(deny), Some(allow)) if allowed => {
            format!("allow has \"{allow}\", which is more specific than \"{deny}\" in deny")
        }
        (Some(deny), Some(allow)) if allow.specificity() == deny.specificity() => {
            format!("deny has \"{deny}\", which is as specific as \"{allow}\" in allow; on a tie the image is refused")
        }
        (Some(deny), Some(allow)) => format!("deny has \"{deny}\", which is more specific than \"{allow}\" in allow"),
        (Some(deny), None) => format!("deny has \"{deny}\""),
        (None, Some(allow)) => format!("allow has \"{allow}\""),
        (None, None) if allowed => "no deny pattern matches, and there is no allow list".to_owned(),
        (None, None) => "no allow pattern matches".to_owned(),
    };
    Rule {
        rule: "registries",
        allowed,
        why,
    }
}

fn finding(cause: Cause, outlook: Outlook) -> Finding {
    Finding {
        cause,
        outlook,
        message: String::new(),
        fix: String::new(),
        kubelet: None,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}
