//! Finds the files to read.

use super::notes::{Note, NoteKind};
use super::{Manifests, ReadOptions, shown};
use crate::report::Problem;
use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Whether folders are searched recursively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Only the files in the folder itself.
    Flat,
    /// `-R`.
    Recursive,
}

/// What is left out of the search of a folder. The globs are those of a `.gitignore`, relative to that folder.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Whether `.gitignore` files are ignored.
    pub no_gitignore: bool,
    /// Only these.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// pullgate's own files: a baseline, reports.
    pub ours: Vec<PathBuf>,
}

/// A file to read.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Its position among all files.
    pub(super) at: usize,
    /// `None`: standard input.
    pub(super) path: Option<PathBuf>,
    /// Whether the user named it.
    pub(super) named: bool,
    /// The chart whose template it is.
    pub(super) chart: Option<PathBuf>,
}

/// The files of these places, in order; each once. What cannot be a manifest is noted.
pub(super) fn files(places: &[String], reading: &ReadOptions<'_>, into: &mut Manifests) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut seen: HashSet<PathBuf> = HashSet::new();
    let ours: HashSet<PathBuf> = reading.sift.ours.iter().filter_map(|path| path.canonicalize().ok()).collect();
    for place in places {
        let path = Path::new(place);
        let named = Candidate {
            at: found.len(),
            path: (place != "-").then(|| PathBuf::from(place)),
            named: true,
            // pre-commit names whatever changes.
            chart: template_of(path).filter(|chart| chart.join("Chart.yaml").is_file()),
        };
        if place == "-" || !path.is_dir() {
            let again = path.canonicalize().is_ok_and(|path| !seen.insert(path));
            if place == "-" || !again {
                found.push(named);
            }
            continue;
        }
        let (mut paths, charts) = match search(path, reading, into) {
            Ok(found) => found,
            Err(why) => {
                into.errors.push(Problem::from(why));
                continue;
            }
        };
        if paths.is_empty() {
            let message = format!(
                "no .yaml, .yml or .json file in this folder{}",
                match reading.walk {
                    Walk::Flat => "; use -R to search its subfolders",
                    Walk::Recursive if reading.sift.no_gitignore => "",
                    Walk::Recursive => " left over by .gitignore, --include and --exclude (see --no-gitignore)",
                }
            );
            into.errors.push(Problem::in_file(place, None, message));
        }
        paths.sort();
        for path in paths {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            if ours.contains(&real) || !seen.insert(real) {
                continue;
            }
            found.push(Candidate {
                at: found.len(),
                named: false,
                chart: chart_of(&path, &charts),
                path: Some(path),
            });
        }
        into.charts.extend(charts);
    }
    found
}

/// The files of a folder that may be manifests, and the charts in it.
fn search(folder: &Path, reading: &ReadOptions<'_>, into: &mut Manifests) -> Result<(Vec<PathBuf>, BTreeSet<PathBuf>), String> {
    let mut walk = WalkBuilder::new(folder);
    let heeded = !reading.sift.no_gitignore;
    walk.hidden(false)
        .ignore(false)
        .git_global(false)
        .git_ignore(heeded)
        .git_exclude(heeded)
        .parents(heeded)
        // A repository that was unpacked from an archive has a .gitignore too.
        .require_git(false)
        // Links to folders are not followed: they may form a loop.
        .follow_links(false)
        .overrides(globs(folder, reading)?)
        .filter_entry(|entry| entry.file_name() != ".git");
    if reading.walk == Walk::Flat {
        // Below that only to say that there is something.
        walk.max_depth(Some(3));
    }
    let mut deeper = false;
    let (mut paths, mut charts) = (Vec::new(), BTreeSet::new());
    for entry in walk.build() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if reading.walk == Walk::Flat && error.depth().is_some_and(|depth| depth > 0) => continue,
            Err(error) => {
                into.notes
                    .push(Note::of(NoteKind::Unreadable, folder).because(&error.to_string()));
                continue;
            }
        };
        let path = entry.path();
        let Some(kind) = entry.file_type().filter(|kind| !kind.is_dir()) else {
            continue;
        };
        let below = reading.walk == Walk::Flat && entry.depth() > 1;
        if entry.file_name() == "Chart.yaml" && !below {
            charts.extend(path.parent().map(Path::to_owned));
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !ending.is_some_and(|ending| matches!(ending, "yaml" | "yml" | "json")) {
            continue;
        }
        if below {
            // Workflows and settings of tools lie in hidden folders.
            let inside = path.strip_prefix(folder).unwrap_or(path);
            deeper |= !inside.iter().any(|part| part.to_string_lossy().starts_with('.'));
            continue;
        }
        match path.metadata() {
            Ok(about) if about.is_file() => paths.push(path.to_owned()),
            Ok(about) if about.is_dir() => {}
            Ok(_) => into.notes.push(Note::of(NoteKind::NotRegular, path)),
            Err(_) if kind.is_symlink() => into.notes.push(Note::of(NoteKind::DanglingLink, path)),
            Err(error) => into
                .notes
                .push(Note::of(NoteKind::Unreadable, path).because(&error.to_string())),
        }
    }
    if deeper && !paths.is_empty() {
        let sentence = format!("{}: files in its subfolders are not read: add -R to read them", shown(folder));
        into.notes.push(Note::input(sentence));
    }
    Ok((paths, charts))
}

fn globs(folder: &Path, reading: &ReadOptions<'_>) -> Result<Override, String> {
    let mut globs = OverrideBuilder::new(folder);
    for glob in &reading.sift.include {
        globs.add(glob).map_err(|error| format!("--include: {error}"))?;
    }
    for glob in &reading.sift.exclude {
        // For `ignore`, an override that begins with `!` leaves out.
        globs
            .add(&format!("!{glob}"))
            .map_err(|error| format!("--exclude: {error}"))?;
    }
    globs.build().map_err(|error| format!("--include and --exclude: {error}"))
}

/// The chart in whose `templates` a file is.
fn chart_of(path: &Path, charts: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    template_of(path).filter(|chart| charts.contains(chart))
}

/// The folder whose `templates` a file is in.
fn template_of(path: &Path) -> Option<PathBuf> {
    let below = path.ancestors().skip(1).find(|folder| folder.ends_with("templates"))?;
    below.parent().map(Path::to_owned)
}
