//! The order of an answer, and the part of it that is returned.

use lorank_core::{Blend, BlendWeight, Candidate, DocumentId, Hit, Score, blend, reranked_order};

use crate::ScoreOrigin;
use crate::pipeline::{Plan, Reranking};

/// The part of an answer's order that is returned.
pub(crate) struct Page {
    pub hits: Vec<Hit>,
    pub ranking: Vec<DocumentId>,
    pub score_origins: Vec<Option<ScoreOrigin>>,
    pub blends: Vec<Option<Blend>>,
    /// How many of the candidates with a rerank score were left out for it.
    pub n_left_out: Option<usize>,
}

impl Page {
    pub fn of(candidates: Vec<Candidate>, reranking: &Reranking, plan: &Plan) -> Self {
        let blends = blends(plan.blend_weight, &reranking.scores, &candidates);
        let mut order = order(&reranking.scores, &blends, candidates.len());
        let n_left_out = plan.min_rerank_score.map(|least| leave_out(least, &reranking.scores, &mut order));
        let shown = &order[..plan.page.end.min(order.len())];
        let ranking = shown.iter().map(|&place| candidates[place].id.clone()).collect();
        let mut candidates: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
        let hit = |(at, &place): (usize, &usize)| Hit {
            rank: at + 1,
            rerank_score: reranking.scores.get(place).copied(),
            first_stage_rank: place + 1,
            candidate: candidates[place].take().expect("the order holds each place once"),
            snippet: None,
        };
        let hits = shown.iter().enumerate().skip(plan.page.start).map(hit).collect();
        let on_page = shown.get(plan.page.start..).unwrap_or_default();
        Self {
            hits,
            ranking,
            score_origins: on_page.iter().map(|&place| reranking.origins.get(place).copied()).collect(),
            blends: on_page.iter().map(|&place| blends.get(place).copied()).collect(),
            n_left_out,
        }
    }
}

/// The blended scores of the reranked candidates; none where the rerank score counts alone. That is not a blend with a weight
/// of 1: normalising could make two scores equal that are not.
fn blends(weight: BlendWeight, scores: &[Score], candidates: &[Candidate]) -> Vec<Blend> {
    if weight == BlendWeight::RERANK_ALONE {
        return Vec::new();
    }
    let first_stage = candidates.iter().take(scores.len()).map(|candidate| candidate.first_stage_score);
    blend(weight, scores, &first_stage.collect::<Vec<_>>())
}

/// The candidates' places in the answer's order.
fn order(scores: &[Score], blends: &[Blend], n_found: usize) -> Vec<usize> {
    if blends.is_empty() {
        return reranked_order(n_found, scores);
    }
    let blended: Vec<Score> = blends.iter().map(|blend| blend.blended_score).collect();
    reranked_order(n_found, &blended)
}

/// Leaves out the places with a rerank score below the least, and those without one; says how many of the former there are.
/// Without any rerank score, in an answer in first-stage order, all stay.
fn leave_out(least: Score, scores: &[Score], order: &mut Vec<usize>) -> usize {
    if !scores.is_empty() {
        order.retain(|&place| scores.get(place).is_some_and(|score| *score >= least));
    }
    scores.iter().filter(|score| **score < least).count()
}
