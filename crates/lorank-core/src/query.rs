//! Search queries.

use crate::Filter;

/// A search query, as both stages see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The text that the user typed. The reranker reads it unchanged.
    pub text: String,
    /// How the first stage reads `text`.
    pub syntax: QuerySyntax,
    /// Whether words of a plain query also match similarly spelled words.
    pub fuzzy: Fuzzy,
    /// Conditions that every candidate must meet. They do not affect scores.
    pub filters: Vec<Filter>,
    /// What the reranker shall judge, for models whose prompt has a place for an instruction; `None` for the model's own
    /// instruction. [`Reranker::instructed`](crate::Reranker::instructed) gives the version of the model.
    pub instruction: Option<String>,
}

/// How a first stage reads a query's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QuerySyntax {
    /// Words. No character is an operator, and every text is valid.
    #[default]
    Plain,
    /// The first stage's own query language; a malformed query is an error.
    Advanced,
    /// No words: every document matches, and the text is ignored.
    MatchAll,
}

/// Typo tolerance of a first stage. One without it treats `Auto` as `Off` and rejects `On`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fuzzy {
    /// Exact words only.
    Off,
    /// Tolerate typos in words that no document contains, and in all words if too few documents match.
    #[default]
    Auto,
    /// Tolerate typos in all words. Documents with the exact words still rank first.
    On,
}

impl Query {
    /// A query of plain words, without filters.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            syntax: QuerySyntax::Plain,
            fuzzy: Fuzzy::Auto,
            filters: Vec::new(),
            instruction: None,
        }
    }

    /// A query that matches every document, without filters.
    pub fn match_all() -> Self {
        Self { syntax: QuerySyntax::MatchAll, ..Self::new("") }
    }
}
