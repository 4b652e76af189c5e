//! Policy files (`--policies DIR`): read, checked as a whole, and reloaded.
//!
//! A place is a single file, or a folder whose `.yaml`, `.yml` and `.json` files are read. Names that begin with a dot are skipped:
//! a mounted ConfigMap keeps its content in a folder `..2026_…`, to which `..data` and the visible names are symbolic links. Only
//! [`read`] touches the disk; [`Files::compile`] finds all problems at once.

mod fault;
mod reload;

pub use fault::{Fault, FaultKind, Faults};
pub use reload::watch_policy_files;

use crate::files::{self, ReadError};
use crate::limits;
use crate::policy::{self, Part, Policy, cases};
use crate::workload::Kinds;
use crate::yaml::{self, Document};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file, or a place that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    /// As shown to people.
    name: String,
    /// Its text, or the reason it cannot be used at all.
    text: Result<Arc<str>, Fault>,
}

/// Policy files at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    files: Vec<File>,
    empty: Vec<PathBuf>,
}

/// The content of the files.
#[derive(Debug, Default)]
pub struct PolicySet {
    /// The valid policies, in the order of the files.
    pub policies: Vec<Arc<Policy>>,
    /// The tests in the same files.
    pub tests: Vec<TestDocument>,
    /// All problems of files and policies (tests are not checked).
    pub faults: Faults,
    /// Things that are valid but may be mistakes.
    pub remarks: Faults,
    /// How many files there were.
    pub files: usize,
}

/// A document with policy tests.
#[derive(Debug, Clone)]
pub struct TestDocument {
    /// The file, as shown to people.
    pub file: String,
    /// The document.
    pub document: Document,
    text: Arc<str>,
}

impl TestDocument {
    /// A problem in it, with its position.
    pub fn fault(&self, problem: &policy::Problem) -> Fault {
        at(&self.file, &self.text, &self.document, problem)
    }
}

/// Reads files and folders.
pub fn read(places: &[PathBuf]) -> Files {
    let mut files = Files::default();
    let mut total = 0;
    for place in places {
        match std::fs::metadata(place) {
            Ok(about) if about.is_dir() => match folder(place) {
                Ok(found) => {
                    if found.is_empty() {
                        files.empty.push(place.clone());
                    }
                    for path in found {
                        files.add(&path, &mut total);
                    }
                }
                Err(why) => files.refuse(place, Fault::unreadable(place, why)),
            },
            Ok(_) => files.add(place, &mut total),
            Err(error) => files.refuse(place, Fault::unreadable(place, error.to_string())),
        }
    }
    files
}

