//! Groups of candidates.

use crate::{Candidate, ModelVersion, Query};

/// Candidates of one query to be scored by one model.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// The query.
    pub query: &'a Query,
    /// The model, as [`Reranker::resolve`](crate::Reranker::resolve) gave it.
    pub model: &'a ModelVersion,
    /// The candidates.
    pub candidates: &'a [Candidate],
}
