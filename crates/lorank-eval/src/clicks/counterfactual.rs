//! The clicks that another ranking of the logged searches would have had.

use std::collections::HashMap;

use serde::Serialize;

use super::log::Counts;
use super::{ClickLog, Examination};
use crate::random::Random;

/// The number of bootstrap samples. The width of an interval then has a relative standard error of 5 %.
const N_SAMPLES: usize = 200;
/// Half the width of a 95 % interval, in standard errors.
const Z: f64 = 1.959_964;

/// The expected clicks of a candidate ranking on logged searches, beside the logged ones.
///
/// A document's relevance is its clicks per examination over all ranks at which it was shown (inverse propensity
/// weighting with pooled propensities), and the candidate's clicks at a rank are relevance times examination. Intervals
/// are those of a bootstrap over searches that estimates the examination probabilities anew in each sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Counterfactual {
    /// The number of searches whose queries the candidate ranked.
    pub n_searches: u64,
    /// The number of distinct queries among them.
    pub n_queries: usize,
    /// The number of first ranks whose clicks are counted.
    pub k: usize,
    /// The logged clicks per search.
    pub logged: f64,
    /// The candidate's expected clicks per search.
    pub candidate: f64,
    /// The candidate's minus the logged clicks per search.
    pub difference: f64,
    /// The lower end of the difference's 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The share of the candidate's examinations that fall on documents which no search showed. They count as never
    /// clicked, so a large share makes the estimate too low.
    pub unseen_share: f64,
}

/// The pairs of a query's candidate ranking; `None` for documents that were not shown.
type Ranking = Vec<Option<u32>>;

impl ClickLog {
    /// The estimate for a candidate that ranks the documents of each query as in `rankings`, best first. Queries without
    /// a ranking are left out. `None` if no query has a ranking.
    pub fn counterfactual<S: AsRef<str>>(
        &self,
        rankings: &HashMap<&str, Vec<S>>,
        examination: &Examination,
        k: usize,
    ) -> Option<Counterfactual> {
        self.counterfactuals(std::slice::from_ref(rankings), examination, k).pop().flatten()
    }

    /// The same for several candidates, which share the bootstrap samples.
    pub fn counterfactuals<S: AsRef<str>>(
        &self,
        candidates: &[HashMap<&str, Vec<S>>],
        examination: &Examination,
        k: usize,
    ) -> Vec<Option<Counterfactual>> {
        let candidates: Vec<Vec<Option<Ranking>>> =
            candidates.iter().map(|rankings| self.rankings(rankings, k)).collect();
        let mut random = Random::new(3);
        let mut differences: Vec<Vec<f64>> = vec![Vec::new(); candidates.len()];
        for _ in 0..N_SAMPLES {
            let sample = self.resampled(&mut random);
            let Some(examination) = self.examination_of(&sample, Some(examination)) else { continue };
            for (rankings, differences) in candidates.iter().zip(&mut differences) {
                let (logged, candidate) = self.values(&sample, rankings, &examination, k);
                differences.push(candidate - logged);
            }
        }
        let estimates = candidates.iter().zip(&differences);
        estimates.map(|(rankings, differences)| self.estimate(rankings, differences, examination, k)).collect()
    }

    /// The pairs of a candidate's rankings, by query.
    fn rankings<S: AsRef<str>>(&self, rankings: &HashMap<&str, Vec<S>>, k: usize) -> Vec<Option<Ranking>> {
        let ranking = |query: &super::log::Query| {
            let ranking = rankings.get(query.text.as_str())?;
            Some(ranking.iter().take(k).map(|id| query.pair_of.get(id.as_ref()).copied()).collect())
        };
        self.queries.iter().map(ranking).collect()
    }

    /// The estimate of a candidate, with its differences in the bootstrap samples.
    fn estimate(
        &self,
        rankings: &[Option<Ranking>],
        differences: &[f64],
        examination: &Examination,
        k: usize,
    ) -> Option<Counterfactual> {
        let counts = self.counts(|search| f64::from(u8::from(rankings[search.query as usize].is_some())));
        let n_searches: f64 = counts.searched.iter().sum();
        if n_searches == 0.0 {
            return None;
        }
        let (logged, candidate) = self.values(&counts, rankings, examination, k);
        let margin = Z * standard_deviation(differences);
        let difference = candidate - logged;
        Some(Counterfactual {
            n_searches: n_searches as u64,
            n_queries: counts.searched.iter().filter(|n| **n > 0.0).count(),
            k,
            logged,
            candidate,
            difference,
            low: difference - margin,
            high: difference + margin,
            unseen_share: unseen_share(&counts, rankings, examination, k),
        })
    }

    /// The logged and the candidate's clicks per search.
    fn values(&self, counts: &Counts, rankings: &[Option<Ranking>], examination: &Examination, k: usize) -> (f64, f64) {
        let relevance = |pair: u32| {
            let pair = &self.pairs[pair as usize];
            let clicked: f64 = pair.cells.iter().map(|cell| counts.clicked[*cell as usize]).sum();
            if clicked == 0.0 { 0.0 } else { clicked / self.n_examined(pair, counts, &examination.probabilities) }
        };
        let (mut n_searches, mut candidate) = (0.0, 0.0);
        for (ranking, n) in rankings.iter().zip(&counts.searched) {
            let Some(ranking) = ranking else { continue };
            let ranked = ranking.iter().zip(&examination.probabilities);
            let expected: f64 =
                ranked.map(|(pair, examined)| pair.map_or(0.0, |pair| relevance(pair) * examined)).sum();
            n_searches += n;
            candidate += n * expected;
        }
        let is_logged = |cell: &&super::log::Cell| {
            cell.rank < k && rankings[self.pairs[cell.pair as usize].query as usize].is_some()
        };
        let logged: f64 = self
            .cells
            .iter()
            .zip(&counts.clicked)
            .filter(|(cell, _)| is_logged(cell))
            .map(|(_, clicked)| clicked)
            .sum();
        (logged / n_searches, candidate / n_searches)
    }
}

fn unseen_share(counts: &Counts, rankings: &[Option<Ranking>], examination: &Examination, k: usize) -> f64 {
    let (mut unseen, mut all) = (0.0, 0.0);
    for (ranking, n) in rankings.iter().zip(&counts.searched) {
        for (pair, examined) in ranking.iter().flatten().take(k).zip(&examination.probabilities) {
            all += n * examined;
            unseen += if pair.is_none() { n * examined } else { 0.0 };
        }
    }
    if all == 0.0 { 0.0 } else { unseen / all }
}

fn standard_deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}
