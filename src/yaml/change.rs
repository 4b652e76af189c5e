//! Changes scalars of a stream, and adds keys beside them, without changing anything else. The result is parsed again and must equal the
//! input except for these fields.

use super::edit::{Edited, Mismatch, Obstacle, end, places_of};
use super::{Document, Parsed, manifests};
use serde_json::Value;
use std::collections::BTreeMap;

/// A field of a mapping, and what to do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Index into [`Parsed::documents`].
    pub document: usize,
    /// The path of the mapping, as for [`Document::line_of`]; empty for the document itself.
    pub map: String,
    /// A key of the mapping.
    pub key: String,
    /// What to do.
    pub change: Change,
}

/// What to do at a field. The new texts are letters, digits and `.:@_-/+`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A part of its text is replaced.
    Swap {
        /// The part.
        old: String,
        /// What replaces it.
        new: String,
    },
    /// It is empty, and gets this text.
    Fill(String),
    /// Another key with this text is added after it.
    Beside {
        /// The key.
        key: String,
        /// The text.
        text: String,
    },
}

impl Edit {
    fn path(&self) -> String {
        join(&self.map, &self.key)
    }
}

fn join(map: &str, key: &str) -> String {
    let dot = if map.is_empty() { "" } else { "." };
    format!("{map}{dot}{key}")
}

