//! What controllers do to kustomizations of the set: Flux's `Kustomization` (<https://fluxcd.io/flux/components/kustomize/kustomizations/>)
//! and Argo CD's `Application` (<https://argo-cd.readthedocs.io/en/stable/user-guide/kustomize/>) add images, patches and components to
//! the folder that they apply.

use super::edits::{Step, Substitution};
use super::{Kustomization, list, read, text};
use crate::manifests::Manifest;
use crate::manifests::notes::Notes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The most files of one folder without a kustomization.
const MOST_FILES: usize = 10_000;

/// Adds what such objects among `objects` do, each under a name that is not a folder.
pub(super) fn add(all: &mut BTreeMap<PathBuf, Kustomization>, folders: &[PathBuf], objects: &[Manifest], notes: &mut Notes) {
    let within: BTreeSet<&PathBuf> = folders.iter().collect();
    for (at, manifest) in objects.iter().enumerate() {
        for (path, spec) in applications(&manifest.object) {
            let Ok(file) = Path::new(&manifest.source.file).canonicalize() else {
                continue;
            };
            let Some(folder) = folder(&file, &path, &within) else {
                continue;
            };
            let shown = format!(
                "{} {} in {}",
                text(&manifest.object, "kind"),
                name(&manifest.object),
                read::shown(&file)
            );
            let mut one = Kustomization::applied(&folder, spec, &shown, notes);
            let named = |name: &str| config_map(objects, &space(&manifest.object), name);
            one.steps.extend(Substitution::read(spec, &file, named).map(Step::Substitute));
            if all.contains_key(&folder) {
                one.resources.push(folder);
            } else if !one.steps.iter().all(|step| matches!(step, Step::Identity(_))) {
                files(&folder, all, &mut one.resources);
            }
            all.insert(file.join(format!("#{at}")), one);
        }
    }
}

fn name(object: &Value) -> String {
    metadata(object, "name")
}

fn space(object: &Value) -> String {
    metadata(object, "namespace")
}

fn metadata(object: &Value, field: &str) -> String {
    object
        .get("metadata")
        .map(|metadata| text(metadata, field))
        .unwrap_or_default()
}

/// The `ConfigMap` with this namespace and name, and its file. `None` if a set has several (say, one for each cluster): any may be meant.
fn config_map<'a>(objects: &'a [Manifest], namespace: &str, wanted: &str) -> Option<(&'a Value, PathBuf)> {
    let is_it = |manifest: &&Manifest| {
        let object = &manifest.object;
        text(object, "kind") == "ConfigMap" && name(object) == wanted && space(object) == namespace
    };
    let mut found = objects.iter().filter(is_it);
    let only = found.next().filter(|_| found.next().is_none())?;
    Some((&only.object, Path::new(&only.source.file).canonicalize().ok()?))
}

/// The folders that an object applies, as written, and what it adds to each.
fn applications(object: &Value) -> Vec<(String, &Value)> {
    let version = text(object, "apiVersion");
    let kind = text(object, "kind");
    let Some(spec) = object.get("spec") else { return Vec::new() };
    match (version.split('/').next(), kind.as_str()) {
        (Some("kustomize.toolkit.fluxcd.io"), "Kustomization") => vec![(text(spec, "path"), spec)],
        (Some("argoproj.io"), "Application") => {
            let sources = spec.get("source").into_iter().chain(list(spec, "sources"));
            sources
                .filter_map(|source| Some((text(source, "path"), source.get("kustomize")?)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The folder of a path that begins at the top of the repository: the outermost folder above the object in which it exists.
fn folder(file: &Path, path: &str, within: &BTreeSet<&PathBuf>) -> Option<PathBuf> {
    let path = path.trim_start_matches(['/', '.']);
    let tops: Vec<&Path> = file.ancestors().skip(1).collect();
    tops.into_iter()
        .rev()
        .filter_map(|top| top.join(path).canonicalize().ok())
        .find(|folder| within.contains(folder))
}

/// The manifests below a folder; a folder with a kustomization counts as one entry.
fn files(folder: &Path, all: &BTreeMap<PathBuf, Kustomization>, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if into.len() >= MOST_FILES {
            return;
        }
        if path.is_symlink() {
            continue;
        }
        if all.contains_key(&path) {
            into.push(path);
        } else if path.is_dir() {
            files(&path, all, into);
        } else if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            into.push(path);
        }
    }
}
