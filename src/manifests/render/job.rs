//! One run of Helm or kustomize.

use super::super::ReadOptions;
use super::super::names::Tree;
use super::super::notes::NoteKind;
use super::super::read::{self, Wanted};
use super::overlays::Overlay;
use super::sources::{Chart, Sources, layer};
use super::stage::{self, About, Obstacle};
use super::written_at::Layer;
use super::{Done, Job, Without, relative, top_of};
use crate::providers::Renderer;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

impl Job {
    pub(super) async fn run(
        &self,
        tool: Option<&Renderer>,
        home: &Path,
        tops: &[PathBuf],
        reading: &ReadOptions<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Done, Without> {
        let failed = |error: std::io::Error| Without::Note(NoteKind::Unrendered, error.to_string());
        if let Self::Overlay { folder, .. } = self {
            let tree = Tree::read(folder);
            if let Some(why) = tree.wants() {
                return Err(Without::Note(NoteKind::RemoteBase, why.to_owned()));
            }
            let tool = tool.ok_or(Without::Kustomize)?;
            std::fs::create_dir_all(home).map_err(failed)?;
            let overlay = Overlay::new(folder, tree, home).map_err(failed)?;
            let text = tool.overlay(overlay.wrapper(), home).await;
            let text = text.map_err(|why| Without::Note(NoteKind::Unrendered, why.to_string()))?;
            let read = read::rendered(&text, &relative(folder), reading, wanted);
            return Ok(Done {
                read,
                sources: Sources::Overlay(overlay),
            });
        }
        let (folder, asked) = match self {
            Self::Chart { folder, .. } => (folder, None),
            Self::Release { asked, .. } => (&asked.chart, Some(asked)),
            Self::Overlay { .. } => return Err(Without::Kustomize),
        };
        let shown = folder.display().to_string();
        let top = top_of(folder, tops);
        let mut own: Vec<Layer> = Vec::new();
        if let Self::Chart { values: Some(file), .. } = self {
            own.extend(layer(file));
        }
        own.extend(asked.into_iter().flat_map(|asked| asked.layers.iter().cloned()));
        let tool = tool.ok_or(Without::Helm)?;
        let about = About::read(folder);
        let original = folder.canonicalize().map_err(failed)?;
        let copied = home.join("chart").join(if about.name.is_empty() { "chart" } else { "app" });
        stage::copy(&original, &top, &copied).map_err(|obstacle| match obstacle {
            Obstacle::Dependency(what) => Without::Note(NoteKind::Dependencies, what),
            Obstacle::Other(why) => Without::Note(NoteKind::Unrendered, why),
        })?;
        if asked.is_some_and(|asked| asked.without_defaults) {
            std::fs::write(copied.join("values.yaml"), "").map_err(failed)?;
        }
        let mut arguments: Vec<OsString> = Vec::new();
        for (at, layer) in own.iter().enumerate() {
            let file = home.join(format!("values-{at}.json"));
            std::fs::write(&file, layer.value.to_string()).map_err(failed)?;
            arguments.extend(["--values".into(), file.into()]);
        }
        let (release, namespace) = match asked {
            Some(asked) => (asked.release.as_str(), asked.namespace.as_str()),
            None => (about.name.as_str(), reading.namespace),
        };
        let namespace = if namespace.is_empty() { reading.namespace } else { namespace };
        arguments.extend(["--namespace".into(), namespace.into()]);
        arguments.extend(asked.into_iter().flat_map(|asked| asked.sets.iter().cloned()));
        let text = tool.chart(&release_name(release), &copied, arguments, home).await;
        // The copy of a chart is not kept while the others are rendered.
        let _ = std::fs::remove_dir_all(home);
        let text = text.map_err(|why| {
            let place = copied.display().to_string();
            Without::Note(NoteKind::Unrendered, why.to_string().replace(&place, &shown))
        })?;
        let in_release = ReadOptions { namespace, ..*reading };
        let read = read::rendered(&text, &shown, &in_release, wanted);
        own.reverse();
        own.extend(layer(&folder.join("values.yaml")));
        Ok(Done {
            read,
            sources: Sources::Chart(Chart {
                folder: folder.clone(),
                shown,
                layers: own,
            }),
        })
    }
}

/// A text that Helm accepts as the name of a release.
fn release_name(name: &str) -> String {
    let name: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(53)
        .collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "release" } else { name }.to_owned()
}
