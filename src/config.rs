//! The settings file (`--config`): read, checked and kept fresh.
//!
//! In two steps, as written ([`written`]) and as meant ([`Settings`]). Every key is optional. What is wrong is reported with file,
//! line and column, all of it at once where the YAML itself is sound. A key whose feature this version does not have is refused, not
//! ignored: a setting without effect is worse than none.

mod live;
pub mod policies;
mod problem;
mod settings;
mod shelf;
#[cfg(test)]
mod tests;
pub mod values;
mod watch;
mod workloads;
mod written;

pub use live::{Changed, Live, keep_fresh};
pub use problem::{Error, Problem};
pub use settings::{Cache, CredentialProviders, DEFAULT_NODE_CREDENTIALS, Face, SecretAccess, Settings, schema};
pub use shelf::Shelf;
pub use watch::FileSet;
