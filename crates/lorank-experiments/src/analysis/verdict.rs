//! What to do now, in one sentence.

use std::fmt;

use serde::Serialize;

use super::path::{Change, Decision};
use super::rules::Rules;
use super::sequence::{Estimate, Interval, Sequence};
use super::{Measure, SampleRatio, Scope};
use crate::format::with_separators;

/// What the data says to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing: units do not arrive in the arms as weighted, so no number can be believed.
    FixSampleRatio {
        /// How often so uneven a split would be seen if all were well.
        p_value: f64,
        /// What is split unevenly.
        of: Scope,
    },
    /// Find out what changed, and begin anew: an arm's effect did not stay as it was, so there is no one number to decide by.
    Changed {
        /// The arm's name.
        arm: String,
        /// What was measured.
        measure: Measure,
        /// The units until the change, over all arms.
        n_units: u64,
        /// How the arm differed from the control until then.
        before: Interval,
        /// How it differs among the units since.
        since: Interval,
    },
    /// Look at these guardrails first: the arm is better than the control in the measure that decides, and something speaks against
    /// it.
    CheckGuardrails {
        /// The arm's name.
        arm: String,
        /// The control's name.
        control: String,
        /// What it is better by.
        measure: Measure,
        /// By how much.
        by: Interval,
        /// What speaks against it.
        guardrails: Vec<Guardrail>,
    },
    /// Ship this arm: it is better than the control, and was found to be so first. Another that is better too takes its place only
    /// when the whole of its interval lies above.
    Ship {
        /// The arm's name.
        arm: String,
        /// The control's name.
        control: String,
        /// What it is better by.
        measure: Measure,
        /// By how much.
        by: Interval,
        /// The other arms that are better than the control, and that the data does not tell from this one.
        also_better: Vec<String>,
    },
    /// Nothing: the arm serves the control's own version (A/A), so that its difference is a false alarm, or a fault of the assignment
    /// or the events.
    SameVersion {
        /// The arm's name.
        arm: String,
        /// The control's name.
        control: String,
        /// What differs.
        measure: Measure,
        /// By how much.
        by: Interval,
    },
    /// Ship what you like: interleaved, every other arm ranked the same hits in the same order as the control for each answer.
    SameAnswers {
        /// The control's name.
        control: String,
        /// How many answers that were.
        n_answers: u64,
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
    /// Keep what there is, or begin anew: the experiment is over, and has decided nothing.
    EndedUndecided {
        /// What was missing.
        reason: Wait,
    },
}

