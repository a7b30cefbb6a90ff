//! Entries of an answer.

use crate::{Blend, Candidate, Passage, Score, Snippet};

/// An entry of an answer: the document with its rank and its first-stage rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The 1-based rank in the whole answer, across pages.
    pub rank: usize,
    /// The reranker's score; `None` if the document was not reranked (beyond the depth, or after a fallback).
    pub rerank_score: Option<Score>,
    /// The origin of the rerank score; `None` without a rerank score.
    pub score_origin: Option<ScoreOrigin>,
    /// The blended score that the hit is ordered by; `None` if the order is not blended or the hit has no rerank score.
    pub blend: Option<Blend>,
    /// The value of the ranking expression that the hit is ordered by; `None` without an expression, and beyond the
    /// depth.
    pub ranked_by: Option<RankedBy>,
    /// The window of the text that the rerank score comes from; `None` if the text was not scored as windows.
    pub passage: Option<Passage>,
    /// What each rerank stage did, in their order, if the request or the configuration has stages.
    pub stages: Vec<StageRank>,
    /// The 1-based rank in the first stage's list.
    pub first_stage_rank: usize,
    /// The document, with the first stage's score.
    pub candidate: Candidate,
    /// A passage of the text with the matched terms marked, if the first stage provides snippets.
    pub snippet: Option<Snippet>,
}

/// The place of a hit after a rerank stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageRank {
    /// The 1-based rank in the order that the stage handed on; that of the answer, for the last stage.
    pub rank: usize,
    /// The stage's score; `None` if the stage did not score the hit (beyond its depth, or after a fallback).
    pub rerank_score: Option<Score>,
    /// The origin of the stage's score; `None` without a score.
    pub score_origin: Option<ScoreOrigin>,
}

/// The value of a ranking expression, with its inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedBy {
    /// The value; `None` if it is not a number.
    pub value: Option<f64>,
    /// The value of each name that the expression reads for this document; `None` if it is not a number.
    pub inputs: Vec<(String, Option<f64>)>,
}

/// The origin of a rerank score. Both give the same score, bit for bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreOrigin {
    /// The score cache.
    Cache,
    /// The model, which computed it after the request arrived, for this request or another one with the same pair.
    Model,
}
