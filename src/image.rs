//! Basic types: image reference, digest, platform. Pure.

mod digest;
mod elsewhere;
mod escape;
mod grammar;
mod hint;
pub mod pattern;
pub mod platform;
mod reference;
mod rewrite;
mod userinfo;

pub use digest::{Digest, Hasher};
pub use elsewhere::elsewhere;
pub use escape::{escape, escape_as_go};
pub(crate) use grammar::is_domain;
pub use hint::Hint;
pub use hint::placeholder::{Placeholder, Syntax, find as placeholder};
pub use pattern::Pattern;
pub use platform::Platform;
pub(crate) use platform::{EVERY_FEATURE, looks_at_features};
pub use reference::{Port, Reference, ReferenceError, ReferenceErrorKind, Target};
pub use rewrite::{Rewrite, rewrite};
pub use userinfo::mask_userinfo;

#[cfg(test)]
mod tests;
