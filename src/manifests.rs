//! Finds and reads manifest files, keeps the parts of each object that a judgement needs, and writes edited files. Judging happens
//! elsewhere.
//!
//! Files are read in parallel, and a document is dropped as soon as its images are known, so memory stays small however large the files
//! are.

mod classify;
mod comments;
mod find;
mod names;
mod notes;
mod object;
mod read;
mod render;
mod values;
mod write;

pub use comments::Ignore;
pub use find::{Filter, Walk};
pub use notes::{Note, NoteKind, Notes};
pub use render::Rendering;
pub use write::replace;

use crate::files;
use crate::image::escape;
use crate::limits;
use crate::report::{Problem, SourceDocument};
use crate::workload::{Kinds, Workload};
use crate::yaml::{self, Document};
use read::FileRead;
use render::WrittenAt;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// An object with facts for judging others: a Secret, a Node, a kustomization.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read from.
    pub source: SourceDocument,
    /// Whether the user named its file, or it came from standard input.
    pub named: bool,
    /// The object. Items of a `List` are separate objects.
    pub object: Value,
}

/// A text as read.
#[derive(Debug, Clone)]
pub struct Text {
    /// The file as given; `-` for standard input.
    pub file: String,
    /// The file's path; `None` for standard input.
    pub path: Option<PathBuf>,
    /// The whole text.
    pub text: String,
}

/// An object whose images are judged.
#[derive(Debug)]
pub struct ManifestObject {
    /// Where it was read from.
    pub source: SourceDocument,
    /// Its file: an index into [`Manifests::texts`], where those are kept.
    pub text: usize,
    /// Its position in the document: empty, or `items[3].` in a `List`.
    prefix: String,
    /// The line of each image, by its path.
    lines: Vec<(Box<str>, usize)>,
    /// Comments that accept findings, by the path of the image.
    pub ignores: Vec<(Box<str>, Ignore)>,
    /// What the object as a whole says about the names of its images.
    hints: names::Hints,
    /// Kind, namespace and name of the object that controls it.
    pub owner: Option<(String, String, String)>,
    /// Whether name and tag of its images are in separate fields: only the author knows whether such fields make an image.
    pub apart: bool,
    /// The template that Helm says it was rendered from.
    template: Option<Box<str>>,
    /// Where its images come from, by path, if it was rendered.
    written_at: Vec<(Box<str>, WrittenAt)>,
    /// The files and folders that it was rendered from; absolute.
    pub reads: Vec<PathBuf>,
    /// Its images and pod specs.
    pub workload: Workload,
}

impl ManifestObject {
    /// The line of an image, from 1.
    pub fn line_of(&self, path: &str) -> usize {
        let found = self.lines.iter().find(|(of, _)| **of == *path);
        found.map_or(1, |(_, line)| *line)
    }

    /// Where an image is written: the file as given, the line, and the chart value or template that it was rendered from, if any.
    pub fn place_of(&self, path: &str) -> (&str, usize, Option<&str>) {
        match self.written_at.iter().find(|(of, _)| **of == *path) {
            Some((_, at)) => (&at.file, at.line, at.value.as_deref()),
            None => (&self.source.file, self.line_of(path), self.template.as_deref()),
        }
    }

    /// The path of a field in the document.
    pub fn path_of(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

/// An object for which a controller renders a chart.
#[derive(Debug)]
struct Release {
    source: SourceDocument,
    /// Its position in the document.
    prefix: String,
    /// The lines of the document.
    document: Document,
    object: Value,
}

/// What is kept besides the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Objects,
    /// The texts of the files, to edit them, and the images whose name and tag are in separate fields.
    Texts,
}

/// How to read.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions<'a> {
    /// Whether folders are searched recursively.
    pub walk: Walk,
    /// What is left out of a search.
    pub sift: &'a Filter,
    /// For objects that name no namespace.
    pub namespace: &'a str,
    /// What standard input is called.
    pub stdin_name: &'a str,
    /// The kinds whose images are judged.
    pub kinds: &'a Kinds,
    /// What is kept.
    pub keep: Keep,
    /// Whether releases (objects for which charts are rendered) are kept for [`Manifests::render`].
    pub render: bool,
}

/// Reading this many files takes a moment.
const MANY: usize = 200;

/// Called with each object, and its file, as soon as that is read.
pub type Tell<'a> = &'a (dyn Fn(Option<&Path>, Workload) + Sync);

/// Everything that was read, and what could not be: a bad document does not affect the others.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects whose images are judged, in the order of the files.
    pub subjects: Vec<ManifestObject>,
    /// The objects with facts for judging others, in the order of the files.
    pub objects: Vec<Manifest>,
    /// The texts, in order; empty unless asked for.
    pub texts: Vec<Text>,
    /// What was skipped, and other remarks on files.
    pub notes: Notes,
    /// What should have been read and could not be.
    pub errors: Vec<Problem>,
    /// The folders of charts.
    charts: BTreeSet<PathBuf>,
    /// Objects for which charts are rendered.
    releases: Vec<Release>,
    /// What the set says about names.
    names: names::Names,
}

