//! Reads a `kustomization.yaml`.

use super::edits::{Image, Patch, Replacement, Step, generated};
use super::target::Identity;
use super::{Kustomization, file_text, list, text};
use crate::image::escape;
use crate::manifests::notes::{Note, NoteKind, Notes};
use crate::yaml::{self, Document};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is needed while a kustomization is read.
struct Reader<'a> {
    folder: &'a Path,
    shown: &'a str,
    document: Option<&'a Document>,
    notes: &'a mut Notes,
    /// Files of patches.
    patch_files: Vec<PathBuf>,
}

impl Kustomization {
    pub(super) fn read(folder: &Path, file: &Path, document: &Document, notes: &mut Notes) -> Self {
        let value = &document.value;
        let shown = shown(file);
        let mut reader = Reader {
            folder,
            shown: &shown,
            document: Some(document),
            notes,
            patch_files: Vec::new(),
        };
        let mut resources = reader.paths(value, "resources");
        // kustomize before v2.1.
        resources.extend(reader.paths(value, "bases"));
        let components = reader.paths(value, "components");
        let mut fields = Vec::new();
        for name in list(value, "configurations").iter().filter_map(Value::as_str) {
            if let Some(config) = file_text(&folder.join(name)) {
                for document in yaml::documents(&config).documents {
                    fields.extend(list(&document.value, "images").iter().map(|entry| Field {
                        kind: text(entry, "kind"),
                        path: text(entry, "path").replace('/', ".").replace("[]", ""),
                    }));
                }
            }
        }
        let made = list(value, "configMapGenerator").iter().map(|entry| generated(entry, folder));
        let made: Vec<Value> = made.collect();
        let steps = reader.steps(value);
        let patch_files = std::mem::take(&mut reader.patch_files);
        Self {
            resources,
            components,
            patch_files,
            steps,
            fields,
            generated: made,
            variables: !list(value, "vars").is_empty(),
            wants: wants(value),
            component: value.get("kind").and_then(Value::as_str) == Some("Component"),
            applied: false,
            shown,
        }
    }

    /// What a controller adds to the one in a folder: the fields of the same names in its object.
    pub(super) fn applied(folder: &Path, spec: &Value, shown: &str, notes: &mut Notes) -> Self {
        let mut reader = Reader {
            folder,
            shown,
            document: None,
            notes,
            patch_files: Vec::new(),
        };
        let components = reader.paths(spec, "components");
        let mut steps = reader.steps(spec);
        let arguments = list(spec, "images").iter().filter_map(Value::as_str);
        steps.extend(arguments.filter_map(Image::of_argument).map(Step::Image));
        Self {
            components,
            steps,
            shown: shown.to_owned(),
            applied: true,
            ..Self::default()
        }
    }
}

/// A field that `configurations` say holds an image.
#[derive(Debug)]
pub(super) struct Field {
    kind: String,
    /// With dots, without indexes.
    path: String,
}

impl Field {
    pub(super) fn holds(&self, kind: &str, path: &str) -> bool {
        let mut depth = false;
        let bare = path.chars().filter(|c| {
            depth = (depth || *c == '[') && *c != ']';
            !depth && *c != ']'
        });
        (self.kind.is_empty() || self.kind == kind) && bare.eq(self.path.chars())
    }
}

