//! The two seams.

use std::num::NonZeroUsize;

use crate::{AdapterId, Candidate, ModelVersion, Query, Score, Snippet};

/// An error of an engine, whichever it is.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The query cannot be answered as it stands, and another can: what a first stage returns, boxed, where the caller and not
/// the engine is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidQuery {
    /// The part of the [`Query`] at fault: `query` (its text) or `filters`.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// Cheap retrieval over the whole collection.
pub trait FirstStage: Send + Sync {
    /// At most `depth` candidates, best first. A smaller depth gives a prefix of what a larger one gives.
    ///
    /// # Errors
    /// [`InvalidQuery`] for a query that is malformed, else whatever keeps the engine from answering; there is no fallback
    /// below the first stage.
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError>;

    /// A passage of each candidate with the query's terms marked, in the candidates' order.
    /// It is asked for the hits that are returned, not for all that were retrieved. Engines without snippets keep this default.
    ///
    /// # Errors
    /// Whatever keeps the engine from answering.
    fn snippets(&self, _query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        Ok(vec![None; candidates.len()])
    }
}

/// A model that reads query and document together.
pub trait Reranker: Send + Sync {
    /// The exact model that answers for `adapter`; `None` names the bare base model.
    ///
    /// # Errors
    /// An adapter that the reranker does not hold.
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError>;

    /// For each group one score per candidate, in the candidates' order. A batch may mix queries and models.
    ///
    /// A score depends on its query, its document and its model alone, never on what else is in the batch.
    /// A group that fails leaves the others standing.
    fn score(&self, batch: &[Group<'_>]) -> Vec<Result<Vec<Score>, BoxError>>;

    /// About how many tokens the pair costs the model. The queue fills its batches by it; it never affects a score.
    ///
    /// The default takes four bytes for a token, which is near the truth for English prose. A reranker that cuts long
    /// documents, or that can ask its tokenizer cheaply, knows better.
    fn n_tokens(&self, query: &Query, candidate: &Candidate) -> usize {
        let title_bytes = candidate.title.as_ref().map_or(0, String::len);
        (query.text.len() + title_bytes + candidate.text.len()) / 4 + 1
    }
}

/// Candidates of one query to be scored by one model.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// The query.
    pub query: &'a Query,
    /// The model, as [`Reranker::resolve`] gave it.
    pub model: &'a ModelVersion,
    /// The candidates.
    pub candidates: &'a [Candidate],
}

impl<T: FirstStage + ?Sized> FirstStage for std::sync::Arc<T> {
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        (**self).retrieve(query, depth)
    }

    fn snippets(&self, query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        (**self).snippets(query, candidates)
    }
}

impl<T: Reranker + ?Sized> Reranker for std::sync::Arc<T> {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        (**self).resolve(adapter)
    }

    fn score(&self, batch: &[Group<'_>]) -> Vec<Result<Vec<Score>, BoxError>> {
        (**self).score(batch)
    }

    fn n_tokens(&self, query: &Query, candidate: &Candidate) -> usize {
        (**self).n_tokens(query, candidate)
    }
}
