//! How Go reads text.

pub(crate) mod json;

/// Objects and lists nested deeper than this are an error (Go, encoding/json `maxNestingDepth`).
const MAX_JSON_DEPTH: usize = 10_000;
