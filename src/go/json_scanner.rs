//! JSON with the error texts of Go's `encoding/json`, because they end up in a pod's status (pull-semantics 4.3).
//!
//! The syntax is checked by a state machine with a stack of its own: no recursion, so deep nesting is harmless. The code that reads values
//! afterwards relies on that check and only walks over bytes.

use super::MAX_JSON_DEPTH;
use super::json::folded;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// The word that `json: cannot unmarshal … into Go …` uses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// Where the scanner stands.
#[derive(Debug, Clone, Copy)]
enum Step {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    /// After a value, a key or the whole document: the stack tells which.
    End,
    Text,
    Escape,
    /// This many digits of `\uXXXX` are still to come.
    Hex(u8),
    Minus,
    Integer,
    /// A leading zero, or the end of the integer's digits.
    Zero,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// Inside `true`, `false` or `null`: the word, and how much of it has been read.
    Word(&'static str, usize),
}

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Key,
    Member,
    Element,
}

/// Checks a whole document. The error is Go's text.
pub(crate) fn check(document: &[u8]) -> Result<(), String> {
    let mut scanner = Scanner {
        step: Step::Value,
        open: Vec::new(),
    };
    for &byte in document {
        scanner.feed(byte)?;
    }
    // Like Go, end with a space: it completes a number, and the error for `nul` names it.
    scanner.feed(b' ')?;
    if scanner.open.is_empty() && matches!(scanner.step, Step::End) {
        Ok(())
    } else {
        Err("unexpected end of JSON input".to_owned())
    }
}

struct Scanner {
    step: Step,
    open: Vec<Open>,
}

impl Scanner {
    fn feed(&mut self, byte: u8) -> Result<(), String> {
        self.step = match (self.step, byte) {
            (Step::Value | Step::ValueOrEnd | Step::Key | Step::KeyOrEnd, b' ' | b'\t' | b'\r' | b'\n') => self.step,
            (Step::ValueOrEnd, b']') | (Step::End, _) => self.close(byte)?,
            (Step::Value | Step::ValueOrEnd, _) => self.value(byte)?,
            (Step::KeyOrEnd, b'}') => {
                if let Some(top) = self.open.last_mut() {
                    *top = Open::Member;
                }
                self.close(byte)?
            }
            (Step::Key | Step::KeyOrEnd, b'"') => Step::Text,
            (Step::Key | Step::KeyOrEnd, _) => return Err(invalid(byte, "looking for beginning of object key string")),
            (Step::Text, b'"') => Step::End,
            (Step::Text, b'\\') => Step::Escape,
            (Step::Text, 0..0x20) => return Err(invalid(byte, "in string literal")),
            (Step::Text, _) | (Step::Escape, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => Step::Text,
            (Step::Escape, b'u') => Step::Hex(4),
            (Step::Escape, _) => return Err(invalid(byte, "in string escape code")),
            (Step::Hex(left), _) if byte.is_ascii_hexdigit() => {
                if left > 1 {
                    Step::Hex(left - 1)
                } else {
                    Step::Text
                }
            }
            (Step::Hex(_), _) => return Err(invalid(byte, "in \\u hexadecimal character escape")),
            (Step::Minus, b'0') => Step::Zero,
            (Step::Minus, b'1'..=b'9') | (Step::Integer, b'0'..=b'9') => Step::Integer,
            (Step::Minus, _) => return Err(invalid(byte, "in numeric literal")),
            (Step::Integer | Step::Zero, b'.') => Step::Point,
            (Step::Integer | Step::Zero | Step::Fraction, b'e' | b'E') => Step::Exponent,
            (Step::Point | Step::Fraction, b'0'..=b'9') => Step::Fraction,
            (Step::Point, _) => return Err(invalid(byte, "after decimal point in numeric literal")),
            (Step::Exponent, b'+' | b'-') => Step::ExponentSign,
            (Step::Exponent | Step::ExponentSign | Step::ExponentDigits, b'0'..=b'9') => Step::ExponentDigits,
            (Step::Exponent | Step::ExponentSign, _) => return Err(invalid(byte, "in exponent of numeric literal")),
            (Step::Integer | Step::Zero | Step::Fraction | Step::ExponentDigits, _) => self.close(byte)?,
            (Step::Word(word, read), _) => match word.as_bytes().get(read) {
                Some(&expected) if expected == byte => {
                    if read + 1 == word.len() {
                        Step::End
                    } else {
                        Step::Word(word, read + 1)
                    }
                }
                Some(&expected) => {
                    return Err(invalid(byte, &format!("in literal {word} (expecting {})", quoted(expected))));
                }
                None => self.close(byte)?,
            },
        };
        Ok(())
    }

    fn value(&mut self, byte: u8) -> Result<Step, String> {
        Ok(match byte {
            b'{' => self.push(Open::Key, Step::KeyOrEnd, byte)?,
            b'[' => self.push(Open::Element, Step::ValueOrEnd, byte)?,
            b'"' => Step::Text,
            b'-' => Step::Minus,
            b'0' => Step::Zero,
            b'1'..=b'9' => Step::Integer,
            b't' => Step::Word("true", 1),
            b'f' => Step::Word("false", 1),
            b'n' => Step::Word("null", 1),
            _ => return Err(invalid(byte, "looking for beginning of value")),
        })
    }

    fn push(&mut self, open: Open, then: Step, byte: u8) -> Result<Step, String> {
        self.open.push(open);
        if self.open.len() > MAX_JSON_DEPTH {
            Err(invalid(byte, "exceeded max depth"))
        } else {
            Ok(then)
        }
    }

    /// A byte after a complete key or value.
    fn close(&mut self, byte: u8) -> Result<Step, String> {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(Step::End);
        }
        let Some(top) = self.open.last_mut() else {
            return Err(invalid(byte, "after top-level value"));
        };
        match (*top, byte) {
            (Open::Key, b':') => {
                *top = Open::Member;
                Ok(Step::Value)
            }
            (Open::Key, _) => Err(invalid(byte, "after object key")),
            (Open::Member, b',') => {
                *top = Open::Key;
                Ok(Step::Key)
            }
            (Open::Element, b',') => Ok(Step::Value),
            (Open::Member, b'}') | (Open::Element, b']') => {
                self.open.pop();
                Ok(Step::End)
            }
            (Open::Member, _) => Err(invalid(byte, "after object key:value pair")),
            (Open::Element, _) => Err(invalid(byte, "after array element")),
        }
    }
}

