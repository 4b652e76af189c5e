//! The settings file (`--config`): read, checked and reloaded.
//!
//! Two steps: as written ([`file`]) and as checked ([`Settings`]). Every key is optional. Problems are reported with file, line and
//! column, all at once if the YAML itself is valid. Keys for features that this version lacks are refused, not ignored: a setting
//! without effect is worse than none.

mod file;
mod live;
mod modes;
pub mod policies;
mod policy_store;
mod pools;
mod problem;
pub mod project;
mod settings;
#[cfg(test)]
mod tests;
pub mod values;
mod watch;
mod workloads;

pub use live::{Changed, Live, watch_settings};
pub use policy_store::PolicyStore;
pub use pools::{NodePool, PoolRegistries};
pub use problem::{Error, Problem};
pub use settings::{Cache, CredentialProviders, DEFAULT_NODE_CREDENTIALS, Frontend, SecretAccess, Settings, schema};
pub use watch::{FileSet, ReloadSignal, ReloadTrigger};
