//! Kustomizations of a set: which of them reach a file, and what they make of the names of its images (kustomize's image tag
//! transformer and its patches, v5; <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/>).

use super::Site;
use crate::files;
use crate::image::escape;
use crate::limits;
use crate::manifests::notes::{Note, Notes, Passed};
use crate::workload::{ImageUse, Later};
use crate::yaml::{self, Document};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The names of such a file.
pub(super) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Chains of kustomizations longer than this are not followed.
const DEEPEST: usize = 32;

/// How often a kustomization is taken in, altogether: overlays of overlays of a large repository take a few thousand.
const MOST_STEPS: usize = 100_000;

/// The kustomizations of a set.
#[derive(Debug, Default)]
pub(super) struct Kustomizations {
    /// By folder.
    all: BTreeMap<PathBuf, Kustomization>,
    /// For each file, the ways on which it is reached: the folders of the kustomizations that work on it, its own first. One way for each
    /// kustomization that no other one takes in.
    ways: HashMap<PathBuf, Vec<Vec<PathBuf>>>,
}

#[derive(Debug, Default)]
struct Kustomization {
    /// The file, as it is shown.
    shown: String,
    /// Files and folders that it takes in.
    resources: Vec<PathBuf>,
    /// Folders of components, which add to it.
    components: Vec<PathBuf>,
    /// Files of patches.
    patch_files: Vec<PathBuf>,
    patches: Vec<Patch>,
    images: Vec<Image>,
    /// Whether it fills in `$(VAR)`.
    variables: bool,
    /// Whether `replacements` write an image.
    replaces: bool,
    /// What it wants from elsewhere, or of a plugin: a clause.
    wants: Option<String>,
    /// Whether it is a component, which only others build.
    component: bool,
}

/// An entry of `images`.
#[derive(Debug, Default)]
struct Image {
    /// Its line, from 1.
    line: usize,
    name: String,
    new_name: String,
    new_tag: String,
    digest: String,
    suffix: String,
}

/// A patch, and what it is for.
#[derive(Debug)]
struct Patch {
    kind: Option<String>,
    name: Option<String>,
    body: Value,
}

impl Kustomizations {
    /// Reads the kustomizations in these folders. What they name and is not there is a note.
    pub(super) fn read(folders: &[PathBuf], notes: &mut Notes) -> Self {
        let mut all = BTreeMap::new();
        for folder in folders {
            let found = NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file());
            let Some(file) = found else { continue };
            let Some(document) = document(&file) else { continue };
            let version = document.value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
            if version.is_empty() || version.starts_with("kustomize.config.k8s.io/") {
                all.insert(folder.clone(), Kustomization::read(folder, &file, &document, notes));
            }
        }
        let mut read = Self {
            all,
            ways: HashMap::new(),
        };
        read.find_ways();
        read
    }

    /// Walks from each kustomization that no other one takes in to the files that it reaches.
    fn find_ways(&mut self) {
        let taken: BTreeSet<&PathBuf> = self
            .all
            .values()
            .flat_map(|one| one.resources.iter().chain(&one.components))
            .collect();
        let mut open: Vec<(PathBuf, Vec<PathBuf>)> = Vec::new();
        let roots = self.all.keys().rev().filter(|folder| !taken.contains(folder));
        open.extend(roots.map(|folder| (folder.clone(), Vec::new())));
        let mut ways: HashMap<PathBuf, Vec<Vec<PathBuf>>> = HashMap::new();
        let mut steps = 0;
        while let Some((folder, outer)) = open.pop() {
            let Some(here) = self.all.get(&folder) else { continue };
            steps += 1;
            if outer.len() >= DEEPEST || outer.contains(&folder) || steps > MOST_STEPS {
                continue;
            }
            let mut own = vec![folder];
            own.extend(outer);
            // Components work on what has been taken in, before the kustomization itself does.
            let way: Vec<PathBuf> = here.components.iter().chain(&own).cloned().collect();
            for taken_in in here.resources.iter().chain(&here.patch_files) {
                if self.all.contains_key(taken_in) {
                    open.push((taken_in.clone(), way.clone()));
                } else {
                    ways.entry(taken_in.clone()).or_default().push(way.clone());
                }
            }
            open.extend(here.components.iter().map(|component| (component.clone(), own.clone())));
        }
        self.ways = ways;
    }

    /// The names that an image gets: one for each overlay that says something else. Empty where none does.
    pub(super) fn rename(&self, site: &Site<'_>, image: &ImageUse) -> Vec<Later> {
        let mut found: Vec<Later> = Vec::new();
        let mut untouched = false;
        for chain in self.chains(site.file.as_deref()) {
            match through(&chain, site, image) {
                Some(later) if !found.iter().any(|known| same(known, &later)) => found.push(later),
                Some(_) => {}
                None => untouched = true,
            }
        }
        if untouched && !found.is_empty() {
            // One of the overlays leaves the name as it is.
            let by = "kustomize".to_owned();
            let as_it_is = Later::Named {
                name: image.image.clone(),
                by,
            };
            if !found.iter().any(|known| same(known, &as_it_is)) {
                found.push(as_it_is);
            }
        }
        found
    }

    /// The folders of the kustomizations that no other one takes in, components apart.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        let taken: BTreeSet<&PathBuf> = self
            .all
            .values()
            .flat_map(|one| one.resources.iter().chain(&one.components))
            .collect();
        let roots = self
            .all
            .iter()
            .filter(|(folder, one)| !one.component && !taken.contains(folder));
        roots.map(|(folder, _)| folder.clone()).collect()
    }

    /// Whether a file is reached, and only from these roots.
    pub(super) fn only_from(&self, file: &Path, roots: &BTreeSet<PathBuf>) -> bool {
        let ways = self.ways.get(file);
        ways.is_some_and(|ways| ways.iter().all(|way| way.last().is_some_and(|root| roots.contains(root))))
    }

    /// What fills in `$(VAR)` of a file.
    pub(super) fn variables(&self, file: Option<&Path>) -> Option<String> {
        let chains = self.chains(file);
        let mut reached = chains.iter().flatten();
        reached
            .find(|one| one.variables)
            .map(|one| format!("kustomize (vars of {})", one.shown))
    }

    /// The kustomizations that work on a file, for each way on which it is reached.
    fn chains(&self, file: Option<&Path>) -> Vec<Vec<&Kustomization>> {
        let ways = file.and_then(|file| self.ways.get(file)).into_iter().flatten();
        ways.map(|way| way.iter().filter_map(|folder| self.all.get(folder)).collect())
            .collect()
    }
}

