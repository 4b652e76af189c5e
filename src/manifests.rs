//! Reads files and folders of manifests and finds the objects in them; writes edited files. Judging them happens elsewhere.

mod write;

pub use write::replace;

use crate::files::{self, ReadError};
use crate::image::escape;
use crate::limits;
use crate::report::Source;
use crate::workload::{Kinds, Workload, extract};
use crate::yaml::{self, Document};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether folders are searched recursively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Only the files in the folder itself.
    Flat,
    /// `-R`.
    Recursive,
}

/// A document of a file.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read from.
    pub source: Source,
    /// Its text: an index into [`Manifests::texts`].
    pub text: usize,
    /// Its document, for the lines of its fields.
    document: Arc<Document>,
    /// Its position in the document: empty, or `items[3].` in a `List`.
    prefix: String,
    /// The object. Items of a `List` are separate objects.
    pub object: Value,
}

impl Manifest {
    /// The line of a field, from 1.
    pub fn line_of(&self, path: &str) -> usize {
        self.document.line_of(&self.path_of(path))
    }

    /// The path of a field in the document.
    pub fn path_of(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
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

/// Everything that was read, and what could not be: a bad document does not affect the others.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects, in the order of the files.
    pub objects: Vec<Manifest>,
    /// The texts, in order.
    pub texts: Vec<Text>,
    /// Sentences with the file, and the line if known.
    pub errors: Vec<String>,
}

/// An object whose images are judged.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Where it was read from.
    pub manifest: &'a Manifest,
    /// Its images and pod specs.
    pub workload: Workload,
}

impl Manifests {
    /// Reads files, folders and `-` (standard input). `namespace` is for objects that name none.
    pub fn read(places: &[String], walk: Walk, namespace: &str) -> Self {
        let mut manifests = Self::default();
        for place in places {
            if place == "-" {
                match files::read_stream(std::io::stdin(), limits::MANIFEST_FILE).map(String::from_utf8) {
                    Ok(Ok(text)) => manifests.add("-", None, text, namespace),
                    Ok(Err(_)) => manifests.errors.push("standard input: not UTF-8 text".to_owned()),
                    Err(error) => manifests.errors.push(format!("standard input: {error}")),
                }
                continue;
            }
            let path = Path::new(place);
            if path.is_dir() {
                let found = manifest_files(path, walk, &mut manifests.errors);
                for file in &found {
                    manifests.read_file(file, files::read(file, limits::MANIFEST_FILE), namespace);
                }
                if found.is_empty() {
                    manifests.errors.push(format!(
                        "{}: no .yaml, .yml or .json file in this folder{}",
                        escape(place),
                        if walk == Walk::Flat {
                            "; use -R to search its subfolders"
                        } else {
                            ""
                        }
                    ));
                }
            } else {
                // A shell's `<(command)` is a pipe.
                manifests.read_file(path, files::read_or_pipe(path, limits::MANIFEST_FILE), namespace);
            }
        }
        manifests
    }

    fn read_file(&mut self, path: &Path, read: Result<Vec<u8>, ReadError>, namespace: &str) {
        let name = path.display().to_string();
        match read.map(String::from_utf8) {
            Ok(Ok(text)) => self.add(&name, Some(path), text, namespace),
            Ok(Err(_)) => self.errors.push(format!("{}: not UTF-8 text", escape(&name))),
            Err(error) => self.errors.push(format!("{}: {error}", escape(&name))),
        }
    }

    fn add(&mut self, file: &str, path: Option<&Path>, text: String, namespace: &str) {
        let parsed = yaml::documents(&text);
        let place = self.texts.len();
        self.texts.push(Text {
            file: file.to_owned(),
            path: path.map(Path::to_owned),
            text,
        });
        let shown = escape(file);
        self.errors
            .extend(parsed.errors.iter().map(|error| format!("{shown}: {error}")));
        for document in parsed.documents {
            // An error page, a pointer to a large file, or a path: a manifest is never plain text. A list may be a patch next to
            // manifests.
            if !(document.value.is_object() || document.value.is_array()) {
                let line = document.line;
                self.errors
                    .push(format!("{shown}: line {line}: this is plain text, not a manifest"));
                continue;
            }
            let source = Source {
                file: file.to_owned(),
                document: document.index,
            };
            let document = Arc::new(document);
            for (prefix, object) in flatten(document.value.clone(), String::new()) {
                let object = settle(object, namespace);
                self.objects.push(Manifest {
                    source: source.clone(),
                    text: place,
                    document: Arc::clone(&document),
                    prefix,
                    object,
                });
            }
        }
    }

