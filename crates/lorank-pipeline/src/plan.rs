//! A request with its defaults filled in.

use std::num::NonZeroUsize;
use std::ops::Range;

use lorank_core::{BlendWeight, Deadline, Score};

/// A request as the pipeline will carry it out: checked, defaults filled in.
pub(crate) struct Plan {
    pub(crate) depth: NonZeroUsize,
    /// The part of the answer's order that is returned, counted from 0.
    pub(crate) page: Range<usize>,
    pub(crate) blend_weight: BlendWeight,
    pub(crate) min_rerank_score: Option<Score>,
    pub(crate) deadline: Option<Deadline>,
}

impl Plan {
    /// How many candidates serve every page up to this one: all that are reranked, and all up to the page's end.
    pub(crate) fn n_retrieved(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.page.end).map_or(self.depth, |end| end.max(self.depth))
    }
}
