//! Manifests as text: multi-document YAML and JSON, parsed as kubectl does, with the line of every field. Text in, values out; no
//! files.
//!
//! The text is first split at its document markers, so that a broken document does not affect the others. Nesting, aliases and size
//! are limited. A key given twice is an error in what we read ourselves ([`documents`]); in manifests the last one counts, as for kubectl
//! ([`manifests`]).

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy, Options, UserMessageFormatter};
use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;

mod change;
mod edit;
mod items;
mod located;
mod nearest;
mod split;

pub use change::{Change, Edit, change, value_at};
pub use edit::{Addition, Edited, Mismatch, Obstacle, append};
pub use nearest::{nearest, unknown};

use located::{Below, Lines, Located, Strict};

/// Maximum nesting; deeper documents are refused.
const MAX_DEPTH: usize = 100;
/// The most nodes that aliases may add to a document.
const MAX_REPLAYED: usize = 100_000;
/// The most nodes in one document. (A `kubectl get -A -o yaml` of a large cluster is one document.)
const MAX_NODES: usize = 10_000_000;
/// Documents longer than this, in bytes, are read one at a time in the whole process: each takes ten times its length while it is read.
const LARGE: usize = 2 << 20;
/// Lists longer than this, in bytes, are read item by item.
const LONG: usize = 256 << 10;
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// The stack of the parsing thread, in bytes; several times what [`MAX_DEPTH`] needs in a debug build.
const STACK: usize = 32 << 20;

/// The result of parsing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The valid documents, in order; empty ones are left out.
    pub documents: Vec<Document>,
    /// The errors, in order.
    pub errors: Vec<YamlError>,
}

/// One document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its index among the documents that are not empty, broken ones included.
    pub index: usize,
    /// The line where its content starts; from 1.
    pub line: usize,
    /// For an item of a long list, which [`each`] reads one by one, its position in the document (`items[3].`). Otherwise empty.
    pub prefix: String,
    /// The content.
    pub value: Value,
    /// Keys that a mapping has more than once, with the line of each repetition; only from [`manifests`].
    pub repeated: Vec<(usize, String)>,
    lines: Lines,
}

/// How a key that a mapping has twice is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeated {
    /// It is an error.
    Refused,
    /// The last one counts.
    LastCounts,
}

/// Why a document could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// Its index among the documents that are not empty.
    pub document: usize,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong: a sentence without its full stop.
    pub message: String,
    /// The text of the document, as a range of bytes.
    pub text: Range<usize>,
}

/// `line 3, column 5: the message`.
impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for YamlError {}

impl Document {
    /// The line of a field, by its Kubernetes path (`spec.containers[0].image`): that of its key, or the first line of the list
    /// item; from 1. For a path that does not exist, the line of the deepest part that does.
    pub fn line_of(&self, path: &str) -> usize {
        self.find(path).line()
    }

    /// Line and column (in characters) of a field, like [`Self::line_of`]; both from 1.
    pub fn place_of(&self, path: &str) -> (usize, usize) {
        self.find(path).of_key()
    }

    /// Like [`Self::place_of`], but with the column of the field's value if that begins on the same line.
    pub fn place_of_value(&self, path: &str) -> (usize, usize) {
        self.find(path).of_value()
    }

    fn find(&self, path: &str) -> &Lines {
        self.follow(path).0
    }

    /// The deepest part of a path that exists, and the rest of the path.
    fn follow<'p>(&self, path: &'p str) -> (&Lines, &'p str) {
        let mut at = &self.lines;
        let mut rest = path.strip_prefix(self.prefix.as_str()).unwrap_or(path);
        while !rest.is_empty() {
            let next = match &at.below {
                Below::List(items) => item(items, rest),
                Below::Map(fields) => field(fields, rest),
                Below::Nothing => None,
            };
            let Some((next, after)) = next else { break };
            at = next;
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        (at, rest)
    }
}

/// Splits `[3]…` from the rest.
fn item<'a, 'p>(items: &'a [Lines], path: &'p str) -> Option<(&'a Lines, &'p str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((items.get(index.parse::<usize>().ok()?)?, rest))
}

