//! Which value of a chart, or which line of a template, an image came from. Pure.

use super::super::values::image_in;
use crate::image::Reference;
use crate::yaml::Document;
use serde_json::Value;

/// Deeper levels are not searched.
const DEEPEST: usize = 40;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manifests) struct WrittenAt {
    /// The file, as given or relative to where the command runs.
    pub(in crate::manifests) file: String,
    /// From 1.
    pub(in crate::manifests) line: usize,
    /// The path of the value, if it is one.
    pub(in crate::manifests) value: Option<String>,
}

/// Values of a chart, and where they are written.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) file: String,
    /// The values.
    pub(super) value: Value,
    /// The prefix of their paths: `spec.values.`.
    pub(super) prefix: String,
    pub(super) lines: Lines,
}

/// The lines of values.
#[derive(Debug, Clone)]
pub(super) enum Lines {
    /// Those of a document of the file.
    Of(Box<Document>),
    /// All on this line.
    At(usize),
}

impl Layer {
    fn written_at(&self, path: &str) -> WrittenAt {
        let path = format!("{}{path}", self.prefix);
        WrittenAt {
            file: self.file.clone(),
            line: match &self.lines {
                Lines::Of(document) => document.line_of(&path),
                Lines::At(line) => *line,
            },
            value: Some(path),
        }
    }
}

/// How well a value explains an image; the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Fields that make up the image, or a text that is the image.
    Whole,
    /// The name without tag and digest.
    Name,
    /// The end of the name, after a registry that is given elsewhere.
    EndOfName,
    /// Only the tag.
    Tag,
}

/// The value that best explains an image; among equals, that of the first layer. Where a layer above overrides only the tag, its tag.
/// The layers that win come first.
pub(super) fn of_values(layers: &[Layer], image: &str) -> Option<WrittenAt> {
    let wanted = Wanted::of(image);
    let mut best: Option<(Fit, &Layer, String)> = None;
    for layer in layers {
        let mut found = Best::default();
        search(&layer.value, "", 0, &wanted, &mut found);
        if let Some((fit, path)) = found.0
            && best.as_ref().is_none_or(|(known, ..)| fit < *known)
        {
            best = Some((fit, layer, path));
        }
    }
    let (fit, layer, path) = best?;
    let above = layers.iter().take_while(|above| !std::ptr::eq(*above, layer));
    let overridden = above.filter(|_| fit != Fit::Whole).find_map(|above| {
        let key = path
            .rsplit_once('.')
            .map_or_else(|| "tag".to_owned(), |(parent, _)| format!("{parent}.tag"));
        let tag = match above.value.pointer(&format!("/{}", key.replace('.', "/")))? {
            Value::String(tag) => tag.trim().to_owned(),
            Value::Number(tag) => tag.to_string(),
            _ => return None,
        };
        (wanted.tag == Some(tag)).then(|| above.written_at(&key))
    });
    overridden.or_else(|| Some(layer.written_at(&path)))
}

struct Wanted<'a> {
    image: &'a str,
    name: &'a str,
    tag: Option<String>,
}

impl<'a> Wanted<'a> {
    fn of(image: &'a str) -> Self {
        let name = image.split('@').next().unwrap_or_default();
        let colon = name
            .rfind(':')
            .filter(|at| name.get(*at..).is_some_and(|rest| !rest.contains('/')));
        Self {
            image,
            name: colon.and_then(|at| name.get(..at)).unwrap_or(name),
            tag: Reference::parse(image)
                .ok()
                .and_then(|reference| reference.tag().map(str::to_owned)),
        }
    }

    fn name(&self, text: &str) -> Option<Fit> {
        if text.is_empty() {
            None
        } else if text == self.name {
            Some(Fit::Name)
        } else {
            let before = self.name.strip_suffix(text)?;
            before.ends_with('/').then_some(Fit::EndOfName)
        }
    }
}

/// The best fit so far, and its path.
#[derive(Default)]
struct Best(Option<(Fit, String)>);

impl Best {
    fn offer(&mut self, fit: Fit, path: impl FnOnce() -> String) {
        if self.0.as_ref().is_none_or(|(known, _)| fit < *known) {
            self.0 = Some((fit, path()));
        }
    }
}

