//! The review of one object as a pure step that asks ([`crate::ask`]): exemptions, policies, what each image needs, pulls, verdict, and a
//! second look at whatever is doubtful. Their order is defined here and nowhere else. The driver that answers the questions
//! (`crate::engine`) knows the cluster, the registries and the clock.

mod owner;

pub use owner::counts_as;

use crate::ask::{Ask, Missing, Question};
use crate::cluster::{Facts, Object, Visible};
use crate::credentials::node::{NodeCredentials, Provided, WantedCredentials};
use crate::image::Reference;
use crate::plan::{self, Check, Next, Plan, PlanSettings, decide, denied, doubts, hints, offer};
use crate::policy::{Circumstances, Matching, Policies, Requester};
use crate::runtime::kubelet::Attempts;
use crate::verdict::Judgement;
use crate::verdict::review_result::{Exemption, Handling, Judged, PolicyContext, ReviewResult};
use crate::workload::{Owner, OwnerReference, Workload};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The label on a namespace that takes everything in it out of pullgate's hands.
pub const IGNORE_LABEL: (&str, &str) = ("pullgate.dev/ignore", "true");

/// The most rounds of reading the cluster. A second look can bring one more secret to light (a service account that lists it), never more.
const ROUNDS: usize = 3;

/// The object under review, and the rules.
#[derive(Debug, Clone, Copy)]
pub struct ReviewInput<'a> {
    /// The object.
    pub workload: &'a Workload,
    /// Whose request it is.
    pub requester: &'a Requester,
    /// What the settings file says.
    pub settings: &'a PlanSettings,
    /// All policies.
    pub policies: &'a Policies,
    /// The time.
    pub now: Timestamp,
}

/// What a review asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewQuestion {
    /// The nodes, the namespace, and what the templates need of it.
    Facts,
    /// The same, with these objects read again, those of earlier rounds before them.
    Again(Vec<Object>),
    /// What an `ownerReference` of the object, or of its owner, points at.
    Owner(OwnerReference),
    /// The credentials that only a node has, for these repositories.
    NodeCredentials(Vec<WantedCredentials>),
    /// What comes of these pulls.
    Pulls(Arc<[Check]>),
    /// The same of those that a denial rests on, without what was remembered longer than a denial may rest on it (contract 6).
    Confirm(Arc<[Check]>),
    /// Whether these images are there; for a better fix only.
    Elsewhere(Arc<[Check]>),
}

/// A review asks a handful of questions, mostly of different kinds: the comparison tells them apart.
impl Hash for ReviewQuestion {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        let length = match self {
            Self::Facts | Self::Owner(_) => 0,
            Self::Again(objects) => objects.len(),
            Self::NodeCredentials(wanted) => wanted.len(),
            Self::Pulls(checks) | Self::Confirm(checks) | Self::Elsewhere(checks) => checks.len(),
        };
        length.hash(state);
    }
}

/// What it is answered with.
#[derive(Debug, Clone)]
pub enum Fact {
    /// To [`ReviewQuestion::Facts`] and [`ReviewQuestion::Again`].
    Facts(Arc<Facts>),
    /// To [`ReviewQuestion::Owner`].
    Owner(Visible<Owner>),
    /// To [`ReviewQuestion::NodeCredentials`].
    NodeCredentials(Arc<[(WantedCredentials, Provided)]>),
    /// To [`ReviewQuestion::Pulls`], [`ReviewQuestion::Confirm`] and [`ReviewQuestion::Elsewhere`], in the order of the checks.
    Pulls(Arc<[Arc<Attempts>]>),
    /// No answer came in time.
    Late,
}

impl Question for ReviewQuestion {
    type Answer = Fact;

    fn late(&self) -> Fact {
        Fact::Late
    }
}

