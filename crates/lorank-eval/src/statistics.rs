//! The significance of differences between rankers: intervals and tests over queries.

use serde::Serialize;

use crate::random::Random;

/// The number of bootstrap samples, and of random sign assignments. A p-value of 5 % then has a standard error of 0.2 points.
const N_SAMPLES: u32 = 10_000;

/// The number of differing queries up to which all sign assignments are enumerated.
const N_EXACT: usize = 13;

/// Smaller differences of a query's values count as ties.
const TIE: f64 = 1e-9;

/// One ranker compared with another, over the same queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The mean of the differences over queries.
    pub difference: f64,
    /// The lower end of the 95 % interval of the difference: a percentile bootstrap over queries.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The two-sided p-value of the randomization test: the share of assignments of signs to the differences whose mean is
    /// at least as far from zero (Smucker, Allan and Carterette, CIKM 2007).
    pub p: f64,
    /// The p-value after Holm's correction for the number of rankers compared.
    pub p_holm: f64,
    /// Queries with a greater value.
    pub wins: usize,
    /// Queries with the same value.
    pub ties: usize,
    /// Queries with a smaller value.
    pub losses: usize,
}

/// Compares each ranker with the baseline. The same values give the same answer: the random numbers have a fixed seed.
///
/// # Panics
/// If a ranker has another number of queries than the baseline.
pub fn compare(baseline: &[f64], rankers: &[&[f64]]) -> Vec<Comparison> {
    let mut comparisons: Vec<Comparison> = rankers.iter().map(|values| one(baseline, values)).collect();
    let corrected = holm(&comparisons.iter().map(|comparison| comparison.p).collect::<Vec<_>>());
    for (comparison, p) in comparisons.iter_mut().zip(corrected) {
        comparison.p_holm = p;
    }
    comparisons
}

fn one(baseline: &[f64], values: &[f64]) -> Comparison {
    assert_eq!(baseline.len(), values.len(), "both rankers have a value for each query");
    let differences: Vec<f64> = values.iter().zip(baseline).map(|(value, base)| value - base).collect();
    let (low, high) = bootstrap(&differences);
    let p = randomization(&differences);
    let count = |holds: fn(f64) -> bool| differences.iter().filter(|difference| holds(**difference)).count();
    Comparison {
        difference: mean(&differences),
        low,
        high,
        p,
        p_holm: p,
        wins: count(|difference| difference > TIE),
        ties: count(|difference| difference.abs() <= TIE),
        losses: count(|difference| difference < -TIE),
    }
}

/// The mean; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The 95 % percentile interval of the mean over resampled queries (Efron and Tibshirani, 1993, chapter 13).
fn bootstrap(differences: &[f64]) -> (f64, f64) {
    if differences.is_empty() {
        return (0.0, 0.0);
    }
    let mut random = Random::new(1);
    let n = differences.len();
    let mut means: Vec<f64> =
        (0..N_SAMPLES).map(|_| (0..n).map(|_| differences[random.below(n)]).sum::<f64>() / n as f64).collect();
    means.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
    (at(0.025), at(0.975))
}

/// The randomization test's p-value. Under its null hypothesis the names of the two rankers could be exchanged query by query,
/// so each assignment of signs to the differences is as likely as the one observed.
fn randomization(differences: &[f64]) -> f64 {
    let differing: Vec<f64> = differences.iter().copied().filter(|difference| difference.abs() > TIE).collect();
    let observed = differing.iter().sum::<f64>().abs() - TIE;
    let is_as_far = |signs: &mut dyn FnMut() -> bool| {
        differing.iter().map(|difference| if signs() { -difference } else { *difference }).sum::<f64>().abs()
            >= observed
    };
    if differing.len() <= N_EXACT {
        let n_all = 1u32 << differing.len();
        let n_far = (0..n_all).filter(|bits| {
            let mut bits = *bits;
            is_as_far(&mut || {
                let sign = bits & 1 == 1;
                bits >>= 1;
                sign
            })
        });
        return n_far.count() as f64 / f64::from(n_all);
    }
    let mut random = Random::new(2);
    let n_far = (0..N_SAMPLES).filter(|_| is_as_far(&mut || random.sign())).count();
    // The observed assignment counts too, so that p is never 0.
    (n_far + 1) as f64 / f64::from(N_SAMPLES + 1)
}