/// The name that a chain of kustomizations makes of one.
fn through(chain: &[&Kustomization], site: &Site<'_>, image: &ImageUse) -> Option<Later> {
    let mut name = image.image.clone();
    let mut by = None;
    for one in chain {
        if one.replaces {
            let by = format!("kustomize (replacements of {})", one.shown);
            return Some(Later::FilledIn { what: name, by });
        }
        for patch in one.patches.iter().filter(|patch| patch.is_for(site)) {
            if let Some(new) = patch.image(image) {
                new.clone_into(&mut name);
                by = Some(&one.shown);
            }
        }
        if is_container(image) {
            for entry in &one.images {
                if let Some(new) = entry.apply(&name) {
                    name = new;
                    by = Some(&one.shown);
                }
            }
        }
    }
    let by = format!("kustomize ({})", by?);
    Some(Later::Named { name, by })
}

/// A kustomization with all that it takes in.
#[derive(Debug)]
pub(in crate::manifests) struct Tree(Vec<(PathBuf, Kustomization)>);

impl Tree {
    /// Reads the one in a folder and those below it.
    pub(in crate::manifests) fn read(folder: &Path) -> Self {
        let (mut all, mut open) = (Vec::new(), vec![folder.to_owned()]);
        let mut seen = BTreeSet::new();
        while let Some(folder) = open.pop() {
            let file = NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file());
            let Some(file) = file.filter(|_| seen.len() < MOST_STEPS && seen.insert(folder.clone())) else {
                continue;
            };
            let Some(document) = document(&file) else { continue };
            // What is not there, kustomize says itself.
            let one = Kustomization::read(&folder, &file, &document, &mut Notes::default());
            open.extend(one.resources.iter().chain(&one.components).cloned());
            all.push((file, one));
        }
        Self(all)
    }

    /// What it needs that is not in the tree; a clause.
    pub(in crate::manifests) fn wants(&self) -> Option<&str> {
        self.0.iter().find_map(|(_, one)| one.wants.as_deref())
    }

    /// The entry of `images` that made this image: the kustomization, its line, and the name of the entry.
    pub(in crate::manifests) fn renamed(&self, image: &str) -> Option<(&Path, usize, &str)> {
        self.0.iter().find_map(|(file, one)| {
            let entry = one.images.iter().find(|entry| entry.makes(image))?;
            Some((file.as_path(), entry.line, entry.name.as_str()))
        })
    }

    /// All files of it.
    pub(in crate::manifests) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flat_map(|(file, one)| {
            let taken = one.resources.iter().chain(&one.patch_files);
            std::iter::once(file.as_path()).chain(taken.map(PathBuf::as_path))
        })
    }
}

fn same(one: &Later, other: &Later) -> bool {
    match (one, other) {
        (Later::Named { name, .. }, Later::Named { name: other, .. }) => name == other,
        (one, other) => one == other,
    }
}

