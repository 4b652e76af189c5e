//! `--render`: renders the charts of a set with Helm and its overlays with kustomize, and judges the output instead of the sources. Each
//! image is traced back to the value or line that it came from.

mod job;
mod overlays;
mod releases;
mod sources;
mod stage;
mod texts;
mod written_at;

pub(super) use written_at::WrittenAt;

use super::notes::{Note, NoteKind};
use super::read::{FileRead, Wanted};
use super::{ManifestObject, Manifests, ReadOptions, Release};
use crate::providers::Renderer;
use crate::report::Problem;
use futures_util::{StreamExt as _, stream};
use releases::Asked;
use sources::Sources;
use stage::About;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use texts::Texts;

/// What is to be rendered.
#[derive(Debug, Clone, Default)]
pub struct Rendering {
    /// Whether the charts and overlays among the files are.
    pub all: bool,
    /// Folders of overlays that were named; what is wrong with one of them is an error.
    pub overlays: Vec<String>,
}

/// One run of a tool.
#[derive(Debug)]
enum Job {
    /// A chart by itself, with values besides its own.
    Chart { folder: PathBuf, values: Option<PathBuf> },
    /// A chart as a release wants it; the release's index.
    Release { asked: Box<Asked>, of: usize },
    /// A kustomization.
    Overlay { folder: PathBuf, named: Option<String> },
}

/// Why a job has no result.
#[derive(Debug)]
enum Without {
    Helm,
    Kustomize,
    Note(NoteKind, String),
}

/// The result of a job.
struct Done {
    read: FileRead,
    sources: Sources,
}

impl Manifests {
    /// Renders everything there is to render, and replaces the sources with the output.
    pub async fn render(&mut self, rendering: &Rendering, reading: &ReadOptions<'_>, places: &[String]) {
        let tops: Vec<PathBuf> = places
            .iter()
            .filter_map(|place| Path::new(place).canonicalize().ok())
            .collect();
        let jobs = self.jobs(rendering, &tops);
        if jobs.is_empty() {
            return;
        }
        let home = match Scratch::new() {
            Ok(home) => home,
            Err(error) => {
                self.errors.push(Problem::from(format!("nothing can be rendered: {error}")));
                return;
            }
        };
        let (helm, kustomize) = (Renderer::helm(), Renderer::kustomize());
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let mut done: Vec<Option<Result<Done, Without>>> = Vec::new();
        done.resize_with(jobs.len(), || None);
        {
            let wanted = Wanted::of(reading);
            let each = stream::iter(jobs.iter().enumerate()).map(|(at, job)| {
                let (helm, kustomize, wanted, tops) = (helm.as_ref(), kustomize.as_ref(), &wanted, &tops);
                let home = home.0.join(at.to_string());
                async move {
                    let tool = if matches!(job, Job::Overlay { .. }) { kustomize } else { helm };
                    (at, job.run(tool, &home, tops, reading, wanted).await)
                }
            });
            let mut each = std::pin::pin!(each.buffer_unordered(at_once));
            while let Some((at, result)) = each.next().await {
                if let Some(place) = done.get_mut(at) {
                    *place = Some(result);
                }
            }
        }
        if rendering.all {
            // Either they were rendered, or another note says why not.
            self.notes.retain(|note| note.passed != NoteKind::HelmTemplate);
        }
        self.replace(jobs, done.into_iter().flatten().collect());
    }

