//! Files and folders of manifests, and the subjects in them. Reads the disk; what it finds is judged elsewhere.

use crate::report::Source;
use crate::workload::{Workload, extract};
use crate::yaml;
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The largest file that is read.
const MAX_FILE: u64 = 32 << 20;

/// Whether folders are walked to the bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// A folder's own files only.
    Flat,
    /// `-R`.
    Recursive,
}

/// A document of a file.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read from.
    pub source: Source,
    /// The line on which the document begins, from 1.
    pub line: usize,
    /// The object. Items of a `List` are objects of their own.
    pub object: Value,
}

/// Everything that was read, and what could not be: one bad document loses nothing else.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects, in the order of the files.
    pub objects: Vec<Manifest>,
    /// Sentences that name file, and line where there is one.
    pub errors: Vec<String>,
    /// The texts of the files, for finding lines.
    texts: Vec<(String, String)>,
}

/// Something whose images are judged.
#[derive(Debug)]
pub struct Subject {
    /// Where it was read from.
    pub source: Source,
    /// The line on which its document begins.
    pub line: usize,
    /// What it uses.
    pub workload: Workload,
}

impl Manifests {
    /// Reads files, folders and `-` (standard input). `namespace` stands in for objects that name none.
    pub fn read(places: &[String], walk: Walk, namespace: &str) -> Self {
        let mut manifests = Self::default();
        for place in places {
            if place == "-" {
                let mut text = String::new();
                match std::io::stdin().take(MAX_FILE).read_to_string(&mut text) {
                    Ok(_) => manifests.add("-", text, namespace),
                    Err(error) => manifests.errors.push(format!("standard input: {error}")),
                }
                continue;
            }
            let path = Path::new(place);
            if path.is_dir() {
                let before = manifests.texts.len();
                for file in files(path, walk, &mut manifests.errors) {
                    manifests.read_file(&file, namespace);
                }
                if manifests.texts.len() == before && manifests.errors.is_empty() {
                    manifests.errors.push(format!(
                        "{place}: no .yaml, .yml or .json file in this folder{}",
                        if walk == Walk::Flat { "; -R looks into its folders too" } else { "" }
                    ));
                }
            } else {
                manifests.read_file(path, namespace);
            }
        }
        manifests
    }

    fn read_file(&mut self, path: &Path, namespace: &str) {
        let name = path.display().to_string();
        match std::fs::metadata(path) {
            Ok(about) if about.len() > MAX_FILE => {
                self.errors.push(format!("{name}: {} bytes; files over {MAX_FILE} bytes are not read", about.len()));
            }
            Ok(_) => match std::fs::read_to_string(path) {
                Ok(text) => self.add(&name, text, namespace),
                Err(error) => self.errors.push(format!("{name}: {error}")),
            },
            Err(error) => self.errors.push(format!("{name}: {error}")),
        }
    }

    fn add(&mut self, file: &str, text: String, namespace: &str) {
        let parsed = yaml::documents(&text);
        self.errors.extend(parsed.errors.iter().map(|error| format!("{file}: {error}")));
        for document in parsed.documents {
            let source = Source { file: file.to_owned(), document: document.index };
            for object in flatten(document.value) {
                let object = settle(object, namespace);
                self.objects.push(Manifest { source: source.clone(), line: document.line, object });
            }
        }
        self.texts.push((file.to_owned(), text));
    }

    /// The objects whose images are judged.
    pub fn subjects(&self) -> Vec<Subject> {
        self.objects
            .iter()
            .filter_map(|manifest| {
                let workload = extract(&manifest.object, None, "").ok()?;
                Some(Subject { source: manifest.source.clone(), line: manifest.line, workload })
            })
            .collect()
    }

    /// The text of a file that was read.
    pub fn text(&self, file: &str) -> Option<&str> {
        self.texts.iter().find(|(name, _)| name == file).map(|(_, text)| text.as_str())
    }
}

