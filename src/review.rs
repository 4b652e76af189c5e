//! AdmissionReview v1, in and out. Pure: from bytes to a request, from an answer to bytes.

mod audit;
mod pattern;
mod request;
mod response;

pub use audit::Audit;
pub use pattern::{Names, Pattern};
pub use request::{InvalidReview, Operation, Review, parse, parse_beginning};
pub use response::{Outcome, respond};
