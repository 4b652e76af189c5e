//! Findings by image and cause, with the places that share them: each problem is reported once.

use super::{Entry, ImageStatus};
use crate::verdict::cause::Property;
use crate::verdict::message::image_of;
use crate::verdict::review_result::Remark;
use crate::verdict::{Cause, Decision, Finding};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An image with the same root cause in one or more places.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) standing: ImageStatus,
    /// As it is shown.
    pub(super) image: String,
    /// The worst finding, which explains the others.
    pub(super) root: (&'a Finding, &'a Decision),
    /// Where; the first stands for all.
    pub(super) entries: Vec<&'a Entry>,
}

impl<'a> Group<'a> {
    /// The other findings, which follow from the root or come on top of it.
    pub(super) fn others(&self) -> impl Iterator<Item = (&'a Finding, &'a Decision)> {
        let root = self.root.0;
        let first = self.entries.first().copied();
        first
            .into_iter()
            .flat_map(Entry::open)
            .filter(move |(finding, _)| *finding != root)
    }

    /// The places, each once.
    pub(super) fn places(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let places = self.entries.iter().filter_map(|entry| entry.place());
        places.filter(|place| seen.insert(place.clone())).collect()
    }
}

/// Denials first, then warnings, then what could not be checked; within these in the order of the input.
pub(super) fn groups(entries: &[Entry]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known: HashMap<(ImageStatus, String, Cause, &str), usize> = HashMap::new();
    for entry in entries {
        let standing = entry.standing();
        if matches!(standing, ImageStatus::Fine | ImageStatus::Accepted) {
            continue;
        }
        let Some(root) = entry.worst() else { continue };
        let image = image_of(&entry.judged);
        let key = (standing, image.clone(), root.0.cause, root.0.message.as_str());
        let at = *known.entry(key).or_insert_with(|| {
            groups.push(Group {
                standing,
                image,
                root,
                entries: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(at) {
            group.entries.push(entry);
        }
    }
    groups.sort_by_key(|group| group.standing);
    groups
}

/// Something that many images share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    /// The first of the findings.
    pub(super) finding: &'a Finding,
    /// The images.
    pub(super) images: BTreeSet<String>,
}

/// What could not be checked, by cause and host, or pull secret; the most frequent first.
pub(super) fn unchecked<'a>(groups: &[Group<'a>]) -> Vec<Shared<'a>> {
    let unchecked = groups.iter().filter(|group| group.standing == ImageStatus::Unchecked);
    share(unchecked.map(|group| {
        let finding = group.root.0;
        let key = match &finding.evidence.host {
            Some(host) if !finding.cause.has(Property::AboutPullSecret) => (finding.cause, host.as_str()),
            Some(_) | None => (finding.cause, finding.message.as_str()),
        };
        (key, finding, group.image.clone())
    }))
}

/// Names that are filled in later, by what fills them in; sorted.
pub(super) fn filled_in(entries: &[Entry]) -> BTreeMap<&str, BTreeSet<String>> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for entry in entries {
        if let Some(Remark::FilledIn { by, .. }) = &entry.judged.remark {
            found.entry(by).or_default().insert(image_of(&entry.judged));
        }
    }
    found
}

/// Remarks on images that pull.
pub(super) fn remarks(entries: &[Entry]) -> Vec<Shared<'_>> {
    let fine = entries.iter().filter(|entry| entry.standing() == ImageStatus::Fine);
    share(fine.flat_map(|entry| {
        let open = entry.open();
        open.map(move |(finding, _)| ((finding.cause, finding.message.as_str()), finding, image_of(&entry.judged)))
    }))
}

fn share<'a>(all: impl Iterator<Item = ((Cause, &'a str), &'a Finding, String)>) -> Vec<Shared<'a>> {
    let mut shared: Vec<Shared<'a>> = Vec::new();
    let mut known: HashMap<(Cause, &str), usize> = HashMap::new();
    for (key, finding, image) in all {
        let at = *known.entry(key).or_insert_with(|| {
            shared.push(Shared {
                finding,
                images: BTreeSet::new(),
            });
            shared.len() - 1
        });
        if let Some(shared) = shared.get_mut(at) {
            shared.images.insert(image);
        }
    }
    shared.sort_by_key(|shared| std::cmp::Reverse(shared.images.len()));
    shared
}
