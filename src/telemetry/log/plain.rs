//! The fields of a line without colours. The library's own code, made for colours, takes several times as long, and a review's line
//! has two dozen fields.

use std::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The message, then `name=value` for each field. Nothing in them moves a cursor.
#[derive(Debug)]
pub(super) struct Plain;

impl<'w> FormatFields<'w> for Plain {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line {
            out: Safe(writer),
            begun: false,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    out: Safe<Writer<'w>>,
    /// Whether there is something before the next field.
    begun: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Safe<Writer<'_>>) -> fmt::Result) {
        if self.result.is_err() {
            return;
        }
        self.result = self.begin(field).and_then(|()| value(&mut self.out));
        self.begun = true;
    }

    fn begin(&mut self, field: &Field) -> fmt::Result {
        if self.begun {
            self.out.0.write_char(' ')?;
        }
        match field.name() {
            "message" => Ok(()),
            name => {
                self.out.0.write_str(name.strip_prefix("r#").unwrap_or(name))?;
                self.out.0.write_char('=')
            }
        }
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.field(field, |out| out.write_str(value)),
            _ => self.field(field, |out| write!(out, "{value:?}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |out| write!(out, "{value:?}"));
    }
}

/// Writes control characters (which start terminal escapes) as `\u{..}`, except for line breaks and tabs.
struct Safe<W>(W);

impl<W: fmt::Write> fmt::Write for Safe<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        for c in text.chars() {
            if c.is_control() && !matches!(c, '\n' | '\t') {
                write!(self.0, "{}", c.escape_unicode())?;
            } else {
                self.0.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What an event looks like.
    fn line(plain: bool, event: impl FnOnce()) -> String {
        let sink = Sink::default();
        let out = sink.clone();
        let lines = fmt::layer().without_time().with_ansi(false).with_writer(move || out.clone());
        if plain {
            let lines = tracing_subscriber::registry().with(lines.fmt_fields(Plain));
            tracing::subscriber::with_default(lines, event);
        } else {
            tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), event);
        }
        let written = sink.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn a_line_is_the_librarys_own() {
        let event = || {
            let error = io::Error::other("gone");
            tracing::warn!(code = 404_u16, left = -1_i64, on = true, text = "a \"b\"", %error, debug = ?Some(1), r#type = "t", "no {}", "image");
        };
        let ours = line(true, event);
        assert_eq!(ours, line(false, event));
        assert!(
            ours.contains(r#"no image code=404 left=-1 on=true text="a \"b\"" error=gone debug=Some(1) type="t""#),
            "{ours}"
        );
    }

    #[test]
    fn nothing_moves_a_cursor() {
        let text = "a\u{1b}[2Jb\u{9b}c\u{7}";
        let line = line(true, || tracing::info!(value = %text, "{text} é"));
        let safe = r"a\u{1b}[2Jb\u{9b}c\u{7}";
        assert!(line.contains(&format!("{safe} é value={safe}")), "{line}");
    }
}
