//! What asks is driven here: the one loop ([`drive`]), and pulls over the wire ([`LookUps`]).

mod drive;
mod look_up;

pub use drive::drive;
pub use look_up::LookUps;
