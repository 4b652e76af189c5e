//! The one loop: whatever asks in pullgate is driven here.

mod drive;

pub use drive::drive;
