//! OpenShift's image streams: which images they fill in, and with what (`pkg/image/trigger` and the `ImagePolicy` admission plugin of
//! openshift-apiserver).

use super::pod::{ImageUse, PodKind, PullPolicy, Role, Template};
use super::stream_tag::StreamTag;
use super::{FieldPath, json};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The annotation with the triggers of any kind except `DeploymentConfig`.
const TRIGGERS: &str = "image.openshift.io/triggers";
/// The annotation by which names are looked up among the image streams of the namespace.
const RESOLVE_NAMES: &str = "alpha.image.policy.openshift.io/resolve-names";

/// The image streams that are known, by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ImageStreams {
    known: BTreeMap<(String, String), Stream>,
    /// Those that may exist but cannot be read.
    hidden: BTreeSet<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Stream {
    /// `lookupPolicy.local`: pods may name it as if it were a repository.
    local: bool,
    /// What each tag stands for.
    tags: BTreeMap<String, String>,
}

impl ImageStreams {
    /// Adds an `ImageStream`.
    pub fn add(&mut self, namespace: &str, name: &str, object: &Value) {
        let (spec, status) = (object.get("spec"), object.get("status"));
        let (spec, status) = (spec.unwrap_or(&Value::Null), status.unwrap_or(&Value::Null));
        let mut stream = Stream {
            local: spec.pointer("/lookupPolicy/local").and_then(Value::as_bool) == Some(true),
            tags: BTreeMap::new(),
        };
        let mut by_repository = Vec::new();
        for tag in json::list(spec, "tags") {
            let name = json::string(tag, "name");
            if tag.pointer("/referencePolicy/type").and_then(Value::as_str) == Some("Local") {
                by_repository.push(name);
            } else if tag.pointer("/from/kind").and_then(Value::as_str) == Some("DockerImage")
                && let Some(image) = tag.pointer("/from/name").and_then(Value::as_str)
            {
                // Until it is imported; then the status has the digest.
                stream.tags.insert(name, image.to_owned());
            }
        }
        let repository = json::non_empty(status, "dockerImageRepository");
        for tag in json::list(status, "tags") {
            let name = json::string(tag, "tag");
            let Some(latest) = json::list(tag, "items").first() else {
                continue;
            };
            let image = match (repository, json::non_empty(latest, "image")) {
                (Some(repository), Some(digest)) if by_repository.contains(&name) => Some(format!("{repository}@{digest}")),
                _ => json::non_empty(latest, "dockerImageReference").map(str::to_owned),
            };
            if let Some(image) = image {
                stream.tags.insert(name, image);
            }
        }
        let key = (namespace.to_owned(), name.to_owned());
        self.hidden.remove(&key);
        self.known.insert(key, stream);
    }

    /// Adds those of `others`.
    pub fn extend(&mut self, others: &Self) {
        self.known
            .extend(others.known.iter().map(|(key, stream)| (key.clone(), stream.clone())));
        self.hidden.extend(others.hidden.iter().cloned());
        self.hidden.retain(|key| !self.known.contains_key(key));
    }

    /// Records that a stream may exist but cannot be read.
    pub fn hide(&mut self, namespace: String, name: String) {
        self.hidden.insert((namespace, name));
    }

    /// The tag of an unreadable stream that an image may stand for.
    pub fn hidden(&self, namespace: &str, image: &str) -> Option<StreamTag> {
        if self.hidden.is_empty() {
            return None;
        }
        StreamTag::local(image).filter(|tag| self.hidden.contains(&(namespace.to_owned(), tag.name.clone())))
    }

    /// What it holds in bytes, roughly.
    pub fn weight(&self) -> usize {
        let of_stream = |stream: &Stream| stream.tags.iter().map(|(tag, image)| tag.len() + image.len()).sum::<usize>();
        self.known
            .iter()
            .map(|((namespace, name), stream)| namespace.len() + name.len() + of_stream(stream))
            .sum()
    }

    /// The image that a tag stands for; `namespace` is that of the object.
    pub fn image(&self, namespace: &str, tag: &StreamTag) -> Option<&str> {
        let namespace = tag.namespace.as_deref().unwrap_or(namespace);
        let stream = self.known.get(&(namespace.to_owned(), tag.name.clone()))?;
        stream.tags.get(&tag.tag).map(String::as_str)
    }

    /// The image that a pod gets if it names a stream of its namespace like a repository, and the stream allows that.
    pub fn looked_up(&self, namespace: &str, image: &str) -> Option<&str> {
        if self.known.is_empty() {
            return None;
        }
        let tag = StreamTag::local(image)?;
        let stream = self
            .known
            .get(&(namespace.to_owned(), tag.name.clone()))
            .filter(|stream| stream.local)?;
        stream.tags.get(&tag.tag).map(String::as_str)
    }
}

