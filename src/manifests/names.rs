//! Names that are not images yet: what will replace them, according to the files of a set. `check` and `pin` both use this.

mod kustomize;
mod tilt;
mod tools;
mod values;

pub(super) use kustomize::{Tree, at};
pub(super) use values::{holds_variables, only_variables};

use super::{Manifest, ManifestObject, Notes};
use crate::image::{Syntax, placeholder};
use crate::workload::pod::{Parameters, PullPolicy};
use crate::workload::{ImageUse, Later, ObjectId, Template, Workload};
use kustomize::Kustomizations;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tools::Tools;
use values::Values;

/// What the object as a whole says about the names of its images.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// The paths of images whose pull policy is written.
    policies: Vec<Box<str>>,
    /// Whether it has the label of a kubebuilder project's manager.
    manager: bool,
    /// Its labels and short annotations, by which a kustomization may select it.
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    /// The parameters of an `OpenShift` Template, and its name.
    template: Option<(Values, String)>,
}

/// Why an image may differ from what the defaults of a Template make it.
const OTHER_PARAMETERS: &str = "the template may be processed with other parameters";

/// Longer annotations are documents; nobody selects by them.
const LONGEST_ANNOTATION: usize = 256;

impl Hints {
    pub(super) fn of(object: &Value, workload: &Workload) -> Self {
        let written = |image: &&ImageUse| {
            let container = image
                .path
                .as_str()
                .strip_suffix(".image")
                .and_then(|path| kustomize::at(object, path));
            let policy = container
                .and_then(|container| container.get("imagePullPolicy"))
                .and_then(Value::as_str);
            policy.is_some_and(|policy| matches!(policy, "Always" | "IfNotPresent" | "Never"))
        };
        let uses = workload.templates.iter().flat_map(|template| &template.uses);
        let manager = ["/metadata/labels", "/spec/template/metadata/labels"].iter().any(|pointer| {
            let label = object.pointer(pointer).and_then(|labels| labels.get("control-plane"));
            label.and_then(Value::as_str).is_some()
        });
        let pairs = |field: &str| -> Vec<(String, String)> {
            let map = object
                .get("metadata")
                .and_then(|metadata| metadata.get(field))
                .and_then(Value::as_object);
            let texts = map
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key, value.as_str()?)));
            let short = texts.filter(|(_, value)| value.len() <= LONGEST_ANNOTATION);
            short.map(|(key, value)| (key.clone(), value.to_owned())).collect()
        };
        Self {
            labels: pairs("labels"),
            annotations: pairs("annotations"),
            policies: uses.filter(written).map(|image| Box::from(image.path.as_str())).collect(),
            manager,
            template: is_template(&workload.object).then(|| (Values::of_template(object), workload.object.name.clone())),
        }
    }
}

/// What a set of files says about names.
#[derive(Debug, Default)]
pub(super) struct Names {
    kustomizations: Kustomizations,
    tools: Tools,
}

/// An object of the set, as far as names are concerned.
struct Site<'a> {
    hints: &'a Hints,
    /// Its file; `None` for standard input.
    file: Option<PathBuf>,
    /// The folder of the kustomization that it was built from.
    overlay: Option<&'a Path>,
    object: &'a ObjectId,
}

