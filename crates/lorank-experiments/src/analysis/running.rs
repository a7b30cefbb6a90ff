//! The running analysis of one experiment.

use std::collections::HashMap;

use super::measure::{ANSWER_MEASURES, Measure, answer_parts};
use super::mismatch::MismatchTest;
use super::path::Path;
use super::rules::Rules;
use super::sequence::{Part, RatioSums, fixed, from_fixed};
use super::tally::{Counting, Duel, Outcome, Tally};
use super::unit::{self, Unit};
use super::versions::Versions;
use crate::{ArmRanking, Experiment, ExperimentState, Method, NO_TEAM, QueryRecord, credits};

/// The options of an analysis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnalysisOptions {
    /// The maximum probability of a false positive over all looks and comparisons of an experiment.
    pub alpha: f64,
    /// The smallest relevant difference. `None` for one percentage point, 0.01 of a reciprocal rank or of nDCG, five points of
    /// preference, or 2 % of the control's value or time.
    pub smallest_difference: Option<f64>,
    /// The minimum number of units in the smaller arm of a comparison, because the intervals use the central limit theorem.
    pub n_units_min: u64,
    /// The maximum probability of a false positive of the tests for a sample ratio mismatch.
    pub mismatch_alpha: f64,
}

impl Default for AnalysisOptions {
    fn default() -> Self {
        Self { alpha: 0.05, smallest_difference: None, n_units_min: 30, mismatch_alpha: 0.01 }
    }
}

/// The running analysis of one experiment.
///
/// Records should be added in the order of their time. They are not stored: memory grows with the number of units, and with the looks at
/// which units returned. Records that change later (by a late click or a further page) are [revised](Analysis::revise), with the same
/// result as if they had been complete from the start.
#[derive(Debug, Clone)]
pub struct Analysis {
    pub(super) experiment: Experiment,
    pub(super) options: AnalysisOptions,
    units: HashMap<u128, Unit>,
    /// For split traffic, the measures of each arm; for interleaved answers, the preference of each challenger.
    pub(super) sums: Vec<RatioSums>,
    pub(super) mismatch: MismatchTest,
    /// The looks at the primary measure.
    pub(super) path: Path,
    /// The index of the last record before each look.
    look_places: Vec<u64>,
    place: u64,
    pub(super) is_over: bool,
    /// One per arm; only one for interleaved answers.
    pub(super) tallies: Vec<Tally>,
    pub(super) duels: Vec<Duel>,
    /// The models that ranked for each arm.
    pub(super) versions: Vec<Versions>,
    /// The credit of each arm in fixed point.
    credits: Vec<i64>,
    pub(super) n_inconsistent: u64,
    pub(super) first_millis: i64,
    pub(super) last_millis: i64,
}

impl Analysis {
    /// An analysis without records.
    ///
    /// # Panics
    /// If the experiment has fewer than two arms.
    pub fn new(experiment: &Experiment, options: AnalysisOptions) -> Self {
        let n_arms = experiment.arms.len();
        assert!(n_arms >= 2, "experiment `{}` has {n_arms} arms, and a comparison takes two", experiment.id);
        let (n_sums, n_deciding, n_tallies, measure) = match experiment.method {
            Method::Split => (n_arms * ANSWER_MEASURES.len(), n_arms, n_arms, experiment.primary_measure.into()),
            Method::Interleave => (n_arms - 1, n_arms - 1, 1, Measure::Preference),
        };
        Self {
            path: Path::new(rules(experiment, options, measure), n_arms - 1, n_deciding),
            experiment: experiment.clone(),
            options,
            units: HashMap::new(),
            sums: vec![RatioSums::default(); n_sums],
            mismatch: MismatchTest::new(experiment.arms.iter().map(|arm| arm.weight.get())),
            look_places: Vec::new(),
            place: 0,
            is_over: experiment.state == ExperimentState::Stopped,
            tallies: vec![Tally::default(); n_tallies],
            duels: vec![Duel::default(); n_arms - 1],
            versions: vec![Versions::default(); n_arms],
            credits: vec![0; n_arms],
            n_inconsistent: 0,
            first_millis: i64::MAX,
            last_millis: i64::MIN,
        }
    }

