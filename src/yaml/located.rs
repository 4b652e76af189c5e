//! Values with the positions of their parts, produced by deserializers.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use std::collections::HashSet;
use std::fmt;

/// The positions of a document's fields. Small numbers: every node of a document has one of these.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lines {
    /// Of the key, if there is one; otherwise of the value. From 1.
    line: u32,
    /// Of the key, if there is one; otherwise of the value. In characters, from 1.
    column: u32,
    /// Of the value, if it begins on the same line; otherwise as `column`.
    value_column: u32,
    /// The offset of the value's text in the stream, in bytes; for an alias, that of its anchor. [`NOWHERE`]: unknown.
    start: u32,
    pub(super) below: Below,
}

/// No position in a text.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Below {
    Nothing,
    List(Vec<Lines>),
    Map(Vec<(String, Lines)>),
}

impl Lines {
    /// Only the line is known.
    pub(super) fn of_line(line: usize) -> Self {
        Self {
            line: narrow(line),
            column: 1,
            value_column: 1,
            start: NOWHERE,
            below: Below::Nothing,
        }
    }

    pub(super) fn line(&self) -> usize {
        widen(self.line)
    }

    /// Line and column of the key, if there is one.
    pub(super) fn of_key(&self) -> (usize, usize) {
        (widen(self.line), widen(self.column))
    }

    /// Line and column of the value, if it begins on the key's line.
    pub(super) fn of_value(&self) -> (usize, usize) {
        (widen(self.line), widen(self.value_column))
    }

    /// The offset of the value's text, in bytes.
    pub(super) fn start(&self) -> Option<usize> {
        (self.start != NOWHERE).then(|| widen(self.start))
    }

    /// The keys that a mapping has more than once, with the line of each repetition.
    pub(super) fn repeated(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut open = vec![self];
        while let Some(lines) = open.pop() {
            match &lines.below {
                Below::Nothing => {}
                Below::List(items) => open.extend(items),
                Below::Map(fields) => {
                    let mut seen = HashSet::with_capacity(fields.len());
                    let again = fields.iter().filter(|(key, _)| key != "<<" && !seen.insert(key.as_str()));
                    found.extend(again.map(|(key, lines)| (lines.line(), key.clone())));
                    open.extend(fields.iter().map(|(_, lines)| lines));
                }
            }
        }
        found.sort();
        found
    }

    /// Corrects positions for `count` bytes that were inserted into the text at each of these offsets (in the text without them; sorted).
    pub(super) fn forget(&mut self, inserted: &[usize], count: usize) {
        if inserted.is_empty() {
            return;
        }
        if let Some(start) = self.start() {
            let before = inserted
                .iter()
                .enumerate()
                .take_while(|(earlier, at)| **at + (*earlier + 1) * count <= start);
            self.start = narrow(start - before.count() * count);
        }
        match &mut self.below {
            Below::Nothing => {}
            Below::List(items) => items.iter_mut().for_each(|below| below.forget(inserted, count)),
            Below::Map(fields) => fields.iter_mut().for_each(|(_, below)| below.forget(inserted, count)),
        }
    }

    /// Shifts everything down by `lines`, the first line to the right by `columns`, and the offsets by `bytes`.
    pub(super) fn shift(&mut self, lines: usize, columns: usize, bytes: usize) {
        self.start = self.start.saturating_add(narrow(bytes));
        if self.line == 1 {
            self.column = self.column.saturating_add(narrow(columns));
            self.value_column = self.value_column.saturating_add(narrow(columns));
        }
        self.line = self.line.saturating_add(narrow(lines));
        match &mut self.below {
            Below::Nothing => {}
            Below::List(items) => items.iter_mut().for_each(|below| below.shift(lines, columns, bytes)),
            Below::Map(fields) => fields.iter_mut().for_each(|(_, below)| below.shift(lines, columns, bytes)),
        }
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn widen(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A value and the positions of its parts, from the YAML deserializer.
pub(super) struct Located {
    line: u32,
    column: u32,
    start: u32,
    node: Node,
}

/// A value without a position of its own.
struct Node(Value, Below);

impl Located {
    pub(super) fn take(self) -> (Value, Lines) {
        (
            self.node.0,
            Lines {
                line: self.line,
                column: self.column,
                value_column: self.column,
                start: self.start,
                below: self.node.1,
            },
        )
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Node>::deserialize(deserializer)?;
        let (line, column) = place(&spanned);
        let start = spanned.defined.span().byte_offset();
        Ok(Self {
            line,
            column,
            start: start.and_then(|start| u32::try_from(start).ok()).unwrap_or(NOWHERE),
            node: spanned.value,
        })
    }
}

fn place<T>(spanned: &Spanned<T>) -> (u32, u32) {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    (number(spanned.referenced.line()), number(spanned.referenced.column()))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

/// The handling of scalars that both visitors share.
macro_rules! scalars {
    ($wrap:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }
        fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
            Ok($wrap(value.into()))
        }
        fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
            Ok($wrap(value.into()))
        }
        fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
            Ok($wrap(value.into()))
        }
        fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
            Ok($wrap(value.into()))
        }
        fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
            Ok($wrap(value.into()))
        }
        fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
            Ok($wrap(value.into()))
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($wrap(Value::Null))
        }
        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok($wrap(Value::Null))
        }
    };
}

fn scalar(value: Value) -> Node {
    Node(value, Below::Nothing)
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;
    scalars!(scalar);

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let (mut values, mut lines) = (Vec::new(), Vec::new());
        while let Some(item) = items.next_element::<Located>()? {
            let (value, line) = item.take();
            values.push(value);
            lines.push(line);
        }
        Ok(Node(Value::Array(values), Below::List(lines)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let (mut values, mut lines) = (Map::new(), Vec::new());
        while let Some((key, field)) = fields.next_entry::<Spanned<String>, Located>()? {
            let (value, mut below) = field.take();
            // Use the key's line, which users look for: a block scalar or a nested map starts a line later.
            let (line, column) = place(&key);
            if below.line != line {
                below.value_column = column;
            }
            (below.line, below.column) = (line, column);
            values.insert(key.value.clone(), value);
            lines.push((key.value, below));
        }
        Ok(Node(Value::Object(values), Below::Map(lines)))
    }
}

/// A JSON value without duplicate keys.
pub(super) struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

impl From<Strict> for Value {
    fn from(Strict(value): Strict) -> Self {
        value
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;
    scalars!(Strict);

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Strict(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Strict, A::Error> {
        let mut values = Map::new();
        while let Some((key, Strict(value))) = fields.next_entry::<String, _>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate mapping key: {key}")));
            }
            values.insert(key, value);
        }
        Ok(Strict(Value::Object(values)))
    }
}
