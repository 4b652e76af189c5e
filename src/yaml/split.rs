//! Splits a stream into documents.

/// The text of one document, markers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// The text; may start with directives, comments and `---`.
    pub(super) text: &'a str,
    /// The line of the stream on which it starts; from 1.
    pub(super) first_line: usize,
    /// The column in which it starts, in characters; from 1.
    pub(super) first_column: usize,
    /// Its offset in the stream, in bytes.
    pub(super) start: usize,
}

impl<'a> Chunk<'a> {
    /// The text from its first character on, without leading comments, directives and marker.
    pub(super) fn body(&self) -> &'a str {
        let mut rest = self.text;
        loop {
            rest = rest.trim_start();
            rest = if is_marker(rest, "---") {
                rest.get(3..).unwrap_or_default()
            } else if rest.starts_with('#') || rest.starts_with('%') {
                rest.split_once('\n').map_or("", |(_, rest)| rest)
            } else {
                return rest;
            };
        }
    }

    /// Whether it looks like JSON.
    pub(super) fn is_json(&self) -> bool {
        self.body().starts_with(['{', '['])
    }

    /// The value of a `kind` in the first column, if it is a plain word and no other line begins so.
    pub(super) fn kind(&self) -> Option<&'a str> {
        let mut kinds = self.text.lines().filter_map(|line| line.strip_prefix("kind:"));
        let kind = kinds.next()?.trim();
        (kinds.next().is_none() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !kind.is_empty()).then_some(kind)
    }

    /// Whether it is almost certainly JSON: flow YAML rarely quotes its first key, and templates start with `{{`.
    pub(super) fn is_strictly_json(&self) -> bool {
        self.body()
            .strip_prefix('{')
            .is_some_and(|rest| rest.trim_start().starts_with(['"', '}']))
    }

    /// The chunk that comes after this one and `between`.
    pub(super) fn after(&self, between: &str, text: &'a str) -> Self {
        let passed = [self.text, between];
        let column = passed
            .iter()
            .fold(self.first_column, |column, text| match text.rsplit_once('\n') {
                Some((_, last)) => last.chars().count() + 1,
                None => column + text.chars().count(),
            });
        Self {
            text,
            first_line: self.first_line + passed.iter().map(|text| text.matches('\n').count()).sum::<usize>(),
            first_column: column,
            start: self.start + passed.iter().map(|text| text.len()).sum::<usize>(),
        }
    }

    /// The part from byte `start` to `end`, without leading blanks.
    pub(super) fn piece(&self, start: usize, end: usize) -> Self {
        let text = self.text.get(start..end).unwrap_or_default();
        let trimmed = text.trim_start();
        let before = self.text.get(..end - trimmed.len()).unwrap_or_default();
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            text: trimmed,
            first_line: self.first_line + before.matches('\n').count(),
            first_column: last_line.chars().count() + 1,
            start: self.start + before.len(),
        }
    }
}

/// Whether `text` starts with a marker line (`---`, or `---` and a blank).
fn is_marker(text: &str, marker: &str) -> bool {
    text.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Splits a stream before every `---` and after every `...` in the first column. Nothing inside a document can look like either.
/// Comments and directives alone belong to the document that follows.
pub(super) fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut first_line = 1;
    let mut has_content = false;
    let mut at = 0;
    let mut cut = |start: &mut usize, first_line: &mut usize, end: usize, line: usize| {
        if let Some(text) = text.get(*start..end) {
            out.push(Chunk {
                text,
                first_line: *first_line,
                first_column: 1,
                start: *start,
            });
        }
        *start = end;
        *first_line = line;
    };
    // Whether there is nothing but a marker and comments so far.
    let mut bare = true;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let end = at + line.len();
        // Concatenated files each have their own byte order mark.
        let line = match line.strip_prefix('\u{feff}') {
            Some(rest) if bare => {
                cut(&mut start, &mut first_line, at, number + 1);
                at += line.len() - rest.len();
                start = at;
                rest
            }
            Some(_) | None => line,
        };
        if is_marker(line, "---") {
            if has_content {
                cut(&mut start, &mut first_line, at, number + 1);
            }
            // The marker itself is content: this ends an empty document too.
            has_content = true;
            bare = true;
        } else if is_marker(line, "...") {
            cut(&mut start, &mut first_line, end, number + 2);
            has_content = false;
            bare = true;
        } else if !has_content || bare {
            let line = line.trim();
            let content = !(line.is_empty() || line.starts_with('#') || line.starts_with('%'));
            has_content |= content;
            bare &= !content;
        }
        at = end;
    }
    if has_content {
        cut(&mut start, &mut first_line, at, 0);
    }
    out
}
