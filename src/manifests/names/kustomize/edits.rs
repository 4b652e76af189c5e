//! What a kustomization does to the names of images: entries of `images`, patches, replacements.

use super::super::values::Values;
use super::target::{Identity, Known, Target};
use super::{at, list, text};
use crate::workload::ImageUse;
use regex::Regex;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One thing that is done, in the order in which kustomize does them.
#[derive(Debug)]
pub(super) enum Step {
    Patch(Patch),
    /// Names, namespaces and labels of resources change.
    Identity(Identity),
    Image(Image),
    Replacement(Replacement),
    /// A transformer that is a program of its own; its kind.
    Program(String),
    /// Flux replaces variables in what was built.
    Substitute(Substitution),
}

/// Variables that a Flux `Kustomization` gives a value.
#[derive(Debug)]
pub(super) struct Substitution {
    values: Values,
    /// The files that contain it and its `ConfigMaps`.
    files: Vec<PathBuf>,
}

/// The label or annotation that keeps Flux from changing an object.
const SUBSTITUTE: (&str, &str) = ("kustomize.toolkit.fluxcd.io/substitute", "disabled");

impl Substitution {
    /// `config_map` gives the only `ConfigMap` of a name, in the namespace of the object, and its file.
    pub(super) fn read<'a>(spec: &Value, file: &Path, config_map: impl Fn(&str) -> Option<(&'a Value, PathBuf)>) -> Option<Self> {
        let mut files = vec![file.to_owned()];
        let values = Values::of_flux(spec, &mut |name| {
            let (object, file) = config_map(name)?;
            files.push(file);
            Some(object)
        })?;
        (!values.are_none()).then_some(Self { values, files })
    }

    /// The name with its variables replaced, if the set gives all their values. `None` if kustomizations change the files with the values.
    pub(super) fn of(&self, name: &str, known: &Known, changes: impl Fn(&Path) -> bool) -> Option<String> {
        let mut marks = known.labels.iter().chain(&known.annotations);
        let off = marks.any(|(key, value)| (key.as_str(), value.as_str()) == SUBSTITUTE);
        let filled = self.values.fill_in(name).filter(|_| !off)?;
        (!self.files.iter().any(|file| changes(file))).then_some(filled)
    }
}

/// An entry of `images`.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// Its line, from 1.
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) new_name: String,
    pub(super) new_tag: String,
    pub(super) digest: String,
    pub(super) suffix: String,
    /// The name, if it is a regular expression.
    expression: Option<Regex>,
}

impl Image {
    pub(super) fn read(entry: &Value, line: usize) -> Option<Self> {
        let one = Self {
            line,
            name: text(entry, "name"),
            new_name: text(entry, "newName"),
            new_tag: text(entry, "newTag"),
            digest: text(entry, "digest"),
            suffix: text(entry, "tagSuffix"),
            expression: None,
        };
        (!one.name.is_empty()).then(|| one.compiled())
    }

    /// Argo CD's form, that of `kustomize edit set image`: `[NAME=]IMAGE[:TAG][@DIGEST]`.
    pub(super) fn of_argument(argument: &str) -> Option<Self> {
        let (name, new) = argument
            .split_once('=')
            .map_or((None, argument), |(name, new)| (Some(name), new));
        let (image, tag, digest) = split(new);
        let one = Self {
            line: 1,
            name: name.unwrap_or(image).to_owned(),
            new_name: if name.is_none() || image == "*" {
                String::new()
            } else {
                image.to_owned()
            },
            new_tag: tag.to_owned(),
            digest: digest.to_owned(),
            suffix: String::new(),
            expression: None,
        };
        (!one.name.is_empty()).then(|| one.compiled())
    }

