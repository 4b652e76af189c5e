//! What asks is driven here: the one loop ([`drive`]), pulls over the wire ([`LookUps`]), and reviews: live ones ([`Gate`]), and those of
//! `policy test` ([`scripted`]).

mod drive;
mod live;
mod look_up;
mod recent;
pub mod scripted;
mod transcript;

pub use drive::drive;
pub use live::{Engine, Gate};
pub use look_up::LookUps;
pub use transcript::{Conversation, Transcript, Transcripts};
