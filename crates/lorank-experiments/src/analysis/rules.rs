//! By what rules the sums of the measure that decides become intervals.

use super::Measure;
use super::sequence::{Estimate, Interval, RatioSums, Sequence};
use crate::Method;

/// The standard deviation of the mixture for measures without a scale of their own, in standard deviations of a unit.
const RELATIVE_TAU: f64 = 0.05;

/// The smallest part of the control's value that is worth a change, for measures without a scale of their own.
const SMALLEST_PART: f64 = 0.02;

/// By what rules the sums of a measure become intervals: those of each arm where traffic is split, those of each challenger where
/// answers are interleaved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    pub method: Method,
    pub measure: Measure,
    /// How often, at most, one comparison may ever claim a difference that is none.
    pub alpha: f64,
    /// Differences smaller than this are as good as none; `None` leaves it to the measure.
    pub smallest_difference: Option<f64>,
    /// How many units a comparison needs in its smaller arm.
    pub n_units_min: u64,
}

impl Rules {
    /// How a challenger differs from the control; `None` for fewer than two units.
    pub(crate) fn difference(&self, sums: &[RatioSums], challenger: usize) -> Option<Estimate> {
        let step = self.measure.step();
        match self.method {
            Method::Split => sums[challenger + 1].less(&sums[0], step),
            Method::Interleave => sums[challenger].ratio(step),
        }
    }

    /// The same, where a larger value is a better one.
    pub(crate) fn signed_difference(&self, sums: &[RatioSums], challenger: usize) -> Option<Estimate> {
        let Estimate { value, variance } = self.difference(sums, challenger)?;
        Some(Estimate { value: if self.measure.is_better_lower() { -value } else { value }, variance })
    }

    /// The interval of the difference; `None` while an arm has too few units.
    pub(crate) fn interval(&self, sums: &[RatioSums], challenger: usize) -> Option<Interval> {
        let estimate = self.difference(sums, challenger)?;
        // Where all values are equal to the last digit, nothing is known of how they vary.
        let is_known = estimate.variance > 0.0 && self.has_enough_units(sums, challenger);
        is_known.then(|| self.sequence(sums, challenger, estimate).interval(estimate))
    }

    /// The same, where a larger value is a better one.
    pub(crate) fn signed_interval(&self, sums: &[RatioSums], challenger: usize) -> Option<Interval> {
        self.interval(sums, challenger).map(|interval| self.turned(interval))
    }

    /// From where a larger value is a better one to the measure's own values, and back.
    pub(crate) fn turned(&self, interval: Interval) -> Interval {
        let Interval { estimate, low, high } = interval;
        match self.measure.is_better_lower() {
            true => Interval { estimate: -estimate, low: -high, high: -low },
            false => interval,
        }
    }

    /// The units that a comparison rests on: of the smaller arm.
    pub(crate) fn n_units(&self, sums: &[RatioSums], challenger: usize) -> u64 {
        match self.method {
            Method::Split => self.units(&sums[challenger + 1]).min(self.units(&sums[0])),
            Method::Interleave => sums[challenger].n_units(),
        }
    }

    /// Whether both arms of a comparison have as many units as are needed.
    pub(crate) fn has_enough_units(&self, sums: &[RatioSums], challenger: usize) -> bool {
        self.n_units(sums, challenger) >= self.n_units_min
    }

    /// Whether all sums have.
    pub(crate) fn is_enough(&self, sums: &[RatioSums]) -> bool {
        sums.iter().all(|sums| self.units(sums) >= self.n_units_min)
    }

    /// The effects before and since, if they differ by more than chance with this part of the error.
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

    /// What makes an interval of a difference.
    pub(crate) fn sequence(&self, sums: &[RatioSums], challenger: usize, estimate: Estimate) -> Sequence {
        let relative = || RELATIVE_TAU * (estimate.variance * self.n_units(sums, challenger).max(1) as f64).sqrt();
        Sequence { alpha: self.alpha, tau: self.measure.expected_difference().unwrap_or_else(relative) }
    }

    /// The smallest difference that is worth a change.
    pub(crate) fn smallest_difference(&self, sums: &[RatioSums]) -> f64 {
        let relative = || sums[0].mean().unwrap_or(0.0).abs() * SMALLEST_PART;
        self.smallest_difference.or(self.measure.smallest_difference()).unwrap_or_else(relative)
    }

    /// The units of one arm that count. Of a value that most units do not have, those that have one: of fewer the mean is not
    /// distributed as the intervals take it to be.
    fn units(&self, sums: &RatioSums) -> u64 {
        if self.measure == Measure::Value { sums.n_nonzero() } else { sums.n_units() }
    }
}
