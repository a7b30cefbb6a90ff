//! Verdicts, and their sentences.

use std::fmt;

use serde::Serialize;

use super::path::{Change, Decision};
use super::rules::Rules;
use super::sequence::{Estimate, Interval, Sequence};
use super::{Measure, SampleRatio, Scope};
use crate::format::with_separators;

/// The recommendation of an analysis.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Verdict {
    /// No verdict, because of a sample ratio mismatch.
    FixSampleRatio {
        /// The probability of such an uneven split if there is no mismatch.
        p_value: f64,
        /// The test that found the mismatch.
        of: Scope,
    },
    /// No verdict, because the effect of an arm changed over time. The cause should be found, and a new experiment started.
    Changed {
        /// The name of the arm.
        arm: String,
        /// The measure.
        measure: Measure,
        /// The number of units before the change, over all arms.
        n_units: u64,
        /// The difference to the control before the change.
        before: Interval,
        /// The difference among later units.
        since: Interval,
    },
    /// The arm is better than the control in the primary measure, but violates guardrails, which should be checked first.
    CheckGuardrails {
        /// The name of the arm.
        arm: String,
        /// The name of the control.
        control: String,
        /// The primary measure.
        measure: Measure,
        /// The difference.
        by: Interval,
        /// The violated guardrails.
        guardrails: Vec<Guardrail>,
    },
    /// Ship this arm: it was the first that was found to be better than the control. Another better arm replaces it only when its
    /// whole interval is above.
    Ship {
        /// The name of the arm.
        arm: String,
        /// The name of the control.
        control: String,
        /// The primary measure.
        measure: Measure,
        /// The difference.
        by: Interval,
        /// Other arms that are better than the control and not significantly different from this one.
        also_better: Vec<String>,
    },
    /// The arm uses the control's version (A/A), so the difference is a false positive, or a fault of the assignment or the events.
    SameVersion {
        /// The name of the arm.
        arm: String,
        /// The name of the control.
        control: String,
        /// The measure with the difference.
        measure: Measure,
        /// The difference.
        by: Interval,
    },
    /// No difference: in interleaved answers, all arms ranked the same hits in the same order as the control.
    SameAnswers {
        /// The name of the control.
        control: String,
        /// The number of answers.
        n_answers: u64,
    },
    /// Keep the control: every other arm is worse.
    Keep {
        /// The name of the control.
        control: String,
        /// The primary measure.
        measure: Measure,
        /// The difference of the best of them.
        best: Interval,
    },
    /// No relevant difference: no arm is better than the control by more than this, and not all are worse.
    NoDifference {
        /// The measure.
        measure: Measure,
        /// The largest difference that is still possible.
        larger_than: f64,
    },
    /// No decision yet.
    NotYet {
        /// The reason.
        reason: Wait,
        /// The expected amount of further data.
        forecast: Option<Forecast>,
    },
    /// The experiment ended without a decision.
    EndedUndecided {
        /// The reason.
        reason: Wait,
    },
}

/// A guardrail that an arm violates.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "guardrail", rename_all = "kebab-case")]
pub enum Guardrail {
    /// At least half of the arm's answers were in first-stage order.
    Fallbacks {
        /// The share of these answers.
        share: f64,
    },
    /// At least half of the interleaved answers had no hit of the arm or none of the control.
    OneArmMissing {
        /// The share of these answers.
        share: f64,
    },
    /// The 95th percentile of the latency is at least twice that of the control, and at least 100 ms higher.
    Latency {
        /// The arm's 95th percentile in milliseconds.
        p95_millis: f64,
        /// The control's 95th percentile in milliseconds.
        control_p95_millis: f64,
    },
    /// The arm or the control had more than one version, so it is unclear which of them caused the difference.
    Versions {
        /// The arm with several versions.
        arm: String,
        /// The number of versions.
        n_versions: usize,
    },
    /// Another measure is worse than the control's.
    Worse {
        /// The measure.
        measure: Measure,
        /// The difference of the arm.
        by: Interval,
    },
    /// More answers than the control's had no click.
    Abandonment {
        /// The difference.
        by: Interval,
    },
}

/// The reason for which there is no decision yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// An arm has too few units for reliable intervals.
    TooFewUnits {
        /// The minimum number of units per arm; for interleaved answers, of units with an answer that one arm won.
        n_units_min: u64,
        /// The number of units of the smallest arm.
        n_units: u64,
        /// The measure. Units without it do not count.
        measure: Measure,
    },
    /// All units have the same value, so the variance is unknown.
    NoVariation {
        /// The measure.
        measure: Measure,
    },
    /// The interval still includes both zero and relevant differences.
    Undecided {
        /// The arm that is expected to be undecided for longest.
        arm: String,
        /// The measure.
        measure: Measure,
        /// The difference to the control so far.
        difference: Interval,
    },
}

