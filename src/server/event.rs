//! Which reviews become Kubernetes Events, and what they say (docs/decisions/0012).

use crate::cluster::{EventReason, EventRecorder, Regarding, ReviewEvent};
use crate::review::{Operation, Review};
use crate::verdict::message::{note, told_findings};
use crate::verdict::review_result::ReviewResult;
use crate::verdict::{Decision, Finding, Outlook, Verdict};
use crate::workload::Workload;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Records an Event for a review, if it deserves one.
pub(super) fn record(events: &EventRecorder, review: &Review, workload: &Workload, result: &ReviewResult) {
    let Some(reason) = reason(review, workload, result) else {
        return;
    };
    if events.accepts(reason) {
        events.record(event(reason, review, workload, result));
    }
}

fn reason(review: &Review, workload: &Workload, result: &ReviewResult) -> Option<EventReason> {
    if review.dry_run {
        return None;
    }
    match result.verdict() {
        // The controller that created it gets the denial and reports it where users look: as a `FailedCreate` Event of the
        // ReplicaSet.
        Verdict::Deny if review.operation == Operation::Create && workload.controller.is_some() => None,
        Verdict::Deny => Some(EventReason::Denied),
        Verdict::Warn => {
            let mut told = result.images.iter().flat_map(told_findings);
            told.any(|(finding, decision)| tells(EventReason::Unknown, finding, decision))
                .then_some(EventReason::Unknown)
        }
        Verdict::Allow => None,
    }
}

/// Whether the Event is about this finding.
fn tells(reason: EventReason, finding: &Finding, decision: &Decision) -> bool {
    match reason {
        EventReason::Denied => decision.verdict == Verdict::Deny,
        EventReason::Unknown => decision.verdict == Verdict::Warn && finding.outlook == Outlook::Unknown,
    }
}

fn event(reason: EventReason, review: &Review, workload: &Workload, result: &ReviewResult) -> ReviewEvent {
    let metadata = |object: &Value, key: &str| {
        let value = object.get("metadata").and_then(|metadata| metadata.get(key));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    // An object denied on creation will never exist, and the next attempt has another uid and perhaps another name.
    let (uid, stem) = match (reason, review.operation) {
        (EventReason::Denied, Operation::Create) => (String::new(), metadata(&review.object, "generateName")),
        (EventReason::Denied | EventReason::Unknown, _) => (metadata(&review.object, "uid"), String::new()),
    };
    let stated = metadata(&review.object, "name");
    let name = [stated, review.name.clone(), stem.clone()];
    let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let told = |finding: &Finding, decision: &Decision| tells(reason, finding, decision);
    ReviewEvent {
        reason,
        stem: if stem.is_empty() { name.clone() } else { stem },
        regarding: Regarding {
            api_version: workload.object.api_version.clone(),
            kind: workload.object.kind.clone(),
            namespace: workload.object.namespace.clone(),
            name,
            uid,
        },
        about: about(result, told),
        note: note(&result.images, told),
    }
}

/// A digest of the causes and their images. Not of the messages: those may contain times.
fn about(result: &ReviewResult, told: impl Fn(&Finding, &Decision) -> bool) -> u64 {
    let mut hash = DefaultHasher::new();
    for judged in &result.images {
        for (finding, _) in told_findings(judged).filter(|(finding, decision)| told(finding, decision)) {
            (&judged.image.name, &judged.image.image, finding.cause.name()).hash(&mut hash);
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests;