    fn compiled(mut self) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if !self.name.chars().all(plain) {
            // As kustomize writes it (`IsImageMatched`).
            let text = format!("^{}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$", self.name);
            self.expression = Regex::new(&text).ok();
        }
        self
    }

    /// Whether an image may be the result of this entry.
    pub(super) fn makes(&self, image: &str) -> bool {
        let name = if self.new_name.is_empty() {
            &self.name
        } else {
            &self.new_name
        };
        let Some(rest) = image.strip_prefix(name.as_str()) else {
            return false;
        };
        let (tag, digest) = rest.split_once('@').unwrap_or((rest, ""));
        let tag_fits = match self.new_tag.as_str() {
            "" => tag.is_empty() || tag.starts_with(':'),
            new => tag.strip_prefix(':') == Some(new),
        };
        tag_fits && (self.digest.is_empty() || digest == self.digest)
    }

    fn is_for(&self, image: &str) -> bool {
        if let Some(expression) = &self.expression {
            return expression.is_match(image);
        }
        let allowed = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_.{}-".contains(c));
        let Some(rest) = image.strip_prefix(self.name.as_str()) else {
            return false;
        };
        let (tag, digest) = rest.split_once('@').map_or((rest, None), |(tag, digest)| (tag, Some(digest)));
        (tag.is_empty() || tag.strip_prefix(':').is_some_and(allowed))
            && digest.is_none_or(|digest| digest.strip_prefix("sha256:").is_some_and(allowed))
    }

    /// What becomes of a name that it matches.
    pub(super) fn apply(&self, image: &str) -> Option<String> {
        if !self.is_for(image) {
            return None;
        }
        let (old, tag, digest) = split(image);
        let name = if self.new_name.is_empty() { old } else { &self.new_name };
        let (tag, digest) = match (self.new_tag.as_str(), self.digest.as_str()) {
            ("", "") if !self.suffix.is_empty() => (format!("{tag}{}", self.suffix), ""),
            ("", "") => (tag.to_owned(), digest),
            (tag, digest) => (tag.to_owned(), digest),
        };
        let colon = if tag.is_empty() { "" } else { ":" };
        let at = if digest.is_empty() { "" } else { "@" };
        Some(format!("{name}{colon}{tag}{at}{digest}"))
    }
}

/// Name, tag and digest (kustomize's `Split`): a colon before the first slash is a port's.
fn split(image: &str) -> (&str, &str, &str) {
    let (before, digest) = image.split_once('@').unwrap_or((image, ""));
    let path = before.find('/').filter(|at| *at > 0).unwrap_or(0);
    match before.get(path..).and_then(|rest| rest.find(':')) {
        Some(colon) => {
            let (name, tag) = before.split_at(path + colon);
            (name, tag.get(1..).unwrap_or_default(), digest)
        }
        None => (before, "", digest),
    }
}

/// What becomes of an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// This name.
    Name(String),
    /// Something that cannot be known.
    Something,
}

/// A patch, and its target.
#[derive(Debug)]
pub(super) struct Patch {
    target: Target,
    body: Value,
}

impl Patch {
    pub(super) fn of(body: Value, target: Option<&Value>) -> Self {
        let target = target.map_or_else(|| Target::of_body(&body), Target::read);
        Self { target, body }
    }

    /// What it writes for an image: by the container's name, or by its place. The place moves if an entry is inserted before it.
    pub(super) fn image(&self, image: &ImageUse, pointer: &mut String, known: &Known) -> Option<Written> {
        if !self.target.fits(known) {
            return None;
        }
        let Some(steps) = self.body.as_array() else {
            return merged(&self.body, image).map(Written::Name);
        };
        let mut written = None;
        for step in steps {
            let (op, path) = (text(step, "op"), text(step, "path"));
            let rest = pointer
                .strip_prefix(path.as_str())
                .filter(|rest| rest.is_empty() || rest.starts_with('/'));
            match (op.as_str(), rest) {
                ("add", _) if let Some(moved) = moved(&path, pointer) => *pointer = moved,
                ("add" | "replace", Some(rest)) => {
                    if let Some(name) = step
                        .get("value")
                        .and_then(|value| value.pointer(rest))
                        .and_then(Value::as_str)
                    {
                        written = Some(Written::Name(name.to_owned()));
                    }
                }
                ("copy" | "move", Some(_)) => written = Some(Written::Something),
                _ => {}
            }
        }
        written
    }
}

