//! Confidence sequences: intervals that hold simultaneously at all looks, for any stopping time.
//!
//! The interval is the normal mixture of the mSPRT, Johari, Koomen, Pekelis and Walsh, "Always valid inference: continuous monitoring
//! of A/B tests" (Operations Research 2022; arXiv 1512.04922), with the variance estimated from the data: an asymptotic confidence
//! sequence in the sense of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
//! confidence sequences" (Annals of Statistics 2024; arXiv 2103.06476), Theorem 2.2 with `n rho^2 = tau^2 / variance`.

use serde::Serialize;

/// An estimate with its interval, which contains the true value simultaneously at all looks with the chosen confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The estimate.
    pub estimate: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// The parameters of a confidence sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sequence {
    /// The maximum probability that the true value is ever outside.
    pub alpha: f64,
    /// The standard deviation of the mixture; differences of about this size are detected first.
    pub tau: f64,
}

impl Sequence {
    /// Half the width of the interval for an estimate with this variance.
    pub(crate) fn half_width(self, variance: f64) -> f64 {
        let information = self.tau * self.tau / variance;
        let bound = 2.0 * (1.0 / self.alpha).ln() + (1.0 + information).ln();
        (variance * (1.0 + 1.0 / information) * bound).sqrt()
    }

    /// The logarithm of the mixture likelihood ratio of a value with this variance against zero, whose inverse is an always-valid
    /// p-value.
    pub(crate) fn log_factor(self, value: f64, variance: f64) -> f64 {
        let mixed = variance + self.tau * self.tau;
        0.5 * (variance / mixed).ln() + self.tau * self.tau * value * value / (2.0 * variance * mixed)
    }

    pub(crate) fn interval(self, Estimate { value, variance }: Estimate) -> Interval {
        let half = self.half_width(variance);
        Interval { estimate: value, low: value - half, high: value + half }
    }

    /// The variance at which the interval has this half-width.
    pub(crate) fn variance_at(self, half_width: f64) -> f64 {
        // The half-width increases with the variance, and exceeds the standard error.
        let (mut low, mut high) = (0.0, half_width * half_width);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.half_width(middle) > half_width { high = middle } else { low = middle }
        }
        low
    }
}

/// An estimate with its variance.
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

/// The number of fractional bits: values are multiples of `2^-24`, about 6e-8. Sums of integers do not depend on their order, so a
/// revised analysis equals one with the final records.
const FRACTION_BITS: u32 = 24;

/// A value in fixed point, as a multiple of `2^-24`.
pub(crate) fn fixed(value: f64) -> i64 {
    // A cast saturates, and a NaN becomes 0.
    (value * f64::from(1u32 << FRACTION_BITS)).round() as i64
}

/// The value of a fixed-point number.
pub(crate) fn from_fixed(fixed: i64) -> f64 {
    fixed as f64 / f64::from(1u32 << FRACTION_BITS)
}

/// A unit's contribution to the numerator and denominator of a ratio, in fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub x: i64,
    pub n: i64,
}

impl Part {
    pub(crate) fn new(x: f64, n: f64) -> Self {
        Self { x: fixed(x), n: fixed(n) }
    }
}

impl std::ops::Add for Part {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { x: self.x.saturating_add(other.x), n: self.n.saturating_add(other.n) }
    }
}

impl std::ops::Sub for Part {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { x: self.x.saturating_sub(other.x), n: self.n.saturating_sub(other.n) }
    }
}

/// Sums over units for a ratio, with a variance clustered by unit.
///
/// Queries of a unit are correlated, but units are independent: the delta method for a ratio of sums, as in Deng, Knoblich and Lu,
/// "Applying the delta method in metric analytics" (KDD 2018), equation 4.
///
/// `z` is a unit's value from before the experiment. The part of the difference between arms that follows from the difference of their
/// `z` is due to chance and is removed: CUPED, by Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online controlled
/// experiments by utilizing pre-experiment data" (WSDM 2013).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RatioSums {
    n_units: i64,
    /// The number of units with a nonzero `x`.
    n_nonzero: i64,
    x: i128,
    n: i128,
    xx: i128,
    xn: i128,
    nn: i128,
    z: i128,
    zz: i128,
    xz: i128,
    nz: i128,
}

