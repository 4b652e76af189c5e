//! Whether files changed, by their content.
//!
//! Polled, not watched: the kubelet swaps a symbolic link above the files of a mounted Secret, which a watch on the file
//! itself never sees.

use crate::files;
use crate::limits;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// What was seen: a digest of the contents (the contents themselves may be a private key), or why they could not be read.
type Seen = Result<[u8; 32], String>;

/// Files that belong together, and what they held when they were last looked at.
#[derive(Debug)]
pub struct FileSet {
    paths: Vec<PathBuf>,
    seen: Option<Seen>,
}

impl FileSet {
    /// Watches `paths`. Their present content counts as a change until [`FileSet::poll`] or [`FileSet::read`] has seen it.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, seen: None }
    }

    /// The files' contents now, in their order; they count as seen. The error is a sentence that names the file.
    pub async fn read(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let contents = contents(&self.paths).await;
        self.seen = Some(digest(&contents));
        contents
    }

    /// The contents, if they differ from what was seen before and have settled; else `None`. A file that cannot be read is a change
    /// once.
    pub async fn poll(&mut self) -> Option<Result<Vec<Vec<u8>>, String>> {
        let first = digest(&contents(&self.paths).await);
        if self.seen.as_ref() == Some(&first) {
            return None;
        }
        tokio::time::sleep(limits::FILE_SETTLE).await;
        let settled = contents(&self.paths).await;
        let second = digest(&settled);
        if first != second {
            // Still being written; the next poll looks again.
            return None;
        }
        self.seen = Some(second);
        Some(settled)
    }
}

async fn contents(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        let content = files::read_async(path, limits::SETTINGS_FILE).await;
        all.push(content.map_err(|why| format!("{}: {why}", path.display()))?);
    }
    Ok(all)
}

fn digest(contents: &Result<Vec<Vec<u8>>, String>) -> Seen {
    match contents {
        Ok(files) => {
            let mut hash = Sha256::new();
            for file in files {
                // Length first, so that bytes that move from one file to the next are a change.
                hash.update((file.len() as u64).to_be_bytes());
                hash.update(file);
            }
            Ok(hash.finalize().into())
        }
        Err(why) => Err(why.clone()),
    }
}