impl Names {
    /// Reads the kustomizations, Skaffold's and Tilt's files and others in the folders of `files`, and above them up to the given places.
    pub(super) fn of<'a>(
        places: &[String],
        files: impl Iterator<Item = &'a Path>,
        objects: &[Manifest],
        notes: &mut Notes,
    ) -> Self {
        let folders = folders(places, files);
        Self {
            kustomizations: Kustomizations::read(&folders, objects, notes),
            tools: Tools::read(&folders, objects),
        }
    }

    /// The folders of the kustomizations that no other one includes.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        self.kustomizations.roots()
    }

    /// Whether a file is reached by kustomizations, and only from these.
    pub(super) fn only_from(&self, file: &Path, roots: &std::collections::BTreeSet<PathBuf>) -> bool {
        self.kustomizations.only_from(file, roots)
    }

    /// The same for a rendered object: Helm or kustomize has already made its names, and only what a controller does to an overlay's folder
    /// is still to come.
    pub(super) fn settle_rendered(&self, subject: &mut ManifestObject, overlay: Option<&Path>) {
        let ManifestObject { hints, workload, .. } = subject;
        let site = Site {
            hints,
            file: None,
            overlay,
            object: &workload.object,
        };
        self.settle_all(&site, &mut workload.templates);
    }

    /// Sets for each image of an object what becomes of its name. An image that several overlays name differently is listed once for each
    /// of them.
    pub(super) fn settle(&self, hints: &Hints, file: Option<&Path>, workload: &mut Workload) {
        let site = Site {
            hints,
            file: file.map(Path::to_owned),
            overlay: None,
            object: &workload.object,
        };
        self.settle_all(&site, &mut workload.templates);
    }

    fn settle_all(&self, site: &Site<'_>, templates: &mut [Template]) {
        for template in templates {
            let parameters = template.nature.parameters;
            let uses = std::mem::take(&mut template.uses);
            template.uses = uses
                .into_iter()
                .flat_map(|image| self.becomes(site, image, parameters))
                .collect();
            template.uses.shrink_to_fit();
        }
    }

    fn becomes(&self, site: &Site<'_>, image: ImageUse, parameters: Parameters) -> Vec<ImageUse> {
        let renamed = self.kustomizations.rename(site, &image);
        if renamed.is_empty() {
            let later = self.further(site, &image.image, parameters).map(Box::new);
            return vec![ImageUse { later, ..image }];
        }
        let each = renamed.into_iter().map(|later| match later {
            // A patch of its own, or an entry that changes nothing: the name is written here.
            Later::Named {
                name, otherwise: None, ..
            } if name == image.image => ImageUse {
                later: self.further(site, &name, parameters).map(Box::new),
                ..image.clone()
            },
            Later::Named { name, by, otherwise } => {
                // Another tool may have to fill in what kustomize writes.
                let further = self.further(site, &name, parameters);
                let written = site.hints.policies.iter().any(|path| **path == *image.path.as_str());
                let pull_policy = if written {
                    image.pull_policy
                } else {
                    PullPolicy::default_for(&name)
                };
                let later = further.or(Some(Later::Named { name, by, otherwise })).map(Box::new);
                ImageUse {
                    pull_policy,
                    later,
                    ..image.clone()
                }
            }
            later @ Later::FilledIn { .. } => ImageUse {
                later: Some(Box::new(later)),
                ..image.clone()
            },
        });
        each.collect()
    }

    /// What becomes of a name that kustomize has written or left alone.
    fn further(&self, site: &Site<'_>, name: &str, parameters: Parameters) -> Option<Later> {
        let by_default = site.hints.template.as_ref().and_then(|(values, template)| {
            Some(Later::Named {
                name: values.fill_in(name)?,
                by: format!("OpenShift's template processing (defaults of Template {template})"),
                otherwise: Some(OTHER_PARAMETERS),
            })
        });
        by_default.or_else(|| self.later(site, name, parameters))
    }

    /// What will fill in a name, where nothing in the set gives the value.
    fn later(&self, site: &Site<'_>, name: &str, parameters: Parameters) -> Option<Later> {
        let filled_in = |what: &str, by: String| {
            Some(Later::FilledIn {
                what: what.to_owned(),
                by,
            })
        };
        if name.starts_with("ko://") {
            return filled_in(name, "ko, which builds it".to_owned());
        }
        if let Some(tool) = self.tools.built(name) {
            return filled_in(name, tool);
        }
        if name == "managed" {
            return filled_in(name, "the operator that manages it".to_owned());
        }
        if (name == "controller" || name == "controller:latest") && (site.hints.manager || self.tools.has_kubebuilder()) {
            return filled_in(
                name,
                "kubebuilder's make deploy (kustomize edit set image controller=IMAGE)".to_owned(),
            );
        }
        if let Some((what, tool)) = tools::marked(name) {
            return filled_in(what, tool.to_owned());
        }
        let found = placeholder(name)?;
        let by_controller = parameters == Parameters::FilledIn;
        match found.syntax {
            Syntax::Shell if is_template(site.object) => None,
            Syntax::Shell => filled_in(found.text, self.tools.substitutes().unwrap_or("envsubst or Flux").to_owned()),
            Syntax::Template | Syntax::Kubernetes if by_controller => None,
            Syntax::Template => filled_in(found.text, tools::templates(site.file.as_deref()).to_owned()),
            Syntax::Kubernetes => {
                let by = self.kustomizations.variables(site.file.as_deref())?;
                filled_in(found.text, by)
            }
            // Anybody may write these; the annotation tells who reads them.
            Syntax::Angle if site.hints.annotations.iter().any(|(key, _)| key == "avp.kubernetes.io/path") => {
                filled_in(found.text, tools::VAULT_PLUGIN.to_owned())
            }
            Syntax::Percent | Syntax::Angle | Syntax::At | Syntax::Brace | Syntax::Words => None,
        }
    }
}

fn is_template(object: &ObjectId) -> bool {
    object.api_version.starts_with("template.openshift.io/")
}

/// The folders of the files, and those above them up to a folder that was given; sorted, each once.
fn folders<'a>(places: &[String], files: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
    let roots: Vec<PathBuf> = places
        .iter()
        .filter_map(|place| Path::new(place).canonicalize().ok())
        .filter(|place| place.is_dir())
        .collect();
    let mut folders: Vec<PathBuf> = roots.clone();
    for file in files {
        let Ok(file) = file.canonicalize() else { continue };
        let within = roots
            .iter()
            .filter(|root| file.starts_with(root))
            .min_by_key(|root| root.as_os_str().len());
        match within {
            Some(root) => folders.extend(
                file.ancestors()
                    .skip(1)
                    .take_while(|folder| folder.starts_with(root))
                    .map(Path::to_owned),
            ),
            // A file given on its own is a set of its own.
            None if file
                .file_name()
                .is_some_and(|name| kustomize::NAMES.iter().any(|known| name == *known)) =>
            {
                folders.extend(file.parent().map(Path::to_owned));
            }
            None => {}
        }
    }
    folders.sort();
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests;
