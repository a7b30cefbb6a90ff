//! Intervals that hold at every look, however often one looks and whenever one stops.
//!
//! The interval is the normal mixture of the mSPRT, Johari, Koomen, Pekelis and Walsh, "Always valid inference: continuous monitoring
//! of A/B tests" (Operations Research 2022; arXiv 1512.04922), with the variance estimated from the data: an asymptotic confidence
//! sequence in the sense of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
//! confidence sequences" (Annals of Statistics 2024; arXiv 2103.06476), Theorem 2.2 with `n rho^2 = tau^2 / variance`.

use serde::Serialize;

/// An estimate, and the interval that holds the truth at all looks together, with the chosen confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The estimate.
    pub estimate: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// What makes an interval out of an estimate and its variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sequence {
    /// How often, at most, the truth is ever outside.
    pub alpha: f64,
    /// The standard deviation of the mixture: differences of about this size are found soonest.
    pub tau: f64,
}

impl Sequence {
    /// Half the interval's width, for an estimate of this variance.
    pub(crate) fn half_width(self, variance: f64) -> f64 {
        let information = self.tau * self.tau / variance;
        let bound = 2.0 * (1.0 / self.alpha).ln() + (1.0 + information).ln();
        (variance * (1.0 + 1.0 / information) * bound).sqrt()
    }

    /// The logarithm of the mixture likelihood ratio of a value of this variance against zero, whose inverse is a p-value that
    /// holds at all looks.
    pub(crate) fn log_factor(self, value: f64, variance: f64) -> f64 {
        let mixed = variance + self.tau * self.tau;
        0.5 * (variance / mixed).ln() + self.tau * self.tau * value * value / (2.0 * variance * mixed)
    }

    pub(crate) fn interval(self, Estimate { value, variance }: Estimate) -> Interval {
        let half = self.half_width(variance);
        Interval { estimate: value, low: value - half, high: value + half }
    }

    /// The variance at which the interval is so narrow.
    pub(crate) fn variance_at(self, half_width: f64) -> f64 {
        // The half-width grows with the variance, and is above the standard error.
        let (mut low, mut high) = (0.0, half_width * half_width);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.half_width(middle) > half_width { high = middle } else { low = middle }
        }
        low
    }
}

/// A number with the variance that it has as an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub value: f64,
    pub variance: f64,
}

impl std::ops::Sub for Estimate {
    type Output = Self;

    /// The difference of independent estimates.
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, variance: self.variance + other.variance }
    }
}

/// Sums over units of a ratio's two sides, from which the ratio follows with a variance that is clustered by unit.
///
/// Queries of one unit resemble each other, so it is the units that are independent: the delta method for a ratio of sums, as in Deng,
/// Knoblich and Lu, "Applying the delta method in metric analytics" (KDD 2018), equation 4.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RatioSums {
    n_units: f64,
    x: f64,
    n: f64,
    xx: f64,
    xn: f64,
    nn: f64,
}

impl RatioSums {
    /// Puts a unit's new sums in the place of its old ones; `(0, 0)` are those of a unit not met before.
    pub(crate) fn replace(&mut self, (old_x, old_n): (f64, f64), (x, n): (f64, f64)) {
        self.n_units += f64::from(n > 0.0) - f64::from(old_n > 0.0);
        self.x += x - old_x;
        self.n += n - old_n;
        self.xx += x * x - old_x * old_x;
        self.xn += x * n - old_x * old_n;
        self.nn += n * n - old_n * old_n;
    }

    pub(crate) fn n_units(&self) -> f64 {
        self.n_units
    }

    /// The ratio; `None` for fewer than two units.
    pub(crate) fn ratio(&self) -> Option<Estimate> {
        if self.n_units < 2.0 {
            return None;
        }
        let value = self.x / self.n;
        let residual = (self.xx - 2.0 * value * self.xn + value * value * self.nn).max(0.0);
        // One more unit as far off as an average unit can be: without it, an arm not yet clicked at all would be known exactly.
        let worst = (self.n / self.n_units).powi(2);
        let variance = (residual + worst) / (self.n * self.n) * self.n_units / (self.n_units - 1.0);
        // The variance is estimated too: Student's quantile z + (z^3 + z) / (4 df) in place of the normal z (Abramowitz and Stegun,
        // 26.7.5, to first order), at the 3.5 standard errors that the narrowest intervals reach to.
        let variance = variance * (1.0 + 6.6 / (self.n_units - 1.0));
        Some(Estimate { value, variance })
    }
}

impl std::ops::AddAssign for RatioSums {
    /// The sums of both's units, which are different ones.
    fn add_assign(&mut self, other: Self) {
        self.n_units += other.n_units;
        self.x += other.x;
        self.n += other.n;
        self.xx += other.xx;
        self.xn += other.xn;
        self.nn += other.nn;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: Sequence = Sequence { alpha: 0.05, tau: 0.05 };

    #[test]
    fn half_widths_are_the_papers() {
        // Waudby-Smith et al., Theorem 2.2: sigma sqrt(2 (n rho^2 + 1) / (n^2 rho^2) log(sqrt(n rho^2 + 1) / alpha)).
        let (n, sigma, rho) = (1000.0f64, 0.4f64, 0.125f64);
        let paper = sigma
            * (2.0 * (n * rho * rho + 1.0) / (n * n * rho * rho) * ((n * rho * rho + 1.0).sqrt() / 0.05).ln()).sqrt();
        assert!((SEQUENCE.half_width(sigma * sigma / n) - paper).abs() < 1e-12);
        // Johari et al.: the interval's end is where the mixture likelihood ratio reaches 1 / alpha.
        let (v, t) = (1e-4f64, 0.05f64 * 0.05);
        let theta = SEQUENCE.half_width(v);
        let ratio = SEQUENCE.log_factor(theta, v).exp();
        assert!((ratio - (v / (v + t)).sqrt() * (t * theta * theta / (2.0 * v * (v + t))).exp()).abs() < 1e-9);
        assert!((ratio - 20.0).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn the_variance_of_a_width_has_that_width() {
        for half_width in [0.3, 0.02, 0.0005] {
            assert!((SEQUENCE.half_width(SEQUENCE.variance_at(half_width)) / half_width - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_ratio_is_clustered_by_unit() {
        let sums = |units: &[(f64, f64)]| {
            let mut sums = RatioSums::default();
            units.iter().for_each(|unit| sums.replace((0.0, 0.0), *unit));
            sums
        };
        // With one query a unit it is a mean: 0.3, with (0.21 n + 1) / (n (n - 1)).
        let mean = sums(&[[(1.0, 1.0); 30].as_slice(), &[(0.0, 1.0); 70]].concat()).ratio().unwrap();
        assert!((mean.value - 0.3).abs() < 1e-12 && (mean.variance - 22.0 / 9900.0 * (1.0 + 6.6 / 99.0)).abs() < 1e-12);
        // Ten equal queries a unit tell no more than one.
        let tens = sums(&[[(10.0, 10.0); 30].as_slice(), &[(0.0, 10.0); 70]].concat()).ratio().unwrap();
        assert!((tens.variance - mean.variance).abs() < 1e-12);
        // A unit that comes back is the unit it would have been.
        let mut grown = sums(&[(0.0, 1.0), (1.0, 1.0)]);
        grown.replace((1.0, 1.0), (1.0, 3.0));
        assert_eq!(grown, sums(&[(0.0, 1.0), (1.0, 3.0)]));
        assert_eq!(sums(&[(1.0, 1.0)]).ratio(), None);
    }
}
