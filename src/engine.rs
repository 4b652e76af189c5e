//! What asks is driven here: the one loop ([`drive`]), pulls over the wire ([`LookUps`]), and reviews: live ones ([`Gate`]), and those of
//! `policy test` ([`scripted`]).

mod drive;
mod heard;
mod live;
mod look_up;
pub mod scripted;

pub use drive::drive;
pub use heard::{Conversation, Ear, Heard};
pub use live::{Engine, Gate};
pub use look_up::LookUps;
