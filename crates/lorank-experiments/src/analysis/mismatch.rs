//! Tests for a sample ratio mismatch: whether units and queries arrive in the arms in proportion to their weights. Otherwise units or
//! queries are lost or duplicated, and no result is reliable.
//!
//! Three tests share the error probability, and each is valid after every query:
//!
//! - **All units**, by Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022; arXiv 2011.03567): the
//!   Bayes factor of a Dirichlet-multinomial alternative against the weights. The alternative is a mixture over four
//!   concentrations: high ones detect small mismatches in large samples, low ones large mismatches in small samples. A mixture of
//!   e-processes is an e-process (Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference",
//!   Statistical Science 2023).
//! - **The units of each day**, by the same factor, restarted at midnight UTC, because nine good days would hide a fault on the tenth.
//!   The days share the error probability in proportion to the squares of 1, 1/2, 1/3, ...
//! - **The queries of each arm**, because single queries can be lost without losing units. Units differ in their number of queries, so
//!   the variance is clustered by unit. An arm may influence how often users search, so only shares that differ by more than a tenth
//!   count.

use serde::Serialize;

use super::sequence::{Part, RatioSums, Sequence};

/// The concentrations of the alternatives around the weights, in units.
const CONCENTRATIONS: [f64; 4] = [10.0, 100.0, 1_000.0, 10_000.0];

/// The parts of the error probability for the tests of all units, days and queries.
const PARTS: [f64; 3] = [0.5, 0.25, 0.25];

/// The tolerated relative difference between an arm's share of the queries and its weight.
const QUERIES_TOLERANCE: f64 = 0.1;

/// The deviation of a share of queries for which the test is tuned.
const QUERIES_TAU: f64 = 0.05;

const MILLIS_OF_A_DAY: i64 = 86_400_000;

/// The state of the tests.
#[derive(Debug, Clone)]
pub(crate) struct MismatchTest {
    weights: Vec<f64>,
    all: BayesFactor,
    day: i64,
    n_days: u64,
    of_day: BayesFactor,
    worst_day: Option<(f64, DayRatio)>,
    n_queries: Vec<u64>,
    /// For each arm, the difference between its queries and their expected number, relative to all queries, summed by unit.
    queries: Vec<RatioSums>,
    queries_p_value: f64,
}

/// The result of the tests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleRatio {
    /// The number of units of each arm, without forced requests.
    pub n_units: Vec<u64>,
    /// The number of queries of each arm, without forced requests.
    pub n_queries: Vec<u64>,
    /// The expected share of each arm.
    pub expected: Vec<f64>,
    /// The probability of such an uneven split at any look, if there is no mismatch.
    pub p_value: f64,
    /// The test with the smallest p-value, to which `p_value` belongs.
    pub least_even: Scope,
    /// The day with the most uneven split of new units.
    pub worst_day: Option<DayRatio>,
    /// Whether there is a mismatch, by the configured probability of a false positive.
    pub is_mismatch: bool,
}

/// The new units of a day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DayRatio {
    /// The start of the day (00:00 UTC), in milliseconds since 1970.
    pub start_millis: i64,
    /// The number of units of each arm.
    pub n_units: Vec<u64>,
}

/// The object of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All units since the start.
    Units,
    /// The new units of a day.
    Day,
    /// The queries of all units.
    Queries,
}

/// The Bayes factor of a period.
#[derive(Debug, Clone)]
struct BayesFactor {
    counts: Vec<u64>,
    /// The logarithms by concentration.
    logs: [f64; CONCENTRATIONS.len()],
    log_max: f64,
}

impl BayesFactor {
    fn new(n_arms: usize) -> Self {
        Self { counts: vec![0; n_arms], logs: [0.0; CONCENTRATIONS.len()], log_max: 0.0 }
    }

    /// Counts a new unit.
    fn add(&mut self, arm: usize, weights: &[f64]) {
        let n = self.counts.iter().sum::<u64>() as f64;
        for (log, concentration) in self.logs.iter_mut().zip(CONCENTRATIONS) {
            // The factor grows by the ratio of the arm's probabilities under the alternative and under the weights.
            let predicted = (concentration * weights[arm] + self.counts[arm] as f64) / (concentration + n);
            *log += (predicted / weights[arm]).ln();
        }
        self.counts[arm] += 1;
        self.log_max = self.log_max.max(self.log());
    }