    /// The jobs to run.
    fn jobs(&mut self, rendering: &Rendering, tops: &[PathBuf]) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        for place in &rendering.overlays {
            match Path::new(place).canonicalize() {
                Ok(folder) => jobs.push(Job::Overlay {
                    folder,
                    named: Some(place.clone()),
                }),
                Err(error) => self.errors.push(Problem::in_file(place, None, error.to_string())),
            }
        }
        if !rendering.all {
            return jobs;
        }
        for folder in self.charts.iter().filter(|folder| !is_below_another(folder, &self.charts)) {
            if About::read(folder).library {
                continue;
            }
            let folder = folder.clone();
            let mut tried: Vec<PathBuf> = std::fs::read_dir(folder.join("ci"))
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|file| {
                    file.file_name()
                        .is_some_and(|name| name.to_string_lossy().ends_with("-values.yaml"))
                })
                .collect();
            tried.sort();
            let values = std::iter::once(None).chain(tried.into_iter().map(Some));
            jobs.extend(values.map(|values| Job::Chart {
                folder: folder.clone(),
                values,
            }));
        }
        let mut elsewhere: BTreeMap<(String, usize), String> = BTreeMap::new();
        for (of, release) in self.releases.iter().enumerate() {
            let top = top_of(Path::new(&release.source.file), tops);
            match releases::asked(release, &top, &self.objects) {
                Ok(all) => jobs.extend(all.into_iter().map(|mut asked| {
                    // The name that the rest of the report uses.
                    let walked = self
                        .charts
                        .iter()
                        .find(|chart| chart.canonicalize().is_ok_and(|real| real == asked.chart));
                    asked.chart = walked.cloned().unwrap_or_else(|| PathBuf::from(relative(&asked.chart)));
                    Job::Release {
                        asked: Box::new(asked),
                        of,
                    }
                })),
                Err(why) => {
                    let line = release.document.line_of(&release.prefix);
                    elsewhere.insert((release.source.file.clone(), line), why);
                }
            }
        }
        // Rendered releases need no note; the notes of the others get the reason.
        let old: Vec<Note> = self
            .notes
            .iter()
            .filter(|note| note.passed == NoteKind::Release)
            .cloned()
            .collect();
        self.notes.retain(|note| note.passed != NoteKind::Release);
        for ((file, line), why) in elsewhere {
            let what = old
                .iter()
                .find(|note| *note == &Note::about(NoteKind::Release, &file).at(line).because(&note.what));
            let what = what.map_or_else(String::new, |note| format!("{}, ", note.what));
            self.notes.push(
                Note::about(NoteKind::ReleaseElsewhere, &file)
                    .at(line)
                    .because(&format!("{what}{why}")),
            );
        }
        let named: HashSet<&PathBuf> = jobs
            .iter()
            .filter_map(|job| match job {
                Job::Overlay { folder, .. } => Some(folder),
                Job::Chart { .. } | Job::Release { .. } => None,
            })
            .collect();
        let roots: Vec<PathBuf> = self.names.roots().into_iter().filter(|root| !named.contains(root)).collect();
        jobs.extend(roots.into_iter().map(|folder| Job::Overlay { folder, named: None }));
        jobs
    }

    /// Takes the output, and drops its sources.
    fn replace(&mut self, jobs: Vec<Job>, done: Vec<Result<Done, Without>>) {
        let mut charts: BTreeSet<PathBuf> = BTreeSet::new();
        let mut overlays: BTreeSet<PathBuf> = BTreeSet::new();
        let mut failed: BTreeMap<PathBuf, Note> = BTreeMap::new();
        let (mut without_helm, mut without_kustomize) = (0, 0);
        let mut seen = HashSet::new();
        let rendered: HashSet<(String, String)> = jobs
            .iter()
            .zip(&done)
            .filter(|(_, result)| result.is_ok())
            .filter_map(|(job, _)| match job {
                Job::Release { of, .. } => self.releases.get(*of).map(release_key),
                Job::Chart { .. } | Job::Overlay { .. } => None,
            })
            .collect();
        for (job, result) in jobs.into_iter().zip(done) {
            match result {
                Ok(Done { mut read, sources }) => {
                    match &job {
                        Job::Chart { folder, .. } => _ = charts.insert(folder.clone()),
                        Job::Overlay { folder, .. } => _ = overlays.insert(folder.clone()),
                        Job::Release { .. } => {}
                    }
                    let overlay = match &job {
                        Job::Overlay { folder, .. } => Some(folder.as_path()),
                        Job::Chart { .. } | Job::Release { .. } => None,
                    };
                    let mut texts = Texts::default();
                    for subject in &mut read.subjects {
                        self.names.settle_rendered(subject, overlay);
                        sources.attribute(subject, &mut texts);
                    }
                    read.subjects.retain_mut(|subject| is_new(subject, &mut seen));
                    self.take(read);
                }
                Err(Without::Helm) => without_helm += 1,
                Err(Without::Kustomize) => match job {
                    Job::Overlay { named: Some(place), .. } => {
                        let why = "neither kustomize nor kubectl is in PATH: it cannot be built";
                        self.errors.push(Problem::in_file(&place, None, why));
                    }
                    Job::Overlay { .. } | Job::Chart { .. } | Job::Release { .. } => without_kustomize += 1,
                },
                Err(Without::Note(passed, why)) => match job {
                    Job::Chart { folder, .. } => {
                        failed
                            .entry(folder.clone())
                            .or_insert_with(|| Note::of(passed, &folder).because(&why));
                    }
                    Job::Release { of, .. } => {
                        let Some(release) = self.releases.get(of) else { continue };
                        let line = release.document.line_of(&release.prefix);
                        self.notes
                            .push(Note::about(passed, &release.source.file).at(line).because(&why));
                    }
                    Job::Overlay { named: Some(place), .. } => self.errors.push(Problem::in_file(&place, None, why)),
                    Job::Overlay { folder, named: None } => {
                        self.notes.push(Note::about(passed, &relative(&folder)).because(&why));
                    }
                },
            }
        }
        // A chart that needs values is tried with those of its tests.
        failed.retain(|folder, _| !charts.contains(folder));
        self.notes.extend(failed.into_values());
        let install = |count: usize, what: &str, tool: &str, url: &str| {
            let (noun, verb) = if count == 1 { ("", "was") } else { ("s", "were") };
            Note::input(format!(
                "{tool} in PATH: {count} {what}{noun} {verb} not rendered; install it: {url}"
            ))
        };
        if without_helm > 0 {
            self.notes.push(install(
                without_helm,
                "chart",
                "helm is not",
                "https://helm.sh/docs/intro/install/",
            ));
        }
        if without_kustomize > 0 {
            let url = "https://kubectl.docs.kubernetes.io/installation/kustomize/";
            self.notes
                .push(install(without_kustomize, "overlay", "neither kustomize nor kubectl is", url));
        }
        self.forget(&charts, &overlays);
        // The values of a release that was rendered have been judged by what became of them.
        self.subjects.retain(|subject| {
            let object = &subject.workload.object;
            !rendered.contains(&(object.kind.clone(), object.name.clone()))
        });
    }

    /// Drops what these charts and overlays were rendered from.
    fn forget(&mut self, charts: &BTreeSet<PathBuf>, overlays: &BTreeSet<PathBuf>) {
        let in_chart = |path: &Path| path.ancestors().any(|folder| charts.contains(folder));
        let names = &self.names;
        self.subjects.retain(|subject| {
            let file = Path::new(&subject.source.file);
            if !subject.reads.is_empty() {
                return true;
            }
            if subject.workload.object.kind == "Chart" && subject.workload.object.api_version.is_empty() {
                return !in_chart(file);
            }
            !file.canonicalize().is_ok_and(|real| names.only_from(&real, overlays))
        });
    }
}

