//! A folder of manifests, read once or watched.

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

/// How deep folders are searched.
const MAX_DEPTH: usize = 16;
/// How many problems one message lists.
const MAX_SHOWN: usize = 5;

/// One problem in a folder of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file (or folder).
    pub file: PathBuf,
    /// The document in it, from 0, and the line, from 1.
    pub place: Option<(usize, usize)>,
    /// A sentence without its full stop.
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

/// A folder of manifests that cannot be used, with all its problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// At least one, in the order of the files.
    pub problems: Vec<Problem>,
}

/// The first few problems, one a line.
impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))?;
        match self.problems.len().saturating_sub(MAX_SHOWN) {
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
    /// Reads `*.yaml`, `*.yml` and `*.json` below a folder (or one file), except hidden ones. The set is complete: it takes the
    /// place of a cluster.
    ///
    /// # Errors
    /// Every file that cannot be read, every document that cannot be parsed, every Secret that the API server would refuse.
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

/// Facts from manifests, as last read. A folder of them is watched.
#[derive(Debug)]
pub struct WatchedDirectory {
    held: ArcSwap<Directory>,
    folder: Option<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    state: Mutex<Looked>,
}

/// The latest read of a folder.
#[derive(Debug)]
struct Looked {
    /// When it started.
    at: Instant,
    /// The fingerprint of the content.
    seen: [u8; 32],
}

/// Manifests without a folder: they never change.
impl From<Directory> for WatchedDirectory {
    fn from(directory: Directory) -> Self {
        Self {
            held: ArcSwap::from_pointee(directory),
            folder: None,
        }
    }
}

impl WatchedDirectory {
    /// Reads a folder and watches it: a task checks every two seconds for changes, until the returned value is dropped. Content
    /// that cannot be read is logged, and the last good content stays. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`Directory::load`], for the first read.
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

    /// The content as last read.
    pub fn load(&self) -> Arc<Directory> {
        self.held.load_full()
    }

    /// Checks the folder for changes now (read your writes: contract 6). One check serves everybody who asked before it began.
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
                tracing::info!(path = %folder.path.display(), "facts reloaded");
            }
            Some(Err(error)) => {
                let path = folder.path.display();
                tracing::warn!(%path, %error, "the changed facts cannot be read; the last good ones stay in force");
            }
        }
    }
}

async fn poll(followed: Weak<WatchedDirectory>, every: Duration) {
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

/// Reads the manifests below `root`, sorted by name.
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
                Ok(_) => problems.push(problem(format!("is more than {MAX_DEPTH} folders deep"))),
                Err(error) => problems.push(problem(format!("cannot be read: {error}"))),
            }
        } else if depth == 0 || is_manifest(&path) {
            // The root itself may be a shell's `<(command)`.
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

/// The entries of a folder, sorted by name. Hidden ones are skipped: in a mounted `ConfigMap`, every file appears again below
/// `..data`.
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