/// Holm's step-down correction (1979): the chance of one false claim among all of them stays below the level.
fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (n_before, at) in order.into_iter().enumerate() {
        largest = largest.max(p_values[at] * (p_values.len() - n_before) as f64).min(1.0);
        corrected[at] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_test_is_exact() {
        // Of the eight assignments of signs to 1, 2, 3 two have a sum as far from zero as 6.
        assert_eq!(randomization(&[1.0, 2.0, 3.0]), 0.25);
        assert_eq!(randomization(&[-1.0, 0.0, 2.0, 3.0]), 0.5);
        assert_eq!(randomization(&[0.0, 0.0]), 1.0);
        assert_eq!(randomization(&[]), 1.0);
    }

    #[test]
    fn sampled_signs_agree_with_the_normal_approximation() {
        // 100 differences of 1 and -1: the sum of random signs has a standard deviation of 10.
        let differences: Vec<f64> = (0..100).map(|n| if n < 60 { 1.0 } else { -1.0 }).collect();
        let p = randomization(&differences);
        // P(|sum| >= 20) of a binomial with 100 trials.
        assert!((p - 0.0569).abs() < 0.007, "{p}");
    }

    #[test]
    fn intervals_hold_the_mean_and_narrow_with_queries() {
        let differences =
            |n: usize| (0..n).map(|i| f64::from(u32::try_from(i % 5).unwrap()) / 10.0 - 0.1).collect::<Vec<_>>();
        let mut width = f64::INFINITY;
        for n in [10, 100, 1000] {
            let (low, high) = bootstrap(&differences(n));
            assert!(low < 0.1 && 0.1 < high, "{low} {high}");
            assert!(high - low < width / 2.0);
            width = high - low;
        }
        // The standard deviation of the values is sqrt(2) / 10.
        let expected = 2.0 * 1.96 * 2f64.sqrt() / 10.0 / 1000f64.sqrt();
        assert!((width / expected - 1.0).abs() < 0.05, "{width} {expected}");
        assert_eq!(bootstrap(&[0.3]), (0.3, 0.3));
        assert_eq!(bootstrap(&[]), (0.0, 0.0));
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut random = Random::new(7);
        let uniform = |random: &mut Random| (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let n_covered = (0..200).filter(|_| {
            let differences: Vec<f64> = (0..60).map(|_| uniform(&mut random) + uniform(&mut random) - 1.0).collect();
            let (low, high) = bootstrap(&differences);
            low <= 0.0 && 0.0 <= high
        });
        let n_covered = n_covered.count();
        assert!((181..=199).contains(&n_covered), "{n_covered} of 200");
    }

    #[test]
    fn holms_correction_is_the_published_one() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert_eq!(holm(&[0.5, 0.9]), [1.0, 1.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    #[test]
    fn rankers_are_compared_query_by_query() {
        let baseline = [0.1, 0.5, 0.5, 0.9];
        let same = compare(&baseline, &[&baseline]);
        assert_eq!(
            same[0],
            Comparison { difference: 0.0, low: 0.0, high: 0.0, p: 1.0, p_holm: 1.0, wins: 0, ties: 4, losses: 0 }
        );
        let both = compare(&baseline, &[&[0.2, 0.6, 0.5, 1.0], &[0.0, 0.5, 0.4, 0.9]]);
        assert!((both[0].difference - 0.075).abs() < 1e-12);
        assert_eq!((both[0].wins, both[0].ties, both[0].losses), (3, 1, 0));
        assert_eq!((both[0].p, both[0].p_holm), (0.25, 0.5));
        assert_eq!((both[1].wins, both[1].ties, both[1].losses), (0, 2, 2));
        assert_eq!((both[1].p, both[1].p_holm), (0.5, 0.5));
    }
}
