//! Limits on the parts of a request. Those on sort keys and facets are fixed, because each one costs time for every matching
//! document.

use std::collections::HashSet;

use lorank_core::{AdapterChoice, CandidateList, FacetBy, QuerySyntax};

use crate::error::at_most;
use crate::{PipelineConfig, PipelineError, SearchRequest};

/// The maximum number of sort keys.
const SORT_KEYS_MAX: usize = 8;
/// The maximum number of facets.
const FACETS_MAX: usize = 32;
/// The maximum number of ranges of a facet.
const RANGES_MAX: usize = 100;
/// The maximum number of values that a facet returns.
const VALUES_MAX: usize = 1_000;

/// The maximum number of lists of candidates.
const LISTS_MAX: usize = 16;

/// Rejects a request that exceeds one of the limits.
pub(crate) fn check(request: &SearchRequest, config: &PipelineConfig) -> Result<(), PipelineError> {
    check_candidates(request, config)?;
    request.passages.check()?;
    at_most(SORT_KEYS_MAX, "sort", "the number of sort keys", request.sort.len())?;
    at_most(FACETS_MAX, "facets", "the number of facets", request.facets.len())?;
    request.facets.iter().try_for_each(|facet| match &facet.by {
        FacetBy::Values { top_n } => at_most(VALUES_MAX, "facets", "the `top_n` of a facet", top_n.get()),
        FacetBy::Ranges(ranges) => at_most(RANGES_MAX, "facets", "the number of ranges of a facet", ranges.len()),
    })
}

/// Rejects a request with stages that chooses what each stage has itself.
pub(crate) fn check_stages(request: &SearchRequest) -> Result<(), PipelineError> {
    let reason = if request.adapter != AdapterChoice::Default {
        "they cannot be combined with `adapter`; each stage names its own"
    } else if request.depth.is_some() {
        "they cannot be combined with `depth`; each stage has its own"
    } else if !request.rerank {
        "the search is not reranked; enable reranking, or remove them"
    } else {
        return Ok(());
    };
    Err(PipelineError::InvalidRequest { field: "stages", reason })
}

/// Rejects candidates from the caller that cannot be fused, and parts of the request that only the first stage can answer.
fn check_candidates(request: &SearchRequest, config: &PipelineConfig) -> Result<(), PipelineError> {
    let refused = |field, reason| Err(PipelineError::InvalidRequest { field, reason });
    let lists = &request.candidates;
    if lists.is_empty() {
        return match request.retrieves {
            true => Ok(()),
            false => {
                refused("candidates", "there are none, and the first stage is left out; give some, or search with it")
            }
        };
    }
    if !request.sort.is_empty() {
        return refused("sort", "it cannot be combined with `candidates`, which are ordered by rank");
    }
    if !request.facets.is_empty() {
        return refused("facets", "they cannot be combined with `candidates`, which are not counted");
    }
    if request.query.syntax == QuerySyntax::MatchAll {
        return refused("candidates", "they need a query to be reranked for");
    }
    if !request.retrieves && !request.query.filters.is_empty() {
        return refused(
            "filters",
            "they are conditions on the first stage, which is left out; leave out the candidates yourself",
        );
    }
    at_most(LISTS_MAX, "candidates", "the number of lists of `candidates`", lists.len())?;
    for CandidateList { candidates, .. } in lists.iter() {
        at_most(config.page_end_max.get(), "candidates", "the number of candidates in a list", candidates.len())?;
        let ids: HashSet<_> = candidates.iter().map(|candidate| &candidate.id).collect();
        if ids.len() < candidates.len() {
            return refused("candidates", "a list has an id twice");
        }
    }
    Ok(())
}
