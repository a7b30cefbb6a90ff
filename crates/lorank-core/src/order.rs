//! The order of a reranked answer.

use crate::Score;

/// The order of the answer as 0-based positions in the first stage's list: the first `scores.len()` positions by score,
/// best first, ties by position; then the others in first-stage order.
pub fn reranked_order(n_found: usize, scores: &[Score]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n_found).collect();
    order[..scores.len()].sort_by(|&a, &b| scores[b].cmp(&scores[a]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(n_found: usize, scores: &[f32], expected: &[usize]) {
        let scores: Vec<Score> = scores.iter().map(|&x| Score::new(x).unwrap()).collect();
        assert_eq!(reranked_order(n_found, &scores), expected, "{scores:?}");
    }

    #[test]
    fn scores_order_the_first_candidates_and_places_break_ties() {
        check(0, &[], &[]);
        check(3, &[], &[0, 1, 2]);
        check(3, &[1.0, 3.0, 2.0], &[1, 2, 0]);
        check(4, &[1.0, 2.0, 1.0, 2.0], &[1, 3, 0, 2]);
        check(3, &[0.0, -0.0, 0.0], &[0, 1, 2]);
        check(5, &[-1.0, f32::MAX], &[1, 0, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn the_order_is_the_one_that_counting_betters_gives(
            scores in prop::collection::vec(-3_i8..3, 0..40),
            n_past_depth in 0_usize..5,
        ) {
            let scores: Vec<Score> = scores.iter().map(|&x| Score::new(x.into()).unwrap()).collect();
            let n_found = scores.len() + n_past_depth;
            let order = reranked_order(n_found, &scores);
            for at in 0..n_found {
                let is_better = |other: usize| match (scores.get(other), scores.get(at)) {
                    (Some(theirs), Some(mine)) => theirs > mine || (theirs == mine && other < at),
                    _ => other < at,
                };
                let n_better = (0..n_found).filter(|&other| is_better(other)).count();
                prop_assert_eq!(order[n_better], at);
            }
        }
    }
}
