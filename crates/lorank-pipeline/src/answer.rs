//! The pipeline's answers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lorank_core::{DocumentId, Facet, Hit, ModelVersion, Passage, Score, TotalHits};

use crate::error::PipelineError;
use crate::fallback::Fallback;
use crate::rank_by::RankBy;
use crate::warning::Warning;

/// The answer to one search.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The hits of the page, best first. Ranks count across pages.
    pub hits: Vec<Hit>,
    /// The document ids from rank 1 to the page's last hit, including earlier pages.
    pub ranking: Vec<DocumentId>,
    /// Whether the answer is in reranked order: that of the last rerank stage that did not fall back. If not, it is in
    /// first-stage order.
    pub reranked: bool,
    /// The expression that ordered the candidates; `None` if scores did, or the answer fell back.
    pub rank_by: Option<Arc<RankBy>>,
    /// Why the answer is in first-stage order although reranking was requested. Of several [stages](Self::stages), the
    /// reason of the last one that fell back; the answer then is in the order of the last stage that did not.
    pub fallback: Option<Fallback>,
    /// The rerank stages, in their order, if the request or the configuration has stages; empty without reranking.
    pub stages: Vec<StageAnswer>,
    /// Problems that may reduce the quality of the answer.
    pub warnings: Vec<Warning>,
    /// The model that reranked, or would have; `None` if reranking was not requested. Of several stages, that of the hits'
    /// rerank scores.
    pub model: Option<ModelVersion>,
    /// The number of documents that match the query and its filters.
    pub total_hits: TotalHits,
    /// The requested facets, in the request's order.
    pub facets: Vec<Facet>,
    /// The number of candidates within `depth`, which are the ones to rerank. It does not depend on the page. Of several
    /// stages, it is that of the stage of the hits' rerank scores.
    pub n_candidates: usize,
    /// The number of candidates dropped for a rerank score below the request's minimum: all pages together have
    /// `n_candidates - n_left_out` hits. `None` without a minimum or without rerank scores.
    pub n_left_out: Option<usize>,
    /// The depth of this search. Of several stages, that of the stage of the hits' rerank scores.
    pub depth: NonZeroUsize,
    /// The use of the score cache.
    pub cache: CacheUse,
    /// The time of each step.
    pub timings: Timings,
}

/// What a rerank stage did for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct StageAnswer {
    /// The model that reranked, or would have; `None` if it cannot be used.
    pub model: Option<ModelVersion>,
    /// The depth of the stage.
    pub depth: NonZeroUsize,
    /// The number of candidates within its depth.
    pub n_candidates: usize,
    /// Why the stage handed on the order that it got.
    pub fallback: Option<Fallback>,
    /// The use of the score cache.
    pub cache: CacheUse,
    /// The time of each step, without the first stage.
    pub timings: Timings,
}

impl Answer {
    /// The number of the stage whose [fallback](Self::fallback) is that of the answer, counted from 1; `None` if the answer
    /// lists no stages.
    pub fn fallen_stage(&self) -> Option<usize> {
        self.stages.iter().rposition(|stage| stage.fallback.is_some()).map(|at| at + 1)
    }

    /// Every fallback, of the stages or of the answer itself.
    pub fn fallbacks(&self) -> impl Iterator<Item = &Fallback> {
        let of_stages = self.stages.iter().filter_map(|stage| stage.fallback.as_ref());
        of_stages.chain(self.fallback.as_ref())
    }
}

/// The answer of one of several rankers.
#[derive(Debug)]
pub struct Ranked<K> {
    /// The caller's key for the ranker. Two rankers may have the same model.
    pub key: K,
    /// The answer, or an error.
    pub answer: Result<Answer, PipelineError>,
}

/// The scores of a caller's documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Scoring {
    /// The score of each document, in their order, or the fallback reason.
    pub scores: Result<Vec<Score>, Fallback>,
    /// The window of each document that its score comes from; `None` for one that was not scored as windows. Empty after
    /// a fallback.
    pub passages: Vec<Option<Passage>>,
    /// The model that scored, or would have.
    pub model: ModelVersion,
    /// The use of the score cache.
    pub cache: CacheUse,
    /// The estimated number of tokens of all pairs, at four bytes per token.
    pub n_tokens: usize,
    /// The total time.
    pub took: Duration,
}

/// The number of cached and uncached pairs of a request, over all its stages. Their sum is the number of candidates that
/// were to be scored, or the number of windows if documents are scored as such, or 0 without reranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheUse {
    /// Pairs with a cached score.
    pub hits: usize,
    /// Pairs without a cached score. A pair that occurs twice in the request counts twice and is scored once.
    pub misses: usize,
}

/// The time of each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Retrieval of the candidates.
    pub first_stage: Duration,
    /// Cache keys and lookups.
    pub cache: Duration,
    /// Encoding the pairs and waiting for their scores, including the time in the queue.
    pub rerank: Duration,
    /// The part of `rerank` spent on encoding on the caller's thread, including loading the adapter.
    pub encode: Duration,
    /// The part of `rerank` before the first batch with one of the request's pairs began.
    pub queue: Duration,
    /// The whole search, snippets included.
    pub total: Duration,
}
