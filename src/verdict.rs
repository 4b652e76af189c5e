//! From evidence to outlook, cause and finding; from findings to a verdict. Pure.

pub mod audience;
pub mod cause;
pub mod decision;
pub mod finding;
pub mod image_case;
pub mod judge;
mod judgement;
mod kubelet;
pub mod message;
pub mod outlook;
pub mod platforms;
pub mod review_result;
pub mod size;
pub mod soften;
pub mod ways;
mod wording;

pub use crate::runtime::content::{Content, IndexEntry};
pub use crate::runtime::outcome::{Evidence, Failure, ImageFacts};
pub use cause::Cause;
pub use decision::{Decision, Told};
pub use finding::{Finding, FindingEvidence, Kubelet};
pub use judgement::Judgement;
pub use outlook::{Outlook, Verdict};

#[cfg(test)]
mod tests;
