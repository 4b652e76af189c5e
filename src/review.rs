//! AdmissionReview v1, in and out. Pure: bytes to a question, an answer to bytes.

mod bounded;
mod ledger;
mod request;
mod response;

pub use ledger::Ledger;
pub use request::{Bad, Operation, Review, parse};
pub use response::{Outcome, respond};
