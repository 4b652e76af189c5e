//! The grammar of distribution/reference v0.6.0 `ParseNormalizedNamed` and the order of its errors (pull-semantics 1.2 and 1.3),
//! written by hand: its character classes are ASCII, and every part of a reference can be found without backtracking.

use super::{Digest, ReferenceErrorKind, digest::DigestFault};
use std::borrow::Cow;

/// The longest path, in bytes, including `library/` but not the domain.
pub(super) const LONGEST_PATH: usize = 255;
/// The longest tag.
pub(super) const LONGEST_TAG: usize = 128;

/// A reference in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Parts {
    pub(super) domain: String,
    pub(super) path: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<Digest>,
}

/// The parts of a reference, by shape alone.
struct Shape<'a> {
    domain: &'a str,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// One of the kinds, with its usual text.
    Kind(ReferenceErrorKind),
    /// Upper case that is only found when the whole does not match (`Foo_bar/x`): the parser has another, shorter text for it.
    UpperCaseElsewhere,
}

impl Fault {
    pub(super) fn kind(self) -> ReferenceErrorKind {
        match self {
            Self::Kind(kind) => kind,
            Self::UpperCaseElsewhere => ReferenceErrorKind::UpperCase,
        }
    }
}

/// Parses and normalises `text`; the error is the first rule that refuses it.
pub(super) fn parse(text: &str) -> Result<Parts, Fault> {
    use ReferenceErrorKind as Kind;
    let fail = |kind| Err(Fault::Kind(kind));
    if is_identifier(text) {
        return fail(Kind::HexOnly);
    }
    let (domain, remainder) = split_domain(text);
    if has_upper_case(remote_name(&remainder)) {
        return fail(Kind::UpperCase);
    }
    let whole = format!("{domain}/{remainder}");
    let Some(shape) = shape(&whole) else {
        let lower = lower(&whole);
        return if lower != whole && self::shape(&lower).is_some() {
            Err(Fault::UpperCaseElsewhere)
        } else {
            fail(Kind::Format)
        };
    };
    if shape.path.len() > LONGEST_PATH {
        return fail(Kind::TooLong);
    }
    let digest = match shape.digest.map(Digest::validate).transpose() {
        Ok(digest) => digest,
        Err(DigestFault::Algorithm) => return fail(Kind::DigestAlgorithm),
        Err(DigestFault::Length) => return fail(Kind::DigestLength),
        Err(DigestFault::Format) => return fail(Kind::DigestFormat),
    };
    Ok(Parts {
        domain: shape.domain.to_owned(),
        path: shape.path.to_owned(),
        tag: shape.tag.map(str::to_owned),
        digest,
    })
}

/// Exactly 64 lower-case hexadecimal digits: reserved for image IDs.
fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Domain and remainder of a familiar name (`splitDockerDomain`).
pub(super) fn split_domain(text: &str) -> (&str, Cow<'_, str>) {
    const DEFAULT: &str = "docker.io";
    let (domain, remainder) = match text.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT, rest),
        Some((first, rest)) if is_domain_like(first) => (first, rest),
        Some(_) | None => (DEFAULT, text),
    };
    if domain == DEFAULT && !remainder.contains('/') {
        (domain, Cow::Owned(format!("library/{remainder}")))
    } else {
        (domain, Cow::Borrowed(remainder))
    }
}

/// Whether the part before the first slash counts as a domain.
pub(super) fn is_domain_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || has_upper_case(first)
}

/// The part that must be lower case: the remainder up to its first colon.
pub(super) fn remote_name(remainder: &str) -> &str {
    remainder.split(':').next().unwrap_or_default()
}

/// Whether Go's `strings.ToLower` would change the text.
fn has_upper_case(text: &str) -> bool {
    text.chars().any(|c| lower_char(c) != c)
}

fn lower(text: &str) -> String {
    text.chars().map(lower_char).collect()
}

/// Go maps one character to one; only U+0130 becomes several here, and Go takes the first of those.
fn lower_char(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// The parts of `domain/remainder`. Tag and digest contain no slash, so the last slash comes before the last path component; the
/// first `@` after it starts the digest, and the first colon before that the tag.
fn shape(whole: &str) -> Option<Shape<'_>> {
    let (front, last) = whole.rsplit_once('/')?;
    let (left, digest) = last
        .split_once('@')
        .map_or((last, None), |(left, digest)| (left, Some(digest)));
    let (component, tag) = left
        .split_once(':')
        .map_or((left, None), |(component, tag)| (component, Some(tag)));
    if !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
        return None;
    }
    let name = whole.get(..front.len() + 1 + component.len())?;
    let (first, rest) = name.split_once('/')?;
    if is_domain(first) {
        return is_path(rest).then_some(Shape {
            domain: first,
            path: rest,
            tag,
            digest,
        });
    }
    // A first component that is not a domain may still be a path component (`exa_mple.com`): the domain is then empty.
    is_path(name).then_some(Shape {
        domain: "",
        path: name,
        tag,
        digest,
    })
}

/// `host[:port]`; the port is any number of digits.
pub(crate) fn is_domain(text: &str) -> bool {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((address, rest)) if !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') => {
                ("", rest)
            }
            Some(_) | None => return false,
        },
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()),
        None => rest.is_empty(),
    };
    port && (text.starts_with('[') || host.split('.').all(is_label))
}

/// Alphanumeric, with hyphens inside.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Path components between slashes.
fn is_path(text: &str) -> bool {
    text.split('/').all(is_component)
}

/// Runs of `[a-z0-9]` joined by `.`, `_`, `__` or hyphens.
pub(super) fn is_component(text: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_well = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    ends_well
        && bytes
            .chunk_by(|a, b| alphanumeric(a) == alphanumeric(b))
            .filter(|run| !run.first().is_some_and(alphanumeric))
            .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
pub(super) fn is_tag(text: &str) -> bool {
    text.len() <= LONGEST_TAG && !text.is_empty() && !text.starts_with(['.', '-']) && text.bytes().all(is_tag_byte)
}

/// Characters allowed in a tag.
pub(super) fn is_tag_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')
}

/// The digest's shape within a reference: `[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}`.
fn is_digest(text: &str) -> bool {
    let part = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.split(['-', '_', '+', '.']).all(part) && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}
