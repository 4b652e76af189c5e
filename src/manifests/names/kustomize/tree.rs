//! One kustomization with all that it includes, as a rendering needs it.

use super::edits::Step;
use super::{Kustomization, MOST_STEPS, NAMES, document};
use crate::manifests::notes::Notes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A kustomization with all that it includes.
#[derive(Debug)]
pub(in crate::manifests) struct Tree(Vec<(PathBuf, Kustomization)>);

impl Tree {
    /// Reads the one in a folder and those that it includes.
    pub(in crate::manifests) fn read(folder: &Path) -> Self {
        let (mut all, mut open) = (Vec::new(), vec![folder.to_owned()]);
        let mut seen = BTreeSet::new();
        while let Some(folder) = open.pop() {
            let file = NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file());
            let Some(file) = file.filter(|_| seen.len() < MOST_STEPS && seen.insert(folder.clone())) else {
                continue;
            };
            let Some(document) = document(&file) else { continue };
            // kustomize itself reports missing files.
            let one = Kustomization::read(&folder, &file, &document, &mut Notes::default());
            open.extend(one.resources.iter().chain(&one.components).cloned());
            all.push((file, one));
        }
        Self(all)
    }

    /// What it needs that is not in the tree; a clause.
    pub(in crate::manifests) fn wants(&self) -> Option<&str> {
        self.0.iter().find_map(|(_, one)| one.wants.as_deref())
    }

    /// The entry of `images` that made this image: the kustomization, its line, and the name of the entry.
    pub(in crate::manifests) fn renamed(&self, image: &str) -> Option<(&Path, usize, &str)> {
        self.0.iter().find_map(|(file, one)| {
            let entry = one.steps.iter().find_map(|step| match step {
                Step::Image(entry) if entry.makes(image) => Some(entry),
                _ => None,
            })?;
            Some((file.as_path(), entry.line, entry.name.as_str()))
        })
    }

    /// All files of it.
    pub(in crate::manifests) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flat_map(|(file, one)| {
            let taken = one.resources.iter().chain(&one.patch_files);
            std::iter::once(file.as_path()).chain(taken.map(PathBuf::as_path))
        })
    }
}
