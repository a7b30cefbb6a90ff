//! Blending of first-stage and rerank scores.

use std::str::FromStr;

use crate::Score;

/// The weight of the rerank score in a blended order, from 0 (first stage only) to 1 (rerank score only).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlendWeight(f32);

/// A weight outside of 0 to 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("a blend weight must be a number from 0 to 1, not `{0}`")]
pub struct NotAWeight(pub String);

/// A candidate's blended score, and the two scores it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blend {
    /// The blended score, which orders the candidate.
    pub blended_score: Score,
    /// The rerank score, normalized to 0 for the lowest and 1 for the highest of the reranked candidates.
    pub normalised_rerank_score: Score,
    /// The first-stage score, normalized in the same way.
    pub normalised_first_stage_score: Score,
}

impl BlendWeight {
    /// The weight without blending: the rerank score only.
    pub const RERANK_ALONE: Self = Self(1.0);

    /// A weight.
    ///
    /// # Errors
    /// [`NotAWeight`] for a value outside of 0 to 1.
    pub fn new(weight: f32) -> Result<Self, NotAWeight> {
        if (0.0..=1.0).contains(&weight) { Ok(Self(weight)) } else { Err(NotAWeight(weight.to_string())) }
    }

    /// The number.
    pub const fn get(self) -> f32 {
        self.0
    }
}

/// No blending.
impl Default for BlendWeight {
    fn default() -> Self {
        Self::RERANK_ALONE
    }
}

impl FromStr for BlendWeight {
    type Err = NotAWeight;

    fn from_str(text: &str) -> Result<Self, NotAWeight> {
        let refused = |_| NotAWeight(text.to_owned());
        text.parse().map_err(refused).and_then(Self::new)
    }
}

/// Blends the scores of each reranked candidate: `weight * rerank_score + (1 - weight) * first_stage_score`, each
/// min-max normalized over these candidates, because the stages' scores have different scales.
///
/// This is the convex combination of Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval"
/// (2023). If all candidates have the same score, it is normalized to 1.
///
/// # Panics
/// If the two slices have different lengths.
pub fn blend(weight: BlendWeight, rerank_scores: &[Score], first_stage_scores: &[Score]) -> Vec<Blend> {
    assert_eq!(rerank_scores.len(), first_stage_scores.len(), "each candidate has both scores");
    let weight = f64::from(weight.get());
    let pairs = normalised(rerank_scores).into_iter().zip(normalised(first_stage_scores));
    let blended = |(rerank, first_stage): (f64, f64)| Blend {
        blended_score: score(weight * rerank + (1.0 - weight) * first_stage),
        normalised_rerank_score: score(rerank),
        normalised_first_stage_score: score(first_stage),
    };
    pairs.map(blended).collect()
}

/// Scales to 0 to 1, in double precision so that the difference of two scores cannot overflow.
fn normalised(scores: &[Score]) -> Vec<f64> {
    let value = |score: &Score| f64::from(score.get());
    let lowest = scores.iter().min().map_or(0.0, value);
    let range = scores.iter().max().map_or(0.0, value) - lowest;
    scores.iter().map(|score| if range > 0.0 { (value(score) - lowest) / range } else { 1.0 }).collect()
}

fn score(value: f64) -> Score {
    Score::new(value as f32).expect("a blended score is from 0 to 1")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reranked_order;

    fn scores(values: &[f32]) -> Vec<Score> {
        values.iter().map(|&value| Score::new(value).unwrap()).collect()
    }

    fn order(weight: f32, rerank: &[Score], first_stage: &[Score]) -> Vec<usize> {
        let blends = blend(BlendWeight::new(weight).unwrap(), rerank, first_stage);
        let blended: Vec<Score> = blends.iter().map(|blend| blend.blended_score).collect();
        reranked_order(rerank.len(), &blended)
    }

    fn check(weight: f32, rerank: &[f32], first_stage: &[f32], expected: &[f32]) {
        let blends = blend(BlendWeight::new(weight).unwrap(), &scores(rerank), &scores(first_stage));
        let blended: Vec<f32> = blends.iter().map(|blend| blend.blended_score.get()).collect();
        assert_eq!(blended, expected, "{weight} {rerank:?} {first_stage:?}");
    }

    #[test]
    fn scores_are_normalised_and_added_by_weight() {
        check(0.5, &[], &[], &[]);
        check(0.5, &[-3.0], &[7.0], &[1.0]);
        check(0.25, &[-4.0, 4.0, 0.0], &[30.0, 20.0, 10.0], &[0.75, 0.625, 0.125]);
        check(0.0, &[-4.0, 4.0, 0.0], &[30.0, 20.0, 10.0], &[1.0, 0.5, 0.0]);
        check(1.0, &[-4.0, 4.0, 0.0], &[30.0, 20.0, 10.0], &[0.0, 1.0, 0.5]);
        check(0.5, &[2.0, 2.0], &[3.0, 1.0], &[1.0, 0.5]);
        check(0.5, &[f32::MIN, f32::MAX], &[f32::MAX, f32::MIN], &[0.5, 0.5]);
    }

    #[test]
    fn weights_are_from_0_to_1() {
        for (text, expected) in [("0", Some(0.0)), ("0.3", Some(0.3)), ("1", Some(1.0)), ("-0.0", Some(0.0))] {
            assert_eq!(text.parse::<BlendWeight>().ok().map(BlendWeight::get), expected, "{text}");
        }
        for text in ["-0.1", "1.1", "NaN", "inf", "half", ""] {
            let said = text.parse::<BlendWeight>().unwrap_err().to_string();
            assert_eq!(said, format!("a blend weight must be a number from 0 to 1, not `{text}`"));
        }
    }

    proptest! {
        #[test]
        fn neither_score_can_do_harm(
            pairs in prop::collection::vec((-1e6_f32..1e6, -1e6_f32..1e6), 1..30),
            weight in 0.0_f32..=1.0,
        ) {
            let (rerank, mut first_stage): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            // As a first stage gives them.
            first_stage.sort_by(|a, b| b.total_cmp(a));
            let (rerank, first_stage) = (scores(&rerank), scores(&first_stage));
            let order = order(weight, &rerank, &first_stage);
            let rank_of = |place: usize| order.iter().position(|&at| at == place);
            for better in 0..rerank.len() {
                // What the first stage has lower, and the reranker no higher, is lower.
                for worse in (better + 1..rerank.len()).filter(|&worse| rerank[worse] <= rerank[better]) {
                    prop_assert!(rank_of(better) < rank_of(worse));
                }
            }
        }

        #[test]
        fn without_weight_the_first_stage_s_order_stays(
            rerank in prop::collection::vec(-10.0_f32..10.0, 0..30),
        ) {
            let first_stage: Vec<f32> = (0..rerank.len()).map(|n| -(n as f32)).collect();
            let found = order(0.0, &scores(&rerank), &scores(&first_stage));
            prop_assert_eq!(found, (0..rerank.len()).collect::<Vec<_>>());
        }
    }
}