    /// The logarithm of the mixture.
    fn log(&self) -> f64 {
        let max = self.logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.logs.iter().map(|log| (log - max).exp()).sum();
        max + (sum / self.logs.len() as f64).ln()
    }

    fn p_value(&self) -> f64 {
        (-self.log_max).exp()
    }
}

impl MismatchTest {
    pub(crate) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let weights: Vec<f64> = weights.map(f64::from).collect();
        let sum: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        let n_arms = weights.len();
        Self {
            weights,
            all: BayesFactor::new(n_arms),
            day: i64::MIN,
            n_days: 0,
            of_day: BayesFactor::new(n_arms),
            worst_day: None,
            n_queries: vec![0; n_arms],
            queries: vec![RatioSums::default(); n_arms],
            queries_p_value: 1.0,
        }
    }

    /// Counts a new unit at this time.
    pub(crate) fn add_unit(&mut self, arm: usize, at_millis: i64) {
        self.all.add(arm, &self.weights);
        let day = at_millis.div_euclid(MILLIS_OF_A_DAY);
        // A late record belongs to an earlier day.
        if day > self.day {
            (self.day, self.of_day) = (day, BayesFactor::new(self.weights.len()));
            self.n_days += 1;
        }
        if day == self.day {
            self.of_day.add(arm, &self.weights);
            let n = self.n_days as f64;
            // The parts of the error probability, 6 / (pi n)^2, sum to one.
            let p_value = self.of_day.p_value() * (std::f64::consts::PI * n).powi(2) / 6.0;
            if self.worst_day.as_ref().is_none_or(|(worst, _)| p_value <= *worst) {
                let start_millis = day.saturating_mul(MILLIS_OF_A_DAY);
                self.worst_day = Some((p_value, DayRatio { start_millis, n_units: self.of_day.counts.clone() }));
            }
        }
    }

    /// Counts a query of a unit with `n_before` earlier queries.
    pub(crate) fn add_query(&mut self, arm: usize, n_before: f64) {
        self.n_queries[arm] += 1;
        let n_arms = self.weights.len() as f64;
        for (of, (sums, weight)) in self.queries.iter_mut().zip(&self.weights).enumerate() {
            let lead = if of == arm { 1.0 - weight } else { -weight };
            sums.replace(Part::new(lead * n_before, n_before), Part::new(lead * (n_before + 1.0), n_before + 1.0));
            let Some(share) = sums.ratio(1.0) else { continue };
            let beyond = (share.value.abs() - QUERIES_TOLERANCE * weight).max(0.0);
            let log = Sequence { alpha: 1.0, tau: QUERIES_TAU }.log_factor(beyond, share.variance);
            self.queries_p_value = self.queries_p_value.min((-log).exp() * n_arms);
        }
    }

    /// The result of the tests at this probability of a false positive.
    pub(crate) fn sample_ratio(&self, alpha: f64) -> SampleRatio {
        let of_days = self.worst_day.as_ref().map_or(1.0, |(p_value, _)| *p_value);
        let p_values = [
            (Scope::Units, self.all.p_value() / PARTS[0]),
            (Scope::Day, of_days / PARTS[1]),
            (Scope::Queries, self.queries_p_value / PARTS[2]),
        ];
        let least = p_values.into_iter().reduce(|least, other| if other.1 < least.1 { other } else { least });
        let (least_even, p_value) = least.map_or((Scope::Units, 1.0), |(scope, p_value)| (scope, p_value.min(1.0)));
        SampleRatio {
            n_units: self.all.counts.clone(),
            n_queries: self.n_queries.clone(),
            expected: self.weights.clone(),
            p_value,
            least_even,
            worst_day: self.worst_day.as_ref().map(|(_, day)| day.clone()),
            is_mismatch: p_value < alpha,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Reproducible pseudorandom numbers below one.
    fn uniform(seed: u64) -> impl FnMut() -> f64 {
        let mut random = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        move || {
            let mut bytes = [0; 4];
            random.fill(&mut bytes);
            f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
        }
    }

    /// The number of units until the alarm for two equal arms, of which the second gets this share; `None` if there is no alarm.
    fn units_to_alarm(seed: u64, share: f64, n_units: u64) -> Option<u64> {
        let mut uniform = uniform(seed);
        let mut test = MismatchTest::new([1, 1].into_iter());
        (1..=n_units).find(|n| {
            let arm = usize::from(uniform() < share);
            test.add_unit(arm, *n as i64 * HOUR / 20);
            // Units send one to four queries.
            let n_queries = 1 + (uniform() * uniform() * 4.0) as u64;
            (0..n_queries).for_each(|before| test.add_query(arm, before as f64));
            test.sample_ratio(0.01).is_mismatch
        })
    }

    #[test]
    fn fair_splits_pass_at_every_look_and_uneven_ones_sound_soon() {
        let n_alarms = (0..200).filter(|seed| units_to_alarm(*seed, 0.5, 5_000).is_some()).count();
        println!("fair: {n_alarms} alarms in 200 runs of 5,000 units, looked at after each");
        assert!(n_alarms <= 1, "{n_alarms} of 200 fair splits were called unfair at 1 %");
        for (share, units_max) in [(0.80, 60), (0.67, 140), (0.60, 380), (0.55, 1_410)] {
            let mut units: Vec<u64> =
                (0..101).map(|seed| units_to_alarm(seed, share, 20_000).unwrap_or(u64::MAX)).collect();
            units.sort_unstable();
            println!("true share {share:.2}: alarm after {} units (median of 101 runs)", units[50]);
            assert!(units[50] <= units_max, "{share}: {} units", units[50]);
        }
    }

    #[test]
    fn the_factor_is_the_closed_form() {
        let mut factor = BayesFactor::new(2);
        [0, 1, 1].into_iter().for_each(|arm| factor.add(arm, &[0.75, 0.25]));
        // The chance of these three in this order by Dirichlet(3c/4, c/4), over 3/4 * 1/4 * 1/4.
        let chance = |c: f64| 0.75 * c * (0.25 * c) * (0.25 * c + 1.0) / (c * (c + 1.0) * (c + 2.0));
        let mixture = CONCENTRATIONS.map(chance).iter().sum::<f64>() / 4.0 * 64.0 / 3.0;
        assert!((factor.log() - mixture.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_day_that_loses_half_an_arm_sounds_after_months_without_a_fault() {
        let mut uniform = uniform(7);
        let mut test = MismatchTest::new([1, 1].into_iter());
        let mut add = |test: &mut MismatchTest, day: i64, is_broken: bool| {
            for n in 0..600 {
                let arm = usize::from(uniform() < 0.5);
                if is_broken && arm == 1 && uniform() < 0.5 {
                    continue;
                }
                test.add_unit(arm, day * 24 * HOUR + n * 60_000);
                test.add_query(arm, 0.0);
            }
        };
        (0..60).for_each(|day| add(&mut test, day, false));
        assert!(!test.sample_ratio(0.01).is_mismatch);
        add(&mut test, 60, true);
        let found = test.sample_ratio(0.01);
        assert!(found.is_mismatch && found.least_even == Scope::Day, "{found:?}");
        assert_eq!(found.worst_day.map(|day| day.start_millis), Some(60 * 24 * HOUR));
    }

    #[test]
    fn queries_that_are_lost_sound_where_units_are_all_there() {
        let run = |kept: f64| {
            let mut uniform = uniform(11);
            let mut test = MismatchTest::new([1, 1].into_iter());
            for n in 0..3_000 {
                let arm = n % 2;
                test.add_unit(arm, 0);
                let n_queries = (0..8).filter(|query| *query == 0 || arm == 0 || uniform() < kept).count();
                (0..n_queries).for_each(|before| test.add_query(arm, before as f64));
            }
            test.sample_ratio(0.01)
        };
        let (lost, searched_less) = (run(0.5), run(0.92));
        assert!(lost.is_mismatch && lost.least_even == Scope::Queries, "{lost:?}");
        assert!(!searched_less.is_mismatch, "an arm may make people search a little less: {searched_less:?}");
    }
}
