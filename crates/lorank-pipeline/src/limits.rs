//! The limits on sort keys and facets, which are fixed: no use of them needs more, and each costs every document that matches.

use lorank_core::FacetBy;

use crate::error::at_most;
use crate::{PipelineError, SearchRequest};

/// The most sort keys.
const SORT_KEYS_MAX: usize = 8;
/// The most facets.
const FACETS_MAX: usize = 32;
/// The most ranges of a facet.
const RANGES_MAX: usize = 100;
/// The most values that a facet returns.
const VALUES_MAX: usize = 1_000;

/// Refuses a request with more than that.
pub(crate) fn check(request: &SearchRequest) -> Result<(), PipelineError> {
    at_most(SORT_KEYS_MAX, "sort", "the number of sort keys", request.sort.len())?;
    at_most(FACETS_MAX, "facets", "the number of facets", request.facets.len())?;
    request.facets.iter().try_for_each(|facet| match &facet.by {
        FacetBy::Values { top_n } => at_most(VALUES_MAX, "facets", "the `top_n` of a facet", top_n.get()),
        FacetBy::Ranges(ranges) => at_most(RANGES_MAX, "facets", "the number of ranges of a facet", ranges.len()),
    })
}
