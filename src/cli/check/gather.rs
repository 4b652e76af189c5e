//! Chooses what to judge in the manifests, and collects the results for the report.

use super::accept;
use super::entry::entry;
use crate::image::escape;
use crate::manifests::{ManifestObject, Manifests, Note};
use crate::report::{self, Entry, Report, Skipped};
use crate::verdict::cause::Property;
use crate::verdict::review_result::{Exemption, Handling, Judged, Remark, ReviewResult};
use crate::verdict::{Outlook, Verdict};
use crate::workload::ObjectId;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Keeps only the objects of files that changed, and everything that provides facts for judging them.
pub(super) fn keep_changed(manifests: &mut Manifests, changed: &BTreeSet<PathBuf>) {
    let mut known: std::collections::HashMap<String, bool> = std::collections::HashMap::new();
    manifests.subjects.retain(|subject| {
        if !subject.reads.is_empty() {
            return changed
                .iter()
                .any(|file| subject.reads.iter().any(|read| file.starts_with(read)));
        }
        let file = &subject.source.file;
        *known
            .entry(file.clone())
            .or_insert_with(|| file == "-" || Path::new(file).canonicalize().is_ok_and(|file| changed.contains(&file)))
    });
}

/// An object is judged through its owner only if the owner is in the input: in a dump of Pods alone, the Pods are judged.
pub(in crate::cli) fn drop_absent_controllers(subjects: &mut [ManifestObject]) {
    let key = |object: &ObjectId| (object.kind.clone(), object.namespace.clone(), object.name.clone());
    let here: HashSet<_> = subjects.iter().map(|subject| key(&subject.workload.object)).collect();
    for subject in subjects {
        if !subject.owner.as_ref().is_some_and(|owner| here.contains(owner)) {
            subject.workload.controller = None;
        }
    }
}

/// Whether every image lacks a credential: a run that passes has then checked nothing.
pub(super) fn all_are_private(entries: &[Entry]) -> bool {
    let is_private = |entry: &Entry| {
        let worst = entry.worst().map(|(finding, _)| finding.cause);
        let wants = worst.is_some_and(|cause| cause.has(Property::LacksCredential));
        wants && entry.outlook() == Outlook::Unknown
    };
    !entries.is_empty() && entries.iter().all(is_private)
}

/// A remark in the form of the report.
pub(super) fn noted(note: &Note) -> report::Note {
    report::Note {
        kind: note.passed.name(),
        file: (!note.file.is_empty()).then(|| note.file.clone()),
        line: note.line,
        message: note.sentence(),
    }
}

/// Adds the result for an object, or for an image by itself. Comments beside images count if they hold on the day `today`. Returns remarks on
/// comments that have expired.
pub(super) fn add(report: &mut Report, subject: Option<&ManifestObject>, result: ReviewResult, today: Option<&str>) -> Vec<String> {
    let mut remarks = Vec::new();
    let ReviewResult { images, exempt, .. } = result;
    for judged in images {
        let why = why_skipped(&judged, exempt.as_ref(), subject);
        let mut entry = entry(subject, judged);
        if let Some(why) = why {
            report.skipped.push(Skipped { entry, why });
            continue;
        }
        if let Some(today) = today {
            remarks.extend(accept::by_comments(&mut entry, subject, today));
        }
        report.entries.push(entry);
    }
    remarks
}

/// Why an image was not judged; `None` if it was.
fn why_skipped(judged: &Judged, exempt: Option<&Exemption>, subject: Option<&ManifestObject>) -> Option<String> {
    if judged.handling != Handling::Skipped
        || judged.judgement.verdict != Verdict::Allow
        || judged.judgement.ruled().next().is_some()
    {
        return None;
    }
    Some(match (exempt, &judged.remark) {
        (Some(Exemption::Namespace), _) => "its namespace is exempt".to_owned(),
        (Some(Exemption::Annotation(_)), _) => "an annotation exempts its object".to_owned(),
        (None, Some(remark @ Remark::FilledIn { .. })) => remark.clause(),
        (None, _) => match subject.and_then(|subject| subject.owner.as_ref()) {
            Some((kind, _, name)) => format!("judged with {} {}", escape(kind), escape(name)),
            None => "judged elsewhere".to_owned(),
        },
    })
}
