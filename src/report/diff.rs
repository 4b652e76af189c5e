//! A unified diff for `git apply` and `patch -p1`.

use super::text::Colour;
use crate::image::escape;
use std::fmt::Write as _;

/// Context lines around a change.
const AROUND: usize = 3;

/// The diff of a file in which lines were changed in place, none added or removed. Empty without differences. In colour, for a
/// terminal, control characters are escaped.
pub fn unified(file: &str, before: &str, after: &str, colour: Colour) -> String {
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let changed: Vec<usize> = (0..old.len().max(new.len()))
        .filter(|at| old.get(*at) != new.get(*at))
        .collect();
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
        let last = hunk.last().unwrap_or(first);
        let from = first.saturating_sub(AROUND);
        let end = |lines: &[&str]| (last + 1 + AROUND).min(lines.len());
        let (old_end, new_end) = (end(&old), end(&new));
        let header = format!("@@ -{},{} +{},{} @@", from + 1, old_end - from, from + 1, new_end - from);
        put(&mut out, "36", &header, colour);
        let mut at = from;
        while at < old_end.max(new_end) {
            let run = hunk
                .iter()
                .skip_while(|changed| **changed < at)
                .zip(at..)
                .take_while(|(a, b)| **a == *b)
                .count();
            for (lines, mark, code) in [(&old, '-', "31"), (&new, '+', "32")] {
                for line in lines.iter().skip(at).take(run) {
                    put_line(&mut out, mark, code, line, colour);
                }
            }
            at += run;
            if run == 0 {
                put_line(&mut out, ' ', "", old.get(at).copied().unwrap_or_default(), colour);
                at += 1;
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
