//! What to do now, in one sentence.

use std::fmt;

use serde::Serialize;

use super::sequence::{Estimate, Interval, Sequence};
use super::{Measure, SampleRatio};
use crate::format::with_separators;

/// What the data says to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing: units do not arrive in the arms as weighted, so no number can be believed.
    FixSampleRatio {
        /// How often so uneven a split would be seen if all were well.
        p_value: f64,
    },
    /// Ship this arm: it is better than the control, and no arm that is too has a higher estimate.
    Ship {
        /// The arm's name.
        arm: String,
        /// The control's name.
        control: String,
        /// What it is better by.
        measure: Measure,
        /// By how much.
        by: Interval,
    },
    /// Keep the control: every other arm is worse.
    Keep {
        /// The control's name.
        control: String,
        /// What they are worse by.
        measure: Measure,
        /// How the best of them differs.
        best: Interval,
    },
    /// Ship what you like: no arm is better than the control by more than this, and not all are worse.
    NoDifference {
        /// What was measured.
        measure: Measure,
        /// The largest difference that is still possible is not larger than this.
        larger_than: f64,
    },
    /// Wait.
    NotYet {
        /// For what.
        reason: Wait,
        /// How long, if the data goes on as it does.
        forecast: Option<Forecast>,
    },
}

/// Why there is no decision yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// An arm has fewer units than are needed to trust any interval.
    TooFewUnits {
        /// How many each arm needs; interleaved, how many with an answer that one arm won.
        n_units_min: u64,
        /// How many the smallest arm has.
        n_units: u64,
    },
    /// The interval still holds both no difference and one that matters.
    Undecided {
        /// The arm that keeps it open longest.
        arm: String,
        /// What was measured.
        measure: Measure,
        /// How it differs from the control, as far as is known.
        difference: Interval,
    },
}

/// How much more data is likely to decide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// How many units more, over all arms.
    pub n_units: u64,
    /// How many days that is at the rate so far.
    pub days: Option<f64>,
}

/// An arm that is compared with the control.
pub(crate) struct Contender<'a> {
    pub arm: &'a str,
    /// The units that its comparison rests on: of the smaller of the two arms.
    pub n_units: u64,
    pub difference: Option<Estimate>,
}

/// All that a verdict rests on.
pub(crate) struct Evidence<'a> {
    pub control: &'a str,
    pub contenders: Vec<Contender<'a>>,
    pub measure: Measure,
    pub sequence: Sequence,
    pub smallest_difference: f64,
    pub n_units_min: u64,
    /// The units so far, over all arms.
    pub n_units: u64,
    /// How many of them a day.
    pub daily: Option<f64>,
}

