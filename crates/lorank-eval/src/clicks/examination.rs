//! The position bias of a click log, by intervention harvesting.
//!
//! Rankers that answer the same query show a document at several ranks. Its relevance is the same at each of them, so
//! the ratio of its click rates is the ratio of the examination probabilities (Agarwal, Zaitsev, Wang, Li, Najork and
//! Joachims, "Estimating Position Bias without Intrusive Interventions", WSDM 2019). Experiments provide such logs.
//!
//! All documents shown at the ranks k and k' are pooled. With Poisson counts, the relevance of the pool cancels out of
//! the likelihood, and what remains is the model of Bradley and Terry, in which a click at k is a win of k over k'.

use serde::Serialize;

use super::log::Counts;
use super::{ClickLog, RANKS_MAX};

/// The maximum number of steps of the fit, and the relative change at which it ends.
const N_STEPS_MAX: usize = 20_000;
const TOLERANCE: f64 = 1e-8;

/// The probability that a rank is examined, relative to rank 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Examination {
    /// The probability at each rank from 1, relative to rank 1. Ranks that could not be compared have the value of the
    /// rank above.
    pub probabilities: Vec<f64>,
    /// Whether each probability was estimated.
    pub is_estimated: Vec<bool>,
    /// The number of documents that a query showed at several ranks.
    pub n_interventions: usize,
}

impl Examination {
    /// Every rank is examined, so that clicks per examination are raw click rates.
    pub fn uniform() -> Self {
        Self { probabilities: vec![1.0; RANKS_MAX], is_estimated: vec![false; RANKS_MAX], n_interventions: 0 }
    }
}

impl ClickLog {
    /// Estimates the examination probabilities of the ranks; `None` if no document was clicked at rank 1 and at another
    /// rank of the same query, so that nothing can be compared.
    pub fn examination(&self) -> Option<Examination> {
        self.examination_of(&self.counts(|_| 1.0), None)
    }

    /// The estimate from these counts, starting from an earlier estimate.
    pub(super) fn examination_of(&self, counts: &Counts, start: Option<&Examination>) -> Option<Examination> {
        let (wins, n_interventions) = self.wins(counts);
        let component = component_of_the_first(&wins);
        if component.len() < 2 {
            return None;
        }
        let fitted = fit(&wins, &component, start.map(|start| &start.probabilities[..]));
        let n_ranks = self.cells.iter().map(|cell| cell.rank + 1).max().unwrap_or(0);
        let mut examination = Examination { n_interventions, ..Examination::default() };
        for rank in 0..n_ranks {
            let above = examination.probabilities.last().copied().unwrap_or(1.0);
            let estimate = component.iter().position(|member| *member == rank).map(|at| fitted[at]);
            examination.probabilities.push(estimate.unwrap_or(above));
            examination.is_estimated.push(estimate.is_some());
        }
        Some(examination)
    }

    /// For each pair of ranks, the weighted clicks at the first on documents that were shown at both; and the number of
    /// documents with several ranks.
    ///
    /// The weight of a document, n k n' / (n + n') over n and n' searches, is the same for both ranks and does not depend
    /// on clicks. It is the one with the least variance.
    fn wins(&self, counts: &Counts) -> (Vec<Vec<f64>>, usize) {
        let mut wins = vec![vec![0.0; RANKS_MAX]; RANKS_MAX];
        let mut n_interventions = 0;
        for pair in &self.pairs {
            let cells = || pair.cells.iter().map(|cell| *cell as usize).filter(|cell| counts.shown[*cell] > 0.0);
            n_interventions += usize::from(cells().nth(1).is_some());
            for one in cells() {
                for other in cells().filter(|other| *other != one) {
                    let weight = counts.shown[other] / (counts.shown[one] + counts.shown[other]);
                    wins[self.cells[one].rank][self.cells[other].rank] += weight * counts.clicked[one];
                }
            }
        }
        (wins, n_interventions)
    }
}

