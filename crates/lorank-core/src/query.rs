//! What is searched for.

use crate::Filter;

/// A search request as both stages see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What the searcher typed. The reranker reads it as it is.
    pub text: String,
    /// How the first stage reads `text`.
    pub syntax: QuerySyntax,
    /// Whether words that are spelled almost like those of a plain query match too.
    pub fuzzy: Fuzzy,
    /// Conditions that every candidate meets. They change no score.
    pub filters: Vec<Filter>,
}

/// How a first stage reads a query's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QuerySyntax {
    /// Words. Nothing in the text is an operator, and no text is an error.
    #[default]
    Plain,
    /// The first stage's own query language; a malformed query is an error.
    Advanced,
    /// No words: every document matches, and the text is not read.
    MatchAll,
}

/// Whether a first stage finds words in spite of typos. One that cannot takes `Auto` for `Off`, and refuses `On`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fuzzy {
    /// Words as they are written.
    Off,
    /// Typos of words that no document has, and of all words where too few documents match.
    #[default]
    Auto,
    /// Typos of all words. Documents that have the words as they are written come first all the same.
    On,
}

impl Query {
    /// A query of plain words, without filters.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), syntax: QuerySyntax::Plain, fuzzy: Fuzzy::Auto, filters: Vec::new() }
    }

    /// A query that every document matches, without filters.
    pub fn match_all() -> Self {
        Self { text: String::new(), syntax: QuerySyntax::MatchAll, fuzzy: Fuzzy::Auto, filters: Vec::new() }
    }
}
