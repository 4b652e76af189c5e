//! Matches one label of a host against one label of a pattern: what remains of Go's `filepath.Match` for the characters that a host
//! may have.
//!
//! `*` is the only wildcard: `?` starts a URL query, and today's Go refuses brackets except around an IPv6 address ([`Go`]). Matching takes
//! time proportional to pattern times label: it only backtracks to the last `*`.

use super::endpoint::GoVersion;

/// A compiled label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Star,
    Literal(char),
    /// One of these ASCII characters, a bit each.
    Class(u128),
}

impl Piece {
    fn takes(self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::Literal(literal) => literal == c,
            Self::Class(bits) => c.is_ascii() && bits & bit(c) != 0,
        }
    }
}

fn bit(c: char) -> u128 {
    1_u128.checked_shl(u32::from(c)).unwrap_or_default()
}

impl Label {
    /// `None` matches no host: today, anything in brackets, which can only be an IPv6 address; with an older Go, a malformed character class.
    pub(super) fn parse(pattern: &str, go: GoVersion) -> Option<Self> {
        if go == GoVersion::Current && pattern.contains('[') {
            return None;
        }
        let mut pieces = Vec::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            pieces.push(match c {
                '*' => Piece::Star,
                '[' => {
                    let (class, behind) = rest.as_str().split_once(']')?;
                    rest = behind.chars();
                    Piece::Class(class_of(class)?)
                }
                c => Piece::Literal(c),
            });
        }
        pieces.dedup_by(|a, b| (*a, *b) == (Piece::Star, Piece::Star));
        Some(Self(pieces))
    }

    /// Whether it matches the whole of `text`.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut piece) = (0, 0);
        // The last star, and how much of the text it has matched.
        let mut star: Option<(usize, usize)> = None;
        while let Some(&c) = text.get(at) {
            match self.0.get(piece) {
                Some(Piece::Star) => {
                    star = Some((piece, at));
                    piece += 1;
                }
                Some(piece_here) if piece_here.takes(c) => {
                    at += 1;
                    piece += 1;
                }
                Some(_) | None => {
                    let Some((place, taken)) = star else { return false };
                    star = Some((place, taken + 1));
                    at = taken + 1;
                    piece = place + 1;
                }
            }
        }
        self.0.iter().skip(piece).all(|rest| *rest == Piece::Star)
    }
}

/// The characters of a class without its brackets: single ones and ranges. A host has no `^` and no backslash.
fn class_of(class: &str) -> Option<u128> {
    let mut bits = 0;
    let mut rest = class.chars().peekable();
    while let Some(low) = rest.next() {
        let high = if rest.next_if_eq(&'-').is_some() { rest.next()? } else { low };
        if low == '-' || high == '-' {
            return None;
        }
        bits |= (low..=high).filter(char::is_ascii).fold(0, |bits, c| bits | bit(c));
    }
    (!class.is_empty()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_match_as_they_did() {
        for (pattern, text, expected) in [
            ("reg[67]", "reg6", true),
            ("reg[67]", "reg8", false),
            ("reg[67]", "reg", false),
            ("reg[a-c]x*", "regbxyz", true),
            ("reg[a-c0-9]", "reg5", true),
            ("*[67]", "reg57", true),
            ("reg[c-a]", "regb", false),
            ("reg[]", "reg", false),
            ("reg[-a]", "rega", false),
            ("reg[a-]", "rega", false),
            ("reg[67", "reg6", false),
            ("reg[67]", "regé", false),
        ] {
            let found = Label::parse(pattern, GoVersion::Older).is_some_and(|label| label.matches(text));
            assert_eq!(found, expected, "{pattern} {text}");
        }
    }

    fn matches(pattern: &str, text: &str) -> bool {
        Label::parse(pattern, GoVersion::Current).is_some_and(|label| label.matches(text))
    }

    #[test]
    fn matches_as_filepath_match_does() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axbxbx", false),
            ("**a", "ba", true),
            ("reg[a-c]", "regb", false),
            ("[::1]", "[::1]", false),
            ("a]", "a]", true),
            ("r?g", "reg", false),
            ("QUAY", "quay", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn many_stars_stay_cheap() {
        assert!(!matches(&"a*".repeat(2_000), &"a".repeat(1_999)));
        assert!(matches(&"a*".repeat(2_000), &"a".repeat(4_000)));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_plain_definition(pattern in r"[ab*]{0,8}", text in "[ab]{0,8}") {
            fn plain(pieces: &[Piece], text: &[char]) -> bool {
                match (pieces.split_first(), text.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((Piece::Star, pieces_rest)), rest) => {
                        plain(pieces_rest, text) || rest.is_some_and(|(_, text_rest)| plain(pieces, text_rest))
                    }
                    (Some((piece, pieces)), Some((c, text))) => *piece == Piece::Literal(*c) && plain(pieces, text),
                    (Some(_), None) => false,
                }
            }
            if let Some(label) = Label::parse(&pattern, GoVersion::Current) {
                let chars: Vec<char> = text.chars().collect();
                proptest::prop_assert_eq!(label.matches(&text), plain(&label.0, &chars));
            }
        }
    }
}
