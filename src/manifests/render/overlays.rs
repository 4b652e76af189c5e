//! Builds a kustomization, and finds where the images in its output are written.

use super::super::ManifestObject;
use super::super::names::{Tree, at};
use super::relative;
use super::texts::Texts;
use super::written_at::WrittenAt;
use crate::yaml;
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// The annotation by which kustomize says where a resource came from
/// (<https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/buildmetadata/>).
const ORIGIN: &str = "config.kubernetes.io/origin";

/// A kustomization.
pub(super) struct Overlay {
    folder: PathBuf,
    tree: Tree,
    wrapper: PathBuf,
}

impl Overlay {
    /// Writes a kustomization into `home` that includes this one and makes kustomize annotate where each resource comes from.
    pub(super) fn new(folder: &Path, tree: Tree, home: &Path) -> std::io::Result<Self> {
        let wrapper = home.canonicalize()?.join("overlay");
        std::fs::create_dir_all(&wrapper)?;
        let to = serde_json::json!({"resources": [from_to(&wrapper, folder)], "buildMetadata": ["originAnnotations"]});
        std::fs::write(wrapper.join("kustomization.yaml"), to.to_string())?;
        Ok(Self {
            folder: folder.to_owned(),
            tree,
            wrapper,
        })
    }

    /// The folder to build.
    pub(super) fn wrapper(&self) -> &Path {
        &self.wrapper
    }

    /// The files that it is built from.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        std::iter::once(self.folder.clone())
            .chain(self.tree.files().map(Path::to_owned))
            .collect()
    }

    /// Where an image is written: in the resource, in `images`, in a patch; or else in the resource that it is in.
    pub(super) fn written_at(&self, subject: &ManifestObject, path: &str, image: &str, texts: &mut Texts) -> WrittenAt {
        let resource = self.resource(subject);
        let mut in_resource = None;
        if let Some(file) = &resource {
            let found = written(texts.of(file), subject, path);
            if let Some((line, written)) = found {
                if written == image {
                    return place(file, line, None);
                }
                in_resource = Some(line);
            }
        }
        if let Some((file, line, name)) = self.tree.renamed(image) {
            return place(file, line, Some(format!("images: {name}")));
        }
        for file in self.tree.files().filter(|file| file.is_file()) {
            let text = texts.of(file);
            if let Some(at) = text.lines().position(|line| line.contains(image)) {
                return place(file, at + 1, None);
            }
        }
        match (resource, self.tree.files().next()) {
            (Some(file), _) => place(&file, in_resource.unwrap_or(1), None),
            (None, Some(file)) => place(file, 1, None),
            (None, None) => place(&self.folder, 1, None),
        }
    }

    /// The file that a resource came from.
    fn resource(&self, subject: &ManifestObject) -> Option<PathBuf> {
        let (_, said) = subject.workload.annotations.iter().find(|(key, _)| key == ORIGIN)?;
        let path = said.lines().find_map(|line| line.trim().strip_prefix("path: "))?;
        let path = path.trim_matches(['"', '\'']);
        self.wrapper.join(path).canonicalize().ok()
    }
}

fn place(file: &Path, line: usize, value: Option<String>) -> WrittenAt {
    WrittenAt {
        file: relative(file),
        line,
        value,
    }
}

/// The line of an image in the file of its resource, and the text there. The resource's name may have got a prefix or suffix.
fn written(text: &str, subject: &ManifestObject, path: &str) -> Option<(usize, String)> {
    let object = &subject.workload.object;
    let documents = yaml::manifests(text).documents;
    let said = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    documents.iter().find_map(|document| {
        let name = said(&document.value, "/metadata/name");
        let fits = said(&document.value, "/kind") == object.kind && object.name.contains(name.as_str());
        let image = at(&document.value, path).filter(|_| fits)?.as_str()?;
        Some((document.line_of(path), image.to_owned()))
    })
}

/// A relative path from one absolute folder to another.
fn from_to(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) = (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - shared);
    let down = to
        .iter()
        .skip(shared)
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_relative_to_each_other() {
        assert_eq!(
            from_to(Path::new("/tmp/a/overlay"), Path::new("/repo/k8s/prod")),
            "../../../repo/k8s/prod"
        );
        assert_eq!(from_to(Path::new("/tmp/a/overlay"), Path::new("/tmp/a")), "..");
    }
}
