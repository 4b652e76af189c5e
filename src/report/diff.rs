//! A unified diff for `git apply` and `patch -p1`.

use super::text::Colour;
use crate::image::escape;
use std::fmt::Write as _;

/// Context lines around a change.
const AROUND: usize = 3;

/// A line of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// What became of each line of a text in which lines were changed in place or added.
fn lines<'a>(before: &'a str, after: &'a str) -> Vec<Line<'a>> {
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let mut new = after.split_inclusive('\n').peekable();
    let mut all = Vec::new();
    // Of consecutive changed lines, all the removed ones come first.
    let mut added: Vec<Line<'_>> = Vec::new();
    for line in old {
        let Some(now) = new.next() else {
            all.push(Line::Gone(line));
            continue;
        };
        if now == line {
            all.append(&mut added);
            all.push(Line::Same(line));
        } else if new.peek() == Some(&line) {
            all.append(&mut added);
            all.push(Line::New(now));
            all.extend(new.next().map(Line::Same));
        } else {
            all.push(Line::Gone(line));
            added.push(Line::New(now));
        }
    }
    all.append(&mut added);
    all.extend(new.map(Line::New));
    all
}

/// The diff of a file in which lines were changed in place or added. Empty without differences. In colour, for a terminal, control
/// characters are escaped.
pub fn unified(file: &str, before: &str, after: &str, colour: Colour) -> String {
    let all = lines(before, after);
    let is_change = |line: &Line<'_>| !matches!(line, Line::Same(_));
    let changed: Vec<usize> = (0..all.len()).filter(|at| all.get(*at).is_some_and(is_change)).collect();
    let mut out = String::new();
    if changed.is_empty() {
        return out;
    }
    let name = escape(file);
    let name = name.trim_start_matches("./").trim_start_matches('/');
    put(&mut out, "1", &format!("--- a/{name}"), colour);
    put(&mut out, "1", &format!("+++ b/{name}"), colour);
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        // Merge changes whose context would touch.
        let together = 1 + rest
            .windows(2)
            .take_while(|pair| matches!(pair, [a, b] if b - a <= 2 * AROUND))
            .count();
        let (hunk, after) = rest.split_at(together);
        rest = after;
        let from = first.saturating_sub(AROUND);
        let to = (hunk.last().unwrap_or(first) + 1 + AROUND).min(all.len());
        let count = |lines: &[Line<'_>]| {
            let old = lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
            let new = lines.iter().filter(|line| !matches!(line, Line::Gone(_))).count();
            (old, new)
        };
        let (old_from, new_from) = count(all.get(..from).unwrap_or_default());
        let shown = all.get(from..to).unwrap_or_default();
        let (old, new) = count(shown);
        let header = format!("@@ -{},{old} +{},{new} @@", old_from + 1, new_from + 1);
        put(&mut out, "36", &header, colour);
        for line in shown {
            match line {
                Line::Same(line) => put_line(&mut out, ' ', "", line, colour),
                Line::Gone(line) => put_line(&mut out, '-', "31", line, colour),
                Line::New(line) => put_line(&mut out, '+', "32", line, colour),
            }
        }
    }
    out
}

/// A line of the file, after its mark.
fn put_line(out: &mut String, mark: char, code: &str, line: &str, colour: Colour) {
    let (text, is_whole) = match line.strip_suffix('\n') {
        Some(text) => (text, true),
        None => (line, false),
    };
    put(out, code, &format!("{mark}{text}"), colour);
    if !is_whole {
        out.push_str("\\ No newline at end of file\n");
    }
}

fn put(out: &mut String, code: &str, text: &str, colour: Colour) {
    let _ = match colour {
        Colour::None => writeln!(out, "{text}"),
        Colour::Ansi => {
            // Neither the end of a Windows line nor a tab needs escaping.
            let text = text.trim_end_matches('\r');
            let text: Vec<String> = text.split('\t').map(escape).collect();
            let text = text.join("\t");
            if code.is_empty() {
                writeln!(out, "{text}")
            } else {
                writeln!(out, "\x1b[{code}m{text}\x1b[0m")
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_have_their_lines_around() {
        let before: Vec<String> = (1..=30).map(|line| format!("line {line}\n")).collect();
        let before = before.concat();
        assert_eq!(unified("a", &before, &before, Colour::None), "");
        let after = before.replace("line 2\n", "LINE 2\n").replace("line 3\n", "LINE 3\n");
        let after = after.replace("line 9\n", "LINE 9\n").replace("line 30\n", "LINE 30\n");
        let diff = unified("./k8s/a.yaml", &before, &after, Colour::None);
        let want = "--- a/k8s/a.yaml\n+++ b/k8s/a.yaml\n@@ -1,12 +1,12 @@\n line 1\n-line 2\n-line 3\n+LINE 2\n+LINE 3\n line 4\n line 5\n line 6\n \
                    line 7\n line 8\n-line 9\n+LINE 9\n line 10\n line 11\n line 12\n@@ -27,4 +27,4 @@\n line 27\n line 28\n line 29\n-line 30\n+LINE 30\n";
        assert_eq!(diff, want);
    }

    #[test]
    fn a_line_may_be_added() {
        let diff = unified("a", "x\ntag: 1\ny\n", "x\ntag: 1\ndigest: d\ny\n", Colour::None);
        assert_eq!(diff, "--- a/a\n+++ b/a\n@@ -1,3 +1,4 @@\n x\n tag: 1\n+digest: d\n y\n");
        let diff = unified("a", "tag: 1", "tag: 1\ndigest: d", Colour::None);
        let end = "\\ No newline at end of file\n";
        assert_eq!(
            diff,
            format!("--- a/a\n+++ b/a\n@@ -1,1 +1,2 @@\n-tag: 1\n{end}+tag: 1\n+digest: d\n{end}")
        );
    }

    #[test]
    fn the_end_without_a_newline_and_windows_lines_are_shown() {
        let diff = unified("/x/a.yaml", "a\r\nb", "a\r\nc", Colour::None);
        assert_eq!(
            diff,
            "--- a/x/a.yaml\n+++ b/x/a.yaml\n@@ -1,2 +1,2 @@\n a\r\n-b\n\\ No newline at end of file\n+c\n\\ No newline at end of file\n"
        );
        let diff = unified("a", "\ta\r\n", "\t\u{1b}[2Jb\r\n", Colour::Ansi);
        assert!(diff.contains("\u{1b}[32m+\t\\u{1b}[2Jb\u{1b}[0m\n"), "{diff:?}");
    }
}
