//! The order of an answer, and the part of it that is returned.

use lorank_core::{Blend, BlendWeight, Candidate, DocumentId, Hit, Score, ScoreOrigin, blend, reranked_order};

use crate::plan::Plan;

/// A rerank score, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scored {
    pub score: Score,
    pub origin: ScoreOrigin,
}

/// The part of an answer's order that is returned.
pub(crate) struct Page {
    pub hits: Vec<Hit>,
    pub ranking: Vec<DocumentId>,
    /// How many of the candidates with a rerank score were left out for it.
    pub n_left_out: Option<usize>,
}

impl Page {
    /// The page that the plan asks for, of candidates of which the first ones have these scores.
    pub(crate) fn of(candidates: Vec<Candidate>, scored: &[Scored], plan: &Plan) -> Self {
        let scores: Vec<Score> = scored.iter().map(|scored| scored.score).collect();
        let blends = blends(plan.blend_weight, &scores, &candidates);
        let mut order = order(&scores, &blends, candidates.len());
        let n_left_out = plan.min_rerank_score.map(|least| leave_out(least, &scores, &mut order));
        let shown = &order[..plan.page.end.min(order.len())];
        let ranking = shown.iter().map(|&at| candidates[at].id.clone()).collect();
        let mut candidates: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
        let hit = |(above, &at): (usize, &usize)| Hit {
            rank: above + 1,
            rerank_score: scored.get(at).map(|scored| scored.score),
            score_origin: scored.get(at).map(|scored| scored.origin),
            blend: blends.get(at).copied(),
            first_stage_rank: at + 1,
            candidate: candidates[at].take().expect("the order holds each candidate once"),
            snippet: None,
        };
        let hits = shown.iter().enumerate().skip(plan.page.start).map(hit).collect();
        Self { hits, ranking, n_left_out }
    }
}

/// The blended scores of the reranked candidates; none where the rerank score counts alone. That is not a blend with a weight
/// of 1: normalizing could make two scores equal that are not.
fn blends(weight: BlendWeight, scores: &[Score], candidates: &[Candidate]) -> Vec<Blend> {
    if weight == BlendWeight::RERANK_ALONE {
        return Vec::new();
    }
    let first_stage = candidates.iter().take(scores.len()).map(|candidate| candidate.first_stage_score);
    blend(weight, scores, &first_stage.collect::<Vec<_>>())
}

/// The candidates' indices in the answer's order.
fn order(scores: &[Score], blends: &[Blend], n_found: usize) -> Vec<usize> {
    if blends.is_empty() {
        return reranked_order(n_found, scores);
    }
    let blended: Vec<Score> = blends.iter().map(|blend| blend.blended_score).collect();
    reranked_order(n_found, &blended)
}

/// Leaves out the candidates with a rerank score below the least, and those without one; says how many of the former there are.
/// Without any rerank score, in an answer in first-stage order, all stay.
fn leave_out(least: Score, scores: &[Score], order: &mut Vec<usize>) -> usize {
    if !scores.is_empty() {
        order.retain(|&at| scores.get(at).is_some_and(|score| *score >= least));
    }
    scores.iter().filter(|score| **score < least).count()
}
