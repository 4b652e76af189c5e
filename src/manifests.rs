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
pub use find::{Sift, Walk};
pub use notes::{Note, Notes, Passed};
pub use render::Rendering;
pub use write::replace;

use crate::files;
use crate::image::escape;
use crate::limits;
use crate::report::{Problem, Source};
use crate::workload::{Kinds, Workload};
use crate::yaml::Document;
use read::FileRead;
use render::Origin;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// An object that others are judged by: a Secret, a Node, a kustomization.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read from.
    pub source: Source,
    /// Whether a person named its file, or it came from standard input.
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
pub struct Subject {
    /// Where it was read from.
    pub source: Source,
    /// Its file: an index into [`Manifests::texts`], where those are kept.
    pub text: usize,
    /// Its position in the document: empty, or `items[3].` in a `List`.
    prefix: String,
    /// The line of each image, by its path.
    lines: Vec<(Box<str>, usize)>,
    /// Comments that accept findings, by the path of the image.
    pub ignores: Vec<(Box<str>, Ignore)>,
    /// What only the whole object says of the names of its images.
    hints: names::Hints,
    /// Kind, namespace and name of the object that controls it.
    pub owner: Option<(String, String, String)>,
    /// Whether its images are those whose name and tag stand in separate fields, of which only their author knows whether they are images.
    pub apart: bool,
    /// The template that Helm says it was rendered from.
    template: Option<Box<str>>,
    /// Where its images come from, by path, if it was rendered.
    origins: Vec<(Box<str>, Origin)>,
    /// The files and folders that it was rendered from; absolute.
    pub reads: Vec<PathBuf>,
    /// Its images and pod specs.
    pub workload: Workload,
}

impl Subject {
    /// The line of an image, from 1.
    pub fn line_of(&self, path: &str) -> usize {
        let found = self.lines.iter().find(|(of, _)| **of == *path);
        found.map_or(1, |(_, line)| *line)
    }

    /// Where an image is written: the file as given, the line, and the value of a chart or the template there that it was made of.
    pub fn place_of(&self, path: &str) -> (&str, usize, Option<&str>) {
        match self.origins.iter().find(|(of, _)| **of == *path) {
            Some((_, origin)) => (&origin.file, origin.line, origin.value.as_deref()),
            None => (&self.source.file, self.line_of(path), self.template.as_deref()),
        }
    }

    /// The path of a field in the document.
    pub fn path_of(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

/// An object of which a controller renders a chart.
#[derive(Debug)]
struct Release {
    source: Source,
    /// Its position in the document.
    prefix: String,
    /// The lines of the document.
    document: Document,
    object: Value,
}

/// What is kept beside the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Objects,
    /// The texts of the files, to edit them, and the images whose name and tag are in separate fields.
    Texts,
}

/// How to read.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Whether folders are searched recursively.
    pub walk: Walk,
    /// What is left out of a search.
    pub sift: &'a Sift,
    /// For objects that name no namespace.
    pub namespace: &'a str,
    /// What standard input is called.
    pub stdin_name: &'a str,
    /// The kinds whose images are judged.
    pub kinds: &'a Kinds,
    /// What is kept.
    pub keep: Keep,
    /// Whether what renders charts is kept for [`Manifests::render`].
    pub render: bool,
}

/// Everything that was read, and what could not be: a bad document does not affect the others.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects whose images are judged, in the order of the files.
    pub subjects: Vec<Subject>,
    /// The objects that others are judged by, in the order of the files.
    pub objects: Vec<Manifest>,
    /// The texts, in order; empty unless asked for.
    pub texts: Vec<Text>,
    /// What was passed over, and other remarks on files.
    pub notes: Notes,
    /// What should have been read and could not be.
    pub errors: Vec<Problem>,
    /// The folders of charts.
    charts: BTreeSet<PathBuf>,
    /// What renders charts.
    releases: Vec<Release>,
    /// What the set says of names.
    names: names::Names,
}

impl Manifests {
    /// Reads files, folders and `-` (standard input).
    pub fn read(places: &[String], reading: &Reading<'_>) -> Self {
        let mut manifests = Self::default();
        let found = find::files(places, reading, &mut manifests);
        let wanted = read::Wanted::of(reading);
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, FileRead)>> = Mutex::default();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(found.len());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(file) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let read = read::file(file, reading, &wanted);
                        let at = file.at;
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((at, read));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        for (_, read) in done {
            manifests.take(read);
        }
        let files = found.iter().filter_map(|file| file.path.as_deref());
        let names = names::Names::of(places, files, &manifests.objects, &mut manifests.notes);
        manifests.subjects.iter_mut().for_each(|subject| names.settle(subject));
        manifests.names = names;
        manifests
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
    match files::read_stream(std::io::stdin(), limits::MANIFEST_FILE).map(String::from_utf8) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(_)) => Err("standard input: not UTF-8 text".to_owned()),
        Err(error) => Err(format!("standard input: {error}")),
    }
}

/// A path as a person may read it.
fn shown(path: &Path) -> String {
    escape(&path.display().to_string())
}

#[cfg(test)]
mod tests;