/// Something that speaks against an arm that is better in the measure that decides.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "guardrail", rename_all = "kebab-case")]
pub enum Guardrail {
    /// At least half of the arm's answers were in first-stage order: it was mostly not itself that was measured.
    Fallbacks {
        /// Their share.
        share: f64,
    },
    /// At least half of the interleaved answers had no hit of the arm, or none of the control.
    OneArmMissing {
        /// Their share.
        share: f64,
    },
    /// Nineteen in twenty answers take at least twice as long as the control's, and at least 100 ms longer.
    Latency {
        /// In milliseconds, of the arm.
        p95_millis: f64,
        /// In milliseconds, of the control.
        control_p95_millis: f64,
    },
    /// More than one version served the arm, or the control: it is not known whose difference was measured.
    Versions {
        /// The arm that they served.
        arm: String,
        /// How many they were.
        n_versions: usize,
    },
    /// Another measure is worse than the control's.
    Worse {
        /// What was measured.
        measure: Measure,
        /// How the arm differs.
        by: Interval,
    },
    /// More answers were left without a click than the control's.
    Abandonment {
        /// By so many.
        by: Interval,
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
    /// Whether it serves the control's version.
    pub serves_control: bool,
    /// The number of interleaved answers, where it ranked the same as the control for all of them.
    pub n_same_answers: Option<u64>,
    /// Its difference to the control, where a larger value is a better one; so is the interval.
    pub difference: Option<Estimate>,
    /// What makes an interval of the difference.
    pub sequence: Option<Sequence>,
    /// What the intervals of all looks have in common.
    pub interval: Option<Interval>,
    /// What that came to say first.
    pub decision: Option<Decision>,
}

/// All that a verdict rests on.
pub(crate) struct Evidence<'a> {
    pub control: &'a str,
    pub contenders: Vec<Contender<'a>>,
    pub rules: &'a Rules,
    pub smallest_difference: f64,
    pub n_units_min: u64,
    /// The units so far, over all arms.
    pub n_units: u64,
    /// How many of them a day.
    pub daily: Option<f64>,
    /// The contender that is recommended, counted from 0.
    pub leader: Option<usize>,
    /// The effect that did not stay as it was.
    pub change: Option<Change>,
    /// What speaks against the contender of this place, counted from 1.
    pub guardrails: &'a dyn Fn(usize) -> Vec<Guardrail>,
    /// Whether no more units will come.
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
            None => self.too_few(n_units),
        }
    }

    /// The number of answers, if no arm ever ranked other than the control and there are enough of them to say so.
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

    /// The contenders that are better than the control too, and not known to be worse than the leader.
    fn also_better(&self, leader: usize, by: Interval) -> Vec<String> {
        let others = self.contenders.iter().enumerate().filter(|(n, other)| {
            *n != leader
                && other.decision == Some(Decision::Better)
                && other.interval.is_some_and(|interval| interval.high >= by.low)
        });
        others.map(|(_, other)| other.arm.to_owned()).collect()
    }

    fn too_few(&self, n_units: u64) -> Verdict {
        let n_units_min = self.n_units_min;
        let factor = n_units_min as f64 / n_units as f64;
        self.wait(Wait::TooFewUnits { n_units_min, n_units }, factor)
    }

    /// No decision; with the forecast for data that grows by this factor while there is more to come.
    fn wait(&self, reason: Wait, growth: f64) -> Verdict {
        if self.is_over {
            return Verdict::EndedUndecided { reason };
        }
        Verdict::NotYet { reason, forecast: self.forecast(growth) }
    }

    fn undecided(&self, arm: &str, difference: Interval, differences: &[Estimate]) -> Verdict {
        let sequences = self.contenders.iter().filter_map(|contender| contender.sequence);
        let factors = differences.iter().zip(sequences).map(|(found, sequence)| self.growth(*found, sequence));
        // One arm that turns out better ends the experiment; so does the last that turns out not to be.
        let ships = differences
            .iter()
            .zip(factors.clone())
            .filter(|(found, _)| found.value > self.smallest_difference && self.is_an_effect(**found));
        let ship = ships.map(|(_, factor)| factor).reduce(f64::min);
        let factor = ship.or_else(|| factors.reduce(f64::max)).unwrap_or(f64::INFINITY);
        let reason = Wait::Undecided { arm: arm.to_owned(), measure: self.rules.measure, difference };
        self.wait(reason, factor)
    }

    /// How many times the data it takes until an interval around this estimate excludes zero, or all differences that matter. An
    /// estimate within two standard errors of zero says nothing of an effect, and is taken for zero.
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
        // Beyond that the number would only pretend to know.
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
                    Scope::Day => ("units", ", on one day at least"),
                    Scope::Queries => ("queries", ""),
                };
                write!(
                    f,
                    "no verdict: {what} do not arrive in the arms as weighted{when} (p = {p_value:.1e}), so something loses or adds some \
                     of them; find out what before you believe any number here"
                )
            }
            Self::Changed { arm, measure, n_units, before, since } => write!(
                f,
                "no verdict: the effect of `{arm}` changed; its {measure} differed by {} until {} units had come, and by {} since; \
                 find out what changed, and start a new experiment",
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
                    1 => write!(f, "; {} is {side} it too, and the data does not tell the two apart", others[0]),
                    _ => write!(f, "; {} are {side} it too, and the data does not tell them apart", others.join(", ")),
                }
            }
            Self::SameVersion { arm, control, measure, by } => write!(
                f,
                "A/A: `{arm}` serves the same version as `{control}`, and still its {measure} differs by {}: a false alarm, or a \
                 fault of the assignment or the events; there is nothing to ship",
                measure.interval(*by)
            ),
            Self::SameAnswers { control, n_answers } => write!(
                f,
                "no difference: for all {} answers the arms ranked the same hits in the same order as `{control}`; ship what costs less",
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
                    "no difference larger than {} in {measure}: ship what costs less",
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

/// By how much an arm is better, in words.
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
                write!(f, "{:.0} % of the answers had hits of one of the two alone", share * 100.0)
            }
            Self::Latency { p95_millis, control_p95_millis } => {
                write!(f, "95 % of its answers take up to {p95_millis:.0} ms, against {control_p95_millis:.0} ms")
            }
            Self::Worse { measure, by } => {
                write!(f, "its {measure} is worse than the control's, by {}", measure.interval(*by))
            }
            Self::Versions { arm, n_versions } => {
                write!(f, "`{arm}` was served by {n_versions} versions, and not by one from start to end")
            }
            Self::Abandonment { by } => {
                write!(f, "more of its answers get no click, by {}", Measure::ClickThrough.interval(*by))
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
