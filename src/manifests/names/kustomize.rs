//! Kustomizations of a set: which of them reach a file, and what they make of the names of its images (kustomize's image tag
//! transformer, patches and replacements, v5; <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/>).

mod applied;
mod edits;
mod read;
mod target;
mod tree;

pub(in crate::manifests) use tree::Tree;

use super::Site;
use crate::files;
use crate::limits;
use crate::manifests::Manifest;
use crate::manifests::notes::Notes;
use crate::workload::{ImageUse, Later};
use crate::yaml::{self, Document};
use edits::{Source, Step, Written};
use read::Field;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use target::Known;

/// The names of such a file.
pub(super) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Chains of kustomizations longer than this are not followed.
const DEEPEST: usize = 32;

/// How often kustomizations are included, in total: overlays of overlays of a large repository take a few thousand.
const MOST_STEPS: usize = 100_000;

/// The kustomizations of a set.
#[derive(Debug, Default)]
pub(super) struct Kustomizations {
    /// By folder; those that a controller applies, under a name that is not a folder.
    all: BTreeMap<PathBuf, Kustomization>,
    /// For each file, the ways in which it is reached: the folders of the kustomizations that work on it, its own first. There is one way
    /// for each kustomization that includes it and that no other one includes.
    ways: HashMap<PathBuf, Vec<Vec<PathBuf>>>,
}

#[derive(Debug, Default)]
struct Kustomization {
    /// The file, as it is shown.
    shown: String,
    /// Files and folders that it includes.
    resources: Vec<PathBuf>,
    /// Folders of components, which add to it.
    components: Vec<PathBuf>,
    /// Files of patches.
    patch_files: Vec<PathBuf>,
    /// What it does, in order.
    steps: Vec<Step>,
    /// Fields that hold images by its `configurations`.
    fields: Vec<Field>,
    /// What its generators make.
    generated: Vec<Value>,
    /// Whether it fills in `$(VAR)`.
    variables: bool,
    /// What it needs from elsewhere or from a plugin, as a clause.
    wants: Option<String>,
    /// Whether it is a component, which only others build.
    component: bool,
    /// Whether it is what an object of Flux or Argo CD does to a folder.
    applied: bool,
}

impl Kustomizations {
    /// Reads the kustomizations in these folders, and what objects of Flux and Argo CD do to them. Adds a note for each file they name that
    /// does not exist.
    pub(super) fn read(folders: &[PathBuf], objects: &[Manifest], notes: &mut Notes) -> Self {
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
        applied::add(&mut all, folders, objects, notes);
        let mut read = Self {
            all,
            ways: HashMap::new(),
        };
        read.find_ways();
        read
    }