/// The items of a `List`, or the object itself.
fn flatten(value: Value) -> Vec<Value> {
    let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    match value {
        Value::Object(mut map) if is_list && map.get("items").is_some_and(Value::is_array) => match map.remove("items") {
            Some(Value::Array(items)) => items.into_iter().flat_map(flatten).collect(),
            _ => Vec::new(),
        },
        other => vec![other],
    }
}

/// Kinds that have no namespace and that we look at.
const CLUSTER_SCOPED: &[&str] = &["Node", "Namespace"];

/// Writes the namespace that the API server would put there.
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

fn files(folder: &Path, walk: Walk, errors: &mut Vec<String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                errors.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            // Links to folders are not followed: they may lead in a circle.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && walk == Walk::Recursive {
                folders.push(path);
            } else if !is_folder
                && path.extension().and_then(|ending| ending.to_str()).is_some_and(|e| matches!(e, "yaml" | "yml" | "json"))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Finds the lines of image values in a file, in the order in which the same image occurs in a document.
#[derive(Debug)]
pub struct Lines<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Lines<'a> {
    /// Splits a file.
    pub fn of(text: &'a str) -> Self {
        Self { lines: text.lines().collect() }
    }

    /// The line (from 1) of the `nth` occurrence (from 0) of `image` as the value of an `image` or `reference` key, at or after the
    /// line on which the document begins and before the next document; that first line where it cannot be found.
    pub fn find(&self, begins: usize, image: &str, nth: usize) -> usize {
        let begins = begins.max(1);
        self.lines
            .iter()
            .enumerate()
            .skip(begins - 1)
            .take_while(|(at, line)| at + 1 == begins || *line != &"---" && !line.starts_with("--- "))
            .filter(|(_, line)| holds(line, image))
            .nth(nth)
            .map_or(begins, |(at, _)| at + 1)
    }
}

fn holds(line: &str, image: &str) -> bool {
    let line = line.trim_start().trim_start_matches("- ").trim_start().trim_start_matches(['{', '"', '\'']);
    let Some(rest) = line.strip_prefix("image").or_else(|| line.strip_prefix("reference")) else {
        return line.contains(&format!("image: {image}")) || line.contains(&format!("\"image\":\"{image}\""));
    };
    let Some(value) = rest.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':') else { return false };
    let value = value.trim_start().trim_start_matches(['"', '\'']);
    value.strip_prefix(image).is_some_and(|end| end.is_empty() || end.starts_with(['"', '\'', ' ', '\t', ',', '}', '\r']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_value_and_order() {
        let text = "kind: Pod\nspec:\n  containers:\n  - name: a\n    image: nginx:1\n  - image: \"nginx:1\" # again\n---\nspec:\n  containers: [{name: x, image: nginx:1}]\n  image: nginx:12\n";
        let lines = Lines::of(text);
        assert_eq!(lines.find(1, "nginx:1", 0), 5);
        assert_eq!(lines.find(1, "nginx:1", 1), 6);
        assert_eq!(lines.find(1, "nginx:1", 2), 1, "not in the next document");
        assert_eq!(lines.find(8, "nginx:1", 0), 9);
        assert_eq!(lines.find(8, "nginx:12", 0), 10);
        assert_eq!(lines.find(1, "absent", 0), 1);
    }

    #[test]
    fn lists_are_flattened_and_namespaces_settled() {
        let list = serde_json::json!({"kind": "List", "items": [
            {"kind": "Pod", "metadata": {"name": "a"}}, {"kind": "PodList", "items": [{"kind": "Pod", "metadata": {"namespace": "x"}}]},
            {"kind": "Node", "metadata": {"name": "n"}}]});
        let all: Vec<Value> = flatten(list).into_iter().map(|object| settle(object, "shop")).collect();
        let namespaces: Vec<Option<&str>> = all.iter().map(|object| object["metadata"]["namespace"].as_str()).collect();
        assert_eq!(namespaces, [Some("shop"), Some("x"), None]);
    }
}
