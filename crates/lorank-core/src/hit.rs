//! Entries of an answer.

use crate::{Candidate, Score, Snippet};

/// An entry of an answer: the document, where it stands now and where the first stage had it.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The 1-based place in the answer, counted from the first page's first hit.
    pub rank: usize,
    /// The reranker's score; `None` where the document was not reranked (past the depth, or after a fallback).
    pub rerank_score: Option<Score>,
    /// The 1-based place in the first stage's list.
    pub first_stage_rank: usize,
    /// The document, with the first stage's score.
    pub candidate: Candidate,
    /// A passage of the text with the matched terms marked, where the first stage makes one.
    pub snippet: Option<Snippet>,
}
