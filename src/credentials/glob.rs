//! One label of a host against one label of a pattern: what Go's `filepath.Match` does with the characters that a host may hold.
//!
//! `*` is the only wildcard people use. `[a-z]` survives URL parsing with older Go (newer kubelets refuse brackets there); `?` never
//! does. Matching is linear in pattern times label: it goes back to the last `*` only.

/// A compiled label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Star,
    Any,
    Literal(char),
    Class { ranges: Vec<(char, char)>, negated: bool },
}

impl Piece {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Star | Self::Any => true,
            Self::Literal(literal) => *literal == c,
            Self::Class { ranges, negated } => ranges.iter().any(|&(low, high)| low <= c && c <= high) != *negated,
        }
    }
}

impl Label {
    /// `None` for a malformed pattern: it matches nothing.
    pub(super) fn parse(pattern: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '*' => {
                    if pieces.last() != Some(&Piece::Star) {
                        pieces.push(Piece::Star);
                    }
                }
                '?' => pieces.push(Piece::Any),
                '\\' => pieces.push(Piece::Literal(rest.next()?)),
                '[' => {
                    let negated = rest.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
                            break;
                        }
                        let low = class_end(&mut rest)?;
                        let high = if rest.next_if_eq(&'-').is_some() {
                            class_end(&mut rest)?
                        } else {
                            low
                        };
                        ranges.push((low, high));
                    }
                    pieces.push(Piece::Class { ranges, negated });
                }
                literal => pieces.push(Piece::Literal(literal)),
            }
        }
        Some(Self(pieces))
    }

    /// Whether the whole of `text` matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut piece) = (0, 0);
        // The last star, and how much of the text it has taken.
        let mut star: Option<(usize, usize)> = None;
        while let Some(&c) = text.get(at) {
            match self.0.get(piece) {
                Some(Piece::Star) => {
                    star = Some((piece, at));
                    piece += 1;
                }
                Some(wanted) if wanted.takes(c) => {
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

/// One end of a range in a class.
fn class_end(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        c => Some(c),
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
            ("reg[a-c]", "regb", true),
            ("reg[a-c]", "regd", false),
            ("reg[^a-c]", "regd", true),
            ("[ab-d]*", "cx", true),
            ("reg[", "reg[", false),
            ("[]a]", "]", false),
            ("[]", "a", false),
            ("[-]", "-", false),
            ("[a-]", "a", false),
            ("r?g", "reg", true),
            ("a]", "a]", true),
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
        fn agrees_with_a_plain_definition(pattern in r"[ab*\[\]^-]{0,8}", text in "[ab^-]{0,8}") {
            fn plain(pieces: &[Piece], text: &[char]) -> bool {
                match (pieces.split_first(), text.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((Piece::Star, pieces_rest)), rest) => {
                        plain(pieces_rest, text) || rest.is_some_and(|(_, text_rest)| plain(pieces, text_rest))
                    }
                    (Some((piece, pieces)), Some((c, text))) => piece.takes(*c) && plain(pieces, text),
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