/// The streams that may fill in images of these templates, by namespace and name; `namespace` is that of the object.
pub fn wanted(templates: &[Template], namespace: &str) -> BTreeSet<(String, String)> {
    let of_use = |template: &Template, image: &ImageUse| match image.stream.as_deref() {
        Some(tag) => Some(tag.clone()),
        None if template.kind == PodKind::Template => StreamTag::local(&image.image),
        None => None,
    };
    let uses = templates
        .iter()
        .flat_map(|template| template.uses.iter().filter_map(move |image| of_use(template, image)));
    uses.map(|tag| (tag.namespace.unwrap_or_else(|| namespace.to_owned()), tag.name))
        .collect()
}

/// Records which images a stream fills in. A blank image that no stream fills in stays as it is: pods with it are refused.
pub(super) fn note(templates: &mut [Template], object: &Value) {
    let annotation = |of: &Value, key: &str| {
        let annotations = of.get("metadata").and_then(|metadata| metadata.get("annotations"));
        annotations.and_then(|all| json::text(all, key)).map(str::to_owned)
    };
    let is_config = json::text(object, "kind") == Some("DeploymentConfig")
        && json::text(object, "apiVersion").is_some_and(|version| version.starts_with("apps.openshift.io/"));
    let spec = object.get("spec").unwrap_or(&Value::Null);
    if is_config {
        add_missing(templates, spec);
        for trigger in json::list(spec, "triggers") {
            let Some(params) = trigger.get("imageChangeParams") else {
                continue;
            };
            let (names, tag) = (
                json::texts(params, "containerNames"),
                params.get("from").and_then(StreamTag::of),
            );
            let uses = templates.iter_mut().flat_map(|template| &mut template.uses);
            for one in uses.filter(|one| names.contains(&one.name) && is_blank(&one.image)) {
                one.stream = tag.clone().map(Box::new);
            }
        }
    }
    if let Some(text) = annotation(object, TRIGGERS) {
        let triggers: Value = serde_json::from_str(&text).unwrap_or_default();
        for trigger in triggers.as_array().into_iter().flatten() {
            let Some(tag) = trigger.get("from").and_then(StreamTag::of) else {
                continue;
            };
            let field = json::string(trigger, "fieldPath");
            for template in &mut *templates {
                for one in template.uses.iter_mut().filter(|one| is_at(one, &field)) {
                    if is_blank(&one.image) {
                        one.stream = Some(Box::new(tag.clone()));
                    } else {
                        let why = "an image trigger may set another image";
                        template.nature.other_image.get_or_insert(why);
                    }
                }
            }
        }
    }
    let template = spec.get("template").unwrap_or(&Value::Null);
    if annotation(object, RESOLVE_NAMES)
        .or_else(|| annotation(template, RESOLVE_NAMES))
        .is_some()
    {
        for one in templates.iter_mut().flat_map(|template| &mut template.uses) {
            if one.stream.is_none() {
                one.stream = StreamTag::local(&one.image).map(Box::new);
            }
        }
    }
}

fn is_blank(image: &str) -> bool {
    image.trim().is_empty()
}

/// Whether a trigger's `fieldPath` is that of an image: `spec.template.spec.containers[?(@.name=="web")].image`, or with an index.
fn is_at(one: &ImageUse, field: &str) -> bool {
    let list = match one.role {
        Role::Init => "initContainers",
        Role::Container => "containers",
        Role::Ephemeral | Role::Volume | Role::UnmountedVolume => return false,
    };
    let Some((_, rest)) = field.rsplit_once(&format!(".{list}[")) else {
        return false;
    };
    match rest.strip_prefix("?(@.name==") {
        Some(name) => {
            let name = name.strip_suffix(")].image").unwrap_or_default();
            name.trim_matches(['"', '\'']) == one.name
        }
        None => one.path.as_str().ends_with(&format!(".{list}[{rest}")),
    }
}

/// A `DeploymentConfig` need not say the images that its triggers fill in.
fn add_missing(templates: &mut [Template], spec: &Value) {
    let Some(template) = templates.first_mut() else { return };
    let pod = spec.pointer("/template/spec").unwrap_or(&Value::Null);
    for (list, role) in [("initContainers", Role::Init), ("containers", Role::Container)] {
        for (at, container) in json::list(pod, list).iter().enumerate() {
            let image = json::string(container, "image");
            if !is_blank(&image) {
                continue;
            }
            let path = FieldPath::root().field("spec.template.spec").field(list).index(at);
            template.uses.push(ImageUse {
                path: path.field("image"),
                name: json::string(container, "name"),
                role,
                pull_policy: PullPolicy::read(json::text(container, "imagePullPolicy"), &image),
                image,
                unchanged: false,
                later: None,
                stream: None,
            });
        }
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
