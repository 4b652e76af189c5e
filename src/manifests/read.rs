//! One file: its documents, and what is kept of them.

use super::classify;
use super::comments;
use super::find::Candidate;
use super::names::{Hints, holds_variables, only_variables};
use super::notes::{Note, NoteKind};
use super::object::{flatten, is_kubernetes, numeric_images, owner, settle};
use super::values;
use super::{Keep, Manifest, ManifestObject, ReadOptions, Release, Text, standard_input};
use crate::files::{self, ReadError};
use crate::image::escape;
use crate::limits;
use crate::report::{Problem, SourceDocument};
use crate::runtime::crio::openshift::CONFIG_NAMESPACE;
use crate::workload::{Kinds, Workload, extract, paths_without_images};
use crate::yaml::{self, Document, FoundDocument, YamlError};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

/// Kinds with facts for judging others.
const FACTS: &[&str] = &[
    "Secret",
    "ServiceAccount",
    "Node",
    "Namespace",
    "RuntimeClass",
    "Kustomization",
    "Component",
    "Image",
    "ImageContentSourcePolicy",
    "ImageDigestMirrorSet",
    "ImageStream",
    "ImageTagMirrorSet",
];

/// Kinds from which a controller (Flux, Argo CD or k3s) renders the objects with the images.
const RELEASES: &[(&str, &str)] = &[
    ("helm.toolkit.fluxcd.io", "HelmRelease"),
    ("argoproj.io", "Application"),
    ("argoproj.io", "ApplicationSet"),
    ("helm.cattle.io", "HelmChart"),
];

/// The kind that holds values of releases, Flux's variables, and OpenShift's additional CAs of registries.
const VALUES: &str = "ConfigMap";

/// What was read of a file.
#[derive(Debug, Default)]
pub(super) struct FileRead {
    pub(super) subjects: Vec<ManifestObject>,
    pub(super) objects: Vec<Manifest>,
    pub(super) text: Option<Text>,
    pub(super) releases: Vec<Release>,
    pub(super) notes: Vec<Note>,
    pub(super) errors: Vec<Problem>,
}

/// The kinds of objects that need to be built; `None`: all.
pub(super) struct Wanted<'a>(Option<HashSet<&'a str>>);

impl<'a> Wanted<'a> {
    pub(super) fn of(reading: &ReadOptions<'a>) -> Self {
        let kinds = reading.kinds;
        match reading.keep {
            Keep::Objects => Self(Some(
                kinds
                    .each()
                    .map(|(_, kind)| kind)
                    .chain(FACTS.iter().copied())
                    .chain(RELEASES.iter().map(|(_, kind)| *kind))
                    .chain([VALUES])
                    .collect(),
            )),
            Keep::Texts => Self(None),
        }
    }

    fn wants(&self, kind: &str) -> bool {
        let is_wanted = |kinds: &HashSet<&str>| kinds.contains(kind);
        // A kind in lower case is a mistake that is worth a note.
        self.0.as_ref().is_none_or(is_wanted) || kind.ends_with("List") || kind.starts_with(|c: char| c.is_ascii_lowercase())
    }
}