/// kustomize looks for `containers` and `initContainers` at any depth.
fn is_container(image: &ImageUse) -> bool {
    let path = image.path.as_str();
    let list = path
        .strip_suffix("].image")
        .and_then(|path| path.rsplit_once('['))
        .map(|(list, _)| list);
    list.is_some_and(|list| ["containers", "initContainers"].contains(&list.rsplit('.').next().unwrap_or_default()))
}

fn document(file: &Path) -> Option<Document> {
    let bytes = files::read(file, limits::MANIFEST_FILE).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    yaml::documents(&text)
        .documents
        .into_iter()
        .find(|document| document.value.is_object())
}

fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl Kustomization {
    fn read(folder: &Path, file: &Path, document: &Document, notes: &mut Notes) -> Self {
        let value = &document.value;
        let shown = shown(file);
        let mut local = |field: &str, at: usize, text: &str| -> Option<PathBuf> {
            match folder.join(text).canonicalize() {
                Ok(path) => Some(path),
                Err(_) if is_remote(text) => None,
                Err(_) => {
                    let line = document.line_of(&format!("{field}[{at}]"));
                    let note = Note::about(Passed::NotThere, &shown).at(line);
                    notes.push(note.because(&format!("{field}: {text}")));
                    None
                }
            }
        };
        let mut paths = |field: &str| -> Vec<PathBuf> {
            let entries = list(value, field).iter().enumerate();
            entries.filter_map(|(at, entry)| local(field, at, entry.as_str()?)).collect()
        };
        let mut resources = paths("resources");
        // Before v2.1.
        resources.extend(paths("bases"));
        let components = paths("components");
        let mut patch_files = Vec::new();
        let mut patches = Vec::new();
        for (field, by_name) in [
            ("patches", false),
            ("patchesStrategicMerge", true),
            ("patchesJson6902", false),
        ] {
            for (at, entry) in list(value, field).iter().enumerate() {
                let inline = entry
                    .get("patch")
                    .and_then(Value::as_str)
                    .or_else(|| entry.as_str().filter(|text| text.contains('\n')));
                let named = entry
                    .get("path")
                    .and_then(Value::as_str)
                    .or_else(|| entry.as_str().filter(|_| by_name && inline.is_none()));
                let documents = match (inline, named) {
                    (Some(text), _) => yaml::documents(text).documents,
                    (None, Some(name)) => {
                        let Some(path) = local(field, at, name) else { continue };
                        let bytes = files::read(&path, limits::MANIFEST_FILE).unwrap_or_default();
                        patch_files.push(path);
                        yaml::documents(&String::from_utf8_lossy(&bytes)).documents
                    }
                    (None, None) => continue,
                };
                let target = entry.get("target");
                patches.extend(documents.into_iter().map(|document| Patch::of(document.value, target)));
            }
        }
        let images = list(value, "images").iter().enumerate().map(|(at, entry)| Image {
            line: document.line_of(&format!("images[{at}]")),
            name: text(entry, "name"),
            new_name: text(entry, "newName"),
            new_tag: text(entry, "newTag"),
            digest: text(entry, "digest"),
            suffix: text(entry, "tagSuffix"),
        });
        let writes_image = |target: &Value| {
            let mut fields = list(target, "fieldPaths").iter().filter_map(Value::as_str);
            fields.any(|path| path.rsplit_once('.').is_some_and(|(_, field)| field == "image"))
        };
        let replaces = list(value, "replacements")
            .iter()
            .any(|one| list(one, "targets").iter().any(writes_image));
        Self {
            images: images.filter(|image| !image.name.is_empty()).collect(),
            shown,
            resources,
            components,
            patch_files,
            patches,
            variables: !list(value, "vars").is_empty(),
            replaces,
            wants: wants(value),
            component: value.get("kind").and_then(Value::as_str) == Some("Component"),
        }
    }
}

/// What a kustomization needs that is not in files beside it.
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
    fields.iter().find_map(|field| {
        let mut entries = list(value, field).iter().filter_map(Value::as_str);
        let remote = entries.find(|entry| is_remote(entry) && !entry.contains('\n'))?;
        Some(format!("{} is elsewhere", escape(remote)))
    })
}