/// The expected amount of further data until a decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// The number of further units, over all arms.
    pub n_units: u64,
    /// The number of days at the rate so far.
    pub days: Option<f64>,
}

/// An arm that is compared with the control.
pub(crate) struct Contender<'a> {
    pub arm: &'a str,
    /// The number of units of the smaller of the two arms.
    pub n_units: u64,
    /// Whether it uses the control's version.
    pub serves_control: bool,
    /// The number of interleaved answers, if it ranked all of them as the control did.
    pub n_same_answers: Option<u64>,
    /// The difference to the control, with the sign chosen so that larger values are better; the same for the interval.
    pub difference: Option<Estimate>,
    /// The confidence sequence of the difference.
    pub sequence: Option<Sequence>,
    /// The intersection of the intervals of all looks.
    pub interval: Option<Interval>,
    /// The first decision of that interval.
    pub decision: Option<Decision>,
}

/// The input of a verdict.
pub(crate) struct Evidence<'a> {
    pub control: &'a str,
    pub contenders: Vec<Contender<'a>>,
    pub rules: &'a Rules,
    pub smallest_difference: f64,
    pub n_units_min: u64,
    /// The number of units so far, over all arms.
    pub n_units: u64,
    /// The number of units per day.
    pub daily: Option<f64>,
    /// The index of the recommended contender, from 0.
    pub leader: Option<usize>,
    /// The changed effect, if any.
    pub change: Option<Change>,
    /// The guardrails that a contender violates, by its number from 1.
    pub guardrails: &'a dyn Fn(usize) -> Vec<Guardrail>,
    /// Whether there will be no more units.
    pub is_over: bool,
}

