//! `.pullgate.yaml` at the root of a repository: the files that `check` reads there, its output formats and its baseline. It comes with the
//! files under check, so it cannot configure access to registries, run programs, or point outside the repository.

use serde::Deserialize;
use std::path::{Component, Path};

/// Its name.
pub const NAME: &str = ".pullgate.yaml";

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Project {
    /// Files and folders, if the command line names none.
    pub files: Vec<String>,
    /// Whether folders are searched recursively.
    pub recursive: bool,
    /// As `--include`.
    pub include: Vec<String>,
    /// As `--exclude`.
    pub exclude: Vec<String>,
    /// As `-o`, if the command line has none.
    pub output: Vec<String>,
    /// As `--baseline`, if the command line has none.
    pub baseline: Option<String>,
}

impl Project {
    /// Reads its text.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! { with_snippet: false };
        let project: Option<Self> = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        let project = project.unwrap_or_default();
        for path in project.paths() {
            let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if path.is_empty() || !Path::new(path).components().all(inside) {
                return Err(format!("{path:?} is not a path inside the repository"));
            }
        }
        Ok(project)
    }

    /// A path that links lead out of this folder, in which the repository is.
    pub fn leads_out(&self, folder: &Path) -> Option<&str> {
        let folder = folder.canonicalize().ok();
        self.paths().find(|path| {
            let path = Path::new(path);
            // A link that leads nowhere would be written through.
            let there = path.ancestors().find(|part| part.symlink_metadata().is_ok());
            there.is_some_and(|there| {
                let real = there.canonicalize().ok();
                !real
                    .zip(folder.as_ref())
                    .is_some_and(|(real, folder)| real.starts_with(folder))
            })
        })
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let outputs = self.output.iter().filter_map(|output| output.split_once('='));
        let named = self.files.iter().chain(&self.baseline).map(String::as_str);
        named.chain(outputs.map(|(_, file)| file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_files_and_nothing_that_reaches_out() {
        let project =
            Project::read("files: [k8s, apps/prod.yaml]\nexclude: ['**/test']\noutput: [text, sarif=r.sarif]\nbaseline: b.json\n")
                .unwrap();
        assert_eq!(project.files, ["k8s", "apps/prod.yaml"]);
        assert_eq!(project.baseline.as_deref(), Some("b.json"));
        assert_eq!(Project::read("# nothing\n").unwrap(), Project::default());
        for wrong in [
            "files: [../x]",
            "files: [/etc]",
            "baseline: /b",
            "output: ['sarif=../x']",
            "config: s.yaml",
            "dockerConfig: x",
            "proxy: x",
        ] {
            assert!(Project::read(wrong).is_err(), "{wrong}");
        }
    }
}