fn search(value: &Value, path: &str, depth: usize, wanted: &Wanted<'_>, best: &mut Best) {
    let join = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    if depth > DEEPEST {
        return;
    }
    match value {
        Value::Object(fields) => {
            if let Some((key, image)) = image_in(fields)
                && image == wanted.image
            {
                best.offer(Fit::Whole, || join(key));
            }
            for (key, value) in fields {
                let text = match value {
                    Value::String(text) => text.trim().to_owned(),
                    Value::Number(number) => number.to_string(),
                    Value::Object(_) | Value::Array(_) => {
                        search(value, &join(key), depth + 1, wanted, best);
                        continue;
                    }
                    Value::Null | Value::Bool(_) => continue,
                };
                let names = matches!(key.as_str(), "repository" | "image" | "name" | "imageName" | "repo");
                if text == wanted.image {
                    best.offer(Fit::Whole, || join(key));
                } else if let Some(fit) = wanted.name(&text).filter(|_| names) {
                    best.offer(fit, || join(key));
                } else if key.to_lowercase().ends_with("tag") && wanted.tag.as_deref() == Some(&text) {
                    best.offer(Fit::Tag, || join(key));
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let path = format!("{path}[{at}]");
                if item.as_str() == Some(wanted.image) {
                    best.offer(Fit::Whole, || path.clone());
                }
                search(item, &path, depth + 1, wanted, best);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The line of a template with an image: written as it is, or put together there.
pub(super) fn line_in(text: &str, image: &str) -> Option<usize> {
    let name = Wanted::of(image).name;
    let at = |fits: &dyn Fn(&str) -> bool| text.lines().position(fits).map(|at| at + 1);
    at(&|line| line.contains(image))
        .or_else(|| at(&|line| line.contains("image") && line.contains(name)))
        .or_else(|| at(&|line| line.trim_start().trim_start_matches("- ").starts_with("image:")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn layer(file: &str, value: Value) -> Layer {
        Layer {
            file: file.to_owned(),
            value,
            prefix: String::new(),
            lines: Lines::At(1),
        }
    }

    fn found(layers: &[Layer], image: &str) -> Option<(String, String)> {
        of_values(layers, image).map(|at| (at.file, at.value.unwrap()))
    }

    #[test]
    fn a_tag_that_alone_is_overridden_is_the_origin() {
        let release = layer("release.yaml", json!({"web": {"image": {"tag": 2}}}));
        let chart = layer(
            "values.yaml",
            json!({"web": {"image": {"repository": "team/app", "tag": "1"}}, "other": {"image": {"repository": "team/other"}}}),
        );
        let layers = [release, chart];
        let of = |image: &str| found(&layers, image).unwrap();
        assert_eq!(of("team/app:2"), ("release.yaml".to_owned(), "web.image.tag".to_owned()));
        assert_eq!(
            of("team/app:1"),
            ("values.yaml".to_owned(), "web.image.repository".to_owned())
        );
        assert_eq!(
            of("team/other:2"),
            ("values.yaml".to_owned(), "other.image.repository".to_owned())
        );
    }

    #[test]
    fn the_value_that_explains_an_image_best_is_found() {
        let values = layer(
            "values.yaml",
            json!({"image": {"repository": "team/app", "tag": "1"}, "global": {"registry": "reg.example"},
                   "sidecar": {"image": "reg.example/side:2"}, "list": ["reg.example/third:3"], "worker": {"image": {"repository": "team/app", "tag": "4"}}}),
        );
        let of = |image: &str| found(std::slice::from_ref(&values), image).map(|(_, value)| value);
        assert_eq!(of("team/app:1").as_deref(), Some("image.repository"));
        assert_eq!(of("team/app:4").as_deref(), Some("worker.image.repository"));
        assert_eq!(of("reg.example/team/app:1").as_deref(), Some("image.repository"));
        assert_eq!(of("reg.example/side:2").as_deref(), Some("sidecar.image"));
        assert_eq!(of("reg.example/third:3").as_deref(), Some("list[0]"));
        assert_eq!(
            of("team/app:9").as_deref(),
            Some("image.repository"),
            "the chart's version is the tag"
        );
        assert_eq!(of("other/thing:7"), None);
        // A value that overrides the whole image is its origin; if only the tag is overridden, the name's value is.
        let over = layer("ci.yaml", json!({"image": {"repository": "mine", "tag": "5"}}));
        assert_eq!(
            found(&[over.clone(), values.clone()], "mine:5"),
            Some(("ci.yaml".to_owned(), "image.repository".to_owned()))
        );
        let tag = layer("ci.yaml", json!({"image": {"tag": "6"}}));
        assert_eq!(
            found(&[tag, values], "other:6"),
            Some(("ci.yaml".to_owned(), "image.tag".to_owned()))
        );
    }

    #[test]
    fn a_template_has_a_line_for_an_image() {
        let text = "a:\n  - image: {{ .Values.x }}\n    b: nginx:1\n  - image: \"redis:{{ .Values.tag }}\"\n";
        assert_eq!(line_in(text, "nginx:1"), Some(3));
        assert_eq!(line_in(text, "redis:7"), Some(4));
        assert_eq!(line_in(text, "anything:1"), Some(2));
        assert_eq!(line_in("x: y\n", "anything:1"), None);
    }
}
