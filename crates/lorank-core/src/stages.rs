//! The two seams.

use std::num::NonZeroUsize;

use crate::causes::BoxError;
use crate::group::Group;
use crate::{
    AdapterId, Candidate, Deadline, EncodedPair, ModelVersion, Query, Retrieval, Retrieved, Score, Snippet, TotalHits,
};

/// The query cannot be answered as it stands, and another can: what a first stage returns, boxed, where the caller and not
/// the engine is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidQuery {
    /// The part of the [`Retrieval`] at fault: `query` (the query's text), `filters`, `sort`, `facets` or `rank_by`.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// An adapter is known, and cannot be loaded or does not fit its base model: what [`Reranker::encode`] returns, boxed, where no
/// other pair under the same model could be scored either.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AdapterUnusable {
    /// The reranker's own words.
    pub source: BoxError,
}

/// The deadline passed before an operation was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct DeadlineExceeded;

/// Cheap retrieval over the whole collection.
pub trait FirstStage: Send + Sync {
    /// At most `depth` candidates, best first. A smaller depth gives a prefix of what a larger one gives.
    ///
    /// # Errors
    /// [`InvalidQuery`] for a query that is malformed, else whatever keeps the engine from answering; there is no fallback
    /// below the first stage.
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError>;

    /// The candidates in the order that is asked for, the number of documents that match, and the facets.
    ///
    /// The default is [`retrieve`](Self::retrieve): it refuses sort keys and facets, takes every numeric field for one that
    /// documents have, and knows the number of documents that match only where it is below the depth.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve), and [`InvalidQuery`] for a field that cannot be sorted by or counted.
    fn search(&self, retrieval: &Retrieval<'_>) -> Result<Retrieved, BoxError> {
        let refused =
            |field, what| InvalidQuery { field, message: format!("this first stage cannot {what} by fields") };
        if !retrieval.sort.is_empty() {
            return Err(refused("sort", "sort").into());
        }
        if !retrieval.facets.is_empty() {
            return Err(refused("facets", "count").into());
        }
        let candidates = self.retrieve(retrieval.query, retrieval.depth)?;
        let total_hits = TotalHits::of_found(candidates.len(), retrieval.depth);
        Ok(Retrieved { candidates, total_hits, facets: Vec::new() })
    }

    /// A passage of each candidate with the query's terms marked, in the candidates' order.
    /// It is asked for the hits that are returned, not for all that were retrieved. Engines without snippets keep this default.
    ///
    /// # Errors
    /// Whatever keeps the engine from answering.
    fn snippets(&self, _query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        Ok(vec![None; candidates.len()])
    }
}

/// A model that reads query and document together, in two steps: texts are encoded on the caller's thread, and what they were
/// encoded to is scored on the model's.
///
/// Between the two stands a queue, so everything that a request can be refused for, or has to wait for, belongs into the
/// first step, and the second one is the model's work alone.
pub trait Reranker: Send + Sync {
    /// The exact model that answers for `adapter`; `None` names the bare base model. Cheap: it reads no weights.
    ///
    /// # Errors
    /// An adapter that the reranker does not hold.
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError>;

    /// Encodes the query with each candidate, in the candidates' order, on the caller's thread. Where the model's adapter is
    /// not in memory it is loaded, which is waited for until `deadline`.
    ///
    /// The default keeps the texts as they are ([`TextPair`](crate::TextPair)) and takes four bytes for a token, which is near the truth for
    /// English prose. [`EncodedPair::texts`] gives them back.
    ///
    /// # Errors
    /// [`AdapterUnusable`] for an adapter that cannot be loaded, [`DeadlineExceeded`] where that took too long, and whatever
    /// keeps one of the pairs from being scored.
    fn encode(&self, group: Group<'_>, _deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        Ok(EncodedPair::from_texts(group))
    }

    /// Of the tokens of a query and of candidates, the share that the model does not know, from 0 to 1. A large one tells that it cannot read
    /// their language. 0 where the reranker does not count.
    fn unknown_share(&self, _query: &Query, _candidates: &[Candidate]) -> f32 {
        0.0
    }

    /// The score of each pair, in the pairs' order. A batch may mix queries and models.
    ///
    /// A score depends on its query, its document and its model alone, never on what else is in the batch.
    /// A pair that fails leaves the others standing.
    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>>;
}

impl<T: FirstStage + ?Sized> FirstStage for std::sync::Arc<T> {
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        (**self).retrieve(query, depth)
    }

    fn search(&self, retrieval: &Retrieval<'_>) -> Result<Retrieved, BoxError> {
        (**self).search(retrieval)
    }

    fn snippets(&self, query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        (**self).snippets(query, candidates)
    }
}

impl<T: Reranker + ?Sized> Reranker for std::sync::Arc<T> {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        (**self).resolve(adapter)
    }

    fn encode(&self, group: Group<'_>, deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        (**self).encode(group, deadline)
    }

    fn unknown_share(&self, query: &Query, candidates: &[Candidate]) -> f32 {
        (**self).unknown_share(query, candidates)
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        (**self).score(batch)
    }
}

/// Encodes groups and scores their pairs in one batch, on the calling thread: for tools that have a reranker to themselves.
/// For each group one score per candidate, in their order, or the first reason why there is none.
pub fn score_groups(reranker: &(impl Reranker + ?Sized), groups: &[Group<'_>]) -> Vec<Result<Vec<Score>, BoxError>> {
    let encoded: Vec<Result<Vec<EncodedPair>, BoxError>> =
        groups.iter().map(|group| reranker.encode(*group, None)).collect();
    let batch: Vec<&EncodedPair> = encoded.iter().flatten().flatten().collect();
    let mut outcomes = reranker.score(&batch).into_iter();
    let missing = || Err(BoxError::from("the reranker gave fewer scores than it was given pairs"));
    let finish = |pairs: Result<Vec<EncodedPair>, BoxError>| {
        let outcomes: Vec<_> = pairs?.iter().map(|_| outcomes.next().unwrap_or_else(missing)).collect();
        outcomes.into_iter().collect()
    };
    encoded.into_iter().map(finish).collect()
}