/// Reviews one object.
pub fn review(input: &ReviewInput<'_>, ask: &mut Ask<'_, ReviewQuestion>) -> Result<ReviewResult, Missing> {
    let ReviewInput {
        workload,
        requester,
        settings,
        policies,
        now,
    } = *input;
    if let Some(exempt) = annotation(workload, settings) {
        return Ok(ReviewResult::exempt(skipped(workload), exempt));
    }
    let mut facts = facts(ReviewQuestion::Facts, ask)?.unwrap_or_else(|| Arc::new(Facts::hidden(&workload.templates, TOO_LATE)));
    let kinds = counts_as(workload, requester, policies, ask)?;
    let mut read_again: Vec<Object> = Vec::new();
    let mut round = 0;
    let mut before = Vec::new();
    loop {
        if ignored(&facts) {
            return Ok(ReviewResult::exempt(skipped(workload), Exemption::Namespace));
        }
        round += 1;
        let circumstances = Circumstances {
            modes: &settings.modes,
            now,
        };
        let matching = plan::matching(workload, &facts, policies, requester, &kinds, circumstances);
        let mut plan = plan::plan(workload, &facts, settings, &NodeCredentials::default(), &matching);
        let node = node_credentials(&plan, ask)?;
        if let Some(node) = &node {
            plan = plan::plan(workload, &facts, settings, node, &matching);
        }
        let mut outcomes = pulls(&plan.checks, ReviewQuestion::Pulls, ask)?;
        if plan::every_build(&mut plan, &outcomes) {
            outcomes = pulls(&plan.checks, ReviewQuestion::Pulls, ask)?;
        }
        let mut judgements = decide(&mut plan, &outcomes);
        let mut doubtful = doubts(&plan, &judgements, &facts);
        doubtful.retain(|object| !read_again.contains(object));
        if !doubtful.is_empty() && round < ROUNDS {
            read_again.extend(doubtful);
            let fresh = self::facts(ReviewQuestion::Again(read_again.clone()), ask)?;
            if let Some(fresh) = fresh.filter(|fresh| changed(&facts, fresh)) {
                if loses(&facts, &fresh) {
                    before = judgements;
                }
                facts = fresh;
                continue;
            }
        }
        if confirm(&plan, &judgements, &mut outcomes, ask)? {
            plan = plan::plan(
                workload,
                &facts,
                settings,
                node.as_ref().unwrap_or(&NodeCredentials::default()),
                &matching,
            );
            plan::every_build(&mut plan, &outcomes);
            judgements = decide(&mut plan, &outcomes);
        }
        for (judgement, before) in judgements.iter_mut().zip(before) {
            judgement.keep_doubt(before, NOT_CONFIRMED);
        }
        if let Some(why) = &facts.unconfirmed {
            for judgement in &mut judgements {
                judgement.deny_nothing(why);
            }
        }
        let asked = hints(&plan, &judgements);
        let checks: Vec<Check> = asked.iter().map(|(_, check)| check.clone()).collect();
        offer(&mut judgements, &asked, &pulls(&checks, ReviewQuestion::Elsewhere, ask)?);
        let context = PolicyContext {
            kinds,
            labels: plan::labels(workload, &facts),
            ..policy_context(&matching, &plan)
        };
        return Ok(result(plan, judgements, context));
    }
}

/// After so many images memory is given back.
const GIVEN_BACK: usize = 2048;
const NOT_CONFIRMED: &str = "it could not be read again";
const TOO_LATE: &str = "it could not be read in time";

fn facts(about: ReviewQuestion, ask: &mut Ask<'_, ReviewQuestion>) -> Result<Option<Arc<Facts>>, Missing> {
    Ok(match ask.get(about)? {
        Fact::Facts(facts) => Some(facts),
        Fact::Owner(_) | Fact::NodeCredentials(_) | Fact::Pulls(_) | Fact::Late => None,
    })
}

/// The credentials that only a node has; `None` if there are none.
fn node_credentials(plan: &Plan<'_>, ask: &mut Ask<'_, ReviewQuestion>) -> Result<Option<NodeCredentials>, Missing> {
    if plan.wanted.is_empty() {
        return Ok(None);
    }
    let wanted = plan.wanted.iter().cloned().collect();
    let mut node = NodeCredentials::default();
    let mut any = false;
    if let Fact::NodeCredentials(given) = ask.get(ReviewQuestion::NodeCredentials(wanted))? {
        for (wanted, provided) in given.iter() {
            any |= *provided != Provided::default();
            node.insert(wanted.clone(), provided.clone());
        }
    }
    Ok(any.then_some(node))
}

/// Asks once more for what denials rest on; whether anything else came of it. What is remembered of a tag serves for a minute, but whoever
/// is denied repairs it and tries again at once.
fn confirm(
    plan: &Plan<'_>,
    judgements: &[Judgement],
    outcomes: &mut Arc<[Arc<Attempts>]>,
    ask: &mut Ask<'_, ReviewQuestion>,
) -> Result<bool, Missing> {
    let denied: Vec<usize> = denied(plan, judgements).into_iter().collect();
    let checks: Vec<Check> = denied.iter().filter_map(|at| plan.checks.get(*at)).cloned().collect();
    let fresh = pulls(&checks, ReviewQuestion::Confirm, ask)?;
    let mut all = outcomes.to_vec();
    for (at, fresh) in denied.into_iter().zip(fresh.iter()) {
        if let Some(outcome) = all.get_mut(at) {
            outcome.clone_from(fresh);
        }
    }
    let differs = all[..] != outcomes[..];
    if differs {
        *outcomes = all.into();
    }
    Ok(differs)
}

