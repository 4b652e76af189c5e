//! From evidence to outlook, cause and finding; from findings to a verdict. Pure.

pub mod cause;
pub mod evidence;
pub mod finding;
pub mod outlook;

pub use cause::Cause;
pub use evidence::{Content, Evidence, Failure, ImageFacts, IndexEntry};
pub use finding::{Finding, Kubelet};
pub use outlook::{Outlook, Verdict};
