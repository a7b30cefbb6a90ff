//! What the pipeline answers.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use lorank_core::{Blend, DocumentId, Hit, ModelVersion, Score};

/// The answer to one search.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The hits of the page, best first. Their ranks count from the first page's first hit.
    pub hits: Vec<Hit>,
    /// The documents from rank 1 to the page's last hit, those of earlier pages included.
    pub ranking: Vec<DocumentId>,
    /// Where the rerank score of each hit comes from, in the order of `hits`; `None` where the hit has none.
    pub score_origins: Vec<Option<ScoreOrigin>>,
    /// What each hit was ordered by where the order is blended, in the order of `hits`; `None` where the rerank score counts
    /// alone, and for a hit that has none.
    pub blends: Vec<Option<Blend>>,
    /// Whether the order is the reranker's. If not, it is the first stage's.
    pub reranked: bool,
    /// Why the answer is in first-stage order although reranking was asked for.
    pub fallback: Option<Fallback>,
    /// The model that reranked, or would have; `None` where reranking was not asked for.
    pub model: Option<ModelVersion>,
    /// How many candidates the first stage found within `depth`: those that are reranked where reranking happens.
    /// It does not depend on the page.
    pub n_candidates: usize,
    /// How many of them were left out for a rerank score below the request's least, so that `n_candidates - n_left_out` hits are
    /// on all pages together. `None` where there is no such least score, or no rerank score.
    pub n_left_out: Option<usize>,
    /// The depth of this search.
    pub depth: NonZeroUsize,
    /// What the score cache did.
    pub cache: CacheUse,
    /// How long each step took.
    pub timings: Timings,
}

/// The scores of documents that a caller brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Scoring {
    /// A score for each document, in their order, or why there are none.
    pub scores: Result<Vec<Score>, Fallback>,
    /// The model that scored, or would have.
    pub model: ModelVersion,
    /// What the score cache did.
    pub cache: CacheUse,
    /// About how many tokens query and documents have together, each document with the query.
    pub n_tokens: usize,
    /// How long it took.
    pub took: Duration,
}

/// How many of a request's pairs the score cache held. Together they are `n_candidates`, or none without reranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheUse {
    /// Pairs whose score was held.
    pub hits: usize,
    /// Pairs whose score was not. One that comes twice in the request counts twice and is scored once.
    pub misses: usize,
}

/// Where a rerank score comes from. The score is the same to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreOrigin {
    /// The score cache held it.
    Cache,
    /// The model worked it out after the request had come: for it, or for another one that wanted the same.
    Model,
}

/// How long each step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Retrieving the candidates.
    pub first_stage: Duration,
    /// Making the cache's keys and looking them up.
    pub cache: Duration,
    /// Waiting for the reranker, the time in its queue included.
    pub rerank: Duration,
    /// The part of `rerank` before the first batch with one of the request's pairs began.
    pub queue: Duration,
    /// The whole search, snippets included.
    pub total: Duration,
}

/// Why an answer is in first-stage order although reranking was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The deadline passed before all the scores were there.
    DeadlinePassed,
    /// The reranker gave an error, a wrong number of scores, or panicked.
    RerankerFailed {
        /// What happened, in words.
        message: String,
    },
    /// Too much was waiting for the model.
    QueueFull,
    /// The request was [cancelled](crate::Cancellation).
    Cancelled,
}

impl Fallback {
    /// The reason as one word, for machines. It never changes.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DeadlinePassed => "deadline_passed",
            Self::RerankerFailed { .. } => "reranker_failed",
            Self::QueueFull => "queue_full",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The reason in words, for people.
impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlinePassed => f.write_str("the deadline passed before every candidate had a score"),
            Self::RerankerFailed { message } => f.write_str(message),
            Self::QueueFull => f.write_str("too many requests are waiting for the reranker"),
            Self::Cancelled => f.write_str("the request was cancelled"),
        }
    }
}
