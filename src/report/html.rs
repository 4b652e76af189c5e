//! `-o html`: one self-contained page for browsing the findings.

use super::{Report, json};

/// The page, with a placeholder for the report.
const PAGE: &str = include_str!("html/page.html");
/// Its placeholder.
const HERE: &str = "/*REPORT*/null";

/// The page with the report in it.
///
/// # Errors
/// Only those of serde.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let data = serde_json::to_string(&json::value(report)?)?;
    // Nothing in it may end the script, or begin a comment in it.
    let data = data
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    let (before, after) = PAGE.split_once(HERE).unwrap_or((PAGE, ""));
    Ok([before, &data, after].concat())
}
