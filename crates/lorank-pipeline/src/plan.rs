//! A request with its defaults filled in.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use lorank_core::{BlendWeight, Deadline, RerankStage, Score};

use crate::rank_by::RankBy;

/// A validated request with its defaults filled in.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The rerank stages, at least one; none is deeper than the one before.
    pub(crate) stages: Vec<RerankStage>,
    pub(crate) stages_of: StagesOf,
    /// The returned part of the answer's order, counted from 0.
    pub(crate) page: Range<usize>,
    pub(crate) min_rerank_score: Option<Score>,
    pub(crate) deadline: Option<Deadline>,
}

/// What the rerank stages are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StagesOf {
    /// There is one stage, with the ranker's model and depth. The answer does not list it.
    Ranker,
    /// The request, or the settings of a ranker.
    Request,
    /// The configuration.
    Configuration,
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
    /// Whether the answer lists the stages.
    pub(crate) fn lists_stages(&self) -> bool {
        self.stages_of != StagesOf::Ranker
    }

    /// The number of candidates that any stage reranks.
    pub(crate) fn depth(&self) -> NonZeroUsize {
        self.stages[0].depth
    }

    /// The deadline of the stage with this number, counted from 0, if it starts now: its share of the time left, which is an
    /// equal one by default, so that the last stage has all of it.
    pub(crate) fn stage_deadline(&self, n: usize, now: Instant) -> Option<Deadline> {
        let deadline = self.deadline?;
        let n_left = self.stages.len() - n;
        let share = self.stages[n].deadline_share.map_or(1.0 / n_left as f64, |share| share.get());
        if share == 1.0 {
            return Some(deadline);
        }
        now.checked_add(deadline.remaining_at(now).mul_f64(share)).map(Deadline::at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stage_has_its_share_of_the_time_left() {
        let now = Instant::now();
        let check = |stages: &str, left: u64, expected: &[u64]| {
            let stages: lorank_core::RerankStages = stages.parse().unwrap();
            let deadline = Some(Deadline::at(now + Duration::from_millis(left)));
            let (listed, stages_of) = (stages.to_vec(), StagesOf::Request);
            let plan = Plan { stages: listed, stages_of, page: 0..10, min_rerank_score: None, deadline };
            // Each stage takes all that it may.
            let mut at = now;
            for (n, expected) in expected.iter().enumerate() {
                at = plan.stage_deadline(n, at).unwrap().instant();
                assert_eq!((at - now).as_millis() as u64, *expected, "stage {n} of {stages}");
            }
            let never = Plan { deadline: None, ..plan };
            assert_eq!(never.stage_deadline(0, now), None);
        };
        check("a:9", 100, &[100]);
        check("a:9,b:9", 100, &[50, 100]);
        check("a:9,b:9,c:9,d:9", 400, &[100, 200, 300, 400]);
        check("a:9:0.25,b:9", 100, &[25, 100]);
        check("a:9:0.5,b:9:0.5", 400, &[200, 300]);
        check("a:9:1.0,b:9", 100, &[100, 100]);
        check("a:9,b:9", 0, &[0, 0]);
    }
}
