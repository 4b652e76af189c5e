//! pullgate.