/// The files of a folder that may hold policies, sorted by name.
fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !name.starts_with('.') && matches!(ending, "yaml" | "yml" | "json") && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// If `place` is a folder without files of its own, its subfolders that have some: each is a separate set.
pub fn folders(place: &Path) -> Vec<PathBuf> {
    /// How deep folders are searched.
    const DEEPEST: usize = 8;
    if !place.is_dir() || folder(place).is_ok_and(|files| !files.is_empty()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut open = vec![(place.to_owned(), 0)];
    while let Some((at, depth)) = open.pop() {
        let inside = std::fs::read_dir(&at)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        for path in inside {
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if hidden || path.is_symlink() || !path.is_dir() {
                continue;
            }
            if folder(&path).is_ok_and(|files| !files.is_empty()) {
                found.push(path);
            } else if depth < DEEPEST {
                open.push((path, depth + 1));
            }
        }
    }
    found.sort();
    found
}

impl Files {
    /// Folders without policy files.
    pub fn empty(&self) -> &[PathBuf] {
        &self.empty
    }

    /// Files of zero bytes.
    fn blank(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .filter(|file| file.text.as_deref() == Ok(""))
            .map(|file| file.name.as_str())
    }

    /// Files with some content.
    fn written(&self) -> BTreeSet<String> {
        let written = self.files.iter().filter(|file| file.text.as_deref() != Ok(""));
        written.map(|file| file.name.clone()).collect()
    }

    fn refuse(&mut self, path: &Path, fault: Fault) {
        self.files.push(File {
            name: path.display().to_string(),
            text: Err(fault),
        });
    }

    fn add(&mut self, path: &Path, total: &mut usize) {
        if self.files.len() == limits::POLICY_FILES {
            self.refuse(
                path,
                Fault::of_file(
                    path,
                    format!("more than {} policy files: the rest is not read", limits::POLICY_FILES),
                ),
            );
        }
        // Reported once.
        if self.files.len() > limits::POLICY_FILES {
            return;
        }
        let text = content(path).and_then(|text| {
            *total = total.saturating_add(text.len());
            if *total > limits::POLICY_BYTES {
                Err(Fault::of_file(
                    path,
                    format!("with this file the policies exceed {} bytes, the limit", limits::POLICY_BYTES),
                ))
            } else {
                Ok(text)
            }
        });
        self.files.push(File {
            name: path.display().to_string(),
            text,
        });
    }

    /// Parses and compiles the files. A broken file does not affect the others. `kinds` are those that policies may name.
    pub fn compile(&self, kinds: &Kinds) -> PolicySet {
        let mut set = PolicySet {
            files: self.files.len(),
            ..PolicySet::default()
        };
        let mut names: BTreeMap<Arc<str>, String> = BTreeMap::new();
        for file in &self.files {
            match &file.text {
                Ok(text) => set.add(&file.name, text, &mut names, kinds),
                Err(fault) => set.faults.push(fault.clone()),
            }
        }
        set
    }
}

fn content(path: &Path) -> Result<Arc<str>, Fault> {
    let bytes = files::read(path, limits::SETTINGS_FILE).map_err(|error| match error {
        ReadError::TooLong { size, limit } => {
            Fault::of_file(path, format!("it has {size} bytes; the limit for a policy file is {limit}"))
        }
        error => Fault::unreadable(path, error.to_string()),
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = good.split(|byte| *byte == b'\n').count();
            Err(Fault {
                line,
                column: 1,
                ..Fault::of_file(path, "this line is not UTF-8 text".to_owned())
            })
        }
    }
}

impl PolicySet {
    /// The policies, if there are no problems at all.
    pub fn sound(self) -> Result<Vec<Arc<Policy>>, Faults> {
        if self.faults.is_empty() {
            Ok(self.policies)
        } else {
            Err(self.faults)
        }
    }

    fn add(&mut self, file: &str, text: &Arc<str>, names: &mut BTreeMap<Arc<str>, String>, kinds: &Kinds) {
        let parsed = yaml::documents(text);
        let broken = parsed.errors.into_iter().map(|error| Fault {
            file: file.to_owned(),
            line: error.line,
            column: error.column,
            path: String::new(),
            text: error.message,
            source: fault::line_of(text, error.line),
            kind: FaultKind::Problem,
        });
        let mut faults: Vec<Fault> = broken.collect();
        for document in parsed.documents {
            if cases::is_one(&document.value) {
                self.tests.push(TestDocument {
                    file: file.to_owned(),
                    document,
                    text: Arc::clone(text),
                });
                continue;
            }
            let here = format!("{file}:{}", document.line);
            let compiled = Policy::compile_with(&document.value, policy::PolicyLocation::File(here.clone()), kinds);
            let problems = match compiled {
                Ok(policy) => match names.get(&policy.name) {
                    Some(first) => vec![policy::Problem {
                        path: "metadata.name".to_owned(),
                        text: format!("another policy, at {first}, already has the name {:?}", policy.name),
                        part: Part::Value,
                    }],
                    None if self.policies.len() == limits::POLICIES => vec![policy::Problem {
                        path: String::new(),
                        text: format!("there are more than {} policies; this one is ignored", limits::POLICIES),
                        part: Part::Value,
                    }],
                    None => {
                        let remarks = policy::remarks(&document.value, &policy);
                        let remarks = remarks.iter().map(|remark| at(file, text, &document, remark));
                        self.remarks.extend(remarks);
                        names.insert(Arc::clone(&policy.name), here);
                        self.policies.push(Arc::new(policy));
                        Vec::new()
                    }
                },
                Err(problems) => problems,
            };
            faults.extend(problems.iter().map(|problem| at(file, text, &document, problem)));
        }
        faults.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
        for fault in faults {
            self.faults.push(fault);
        }
    }
}

/// A document's problem, with its position in the text.
fn at(file: &str, text: &str, document: &Document, problem: &policy::Problem) -> Fault {
    let (line, column) = match problem.part {
        Part::Key => document.place_of(&problem.path),
        Part::Value => document.place_of_value(&problem.path),
    };
    Fault {
        file: file.to_owned(),
        line,
        column,
        path: problem.path.clone(),
        text: problem.text.clone(),
        source: fault::line_of(text, line),
        kind: FaultKind::Problem,
    }
}

#[cfg(test)]
mod tests;