/// `pointer` after an insertion at `path`; `None` if that does not move it.
fn moved(path: &str, pointer: &str) -> Option<String> {
    let (list, at) = path.rsplit_once('/')?;
    let at: usize = at.parse().ok()?;
    let rest = pointer.strip_prefix(list)?.strip_prefix('/')?;
    let (index, below) = rest
        .split_once('/')
        .map_or((rest, None), |(index, below)| (index, Some(below)));
    let index: usize = index.parse().ok().filter(|index| *index >= at)?;
    let below = below.map(|below| format!("/{below}")).unwrap_or_default();
    Some(format!("{list}/{}{below}", index + 1))
}

/// What a strategic merge patch says: entries of lists are found by their names.
fn merged(body: &Value, image: &ImageUse) -> Option<String> {
    let path = image.path.as_str();
    let Some((list, field)) = path.rsplit_once("].") else {
        return at(body, path)?.as_str().map(str::to_owned);
    };
    let (list, _) = list.rsplit_once('[')?;
    let entries = at(body, list)?.as_array()?;
    let entry = entries
        .iter()
        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(&image.name))?;
    at(entry, field)?.as_str().map(str::to_owned)
}

/// An entry of `replacements`.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) source: Source,
    targets: Vec<Place>,
}

/// Where the value of a replacement comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// It is written there.
    Value(String),
    Field {
        target: Box<Target>,
        path: String,
        cut: Option<Cut>,
    },
}

/// A part of a text: between which of these delimiters.
#[derive(Debug)]
pub(super) struct Cut {
    delimiter: String,
    index: i64,
}

#[derive(Debug)]
struct Place {
    select: Target,
    reject: Vec<Target>,
    paths: Vec<Vec<String>>,
    cut: Option<Cut>,
}

impl Cut {
    fn read(value: &Value) -> Option<Self> {
        let options = value.get("options")?;
        let delimiter = text(options, "delimiter");
        let index = options.get("index").and_then(Value::as_i64).unwrap_or(0);
        (!delimiter.is_empty()).then_some(Self { delimiter, index })
    }

    pub(super) fn of(&self, text: &str) -> Option<String> {
        let index = usize::try_from(self.index).ok()?;
        text.split(&self.delimiter).nth(index).map(str::to_owned)
    }

    /// The text with that part replaced; an index outside puts it at the end or the beginning.
    fn replaced(&self, text: &str, value: &str) -> String {
        let mut parts: Vec<&str> = text.split(&self.delimiter).collect();
        match usize::try_from(self.index) {
            Ok(index) => match parts.get_mut(index) {
                Some(part) => *part = value,
                None => parts.push(value),
            },
            Err(_) => parts.insert(0, value),
        }
        parts.join(&self.delimiter)
    }
}

impl Replacement {
    pub(super) fn read(value: &Value) -> Option<Self> {
        let source = match (value.get("sourceValue").and_then(Value::as_str), value.get("source")) {
            (Some(value), _) => Source::Value(value.to_owned()),
            (None, Some(source)) => Source::Field {
                target: Box::new(Target::read(source)),
                path: Some(text(source, "fieldPath"))
                    .filter(|path| !path.is_empty())
                    .unwrap_or_else(|| "metadata.name".to_owned()),
                cut: Cut::read(source),
            },
            (None, None) => return None,
        };
        let targets = list(value, "targets").iter().filter_map(|place| {
            let paths = list(place, "fieldPaths").iter().filter_map(Value::as_str);
            Some(Place {
                select: Target::read(place.get("select")?),
                reject: list(place, "reject").iter().map(Target::read).collect(),
                paths: paths.map(steps).collect(),
                cut: Cut::read(place),
            })
        });
        Some(Self {
            source,
            targets: targets.collect(),
        })
    }

