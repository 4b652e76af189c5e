//! `check --cluster --live`: what existing objects would be told if they were created now. Changes nothing.

use super::AT_ONCE;
use crate::cluster::Inventory;
use crate::config::PolicyStore;
use crate::engine::Gate;
use crate::policy::Requester;
use crate::report::Entry;
use crate::verdict::Verdict;
use crate::verdict::review_result::ReviewResult;
use crate::workload::{Kinds, OwnerKind, OwnerReference, Workload, extract};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The findings.
#[derive(Debug, Default)]
pub(in crate::cli) struct Found {
    /// Sorted by namespace, kind and name.
    pub(in crate::cli) entries: Vec<Entry>,
    /// What could not be listed, one sentence each.
    pub(in crate::cli) problems: Vec<String>,
    /// Objects exempt by a label of their namespace or an annotation.
    pub(in crate::cli) exempt: usize,
}

/// An object of the cluster.
#[derive(Debug)]
struct LiveObject {
    workload: Workload,
    owner: Owner,
}

/// An object's controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// None, or a controller that is not checked.
    None,
    /// A controller that is checked itself. For the object, only policies may add something.
    Judged,
}

/// Checks what the inventory lists, each object within `time_limit`. In memory at any time: one page of objects, those being
/// checked, and the findings for the others.
pub(in crate::cli) async fn judge(gate: &Gate, mut inventory: Inventory, policies: &PolicyStore, time_limit: Duration) -> Found {
    let kinds = &gate.kinds();
    // Without policies, the findings for the owner say everything.
    let owned_too = !policies.load().is_empty();
    let mut report = Report::default();
    {
        let subjects = stream::unfold(&mut inventory, |inventory| async move {
            loop {
                let subject = subject(&inventory.next().await?, kinds);
                if let Some(subject) = subject.filter(|subject| owned_too || subject.owner == Owner::None) {
                    return Some((subject, inventory));
                }
            }
        });
        let mut judged = std::pin::pin!(
            subjects
                .map(|subject| async {
                    let deadline = Instant::now() + time_limit;
                    let result = gate.judge(&subject.workload, &maker(&subject.workload), deadline).await;
                    (subject, result)
                })
                .buffered(AT_ONCE)
        );
        while let Some((subject, result)) = judged.next().await {
            report.add(subject, result);
        }
    }
    report.found.problems = inventory.problems().to_vec();
    report.done()
}

/// Who would make an object that is there: the controller of its owner, or nobody in particular.
pub(in crate::cli) fn maker(workload: &Workload) -> Requester {
    let owner = workload.owner.as_ref().and_then(OwnerReference::owner_kind);
    Requester {
        user: owner.map_or_else(String::new, OwnerKind::account),
        groups: Vec::new(),
    }
}

fn subject(object: &Value, kinds: &Kinds) -> Option<LiveObject> {
    if has_ended(object) {
        return None;
    }
    let mut workload = extract(object, None, "", kinds).ok()?;
    workload.recall(object);
    let owner = match &workload.controller {
        Some((api_version, kind)) if kinds.judged_for_sure(api_version, kind) => Owner::Judged,
        Some(_) | None => Owner::None,
    };
    Some(LiveObject { workload, owner })
}

/// Whether it has finished, or is an old revision kept for rollbacks: it does not pull any more, and its image may have been deleted on purpose.
fn has_ended(object: &Value) -> bool {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let is = |condition: &Value, kind: &str, status: &[&str]| {
        let has = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
        has("type") == kind && status.contains(&has("status"))
    };
    let any = |kind: &str, status: &[&str]| conditions.into_iter().flatten().any(|condition| is(condition, kind, status));
    match (group, text("/kind")) {
        ("", "Pod") => matches!(text("/status/phase"), "Succeeded" | "Failed"),
        ("batch", "Job") => any("Complete", &["True"]) || any("Failed", &["True"]),
        ("apps", "ReplicaSet") => {
            object.pointer("/metadata/ownerReferences").is_some() && object.pointer("/spec/replicas") == Some(&Value::from(0))
        }
        ("argoproj.io", "Workflow") => matches!(text("/status/phase"), "Succeeded" | "Failed" | "Error"),
        ("tekton.dev", "TaskRun" | "PipelineRun") => any("Succeeded", &["True", "False"]),
        _ => false,
    }
}

/// The findings so far.
#[derive(Debug, Default)]
struct Report {
    found: Found,
    /// The worst finding for an image in a namespace. What is said about a controller need not be repeated for each of its pods.
    said: HashMap<(String, String), Verdict>,
}

impl Report {
    fn add(&mut self, subject: LiveObject, result: ReviewResult) {
        let LiveObject { workload, owner } = subject;
        if result.exempt.is_some() && owner == Owner::None {
            self.found.exempt += 1;
        }
        for judged in result.images {
            let verdict = judged.judgement.verdict;
            let key = (workload.object.namespace.clone(), judged.image.image.clone());
            let known = self.said.get(&key).copied();
            if owner == Owner::Judged && (verdict == Verdict::Allow || known.is_some_and(|known| known >= verdict)) {
                continue;
            }
            if known.is_none_or(|known| known < verdict) {
                self.said.insert(key, verdict);
            }
            self.found.entries.push(Entry {
                source: None,
                line: None,
                object: Some(workload.object.clone()),
                judged,
                origin: None,
                accepted: Vec::new(),
            });
        }
    }

    fn done(mut self) -> Found {
        self.found.entries.sort_by(|a, b| place(a).cmp(&place(b)));
        self.found
    }
}

fn place(entry: &Entry) -> Option<(&str, &str, &str, &str)> {
    let object = entry.object.as_ref()?;
    Some((&object.namespace, &object.kind, &object.name, &object.api_version))
}

#[cfg(test)]
mod tests;
