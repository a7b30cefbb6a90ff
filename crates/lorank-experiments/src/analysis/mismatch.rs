//! Whether units arrive in the arms as weighted. Where they do not, something loses or adds some, and no number can be believed.
//!
//! The test of Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022; arXiv 2011.03567): the Bayes
//! factor of a Dirichlet-multinomial alternative against the weights. It may be looked at after every unit.

use serde::Serialize;

/// How tightly the alternative lies around the weights: the paper's own recommendation for small mismatches in large samples.
const CONCENTRATION: f64 = 10_000.0;

/// The test so far.
#[derive(Debug, Clone)]
pub(crate) struct MismatchTest {
    weights: Vec<f64>,
    counts: Vec<u64>,
    log_factor: f64,
    log_factor_max: f64,
}

/// What the test says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleRatio {
    /// The units of each arm, those of forced requests left out.
    pub n_units: Vec<u64>,
    /// What share of them each arm should have.
    pub expected: Vec<f64>,
    /// How often so uneven a split would be seen, at any look, if all were well.
    pub p_value: f64,
    /// Whether that is too seldom to believe.
    pub is_mismatch: bool,
}

impl MismatchTest {
    pub(crate) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let weights: Vec<f64> = weights.map(f64::from).collect();
        let sum: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        Self { counts: vec![0; weights.len()], weights, log_factor: 0.0, log_factor_max: 0.0 }
    }

    /// Counts a new unit.
    pub(crate) fn add(&mut self, arm: usize) {
        let n: u64 = self.counts.iter().sum();
        // The Bayes factor grows by what the alternative gives to this arm now, over what the weights give to it.
        let predicted = (CONCENTRATION * self.weights[arm] + self.counts[arm] as f64) / (CONCENTRATION + n as f64);
        self.log_factor += (predicted / self.weights[arm]).ln();
        self.log_factor_max = self.log_factor_max.max(self.log_factor);
        self.counts[arm] += 1;
    }

    pub(crate) fn sample_ratio(&self, alpha: f64) -> SampleRatio {
        let p_value = (-self.log_factor_max).exp();
        let (n_units, expected) = (self.counts.clone(), self.weights.clone());
        SampleRatio { n_units, expected, p_value, is_mismatch: p_value < alpha }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers below one, the same each time.
    fn uniform() -> impl FnMut() -> f64 {
        let mut random = blake3::Hasher::new().finalize_xof();
        move || {
            let mut bytes = [0; 4];
            random.fill(&mut bytes);
            f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
        }
    }

    fn n_mismatches(share: f64, n_runs: usize, n_units: usize) -> usize {
        let mut uniform = uniform();
        let mut run = || {
            let mut test = MismatchTest::new([1, 1].into_iter());
            (0..n_units).for_each(|_| test.add(usize::from(uniform() < share)));
            test.sample_ratio(0.01).is_mismatch
        };
        (0..n_runs).filter(|_| run()).count()
    }

    #[test]
    fn fair_splits_pass_and_unfair_ones_do_not() {
        // Looked at after every single unit.
        let n = n_mismatches(0.5, 500, 5_000);
        assert!(n <= 10, "{n} of 500 fair splits were called unfair at 1 %");
        assert_eq!(n_mismatches(0.54, 50, 10_000), 50);
    }

    #[test]
    fn the_factor_is_the_closed_form() {
        let mut test = MismatchTest::new([3, 1].into_iter());
        [0, 1, 1].into_iter().for_each(|arm| test.add(arm));
        // Dirichlet(7500, 2500): the chance of these three in this order, over 3/4 * 1/4 * 1/4.
        let alternative = 7500.0 * 2500.0 * 2501.0 / (10_000.0 * 10_001.0 * 10_002.0);
        assert!((test.log_factor - f64::ln(alternative * 64.0 / 3.0)).abs() < 1e-12);
    }
}