fn pulls(
    checks: &[Check],
    about: fn(Arc<[Check]>) -> ReviewQuestion,
    ask: &mut Ask<'_, ReviewQuestion>,
) -> Result<Arc<[Arc<Attempts>]>, Missing> {
    if checks.is_empty() {
        return Ok(Arc::new([]));
    }
    Ok(match ask.get(about(checks.into()))? {
        Fact::Pulls(outcomes) => outcomes,
        Fact::Facts(_) | Fact::Owner(_) | Fact::NodeCredentials(_) | Fact::Late => checks
            .iter()
            .map(|check| Arc::new(Attempts::late(check.reference.registry())))
            .collect(),
    })
}

fn result(plan: Plan<'_>, mut judgements: Vec<Judgement>, policies: PolicyContext) -> ReviewResult {
    let (checks, mut plans) = (plan.checks.len(), plan.images);
    let mut images = Vec::with_capacity(judgements.len());
    // From the last on: an object may have tens of thousands of images, and what has been put together is given back meanwhile.
    while let (Some(planned), Some(judgement)) = (plans.pop(), judgements.pop()) {
        images.push(Judged {
            image: planned.image.clone(),
            reference: planned.reference,
            remark: planned.remark,
            judgement,
            handling: match planned.next {
                Next::Skipped => Handling::Skipped,
                Next::Later | Next::Settled(_) | Next::Ask { .. } => Handling::Judged,
            },
        });
        if images.len().is_multiple_of(GIVEN_BACK) {
            plans.shrink_to_fit();
            judgements.shrink_to_fit();
        }
    }
    images.reverse();
    ReviewResult {
        images,
        exempt: None,
        policies,
        checks,
    }
}

/// The policies that were about the object or one of its images, and those that an exemption has taken out.
fn policy_context(matching: &Matching, plan: &Plan<'_>) -> PolicyContext {
    let exempting = plan.images.iter().flat_map(|planned| planned.policies.exempting());
    let exempting: BTreeSet<Arc<str>> = matching.exempting().iter().chain(exempting).cloned().collect();
    PolicyContext {
        matching: matching.modes().map(|(name, mode)| (Arc::clone(name), mode.name())).collect(),
        exempting: exempting.into_iter().collect(),
        mode: matching.settings_mode().name(),
        ..PolicyContext::default()
    }
}

/// Whether anything that a judgement could rest on differs.
fn changed(before: &Facts, after: &Facts) -> bool {
    before.namespace != after.namespace
        || before.unconfirmed != after.unconfirmed
        || before.service_accounts != after.service_accounts
        || before.secrets != after.secrets
}

/// Whether a secret or service account that was seen before cannot be seen now. Findings that rested on it are then neither confirmed nor
/// resolved.
fn loses(before: &Facts, after: &Facts) -> bool {
    fn any<T>(before: &BTreeMap<String, Visible<T>>, after: &BTreeMap<String, Visible<T>>) -> bool {
        before
            .iter()
            .any(|(name, object)| matches!((object, after.get(name)), (Visible::Seen(_), Some(Visible::Hidden(_)))))
    }
    any(&before.secrets, &after.secrets) || any(&before.service_accounts, &after.service_accounts)
}

fn ignored(facts: &Facts) -> bool {
    match &facts.namespace {
        Visible::Seen(Some(namespace)) => namespace
            .labels
            .iter()
            .any(|(key, value)| (key.as_str(), value.as_str()) == IGNORE_LABEL),
        Visible::Seen(None) | Visible::Hidden(_) => false,
    }
}

fn annotation(workload: &Workload, settings: &PlanSettings) -> Option<Exemption> {
    settings.exempt_annotations.iter().find_map(|wanted| {
        let (key, value) = wanted
            .split_once('=')
            .map_or((wanted.as_str(), None), |(key, value)| (key, Some(value)));
        workload
            .annotations
            .iter()
            .any(|(k, v)| k == key && value.is_none_or(|value| v == value))
            .then(|| Exemption::Annotation(wanted.clone()))
    })
}

fn skipped(workload: &Workload) -> Vec<Judged> {
    workload
        .templates
        .iter()
        .flat_map(|template| &template.uses)
        .map(|image| Judged {
            image: image.clone(),
            reference: Reference::parse(&image.image).ok(),
            remark: None,
            judgement: Judgement::allowed(),
            handling: Handling::Skipped,
        })
        .collect()
}

#[cfg(test)]
mod tests;
