//! A folder of manifests, read once or followed.

use super::{Completeness, Directory};
use crate::files;
use crate::limits;
use crate::yaml;
use arc_swap::ArcSwap;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Folders below folders.
const MAX_DEPTH: usize = 16;
/// Problems told in one message.
const MAX_TOLD: usize = 5;

/// One thing that is wrong in a folder of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file (or folder).
    pub file: PathBuf,
    /// The document in it, from 0, and the line, from 1.
    pub place: Option<(usize, usize)>,
    /// A sentence without a full stop.
    pub message: String,
}

/// `facts/a.yaml, document 0, line 3: the message`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((document, line)) = self.place {
            write!(f, ", document {document}, line {line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A folder of manifests that cannot be used: everything that is wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// At least one, in the order of the files.
    pub problems: Vec<Problem>,
}

/// The first few problems, one a line.
impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().take(MAX_TOLD).map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))?;
        match self.problems.len().saturating_sub(MAX_TOLD) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for LoadError {}

/// A file and its text.
struct File {
    path: PathBuf,
    text: String,
}

impl Directory {
    /// Reads `*.yaml`, `*.yml` and `*.json` below a folder (or one file), hidden ones left out. The set is complete: it stands in for
    /// a cluster.
    ///
    /// # Errors
    /// Files that cannot be read, documents that do not parse, Secrets that the API server would refuse: all of them.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let mut problems = Vec::new();
        let files = read(path, &mut problems);
        Self::parse(&files, problems)
    }

    fn parse(files: &[File], mut problems: Vec<Problem>) -> Result<Self, LoadError> {
        let mut objects: Vec<Value> = Vec::new();
        let mut places: Vec<(&Path, usize, usize)> = Vec::new();
        for file in files {
            let parsed = yaml::documents(&file.text);
            problems.extend(parsed.errors.into_iter().map(|error| Problem {
                file: file.path.clone(),
                place: Some((error.document, error.line)),
                message: format!("column {}: {}", error.column, error.message),
            }));
            for document in parsed.documents {
                places.push((&file.path, document.index, document.line));
                objects.push(document.value);
            }
        }
        let directory = Self::from_objects(&objects, Completeness::Complete);
        for rejected in &directory.rejected {
            if let Some(&(file, document, line)) = places.get(rejected.object) {
                problems.push(Problem {
                    file: file.to_owned(),
                    place: Some((document, line)),
                    message: rejected.why.clone(),
                });
            }
        }
        problems.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        if problems.is_empty() {
            Ok(directory)
        } else {
            Err(LoadError { problems })
        }
    }
}

/// Facts from manifests, as they were read last. A folder of them is followed.
#[derive(Debug)]
pub struct Followed {
    held: ArcSwap<Directory>,
    folder: Option<Folder>,
}

/// A folder that is followed.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    state: Mutex<Looked>,
}

/// The latest look at a folder.
#[derive(Debug)]
struct Looked {
    /// When it began.
    at: Instant,
    /// The fingerprint of what was there.
    seen: [u8; 32],
}

/// Manifests that come from no folder: nothing fresher can be had.
impl From<Directory> for Followed {
    fn from(directory: Directory) -> Self {
        Self {
            held: ArcSwap::from_pointee(directory),
            folder: None,
        }
    }
}

impl Followed {
    /// Reads a folder and follows it: a task looks every two seconds whether its content is another, until the returned value is
    /// dropped. What cannot be read then is logged, and the last good content stays. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`Directory::load`], for the first reading.
    pub fn watch(path: &Path) -> Result<Arc<Self>, LoadError> {
        Self::follow(path, limits::FILE_POLL)
    }

    pub(super) fn follow(path: &Path, every: Duration) -> Result<Arc<Self>, LoadError> {
        let mut problems = Vec::new();
        let at = Instant::now();
        let files = read(path, &mut problems);
        let seen = fingerprint(&files, &problems);
        let followed = Arc::new(Self {
            held: ArcSwap::from_pointee(Directory::parse(&files, problems)?),
            folder: Some(Folder {
                path: path.to_owned(),
                state: Mutex::new(Looked { at, seen }),
            }),
        });
        tokio::spawn(poll(Arc::downgrade(&followed), every));
        Ok(followed)
    }

    /// What was read last.
    pub fn load(&self) -> Arc<Directory> {
        self.held.load_full()
    }

    /// Looks now whether the folder's content is another (read your writes: contract 6). One look serves all who asked before it began.
    pub async fn look_again(&self) {
        let Some(folder) = &self.folder else { return };
        let asked = Instant::now();
        let mut state = folder.state.lock().await;
        if state.at > asked {
            return;
        }
        let (path, seen, at) = (folder.path.clone(), state.seen, Instant::now());
        let read = tokio::task::spawn_blocking(move || {
            let mut problems = Vec::new();
            let files = read(&path, &mut problems);
            let now = fingerprint(&files, &problems);
            (now, (now != seen).then(|| Directory::parse(&files, problems)))
        });
        let Ok((seen, changed)) = read.await else { return };
        *state = Looked { at, seen };
        match changed {
            None => {}
            Some(Ok(directory)) => {
                self.held.store(Arc::new(directory));
                tracing::info!(path = %folder.path.display(), "facts read again");
            }
            Some(Err(error)) => {
                let path = folder.path.display();
                tracing::warn!(%path, %error, "facts have changed and cannot be read; the last good ones stay");
            }
        }
    }
}

async fn poll(followed: Weak<Followed>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(followed) = followed.upgrade() else { return };
        followed.look_again().await;
    }
}

/// A digest of everything that was read.
fn fingerprint(files: &[File], problems: &[Problem]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for file in files {
        part(file.path.as_os_str().as_encoded_bytes());
        part(file.text.as_bytes());
    }
    for problem in problems {
        part(problem.to_string().as_bytes());
    }
    hash.finalize().into()
}

/// Reads the manifests below `root`, in the order of their names.
fn read(root: &Path, problems: &mut Vec<Problem>) -> Vec<File> {
    let mut files = Vec::new();
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let problem = |message: String| Problem {
            file: path.clone(),
            place: None,
            message,
        };
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => {
                problems.push(problem(format!("cannot be read: {error}")));
                continue;
            }
        };
        if metadata.is_dir() {
            match children(&path) {
                Ok(children) if depth < MAX_DEPTH => open.extend(children.into_iter().rev().map(|child| (child, depth + 1))),
                Ok(_) => problems.push(problem(format!("lies more than {MAX_DEPTH} folders deep"))),
                Err(error) => problems.push(problem(format!("cannot be read: {error}"))),
            }
        } else if depth == 0 || is_manifest(&path) {
            // The place itself may be a shell's `<(command)`.
            let read = if depth == 0 { files::read_or_pipe } else { files::read };
            match read(&path, limits::MANIFEST_FILE).map(String::from_utf8) {
                Ok(Ok(text)) => files.push(File { path, text }),
                Ok(Err(_)) => problems.push(problem("is not UTF-8 text".to_owned())),
                Err(error) => problems.push(problem(format!("cannot be read: {error}"))),
            }
        }
    }
    files
}

/// The entries of a folder by name. Hidden ones are left out: a mounted `ConfigMap` shows every file a second time below `..data`.
fn children(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            children.push(entry.path());
        }
    }
    children.sort();
    Ok(children)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}