    /// Marks that there will be no more records, so that the verdict is final and has no forecast. Stopped experiments are marked
    /// from the start.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// The number of units.
    pub fn n_units(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.n_units).sum()
    }

    /// Adds an answer with its clicks after the previous ones.
    pub fn add(&mut self, record: &QueryRecord) {
        self.add_at(self.place + 1, record);
    }

    /// Adds an answer with its clicks under an increasing number of the caller, by which it can be revised.
    pub fn add_at(&mut self, place: u64, record: &QueryRecord) {
        self.place = self.place.max(place);
        let arm = self.arm_of(record);
        let Some(tally) = self.tallies.get_mut(arm) else {
            self.n_inconsistent += 1;
            return;
        };
        if record.forced {
            tally.n_forced += 1;
            return;
        }
        let key = unit::key(&record.unit);
        let is_new = match self.units.get(&key) {
            Some(unit) if unit.arm != arm => {
                self.n_inconsistent += 1;
                return;
            }
            known => known.is_none(),
        };
        tally.add(record, is_new);
        self.add_versions(record, arm);
        self.first_millis = self.first_millis.min(record.at_millis);
        self.last_millis = self.last_millis.max(record.at_millis);
        if is_new {
            self.mismatch.add_unit(arm, record.at_millis);
            let block = self.path.block(self.n_units());
            let (past, n_parts) = (record.past.map_or(0, fixed), self.n_parts());
            self.units.insert(key, Unit::new(arm, block, past, n_parts));
        }
        if self.is_split() {
            self.mismatch.add_query(arm, self.units.get(&key).map_or(0.0, |unit| from_fixed(unit.parts[0].n)));
        }
        let parts = self.count(record, Counting::Add);
        self.add_parts(key, self.path.n_looks(), &parts);
        if is_new {
            self.path.observe(self.n_units(), record.at_millis);
            self.look_places.resize(self.path.n_looks(), self.place);
        }
    }

    /// Replaces an answer's clicks, values, judgments and pages. Its unit, arm, latency and time must not change.
    pub fn revise(&mut self, place: u64, old: &QueryRecord, new: &QueryRecord) {
        let (arm, key) = (self.arm_of(old), unit::key(&old.unit));
        if old.forced || arm >= self.tallies.len() || self.units.get(&key).is_none_or(|unit| unit.arm != arm) {
            return;
        }
        self.tallies[arm].count(old, Counting::TakeBack);
        self.tallies[arm].count(new, Counting::Add);
        let (old, new) = (self.count(old, Counting::TakeBack), self.count(new, Counting::Add));
        let more: Vec<Part> = new.into_iter().zip(old).map(|(new, old)| new - old).collect();
        if more.iter().any(|part| *part != Part::default()) {
            let look = self.look_places.partition_point(|last| *last < place);
            self.add_parts(key, look, &more);
        }
    }

    /// Recomputes revised looks, so that reports are fast.
    pub fn settle(&mut self) {
        self.path.settle();
    }

    /// Updates the properties of an experiment that can change: its state, times, share and pinned versions.
    pub fn follow(&mut self, experiment: &Experiment) {
        self.experiment = experiment.clone();
        self.is_over = experiment.state == ExperimentState::Stopped;
    }

    /// Adds to a unit's contribution, starting at a look.
    fn add_parts(&mut self, key: u128, look: usize, more: &[Part]) {
        let (is_split, deciding) = (self.is_split(), self.deciding());
        let Some(unit) = self.units.get_mut(&key) else { return };
        let (arm, block, past) = (unit.arm, unit.block, unit.past);
        let first = if is_split { arm * ANSWER_MEASURES.len() } else { 0 };
        // Only values are known from a unit's past.
        let past_of = |n: usize| if is_split && ANSWER_MEASURES[n] == Measure::Value { past } else { 0 };
        let sums_of = |n: usize| if is_split { arm } else { n };
        for (n, (part, more)) in unit.parts.iter_mut().zip(more).enumerate() {
            let (old, new) = (*part, *part + *more);
            self.sums[first + n].replace_with(old, new, past_of(n));
            if deciding.contains(&n) {
                self.path.replace(block, sums_of(n), old, new, past_of(n));
            }
            *part = new;
        }
        for at in look..self.path.n_looks() {
            let before = unit.at(at);
            for n in deciding.clone() {
                let old = before.map_or(Part::default(), |parts| parts[n - deciding.start]);
                self.path.revise(at, block, sums_of(n), old, old + more[n], past_of(n));
            }
        }
        unit.add_from(look, &more[deciding]);
    }

    /// Counts an answer's credit and versions, and returns its contribution to its unit.
    fn count(&mut self, record: &QueryRecord, counting: Counting) -> Vec<Part> {
        if self.is_split() {
            return answer_parts(record).to_vec();
        }
        let credits = credits(&record.teams, &record.clicks, self.experiment.arms.len());
        let sign = counting as i64;
        self.credits.iter_mut().zip(&credits).for_each(|(sum, credit)| *sum += sign * fixed(*credit));
        let has_team = |arm: usize| record.teams.iter().any(|team| usize::from(*team) == arm);
        let control_is_there = has_team(0);
        let duel = |(n, duel): (usize, &mut Duel)| {
            let outcome = match is_same(record, n + 1) {
                true => Outcome::Same,
                false if control_is_there && has_team(n + 1) => Outcome::Lead(credits[n + 1] - credits[0]),
                false => Outcome::Missing,
            };
            duel.count(outcome, counting);
            outcome.part()
        };
        self.duels.iter_mut().enumerate().map(duel).collect()
    }

    /// Counts the answer for the models that ranked it. Fallback answers were not ranked by a model.
    fn add_versions(&mut self, record: &QueryRecord, arm: usize) {
        if self.is_split() {
            let model = record.model.as_ref().filter(|_| record.fallback.is_none());
            model.into_iter().for_each(|model| self.versions[arm].add(model, record.at_millis));
            return;
        }
        for (versions, arm) in self.versions.iter_mut().zip(&record.arms) {
            let model = arm.model.as_ref().filter(|_| arm.ranking != ArmRanking::Missing);
            model.into_iter().for_each(|model| versions.add(model, record.at_millis));
        }
    }

    /// The credit of an arm for the clicks on its hits.
    pub(super) fn credit(&self, arm: usize) -> f64 {
        from_fixed(self.credits[arm])
    }

    /// The rules for a measure.
    pub(super) fn rules(&self, measure: Measure) -> Rules {
        rules(&self.experiment, self.options, measure)
    }

    /// The primary measure.
    pub(super) fn primary(&self) -> Measure {
        if self.is_split() { self.experiment.primary_measure.into() } else { Measure::Preference }
    }

    pub(super) fn is_split(&self) -> bool {
        self.experiment.method == Method::Split
    }

    /// The indices of a unit's parts that belong to the primary measure.
    fn deciding(&self) -> std::ops::Range<usize> {
        let primary = self.primary();
        match ANSWER_MEASURES.iter().position(|measure| *measure == primary) {
            Some(n) => n..n + 1,
            None => 0..self.n_parts(),
        }
    }

    fn n_parts(&self) -> usize {
        if self.is_split() { ANSWER_MEASURES.len() } else { self.experiment.arms.len() - 1 }
    }

    fn arm_of(&self, record: &QueryRecord) -> usize {
        if self.is_split() { record.arm } else { 0 }
    }
}

/// The rules for a measure, with each comparison's part of the error probability.
fn rules(experiment: &Experiment, options: AnalysisOptions, measure: Measure) -> Rules {
    let n_comparisons = experiment.arms.len() as f64 - 1.0;
    let is_primary = experiment.method == Method::Interleave || Measure::from(experiment.primary_measure) == measure;
    Rules {
        method: experiment.method,
        measure,
        alpha: options.alpha / n_comparisons,
        smallest_difference: options.smallest_difference.filter(|_| is_primary),
        n_units_min: options.n_units_min,
    }
}

/// Whether an arm ranked an interleaved answer as the control did. Old records do not have this information; it is then inferred if no
/// hit has a team although no arm failed.
fn is_same(record: &QueryRecord, arm: usize) -> bool {
    match record.arms.get(arm) {
        Some(arm) => arm.ranking == ArmRanking::Same,
        None => record.fallback.is_none() && record.teams.iter().all(|team| *team == NO_TEAM) && record.n_hits > 0,
    }
}

#[cfg(test)]
mod tests;