impl Evidence<'_> {
    pub(crate) fn verdict(&self, ratio: Option<&SampleRatio>) -> Verdict {
        if let Some(ratio) = ratio.filter(|ratio| ratio.is_mismatch) {
            return Verdict::FixSampleRatio { p_value: ratio.p_value };
        }
        let n_units = self.contenders.iter().map(|contender| contender.n_units).min().unwrap_or(0);
        let known: Option<Vec<Estimate>> = self.contenders.iter().map(|contender| contender.difference).collect();
        match known.filter(|_| n_units >= self.n_units_min) {
            Some(differences) => self.decide(&differences),
            None => self.too_few(n_units),
        }
    }

    fn decide(&self, differences: &[Estimate]) -> Verdict {
        let intervals: Vec<Interval> = differences.iter().map(|found| self.sequence.interval(*found)).collect();
        let (measure, control) = (self.measure, self.control.to_owned());
        let best = |among: &dyn Fn(&Interval) -> bool| {
            let among = self.contenders.iter().zip(&intervals).filter(|(_, interval)| among(interval));
            among
                .max_by(|a, b| a.1.estimate.total_cmp(&b.1.estimate))
                .map(|(contender, interval)| (contender.arm, *interval))
        };
        if let Some((arm, by)) = best(&|interval| interval.low > 0.0) {
            return Verdict::Ship { arm: arm.to_owned(), control, measure, by };
        }
        let x = self.smallest_difference;
        let is_small = |interval: &Interval| interval.low >= -x && interval.high <= x;
        let is_worse = |interval: &Interval| interval.high < 0.0;
        match best(&|interval| !is_worse(interval) && !is_small(interval)) {
            Some((arm, difference)) => self.undecided(arm, difference, differences),
            None => match best(&|interval| !is_worse(interval)) {
                Some(_) => Verdict::NoDifference { measure, larger_than: x },
                None => {
                    Verdict::Keep { control, measure, best: best(&|_| true).map_or(intervals[0], |(_, best)| best) }
                }
            },
        }
    }

    fn too_few(&self, n_units: u64) -> Verdict {
        let n_units_min = self.n_units_min;
        let factor = n_units_min as f64 / n_units as f64;
        Verdict::NotYet { reason: Wait::TooFewUnits { n_units_min, n_units }, forecast: self.forecast(factor) }
    }

    fn undecided(&self, arm: &str, difference: Interval, differences: &[Estimate]) -> Verdict {
        let factors = differences.iter().map(|found| self.growth(*found));
        // One arm that turns out better ends the experiment; so does the last that turns out not to be.
        let ships = differences.iter().zip(factors.clone()).filter(|(found, _)| found.value > self.smallest_difference);
        let ship = ships.map(|(_, factor)| factor).reduce(f64::min);
        let factor = ship.or_else(|| factors.reduce(f64::max)).unwrap_or(f64::INFINITY);
        let reason = Wait::Undecided { arm: arm.to_owned(), measure: self.measure, difference };
        Verdict::NotYet { reason, forecast: self.forecast(factor) }
    }

    /// How many times the data it takes until an interval around this estimate excludes zero, or all differences that matter.
    fn growth(&self, found: Estimate) -> f64 {
        let to_zero = found.value.abs();
        let to_smallest = self.smallest_difference - to_zero;
        found.variance / self.sequence.variance_at(to_zero.max(to_smallest))
    }

    fn forecast(&self, growth: f64) -> Option<Forecast> {
        let more = self.n_units as f64 * (growth - 1.0).max(0.0);
        let n_units = more.ceil().max(1.0);
        // Beyond that the number would only pretend to know.
        let is_known = more.is_finite() && n_units < 1e12;
        is_known.then(|| Forecast { n_units: n_units as u64, days: self.daily.map(|daily| n_units / daily) })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FixSampleRatio { p_value } => write!(
                f,
                "no verdict: units do not arrive in the arms as weighted (p = {p_value:.1e}), so something loses or adds some of them; \
                 find out what before you believe any number here"
            ),
            Self::Ship { arm, control, measure, by } => {
                write!(f, "ship `{arm}`: its {measure} is above that of `{control}` by {}", measure.interval(*by))
            }
            Self::Keep { control, measure, best } => {
                write!(
                    f,
                    "keep `{control}`: the {measure} of the others is lower, the best differs by {}",
                    measure.interval(*best)
                )
            }
            Self::NoDifference { measure, larger_than } => {
                write!(
                    f,
                    "no difference larger than {} in {measure}: ship what costs less",
                    measure.difference(*larger_than)
                )
            }
            Self::NotYet { reason, forecast } => {
                write!(f, "not yet: {reason}")?;
                forecast.map_or(Ok(()), |forecast| write!(f, "; {forecast}"))
            }
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewUnits { n_units_min, n_units } => {
                write!(f, "{n_units_min} units are needed in each comparison, and the smallest has {n_units}")
            }
            Self::Undecided { arm, measure, difference } => {
                write!(
                    f,
                    "the {measure} of `{arm}` differs by {}, too wide an interval to tell something from nothing",
                    measure.interval(*difference)
                )
            }
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two digits are more than is known.
        let magnitude = 10u64.pow(self.n_units.max(1).ilog10().saturating_sub(1));
        write!(f, "about {} more units", with_separators(self.n_units.div_ceil(magnitude) * magnitude))?;
        match self.days {
            Some(days) if days >= 1.0 => write!(f, ", some {days:.0} days at the rate so far"),
            Some(_) => write!(f, ", less than a day at the rate so far"),
            None => Ok(()),
        }
    }
}
