//! Errors of expressions.

/// A syntax error in an expression, with its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at character {at}")]
pub struct InvalidRankBy {
    /// The 1-based position in characters.
    pub at: usize,
    /// A description of the error.
    pub problem: String,
}
