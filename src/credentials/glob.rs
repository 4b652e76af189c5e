//! Matches one label of a host against one label of a pattern: what remains of Go's `filepath.Match` for the characters that a host
//! may have.
//!
//! `*` is the only wildcard: `?` starts a URL query, and Go 1.26 refuses brackets except around an IPv6 address. Matching takes
//! time proportional to pattern times label: it only backtracks to the last `*`.

/// A compiled label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Star,
    Literal(char),
}

impl Label {
    /// `None` for an IPv6 address in brackets (without a port): Go treats them as a character class, which matches no host.
    pub(super) fn parse(pattern: &str) -> Option<Self> {
        if pattern.contains('[') {
            return None;
        }
        let mut pieces: Vec<Piece> = pattern
            .chars()
            .map(|c| if c == '*' { Piece::Star } else { Piece::Literal(c) })
            .collect();
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
                Some(Piece::Literal(literal)) if *literal == c => {
                    at += 1;
                    piece += 1;
                }
                Some(Piece::Literal(_)) | None => {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Label::parse(pattern).is_some_and(|label| label.matches(text))
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
            if let Some(label) = Label::parse(&pattern) {
                let chars: Vec<char> = text.chars().collect();
                proptest::prop_assert_eq!(label.matches(&text), plain(&label.0, &chars));
            }
        }
    }
}