impl Evidence<'_> {
    pub(crate) fn verdict(&self, ratio: Option<&SampleRatio>) -> Verdict {
        if let Some(ratio) = ratio.filter(|ratio| ratio.is_mismatch) {
            return Verdict::FixSampleRatio { p_value: ratio.p_value, of: ratio.least_even };
        }
        if let Some(Change { challenger, n_units, before, since }) = self.change {
            let arm = self.contenders[challenger].arm.to_owned();
            return Verdict::Changed { arm, measure: self.rules.measure, n_units, before, since };
        }
        if let Some(n_answers) = self.n_same_answers() {
            return Verdict::SameAnswers { control: self.control.to_owned(), n_answers };
        }
        let n_units = self.contenders.iter().map(|contender| contender.n_units).min().unwrap_or(0);
        let known = self.contenders.iter().map(|contender| contender.difference.zip(contender.interval));
        match known.collect::<Option<Vec<(Estimate, Interval)>>>().filter(|_| n_units >= self.n_units_min) {
            Some(known) => {
                let (differences, intervals): (Vec<Estimate>, Vec<Interval>) = known.into_iter().unzip();
                self.decide(&differences, &intervals)
            }
            None if n_units >= self.n_units_min => {
                self.wait_without_forecast(Wait::NoVariation { measure: self.rules.measure })
            }
            None => self.too_few(n_units),
        }
    }

    /// The number of answers, if all arms ranked all of them as the control did and there are enough of them.
    fn n_same_answers(&self) -> Option<u64> {
        let n_answers = self.contenders.iter().map(|contender| contender.n_same_answers);
        n_answers.min().flatten().filter(|n_answers| *n_answers >= self.n_units_min)
    }

    fn decide(&self, differences: &[Estimate], intervals: &[Interval]) -> Verdict {
        let (measure, control) = (self.rules.measure, self.control.to_owned());
        let turned = |interval: Interval| self.rules.turned(interval);
        let best = |among: &dyn Fn(Option<Decision>) -> bool| {
            let among =
                (1..).zip(&self.contenders).zip(intervals).filter(|((_, contender), _)| among(contender.decision));
            among
                .max_by(|a, b| a.1.estimate.total_cmp(&b.1.estimate))
                .map(|((place, contender), interval)| (place, contender.arm, *interval))
        };
        if let Some(leader) = self.leader {
            let (place, by) = (leader + 1, turned(intervals[leader]));
            let (arm, guardrails) = (self.contenders[leader].arm.to_owned(), (self.guardrails)(place));
            return match guardrails.is_empty() {
                _ if self.contenders[place - 1].serves_control => Verdict::SameVersion { arm, control, measure, by },
                true => Verdict::Ship {
                    arm,
                    control,
                    measure,
                    by,
                    also_better: self.also_better(leader, intervals[leader]),
                },
                false => Verdict::CheckGuardrails { arm, control, measure, by, guardrails },
            };
        }
        if let Some((_, arm, difference)) = best(&|decision| decision.is_none()) {
            return self.undecided(arm, turned(difference), differences);
        }
        match best(&|decision| decision == Some(Decision::Alike)) {
            Some(_) => Verdict::NoDifference { measure, larger_than: self.smallest_difference },
            None => {
                let (place, arm, by) = best(&|_| true).unwrap_or((1, self.contenders[0].arm, intervals[0]));
                let by = turned(by);
                match self.contenders[place - 1].serves_control {
                    true => Verdict::SameVersion { arm: arm.to_owned(), control, measure, by },
                    false => Verdict::Keep { control, measure, best: by },
                }
            }
        }
    }

    /// The other contenders that are better than the control and not significantly worse than the leader.
    fn also_better(&self, leader: usize, by: Interval) -> Vec<String> {
        let others = self.contenders.iter().enumerate().filter(|(n, other)| {
            *n != leader
                && other.decision == Some(Decision::Better)
                && other.interval.is_some_and(|interval| interval.high >= by.low)
        });
        others.map(|(_, other)| other.arm.to_owned()).collect()
    }

    fn too_few(&self, n_units: u64) -> Verdict {
        let (n_units_min, measure) = (self.n_units_min, self.rules.measure);
        let factor = n_units_min as f64 / n_units as f64;
        self.wait(Wait::TooFewUnits { n_units_min, n_units, measure }, factor)
    }

    fn wait_without_forecast(&self, reason: Wait) -> Verdict {
        match self.is_over {
            true => Verdict::EndedUndecided { reason },
            false => Verdict::NotYet { reason, forecast: None },
        }
    }

    /// No decision, with the forecast for data that grows by this factor if there will be more.
    fn wait(&self, reason: Wait, growth: f64) -> Verdict {
        if self.is_over {
            return Verdict::EndedUndecided { reason };
        }
        Verdict::NotYet { reason, forecast: self.forecast(growth) }
    }

    fn undecided(&self, arm: &str, difference: Interval, differences: &[Estimate]) -> Verdict {
        let sequences = self.contenders.iter().filter_map(|contender| contender.sequence);
        let factors = differences.iter().zip(sequences).map(|(found, sequence)| self.growth(*found, sequence));
        // The experiment ends when one arm is better, or when all are not.
        let ships = differences
            .iter()
            .zip(factors.clone())
            .filter(|(found, _)| found.value > self.smallest_difference && self.is_an_effect(**found));
        let ship = ships.map(|(_, factor)| factor).reduce(f64::min);
        let factor = ship.or_else(|| factors.reduce(f64::max)).unwrap_or(f64::INFINITY);
        let reason = Wait::Undecided { arm: arm.to_owned(), measure: self.rules.measure, difference };
        self.wait(reason, factor)
    }

    /// The factor by which the data must grow until the interval around this estimate excludes zero or all relevant differences. Estimates
    /// within two standard errors of zero count as zero.
    fn growth(&self, found: Estimate, sequence: Sequence) -> f64 {
        let to_zero = if self.is_an_effect(found) { found.value.abs() } else { 0.0 };
        let to_smallest = self.smallest_difference - to_zero;
        found.variance / sequence.variance_at(to_zero.max(to_smallest))
    }

    fn is_an_effect(&self, found: Estimate) -> bool {
        found.value.abs() > 2.0 * found.variance.sqrt()
    }

    fn forecast(&self, growth: f64) -> Option<Forecast> {
        let more = self.n_units as f64 * (growth - 1.0).max(0.0);
        let n_units = more.ceil().max(1.0);
        // Larger forecasts would not be reliable.
        let is_known = more.is_finite() && n_units < 1e12;
        is_known.then(|| Forecast { n_units: n_units as u64, days: self.daily.map(|daily| n_units / daily) })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FixSampleRatio { p_value, of } => {
                let (what, when) = match of {
                    Scope::Units => ("units", ""),
                    Scope::Day => ("units", " of a day"),
                    Scope::Queries => ("queries", ""),
                };
                write!(
                    f,
                    "no verdict: sample ratio mismatch in the {what}{when} (p = {p_value:.1e}): {what} are lost or duplicated; find the \
                                         cause, because all figures of this report are unreliable"
                )
            }
            Self::Changed { arm, measure, n_units, before, since } => write!(
                f,
                "no verdict: the effect of `{arm}` changed; its {measure} differed by {} in the first {} units, and by {} since; \
                                 find the cause, and start a new experiment",
                measure.interval(*before),
                with_separators(*n_units),
                measure.interval(*since)
            ),
            Self::CheckGuardrails { arm, control, measure, by, guardrails } => {
                let reasons: Vec<String> = guardrails.iter().map(Guardrail::to_string).collect();
                write!(
                    f,
                    "check before you ship `{arm}`: its {measure} is {} that of `{control}` by {}, but {}",
                    measure.better_side(),
                    better_by(*measure, *by),
                    reasons.join(", and ")
                )
            }
            Self::Ship { arm, control, measure, by, also_better } => {
                let (side, by) = (measure.better_side(), better_by(*measure, *by));
                write!(f, "ship `{arm}`: its {measure} is {side} that of `{control}` by {by}")?;
                let others: Vec<String> = also_better.iter().map(|arm| format!("`{arm}`")).collect();
                match others.len() {
                    0 => Ok(()),
                    1 => {
                        write!(f, "; {} is {side} it too, without a significant difference between the two", others[0])
                    }
                    _ => write!(
                        f,
                        "; {} are {side} it too, without significant differences between them",
                        others.join(", ")
                    ),
                }
            }
            Self::SameVersion { arm, control, measure, by } => write!(
                f,
                "A/A: `{arm}` uses the same version as `{control}`, but its {measure} differs by {}: a false positive, or a \
                                 fault of the assignment or the events; there is nothing to ship",
                measure.interval(*by)
            ),
            Self::SameAnswers { control, n_answers } => write!(
                f,
                "no difference: in all {} answers, the arms ranked the same hits in the same order as `{control}`; ship the cheaper arm",
                with_separators(*n_answers)
            ),
            Self::Keep { control, measure, best } => {
                write!(
                    f,
                    "keep `{control}`: the {measure} of the others is {}, the best differs by {}",
                    if measure.is_better_lower() { "higher" } else { "lower" },
                    measure.interval(*best)
                )
            }
            Self::NoDifference { measure, larger_than } => {
                write!(
                    f,
                    "no difference larger than {} in {measure}: ship the cheaper arm",
                    measure.difference(*larger_than)
                )
            }
            Self::NotYet { reason, forecast } => {
                write!(f, "not yet: {reason}")?;
                forecast.map_or(Ok(()), |forecast| write!(f, "; {forecast}"))
            }
            Self::EndedUndecided { reason } => write!(f, "ended without a decision: {reason}"),
        }
    }
}

