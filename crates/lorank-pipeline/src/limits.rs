//! Fixed limits on sort keys and facets, because each one costs time for every matching document.

use lorank_core::FacetBy;

use crate::error::at_most;
use crate::{PipelineError, SearchRequest};

/// The maximum number of sort keys.
const SORT_KEYS_MAX: usize = 8;
/// The maximum number of facets.
const FACETS_MAX: usize = 32;
/// The maximum number of ranges of a facet.
const RANGES_MAX: usize = 100;
/// The maximum number of values that a facet returns.
const VALUES_MAX: usize = 1_000;

/// Rejects a request that exceeds one of the limits.
pub(crate) fn check(request: &SearchRequest) -> Result<(), PipelineError> {
    at_most(SORT_KEYS_MAX, "sort", "the number of sort keys", request.sort.len())?;
    at_most(FACETS_MAX, "facets", "the number of facets", request.facets.len())?;
    request.facets.iter().try_for_each(|facet| match &facet.by {
        FacetBy::Values { top_n } => at_most(VALUES_MAX, "facets", "the `top_n` of a facet", top_n.get()),
        FacetBy::Ranges(ranges) => at_most(RANGES_MAX, "facets", "the number of ranges of a facet", ranges.len()),
    })
}
