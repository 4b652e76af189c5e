//! Tools that build images or fill in names, and the files by which a set shows them.

use crate::files;
use crate::image::Reference;
use crate::limits;
use crate::manifests::Manifest;
use crate::yaml;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a set shows of them.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// Names that a tool builds, without tag and digest, and which tool.
    built: HashMap<String, String>,
    /// A Flux Kustomization that substitutes variables, as a phrase.
    flux: Option<String>,
    /// A PROJECT file of kubebuilder.
    kubebuilder: bool,
}

impl Tools {
    pub(super) fn read(folders: &[PathBuf], objects: &[Manifest]) -> Self {
        let mut tools = Self::default();
        for folder in folders {
            for name in ["skaffold.yaml", "skaffold.yml", "devspace.yaml", "kbld.yaml", "kbld.yml"] {
                let Some(text) = text(&folder.join(name)) else { continue };
                for document in yaml::documents(&text).documents {
                    tools.builds(&document.value);
                }
            }
            if let Some(text) = text(&folder.join("Tiltfile")) {
                for name in tilt(&text) {
                    tools.add(&name, "Tilt builds it (Tiltfile)");
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
                for artifact in list(place, "/build/artifacts") {
                    self.add_field(&artifact, "image", "Skaffold, which builds it (skaffold.yaml)");
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
                .is_some_and(|v| v.starts_with("v2"))
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

    /// What builds an image of this name.
    pub(super) fn built(&self, name: &str) -> Option<String> {
        if self.built.is_empty() {
            return None;
        }
        self.built.get(&key(name)?).cloned()
    }

    /// What substitutes variables, where the set says it.
    pub(super) fn substitutes(&self) -> Option<&str> {
        self.flux.as_deref()
    }

    pub(super) fn has_kubebuilder(&self) -> bool {
        self.kubebuilder
    }
}

/// The group of an object, or what stands in its place.
fn api_group(object: &Value) -> &str {
    let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Names are the same by repository: these tools set the tag.
fn key(name: &str) -> Option<String> {
    Reference::parse(name).ok().map(|reference| reference.name())
}

fn text(path: &Path) -> Option<String> {
    let bytes = files::read(path, limits::MANIFEST_FILE).ok()?;
    String::from_utf8(bytes).ok()
}

/// The names that a Tiltfile builds: the first argument, or `ref`, of its functions that build (`docker_build`, `custom_build`,
/// `docker_build_with_restart` and other extensions).
fn tilt(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut names = Vec::new();
    for (at, _) in code.match_indices('(') {
        let (before, after) = code.split_at(at);
        let function: &str = before
            .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .next()
            .unwrap_or_default();
        if !function.contains("build") {
            continue;
        }
        let argument = after.trim_start_matches('(').trim_start();
        let argument = argument
            .strip_prefix("ref")
            .map_or(argument, |rest| rest.trim_start().trim_start_matches('=').trim_start());
        let Some(quote) = argument.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            continue;
        };
        names.extend(argument.get(1..).and_then(|rest| rest.split(quote).next()).map(str::to_owned));
    }
    names
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tiltfile_builds() {
        let text = "# docker_build('old', '.')\ndocker_build('reg.example/app', '.')\ncustom_build(\n  ref=\"worker\", command='x')\n\
                    load('ext://restart_process', 'docker_build_with_restart')\ndocker_build_with_restart('third', '.')\nk8s_yaml('x.yaml')\nbuild(name)\n";
        assert_eq!(tilt(text), ["reg.example/app", "worker", "third"]);
    }
}