/// Reads a file; standard input where there is no path.
pub(super) fn file(file: &Candidate, reading: &ReadOptions<'_>, wanted: &Wanted<'_>) -> FileRead {
    let mut read = FileRead::default();
    let (name, text) = match &file.path {
        None => (reading.stdin_name.to_owned(), standard_input().map_err(Problem::from)),
        Some(path) => {
            let name = path.display().to_string();
            // A shell's `<(command)` is a pipe.
            let bytes = if file.named {
                files::read_or_pipe(path, limits::MANIFEST_FILE)
            } else {
                files::read(path, limits::MANIFEST_FILE)
            };
            let text = match bytes {
                // UTF-16 is only accepted if the file need not be edited in place.
                Ok(bytes) => super::decode(bytes, reading.keep == Keep::Objects)
                    .ok_or_else(|| (NoteKind::NotText, "not UTF-8 text".to_owned())),
                Err(error) => Err((note_kind(&error), error.to_string())),
            };
            match text {
                Ok(text) => (name, Ok(text)),
                Err((_, why)) if file.named => {
                    read.errors.push(Problem::in_file(&name, None, why));
                    return read;
                }
                Err((passed, why)) => {
                    let note = Note::about(passed, &name);
                    // That it is not text is the name of this kind.
                    read.notes.push(if passed == NoteKind::NotText {
                        note
                    } else {
                        note.because(&why)
                    });
                    return read;
                }
            }
        }
    };
    match text {
        Ok(text) => {
            read.take_text(file, &name, &text, reading, wanted);
            if reading.keep == Keep::Texts {
                read.text = Some(Text {
                    file: name,
                    path: file.path.clone(),
                    text,
                });
            }
        }
        Err(why) => read.errors.push(why),
    }
    read
}

/// Reads rendered output; `name` says what it was rendered from.
pub(super) fn rendered(text: &str, name: &str, reading: &ReadOptions<'_>, wanted: &Wanted<'_>) -> FileRead {
    let mut read = FileRead::default();
    let file = Candidate {
        at: 0,
        path: None,
        named: false,
        chart: None,
    };
    read.take_text(&file, name, text, reading, wanted);
    // What is not for a cluster is no mistake here: notes for users, empty templates.
    read.notes.retain(|note| note.passed == NoteKind::RepeatedKey);
    read
}

fn note_kind(error: &ReadError) -> NoteKind {
    match error {
        ReadError::NotRegular => NoteKind::NotRegular,
        ReadError::TooLong { .. } | ReadError::StreamTooLong { .. } => NoteKind::TooLong,
        ReadError::Io(_) => NoteKind::Unreadable,
    }
}

impl FileRead {
    fn take_text(&mut self, file: &Candidate, name: &str, text: &str, reading: &ReadOptions<'_>, wanted: &Wanted<'_>) {
        if let Some(chart) = file.chart.as_ref().filter(|_| classify::is_template(text)) {
            self.notes.push(Note::about(NoteKind::HelmTemplate, name).in_chart(chart));
            return;
        }
        let path = file.path.as_deref().unwrap_or(Path::new(""));
        let marks = reading.keep == Keep::Texts;
        if !file.named && classify::is_ours(path, text) {
            return;
        }
        if classify::is_values(path) && self.values(name, path, text, reading) {
            return;
        }
        let kustomization = classify::is_kustomization(path);
        if !file.named && !marks && !kustomization && !text.contains("apiVersion") && !text.contains("\"items\"") {
            // Most files of a repository; not worth parsing.
            if !classify::is_empty(text) {
                self.notes.push(Note::about(classify::other(path, text), name));
            }
            return;
        }
        let mut taker = Taker {
            read: self,
            file,
            name,
            path,
            kustomization,
            text,
            commented: comments::lines(text),
            templates: templates(text),
            reading,
        };
        yaml::each(text, &|kind| wanted.wants(kind), &mut |found| match found {
            FoundDocument::Document(mut document) => taker.document(&mut document),
            FoundDocument::PassedOver => {}
            FoundDocument::Broken(error) => taker.broken(&error),
        });
    }
}

impl FileRead {
    /// Takes the images of a chart's values; returns whether there are any.
    fn values(&mut self, name: &str, path: &Path, text: &str, reading: &ReadOptions<'_>) -> bool {
        let mut found = false;
        yaml::each(text, &|_| true, &mut |one| {
            let FoundDocument::Document(document) = one else { return };
            // The path of a chart in the current folder does not have its name.
            for (of, tag) in values::fractions(&document.value) {
                let note = Note::about(NoteKind::FractionTag, name).at(document.line_of(&of));
                self.notes.push(note.because(&format!("{of} is {tag}")));
                found = true;
            }
            let folder = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
            let chart = folder.as_ref().and_then(|folder| folder.file_name()).unwrap_or_default();
            let Some(workload) = values::workload(&document.value, &chart.to_string_lossy(), reading.namespace) else {
                return;
            };
            found = true;
            let source = SourceDocument {
                file: name.to_owned(),
                document: document.index,
            };
            let commented = comments::lines(text);
            self.subject(&document, &source, String::new(), workload, About::default(), &commented);
        });
        found
    }