    /// Walks from each kustomization that no other one includes to the files that it reaches.
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
            // Components work on the included resources before the kustomization itself does.
            let mut way = self.components(&here.components, 0);
            way.extend(own.iter().cloned());
            for taken_in in here.resources.iter().chain(&here.patch_files) {
                if self.all.contains_key(taken_in) {
                    open.push((taken_in.clone(), way.clone()));
                } else {
                    ways.entry(taken_in.clone()).or_default().push(way.clone());
                }
            }
            for (at, component) in here.components.iter().enumerate() {
                let mut outer = self.components(here.components.get(at + 1..).unwrap_or_default(), 0);
                outer.extend(own.iter().cloned());
                open.push((component.clone(), outer));
            }
        }
        self.ways = ways;
    }

    /// Components, each after those that it includes itself.
    fn components(&self, folders: &[PathBuf], depth: usize) -> Vec<PathBuf> {
        let below = |folder: &PathBuf| match self.all.get(folder) {
            Some(one) if depth < DEEPEST => self.components(&one.components, depth + 1),
            _ => Vec::new(),
        };
        folders
            .iter()
            .flat_map(|folder| below(folder).into_iter().chain([folder.clone()]))
            .take(MOST_STEPS)
            .collect()
    }

    /// The names that an image gets: one for each overlay that gives it a different name. Empty if none renames it.
    pub(super) fn rename(&self, site: &Site<'_>, image: &ImageUse) -> Vec<Later> {
        let mut found: Vec<Later> = Vec::new();
        let mut untouched = false;
        let chains = match site.overlay {
            Some(folder) => self.applied_to(folder),
            None => self.chains(site.file.as_deref()),
        };
        for chain in chains {
            match self.through(&chain, site, image) {
                Some(later) if !found.iter().any(|known| same(known, &later)) => found.push(later),
                Some(_) => {}
                None => untouched = true,
            }
        }
        if untouched && !found.is_empty() {
            // At least one overlay leaves the name as it is.
            let by = "kustomize".to_owned();
            let as_it_is = Later::Named {
                name: image.image.clone(),
                by,
                otherwise: None,
            };
            if !found.iter().any(|known| same(known, &as_it_is)) {
                found.push(as_it_is);
            }
        }
        found
    }

    /// The folders of the kustomizations that no other one includes, without components.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        let taken: BTreeSet<&PathBuf> = self
            .all
            .values()
            .filter(|one| !one.applied)
            .flat_map(|one| one.resources.iter().chain(&one.components))
            .collect();
        let roots = self
            .all
            .iter()
            .filter(|(folder, one)| !one.component && !one.applied && !taken.contains(folder));
        roots.map(|(folder, _)| folder.clone()).collect()
    }

    /// Whether a file is reached, and only from these roots.
    pub(super) fn only_from(&self, file: &Path, roots: &BTreeSet<PathBuf>) -> bool {
        let ways = self.ways.get(file);
        let is_folder = |place: &&PathBuf| self.all.get(*place).is_some_and(|one| !one.applied);
        let root = |way: &Vec<PathBuf>| way.iter().rev().find(is_folder).is_some_and(|root| roots.contains(root));
        ways.is_some_and(|ways| ways.iter().all(root))
    }

    /// What fills in `$(VAR)` of a file.
    pub(super) fn variables(&self, file: Option<&Path>) -> Option<String> {
        let chains = self.chains(file);
        let mut reached = chains.iter().flatten();
        reached
            .find(|one| one.variables)
            .map(|one| format!("kustomize (vars of {})", one.shown))
    }

    /// What controllers do to a folder: for each controller, what works on the output built from it.
    fn applied_to(&self, folder: &Path) -> Vec<Vec<&Kustomization>> {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let of = |one: &'_ Kustomization| one.applied && one.resources.contains(&folder);
        let applied = self.all.values().filter(|one| of(one));
        applied
            .map(|one| {
                let components = self.components(&one.components, 0);
                let components = components.iter().filter_map(|folder| self.all.get(folder));
                components.chain([one]).collect()
            })
            .collect()
    }

    /// The kustomizations that work on a file, for each way in which it is reached.
    fn chains(&self, file: Option<&Path>) -> Vec<Vec<&Kustomization>> {
        let ways = file.and_then(|file| self.ways.get(file)).into_iter().flatten();
        ways.map(|way| way.iter().filter_map(|folder| self.all.get(folder)).collect())
            .collect()
    }

    /// The name that a chain of kustomizations turns an image's into.
    fn through(&self, chain: &[&Kustomization], site: &Site<'_>, image: &ImageUse) -> Option<Later> {
        let mut name = image.image.clone();
        let mut by: Option<String> = None;
        let mut known = Known {
            api_version: site.object.api_version.clone(),
            kind: site.object.kind.clone(),
            names: vec![site.object.name.clone()],
            namespaces: Some(site.object.namespace.clone())
                .filter(|name| !name.is_empty())
                .into_iter()
                .collect(),
            labels: site.hints.labels.clone(),
            annotations: site.hints.annotations.clone(),
        };
        let place = image.path.as_str().replace('[', ".").replace(']', "");
        let mut pointer: String = place.split('.').flat_map(|step| ["/", step]).collect();
        let mut fields: Vec<&Field> = Vec::new();
        for one in chain {
            fields.extend(&one.fields);
            let by_fields = is_container(image) || fields.iter().any(|field| field.holds(&known.kind, image.path.as_str()));
            for step in &one.steps {
                let written = match step {
                    Step::Identity(identity) => {
                        known.change(identity);
                        None
                    }
                    Step::Patch(patch) => patch.image(image, &mut pointer, &known),
                    Step::Image(entry) if by_fields => entry.apply(&name).map(Written::Name),
                    Step::Image(_) => None,
                    Step::Replacement(replacement) => replacement.apply(image, &name, &known, |source| self.value(one, source)),
                    Step::Program(_) => Some(Written::Something),
                    Step::Substitute(values) => values.of(&name, &known, |file| self.changes(file)).map(Written::Name),
                };
                match written {
                    None => {}
                    Some(Written::Name(new)) => {
                        name = new;
                        by = Some(match step {
                            Step::Substitute(_) => format!("Flux (postBuild of {})", one.shown),
                            _ => format!("kustomize ({})", one.shown),
                        });
                    }
                    Some(Written::Something) => {
                        let what = match step {
                            Step::Replacement(_) => "replacements".to_owned(),
                            Step::Program(kind) => format!("transformer {kind}"),
                            _ => "patches".to_owned(),
                        };
                        let by = format!("kustomize ({what} of {})", one.shown);
                        return Some(Later::FilledIn { what: name, by });
                    }
                }
            }
        }
        let by = by?;
        Some(Later::Named {
            name,
            by,
            otherwise: None,
        })
    }

    /// Whether kustomizations change the contents of a file.
    fn changes(&self, file: &Path) -> bool {
        let chains = self.chains(Some(file));
        chains
            .iter()
            .flatten()
            .flat_map(|one| &one.steps)
            .any(|step| !matches!(step, Step::Identity(_) | Step::Image(_) | Step::Substitute(_)))
    }

    /// The value of a replacement's source, if a resource of the kustomization or what it generates has it as it stands.
    fn value(&self, one: &Kustomization, source: &Source) -> Option<String> {
        let mut open: Vec<&Kustomization> = vec![one];
        let (mut at, mut resources) = (0, one.generated.clone());
        while let Some(next) = open.get(at).copied() {
            at += 1;
            for taken_in in next.resources.iter().chain(&next.components) {
                match self.all.get(taken_in) {
                    Some(below) if open.len() < DEEPEST => {
                        resources.extend(below.generated.iter().cloned());
                        open.push(below);
                    }
                    Some(_) => {}
                    None => {
                        let text = file_text(taken_in).unwrap_or_default();
                        resources.extend(yaml::manifests(&text).documents.into_iter().map(|document| document.value));
                    }
                }
            }
        }
        edits::looked_up(source, resources)
    }
}

fn same(one: &Later, other: &Later) -> bool {
    match (one, other) {
        (Later::Named { name, .. }, Later::Named { name: other, .. }) => name == other,
        (one, other) => one == other,
    }
}

/// kustomize looks for `containers` and `initContainers` at any depth, and for the volumes of pods and templates.
fn is_container(image: &ImageUse) -> bool {
    let path = image.path.as_str();
    if let Some(volumes) = path.strip_suffix("].image.reference").and_then(|path| path.rsplit_once('[')) {
        return ["spec.volumes", "spec.template.spec.volumes"].contains(&volumes.0);
    }
    let list = path
        .strip_suffix("].image")
        .and_then(|path| path.rsplit_once('['))
        .map(|(list, _)| list);
    list.is_some_and(|list| ["containers", "initContainers"].contains(&list.rsplit('.').next().unwrap_or_default()))
}

fn document(file: &Path) -> Option<Document> {
    yaml::documents(&file_text(file)?)
        .documents
        .into_iter()
        .find(|document| document.value.is_object())
}

/// A file of the set.
fn file_text(file: &Path) -> Option<String> {
    String::from_utf8(files::read(file, limits::MANIFEST_FILE).ok()?).ok()
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

/// The value at a path such as `spec.containers[0]`.
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
