//! Appends text to scalars of a stream without changing anything else: quotes, comments, line ends and layout stay. The result is
//! parsed again and must equal the input except for these scalars.

use super::located::{Below, Lines};
use super::{Document, Parsed, manifests};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Text to append to a scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// Index into [`Parsed::documents`].
    pub document: usize,
    /// The scalar's path, as for [`Document::line_of`].
    pub path: String,
    /// The scalar's current value.
    pub value: String,
    /// The text: letters, digits and `.:@_-/+`, which mean the same in every style of scalar.
    pub text: String,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edited {
    /// The stream with all additions that were possible.
    pub text: String,
    /// The other additions, by index, and why not.
    pub left: Vec<(usize, Obstacle)>,
}

/// Why a scalar was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The start or end of its text is unknown.
    PositionUnknown,
    /// Through an alias or a merge key, the change would affect another place too.
    Shared {
        /// That place.
        path: String,
        /// Its line, from 1.
        line: usize,
    },
    /// Through an alias or a merge key, the same text is used in a place that needs a different addition.
    ConflictingUses {
        /// That place.
        path: String,
        /// Its line, from 1.
        line: usize,
    },
}

impl Obstacle {
    /// How to fix it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::PositionUnknown => "edit it by hand, or write the value in the usual form",
            Self::Shared { .. } | Self::ConflictingUses { .. } => "write the value in each place, without the anchor",
        }
    }
}

/// A clause; contains keys of the document as they are.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PositionUnknown => f.write_str("its position in the file is unknown"),
            Self::Shared { path, line } => write!(
                f,
                "through an anchor, the same text is also {path} (line {line}), which must not change"
            ),
            Self::ConflictingUses { path, line } => write!(
                f,
                "through an anchor, the same text is also {path} (line {line}), which needs a different text"
            ),
        }
    }
}

/// The result does not parse as expected: our own error. None of it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// The first line of the document that parses differently, or cannot be parsed; from 1.
    pub line: usize,
}

/// A scalar: the document's index, and the start of its text.
type Scalar = (usize, usize);

/// Applies the additions to `text`, which was parsed as `parsed`, without errors.
///
/// # Errors
/// If the result does not parse as expected.
pub fn append(text: &str, parsed: &Parsed, additions: &[Addition]) -> Result<Edited, Mismatch> {
    let mut left = Vec::new();
    let mut scalars: BTreeMap<Scalar, Vec<Meant<'_>>> = BTreeMap::new();
    for (index, addition) in additions.iter().enumerate() {
        let found = parsed
            .documents
            .get(addition.document)
            .and_then(|document| find(document, &addition.path));
        match found {
            Some((start, lines)) => {
                let meant = Meant { index, addition, lines };
                scalars.entry((addition.document, start)).or_default().push(meant);
            }
            None => left.push((index, Obstacle::PositionUnknown)),
        }
    }
    let mut insertions: BTreeMap<usize, &str> = BTreeMap::new();
    let mut added: BTreeMap<Scalar, &str> = BTreeMap::new();
    let places = places(parsed, &scalars);
    for (scalar, meant) in &scalars {
        let Some(first) = meant.first().map(|meant| meant.addition) else {
            continue;
        };
        let obstacle = obstacle(meant, places.get(scalar).map_or(&[][..], Vec::as_slice));
        match (obstacle, end(text, scalar.1, &first.value)) {
            (None, Some(end)) => {
                insertions.insert(end, &first.text);
                added.insert(*scalar, &first.text);
            }
            (obstacle, _) => {
                let obstacle = obstacle.unwrap_or(Obstacle::PositionUnknown);
                left.extend(meant.iter().map(|meant| (meant.index, obstacle.clone())));
            }
        }
    }
    left.sort_by_key(|(at, _)| *at);
    let text = insert(text, &insertions);
    prove(parsed, &text, &added)?;
    Ok(Edited { text, left })
}

/// An addition and its node.
#[derive(Debug)]
struct Meant<'a> {
    index: usize,
    addition: &'a Addition,
    lines: &'a Lines,
}

/// The node at a path, and the start of its text.
fn find<'a>(document: &'a Document, path: &str) -> Option<(usize, &'a Lines)> {
    let (lines, rest) = document.follow(path);
    (rest.is_empty() && matches!(lines.below, Below::Nothing)).then_some(())?;
    Some((lines.start()?, lines))
}

/// Where the text of the scalar at a path starts, and another place that uses it, if there is one.
pub(super) fn places_of(document: &Document, path: &str) -> Option<(usize, Option<(String, usize)>)> {
    let (start, own) = find(document, path)?;
    let mut other = None;
    walk(&document.value, &document.lines, &mut Vec::new(), &mut |path, _, lines| {
        if lines.start() == Some(start) && !std::ptr::eq(lines, own) {
            other.get_or_insert_with(|| (path.concat(), lines.line()));
        }
    });
    Some((start, other))
}

/// A place where a scalar's text is used.
#[derive(Debug)]
struct Place<'a> {
    path: String,
    lines: &'a Lines,
    value: &'a str,
}