impl Reader<'_> {
    /// A file or folder that it names. If it does not exist, a note says where it is named.
    fn local(&mut self, place: &str, field: &str, name: &str) -> Option<PathBuf> {
        match self.folder.join(name).canonicalize() {
            Ok(path) => Some(path),
            Err(_) if is_remote(name) => None,
            Err(_) => {
                let line = self.document.map_or(1, |document| document.line_of(place));
                let note = Note::about(NoteKind::NotThere, self.shown).at(line);
                self.notes.push(note.because(&format!("{field}: {name}")));
                None
            }
        }
    }

    fn paths(&mut self, value: &Value, field: &str) -> Vec<PathBuf> {
        let entries = list(value, field).iter().enumerate();
        entries
            .filter_map(|(at, entry)| self.local(&format!("{field}[{at}]"), field, entry.as_str()?))
            .collect()
    }

    /// The documents of an entry, written inline or in the file that it names.
    fn documents(&mut self, place: &str, field: &str, inline: Option<&str>, named: Option<&str>) -> Vec<Value> {
        let text = match (inline, named) {
            (Some(text), _) => text.to_owned(),
            (None, Some(name)) => {
                let Some(path) = self.local(place, field, name) else {
                    return Vec::new();
                };
                let text = file_text(&path).unwrap_or_default();
                self.patch_files.push(path);
                text
            }
            (None, None) => return Vec::new(),
        };
        yaml::documents(&text)
            .documents
            .into_iter()
            .map(|document| document.value)
            .collect()
    }

    /// What it does, in kustomize's order (`configureBuiltinTransformers`): patches, names and labels, images, replacements; then the
    /// transformers that it names.
    fn steps(&mut self, value: &Value) -> Vec<Step> {
        let mut steps = Vec::new();
        for field in ["patchesStrategicMerge", "patches", "patchesJson6902"] {
            for (at, entry) in list(value, field).iter().enumerate() {
                self.patches(&format!("{field}[{at}]"), field, entry, &mut steps);
            }
        }
        steps.push(Step::Identity(identity(value)));
        for (at, entry) in list(value, "images").iter().enumerate() {
            let line = self.document.map_or(1, |document| document.line_of(&format!("images[{at}]")));
            steps.extend(Image::read(entry, line).map(Step::Image));
        }
        for (at, entry) in list(value, "replacements").iter().enumerate() {
            self.replacements(&format!("replacements[{at}]"), entry, &mut steps);
        }
        for (at, entry) in list(value, "transformers").iter().enumerate() {
            let Some(entry) = entry.as_str() else { continue };
            let place = format!("transformers[{at}]");
            let inline = entry.contains('\n').then_some(entry);
            let folder = self.folder.join(entry);
            if inline.is_none() && folder.is_dir() {
                steps.push(Step::Program(escape(entry)));
                continue;
            }
            for one in self.documents(&place, "transformers", inline, Some(entry)) {
                self.transformer(&place, &one, &mut steps);
            }
        }
        steps
    }

    fn patches(&mut self, place: &str, field: &str, entry: &Value, steps: &mut Vec<Step>) {
        let by_name = field == "patchesStrategicMerge";
        let whole = entry.as_str();
        let inline = entry
            .get("patch")
            .or_else(|| entry.get("jsonOp"))
            .and_then(Value::as_str)
            .or(whole.filter(|text| text.contains('\n')));
        let named = entry
            .get("path")
            .and_then(Value::as_str)
            .or(whole.filter(|_| by_name && inline.is_none()));
        let target = entry.get("target");
        // The older forms of Flux's objects hold patches inline.
        if let Some(body) = entry
            .get("patch")
            .filter(|patch| patch.is_array())
            .or_else(|| entry.get("kind").map(|_| entry))
        {
            steps.push(Step::Patch(Patch::of(body.clone(), target)));
            return;
        }
        let bodies = self.documents(place, field, inline, named);
        steps.extend(bodies.into_iter().map(|body| Step::Patch(Patch::of(body, target))));
    }

    /// An inline replacement, or those of a file.
    fn replacements(&mut self, place: &str, entry: &Value, steps: &mut Vec<Step>) {
        let Some(name) = entry.get("path").and_then(Value::as_str) else {
            steps.extend(Replacement::read(entry).map(Step::Replacement));
            return;
        };
        for document in self.documents(place, "replacements", None, Some(name)) {
            let many = match document {
                Value::Array(many) => many,
                one => vec![one],
            };
            steps.extend(many.iter().filter_map(Replacement::read).map(Step::Replacement));
        }
    }

    /// A transformer's own document: kustomize's own kinds, or a program.
    fn transformer(&mut self, place: &str, one: &Value, steps: &mut Vec<Step>) {
        let (version, kind) = (text(one, "apiVersion"), text(one, "kind"));
        if version != "builtin" {
            steps.push(Step::Program(escape(&kind)));
            return;
        }
        match kind.as_str() {
            "ImageTagTransformer" => {
                let line = self.document.map_or(1, |document| document.line_of(place));
                let image = one.get("imageTag").and_then(|image| Image::read(image, line));
                steps.extend(image.map(Step::Image));
            }
            "PatchTransformer" | "PatchJson6902Transformer" => self.patches(place, "transformers", one, steps),
            "PatchStrategicMergeTransformer" => {
                for name in list(one, "paths").iter().filter_map(Value::as_str) {
                    let bodies = self.documents(place, "transformers", None, Some(name));
                    steps.extend(bodies.into_iter().map(|body| Step::Patch(Patch::of(body, None))));
                }
                let bodies = self.documents(place, "transformers", one.get("patches").and_then(Value::as_str), None);
                steps.extend(bodies.into_iter().map(|body| Step::Patch(Patch::of(body, None))));
            }
            "ReplacementTransformer" => {
                for entry in list(one, "replacements") {
                    self.replacements(place, entry, steps);
                }
            }
            "PrefixTransformer" | "SuffixTransformer" => steps.push(Step::Identity(Identity {
                prefix: text(one, "prefix"),
                suffix: text(one, "suffix"),
                ..Identity::default()
            })),
            _ => {}
        }
    }
}

