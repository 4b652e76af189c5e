//! Where the images in rendered output come from, as far as its files show it.

use super::super::ManifestObject;
use super::super::comments;
use super::overlays::Overlay;
use super::texts::Texts;
use super::written_at::{self, Layer, Lines, WrittenAt};
use crate::files;
use crate::limits;
use crate::yaml;
use std::path::{Path, PathBuf};

/// Where the images of a rendering may come from.
pub(super) enum Sources {
    Chart(Chart),
    Overlay(Overlay),
}

/// The files of a chart.
pub(super) struct Chart {
    pub(super) folder: PathBuf,
    /// As shown.
    pub(super) shown: String,
    /// Values, the winning ones first.
    pub(super) layers: Vec<Layer>,
}

impl Sources {
    /// Sets for each image of an object where it comes from, and takes the comments there that accept findings.
    pub(super) fn attribute(&self, subject: &mut ManifestObject, texts: &mut Texts) {
        let uses = subject.workload.templates.iter().flat_map(|template| &template.uses);
        let images: Vec<(Box<str>, String)> = uses
            .map(|image| (Box::from(image.path.as_str()), image.image.clone()))
            .collect();
        for (path, image) in images {
            let origin = match self {
                Self::Chart(chart) => chart.written_at(subject, &image, texts),
                Self::Overlay(overlay) => overlay.written_at(subject, &path, &image, texts),
            };
            let commented = comments::lines(texts.of(Path::new(&origin.file)));
            if let Some(Ok(ignore)) = comments::beside(&commented, origin.line).filter(|_| !commented.is_empty()) {
                subject.ignores.push((path.clone(), ignore));
            }
            subject.written_at.push((path, origin));
        }
        subject.reads = match self {
            Self::Chart(chart) => {
                let layers = chart
                    .layers
                    .iter()
                    .filter_map(|layer| Path::new(&layer.file).canonicalize().ok());
                chart.folder.canonicalize().ok().into_iter().chain(layers).collect()
            }
            Self::Overlay(overlay) => overlay.files(),
        };
    }
}

impl Chart {
    fn written_at(&self, subject: &ManifestObject, image: &str, texts: &mut Texts) -> WrittenAt {
        // `app/charts/sub/templates/x.yaml`: the first part is the chart's name, which need not be that of its folder.
        let template = subject.template.as_deref().and_then(|template| template.split_once('/'));
        let template = template.map(|(_, below)| below);
        let in_subchart = template
            .and_then(|below| below.rsplit_once("/templates/"))
            .map(|(chart, _)| chart);
        let mut layers = self.layers.clone();
        layers.extend(in_subchart.and_then(|chart| layer(&self.folder.join(chart).join("values.yaml"))));
        if let Some(origin) = written_at::of_values(&layers, image) {
            return origin;
        }
        let Some(below) = template else {
            return WrittenAt {
                file: format!("{}/Chart.yaml", self.shown),
                line: 1,
                value: None,
            };
        };
        let file = self.folder.join(below);
        let line = written_at::line_in(texts.of(&file), image);
        WrittenAt {
            // A packed dependency has no files of its own.
            file: if file.is_file() {
                file.display().to_string()
            } else {
                format!("{}/Chart.yaml", self.shown)
            },
            line: line.unwrap_or(1),
            value: (!file.is_file()).then(|| below.to_owned()),
        }
    }
}

/// A file of values.
pub(super) fn layer(file: &Path) -> Option<Layer> {
    let text = String::from_utf8(files::read(file, limits::MANIFEST_FILE).ok()?).ok()?;
    let mut document = yaml::manifests(&text).documents.into_iter().next()?;
    Some(Layer {
        file: file.display().to_string(),
        value: std::mem::take(&mut document.value),
        prefix: String::new(),
        lines: Lines::Of(Box::new(document)),
    })
}
