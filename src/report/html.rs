//! `-o html`: one self-contained page for browsing the findings.

use super::{Report, json};
use std::io;

/// The page, with a placeholder for the report.
const PAGE: &str = include_str!("html/page.html");
/// Its placeholder.
const HERE: &str = "/*REPORT*/null";

/// Writes the page with the report in it.
///
/// # Errors
/// Those of the writer.
pub fn render(report: &Report, mut out: impl io::Write) -> io::Result<()> {
    let (before, after) = PAGE.split_once(HERE).unwrap_or((PAGE, ""));
    out.write_all(before.as_bytes())?;
    json::compact(report, Script(&mut out))?;
    out.write_all(after.as_bytes())
}

/// Writes JSON into a script: nothing in it may end the script, or begin a comment in it. (U+2028 and U+2029 may stand in strings since
/// ECMAScript 2019.)
struct Script<W>(W);

impl<W: io::Write> io::Write for Script<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'<' | b'>' | b'&')) {
            let (plain, special) = rest.split_at(at);
            self.0.write_all(plain)?;
            if let Some((byte, after)) = special.split_first() {
                write!(self.0, "\\u{byte:04x}")?;
                rest = after;
            }
        }
        self.0.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
