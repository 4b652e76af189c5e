//! A text report on a terminal: sentences are broken between words, and places link to their files.

use std::fmt::Write as _;
use std::path::Path;
use url::Url;

/// Narrower terminals are left to break lines themselves.
const NARROW: usize = 40;
/// Before the rest of a broken line.
const INDENT: &str = "        ";

/// The report for a terminal with this many columns; relative files are in `folder`. Text to paste or search for is not broken: fixes,
/// the kubelet's words, places.
pub fn fit(text: &str, columns: usize, folder: &Path) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let words = line.trim_start();
        if let Some(place) = words.strip_prefix("at ") {
            out.push_str(line.strip_suffix(place).unwrap_or_default());
            link(&mut out, place, folder);
        } else if columns < NARROW || words.starts_with("fix: ") || words.starts_with("the kubelet ") {
            out.push_str(line);
        } else {
            wrap(&mut out, line, columns);
        }
        out.push('\n');
    }
    out
}

/// Links `FILE:LINE` at the beginning of a place to the file (OSC 8).
fn link(out: &mut String, place: &str, folder: &Path) {
    let file = place.split_once(": ").and_then(|(at, _)| {
        let (file, line) = at.split_once(" (").map_or(at, |(at, _)| at).rsplit_once(':')?;
        (file != "-" && line.bytes().all(|byte| byte.is_ascii_digit())).then_some((file, line))
    });
    match file.map(|(file, line)| (file, line, Url::from_file_path(folder.join(file)))) {
        Some((file, line, Ok(url))) => {
            let shown = file.len() + 1 + line.len();
            let rest = place.get(shown..).unwrap_or_default();
            let _ = write!(out, "\x1b]8;;{url}\x1b\\{file}:{line}\x1b]8;;\x1b\\{rest}");
        }
        Some((.., Err(()))) | None => out.push_str(place),
    }
}

/// Breaks a line between words.
fn wrap(out: &mut String, line: &str, columns: usize) {
    let mut at = 0;
    for (place, word) in line.split(' ').enumerate() {
        let width = width(word);
        if place > 0 && at + 1 + width > columns && at > INDENT.len() && width > 0 {
            out.push('\n');
            out.push_str(INDENT);
            at = INDENT.len();
        } else if place > 0 {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += width;
    }
}

/// The columns of a word, without the codes of its colour.
fn width(word: &str) -> usize {
    let mut coloured = false;
    let shown = word.chars().filter(|c| {
        let was = coloured;
        coloured = *c == '\x1b' || coloured && *c != 'm';
        !was && !coloured
    });
    shown.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_and_what_is_pasted_is_not() {
        let text = "\x1b[31mDENY\x1b[0m  reg.example/a:1\n      TagNotFound: there is no such tag in this repository, and nothing else\n      \
                    fix: pullgate check --image reg.example/a:1 --and-a-long-option-that-goes-on\n1 image: 1 denied\n";
        let fitted = fit(text, 40, Path::new("/repo"));
        assert_eq!(
            fitted,
            "\x1b[31mDENY\x1b[0m  reg.example/a:1\n      TagNotFound: there is no such tag\n        in this repository, and nothing\n        else\n      \
             fix: pullgate check --image reg.example/a:1 --and-a-long-option-that-goes-on\n1 image: 1 denied\n"
        );
        assert_eq!(fit(text, 1000, Path::new("/repo")), text);
        assert_eq!(fit(text, 20, Path::new("/repo")), text, "too narrow");
    }

    #[test]
    fn places_link_to_their_files() {
        let fitted = |place: &str| fit(&format!("      at {place}\n"), 80, Path::new("/repo"));
        let linked = |url: &str, shown: &str, rest: &str| format!("      at \x1b]8;;{url}\x1b\\{shown}\x1b]8;;\x1b\\{rest}\n");
        assert_eq!(
            fitted("k8s/a b.yaml:23: Pod shop/api, container api"),
            linked(
                "file:///repo/k8s/a%20b.yaml",
                "k8s/a b.yaml:23",
                ": Pod shop/api, container api"
            )
        );
        assert_eq!(
            fitted("values.yaml:2 (image.tag): Pod shop/api, container api"),
            linked(
                "file:///repo/values.yaml",
                "values.yaml:2",
                " (image.tag): Pod shop/api, container api"
            )
        );
        for plain in ["-:7: Pod shop/api, container api", "Pod shop/api, container api", ""] {
            assert_eq!(fitted(plain), format!("      at {plain}\n"));
        }
    }
}
