//! What a person probably meant by a name that does not parse.

/// A suggestion that goes with a refused reference: one sentence, and the corrected name where there is just one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What to do, as an imperative sentence without a trailing full stop.
    pub advice: String,
    /// The name that was probably meant, if it parses.
    pub corrected: Option<String>,
}