/// Applies the edits to `text`, which was parsed as `parsed`, without errors.
///
/// # Errors
/// If the result does not parse as expected.
pub fn change(text: &str, parsed: &Parsed, edits: &[Edit]) -> Result<Edited, Mismatch> {
    let mut left = Vec::new();
    let mut replacements: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    let mut expected: Vec<Value> = parsed.documents.iter().map(|document| document.value.clone()).collect();
    for (at, edit) in edits.iter().enumerate() {
        let document = parsed.documents.get(edit.document);
        let made = document
            .ok_or(Obstacle::PositionUnknown)
            .and_then(|document| replacement(text, document, edit));
        match made {
            Ok((start, end, new)) if !replacements.contains_key(&start) => {
                let slot = expected.get_mut(edit.document).and_then(|value| slot(value, &edit.map));
                if apply(slot, edit) {
                    replacements.insert(start, (end, new));
                } else {
                    left.push((at, Obstacle::PositionUnknown));
                }
            }
            Ok(_) => left.push((at, Obstacle::PositionUnknown)),
            Err(obstacle) => left.push((at, obstacle)),
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (start, (end, new)) in &replacements {
        out.push_str(text.get(from..*start).unwrap_or_default());
        out.push_str(new);
        from = *end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    let after = manifests(&out);
    if let Some(error) = after.errors.first() {
        return Err(Mismatch { line: error.line });
    }
    if after.documents.len() != expected.len() {
        return Err(Mismatch { line: 1 });
    }
    let mut pairs = expected.iter().zip(&after.documents);
    match pairs.find(|(expected, after)| **expected != after.value) {
        Some((_, after)) => Err(Mismatch { line: after.line }),
        None => Ok(Edited { text: out, left }),
    }
}

/// The bytes to replace, and by what.
fn replacement(text: &str, document: &Document, edit: &Edit) -> Result<(usize, usize, String), Obstacle> {
    let path = edit.path();
    let sight = Obstacle::PositionUnknown;
    if let Change::Fill(new) = &edit.change {
        return fill(text, document, &path, &edit.key, new).ok_or(sight);
    }
    let value = value_at(&document.value, &edit.map).and_then(|map| map.get(&edit.key));
    let written = value.and_then(Value::as_str).map(str::to_owned);
    let written = written.or_else(|| value.filter(|value| value.is_u64()).map(ToString::to_string));
    let written = written.ok_or(sight.clone())?;
    let (start, others) = places_of(document, &path).ok_or(sight.clone())?;
    if let Some((path, line)) = others {
        return Err(Obstacle::Shared { path, line });
    }
    let last = end(text, start, &written).ok_or(sight.clone())?;
    match &edit.change {
        Change::Swap { old, new } => {
            let from = text.get(start..last).and_then(|raw| raw.find(old)).ok_or(sight)?;
            Ok((start + from, start + from + old.len(), new.clone()))
        }
        Change::Beside { key, text: new } => beside(text, document, &path, last, key, new).ok_or(sight),
        Change::Fill(_) => Err(sight),
    }
}

/// The offset of the line `number`, from 1.
fn line_start(text: &str, number: usize) -> Option<usize> {
    let mut starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    starts.nth(number.checked_sub(1)?)
}

/// The offset of the key of a path.
fn key_start(text: &str, document: &Document, path: &str) -> Option<usize> {
    let (line, column) = document.place_of(path);
    let start = line_start(text, line)?;
    let rest = text.get(start..)?;
    // A byte order mark does not count as a column.
    let mark = if rest.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let in_line = rest.get(mark..)?;
    let (at, _) = in_line.char_indices().nth(column.checked_sub(1)?)?;
    Some(start + mark + at)
}

fn fill(text: &str, document: &Document, path: &str, key: &str, new: &str) -> Option<(usize, usize, String)> {
    let start = key_start(text, document, path)?;
    let rest = text.get(start..)?;
    let bare = rest.trim_start_matches(['"', '\'']);
    let after = bare
        .strip_prefix(key)?
        .trim_start_matches(['"', '\''])
        .trim_start_matches([' ', '\t']);
    let after = after.strip_prefix(':')?;
    let colon = start + rest.len() - after.len();
    let blank = after.len() - after.trim_start_matches([' ', '\t']).len();
    let value = after.get(blank..)?;
    let at = colon + blank;
    for quotes in ["\"\"", "''"] {
        if value.starts_with(quotes) {
            return Some((at + 1, at + 1, new.to_owned()));
        }
    }
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['\n', '\r', ',', '}', ' ', '#']);
    for null in ["~", "null"] {
        if value.strip_prefix(null).is_some_and(ends) {
            return Some((at, at + null.len(), format!("\"{new}\"")));
        }
    }
    ends(value).then(|| (colon, colon, format!(" \"{new}\"")))
}

fn beside(text: &str, document: &Document, path: &str, last: usize, key: &str, new: &str) -> Option<(usize, usize, String)> {
    let start = key_start(text, document, path)?;
    let quoted = text.get(start..)?.starts_with('"');
    let closed = match text.get(last..)?.chars().next() {
        Some('"' | '\'') => last + 1,
        _ => last,
    };
    let rest = text.get(closed..)?;
    if rest.trim_start().starts_with([',', '}']) {
        let field = if quoted {
            format!("\"{key}\": \"{new}\"")
        } else {
            format!("{key}: {new}")
        };
        return Some((closed, closed, format!(", {field}")));
    }
    let line_end = rest.find('\n').unwrap_or(rest.len());
    let line = rest.get(..line_end)?;
    let tail = line.trim_end_matches('\r').trim_start();
    if !(tail.is_empty() || tail.starts_with('#')) {
        return None;
    }
    let crlf = line.ends_with('\r');
    let at = closed + line_end - usize::from(crlf);
    let (_, column) = document.place_of(path);
    let indent = " ".repeat(column.checked_sub(1)?);
    Some((at, at, format!("{}{indent}{key}: {new}", if crlf { "\r\n" } else { "\n" })))
}

/// The value at a path.
pub fn value_at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Array(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            value_at(items.get(index.parse::<usize>().ok()?)?, rest)
        }
        Value::Object(fields) => {
            let (key, rest) = key_of(fields, path)?;
            value_at(fields.get(&key)?, rest)
        }
        _ => None,
    }
}

fn slot<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Array(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            slot(items.get_mut(index.parse::<usize>().ok()?)?, rest)
        }
        Value::Object(fields) => {
            let (key, rest) = key_of(fields, path)?;
            slot(fields.get_mut(&key)?, rest)
        }
        _ => None,
    }
}

/// The key with which a path begins, and the rest. Keys may contain dots: the longest wins.
fn key_of<'p>(fields: &serde_json::Map<String, Value>, path: &'p str) -> Option<(String, &'p str)> {
    let found = fields.keys().filter_map(|key| {
        let rest = path.strip_prefix(key.as_str())?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some((key, rest))
    });
    found.max_by_key(|(key, _)| key.len()).map(|(key, rest)| (key.clone(), rest))
}