fn invalid(byte: u8, context: &str) -> String {
    format!("invalid character {} {context}", quoted(byte))
}

/// A byte as Go quotes it (the byte read as a Latin-1 character).
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).copied().is_some_and(is_space) {
        at += 1;
    }
    at
}

/// The kind of a value that has passed [`check`].
pub(crate) fn kind(value: &[u8]) -> Kind {
    match value.get(skip_space(value, 0)) {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'-' | b'0'..=b'9') => Kind::Number,
        Some(_) | None => Kind::Null,
    }
}

/// The members of an object that has passed [`check`], in document order, duplicates kept; empty for anything else.
pub(crate) fn members(object: &[u8]) -> Vec<(String, &[u8])> {
    let mut out = Vec::new();
    let mut at = skip_space(object, 0);
    if object.get(at) != Some(&b'{') {
        return out;
    }
    loop {
        at = skip_space(object, at + 1);
        if object.get(at) != Some(&b'"') {
            return out;
        }
        let key_end = end_of(object, at);
        let key = string(object.get(at..key_end).unwrap_or_default());
        // Skip the colon.
        let start = skip_space(object, skip_space(object, key_end) + 1);
        let end = end_of(object, start);
        out.push((key, object.get(start..end).unwrap_or_default()));
        at = skip_space(object, end);
        if object.get(at) != Some(&b',') {
            return out;
        }
    }
}

/// The end of the value that begins at `start`.
fn end_of(text: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                // The closing bracket of the surrounding value ends a number or a word.
                if depth <= 1 {
                    return at + depth;
                }
                depth -= 1;
            }
            b',' if depth == 0 => return at,
            _ if depth == 0 && is_space(byte) => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The place after the closing quote of the string that begins at `start`.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The text of a string that has passed [`check`]. Like Go, half a surrogate pair and invalid UTF-8 become U+FFFD.
pub(crate) fn string(quoted: &[u8]) -> String {
    let inner = quoted.strip_prefix(b"\"").unwrap_or(quoted);
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    let mut out: Vec<u8> = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(&byte) = inner.get(at) {
        if byte != b'\\' {
            out.push(byte);
            at += 1;
            continue;
        }
        let escape = inner.get(at + 1).copied().unwrap_or(b'\\');
        at += 2;
        let plain = match escape {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let first = hex4(inner, at);
                at += 4;
                let mut character = char::from_u32(first);
                if (0xd800..0xdc00).contains(&first) && inner.get(at..at + 2) == Some(b"\\u") {
                    let second = hex4(inner, at + 2);
                    if (0xdc00..0xe000).contains(&second) {
                        character = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
                        at += 6;
                    }
                }
                let mut buffer = [0; 4];
                let text = character.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut buffer);
                out.extend_from_slice(text.as_bytes());
                continue;
            }
            other => other,
        };
        out.push(plain);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex4(text: &[u8], at: usize) -> u32 {
    text.iter()
        .skip(at)
        .take(4)
        .fold(0, |number, &digit| number << 4 | char::from(digit).to_digit(16).unwrap_or(0))
}

/// Whether Go takes `key` for the struct's field `field`.
pub(crate) fn same_field(key: &str, field: &str) -> bool {
    folded(key) == folded(field)
}

#[cfg(test)]
mod tests;