/// Splits `key…` or `[key]…` from the rest. Keys may contain dots (labels do): the longest match wins.
fn field<'a, 'p>(fields: &'a [(String, Lines)], path: &'p str) -> Option<(&'a Lines, &'p str)> {
    let in_brackets = path.strip_prefix('[');
    fields
        .iter()
        .filter_map(|(key, lines)| {
            let rest = match in_brackets {
                Some(path) => path.strip_prefix(key.as_str())?.strip_prefix(']')?,
                None => path.strip_prefix(key.as_str())?,
            };
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some((key.len(), lines, rest))
        })
        .max_by_key(|(length, ..)| *length)
        .map(|(_, lines, rest)| (lines, rest))
}

/// Parses every document of `text`. Safe for any text: nesting is limited (100 levels of YAML, 128 of JSON), and so is what aliases
/// add. A key given twice is an error.
pub fn documents(text: &str) -> Parsed {
    collect(text, Repeated::Refused)
}

/// The same for manifests: of a key given twice the last one counts, as for kubectl.
pub fn manifests(text: &str) -> Parsed {
    collect(text, Repeated::LastCounts)
}

/// What [`each`] finds in a text.
#[derive(Debug)]
pub enum FoundDocument {
    /// A document.
    Document(Document),
    /// A document of an unwanted kind. It parses; nothing of it was kept.
    PassedOver,
    /// A document that does not parse.
    Broken(YamlError),
}

/// As [`manifests`], but one document after the other (and one item of a long `List`), so that none need be kept. A document whose first
/// level has a `kind` that `wanted` refuses is only checked, not built.
pub fn each(text: &str, wanted: &(dyn Fn(&str) -> bool + Sync), take: &mut (dyn FnMut(FoundDocument) + Send)) {
    on_a_large_stack(text, take, |take| {
        read(text, Repeated::LastCounts, &Take::OneByOne(wanted), take);
    });
}

/// What is built from a text.
enum Take<'a> {
    /// Each document, as a whole.
    Whole,
    /// Each document of these kinds, and each item of a long list by itself.
    OneByOne(&'a dyn Fn(&str) -> bool),
}

fn collect(text: &str, repeated: Repeated) -> Parsed {
    let mut parsed = Parsed::default();
    let mut take = |found| match found {
        FoundDocument::Document(document) => parsed.documents.push(document),
        FoundDocument::PassedOver => {}
        FoundDocument::Broken(error) => parsed.errors.push(error),
    };
    on_a_large_stack(text, &mut take, |take| read(text, repeated, &Take::Whole, take));
    parsed
}

thread_local! {
    /// Whether this thread was made by [`reader`].
    static IS_READER: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread that reads texts itself, without another one for each.
///
/// # Errors
/// If there can be no more threads.
pub fn reader<'scope>(scope: &'scope Scope<'scope, '_>, work: impl FnOnce() + Send + 'scope) -> std::io::Result<()> {
    let reader = std::thread::Builder::new().name("yaml".to_owned()).stack_size(STACK);
    let started = reader.spawn_scoped(scope, move || {
        IS_READER.set(true);
        work();
    });
    started.map(drop)
}

/// The deserializer recurses; in a debug build, the stack of a worker thread would not be enough for the limit.
fn on_a_large_stack(
    text: &str,
    take: &mut (dyn FnMut(FoundDocument) + Send),
    run: impl FnOnce(&mut (dyn FnMut(FoundDocument) + Send)) + Send,
) {
    let ran = if IS_READER.get() {
        catch_unwind(AssertUnwindSafe(|| run(&mut *take))).ok()
    } else {
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().name("yaml".to_owned()).stack_size(STACK);
            let reader = reader.spawn_scoped(scope, || run(&mut *take));
            reader.ok().and_then(|reader| reader.join().ok())
        })
    };
    if ran.is_none() {
        take(FoundDocument::Broken(YamlError {
            document: 0,
            line: 1,
            column: 1,
            message: "the parser failed on this text".to_owned(),
            text: 0..text.len(),
        }));
    }
}