/// The ranks that are connected with rank 1 by clicks in both directions, in order.
fn component_of_the_first(wins: &[Vec<f64>]) -> Vec<usize> {
    let mut component = vec![0];
    let mut next = 0;
    while let Some(&rank) = component.get(next) {
        let is_linked = |other: &usize| wins[rank][*other] > 0.0 && wins[*other][rank] > 0.0;
        let linked: Vec<usize> =
            (0..wins.len()).filter(|other| is_linked(other) && !component.contains(other)).collect();
        component.extend(linked);
        next += 1;
    }
    component.sort_unstable();
    component
}

/// The strengths of Bradley and Terry's model, with 1 for the first rank, by the steps of Hunter ("MM algorithms for
/// generalized Bradley-Terry models", Annals of Statistics 2004, equation 3).
fn fit(wins: &[Vec<f64>], component: &[usize], start: Option<&[f64]>) -> Vec<f64> {
    let start = |rank: &usize| start.and_then(|start| start.get(*rank)).copied().unwrap_or(1.0 / (*rank + 1) as f64);
    let mut strengths: Vec<f64> = component.iter().map(start).collect();
    for _ in 0..N_STEPS_MAX {
        let step = |(at, rank): (usize, &usize)| {
            let others = || component.iter().enumerate().filter(move |(other, _)| *other != at);
            let won: f64 = others().map(|(_, other)| wins[*rank][*other]).sum();
            let games = |(other, other_rank): (usize, &usize)| {
                (wins[*rank][*other_rank] + wins[*other_rank][*rank]) / (strengths[at] + strengths[other])
            };
            won / others().map(games).sum::<f64>()
        };
        let mut next: Vec<f64> = component.iter().enumerate().map(step).collect();
        let first = next[0];
        next.iter_mut().for_each(|strength| *strength /= first);
        let change = next.iter().zip(&strengths).map(|(new, old)| (new / old - 1.0).abs()).fold(0.0, f64::max);
        strengths = next;
        if change < TOLERANCE {
            break;
        }
    }
    strengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_of_click_rates_is_the_ratio_of_examinations() {
        let mut log = ClickLog::default();
        // `a` is clicked in 8 of 10 searches at rank 1 and in 4 of 10 at rank 2; `b` in 3 of 10 and 1 of 10.
        for n in 0..10 {
            log.add("q", ["a", "b"], [1, 2].into_iter().filter(|rank| n < [8, 1][rank - 1]));
            log.add("q", ["b", "a"], [1, 2].into_iter().filter(|rank| n < [3, 4][rank - 1]));
            // No document of another query was shown at two ranks.
            log.add("p", ["a", "b", "c"], [1, 3]);
        }
        let examination = log.examination().unwrap();
        assert_eq!(examination.n_interventions, 2);
        assert_eq!(examination.is_estimated, [true, true, false]);
        assert!((examination.probabilities[1] - 5.0 / 11.0).abs() < 1e-6, "{examination:?}");
        assert_eq!(examination.probabilities[2], examination.probabilities[1], "as the rank above");
    }

    #[test]
    fn ranks_are_compared_over_others() {
        let mut log = ClickLog::default();
        for n in 0..12 {
            log.add("q", ["a", "b", "c"], [1].into_iter().filter(|_| n < 12));
            log.add("q", ["b", "a", "c"], [2].into_iter().filter(|_| n < 6));
            log.add("p", ["d", "e", "f"], [2].into_iter().filter(|_| n < 6));
            log.add("p", ["d", "f", "e"], [3].into_iter().filter(|_| n < 3));
        }
        let probabilities = log.examination().unwrap().probabilities;
        for (found, expected) in probabilities.iter().zip([1.0, 0.5, 0.25]) {
            assert!((found - expected).abs() < 1e-6, "{probabilities:?}");
        }
    }

    #[test]
    fn without_interventions_there_is_no_estimate() {
        let mut log = ClickLog::default();
        assert_eq!(log.examination(), None);
        for _ in 0..10 {
            log.add("q", ["a", "b"], [1]);
            log.add("p", ["b", "a"], [1]);
        }
        assert_eq!(log.examination(), None, "other queries, other relevance");
        log.add("q", ["b", "a"], []);
        assert_eq!(log.examination(), None, "no click at rank 2");
        log.add("q", ["b", "a"], [2]);
        assert!(log.examination().is_some());
    }
}