    /// The objects whose images are judged.
    pub fn subjects(&self, kinds: &Kinds) -> Vec<Subject<'_>> {
        self.objects
            .iter()
            .filter_map(|manifest| {
                Some(Subject {
                    manifest,
                    workload: extract(&manifest.object, None, "", kinds).ok()?,
                })
            })
            .collect()
    }
}

/// The items of a `List` (with their position in the document), or the object itself.
fn flatten(value: Value, prefix: String) -> Vec<(String, Value)> {
    let list_of = value
        .get("kind")
        .and_then(Value::as_str)
        .and_then(|kind| kind.strip_suffix("List"))
        .map(str::to_owned);
    match (value, list_of) {
        (Value::Object(mut map), Some(kind)) if map.get("items").is_some_and(Value::is_array) => match map.remove("items") {
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (at, typed(item, &kind, map.get("apiVersion"))))
                .flat_map(|(at, item)| flatten(item, format!("{prefix}items[{at}].")))
                .collect(),
            _ => Vec::new(),
        },
        (other, _) => vec![(prefix, other)],
    }
}

/// Items of a `PodList` may omit their type: it follows from the list's.
fn typed(mut item: Value, kind: &str, version: Option<&Value>) -> Value {
    if let (Some(map), Some(version), false) = (item.as_object_mut(), version, kind.is_empty())
        && !map.contains_key("kind")
        && !map.contains_key("apiVersion")
    {
        map.insert("kind".to_owned(), kind.into());
        map.insert("apiVersion".to_owned(), version.clone());
    }
    item
}

/// Cluster-scoped kinds that are of interest here.
const CLUSTER_SCOPED: &[&str] = &["Node", "Namespace"];

/// Sets the namespace as the API server would.
fn settle(mut object: Value, namespace: &str) -> Value {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    if CLUSTER_SCOPED.contains(&kind) {
        return object;
    }
    if let Some(map) = object.as_object_mut() {
        let metadata = map.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(metadata) = metadata.as_object_mut()
            && metadata.get("namespace").and_then(Value::as_str).is_none_or(str::is_empty)
        {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
    }
    object
}

fn manifest_files(folder: &Path, walk: Walk, errors: &mut Vec<String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                errors.push(format!("{}: {error}", escape(&folder.display().to_string())));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            // Links to folders are not followed: they may form a loop.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && walk == Walk::Recursive {
                folders.push(path);
            } else if !is_folder
                && path
                    .extension()
                    .and_then(|ending| ending.to_str())
                    .is_some_and(|e| matches!(e, "yaml" | "yml" | "json"))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_flattened_and_namespaces_settled() {
        let list = serde_json::json!({"kind": "List", "items": [
            {"kind": "Pod", "metadata": {"name": "a"}}, {"kind": "PodList", "items": [{"kind": "Pod", "metadata": {"namespace": "x"}}]},
            {"kind": "Node", "metadata": {"name": "n"}},
            {"apiVersion": "batch/v1", "kind": "JobList", "items": [{"metadata": {"name": "untyped"}}]}]});
        let all: Vec<(String, Value)> = flatten(list, String::new())
            .into_iter()
            .map(|(prefix, object)| (prefix, settle(object, "shop")))
            .collect();
        let shown: Vec<(&str, Option<&str>)> = all
            .iter()
            .map(|(prefix, object)| (prefix.as_str(), object["metadata"]["namespace"].as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("items[0].", Some("shop")),
                ("items[1].items[0].", Some("x")),
                ("items[2].", None),
                ("items[3].items[0].", Some("shop"))
            ]
        );
        let (_, untyped) = all.last().unwrap();
        assert_eq!(
            (&untyped["kind"], &untyped["apiVersion"]),
            (&"Job".into(), &"batch/v1".into())
        );
    }
}