/// What changes in the identity of resources.
fn identity(value: &Value) -> Identity {
    let pairs = |value: &Value| -> Vec<(String, String)> {
        let map = value.as_object().into_iter().flatten();
        map.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    };
    let mut labels: Vec<(String, String)> = value.get("commonLabels").map(pairs).unwrap_or_default();
    labels.extend(
        list(value, "labels")
            .iter()
            .filter_map(|entry| entry.get("pairs"))
            .flat_map(pairs),
    );
    labels.extend(value.pointer("/commonMetadata/labels").map(pairs).unwrap_or_default());
    let namespace = match text(value, "namespace") {
        empty if empty.is_empty() => text(value, "targetNamespace"),
        namespace => namespace,
    };
    Identity {
        prefix: text(value, "namePrefix"),
        suffix: text(value, "nameSuffix"),
        namespace,
        labels,
    }
}

/// What a kustomization needs that is not in local files.
fn wants(value: &Value) -> Option<String> {
    for field in ["helmCharts", "helmChartInflationGenerator"] {
        if !list(value, field).is_empty() {
            return Some(format!("its {field} are fetched by Helm"));
        }
    }
    let fields = [
        "resources",
        "bases",
        "components",
        "generators",
        "transformers",
        "validators",
        "crds",
        "configurations",
    ];
    let of_fields = fields.iter().find_map(|field| {
        let mut entries = list(value, field).iter().filter_map(Value::as_str);
        entries.find(|entry| is_remote(entry) && !entry.contains('\n'))
    });
    let remote = of_fields.or_else(|| fetched(value))?;
    Some(format!("{} is elsewhere", escape(remote)))
}

/// A file that a generator of `ConfigMaps` or Secrets fetches: `https://…` or `key=https://…`.
fn fetched(value: &Value) -> Option<&str> {
    let generators = ["configMapGenerator", "secretGenerator"]
        .iter()
        .flat_map(|field| list(value, field));
    let entries = generators.flat_map(|one| list(one, "files").iter().chain(list(one, "envs")));
    let mut files = entries.filter_map(Value::as_str).map(|entry| match entry.split_once('=') {
        Some((key, file)) if !key.contains("://") => file,
        _ => entry,
    });
    files.find(|file| file.starts_with("https://") || file.starts_with("http://"))
}

/// Relative to the current folder, where that is possible.
pub(super) fn shown(file: &Path) -> String {
    let here = std::env::current_dir().ok().and_then(|here| here.canonicalize().ok());
    let relative = here.as_deref().and_then(|here| file.strip_prefix(here).ok()).unwrap_or(file);
    escape(&relative.display().to_string())
}

/// Something that kustomize fetches.
fn is_remote(text: &str) -> bool {
    let host = text.split('/').next().unwrap_or_default();
    text.contains("://")
        || text.contains("?ref=")
        || text.contains("//")
        || text.contains('@')
        || (!host.starts_with('.') && host.contains('.') && text.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_is_no_file() {
        for remote in [
            "https://example.com/x.yaml",
            "github.com/org/repo/deploy?ref=v1",
            "git@github.com:org/repo",
            "github.com/org/repo//base",
        ] {
            assert!(is_remote(remote), "{remote}");
        }
        for local in ["../base", "./x.yaml", "deployment.yaml", "sub/x.yaml"] {
            assert!(!is_remote(local), "{local}");
        }
    }
}
