//! The order of an answer, and the page that is returned.

use std::ops::Range;

use lorank_core::{
    Blend, BlendWeight, Candidate, DocumentId, Hit, Passage, RankedBy, Score, ScoreOrigin, blend, reranked_order,
};

use crate::plan::Order;
use crate::rank_by::{Inputs, best_first};

/// A rerank score, its origin, and its passage.
#[derive(Debug, Clone)]
pub(crate) struct Scored {
    pub score: Score,
    pub origin: ScoreOrigin,
    /// The window that it comes from, if the text was scored as windows.
    pub passage: Option<Passage>,
}

/// Candidates with the scores that order them.
pub(crate) struct Ranked<'a> {
    /// The candidates' indices in the order that was reranked.
    pub before: &'a [usize],
    /// The scores of the first ones in that order.
    pub scored: &'a [Scored],
    /// How many candidates of that order are ordered anew.
    pub n_within_depth: usize,
    pub min_rerank_score: Option<Score>,
}

/// The returned part of an answer's order.
pub(crate) struct Page {
    pub hits: Vec<Hit>,
    pub ranking: Vec<DocumentId>,
    /// The number of candidates dropped for a rerank score below the minimum.
    pub n_left_out: Option<usize>,
}

impl Page {
    /// A page of the candidates, which are in first-stage order, ranked anew and ordered `by`.
    pub(crate) fn of(candidates: &[Candidate], ranked: &Ranked<'_>, page: Range<usize>, by: &Order) -> Self {
        let Ranked { before, scored, n_within_depth, min_rerank_score } = *ranked;
        let scores: Vec<Score> = scored.iter().map(|scored| scored.score).collect();
        // From here on, `at` is a place in the order before.
        let blends = blends(by, &scores, before.iter().map(|&n| candidates[n].first_stage_score));
        let mut order = order(&scores, &blends, before.len());
        let inputs = |at: usize, now| Inputs {
            candidate: &candidates[before[at]],
            rerank_score: scores.get(at).copied(),
            first_stage_rank: before[at] + 1,
            now,
        };
        if let Order::RankBy(rank_by, now) = by {
            let values: Vec<Option<f64>> = (0..n_within_depth).map(|at| rank_by.value(&inputs(at, *now))).collect();
            // The sort is stable: candidates with equal values stay in the order of their scores.
            order[..n_within_depth].sort_by(|&a, &b| best_first(values[a], values[b]));
        }
        let ranked_by = |at: usize| match by {
            Order::RankBy(rank_by, now) if at < n_within_depth => {
                let inputs = inputs(at, *now);
                Some(RankedBy { value: rank_by.value(&inputs), inputs: rank_by.inputs(&inputs) })
            }
            _ => None,
        };
        let n_left_out = min_rerank_score.map(|least| leave_out(least, &scores, &mut order));
        let shown = &order[..page.end.min(order.len())];
        let ranking = shown.iter().map(|&at| candidates[before[at]].id.clone()).collect();
        let hit = |(above, &at): (usize, &usize)| Hit {
            rank: above + 1,
            rerank_score: scored.get(at).map(|scored| scored.score),
            score_origin: scored.get(at).map(|scored| scored.origin),
            blend: blends.get(at).copied(),
            ranked_by: ranked_by(at),
            passage: scored.get(at).and_then(|scored| scored.passage.clone()),
            stages: Vec::new(),
            first_stage_rank: before[at] + 1,
            candidate: candidates[before[at]].clone(),
            snippet: None,
        };
        let hits = shown.iter().enumerate().skip(page.start).map(hit).collect();
        Self { hits, ranking, n_left_out }
    }
}

/// The blended scores of the reranked candidates; empty without blending. A weight of 1 is not blended, because
/// normalization could make different scores equal.
fn blends(by: &Order, scores: &[Score], first_stage_scores: impl Iterator<Item = Score>) -> Vec<Blend> {
    match by {
        Order::Scores(weight) if *weight != BlendWeight::RERANK_ALONE => {
            blend(*weight, scores, &first_stage_scores.take(scores.len()).collect::<Vec<_>>())
        }
        _ => Vec::new(),
    }
}

/// The places in the order before, ordered by score.
fn order(scores: &[Score], blends: &[Blend], n_found: usize) -> Vec<usize> {
    if blends.is_empty() {
        return reranked_order(n_found, scores);
    }
    let blended: Vec<Score> = blends.iter().map(|blend| blend.blended_score).collect();
    reranked_order(n_found, &blended)
}

/// Drops the candidates with a rerank score below the minimum, and those without one; returns the number of the former.
/// Without any rerank score, in first-stage order, none is dropped.
fn leave_out(least: Score, scores: &[Score], order: &mut Vec<usize>) -> usize {
    if !scores.is_empty() {
        order.retain(|&at| scores.get(at).is_some_and(|score| *score >= least));
    }
    scores.iter().filter(|score| **score < least).count()
}