/// Applies an edit of the text to the value; returns whether it could.
fn apply(map: Option<&mut Value>, edit: &Edit) -> bool {
    let Some(fields) = map.and_then(Value::as_object_mut) else {
        return false;
    };
    match &edit.change {
        Change::Swap { old, new } => match fields.get_mut(&edit.key) {
            Some(Value::String(text)) if text.matches(old.as_str()).count() == 1 => {
                *text = text.replace(old.as_str(), new);
                true
            }
            _ => false,
        },
        Change::Fill(new) => match fields.get_mut(&edit.key) {
            Some(value) if value.is_null() || value.as_str() == Some("") => {
                *value = Value::String(new.clone());
                true
            }
            _ => false,
        },
        Change::Beside { key, text } => {
            let fresh = !fields.contains_key(key);
            if fresh {
                fields.insert(key.clone(), Value::String(text.clone()));
            }
            fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(map: &str, key: &str, change: Change) -> Edit {
        Edit {
            document: 0,
            map: map.to_owned(),
            key: key.to_owned(),
            change,
        }
    }

    fn digest() -> Change {
        Change::Beside {
            key: "digest".to_owned(),
            text: "sha256:b".to_owned(),
        }
    }

    fn changed(text: &str, edits: &[Edit]) -> String {
        let edited = change(text, &manifests(text), edits).unwrap();
        assert_eq!(edited.left, [], "{text}");
        edited.text
    }

    #[test]
    fn a_key_is_added_in_the_layout_of_its_neighbours() {
        for (before, after) in [
            (
                "images:\n- name: app  # x\n  newTag: v1   # raised by hand\n  newName: y\n",
                "images:\n- name: app  # x\n  newTag: v1   # raised by hand\n  digest: sha256:b\n  newName: y\n",
            ),
            (
                "images:\n  - newTag: 'v1'\r\n    name: a\r\n",
                "images:\n  - newTag: 'v1'\r\n    digest: sha256:b\r\n    name: a\r\n",
            ),
            (
                "images:\n- {name: a, newTag: \"v1\"}\n",
                "images:\n- {name: a, newTag: \"v1\", digest: sha256:b}\n",
            ),
            (
                "{\"images\": [{\"newTag\": \"v1\"}]}",
                "{\"images\": [{\"newTag\": \"v1\", \"digest\": \"sha256:b\"}]}",
            ),
            ("images:\n- newTag: v1", "images:\n- newTag: v1\n  digest: sha256:b"),
        ] {
            assert_eq!(changed(before, &[edit("images[0]", "newTag", digest())]), after);
        }
    }

    #[test]
    fn an_empty_field_is_filled_and_a_part_is_replaced() {
        let fill = |text: &str| changed(text, &[edit("image", "digest", Change::Fill("sha256:b".to_owned()))]);
        assert_eq!(
            fill("image:\n  digest: \"\" # none\n  tag: x\n"),
            "image:\n  digest: \"sha256:b\" # none\n  tag: x\n"
        );
        assert_eq!(fill("image:\n  digest: ''\n"), "image:\n  digest: 'sha256:b'\n");
        assert_eq!(
            fill("image:\n  digest:\n  tag: x\n"),
            "image:\n  digest: \"sha256:b\"\n  tag: x\n"
        );
        assert_eq!(fill("image:\n  digest: ~\n"), "image:\n  digest: \"sha256:b\"\n");
        assert_eq!(
            fill("image: {tag: x, digest: }\n"),
            "image: {tag: x, digest: \"sha256:b\" }\n"
        );
        let swap = Change::Swap {
            old: "sha256:a".to_owned(),
            new: "sha256:b".to_owned(),
        };
        assert_eq!(
            changed("a: [\"x:1@sha256:a\"]\nb: 'x:1@sha256:a' # c\n", &[edit("", "b", swap)]),
            "a: [\"x:1@sha256:a\"]\nb: 'x:1@sha256:b' # c\n"
        );
    }

    #[test]
    fn what_is_shared_through_an_anchor_stays() {
        let text = "a: {newTag: &tag v1}\nb: {newTag: *tag}\nc: {digest: sha256:b, newTag: v1}\n";
        let edits = [edit("a", "newTag", digest()), edit("c", "newTag", digest())];
        let edited = change(text, &manifests(text), &edits).unwrap();
        assert_eq!(edited.text, text);
        assert!(
            matches!(
                &edited.left[..],
                [(0, Obstacle::Shared { .. }), (1, Obstacle::PositionUnknown)]
            ),
            "{:?}",
            edited.left
        );
    }
}
