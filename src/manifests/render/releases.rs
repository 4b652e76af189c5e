//! Flux's `HelmRelease` and Argo CD's `Application`: what they render from a chart in the same repository
//! (<https://fluxcd.io/flux/components/helm/helmreleases/>, <https://argo-cd.readthedocs.io/en/stable/user-guide/helm/>).

use super::super::names::at;
use super::super::{Manifest, Release};
use super::relative;
use super::stage::inside;
use super::written_at::{Layer, Lines};
use crate::files;
use crate::limits;
use crate::yaml;
use base64::Engine as _;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A chart as a release wants it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) chart: PathBuf,
    pub(super) release: String,
    pub(super) namespace: String,
    /// Values; what comes later wins.
    pub(super) layers: Vec<Layer>,
    /// Further arguments for Helm.
    pub(super) sets: Vec<OsString>,
    /// Whether the chart's own `values.yaml` does not count.
    pub(super) without_defaults: bool,
}

/// The charts to render that a release names in the repository `top`; or why they cannot be known, as a clause.
pub(super) fn asked(release: &Release, top: &Path, objects: &[Manifest]) -> Result<Vec<Asked>, String> {
    let kind = text(&release.object, "/kind");
    match kind {
        "HelmRelease" => flux(release, top, objects).map(|asked| vec![asked]),
        "Application" => argo(release, top),
        _ => Err("its controller renders it".to_owned()),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A chart of the tree.
fn chart(top: &Path, path: &str) -> Option<PathBuf> {
    let folder = inside(&top.join(path.trim_start_matches('/')), top)?;
    folder.join("Chart.yaml").is_file().then_some(folder)
}

/// A file of values in the tree.
fn layer_of(file: &Path, top: &Path) -> Option<Layer> {
    let file = inside(file, top)?;
    let text = String::from_utf8(files::read(&file, limits::MANIFEST_FILE).ok()?).ok()?;
    let document = yaml::manifests(&text).documents.into_iter().next();
    let (value, lines) = match document {
        Some(mut document) => (std::mem::take(&mut document.value), Lines::Of(Box::new(document))),
        None => (Value::Object(serde_json::Map::new()), Lines::At(1)),
    };
    Some(Layer {
        file: relative(&file),
        value,
        prefix: String::new(),
        lines,
    })
}

/// Values in the object itself, as fields.
fn inline(release: &Release, path: &str) -> Option<Layer> {
    let value = at(&release.object, path).filter(|value| value.is_object())?;
    Some(Layer {
        file: release.source.file.clone(),
        value: value.clone(),
        prefix: format!("{}{path}.", release.prefix),
        lines: Lines::Of(Box::new(release.document.clone())),
    })
}

/// Values that are a text in an object.
fn in_text(file: &str, line: usize, path: &str, text: &str) -> Result<Layer, String> {
    let parsed = yaml::manifests(text);
    if let Some(error) = parsed.errors.first() {
        return Err(format!("{path}: {error}"));
    }
    let value = parsed.documents.into_iter().next().map(|document| document.value);
    Ok(Layer {
        file: file.to_owned(),
        value: value.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        prefix: format!("{path}: "),
        lines: Lines::At(line),
    })
}

fn flux(release: &Release, top: &Path, objects: &[Manifest]) -> Result<Asked, String> {
    let object = &release.object;
    let name = text(object, "/metadata/name");
    let of = "/spec/chart/spec";
    let path = text(object, &format!("{of}/chart"));
    let source = text(object, &format!("{of}/sourceRef/kind"));
    let chart = matches!(source, "GitRepository" | "Bucket")
        .then(|| chart(top, path))
        .flatten();
    let Some(chart) = chart else {
        let shown = if path.is_empty() {
            text(object, "/spec/chartRef/name")
        } else {
            path
        };
        if shown.is_empty() {
            return Err("it names no chart here".to_owned());
        }
        return Err(format!("its chart {shown} is elsewhere"));
    };
    if !list(object, "/spec/postRenderers").is_empty() {
        return Err("it has post-renderers".to_owned());
    }
    let mut layers = Vec::new();
    let files = list(object, &format!("{of}/valuesFiles"));
    for file in files.iter().filter_map(Value::as_str) {
        layers.push(layer_of(&top.join(file.trim_start_matches('/')), top).ok_or_else(|| format!("{file} is not in the tree"))?);
    }
    let own = text(object, "/metadata/namespace");
    for from in list(object, "/spec/valuesFrom") {
        if from.get("targetPath").is_some() {
            return Err("its valuesFrom has a targetPath".to_owned());
        }
        let (kind, name) = (text(from, "/kind"), text(from, "/name"));
        let key = from.get("valuesKey").and_then(Value::as_str).unwrap_or("values.yaml");
        match held(objects, kind, own, name, key) {
            Some((file, held)) => layers.push(in_text(&file, 1, key, &held)?),
            None if from.get("optional") == Some(&Value::Bool(true)) => {}
            None => return Err(format!("{key} of {kind} {name} is not in the tree")),
        }
    }
    layers.extend(inline(release, "spec.values"));
    let target = text(object, "/spec/targetNamespace");
    let usual = if target.is_empty() {
        name.to_owned()
    } else {
        format!("{target}-{name}")
    };
    Ok(Asked {
        chart,
        release: Some(text(object, "/spec/releaseName"))
            .filter(|name| !name.is_empty())
            .map_or(usual, str::to_owned),
        namespace: if target.is_empty() { own } else { target }.to_owned(),
        layers,
        sets: Vec::new(),
        without_defaults: !files.is_empty(),
    })
}

/// What a `ConfigMap` or Secret of the tree holds under a key, and its file.
fn held(objects: &[Manifest], kind: &str, namespace: &str, name: &str, key: &str) -> Option<(String, String)> {
    let fits = |object: &Value| {
        text(object, "/kind") == kind && text(object, "/metadata/namespace") == namespace && text(object, "/metadata/name") == name
    };
    let found = objects.iter().find(|manifest| fits(&manifest.object))?;
    let plain = |field: &str| found.object.get(field).and_then(|data| data.get(key)).and_then(Value::as_str);
    let held = match kind {
        "ConfigMap" => plain("data")?.to_owned(),
        "Secret" => match plain("stringData") {
            Some(text) => text.to_owned(),
            None => String::from_utf8(base64::engine::general_purpose::STANDARD.decode(plain("data")?).ok()?).ok()?,
        },
        _ => return None,
    };
    Some((found.source.file.clone(), held))
}

fn argo(release: &Release, top: &Path) -> Result<Vec<Asked>, String> {
    let object = &release.object;
    let single = object
        .pointer("/spec/source")
        .map(|source| ("spec.source".to_owned(), source));
    let many = list(object, "/spec/sources").iter().enumerate();
    let sources: Vec<(String, &Value)> = single
        .into_iter()
        .chain(many.map(|(at, source)| (format!("spec.sources[{at}]"), source)))
        .collect();
    let remotes = remotes(top);
    let here = |source: &Value| is_here(text(source, "/repoURL"), &remotes);
    let mut all = Vec::new();
    for (path, source) in &sources {
        let chart_name = text(source, "/chart");
        if !chart_name.is_empty() {
            return Err(format!("its chart {chart_name} is elsewhere"));
        }
        let folder = text(source, "/path");
        if source.get("path").is_none() {
            continue;
        }
        let real = inside(&top.join(folder.trim_start_matches('/')), top).filter(|_| here(source));
        let Some(real) = real else {
            return Err(format!("{folder} of {} is elsewhere", text(source, "/repoURL")));
        };
        if !real.join("Chart.yaml").is_file() {
            // Plain manifests and kustomizations are in the tree, and judged there.
            continue;
        }
        let mut layers = Vec::new();
        let lenient = source.pointer("/helm/ignoreMissingValueFiles") == Some(&Value::Bool(true));
        for file in list(source, "/helm/valueFiles").iter().filter_map(Value::as_str) {
            let place = match file.strip_prefix('$') {
                Some(rest) => {
                    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
                    let of = sources.iter().find(|(_, other)| text(other, "/ref") == name);
                    of.filter(|(_, other)| here(other)).map(|_| top.join(rest))
                }
                None if file.contains("://") => None,
                None if file.starts_with('/') => Some(top.join(file.trim_start_matches('/'))),
                None => Some(real.join(file)),
            };
            match place.and_then(|place| layer_of(&place, top)) {
                Some(layer) => layers.push(layer),
                None if lenient => {}
                None => return Err(format!("{file} is not in the tree")),
            }
        }
        let values = format!("{path}.helm.values");
        if let Some(text) = source.pointer("/helm/values").and_then(Value::as_str) {
            let line = release.document.line_of(&format!("{}{values}", release.prefix));
            layers.push(in_text(&release.source.file, line, &values, text)?);
        }
        layers.extend(inline(release, &format!("{path}.helm.valuesObject")));
        if !list(source, "/helm/fileParameters").is_empty() {
            return Err("it has fileParameters".to_owned());
        }
        let mut sets: Vec<OsString> = Vec::new();
        for parameter in list(source, "/helm/parameters") {
            let (name, value) = (text(parameter, "/name"), text(parameter, "/value"));
            let flag = if parameter.get("forceString") == Some(&Value::Bool(true)) {
                "--set-string"
            } else {
                "--set"
            };
            // Argo CD escapes commas, which would begin the next value.
            sets.extend([flag.into(), format!("{name}={}", value.replace(',', "\\,")).into()]);
        }
        let own = text(source, "/helm/releaseName");
        all.push(Asked {
            chart: real,
            release: if own.is_empty() { text(object, "/metadata/name") } else { own }.to_owned(),
            namespace: text(object, "/spec/destination/namespace").to_owned(),
            layers,
            sets,
            without_defaults: false,
        });
    }
    Ok(all)
}

/// The URLs of a repository's remotes.
fn remotes(top: &Path) -> Vec<String> {
    let config = files::read(&top.join(".git/config"), limits::SETTINGS_FILE).unwrap_or_default();
    let config = String::from_utf8_lossy(&config).into_owned();
    let urls = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("url")?.trim_start().strip_prefix('='));
    urls.map(|url| url.trim().to_owned()).collect()
}

/// Whether a URL is that of this repository, or of one of its forks: they share its last name.
fn is_here(url: &str, remotes: &[String]) -> bool {
    fn name(url: &str) -> Option<&str> {
        url.trim_end_matches('/').trim_end_matches(".git").rsplit(['/', ':']).next()
    }
    remotes.is_empty() || remotes.iter().any(|remote| name(remote) == name(url))
}
