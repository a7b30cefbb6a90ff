//! A request with its defaults filled in.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use lorank_core::{BlendWeight, Deadline, Score};

use crate::rank_by::RankBy;

/// A validated request with its defaults filled in.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) depth: NonZeroUsize,
    /// The returned part of the answer's order, counted from 0.
    pub(crate) page: Range<usize>,
    pub(crate) min_rerank_score: Option<Score>,
    pub(crate) deadline: Option<Deadline>,
}

/// The order of the candidates within the depth.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// By score.
    Scores(BlendWeight),
    /// By an expression, with the time of the request in seconds since 1970.
    RankBy(Arc<RankBy>, f64),
}

impl Order {
    /// The stored fields that the expression reads.
    pub(crate) fn fields(&self) -> Vec<&str> {
        match self {
            Self::Scores(_) => Vec::new(),
            Self::RankBy(rank_by, _) => rank_by.fields(),
        }
    }
}

impl Plan {
    /// The number of candidates to retrieve: all that are reranked, and all up to the page's end.
    pub(crate) fn n_retrieved(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.page.end).map_or(self.depth, |end| end.max(self.depth))
    }
}
