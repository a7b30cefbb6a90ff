//! Entries of an answer.

use crate::{Blend, Candidate, Score, Snippet};

/// An entry of an answer: the document, where it stands now and where the first stage had it.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The 1-based place in the answer, counted from the first page's first hit.
    pub rank: usize,
    /// The reranker's score; `None` where the document was not reranked (past the depth, or after a fallback).
    pub rerank_score: Option<Score>,
    /// Where the rerank score comes from; `None` where there is none.
    pub score_origin: Option<ScoreOrigin>,
    /// What the hit was ordered by where the order is blended; `None` where the rerank score counts alone, and for a hit that
    /// has none.
    pub blend: Option<Blend>,
    /// What the hit was ordered by where an expression orders; `None` where scores do, and for a hit past the depth.
    pub ranked_by: Option<RankedBy>,
    /// The 1-based place in the first stage's list.
    pub first_stage_rank: usize,
    /// The document, with the first stage's score.
    pub candidate: Candidate,
    /// A passage of the text with the matched terms marked, where the first stage makes one.
    pub snippet: Option<Snippet>,
}

/// The value of an expression that ranks, and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedBy {
    /// The value; `None` where it is no number.
    pub value: Option<f64>,
    /// Each name that the expression reads, with its value for this document; `None` where that is no number.
    pub inputs: Vec<(String, Option<f64>)>,
}

/// Where a rerank score comes from. The score is the same to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreOrigin {
    /// The score cache held it.
    Cache,
    /// The model computed it after the request had arrived: for it, or for another one with the same pair.
    Model,
}
