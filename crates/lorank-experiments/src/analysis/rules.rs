//! The rules by which sums of a measure become intervals.

use super::Measure;
use super::sequence::{Estimate, Interval, RatioSums, Sequence};
use crate::Method;

/// The standard deviation of the mixture for measures without a fixed scale, in standard deviations of a unit.
const RELATIVE_TAU: f64 = 0.05;

/// The smallest relevant difference relative to the control's value, for measures without a fixed scale.
const SMALLEST_PART: f64 = 0.02;

/// The rules by which sums of a measure become intervals: sums of each arm for split traffic, of each challenger for interleaved
/// answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    pub method: Method,
    pub measure: Measure,
    /// The maximum probability of a false positive of one comparison over all looks.
    pub alpha: f64,
    /// The smallest relevant difference; `None` for the measure's default.
    pub smallest_difference: Option<f64>,
    /// The minimum number of units in the smaller arm of a comparison.
    pub n_units_min: u64,
}

impl Rules {
    /// The difference of a challenger to the control; `None` for fewer than two units.
    pub(crate) fn difference(&self, sums: &[RatioSums], challenger: usize) -> Option<Estimate> {
        let step = self.measure.step();
        match self.method {
            Method::Split => sums[challenger + 1].less(&sums[0], step),
            Method::Interleave => sums[challenger].ratio(step),
        }
    }

    /// The same, with the sign chosen so that larger values are better.
    pub(crate) fn signed_difference(&self, sums: &[RatioSums], challenger: usize) -> Option<Estimate> {
        let Estimate { value, variance } = self.difference(sums, challenger)?;
        Some(Estimate { value: if self.measure.is_better_lower() { -value } else { value }, variance })
    }

    /// The interval of the difference; `None` while an arm has too few units.
    pub(crate) fn interval(&self, sums: &[RatioSums], challenger: usize) -> Option<Interval> {
        let estimate = self.difference(sums, challenger)?;
        // If all values are equal, their variance is unknown.
        let is_known = estimate.variance > 0.0 && self.has_enough_units(sums, challenger);
        is_known.then(|| self.sequence(sums, challenger, estimate).interval(estimate))
    }

    /// The same, with the sign chosen so that larger values are better.
    pub(crate) fn signed_interval(&self, sums: &[RatioSums], challenger: usize) -> Option<Interval> {
        self.interval(sums, challenger).map(|interval| self.turned(interval))
    }

    /// Converts between the sign for which larger values are better and the measure's own sign.
    pub(crate) fn turned(&self, interval: Interval) -> Interval {
        let Interval { estimate, low, high } = interval;
        match self.measure.is_better_lower() {
            true => Interval { estimate: -estimate, low: -high, high: -low },
            false => interval,
        }
    }

    /// The number of units of the smaller arm of a comparison.
    pub(crate) fn n_units(&self, sums: &[RatioSums], challenger: usize) -> u64 {
        match self.method {
            Method::Split => self.units(&sums[challenger + 1]).min(self.units(&sums[0])),
            Method::Interleave => sums[challenger].n_units(),
        }
    }

    /// Whether both arms of a comparison have enough units.
    pub(crate) fn has_enough_units(&self, sums: &[RatioSums], challenger: usize) -> bool {
        self.n_units(sums, challenger) >= self.n_units_min
    }

    /// Whether all sums have enough units.
    pub(crate) fn is_enough(&self, sums: &[RatioSums]) -> bool {
        sums.iter().all(|sums| self.units(sums) >= self.n_units_min)
    }

    /// The effects before and since, if they differ significantly at this part of the error probability.
    pub(crate) fn change(
        &self,
        before: &[RatioSums],
        since: &[RatioSums],
        challenger: usize,
        part: f64,
    ) -> Option<(Interval, Interval)> {
        let (earlier, later) = (self.difference(before, challenger)?, self.difference(since, challenger)?);
        let sequence = |sums: &[RatioSums], estimate| {
            let Sequence { alpha, tau } = self.sequence(sums, challenger, estimate);
            Sequence { alpha: alpha * part, tau }
        };
        let differs = sequence(since, later - earlier).interval(later - earlier);
        let is_change = differs.low > 0.0 || differs.high < 0.0;
        is_change.then(|| (sequence(before, earlier).interval(earlier), sequence(since, later).interval(later)))
    }

    /// The confidence sequence for a difference.
    pub(crate) fn sequence(&self, sums: &[RatioSums], challenger: usize, estimate: Estimate) -> Sequence {
        let relative = || RELATIVE_TAU * (estimate.variance * self.n_units(sums, challenger).max(1) as f64).sqrt();
        Sequence { alpha: self.alpha, tau: self.measure.expected_difference().unwrap_or_else(relative) }
    }

    /// The smallest relevant difference.
    pub(crate) fn smallest_difference(&self, sums: &[RatioSums]) -> f64 {
        let relative = || sums[0].mean().unwrap_or(0.0).abs() * SMALLEST_PART;
        self.smallest_difference.or(self.measure.smallest_difference()).unwrap_or_else(relative)
    }

    /// The number of units of an arm that count. For a value that most units lack, only those with a value count, because the mean of
    /// few values is not approximately normal.
    fn units(&self, sums: &RatioSums) -> u64 {
        if self.measure == Measure::Value { sums.n_nonzero() } else { sums.n_units() }
    }
}
