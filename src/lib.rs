//! pullgate: would a node be able to pull the images of this object, and if not, why?
//!
//! One corridor, walked by both faces (`serve` and `check`):
//!
//! ```text
//! bytes ─▶ review::request ─▶ workload ─▶ plan ─▶ registry.gather ─▶ verdict ─▶ review::response
//!          (or manifests)                         (the only await)              (or report)
//! ```
//!
//! Rooms, from the ground floor up; a room imports only from floors below (`docs/architecture.md`):
//!
//! | floor | room | holds |
//! |---|---|---|
//! | 1 | [`image`] [`yaml`] [`telemetry`] | the words everyone speaks: reference, digest, platform; text; metrics and the log |
//! | 1 | `go` [`net`] [`files`] [`limits`] | how Go reads text; addresses and origins; bounded reading of files; bounds |
//! | 2 | [`workload`] [`credentials`] | image uses and candidate nodes; keyring |
//! | 3 | [`verdict`] | outlook, cause, finding |
//! | 4 | [`policy`] | policies as written and as meant |
//! | 5 | [`registry`] [`cluster`] [`providers`] [`review`] [`report`] | the doors to the world, and the forms of question and answer |
//! | 6 | [`plan`] [`manifests`] [`config`] | what to settle without a network, and what to ask |
//! | 7 | [`gate`] | the one orchestrator |
//! | 8 | [`server`] | HTTPS, health, metrics endpoint |
//! | 9 | [`cli`] | one file a command |

pub mod ask;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod credentials;
pub mod diagnosis;
pub mod engine;
pub mod files;
pub mod gate;
mod go;
pub mod image;
pub mod limits;
pub mod manifests;
pub mod net;
pub mod pin;
pub mod plan;
pub mod policy;
pub mod providers;
pub mod registry;
pub mod report;
pub mod review;
pub mod runtime;
pub mod server;
pub mod telemetry;
pub mod verdict;
pub mod workload;
pub mod yaml;
