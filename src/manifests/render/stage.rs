//! A copy of a chart and its dependencies, in which nothing leads out of the repository.

use crate::files;
use crate::limits;
use crate::yaml;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep dependencies of dependencies may go.
const DEEPEST: usize = 8;

/// Why a chart cannot be rendered; each a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// It depends on a chart that is not in the tree.
    Dependency(String),
    /// Anything else.
    Other(String),
}

/// What a chart says about itself.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) name: String,
    /// Whether it renders nothing by itself.
    pub(super) library: bool,
    /// Name, version and where it is.
    dependencies: Vec<(String, String, String)>,
}

impl About {
    /// Reads `Chart.yaml`, and `requirements.yaml` of old charts.
    pub(super) fn read(chart: &Path) -> Self {
        let mut about = Self::default();
        for file in ["Chart.yaml", "requirements.yaml"] {
            let Some(value) = value(&chart.join(file)) else { continue };
            let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            if file == "Chart.yaml" {
                about.name = text(&value, "name");
                about.library = text(&value, "type") == "library";
            }
            let dependencies = value.get("dependencies").and_then(Value::as_array).into_iter().flatten();
            about
                .dependencies
                .extend(dependencies.map(|one| (text(one, "name"), text(one, "version"), text(one, "repository"))));
        }
        about
    }
}

fn value(file: &Path) -> Option<Value> {
    let text = String::from_utf8(files::read(file, limits::SETTINGS_FILE).ok()?).ok()?;
    yaml::manifests(&text)
        .documents
        .into_iter()
        .next()
        .map(|document| document.value)
}

/// How much may still be copied.
struct Left {
    bytes: u64,
    files: usize,
}

/// Copies a chart into a new folder. Links that lead out of `top` are left out, and so are schemas of values: they may refer to others
/// anywhere, and say nothing about images.
pub(super) fn copy(chart: &Path, top: &Path, to: &Path) -> Result<(), Obstacle> {
    let mut left = Left {
        bytes: limits::CHART,
        files: limits::CHART_FILES,
    };
    with_dependencies(chart, top, to, &mut left, 0)
}

fn with_dependencies(chart: &Path, top: &Path, to: &Path, left: &mut Left, depth: usize) -> Result<(), Obstacle> {
    if depth > DEEPEST {
        return Err(Obstacle::Other("its dependencies go round in a circle".to_owned()));
    }
    folder(chart, top, to, left, 0)?;
    for (name, version, repository) in About::read(chart).dependencies {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(Obstacle::Other(format!("{name:?} is not a valid name of a dependency")));
        }
        let below = to.join("charts");
        let packed = fs::read_dir(&below).into_iter().flatten().flatten().any(|entry| {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            file.strip_prefix(name.as_str())
                .and_then(|rest| rest.strip_suffix(".tgz"))
                .is_some_and(|version| version.starts_with('-'))
        });
        if packed || below.join(&name).join("Chart.yaml").is_file() {
            continue;
        }
        let local = repository
            .strip_prefix("file://")
            .and_then(|path| inside(&chart.join(path), top));
        match local {
            Some(local) if local.join("Chart.yaml").is_file() => {
                with_dependencies(&local, top, &below.join(&name), left, depth + 1)?;
            }
            Some(_) | None => {
                let from = if repository.is_empty() {
                    String::new()
                } else {
                    format!(" of {repository}")
                };
                return Err(Obstacle::Dependency(format!("{name} {version}{from}").replace("  ", " ")));
            }
        }
    }
    Ok(())
}

/// Where a path leads, if that is inside `top`.
pub(super) fn inside(path: &Path, top: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|real| real.starts_with(top))
}

fn folder(from: &Path, top: &Path, to: &Path, left: &mut Left, depth: usize) -> Result<(), Obstacle> {
    let failed = |error: std::io::Error| Obstacle::Other(format!("it cannot be copied: {error}"));
    if depth > 64 {
        return Err(Obstacle::Other("its folders are nested too deep".to_owned()));
    }
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(real) = inside(&entry.path(), top) else { continue };
        let name = entry.file_name();
        let kind = real.metadata().map_err(failed)?;
        if kind.is_dir() {
            // A link to a folder above would never end.
            if name != ".git" && !(entry.path().is_symlink() && from.starts_with(&real)) {
                folder(&entry.path(), top, &to.join(name), left, depth + 1)?;
            }
        } else if kind.is_file() && name != "values.schema.json" {
            let (Some(bytes), Some(files)) = (left.bytes.checked_sub(kind.len()), left.files.checked_sub(1)) else {
                return Err(Obstacle::Other("it is too large".to_owned()));
            };
            (left.bytes, left.files) = (bytes, files);
            fs::copy(&real, to.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn a_copy_has_its_dependencies_and_nothing_from_outside() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        write(outside.path(), "secret", "s");
        let top = folder.path().canonicalize().unwrap();
        write(&top, "lib/Chart.yaml", "name: lib\n");
        write(&top, "lib/templates/_x.tpl", "x");
        let chart = "name: app\ndependencies:\n- {name: lib, version: 1.0.0, repository: 'file://../lib'}\n";
        write(&top, "app/Chart.yaml", chart);
        write(&top, "app/values.schema.json", r#"{"$ref": "http://a.test/"}"#);
        std::os::unix::fs::symlink(outside.path().join("secret"), top.join("app/leak")).unwrap();
        std::os::unix::fs::symlink("../lib/templates", top.join("app/templates")).unwrap();
        std::os::unix::fs::symlink("..", top.join("app/loop")).unwrap();
        let to = folder.path().join("copy");
        copy(&top.join("app"), &top, &to).unwrap();
        assert!(to.join("charts/lib/Chart.yaml").is_file());
        assert!(to.join("templates/_x.tpl").is_file());
        assert!(!to.join("leak").exists() && !to.join("values.schema.json").exists() && !to.join("loop").exists());

        write(
            &top,
            "app/Chart.yaml",
            &format!("{chart}- {{name: redis, version: 1.x, repository: 'https://c.test'}}\n"),
        );
        let why = copy(&top.join("app"), &top, &folder.path().join("again")).unwrap_err();
        assert_eq!(why, Obstacle::Dependency("redis 1.x of https://c.test".to_owned()));
        write(&top, "app/charts/redis-1.2.3.tgz", "");
        copy(&top.join("app"), &top, &folder.path().join("third")).unwrap();
    }
}
