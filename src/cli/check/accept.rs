//! Findings that the user accepts: a baseline, comments beside images, images that are built later.

use crate::image::Pattern;
use crate::manifests::{Ignore, ManifestObject};
use crate::report::{Entry, plain};
use crate::verdict::cause::Property;
use crate::verdict::message::{object_of, user_of};
use crate::verdict::review_result::Judged;
use crate::verdict::{Cause, Decision, Finding, Outlook, Verdict};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// The version in a baseline, by which searches of folders recognise and skip it.
const VERSION: &str = "pullgate.dev/baseline/v1";

/// Findings that were known when it was written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baseline {
    version: String,
    findings: BTreeSet<Known>,
}

/// One of them. Without its line, which changes with every edit above it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    image: String,
    cause: String,
    file: Option<String>,
    object: Option<String>,
    container: Option<String>,
}

impl Known {
    fn of(entry: &Entry, cause: Cause) -> Self {
        Self {
            image: entry.judged.image.image.clone(),
            cause: cause.name().to_owned(),
            file: entry.source.as_ref().map(|source| plain(&source.file).to_owned()),
            object: entry.object.as_ref().map(object_of),
            container: entry.object.as_ref().map(|_| user_of(&entry.judged.image)),
        }
    }
}

/// Whether a finding may be accepted at all: what a policy refuses may not.
fn may_be(finding: &Finding, decision: &Decision) -> bool {
    let by_policy = decision.policy.is_some() && decision.verdict == Verdict::Deny;
    finding.outlook != Outlook::NotAllowed && !by_policy
}

/// Whether there is something to accept.
fn matters(decision: &Decision, finding: &Finding) -> bool {
    decision.verdict != Verdict::Allow || finding.outlook == Outlook::Unknown
}

impl Baseline {
    /// Reads one.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = crate::files::read_or_pipe(file, crate::limits::MANIFEST_FILE);
        let bytes = bytes.with_context(|| format!("--baseline: {} cannot be read", file.display()))?;
        let baseline: Self =
            serde_json::from_slice(&bytes).with_context(|| format!("--baseline: {} is not a baseline", file.display()))?;
        if baseline.version != VERSION {
            bail!(
                "--baseline: {} has version {:?}; this pullgate reads {VERSION}",
                file.display(),
                baseline.version
            );
        }
        Ok(baseline)
    }

    /// The findings in these entries that are to be accepted.
    pub(super) fn of(entries: &[Entry]) -> Self {
        let all = entries.iter().flat_map(|entry| entry.open().map(move |ruled| (entry, ruled)));
        let all = all.filter(|(_, (finding, decision))| may_be(finding, decision) && matters(decision, finding));
        Self {
            version: VERSION.to_owned(),
            findings: all.map(|(entry, (finding, _))| Known::of(entry, finding.cause)).collect(),
        }
    }

    /// How many it has.
    pub(super) fn len(&self) -> usize {
        self.findings.len()
    }

    /// Its text.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Accepts the findings it has; returns how many of them no entry has any more.
    pub(super) fn accept(&self, entries: &mut [Entry]) -> usize {
        let mut met = BTreeSet::new();
        for entry in entries {
            let here: Vec<(Known, Cause)> = entry
                .open()
                .filter(|(finding, decision)| may_be(finding, decision))
                .map(|(finding, _)| (Known::of(entry, finding.cause), finding.cause))
                .filter(|(known, _)| self.findings.contains(known))
                .collect();
            for (known, cause) in here {
                entry.accepted.push((cause, "the baseline".to_owned()));
                met.insert(known);
            }
        }
        self.findings.len() - met.len()
    }
}

/// What a run accepts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepting<'a> {
    /// The day for comments beside images, as `2026-11-30`; `None`: comments do not count.
    pub(super) today: Option<&'a str>,
    /// Images that do not exist yet.
    pub(super) missing: &'a [Pattern],
    pub(super) baseline: Option<&'a Baseline>,
}

impl Accepting<'_> {
    /// The causes that it accepts for an image.
    pub(super) fn causes(&self, subject: Option<&ManifestObject>, judged: &Judged) -> Vec<Cause> {
        let mut entry = super::entry::entry(subject, judged.clone());
        if let Some(today) = self.today {
            by_comments(&mut entry, subject, today);
        }
        missing(&mut entry, self.missing);
        if let Some(baseline) = self.baseline {
            baseline.accept(std::slice::from_mut(&mut entry));
        }
        entry.accepted.into_iter().map(|(cause, _)| cause).collect()
    }
}

/// Accepts what the comments beside an image do, on the day `today`. Returns remarks on those that have expired.
pub(super) fn by_comments(entry: &mut Entry, subject: Option<&ManifestObject>, today: &str) -> Vec<String> {
    let ignores = subject.into_iter().flat_map(|subject| &subject.ignores);
    let path = entry.judged.image.path.as_str().to_owned();
    let here = ignores.filter(|(of, _)| **of == *path);
    here.filter_map(|(_, ignore)| by_comment(entry, ignore, today)).collect()
}

/// Accepts what the comment beside an image does; `today` as `2026-11-30`. Returns a remark on one that has expired.
fn by_comment(entry: &mut Entry, ignore: &Ignore, today: &str) -> Option<String> {
    if let Some(until) = ignore.until.as_ref().filter(|until| until.as_str() < today) {
        return Some(format!(
            "the comment at line {} has expired on {until}: {}",
            ignore.line, ignore.because
        ));
    }
    let causes: Vec<Cause> = entry
        .open()
        .filter(|(finding, decision)| ignore.causes.contains(&finding.cause) && may_be(finding, decision))
        .map(|(finding, _)| finding.cause)
        .collect();
    let by = format!("a comment: {}", ignore.because);
    entry.accepted.extend(causes.into_iter().map(|cause| (cause, by.clone())));
    None
}

/// Accepts that an image does not exist yet because the same pipeline builds it later.
pub(super) fn missing(entry: &mut Entry, patterns: &[Pattern]) {
    let Some(reference) = &entry.judged.reference else { return };
    let name = reference.name();
    let Some(pattern) = patterns.iter().find(|pattern| pattern.matches(&name)) else {
        return;
    };
    let causes: Vec<Cause> = entry
        .open()
        .filter(|(finding, decision)| finding.cause.has(Property::FixedByPush) && may_be(finding, decision))
        .map(|(finding, _)| finding.cause)
        .collect();
    let by = format!("--expect-missing {}", pattern.as_str());
    entry.accepted.extend(causes.into_iter().map(|cause| (cause, by.clone())));
}