impl Manifests {
    /// Reads files, folders and `-` (standard input).
    pub fn read(places: &[String], reading: &ReadOptions<'_>) -> Self {
        Self::read_and_tell(places, reading, None)
    }

    /// The same. If the input is large, `tell` gets each object as soon as its file is read, with its image names as known by then.
    pub fn read_and_tell(places: &[String], reading: &ReadOptions<'_>, tell: Option<Tell<'_>>) -> Self {
        let mut manifests = Self::default();
        let found = find::files(places, reading, &mut manifests);
        let files = || found.iter().filter_map(|file| file.path.as_deref());
        let early = tell
            .filter(|_| found.len() >= MANY)
            .map(|tell| (tell, names::Names::of(places, files(), &[], &mut Notes::default())));
        let wanted = read::Wanted::of(reading);
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, FileRead)>> = Mutex::default();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(found.len());
        let work = || {
            while let Some(file) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut read = read::file(file, reading, &wanted);
                read.subjects.shrink_to_fit();
                if let Some((tell, names)) = &early {
                    let place = file.path.as_ref().and_then(|path| path.canonicalize().ok());
                    for subject in read.subjects.iter().filter(|subject| subject.owner.is_none()) {
                        let mut workload = subject.workload.clone();
                        names.settle(&subject.hints, place.as_deref(), &mut workload);
                        tell(place.as_deref(), workload);
                    }
                }
                done.lock().unwrap_or_else(PoisonError::into_inner).push((file.at, read));
            }
        };
        std::thread::scope(|scope| {
            let started = (0..threads).filter(|_| yaml::reader(scope, work).is_ok()).count();
            if started == 0 {
                work();
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        let subjects = done.iter().map(|(_, read)| read.subjects.len()).sum();
        manifests.subjects.reserve_exact(subjects);
        for (_, read) in done {
            manifests.take(read);
        }
        let names = names::Names::of(places, files(), &manifests.objects, &mut manifests.notes);
        // `ConfigMaps` that were only kept for their variables have done their job.
        manifests.objects.retain(|manifest| read::is_kept(&manifest.object, reading));
        let mut of = (String::new(), None);
        for subject in &mut manifests.subjects {
            if of.0 != subject.source.file {
                of = (
                    subject.source.file.clone(),
                    Path::new(&subject.source.file).canonicalize().ok(),
                );
            }
            let hints = std::mem::take(&mut subject.hints);
            names.settle(&hints, of.1.as_deref(), &mut subject.workload);
        }
        manifests.names = names;
        manifests
    }

    /// Adds a note for each `RuntimeClass` that an object names and that is not known.
    pub fn note_runtime_classes(&mut self, known: impl Fn(&str) -> bool) {
        for subject in &self.subjects {
            for (class, path) in read::runtime_classes(&subject.workload).filter(|(class, _)| !known(class)) {
                let (file, line, _) = subject.place_of(&path);
                let object = &subject.workload.object;
                let what = format!("{class}, of {} {}", object.kind, object.name);
                let note = Note::about(NoteKind::NoRuntimeClass, file).because(&what);
                // The line in a rendered text is nobody's.
                self.notes
                    .push(if subject.written_at.is_empty() { note.at(line) } else { note });
            }
        }
    }

    fn take(&mut self, mut read: FileRead) {
        let at = self.texts.len();
        for subject in &mut read.subjects {
            subject.text = at;
        }
        self.subjects.append(&mut read.subjects);
        self.objects.append(&mut read.objects);
        self.texts.extend(read.text);
        self.releases.append(&mut read.releases);
        self.notes.extend(read.notes);
        self.errors.append(&mut read.errors);
    }
}

/// Standard input, or why it cannot be read.
fn standard_input() -> Result<String, String> {
    match files::read_stream(std::io::stdin(), limits::MANIFEST_FILE).map(|bytes| decode(bytes, false)) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err("standard input: not UTF-8 text".to_owned()),
        Err(error) => Err(format!("standard input: {error}")),
    }
}

/// The text in these bytes: UTF-8, or UTF-16 with a byte order mark as `kubectl` accepts it (`PowerShell` redirections write it), if `utf16`.
fn decode(bytes: Vec<u8>, utf16: bool) -> Option<String> {
    let unit: Option<fn([u8; 2]) -> u16> = match bytes.get(..2) {
        Some([0xff, 0xfe]) if utf16 => Some(u16::from_le_bytes),
        Some([0xfe, 0xff]) if utf16 => Some(u16::from_be_bytes),
        Some(_) | None => None,
    };
    let Some(unit) = unit else {
        return String::from_utf8(bytes).ok();
    };
    let pairs = bytes.chunks_exact(2).skip(1).filter_map(|pair| pair.try_into().ok());
    let units: Vec<u16> = pairs.map(unit).collect();
    String::from_utf16(&units).ok()
}

/// A path as shown to users.
fn shown(path: &Path) -> String {
    escape(&path.display().to_string())
}

#[cfg(test)]
mod tests;