/// A ratio and the mean of `z` with their variances and covariance, before the corrections for small samples.
#[derive(Debug, Clone, Copy)]
struct Moments {
    n_units: f64,
    ratio: f64,
    variance: f64,
    z: f64,
    z_variance: f64,
    covariance: f64,
}

impl RatioSums {
    /// Replaces a unit's part, which is zero for a new unit.
    pub(crate) fn replace(&mut self, old: Part, new: Part) {
        self.replace_with(old, new, 0);
    }

    /// The same for a unit with a past value.
    pub(crate) fn replace_with(&mut self, old: Part, new: Part, z: i64) {
        let is_more = i64::from(new.n > 0) - i64::from(old.n > 0);
        let product = |a: i64, b: i64| i128::from(a) * i128::from(b);
        self.n_units += is_more;
        self.n_nonzero += i64::from(new.x != 0) - i64::from(old.x != 0);
        self.x += i128::from(new.x) - i128::from(old.x);
        self.n += i128::from(new.n) - i128::from(old.n);
        self.xx += product(new.x, new.x) - product(old.x, old.x);
        self.xn += product(new.x, new.n) - product(old.x, old.n);
        self.nn += product(new.n, new.n) - product(old.n, old.n);
        self.z += product(z, is_more);
        self.zz += product(z, z) * i128::from(is_more);
        self.xz += product(new.x, z) - product(old.x, z);
        self.nz += product(new.n, z) - product(old.n, z);
    }

    pub(crate) fn n_units(&self) -> u64 {
        u64::try_from(self.n_units).unwrap_or(0)
    }

    pub(crate) fn n_nonzero(&self) -> u64 {
        u64::try_from(self.n_nonzero).unwrap_or(0)
    }

    /// The ratio; `None` without units.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.x as f64 / self.n as f64)
    }

    /// The estimate of the ratio; `None` for fewer than two units. `step` is the range of one answer's value: one unit with this deviation
    /// is added, because otherwise an arm without clicks would have variance 0. It is 0 for measures without a fixed scale.
    pub(crate) fn ratio(&self, step: f64) -> Option<Estimate> {
        let Moments { n_units, ratio, variance, .. } = self.moments(step)?;
        Some(Estimate { value: ratio, variance: variance * for_few_units(n_units) })
    }

    /// The difference to another ratio, adjusted by the units' past values.
    pub(crate) fn less(&self, other: &Self, step: f64) -> Option<Estimate> {
        let (own, other) = (self.moments(step)?, other.moments(step)?);
        let (covariance, z_variance) = (own.covariance + other.covariance, own.z_variance + other.z_variance);
        let slope = if z_variance > 0.0 { covariance / z_variance } else { 0.0 };
        let adjusted = |of: Moments| {
            let variance = of.variance - 2.0 * slope * of.covariance + slope * slope * of.z_variance;
            Estimate { value: of.ratio - slope * of.z, variance: variance.max(0.0) * for_few_units(of.n_units) }
        };
        Some(adjusted(own) - adjusted(other))
    }

    fn moments(&self, step: f64) -> Option<Moments> {
        if self.n_units < 2 {
            return None;
        }
        let one = f64::from(1u32 << FRACTION_BITS);
        let (sum, product) = (|sum: i128| sum as f64 / one, |product: i128| product as f64 / (one * one));
        let (n_units, n) = (self.n_units as f64, sum(self.n));
        let ratio = self.x as f64 / self.n as f64;
        let residual = (product(self.xx) - 2.0 * ratio * product(self.xn) + ratio * ratio * product(self.nn)).max(0.0);
        let worst = (step * n / n_units).powi(2);
        let of_units = n_units / (n_units - 1.0);
        let z = sum(self.z) / n_units;
        Some(Moments {
            n_units,
            ratio,
            variance: (residual + worst) / (n * n) * of_units,
            z,
            z_variance: (product(self.zz) / n_units - z * z).max(0.0) / n_units * of_units,
            covariance: (product(self.xz) - ratio * product(self.nz)) / (n * n_units) * of_units,
        })
    }
}