/// Relative to the current folder, where that is possible.
fn shown(file: &Path) -> String {
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

impl Image {
    /// Whether an image may be what it makes of one.
    fn makes(&self, image: &str) -> bool {
        let name = if self.new_name.is_empty() {
            &self.name
        } else {
            &self.new_name
        };
        let Some(rest) = image.strip_prefix(name.as_str()) else {
            return false;
        };
        let (tag, digest) = rest.split_once('@').unwrap_or((rest, ""));
        let tag_fits = match self.new_tag.as_str() {
            "" => tag.is_empty() || tag.starts_with(':'),
            new => tag.strip_prefix(':') == Some(new),
        };
        tag_fits && (self.digest.is_empty() || digest == self.digest)
    }

    /// What becomes of a name that it is for.
    fn apply(&self, image: &str) -> Option<String> {
        let rest = image.strip_prefix(self.name.as_str())?;
        let of_name = rest.is_empty() || (rest.starts_with([':', '@']) && !rest.contains('/'));
        if !of_name {
            return None;
        }
        let (rest, digest) = rest.split_once('@').unwrap_or((rest, ""));
        let tag = rest.strip_prefix(':').unwrap_or_default();
        let name = if self.new_name.is_empty() {
            &self.name
        } else {
            &self.new_name
        };
        let (tag, digest) = match (self.new_tag.as_str(), self.digest.as_str()) {
            ("", "") if !self.suffix.is_empty() => (format!("{tag}{}", self.suffix), ""),
            ("", "") => (tag.to_owned(), digest),
            (tag, digest) => (tag.to_owned(), digest),
        };
        let colon = if tag.is_empty() { "" } else { ":" };
        let at = if digest.is_empty() { "" } else { "@" };
        Some(format!("{name}{colon}{tag}{at}{digest}"))
    }
}

impl Patch {
    fn of(body: Value, target: Option<&Value>) -> Self {
        let said = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (kind, name) = match target {
            Some(target) => (said(target, "/kind"), said(target, "/name")),
            None => (said(&body, "/kind"), said(&body, "/metadata/name")),
        };
        Self { kind, name, body }
    }

    /// A target's name is a regular expression; one that is no plain name may be for anything.
    fn is_for(&self, site: &Site<'_>) -> bool {
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is || !plain(wanted));
        fits(&self.kind, &site.object.kind) && fits(&self.name, &site.object.name)
    }

    /// The image that it writes for a container: by its name, or by its place.
    fn image(&self, image: &ImageUse) -> Option<&str> {
        if let Some(steps) = self.body.as_array() {
            let place = image.path.as_str().replace('[', ".").replace(']', "");
            let pointer: String = place.split('.').flat_map(|step| ["/", step]).collect();
            let step = steps
                .iter()
                .rfind(|step| step.get("path").and_then(Value::as_str) == Some(pointer.as_str()))?;
            return step.get("value").and_then(Value::as_str);
        }
        let list = image.path.as_str().strip_suffix("].image")?.rsplit_once('[')?.0;
        let containers = at(&self.body, list)?.as_array()?;
        let container = containers
            .iter()
            .find(|container| container.get("name").and_then(Value::as_str) == Some(&image.name))?;
        container.get("image").and_then(Value::as_str)
    }
}

/// What stands at a path such as `spec.containers[0]`.
pub(in crate::manifests) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .filter(|step| !step.is_empty())
        .try_fold(value, |value, step| {
            let (field, indexes) = step.split_once('[').unwrap_or((step, ""));
            let mut value = value.get(field)?;
            for index in indexes.split('[').filter(|index| !index.is_empty()) {
                value = value.get(index.trim_end_matches(']').parse::<usize>().ok()?)?;
            }
            Some(value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_renamed_as_kustomize_does() {
        let entry = |new_name: &str, new_tag: &str, digest: &str, suffix: &str| Image {
            line: 1,
            name: "app".to_owned(),
            new_name: new_name.to_owned(),
            new_tag: new_tag.to_owned(),
            digest: digest.to_owned(),
            suffix: suffix.to_owned(),
        };
        for (image, entry, expected) in [
            ("app", entry("reg/team/app", "1", "", ""), Some("reg/team/app:1")),
            ("app:v1", entry("reg/app", "", "", ""), Some("reg/app:v1")),
            ("app:v1@sha256:a", entry("", "2", "", ""), Some("app:2")),
            ("app:v1", entry("", "", "sha256:b", ""), Some("app@sha256:b")),
            ("app:v1", entry("", "3", "sha256:b", ""), Some("app:3@sha256:b")),
            ("app:v1", entry("", "", "", "-x"), Some("app:v1-x")),
            ("app:v1@sha256:a", entry("other", "", "", ""), Some("other:v1@sha256:a")),
            ("app2", entry("x", "", "", ""), None),
            ("app/sub:1", entry("x", "", "", ""), None),
            ("reg/app:1", entry("x", "", "", ""), None),
            ("app:5000/sub", entry("x", "", "", ""), None),
        ] {
            assert_eq!(entry.apply(image).as_deref(), expected, "{image}");
        }
    }

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