    /// Takes an object with images.
    fn subject(
        &mut self,
        document: &Document,
        source: &SourceDocument,
        prefix: String,
        mut workload: Workload,
        about: About,
        commented: &[&str],
    ) {
        workload.shrink();
        let uses = workload.templates.iter().flat_map(|template| &template.uses);
        let lines = uses.map(|image| {
            let path = image.path.as_str();
            (Box::from(path), document.line_of(&format!("{prefix}{path}")))
        });
        let mut lines: Vec<(Box<str>, usize)> = lines.collect();
        let mut ignores = Vec::new();
        for (path, line) in lines.iter().filter(|_| !commented.is_empty()) {
            match comments::beside(commented, *line) {
                Some(Ok(ignore)) => ignores.push((path.clone(), ignore)),
                Some(Err(wrong)) => {
                    let note = Note::about(NoteKind::Comment, &source.file);
                    self.notes.push(note.because(&wrong.to_string()));
                }
                None => {}
            }
        }
        for (_, path) in runtime_classes(&workload) {
            let line = document.line_of(&format!("{prefix}{path}"));
            lines.push((path.into(), line));
        }
        self.subjects.push(ManifestObject {
            source: source.clone(),
            text: 0,
            prefix,
            lines,
            ignores,
            hints: about.hints,
            owner: about.owner,
            template: about.template,
            apart: about.apart,
            written_at: Vec::new(),
            reads: Vec::new(),
            workload,
        });
    }
}

/// `apps/v1 Pod: Kubernetes has Pod in the core group`, if a built-in kind is given in a group or in letters in which Kubernetes does not have it.
fn no_such_kind(object: &Value, kinds: &Kinds) -> Option<String> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (group, name) = kinds.meant(version, kind)?;
    let group = if group.is_empty() { "the core group" } else { group };
    Some(format!("{version} {kind}: Kubernetes has {name} in {group}"))
}

/// What the object as a whole, or its place in the file, says.
#[derive(Debug, Default)]
struct About {
    hints: Hints,
    owner: Option<(String, String, String)>,
    template: Option<Box<str>>,
    apart: bool,
}

