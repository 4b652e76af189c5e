//! Which reviews become Kubernetes Events, and what they are about (docs/decisions/0011).

use crate::cluster::{Events, Notice, Occasion, Regarding};
use crate::review::{Operation, Review};
use crate::verdict::answer::Answer;
use crate::verdict::message::{note, spoken};
use crate::verdict::{Decision, Finding, Outlook, Verdict};
use crate::workload::Workload;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Hands in what there is to tell of a review, if anything.
pub(super) fn post(events: &Events, review: &Review, workload: &Workload, answer: &Answer) {
    let Some(occasion) = occasion(review, workload, answer) else {
        return;
    };
    if events.wants(occasion) {
        events.post(notice(occasion, review, workload, answer));
    }
}

fn occasion(review: &Review, workload: &Workload, answer: &Answer) -> Option<Occasion> {
    if review.dry_run {
        return None;
    }
    match answer.verdict() {
        // Whoever made it gets the denial and tells of it, on the object that people look at: `FailedCreate` of the ReplicaSet.
        Verdict::Deny if review.operation == Operation::Create && workload.controller.is_some() => None,
        Verdict::Deny => Some(Occasion::Denied),
        Verdict::Warn => {
            let mut told = answer.images.iter().flat_map(spoken);
            told.any(|(finding, decision)| tells(Occasion::Unknown, finding, decision))
                .then_some(Occasion::Unknown)
        }
        Verdict::Allow => None,
    }
}

/// Whether a finding is what the occasion is about.
fn tells(occasion: Occasion, finding: &Finding, decision: &Decision) -> bool {
    match occasion {
        Occasion::Denied => decision.verdict == Verdict::Deny,
        Occasion::Unknown => decision.verdict == Verdict::Warn && finding.outlook == Outlook::Unknown,
    }
}

fn notice(occasion: Occasion, review: &Review, workload: &Workload, answer: &Answer) -> Notice {
    let metadata = |object: &Value, key: &str| {
        let value = object.get("metadata").and_then(|metadata| metadata.get(key));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    // What is denied at its creation will never exist, and the next attempt has another uid and perhaps another name.
    let (uid, stem) = match (occasion, review.operation) {
        (Occasion::Denied, Operation::Create) => (String::new(), metadata(&review.object, "generateName")),
        (Occasion::Denied | Occasion::Unknown, _) => (metadata(&review.object, "uid"), String::new()),
    };
    let stated = metadata(&review.object, "name");
    let name = [stated, review.name.clone(), stem.clone()];
    let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let told = |finding: &Finding, decision: &Decision| tells(occasion, finding, decision);
    Notice {
        occasion,
        stem: if stem.is_empty() { name.clone() } else { stem },
        regarding: Regarding {
            api_version: workload.object.api_version.clone(),
            kind: workload.object.kind.clone(),
            namespace: workload.object.namespace.clone(),
            name,
            uid,
        },
        about: about(answer, told),
        note: note(&answer.images, told),
    }
}

/// A digest of the causes and the images that have them. Not of the words: those may hold times.
fn about(answer: &Answer, told: impl Fn(&Finding, &Decision) -> bool) -> u64 {
    let mut hash = DefaultHasher::new();
    for judged in &answer.images {
        for (finding, _) in spoken(judged).filter(|(finding, decision)| told(finding, decision)) {
            (&judged.image.name, &judged.image.image, finding.cause.name()).hash(&mut hash);
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests;
