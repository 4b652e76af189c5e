//! pullgate: would a node be able to pull the images of this object, and if not, why?
//!
//! [`gate::review`] is a pure function that asks ([`ask`]); [`engine`] answers it from the cluster, the credential programs and the
//! registries. How a node pulls is [`runtime`]: kubelet, containerd and CRI-O, functions of the same form. Where things are, and which
//! module may import which: `docs/architecture.md`.

pub mod ask;
pub mod budget;
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
