//! Tools that build images or fill in names, and the files by which a set shows them.

use super::tilt;
use crate::files;
use crate::image::Reference;
use crate::limits;
use crate::manifests::Manifest;
use crate::yaml;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const TILT: &str = "Tilt, which builds it (Tiltfile)";

pub(super) const VAULT_PLUGIN: &str = "argocd-vault-plugin";

/// Marks that only one kind of tool writes, between which no name can be meant: how they begin and end, and the tool.
const MARKS: &[(&str, &str, &str)] = &[
    ("(@", "@)", "ytt"),
    ("#{", "}", "a deployment tool (Octopus Deploy, for example)"),
    ("<path:", ">", VAULT_PLUGIN),
];

/// What such a mark stands around in a name, with the mark, and which tool fills it in.
pub(super) fn marked(name: &str) -> Option<(&str, &'static str)> {
    MARKS.iter().find_map(|(open, close, tool)| {
        let rest = name.get(name.find(open)?..)?;
        let end = rest.find(close)? + close.len();
        Some((rest.get(..end)?, *tool))
    })
}

/// What a set shows of them.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// Names that a tool builds, without tag and digest, and which tool.
    built: HashMap<String, String>,
    /// A Tiltfile builds others, whose names it works out.
    tilt: bool,
    /// A Flux Kustomization that substitutes variables, as a phrase.
    flux: Option<String>,
    /// A PROJECT file of kubebuilder.
    kubebuilder: bool,
}

impl Tools {
    pub(super) fn read(folders: &[PathBuf], objects: &[Manifest]) -> Self {
        let mut tools = Self::default();
        for folder in folders {
            for file in configurations(folder) {
                let Some(text) = text(&file) else { continue };
                if is_tiltfile(&file) {
                    let found = tilt::built(&text);
                    for name in found.names {
                        tools.add(&name, TILT);
                    }
                    tools.tilt |= found.more;
                    continue;
                }
                for document in yaml::documents(&text).documents {
                    tools.builds(&document.value);
                }
            }
            tools.kubebuilder |= text(&folder.join("PROJECT")).is_some_and(|text| text.contains("kubebuilder.io"));
        }
        for manifest in objects {
            let group = api_group(&manifest.object);
            if group == "kustomize.toolkit.fluxcd.io" && manifest.object.pointer("/spec/postBuild").is_some_and(Value::is_object) {
                let name = manifest
                    .object
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                tools
                    .flux
                    .get_or_insert_with(|| format!("Flux (postBuild of Kustomization {name})"));
            }
        }
        tools
    }

    /// Takes the names that a Skaffold, `DevSpace` or kbld configuration builds.
    fn builds(&mut self, config: &Value) {
        let group = api_group(config);
        let list = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        if group == "skaffold" {
            let profiles = list(config, "/profiles");
            for place in std::iter::once(config).chain(&profiles) {
                let patches = list(place, "/patches");
                let values = patches
                    .iter()
                    .filter(|patch| {
                        patch
                            .get("path")
                            .and_then(Value::as_str)
                            .is_some_and(|path| path.starts_with("/build/artifacts"))
                    })
                    .filter_map(|patch| patch.get("value"));
                let (many, one): (Vec<&Value>, Vec<&Value>) = values.partition(|value| value.is_array());
                let many = many.into_iter().filter_map(Value::as_array).flatten();
                for artifact in list(place, "/build/artifacts").iter().chain(one).chain(many) {
                    self.add_field(artifact, "image", "Skaffold, which builds it (skaffold.yaml)");
                }
            }
        } else if group == "kbld.k14s.io" {
            for source in list(config, "/sources").iter().chain(&list(config, "/overrides")) {
                self.add_field(source, "image", "kbld, which builds or replaces it");
            }
        } else if config.get("kind").is_none()
            && config
                .get("version")
                .and_then(Value::as_str)
                .is_some_and(|v| v.starts_with("v2") || v.starts_with("v1beta"))
        {
            for image in config
                .get("images")
                .and_then(Value::as_object)
                .into_iter()
                .flat_map(|images| images.values())
            {
                self.add_field(image, "image", "DevSpace, which builds it (devspace.yaml)");
            }
        }
    }

    fn add_field(&mut self, value: &Value, field: &str, tool: &str) {
        if let Some(name) = value.get(field).and_then(Value::as_str) {
            self.add(name, tool);
        }
    }

    fn add(&mut self, name: &str, tool: &str) {
        if let Some(key) = key(name) {
            self.built.entry(key).or_insert_with(|| tool.to_owned());
        }
    }

    /// What builds an image of this name. If a Tiltfile computes names, it may build any name without registry and tag.
    pub(super) fn built(&self, name: &str) -> Option<String> {
        if self.built.is_empty() && !self.tilt {
            return None;
        }
        let key = key(name)?;
        let bare =
            || self.tilt && !name.contains([':', '@']) && Reference::parse(name).is_ok_and(|name| name.registry() == "docker.io");
        self.built.get(&key).cloned().or_else(|| bare().then(|| TILT.to_owned()))
    }

    /// What substitutes variables, if the set shows it.
    pub(super) fn substitutes(&self) -> Option<&str> {
        self.flux.as_deref()
    }

    pub(super) fn has_kubebuilder(&self) -> bool {
        self.kubebuilder
    }
}

/// The group of an object, or what a file has instead of one.
fn api_group(object: &Value) -> &str {
    let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Names are compared by repository: these tools set the tag.
fn key(name: &str) -> Option<String> {
    Reference::parse(name).ok().map(|reference| reference.name())
}

/// The files in a folder that configure such tools, in order.
fn configurations(folder: &Path) -> Vec<PathBuf> {
    let known = |name: &str| {
        let ending = Path::new(name).extension();
        let yaml = ending.is_some_and(|ending| ending == "yaml" || ending == "yml");
        let of = ["skaffold", "devspace", "kbld"].iter().any(|tool| name.starts_with(tool));
        (yaml && of) || is_tiltfile(Path::new(name))
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(known))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn is_tiltfile(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "Tiltfile" || name.starts_with("Tiltfile.") || name.to_ascii_lowercase().ends_with(".tiltfile")
}

fn text(path: &Path) -> Option<String> {
    let bytes = files::read(path, limits::MANIFEST_FILE).ok()?;
    String::from_utf8(bytes).ok()
}

/// What fills in `{{ }}` in a file.
pub(super) fn templates(file: Option<&Path>) -> &'static str {
    let in_chart = file.is_some_and(|file| {
        file.ancestors()
            .skip(1)
            .take(8)
            .any(|folder| folder.join("Chart.yaml").is_file())
    });
    if in_chart {
        "Helm"
    } else {
        "a template engine (Helm, for example)"
    }
}
