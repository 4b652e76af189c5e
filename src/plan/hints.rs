//! A name without a registry that is not on Docker Hub: does it live in a registry of the policies' allow lists?

use super::Check;
use super::{Next, Plan};
use crate::image::Reference;
use crate::runtime::kubelet::Attempts;
use crate::verdict::cause::Property;
use crate::verdict::{Judgement, Verdict};
use std::sync::Arc;

/// The questions that are worth asking once images were not found, each with the place of its image in the plan.
pub fn hints(plan: &Plan<'_>, judgements: &[Judgement]) -> Vec<(usize, Check)> {
    let images = plan.images.iter().zip(judgements).enumerate();
    images
        .filter(|(_, (planned, judgement))| {
            let asked = matches!(planned.next, Next::Ask { .. });
            asked
                && judgement.verdict != Verdict::Allow
                && judgement.findings.iter().any(|finding| finding.cause.has(Property::Absent))
        })
        .flat_map(|(at, (planned, _))| planned.elsewhere.iter().map(move |check| (at, check.clone())))
        .collect()
}

/// Names in the fix of an image the first place where it was found; `outcomes` are in the order of `asked`.
pub fn offer(judgements: &mut [Judgement], asked: &[(usize, Check)], outcomes: &[Arc<Attempts>]) {
    let mut offered = Vec::new();
    for ((at, check), outcome) in asked.iter().zip(outcomes) {
        let found = outcome.attempts.last().is_some_and(|attempt| attempt.result.is_ok());
        if found && !offered.contains(at) {
            offered.push(*at);
            if let Some(judgement) = judgements.get_mut(*at) {
                name(judgement, &check.reference);
            }
        }
    }
}

fn name(judgement: &mut Judgement, there: &Reference) {
    let there = there.to_string();
    for finding in judgement
        .findings
        .iter_mut()
        .filter(|finding| finding.cause.has(Property::Absent))
    {
        finding.fix = format!("write {there}, which exists; or {}", finding.fix);
        finding.suggestions.insert(0, there.clone());
    }
}
