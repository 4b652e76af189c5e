//! Detects changes of files, by their content.
//!
//! Polls instead of watching: the kubelet swaps a symbolic link above the files of a mounted Secret, which a watch on the file
//! itself never sees.

use crate::files;
use crate::limits;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Asks for everything to be read again (SIGHUP); [`ReloadSignal`] receives it.
pub type ReloadTrigger = tokio::sync::watch::Sender<()>;
/// See [`ReloadTrigger`].
pub type ReloadSignal = tokio::sync::watch::Receiver<()>;

/// Waits for the next poll; `true` if somebody asked for it.
pub(super) async fn next_poll(asked: &mut ReloadSignal) -> bool {
    let ask = async {
        if asked.changed().await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = tokio::time::sleep(limits::FILE_POLL) => false,
        () = ask => true,
    }
}

/// What was seen: a digest of the contents (which may be a private key), or why they could not be read.
type Seen = Result<[u8; 32], String>;

/// Files that belong together, and their last known content.
#[derive(Debug)]
pub struct FileSet {
    paths: Vec<PathBuf>,
    seen: Option<Seen>,
}

impl FileSet {
    /// Watches `paths`. Their current content counts as a change until [`FileSet::poll`] or [`FileSet::read`] has seen it.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, seen: None }
    }

    /// Forgets what was seen: the next poll finds a change.
    pub fn forget(&mut self) {
        self.seen = None;
    }

    /// The files' current contents, in order, which then count as seen. The error is a sentence that names the file.
    pub async fn read(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let contents = contents(&self.paths).await;
        self.seen = Some(digest(&contents));
        contents
    }

    /// The contents, if they have changed and settled; otherwise `None`. A file that cannot be read is reported once.
    pub async fn poll(&mut self) -> Option<Result<Vec<Vec<u8>>, String>> {
        let first = digest(&contents(&self.paths).await);
        if self.seen.as_ref() == Some(&first) {
            return None;
        }
        tokio::time::sleep(limits::FILE_SETTLE).await;
        let settled = contents(&self.paths).await;
        let second = digest(&settled);
        if first != second {
            // Still being written: wait for the next poll.
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