    /// What it makes of an image, by the value of its source, if that is known. `None` if it leaves it alone.
    pub(super) fn apply(
        &self,
        image: &ImageUse,
        name: &str,
        known: &Known,
        value: impl Fn(&Source) -> Option<String>,
    ) -> Option<Written> {
        let place = self.targets.iter().find(|place| {
            place.select.fits(known)
                && !place.reject.iter().any(|target| target.fits(known))
                && place.paths.iter().any(|path| leads_to(path, image))
        })?;
        let value = value(&self.source).map(|value| match &place.cut {
            Some(cut) => cut.replaced(name, &value),
            None => value,
        });
        Some(value.map_or(Written::Something, Written::Name))
    }
}

/// The steps of a field path; a dot between brackets or after a backslash is not a separator (`SmarterPathSplitter`).
pub(super) fn steps(path: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let (mut inside, mut escaped) = (false, false);
    for c in path.chars() {
        match c {
            '.' if !inside && !escaped => found.push(String::new()),
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            other => {
                inside = (inside || other == '[') && other != ']';
                if let Some(last) = found.last_mut() {
                    last.push(other);
                }
            }
        }
        escaped = false;
    }
    found
}

/// Whether a field path may lead to an image: entries of lists are given by index, by `*` or by a field (`[name=app]`).
fn leads_to(path: &[String], image: &ImageUse) -> bool {
    let place = image.path.as_str().replace('[', ".").replace(']', "");
    let place: Vec<&str> = place.split('.').collect();
    let last_list = place.iter().rposition(|step| step.parse::<usize>().is_ok());
    place.len() == path.len()
        && place
            .iter()
            .zip(path)
            .enumerate()
            .all(|(at, (is, wanted))| match wanted.strip_prefix("[name=") {
                Some(name) if Some(at) == last_list => name.strip_suffix(']') == Some(&*image.name),
                Some(_) => true,
                None => is == wanted || wanted == "*" || wanted.starts_with('['),
            })
}

/// The value at the source's place in one of these documents.
pub(super) fn looked_up(source: &Source, resources: impl IntoIterator<Item = Value>) -> Option<String> {
    let (target, path, cut) = match source {
        Source::Value(value) => return Some(value.clone()),
        Source::Field { target, path, cut } => (target, path, cut),
    };
    let found = resources.into_iter().find(|resource| {
        let metadata = resource.get("metadata");
        let field = |name: &str| metadata.map(|metadata| text(metadata, name)).unwrap_or_default();
        let known = Known {
            api_version: text(resource, "apiVersion"),
            kind: text(resource, "kind"),
            names: vec![field("name")],
            ..Known::default()
        };
        target.fits(&known)
    })?;
    let value = steps(path).iter().try_fold(&found, |value, step| match value {
        Value::Array(items) => match step.strip_prefix('[').and_then(|step| step.strip_suffix(']')) {
            Some(wanted) => {
                let (field, wanted) = wanted.split_once('=')?;
                items.iter().find(|item| text(item, field) == wanted)
            }
            None => items.get(step.parse::<usize>().ok()?),
        },
        other => other.get(step.trim_matches(['[', ']'])),
    })?;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match cut {
        Some(cut) => cut.of(&text),
        None => Some(text),
    }
}

/// A `ConfigMap` that a generator makes of what is written in the kustomization.
pub(super) fn generated(entry: &Value, folder: &Path) -> Value {
    let mut data = serde_json::Map::new();
    let mut take = |line: &str| {
        if let Some((key, value)) = line.split_once('=') {
            data.insert(key.trim().to_owned(), value.trim_matches(['"', '\'']).into());
        }
    };
    let literals = list(entry, "literals").iter().filter_map(Value::as_str);
    literals.for_each(&mut take);
    let mut files: Vec<&str> = list(entry, "envs").iter().filter_map(Value::as_str).collect();
    files.extend(entry.get("env").and_then(Value::as_str));
    for file in files {
        let text = super::file_text(&folder.join(file)).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with('#')).for_each(&mut take);
    }
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": text(entry, "name")}, "data": data})
}

#[cfg(test)]
mod tests;
