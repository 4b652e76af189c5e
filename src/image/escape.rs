//! Makes text from outside safe for one line of a message, a warning, a log or a terminal.

use std::fmt::Write as _;

/// The longest text that [`escape`] returns, in characters, the closing `…` included.
const LONGEST: usize = 300;

/// `text` on one line, without anything that moves a cursor or hides: control characters (which start terminal escapes), line
/// breaks, bidi overrides, invisible and private-use characters and spaces other than U+0020 become `\u{..}`. If longer than 300
/// characters, it is cut and ends in `…`. Escaping twice changes nothing more.
pub fn escape(text: &str) -> String {
    // Most texts are plain, and short.
    if text.len() <= LONGEST && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(4 * LONGEST));
    let mut length = 0;
    // Where to cut if the text turns out too long: the last position that leaves room for `…` and does not split an escape.
    let mut cut = 0;
    for c in text.chars() {
        if length < LONGEST {
            cut = out.len();
        }
        if is_unsafe(c) {
            let escaped = c.escape_unicode();
            length += escaped.len();
            out.extend(escaped);
        } else {
            length += 1;
            out.push(c);
        }
        if length > LONGEST {
            out.truncate(cut);
            out.push('…');
            break;
        }
    }
    out
}

/// `text` as Go's `%q` prints it, without the quotes, within the length of [`escape`]. The kubelet quotes names this way.
pub fn escape_as_go(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == LONGEST {
            out.push('…');
            break;
        }
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            _ if !is_unsafe(c) => out.push(c),
            _ => {
                let code = u32::from(c);
                // Writing to a String cannot fail.
                let _ = match code {
                    0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
                    0x20..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out
}

/// Whether a character would not appear as itself.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control() || (c.is_whitespace() && c != ' ') || is_invisible(c)
}

/// Characters that take no space or affect others: Unicode's format characters, fillers, variation selectors, private use and
/// noncharacters.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0x00ad | 0x034f | 0x0600..=0x0605 | 0x061c | 0x06dd | 0x070f | 0x0890..=0x0891 | 0x08e2 | 0x115f..=0x1160
        | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0x2800 | 0x3164
        | 0xe000..=0xf8ff | 0xfdd0..=0xfdef | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0x110bd | 0x110cd
        | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0x0010_ffff)
        || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_in_go() {
        // As kubelet 1.37.2 showed them.
        for (text, shown) in [
            ("\"nginx\"", r#"\"nginx\""#),
            ("nginx\nlatest", r"nginx\nlatest"),
            ("nginx\tx", r"nginx\tx"),
            (r"ngi\nx", r"ngi\\nx"),
            ("nginx:é", "nginx:é"),
            ("nginx\u{a0}x", r"nginx\u00a0x"),
            ("nginx\u{200b}:v1", r"nginx\u200b:v1"),
            ("\u{1b}\u{7f}\u{f0000}", r"\x1b\x7f\U000f0000"),
        ] {
            assert_eq!(escape_as_go(text), shown, "{text:?}");
        }
        assert_eq!(escape_as_go(&"x".repeat(1000)).chars().count(), 301);
    }

    #[test]
    fn what_hides_is_shown() {
        for (text, shown) in [
            ("nginx:1.25", "nginx:1.25"),
            ("é 漢字 ok", "é 漢字 ok"),
            ("a\nb\tc\r", "a\\u{a}b\\u{9}c\\u{d}"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            (
                "a\u{200b}b\u{feff}c\u{a0}d\u{2028}e",
                "a\\u{200b}b\\u{feff}c\\u{a0}d\\u{2028}e",
            ),
            ("tag\u{e0041}\u{e000}\u{fffe}", "tag\\u{e0041}\\u{e000}\\u{fffe}"),
            ("back\\slash", "back\\slash"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn long_text_is_cut_between_escapes() {
        assert_eq!(escape(&"a".repeat(300)), "a".repeat(300));
        assert_eq!(escape(&"a".repeat(301)), "a".repeat(299) + "…");
        let escapes = escape(&"\n".repeat(1000));
        assert_eq!(escapes.chars().count(), 59 * 5 + 1);
        assert!(escapes.ends_with("\\u{a}…"));
        assert_eq!(escape(&("a".repeat(298) + "\n")), "a".repeat(298) + "…");
        assert_eq!(escape(&("é".repeat(298) + "\n" + "x")), "é".repeat(298) + "…");
    }
}