/// Kind and name of a release. Its namespace may come from an overlay.
fn release_key(release: &Release) -> (String, String) {
    let text = |pointer: &str| release.object.pointer(pointer).and_then(serde_json::Value::as_str);
    let of = |pointer: &str| text(pointer).unwrap_or_default().to_owned();
    (of("/kind"), of("/metadata/name"))
}

/// Whether a chart lies in the `charts` of another one.
fn is_below_another(chart: &Path, charts: &BTreeSet<PathBuf>) -> bool {
    let parent = chart.parent().filter(|folder| folder.ends_with("charts"));
    parent.and_then(Path::parent).is_some_and(|above| charts.contains(above))
}

/// The root of the repository that a file is in: the folder with `.git`, else the place that was given.
fn top_of(file: &Path, tops: &[PathBuf]) -> PathBuf {
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let by_git = real.ancestors().find(|folder| folder.join(".git").exists());
    let given = tops
        .iter()
        .filter(|top| top.is_dir() && real.starts_with(top))
        .min_by_key(|top| top.as_os_str().len());
    match by_git.or(given.map(PathBuf::as_path)) {
        Some(top) => top.to_owned(),
        None if real.is_dir() => real,
        None => real.parent().map_or_else(PathBuf::new, Path::to_owned),
    }
}

/// A path as a user would give it: relative to the current folder, if it is below.
fn relative(path: &Path) -> String {
    let here = std::env::current_dir().ok().and_then(|here| here.canonicalize().ok());
    let relative = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    let shown = relative.display().to_string();
    if shown.is_empty() { ".".to_owned() } else { shown }
}

/// Keeps only the images that no other rendering has shown at the same place; returns whether any are left.
fn is_new(subject: &mut ManifestObject, seen: &mut HashSet<String>) -> bool {
    let object = &subject.workload.object;
    let of = format!(
        "{}\0{}\0{}\0{}",
        object.api_version, object.kind, object.namespace, object.name
    );
    let written_at = &subject.written_at;
    let mut any = false;
    for template in &mut subject.workload.templates {
        template.uses.retain(|image| {
            let origin = written_at.iter().find(|(path, _)| **path == *image.path.as_str());
            let origin = origin.map_or_else(String::new, |(_, origin)| format!("{}\0{}", origin.file, origin.line));
            seen.insert(format!("{of}\0{origin}\0{}\0{}", image.path.as_str(), image.image))
        });
        any |= !template.uses.is_empty();
    }
    any
}

/// A folder that only this user can read, and that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut last = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        for attempt in 0..16 {
            let folder = std::env::temp_dir().join(format!("pullgate-{}-{attempt}", std::process::id()));
            // Fails if somebody else has created it.
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder.canonicalize()?)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, a useless folder stays behind.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