/// Every place where the text of each of these scalars is used.
fn places<'a>(parsed: &'a Parsed, scalars: &BTreeMap<Scalar, Vec<Meant<'_>>>) -> BTreeMap<Scalar, Vec<Place<'a>>> {
    let mut places: BTreeMap<Scalar, Vec<Place<'a>>> = BTreeMap::new();
    let with: BTreeSet<usize> = scalars.keys().map(|(document, _)| *document).collect();
    for at in with {
        let Some(document) = parsed.documents.get(at) else { continue };
        walk(
            &document.value,
            &document.lines,
            &mut Vec::new(),
            &mut |path, value, lines| {
                if let Some(scalar) = lines.start().map(|start| (at, start))
                    && scalars.contains_key(&scalar)
                {
                    let path = path.concat();
                    places.entry(scalar).or_default().push(Place { path, lines, value });
                }
            },
        );
    }
    places
}

/// Visits every text of a value, with its path.
fn walk<'a>(value: &'a Value, lines: &'a Lines, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], &'a str, &'a Lines)) {
    match (value, &lines.below) {
        (Value::String(text), Below::Nothing) => visit(path, text, lines),
        (Value::Array(items), Below::List(below)) => {
            for (at, (item, lines)) in items.iter().zip(below).enumerate() {
                path.push(format!("[{at}]"));
                walk(item, lines, path, visit);
                path.pop();
            }
        }
        (Value::Object(fields), Below::Map(below)) => {
            for (key, lines) in below {
                let Some(value) = fields.get(key) else { continue };
                path.push(if path.is_empty() { key.clone() } else { format!(".{key}") });
                walk(value, lines, path, visit);
                path.pop();
            }
        }
        (_, Below::Nothing | Below::List(_) | Below::Map(_)) => {}
    }
}

/// What prevents applying the additions `meant` to a scalar whose text is used in all these places.
fn obstacle(meant: &[Meant<'_>], places: &[Place<'_>]) -> Option<Obstacle> {
    let first = meant.first()?.addition;
    if places.is_empty() || places.iter().any(|place| place.value != first.value) {
        return Some(Obstacle::PositionUnknown);
    }
    places.iter().find_map(|place| {
        let (path, line) = (place.path.clone(), place.lines.line());
        match meant.iter().find(|meant| std::ptr::eq(meant.lines, place.lines)) {
            None => Some(Obstacle::Shared { path, line }),
            Some(meant) if meant.addition.text != first.text => Some(Obstacle::ConflictingUses { path, line }),
            Some(_) => None,
        }
    })
}

/// The end of a scalar's text that has the value `value`: before its closing quote, or after its last letter.
pub(super) fn end(text: &str, start: usize, value: &str) -> Option<usize> {
    let rest = text.get(start..)?;
    match rest.bytes().next()? {
        b'"' => {
            let mut escaped = false;
            let end = rest.bytes().skip(1).position(|byte| {
                let closes = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                closes
            })?;
            Some(start + 1 + end)
        }
        // An image name contains no quote, so none is doubled.
        b'\'' => Some(start + 1 + rest.get(1..)?.find('\'')?),
        // A plain scalar, or the content of a block.
        _ => {
            let before = rest.len() - rest.trim_start().len();
            rest.trim_start().starts_with(value).then_some(start + before + value.len())
        }
    }
}

fn insert(text: &str, insertions: &BTreeMap<usize, &str>) -> String {
    let more: usize = insertions.values().map(|text| text.len()).sum();
    let mut out = String::with_capacity(text.len() + more);
    let mut from = 0;
    for (at, insertion) in insertions {
        out.push_str(text.get(from..*at).unwrap_or_default());
        out.push_str(insertion);
        from = *at;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// Parses `text` and compares it with the original.
fn prove(before: &Parsed, text: &str, additions: &BTreeMap<(usize, usize), &str>) -> Result<(), Mismatch> {
    let after = manifests(text);
    if let Some(error) = after.errors.first() {
        return Err(Mismatch { line: error.line });
    }
    if after.documents.len() != before.documents.len() {
        return Err(Mismatch { line: 1 });
    }
    for (at, (before, after)) in before.documents.iter().zip(&after.documents).enumerate() {
        let mut expected = before.value.clone();
        add(&mut expected, &before.lines, &|start| additions.get(&(at, start)).copied());
        if expected != after.value {
            return Err(Mismatch { line: before.line });
        }
    }
    Ok(())
}

/// Applies the additions to a value.
fn add<'a>(value: &mut Value, lines: &Lines, addition: &impl Fn(usize) -> Option<&'a str>) {
    match (value, &lines.below) {
        (Value::String(text), Below::Nothing) => {
            if let Some(more) = lines.start().and_then(addition) {
                text.push_str(more);
            }
        }
        (Value::Array(items), Below::List(below)) => {
            for (item, lines) in items.iter_mut().zip(below) {
                add(item, lines, addition);
            }
        }
        (Value::Object(fields), Below::Map(below)) => {
            for (key, lines) in below {
                if let Some(value) = fields.get_mut(key) {
                    add(value, lines, addition);
                }
            }
        }
        (_, Below::Nothing | Below::List(_) | Below::Map(_)) => {}
    }
}

#[cfg(test)]
mod tests;