/// The size of an improvement as text.
fn better_by(measure: Measure, by: Interval) -> String {
    let Interval { estimate, low, high } = by;
    let size = Interval { estimate: -estimate, low: -high, high: -low };
    measure.interval(if measure.is_better_lower() { size } else { by })
}

impl fmt::Display for Guardrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fallbacks { share } => {
                write!(f, "{:.0} % of its answers fell back to first-stage order", share * 100.0)
            }
            Self::OneArmMissing { share } => {
                write!(f, "{:.0} % of the answers had hits of only one of the two", share * 100.0)
            }
            Self::Latency { p95_millis, control_p95_millis } => {
                write!(
                    f,
                    "its 95th percentile latency is {p95_millis:.0} ms, that of the control {control_p95_millis:.0} ms"
                )
            }
            Self::Worse { measure, by } => {
                write!(f, "its {measure} is worse than the control's, by {}", measure.interval(*by))
            }
            Self::Versions { arm, n_versions } => {
                write!(f, "`{arm}` had {n_versions} versions during the experiment")
            }
            Self::Abandonment { by } => {
                write!(f, "more of its answers have no click, by {}", Measure::ClickThrough.interval(*by))
            }
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewUnits { n_units_min, n_units, measure } => {
                let with = match measure {
                    Measure::Value => " with a value",
                    Measure::TimeToFirstClick => " with a click",
                    Measure::Ndcg => " with a judged query",
                    _ => "",
                };
                write!(f, "each comparison needs {n_units_min} units{with}, and the smallest has {n_units}")
            }
            Self::NoVariation { measure } => {
                write!(f, "the {measure} is the same for all units so far, so its variance is unknown")
            }
            Self::Undecided { arm, measure, difference } => {
                write!(
                    f,
                    "the {measure} of `{arm}` differs by {}; the interval includes both zero and relevant differences",
                    measure.interval(*difference)
                )
            }
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // More than two digits would be too precise.
        let magnitude = 10u64.pow(self.n_units.max(1).ilog10().saturating_sub(1));
        let n_units = self.n_units.div_ceil(magnitude) * magnitude;
        let plural = |is_one: bool| if is_one { "" } else { "s" };
        write!(f, "about {} more unit{}", with_separators(n_units), plural(n_units == 1))?;
        match self.days {
            Some(days) if days >= 1.0 => {
                write!(f, ", about {days:.0} day{} at the rate so far", plural(days < 1.5))
            }
            Some(_) => write!(f, ", less than a day at the rate so far"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forecasts_are_rounded_and_in_the_singular_or_plural() {
        for (n_units, days, expected) in [
            (1, None, "about 1 more unit"),
            (2, Some(0.5), "about 2 more units, less than a day at the rate so far"),
            (347, Some(1.2), "about 350 more units, about 1 day at the rate so far"),
            (100_001, Some(1.5), "about 110,000 more units, about 2 days at the rate so far"),
        ] {
            assert_eq!(Forecast { n_units, days }.to_string(), expected);
        }
    }
}
