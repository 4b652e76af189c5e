//! The words everyone speaks: image reference, digest, platform. Pure.

mod digest;
mod hint;
pub mod platform;
mod reference;

pub use digest::Digest;
pub use hint::Hint;
pub use platform::Platform;
pub use reference::{Reference, ReferenceError, ReferenceErrorKind, Target};