fn read(text: &str, repeated: Repeated, how: &Take<'_>, take: &mut dyn FnMut(FoundDocument)) {
    let mut index = 0;
    let stream = text.strip_prefix('\u{feff}').unwrap_or(text);
    for mut chunk in split::chunks(stream) {
        chunk.start += text.len() - stream.len();
        if chunk.text.len() > LONG && matches!(how, Take::OneByOne(_)) {
            let mut one = |prefix: String, value, lines: Lines| take(found(index, prefix, value, lines, repeated));
            if let Some(read) = items::each(&chunk, &mut one) {
                if let Err(mut error) = read {
                    error.document = index;
                    take(FoundDocument::Broken(error));
                }
                index += 1;
                continue;
            }
        }
        // Held until the document has been taken.
        let _turn = (chunk.text.len() > LARGE).then(|| ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner));
        let is_wanted = |kind| match how {
            Take::Whole => true,
            Take::OneByOne(wanted) => wanted(kind),
        };
        let results = if chunk.is_json() {
            json(&chunk, repeated)
        } else if chunk.kind().is_some_and(|kind| !is_wanted(kind)) {
            match passed_over(&chunk) {
                Ok(()) => {
                    take(FoundDocument::PassedOver);
                    index += 1;
                    continue;
                }
                Err(error) => vec![Err(error)],
            }
        } else {
            vec![yaml(&chunk, repeated)]
        };
        for result in results {
            match result {
                Ok(Some((value, lines))) => take(found(index, String::new(), value, lines, repeated)),
                Ok(None) => continue,
                Err(mut error) => {
                    error.document = index;
                    take(FoundDocument::Broken(error));
                }
            }
            index += 1;
        }
    }
}

fn found(index: usize, prefix: String, value: Value, lines: Lines, repeated: Repeated) -> FoundDocument {
    FoundDocument::Document(Document {
        index,
        line: lines.line(),
        prefix,
        value,
        repeated: match repeated {
            Repeated::Refused => Vec::new(),
            Repeated::LastCounts => lines.repeated(),
        },
        lines,
    })
}

type Outcome = Result<Option<(Value, Lines)>, YamlError>;

fn options(repeated: Repeated) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 3,
            // The limit on replayed nodes protects us; the ratio would only refuse an anchor that is used often.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
        duplicate_keys: match repeated {
            Repeated::Refused => DuplicateKeyPolicy::Error,
            Repeated::LastCounts => DuplicateKeyPolicy::LastWins,
        },
        // kubectl accepts a quoted scalar that continues at its key's indentation.
        strict_indentation: false,
        // Nobody reads them, and long runs of them would be refused.
        emit_comments: false,
        ignore_binary_tag_for_string: true,
        merge_keys: MergeKeyPolicy::Merge,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        // `0644` is 420, as in kubectl; by default it would be 644.
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

/// One YAML document.
fn yaml(chunk: &split::Chunk<'_>, repeated: Repeated) -> Outcome {
    let (located, inserted) = parse::<Located>(chunk, repeated)?;
    let (value, mut lines) = located.take();
    if value.is_null() {
        return Ok(None);
    }
    lines.forget(&inserted, INDENT);
    lines.shift(chunk.first_line - 1, chunk.first_column - 1, chunk.start);
    Ok(Some((value, lines)))
}

/// Only whether it parses.
fn passed_over(chunk: &split::Chunk<'_>) -> Result<(), YamlError> {
    parse::<serde::de::IgnoredAny>(chunk, Repeated::LastCounts).map(drop)
}

/// Enough spaces to indent a line of a quoted scalar deeper than any parent.
const INDENT: usize = 2 * MAX_DEPTH;
/// The most lines of a document that are indented this way.
const CONTINUED: usize = 500;

/// Parses a document; returns where spaces were inserted, as offsets in the chunk.
fn parse<T: serde::de::DeserializeOwned>(chunk: &split::Chunk<'_>, repeated: Repeated) -> Result<(T, Vec<usize>), YamlError> {
    let mut inserted = Vec::new();
    let parsed = prepared(chunk, |text, at| {
        inserted = at.to_vec();
        serde_saphyr::from_str_with_options(text, options(repeated))
    })?;
    Ok((parsed, inserted))
}

