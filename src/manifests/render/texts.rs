//! The texts of the files that are searched for the places of images.

use crate::files;
use crate::limits;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files that were read for the places of images.
#[derive(Default)]
pub(super) struct Texts(BTreeMap<PathBuf, String>);

impl Texts {
    pub(super) fn of(&mut self, file: &Path) -> &str {
        self.0.entry(file.to_owned()).or_insert_with(|| {
            let bytes = files::read(file, limits::MANIFEST_FILE).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        })
    }
}
