//! What is wrong with an expression.

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at character {at}")]
pub struct InvalidRankBy {
    /// The 1-based place of the character.
    pub at: usize,
    /// What is wrong there.
    pub problem: String,
}