/// The correction for an estimated variance: Student's quantile z + (z^3 + z) / (4 df) instead of the normal z (Abramowitz and Stegun,
/// 26.7.5, to first order), at 3.5 standard errors, the width of the narrowest intervals.
fn for_few_units(n_units: f64) -> f64 {
    1.0 + 6.6 / (n_units - 1.0)
}

impl std::ops::AddAssign for RatioSums {
    /// The sums over the units of both, which are disjoint.
    fn add_assign(&mut self, other: Self) {
        self.n_units += other.n_units;
        self.n_nonzero += other.n_nonzero;
        self.x += other.x;
        self.n += other.n;
        self.xx += other.xx;
        self.xn += other.xn;
        self.nn += other.nn;
        self.z += other.z;
        self.zz += other.zz;
        self.xz += other.xz;
        self.nz += other.nz;
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
            units.iter().for_each(|(x, n)| sums.replace(Part::default(), Part::new(*x, *n)));
            sums
        };
        // With one query a unit it is a mean: 0.3, with (0.21 n + 1) / (n (n - 1)).
        let mean = sums(&[[(1.0, 1.0); 30].as_slice(), &[(0.0, 1.0); 70]].concat()).ratio(1.0).unwrap();
        assert!((mean.value - 0.3).abs() < 1e-12 && (mean.variance - 22.0 / 9900.0 * (1.0 + 6.6 / 99.0)).abs() < 1e-12);
        // Ten equal queries a unit tell no more than one.
        let tens = sums(&[[(10.0, 10.0); 30].as_slice(), &[(0.0, 10.0); 70]].concat()).ratio(1.0).unwrap();
        assert!((tens.variance - mean.variance).abs() < 1e-12);
        // A unit that comes back is the unit it would have been.
        let mut grown = sums(&[(0.0, 1.0), (1.0, 1.0)]);
        grown.replace(Part::new(1.0, 1.0), Part::new(1.0, 3.0));
        assert_eq!(grown, sums(&[(0.0, 1.0), (1.0, 3.0)]));
        assert_eq!(sums(&[(1.0, 1.0)]).ratio(1.0), None);
    }
    #[test]
    fn what_was_known_before_is_taken_away() {
        let (mut one, mut other) = (RatioSums::default(), RatioSums::default());
        for n in 0..1_000 {
            // What a unit does is what it did before, and a little noise; the units of the second arm happened to do more.
            let before = f64::from(n % 10) + f64::from(n % 2);
            let noise = f64::from(n * 7 % 11) / 11.0 - 0.5;
            let arm = if n % 2 == 0 { &mut one } else { &mut other };
            arm.replace_with(Part::default(), Part::new(before + noise, 1.0), fixed(before));
        }
        let plain = other.ratio(1.0).unwrap() - one.ratio(1.0).unwrap();
        let adjusted = other.less(&one, 1.0).unwrap();
        assert!(plain.value > 1.5 && adjusted.value.abs() < 0.05, "{plain:?} {adjusted:?}");
        assert!(adjusted.variance < plain.variance / 10.0, "{plain:?} {adjusted:?}");
        let without = |sums: &RatioSums| RatioSums { z: 0, zz: 0, xz: 0, nz: 0, ..*sums };
        assert_eq!(without(&other).less(&without(&one), 1.0), Some(plain));
    }
}