/// The lines at which documents begin, with the template that Helm says they were rendered from; empty where it says nothing.
fn templates(text: &str) -> Vec<(usize, &str)> {
    const MARK: &str = "# Source: ";
    if !text.contains(MARK) {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    let said = lines.filter_map(|(at, line)| match line.strip_prefix(MARK) {
        Some(template) => Some((at + 1, template.trim())),
        None => line.starts_with("---").then_some((at + 1, "")),
    });
    said.collect()
}

/// What is known while the documents of a file are read.
struct Taker<'a, 'b> {
    read: &'a mut FileRead,
    file: &'a Candidate,
    name: &'a str,
    path: &'a Path,
    kustomization: bool,
    text: &'a str,
    /// The lines, if there is a comment among them that accepts something.
    commented: Vec<&'a str>,
    templates: Vec<(usize, &'a str)>,
    reading: &'a ReadOptions<'b>,
}

impl Taker<'_, '_> {
    fn note(&mut self, note: Note) {
        self.read.notes.push(note);
    }

    fn broken(&mut self, error: &YamlError) {
        let text = self.text.get(error.text.clone()).unwrap_or(self.text);
        let is_template = classify::is_template(text) || classify::is_format(text);
        if self.file.named || classify::looks_like_kubernetes(text) && !is_template {
            self.read
                .errors
                .push(Problem::in_file(self.name, Some(error.line), error.to_string()));
            return;
        }
        let passed = match classify::other(self.path, self.text) {
            NoteKind::Json if classify::is_format(text) => NoteKind::Template,
            passed @ (NoteKind::JsonWithComments | NoteKind::Json | NoteKind::Encrypted) => passed,
            _ if is_template => NoteKind::Template,
            passed => passed,
        };
        let note = Note::about(passed, self.name);
        self.note(if passed == NoteKind::Template {
            note
        } else {
            note.because(&error.to_string())
        });
    }

    fn document(&mut self, document: &mut Document) {
        if self.reading.keep == Keep::Texts {
            self.apart(document);
        }
        let is_item = !document.prefix.is_empty();
        // An error page, a pointer to a large file, or a path: a manifest is never plain text.
        if self.file.named && !is_item && !(document.value.is_object() || document.value.is_array()) {
            let line = document.line;
            let message = format!("line {line}: this is plain text, not a manifest");
            self.read.errors.push(Problem::in_file(self.name, Some(line), message));
            return;
        }
        let kustomization = self.kustomization && document.value.is_object();
        if !kustomization && !is_item && !is_kubernetes(&document.value) {
            if !document.value.is_object() || document.value.as_object().is_some_and(|fields| !fields.is_empty()) {
                self.note(Note::about(classify::other(self.path, self.text), self.name));
            }
            return;
        }
        for (line, key) in &document.repeated {
            self.note(Note::about(NoteKind::RepeatedKey, self.name).at(*line).because(key));
        }
        let source = SourceDocument {
            file: self.name.to_owned(),
            document: document.index,
        };
        let value = std::mem::take(&mut document.value);
        for (prefix, object) in flatten(value, document.prefix.clone()) {
            let object = settle(object, self.reading.namespace);
            self.object(document, &source, prefix, object);
        }
    }

    /// Takes the images whose name and tag are in separate fields, anywhere in the document.
    fn apart(&mut self, document: &Document) {
        let text = |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = match text("/kind") {
            "" if self.kustomization => "Kustomization",
            "" => "file",
            kind => kind,
        };
        // An object without a name is called after its file, or after the folder of a kustomization.
        let named = if self.kustomization {
            self.path.parent()
        } else {
            Some(self.path)
        };
        let file = named.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let name = Some(text("/metadata/name")).filter(|name| !name.is_empty()).unwrap_or(&file);
        let Some(workload) = values::apart(&document.value, kind, name, self.reading.namespace) else {
            return;
        };
        let source = SourceDocument {
            file: self.name.to_owned(),
            document: document.index,
        };
        let about = About {
            apart: true,
            ..About::default()
        };
        self.read
            .subject(document, &source, document.prefix.clone(), workload, about, &self.commented);
    }

    fn object(&mut self, document: &Document, source: &SourceDocument, prefix: String, object: Value) {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        if let Ok(workload) = extract(&object, None, "", self.reading.kinds) {
            let numbers = numeric_images(&object);
            let others = paths_without_images(&object, self.reading.kinds);
            for (path, is, wanted) in others
                .iter()
                .filter(|(path, ..)| !numbers.iter().any(|(known, _)| *known == path.as_str()))
            {
                let line = document.line_of(&format!("{prefix}{path}"));
                let message = format!(
                    "line {line}: {path} of this {} is {is}, not {wanted}: correct it, or the path in `workloads` of the settings",
                    escape(kind)
                );
                self.read.errors.push(Problem::in_file(self.name, Some(line), message));
            }
            for (path, number) in numbers {
                let line = document.line_of(&format!("{prefix}{path}"));
                let message =
                    format!("line {line}: {path} is the number {number}, which the API server refuses: write it in quotes");
                self.read.errors.push(Problem::in_file(self.name, Some(line), message));
            }
            let before = self.templates.partition_point(|(line, _)| *line <= document.line);
            let template = before.checked_sub(1).and_then(|at| self.templates.get(at));
            let about = About {
                hints: Hints::of(&object, &workload),
                owner: owner(&object),
                apart: false,
                template: template
                    .filter(|(_, template)| !template.is_empty())
                    .map(|(_, template)| Box::from(*template)),
            };
            self.read.subject(document, source, prefix, workload, about, &self.commented);
        } else if classify::is_encrypted(&object) {
            self.note(Note::about(NoteKind::Encrypted, self.name));
            if kind == "Secret" {
                self.keep(source, object);
            }
        } else if let Some(group) = group(&object)
            && RELEASES.contains(&(group, kind))
        {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            self.note(
                Note::about(NoteKind::Release, self.name)
                    .at(document.line_of(&prefix))
                    .because(&format!("{kind} {name}")),
            );
            self.release_values(document, source, &prefix, &object);
            if kind == "Application" {
                // It may replace images of a kustomization.
                self.keep(source, object.clone());
            }
            if self.reading.render {
                self.read.releases.push(Release {
                    source: source.clone(),
                    prefix,
                    document: document.clone(),
                    object,
                });
            }
        } else if let Some(what) = no_such_kind(&object, self.reading.kinds) {
            let line = document.line_of(&prefix);
            self.note(Note::about(NoteKind::NoSuchKind, self.name).at(line).because(&what));
        } else if FACTS.contains(&kind) || self.kustomization || kind == VALUES && is_kept(&object, self.reading) {
            self.keep(source, object);
        } else if kind == VALUES && holds_variables(&object) {
            self.keep(source, only_variables(object));
        }
    }

    /// Takes the images in the values of a release, which a chart from elsewhere may use. (`pin` finds them by their fields.)
    fn release_values(&mut self, document: &Document, source: &SourceDocument, prefix: &str, release: &Value) {
        if self.reading.keep == Keep::Texts {
            return;
        }
        for (path, values) in values::of_release(release) {
            for (below, tag) in values::fractions(values) {
                let of = format!("{}.{below}", path.as_str());
                let note = Note::about(NoteKind::FractionTag, self.name).at(document.line_of(&format!("{prefix}{of}")));
                self.note(note.because(&format!("{of} is {tag}")));
            }
        }
        if let Some(workload) = values::release_workload(release) {
            let about = About::default();
            self.read
                .subject(document, source, prefix.to_owned(), workload, about, &self.commented);
        }
    }

    fn keep(&mut self, source: &SourceDocument, object: Value) {
        self.read.objects.push(Manifest {
            source: source.clone(),
            named: self.file.named,
            object,
        });
    }
}

/// Whether a kept object is needed for more than Flux's variables.
pub(super) fn is_kept(object: &Value, reading: &ReadOptions<'_>) -> bool {
    let is_map = object.get("kind").and_then(Value::as_str) == Some(VALUES);
    !is_map || reading.render || namespace(object) == Some(CONFIG_NAMESPACE)
}

fn namespace(object: &Value) -> Option<&str> {
    object.pointer("/metadata/namespace").and_then(Value::as_str)
}

/// The `RuntimeClass`es that an object names, each with the path of the field.
pub(super) fn runtime_classes(workload: &Workload) -> impl Iterator<Item = (&str, String)> {
    workload.templates.iter().filter_map(|template| {
        let class = template.needs.scheduling.runtime_class.as_deref()?;
        // The pod spec is the parent of the lists of containers and volumes.
        let spec = template.uses.iter().find_map(|image| {
            let path = image.path.as_str();
            let list = ["initContainers[", "containers[", "ephemeralContainers[", "volumes["];
            list.iter().find_map(|list| path.rfind(list)).and_then(|at| path.get(..at))
        });
        let spec = spec.unwrap_or_default();
        Some((class, format!("{spec}runtimeClassName")))
    })
}

/// The group of an object's `apiVersion`.
fn group(object: &Value) -> Option<&str> {
    let version = object.get("apiVersion").and_then(Value::as_str)?;
    version.split_once('/').map(|(group, _)| group)
}
