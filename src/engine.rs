//! The loop that drives what asks, and its sources.

pub use crate::registry::Registry as LookUps;
