//! From untyped JSON to a [`Workload`].

mod site;

use super::kinds::{Kinds, Registration, Scope, Shape};
use super::owner::OwnerReference;
use super::pod::PodKind;
use super::route::{Place, Route};
use super::{FieldPath, ObjectId, Workload, diff, json, running};
use serde_json::Value;

/// Why an object is allowed without being judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// A kind without pod specs.
    OtherKind,
    /// `metadata.deletionTimestamp` is set.
    Deleting,
    /// A mirror pod (`kubernetes.io/config.mirror`): denying it does not stop the static pod.
    MirrorPod,
    /// A subresource that cannot change images (`status`, `scale`, `binding` …).
    Subresource,
    /// DELETE or CONNECT.
    Operation,
    /// An UPDATE that changed nothing that a pull depends on.
    Unchanged,
}

impl Skip {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::OtherKind,
        Self::Deleting,
        Self::MirrorPod,
        Self::Subresource,
        Self::Operation,
        Self::Unchanged,
    ];

    /// A stable name, for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtherKind => "OtherKind",
            Self::Deleting => "Deleting",
            Self::MirrorPod => "MirrorPod",
            Self::Subresource => "Subresource",
            Self::Operation => "Operation",
            Self::Unchanged => "Unchanged",
        }
    }

    /// Why nothing was judged, as a sentence without its full stop.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OtherKind => "this kind has no pods",
            Self::Deleting => "the object is being deleted",
            Self::MirrorPod => "a mirror pod represents a static pod, which admission cannot stop",
            Self::Subresource => "this subresource cannot change images",
            Self::Operation => "this operation cannot change images",
            Self::Unchanged => "the update changes nothing that a pull depends on",
        }
    }
}

/// Reads the images of `object`, if it is of one of the `kinds`. `old` is the object before an UPDATE. `namespace` is the request's
/// namespace, for objects that name none. Never fails: invalid fields are ignored.
///
/// Of both objects it only needs what [`Kinds::keep`] keeps; in tests, every call checks that.
pub fn extract(object: &Value, old: Option<&Value>, namespace: &str, kinds: &Kinds) -> Result<Workload, Skip> {
    let workload = read(object, old, namespace, kinds);
    #[cfg(test)]
    keeps_enough(&workload, object, old, namespace, kinds);
    workload
}

/// Checks that the kept parts of an object give the same result as the whole object.
#[cfg(test)]
fn keeps_enough(workload: &Result<Workload, Skip>, object: &Value, old: Option<&Value>, namespace: &str, kinds: &Kinds) {
    let keep = kinds.keep(&json::string(object, "apiVersion"), &json::string(object, "kind"));
    if let (Ok(kept), Ok(old)) = (keep.read(object), old.map(|old| keep.read(old)).transpose()) {
        let again = read(&kept, old.as_ref(), namespace, kinds);
        assert_eq!(workload, &again, "what is kept of {object}");
    }
}

/// Places where the paths of a custom kind lead to the wrong thing: each with what is there and what should be, as clauses. `null` counts
/// as absent. For kinds of our own table, only numbers and booleans are wrong, because versions of a kind may differ. Built-in kinds are
/// not checked: the API server validates them.
pub fn paths_without_images(object: &Value, kinds: &Kinds) -> Vec<(FieldPath, &'static str, &'static str)> {
    let (api_version, kind) = (json::string(object, "apiVersion"), json::string(object, "kind"));
    let Some(known) = kinds.find(&api_version, &kind) else {
        return Vec::new();
    };
    let configured = known.registration == Registration::Configured;
    let what = |value: &Value, wanted_object: bool| {
        let odd = match value {
            Value::Number(_) | Value::Bool(_) => true,
            Value::Array(_) => configured,
            Value::String(_) => wanted_object,
            Value::Object(_) => !wanted_object && configured,
            Value::Null => false,
        };
        odd.then(|| is(value))
    };
    let mut found = Vec::new();
    if known.registration == Registration::BuiltIn {
        return found;
    }
    let top = Place::top(object);
    let mut stuck = |route: &Route, from: &Place<'_>| {
        for (place, wanted) in route.stuck(from) {
            if configured && !found.iter().any(|(path, ..)| *path == place.path) {
                found.push((place.path, is(place.value), wanted));
            }
        }
    };
    for site in &known.sites {
        stuck(&site.at, &top);
        if let Shape::Images(images) = &site.shape {
            for place in &site.at.find(&top) {
                for (route, _) in images {
                    stuck(route, place);
                }
            }
        }
    }
    for site in &known.sites {
        let places = site.at.find(&top);
        match &site.shape {
            Shape::PodSpec => found.extend(
                places
                    .into_iter()
                    .filter_map(|place| Some((place.path, what(place.value, true)?, "a pod spec"))),
            ),
            Shape::Images(images) => {
                for place in &places {
                    let images = images.iter().flat_map(|(route, _)| route.find(place));
                    found.extend(images.filter_map(|place| Some((place.path, what(place.value, false)?, "the name of an image"))));
                }
            }
            Shape::Objects => {}
        }
    }
    found
}

fn is(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn read(object: &Value, old: Option<&Value>, namespace: &str, kinds: &Kinds) -> Result<Workload, Skip> {
    let (api_version, kind) = (json::string(object, "apiVersion"), json::string(object, "kind"));
    let known = kinds.find(&api_version, &kind).ok_or(Skip::OtherKind)?;
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    if metadata.get("deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return Err(Skip::Deleting);
    }
    let annotations = json::pairs(metadata, "annotations");
    if known.pod == PodKind::Pod && annotations.iter().any(|(key, _)| key == "kubernetes.io/config.mirror") {
        return Err(Skip::MirrorPod);
    }
    let mut templates = site::templates(object, known, kinds);
    if let Some(old) = old.filter(|old| old.is_object()) {
        let before = site::templates(old, known, kinds);
        if diff::mark_unchanged(&mut templates, &before) == diff::Change::Nothing {
            return Err(Skip::Unchanged);
        }
        running::recall(&mut templates, old, &before);
    }
    let owner = OwnerReference::read(metadata);
    let object = ObjectId {
        api_version,
        kind,
        namespace: json::non_empty(metadata, "namespace").unwrap_or(namespace).to_owned(),
        name: name(metadata),
    };
    let mut workload = Workload {
        object,
        templates,
        annotations,
        controller: owner.as_ref().map(|owner| (owner.api_version.clone(), owner.kind.clone())),
        owner,
        uid: json::string(metadata, "uid"),
    };
    match known.scope {
        // The settings need not say that their kind is cluster-scoped: the API server's requests show it.
        Scope::Namespaced if workload.object.namespace.is_empty() => workload.leave_namespace(),
        Scope::Namespaced => {}
        Scope::Cluster => workload.leave_namespace(),
    }
    Ok(workload)
}

/// The name; or for `generateName`, the prefix and `*`.
fn name(metadata: &Value) -> String {
    match json::non_empty(metadata, "name") {
        Some(name) => name.to_owned(),
        None => json::non_empty(metadata, "generateName")
            .map(|name| format!("{name}*"))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
