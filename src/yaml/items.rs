//! A long list, item by item: what is kept of a dump of a whole cluster is one object at a time.

use super::located::{Lines, Located};
use super::split::Chunk;
use super::{INDENT, Repeated, YamlError, json, options, prepared};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Takes an item: its position in the document (`items[3].`), its value and its lines.
type Take<'a> = &'a mut dyn FnMut(String, Value, Lines);

/// Reads the items of a `List`, or of a JSON array; `None` if the document is neither. What comes before an error was taken.
pub(super) fn each(chunk: &Chunk<'_>, take: Take<'_>) -> Option<Result<(), YamlError>> {
    if chunk.is_json() {
        return from_json(chunk, take);
    }
    let once = chunk.text.lines().filter(|line| line.starts_with("items:")).count() == 1;
    (once && chunk.kind() == Some("List")).then(|| from_yaml(chunk, take))
}

fn from_yaml(chunk: &Chunk<'_>, take: Take<'_>) -> Result<(), YamlError> {
    // `prepared` may read the text again from its beginning: skip items that were already taken.
    let mut taken = 0;
    prepared(chunk, |text, inserted| {
        let mut one = |at: usize, item: Located| {
            if at < taken {
                return;
            }
            taken = at + 1;
            let (value, mut lines) = item.take();
            lines.forget(inserted, INDENT);
            lines.shift(chunk.first_line - 1, chunk.first_column - 1, chunk.start);
            take(format!("items[{at}]."), value, lines);
        };
        serde_saphyr::with_deserializer_from_str_with_options(text, options(Repeated::LastCounts), |document| {
            document.deserialize_map(List(&mut one))
        })
    })
}

/// The list.
struct List<'a>(&'a mut dyn FnMut(usize, Located));

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a List")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(key) = fields.next_key::<String>()? {
            if key == "items" {
                fields.next_value_seed(Items(&mut *self.0))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Its items.
struct Items<'a>(&'a mut dyn FnMut(usize, Located));

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a List")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        while let Some(item) = items.next_element::<Located>()? {
            (self.0)(at, item);
            at += 1;
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A `List` in JSON.
#[derive(Deserialize)]
struct JsonList<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

fn from_json(chunk: &Chunk<'_>, take: Take<'_>) -> Option<Result<(), YamlError>> {
    let body = chunk.body();
    let (items, prefix) = if body.starts_with('[') {
        (serde_json::from_str::<Vec<&RawValue>>(body).ok()?, "")
    } else {
        let list: JsonList<'_> = serde_json::from_str(body).ok()?;
        (list.items, if list.kind == "List" { "items" } else { return None })
    };
    let mut before = Chunk { text: "", ..*chunk };
    let mut read = 0;
    for (at, item) in items.into_iter().enumerate() {
        let start = item.get().as_ptr().addr() - chunk.text.as_ptr().addr();
        let between = chunk.text.get(read..start).unwrap_or_default();
        before = before.after(between, item.get());
        for result in json(&before, Repeated::LastCounts) {
            match result {
                Ok(Some((value, lines))) => take(format!("{prefix}[{at}]."), value, lines),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        before = before.after("", "");
        read = start + item.get().len();
    }
    Some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::super::{FoundDocument, LONG, each as read_each, manifests};

    /// What is read one by one, with the line of each image.
    fn read(text: &str) -> (Vec<(String, usize, usize)>, Vec<String>) {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        read_each(text, &|_| true, &mut |one| match one {
            FoundDocument::Document(document) => {
                let path = format!("{}spec.containers[0].image", document.prefix);
                assert!(document.value["spec"]["containers"][0]["image"].is_string());
                found.push((document.prefix.clone(), document.index, document.line_of(&path)));
            }
            FoundDocument::PassedOver => {}
            FoundDocument::Broken(error) => errors.push(error.to_string()),
        });
        (found, errors)
    }

    fn lines_of_whole(text: &str, prefix: impl Fn(usize) -> String, count: usize) -> Vec<(String, usize, usize)> {
        let parsed = manifests(text);
        let document = &parsed.documents[0];
        let line = |at: usize| document.line_of(&format!("{}spec.containers[0].image", prefix(at)));
        (0..count).map(|at| (prefix(at), 0, line(at))).collect()
    }

    #[test]
    fn the_items_of_a_long_list_have_the_places_that_they_have_in_the_whole() {
        let long = "x".repeat(LONG / 4);
        let pod = |at: usize| {
            format!(
                "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: p{at}\n    annotations:\n      note: \"{long}\n      b\"\n  spec:\n    containers:\n    - image: a:{at}\n"
            )
        };
        let pods: String = (0..5).map(pod).collect();
        let text = format!("# a dump\napiVersion: v1\nitems:\n{pods}kind: List\n");
        let prefix = |at: usize| format!("items[{at}].");
        assert_eq!(read(&text), (lines_of_whole(&text, prefix, 5), Vec::new()));
        // What comes before an error was read.
        let (found, errors) = read(&text.replace("    - image: a:3", "   - image: a:3"));
        assert_eq!((found.len(), errors.len()), (3, 1), "{errors:?}");

        let pods = manifests(&text).documents[0].value["items"].clone();
        let json = serde_json::json!({"apiVersion": "v1", "items": pods, "kind": "List"});
        let text = serde_json::to_string_pretty(&json).unwrap();
        assert_eq!(read(&text), (lines_of_whole(&text, prefix, 5), Vec::new()));
        let text = serde_json::to_string(&pods).unwrap();
        assert_eq!(read(&text), (lines_of_whole(&text, |at| format!("[{at}]."), 5), Vec::new()));
    }
}
