//! What the pipeline answers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lorank_core::{DocumentId, Facet, Hit, ModelVersion, Score, TotalHits};

use crate::error::PipelineError;
use crate::fallback::Fallback;
use crate::rank_by::RankBy;
use crate::warning::Warning;

/// The answer to one search.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The hits of the page, best first. Their ranks count from the first page's first hit.
    pub hits: Vec<Hit>,
    /// The documents from rank 1 to the page's last hit, those of earlier pages included.
    pub ranking: Vec<DocumentId>,
    /// Whether the order is the reranker's. If not, it is the first stage's.
    pub reranked: bool,
    /// The expression that ordered the candidates; `None` where scores did, or the answer fell back.
    pub rank_by: Option<Arc<RankBy>>,
    /// Why the answer is in first-stage order although reranking was asked for.
    pub fallback: Option<Fallback>,
    /// What may make the answer worse than it looks.
    pub warnings: Vec<Warning>,
    /// The model that reranked, or would have; `None` where reranking was not asked for.
    pub model: Option<ModelVersion>,
    /// How many documents match the query and its filters, however many are reranked or returned.
    pub total_hits: TotalHits,
    /// The counts that the request asked for, in its order.
    pub facets: Vec<Facet>,
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

/// The answer of one of several rankers.
#[derive(Debug)]
pub struct Ranked<K> {
    /// What the caller calls the ranker by. Two may have the same model.
    pub key: K,
    /// Its answer, or why it has none.
    pub answer: Result<Answer, PipelineError>,
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
    /// About how many tokens query and documents have together, each document with its query, at four bytes for a token.
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

/// How long each step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Retrieving the candidates.
    pub first_stage: Duration,
    /// Making the cache's keys and looking them up.
    pub cache: Duration,
    /// Encoding the pairs and waiting for their scores, the time in the queue included.
    pub rerank: Duration,
    /// The part of `rerank` in which the pairs were encoded, on the caller's thread; loading the adapter is in it.
    pub encode: Duration,
    /// The part of `rerank` before the first batch with one of the request's pairs began.
    pub queue: Duration,
    /// The whole search, snippets included.
    pub total: Duration,
}
