//! How Go reads text. Kubernetes and the container runtimes are written in Go, so what its standard library accepts decides what they
//! accept. Pure.

pub(crate) mod duration;
pub(crate) mod json;
pub(crate) mod json_scanner;

/// Objects and lists nested deeper than this are an error (Go, encoding/json `maxNestingDepth`).
const MAX_JSON_DEPTH: usize = 10_000;
