//! Drives the functions that ask: the one loop ([`drive`]), pulls over the wire ([`LookUps`]), and reviews, both live ([`Gate`]) and for
//! `policy test` ([`scripted`]).

mod drive;
mod live;
mod look_up;
mod recent;
pub mod scripted;
mod transcript;

pub use drive::drive;
pub use live::{Engine, Gate};
pub use look_up::{LookUps, Recalled};
pub use recent::{Question, Recent, ReviewKey};
pub use transcript::{Conversation, Transcript, Transcripts};