/// Reads a document with `read`, which gets its text and the offsets in the chunk at which spaces were inserted. Unlike the parser,
/// `kubectl` accepts a quoted scalar that continues in its key's column. Such lines are indented, which does not change the value, because
/// leading spaces of a continued line are folded.
fn prepared<T>(
    chunk: &split::Chunk<'_>,
    mut read: impl FnMut(&str, &[usize]) -> Result<T, serde_saphyr::Error>,
) -> Result<T, YamlError> {
    let mut inserted: Vec<usize> = Vec::new();
    let mut text = std::borrow::Cow::Borrowed(chunk.text);
    loop {
        let error = match read(&text, &inserted) {
            Ok(parsed) => return Ok(parsed),
            Err(error) => chunk_error(chunk, &error),
        };
        let unindented = error.message.contains("invalid indentation in multiline quoted scalar");
        let line = (error.line + 1).saturating_sub(chunk.first_line);
        let at: usize = chunk
            .text
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum();
        // The same line twice, or the end: the quote is never closed.
        if !unindented || inserted.len() == CONTINUED || inserted.contains(&at) || at >= chunk.text.len() {
            return Err(error);
        }
        inserted.push(at);
        inserted.sort_unstable();
        let mut prepared = String::with_capacity(chunk.text.len() + inserted.len() * INDENT);
        let mut from = 0;
        for &at in &inserted {
            prepared.push_str(chunk.text.get(from..at).unwrap_or_default());
            prepared.extend(std::iter::repeat_n(' ', INDENT));
            from = at;
        }
        prepared.push_str(chunk.text.get(from..).unwrap_or_default());
        text = std::borrow::Cow::Owned(prepared);
    }
}

fn chunk_error(chunk: &split::Chunk<'_>, error: &serde_saphyr::Error) -> YamlError {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line().max(1), at.column().max(1)));
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let text = error.without_snippet().render_with_formatter(&UserMessageFormatter);
    let text = text
        .strip_suffix(&format!(" at line {line}, column {column}"))
        .unwrap_or(&text);
    let message = text.lines().next().unwrap_or_default().trim().to_owned();
    refused(chunk, line, column, message)
}

/// An error on a line of the chunk.
fn refused(chunk: &split::Chunk<'_>, line: usize, column: usize, mut message: String) -> YamlError {
    if chunk.text.lines().nth(line - 1).is_some_and(|line| line.contains("{{")) {
        message.push_str(" (this looks like a template that has not been rendered)");
    }
    YamlError {
        document: 0,
        line: chunk.first_line - 1 + line,
        column,
        message,
        text: chunk.start..chunk.start + chunk.text.len(),
    }
}

/// One or more JSON documents. Text that merely looks like JSON (`{a: b}`) is YAML.
fn json(chunk: &split::Chunk<'_>, repeated: Repeated) -> Vec<Outcome> {
    match repeated {
        Repeated::Refused => json_as::<Strict>(chunk, repeated),
        Repeated::LastCounts => json_as::<Value>(chunk, repeated),
    }
}

fn json_as<T: serde::de::DeserializeOwned + Into<Value>>(chunk: &split::Chunk<'_>, repeated: Repeated) -> Vec<Outcome> {
    let mut out = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(chunk.body()).into_iter::<T>();
    let skipped = chunk.text.len() - chunk.body().len();
    let mut start = skipped;
    while let Some(next) = stream.next() {
        match next {
            Ok(value) => {
                let end = skipped + stream.byte_offset();
                let piece = chunk.piece(start, end);
                start = end;
                // Flow YAML and JSON differ only in details; where they do, the document's own line is good enough.
                let lines = match yaml(&piece, repeated) {
                    Ok(Some((_, lines))) => lines,
                    Ok(None) | Err(_) => Lines::of_line(piece.first_line),
                };
                out.push(Ok(Some((value.into(), lines))));
            }
            Err(error) => {
                let whole = yaml(chunk, repeated);
                if whole.is_ok() || !chunk.is_strictly_json() {
                    return vec![whole];
                }
                let before = chunk.text.get(..skipped).unwrap_or_default().matches('\n').count();
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or_default().to_owned();
                out.push(Err(refused(
                    chunk,
                    before + error.line().max(1),
                    error.column().max(1),
                    message,
                )));
                return out;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
