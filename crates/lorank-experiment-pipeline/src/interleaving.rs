//! Interleaving of several arms' rankings.

use std::collections::HashMap;

use lorank_core::Hit;
use lorank_experiments::{Arm, ArmRanking, Drafted, InterleavedArm, team_draft};
use lorank_pipeline::{Answer, CacheUse, Ranked, Timings, Warning};

use crate::choice::Chosen;
use crate::trial::{FailedArm, fallback_of};
use crate::version::version_of_answer;

/// The interleaved ranking.
pub(crate) struct Mixed {
    pub answer: Answer,
    /// For each rank, the index of the arm that gets the credit.
    pub teams: Vec<u8>,
    /// What each arm ranked, in their order.
    pub arms: Vec<InterleavedArm>,
    pub failed: Vec<FailedArm>,
}

/// Interleaves the answers of a request's arms, in the arms' order, each from rank 1 to the end of the page, and
/// returns the hits after `offset`.
///
/// # Errors
/// All arms failed.
pub(crate) fn mix(
    chosen: &Chosen<'_>,
    query: &str,
    answers: Vec<Ranked<&Arm>>,
    offset: usize,
) -> Result<Mixed, Vec<FailedArm>> {
    let (mut failed, mut arms) = (Vec::new(), Vec::new());
    let mut standing: Vec<Option<Answer>> = Vec::new();
    for Ranked { key: arm, answer } in answers {
        arms.push(arm);
        let fallback = answer.as_ref().map_or_else(|error| Some(fallback_of(error)), |answer| answer.fallback.clone());
        failed.extend(fallback.as_ref().map(|fallback| FailedArm::new(&arm.name, fallback)));
        standing.push(answer.ok().filter(|_| fallback.is_none()));
    }
    // A document's first-stage rank identifies it in all arms.
    let ranks = |answer: &Answer| answer.hits.iter().map(|hit| hit.first_stage_rank).collect::<Vec<_>>();
    let rankings: Vec<Option<Vec<usize>>> = standing.iter().map(|answer| answer.as_ref().map(ranks)).collect();
    let rankings: Vec<Option<&[usize]>> = rankings.iter().map(Option::as_deref).collect();
    let length = rankings.iter().flatten().map(|ranking| ranking.len()).max();
    let Some(length) = length else { return Err(failed) };
    let drafted = team_draft(&seed(chosen, query), &rankings, length);
    let arms = rankings.iter().zip(&standing).zip(arms).map(|((ranking, answer), arm)| InterleavedArm {
        model: answer.as_ref().and_then(|answer| version_of_answer(answer, Some(arm))),
        ranking: beside_control(*ranking, rankings[0]),
    });
    let arms = arms.collect();
    let answer = assemble(standing.into_iter().flatten().collect(), &drafted, offset);
    let teams = drafted.iter().map(|hit| hit.team).collect();
    Ok(Mixed { answer, teams, arms, failed })
}

/// An arm's ranking beside the control's, both down to the last hit that is shown.
pub(crate) fn beside_control(arm: Option<&[usize]>, control: Option<&[usize]>) -> ArmRanking {
    match arm.zip(control) {
        None => ArmRanking::Missing,
        Some((arm, control)) if arm == control => ArmRanking::Same,
        Some(_) => ArmRanking::Different,
    }
}

/// Equal for all pages of a search, so that they are slices of one draft. Each part is prefixed by its length.
pub(crate) fn seed(chosen: &Chosen<'_>, query: &str) -> String {
    [&chosen.experiment.id, &chosen.experiment.salt, chosen.unit, query]
        .map(|part| format!("{} {part}", part.len()))
        .join(" ")
}

fn assemble(answers: Vec<Answer>, drafted: &[Drafted<usize>], offset: usize) -> Answer {
    let timings = Timings {
        first_stage: answers[0].timings.first_stage,
        cache: answers.iter().map(|answer| answer.timings.cache).sum(),
        rerank: answers.iter().map(|answer| answer.timings.rerank).max().unwrap_or_default(),
        encode: answers.iter().map(|answer| answer.timings.encode).max().unwrap_or_default(),
        queue: answers.iter().map(|answer| answer.timings.queue).max().unwrap_or_default(),
        total: answers.iter().map(|answer| answer.timings.total).max().unwrap_or_default(),
    };
    let cache = CacheUse {
        hits: answers.iter().map(|answer| answer.cache.hits).sum(),
        misses: answers.iter().map(|answer| answer.cache.misses).sum(),
    };
    let deepest = answers.iter().max_by_key(|answer| answer.depth).expect("at least one arm has ranked");
    let (n_candidates, depth) = (deepest.n_candidates, deepest.depth);
    let (total_hits, facets) = (answers[0].total_hits, answers[0].facets.clone());
    // Arms may have different expressions, which would reveal whose hits are whose.
    let is_same = answers.iter().all(|answer| answer.rank_by == answers[0].rank_by);
    let rank_by = answers[0].rank_by.clone().filter(|_| is_same);
    let reranked = answers.iter().any(|answer| answer.reranked);
    let mut warnings: Vec<Warning> = Vec::new();
    for warning in answers.iter().flat_map(|answer| &answer.warnings) {
        if !warnings.iter().any(|known| known.reason() == warning.reason()) {
            warnings.push(warning.clone());
        }
    }
    let mut of_document: HashMap<usize, Hit> =
        answers.into_iter().flat_map(|answer| answer.hits).map(|hit| (hit.first_stage_rank, hit)).collect();
    let hit = |(at, drafted): (usize, &Drafted<usize>)| {
        let hit = of_document.remove(&drafted.id).expect("each document is drafted once, from one of the answers");
        let (rerank_score, score_origin, blend, ranked_by, passage) = (None, None, None, None, None);
        Hit { rank: at + 1, rerank_score, score_origin, blend, ranked_by, passage, stages: Vec::new(), ..hit }
    };
    let all: Vec<Hit> = drafted.iter().enumerate().map(hit).collect();
    let ranking = all.iter().map(|hit| hit.candidate.id.clone()).collect();
    let hits: Vec<Hit> = all.into_iter().skip(offset).collect();
    Answer {
        hits,
        ranking,
        reranked,
        rank_by,
        fallback: None,
        stages: Vec::new(),
        warnings,
        model: None,
        total_hits,
        facets,
        n_candidates,
        n_left_out: None,
        depth,
        cache,
        timings,
    }
}
