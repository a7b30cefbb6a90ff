//! The running analysis of one experiment.

use std::collections::HashMap;

use super::Look;
use super::measure::{ANSWER_MEASURES, Measure, answer_values};
use super::mismatch::{MismatchTest, SampleRatio};
use super::sequence::{Estimate, Interval, RatioSums, Sequence};
use super::stability::Stability;
use super::tally::{Duel, Outcome, Tally};
use super::verdict::{Contender, Evidence, Guardrail, Verdict};
use super::versions::Versions;
use crate::report::{Comparison, Difference, Report, ServedArm};
use crate::{ArmRanking, Experiment, ExperimentState, Method, NO_TEAM, QueryRecord, credits};

const MILLIS_OF_A_DAY: f64 = 86_400_000.0;
/// How many units lie between two looks at first; past [`N_LOOKS_MAX`] looks, twice as many.
const LOOK_STEP: u64 = 100;
const N_LOOKS_MAX: usize = 200;

/// How sure a verdict must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnalysisOptions {
    /// How often, at most, an experiment may ever claim a difference that is none.
    pub alpha: f64,
    /// Differences smaller than this are as good as none; `None` for one point of a percentage, 0.01 of a reciprocal rank, or a
    /// preference of five points.
    pub smallest_difference: Option<f64>,
    /// How many units a comparison needs in its smaller arm: the intervals lean on the central limit theorem.
    pub n_units_min: u64,
    /// How often, at most, a fair split may ever be called unfair.
    pub mismatch_alpha: f64,
}

impl Default for AnalysisOptions {
    fn default() -> Self {
        Self { alpha: 0.05, smallest_difference: None, n_units_min: 30, mismatch_alpha: 0.01 }
    }
}

/// The running analysis of one experiment.
///
/// Records should come in the order of their time. They are not kept: memory grows with units, and by 8 bytes a query.
#[derive(Debug, Clone)]
pub struct Analysis {
    experiment: Experiment,
    options: AnalysisOptions,
    units: HashMap<String, Unit>,
    /// Split: for each arm its measures. Interleaved: for each arm but the control its preference.
    sums: Vec<RatioSums>,
    mismatch: MismatchTest,
    stability: Stability,
    is_over: bool,
    /// One an arm; the first alone where answers are interleaved.
    tallies: Vec<Tally>,
    duels: Vec<Duel>,
    /// What ranked for each arm.
    versions: Vec<Versions>,
    credits: Vec<f64>,
    looks: Vec<Look>,
    look_step: u64,
    n_inconsistent: u64,
    first_millis: i64,
    last_millis: i64,
}

/// What a unit has added to the sums.
#[derive(Debug, Clone, Default)]
struct Unit {
    arm: usize,
    /// By when it came.
    block: u16,
    parts: Vec<(f64, f64)>,
}

impl Analysis {
    /// Of an experiment without records.
    ///
    /// # Panics
    /// Where the experiment has fewer than two arms.
    pub fn new(experiment: &Experiment, options: AnalysisOptions) -> Self {
        let n_arms = experiment.arms.len();
        assert!(n_arms >= 2, "experiment `{}` has {n_arms} arms, and a comparison takes two", experiment.id);
        let (n_sums, n_tallies) = match experiment.method {
            Method::Split => (n_arms * ANSWER_MEASURES.len(), n_arms),
            Method::Interleave => (n_arms - 1, 1),
        };
        let stability = match experiment.method {
            Method::Split => {
                Stability::new(n_arms - 1, n_arms, |sums, n| Some(sums[n + 1].ratio()? - sums[0].ratio()?))
            }
            Method::Interleave => Stability::new(n_arms - 1, n_arms - 1, |sums, n| sums[n].ratio()),
        };
        Self {
            experiment: experiment.clone(),
            options,
            units: HashMap::new(),
            sums: vec![RatioSums::default(); n_sums],
            mismatch: MismatchTest::new(experiment.arms.iter().map(|arm| arm.weight.get())),
            stability,
            is_over: experiment.state == ExperimentState::Stopped,
            tallies: vec![Tally::default(); n_tallies],
            duels: vec![Duel::default(); n_arms - 1],
            versions: vec![Versions::default(); n_arms],
            credits: vec![0.0; n_arms],
            looks: Vec::new(),
            look_step: LOOK_STEP,
            n_inconsistent: 0,
            first_millis: i64::MAX,
            last_millis: i64::MIN,
        }
    }

    /// No more records will come: the verdict is the last, without a forecast. A stopped experiment is over from the start.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// Adds one answer with its clicks.
    pub fn add(&mut self, record: &QueryRecord) {
        let arm = if self.is_split() { record.arm } else { 0 };
        let Some(tally) = self.tallies.get_mut(arm) else {
            self.n_inconsistent += 1;
            return;
        };
        if record.forced {
            tally.n_forced += 1;
            return;
        }
        let is_new = match self.units.get(&record.unit) {
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
        }
        self.add_to_unit(record, arm);
        if is_new {
            self.observe();
            if self.n_units().is_multiple_of(self.look_step) {
                self.look(record.at_millis);
            }
        }
    }

    /// Narrows the intervals by what they are now.
    fn observe(&mut self) {
        let (primary, n_units, smallest) = (self.primary(), self.n_units(), self.smallest_difference());
        for challenger in 1..self.experiment.arms.len() {
            if let Some(now) = self.interval_now(challenger, primary) {
                self.stability.narrow(challenger - 1, n_units, now, smallest);
            }
        }
        let estimates = (1..self.experiment.arms.len()).map(|challenger| self.estimate(challenger, primary));
        let estimates: Vec<Option<f64>> = estimates.map(|estimate| estimate.map(|it| it.value)).collect();
        self.stability.lead(&estimates);
        self.stability.look(n_units, self.options.n_units_min, self.sequence(primary));
    }

    fn add_to_unit(&mut self, record: &QueryRecord, arm: usize) {
        let (first, parts) = if self.is_split() {
            (arm * ANSWER_MEASURES.len(), answer_values(record).map(|value| (value, 1.0)).to_vec())
        } else {
            (0, self.duel(record))
        };
        let (is_split, primary, n_units) = (self.is_split(), self.primary(), self.n_units());
        let decides = |n: usize| !is_split || ANSWER_MEASURES[n] == primary;
        if !self.units.contains_key(&record.unit) {
            let unit = Unit { arm, block: self.stability.block(n_units), parts: vec![(0.0, 0.0); parts.len()] };
            self.units.insert(record.unit.clone(), unit);
        }
        let Some(unit) = self.units.get_mut(&record.unit) else { return };
        if is_split {
            self.mismatch.add_query(arm, unit.parts[0].1);
        }
        for (n, ((sums, old), (x, weight))) in self.sums[first..].iter_mut().zip(&mut unit.parts).zip(parts).enumerate()
        {
            let new = (old.0 + x, old.1 + weight);
            sums.replace(*old, new);
            if decides(n) {
                self.stability.replace(unit.block, if is_split { arm } else { n }, *old, new);
            }
            *old = new;
        }
    }

    /// Counts the answer for the models that ranked it. One that fell back was ranked by none.
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

    /// For each arm but the control, its lead over it in credit, and the size of the lead.
    fn duel(&mut self, record: &QueryRecord) -> Vec<(f64, f64)> {
        let credits = credits(&record.teams, &record.clicks, self.experiment.arms.len());
        self.credits.iter_mut().zip(&credits).for_each(|(sum, credit)| *sum += credit);
        let has_team = |arm: usize| record.teams.iter().any(|team| usize::from(*team) == arm);
        let control_is_there = has_team(0);
        let duel = |(n, duel): (usize, &mut Duel)| {
            duel.add(match is_same(record, n + 1) {
                true => Outcome::Same,
                false if control_is_there && has_team(n + 1) => Outcome::Lead(credits[n + 1] - credits[0]),
                false => Outcome::Missing,
            })
        };
        self.duels.iter_mut().enumerate().map(duel).collect()
    }

    /// The verdict as it stands.
    pub fn verdict(&self) -> Verdict {
        let control = &self.experiment.arms[0];
        let contender = |challenger: usize| Contender {
            arm: &self.experiment.arms[challenger].name,
            n_units: self.n_units_of(challenger),
            serves_control: self.serves_control(challenger),
            n_same_answers: self.n_same_answers(challenger),
            difference: self.estimate(challenger, self.primary()),
            interval: self.interval(challenger, self.primary()),
            decision: self.stability.decision(challenger - 1),
        };
        let days = (self.last_millis.saturating_sub(self.first_millis)) as f64 / MILLIS_OF_A_DAY;
        let evidence = Evidence {
            control: &control.name,
            contenders: (1..self.experiment.arms.len()).map(contender).collect(),
            measure: self.primary(),
            sequence: self.sequence(self.primary()),
            smallest_difference: self.smallest_difference(),
            n_units_min: self.options.n_units_min,
            n_units: self.n_units(),
            daily: (days > 0.0).then(|| self.n_units() as f64 / days),
            leader: self.stability.leader(),
            change: self.stability.change(),
            guardrails: &|challenger| self.guardrails(challenger),
            is_over: self.is_over,
        };
        evidence.verdict(self.sample_ratio().as_ref())
    }

    /// All that is known, for people and programs to read.
    pub fn report(&self) -> Report {
        let verdict = self.verdict();
        Report {
            experiment: self.experiment.id.clone(),
            state: if self.is_over { ExperimentState::Stopped } else { self.experiment.state },
            start_millis: self.experiment.start_millis,
            end_millis: self.experiment.end_millis,
            method: self.experiment.method,
            measure: self.primary(),
            confidence: 1.0 - self.options.alpha,
            smallest_difference: self.smallest_difference(),
            arms: self.tallies.iter().enumerate().map(|(n, tally)| tally.summary(self.name_of_tally(n))).collect(),
            comparisons: (1..self.experiment.arms.len()).map(|challenger| self.comparison(challenger)).collect(),
            sample_ratio: self.sample_ratio(),
            n_inconsistent: self.n_inconsistent,
            served: (0..self.experiment.arms.len()).map(|arm| self.served(arm)).collect(),
            looks: self.looks(),
            sentence: self.sentence(&verdict),
            verdict,
        }
    }

    /// The verdict in words, with what a reader must not miss beside it.
    fn sentence(&self, verdict: &Verdict) -> String {
        let arms = &self.experiment.arms;
        let same: Vec<String> = (1..arms.len())
            .filter(|challenger| self.serves_control(*challenger))
            .map(|challenger| format!("`{}`", arms[challenger].name))
            .collect();
        let mut sentence = match (same.is_empty(), verdict) {
            (true, _) | (false, Verdict::SameVersion { .. }) => verdict.to_string(),
            (false, _) => {
                format!("A/A, since `{}` and {} serve the same version: {verdict}", arms[0].name, same.join(", "))
            }
        };
        if !matches!(verdict, Verdict::SameAnswers { .. }) {
            for (challenger, duel) in (1..).zip(&self.duels) {
                if let Some(share) = duel.same_share().filter(|share| !self.is_split() && *share >= 0.5) {
                    let (percent, arm, control) = (share * 100.0, &arms[challenger].name, &arms[0].name);
                    sentence += &format!("; for {percent:.0} % of the answers `{arm}` ranked the same as `{control}`");
                }
            }
        }
        if !matches!(verdict, Verdict::CheckGuardrails { .. }) {
            for guardrail in (0..arms.len()).filter_map(|arm| self.versions_guardrail(arm)) {
                sentence += &format!("; WARNING: {guardrail}");
            }
        }
        sentence
    }

    /// What an arm was to serve, and what it served.
    fn served(&self, arm: usize) -> ServedArm {
        let definition = &self.experiment.arms[arm];
        ServedArm {
            arm: definition.name.clone(),
            model: definition.model.to_string(),
            pinned: definition.pinned.clone(),
            versions: self.versions[arm].all().to_vec(),
        }
    }

    /// Whether an arm serves the version that the control serves: as it is pinned, or as it turned out.
    fn serves_control(&self, challenger: usize) -> bool {
        let [control, arm] = [0, challenger].map(|n| &self.experiment.arms[n]);
        let one = |arm: usize| match self.versions[arm].all() {
            [version] => Some(&version.model),
            _ => None,
        };
        control.serves_same_as(arm) || one(0).zip(one(challenger)).is_some_and(|(control, arm)| control == arm)
    }

    /// The number of answers, if for each of them the arm ranked the same as the control.
    fn n_same_answers(&self, challenger: usize) -> Option<u64> {
        let duel = &self.duels[challenger - 1];
        duel.same_share().filter(|share| *share >= 1.0).map(|_| duel.n_answers())
    }

    fn versions_guardrail(&self, arm: usize) -> Option<Guardrail> {
        let n_versions = self.versions[arm].all().len();
        let arm = self.experiment.arms[arm].name.clone();
        (n_versions > 1).then_some(Guardrail::Versions { arm, n_versions })
    }

    /// What speaks against an arm that is better in the measure that decides.
    fn guardrails(&self, challenger: usize) -> Vec<Guardrail> {
        let versions = [0, challenger].into_iter().filter_map(|arm| self.versions_guardrail(arm));
        versions.chain(self.measured_guardrails(challenger)).collect()
    }

    fn measured_guardrails(&self, challenger: usize) -> Vec<Guardrail> {
        if !self.is_split() {
            return self.duels[challenger - 1].guardrail().into_iter().collect();
        }
        let click_through = self.interval_now(challenger, Measure::ClickThrough);
        let fewer = click_through.filter(|fewer| fewer.high < 0.0 && self.primary() != Measure::ClickThrough);
        let abandonment = fewer.map(|fewer| Guardrail::Abandonment {
            by: Interval { estimate: -fewer.estimate, low: -fewer.high, high: -fewer.low },
        });
        self.tallies[challenger].guardrails(&self.tallies[0]).into_iter().chain(abandonment).collect()
    }

    fn comparison(&self, challenger: usize) -> Comparison {
        let measures: &[Measure] = if self.is_split() { &ANSWER_MEASURES } else { &[Measure::Preference] };
        let difference = |measure: &Measure| Difference {
            measure: *measure,
            interval: self.interval(challenger, *measure),
            decides: *measure == self.primary(),
        };
        let duel =
            (!self.is_split()).then(|| self.duels[challenger - 1].summary(self.credits[challenger], self.credits[0]));
        Comparison {
            arm: self.experiment.arms[challenger].name.clone(),
            control: self.experiment.arms[0].name.clone(),
            differences: measures.iter().map(difference).collect(),
            duel,
        }
    }

    fn look(&mut self, at_millis: i64) {
        self.looks.push(self.look_at(at_millis));
        if self.looks.len() > N_LOOKS_MAX {
            self.look_step *= 2;
            self.looks.retain(|look| look.n_units.is_multiple_of(self.look_step));
        }
    }

    fn look_at(&self, at_millis: i64) -> Look {
        let differences = (1..self.experiment.arms.len()).map(|challenger| self.interval(challenger, self.primary()));
        Look { n_units: self.n_units(), at_millis, differences: differences.collect() }
    }

    /// The looks so far, with that of now in the place of one at as many units.
    fn looks(&self) -> Vec<Look> {
        let n_units = self.n_units();
        let before = self.looks.iter().filter(|look| look.n_units < n_units).cloned();
        before.chain((n_units > 0).then(|| self.look_at(self.last_millis))).collect()
    }

    /// The interval of an arm's difference to the control: for the measure that decides what all looks have in common, else that
    /// of now. `None` while either has too few units.
    fn interval(&self, challenger: usize, measure: Measure) -> Option<Interval> {
        if measure != self.primary() {
            return self.interval_now(challenger, measure);
        }
        self.stability.interval(challenger - 1, self.estimate(challenger, measure)?.value)
    }

    fn interval_now(&self, challenger: usize, measure: Measure) -> Option<Interval> {
        let estimate = self.estimate(challenger, measure)?;
        (self.n_units_of(challenger) >= self.options.n_units_min).then(|| self.sequence(measure).interval(estimate))
    }

    fn estimate(&self, challenger: usize, measure: Measure) -> Option<Estimate> {
        let Some(n) = ANSWER_MEASURES.iter().position(|of| *of == measure) else {
            return self.sums[challenger - 1].ratio();
        };
        let of = |arm: usize| self.sums[arm * ANSWER_MEASURES.len() + n].ratio();
        Some(of(challenger)? - of(0)?)
    }

    /// The units that an arm's comparison rests on.
    fn n_units_of(&self, challenger: usize) -> u64 {
        let n_units = |sums: usize| self.sums[sums].n_units() as u64;
        if self.is_split() {
            n_units(challenger * ANSWER_MEASURES.len()).min(n_units(0))
        } else {
            n_units(challenger - 1)
        }
    }

    fn sequence(&self, measure: Measure) -> Sequence {
        let n_comparisons = self.experiment.arms.len() as f64 - 1.0;
        Sequence { alpha: self.options.alpha / n_comparisons, tau: measure.expected_difference() }
    }

    fn sample_ratio(&self) -> Option<SampleRatio> {
        self.is_split().then(|| self.mismatch.sample_ratio(self.options.mismatch_alpha))
    }

    fn smallest_difference(&self) -> f64 {
        self.options.smallest_difference.unwrap_or_else(|| self.primary().smallest_difference())
    }

    fn primary(&self) -> Measure {
        if self.is_split() { self.experiment.primary_measure.into() } else { Measure::Preference }
    }

    fn name_of_tally(&self, n: usize) -> &str {
        if self.is_split() { &self.experiment.arms[n].name } else { "interleaved" }
    }

    fn n_units(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.n_units).sum()
    }

    fn is_split(&self) -> bool {
        self.experiment.method == Method::Split
    }
}

/// Whether an arm ranked for an interleaved answer what the control ranked. Answers from before that was recorded are taken for such
/// where no hit is anybody's although no arm failed.
fn is_same(record: &QueryRecord, arm: usize) -> bool {
    match record.arms.get(arm) {
        Some(arm) => arm.ranking == ArmRanking::Same,
        None => record.fallback.is_none() && record.teams.iter().all(|team| *team == NO_TEAM) && record.n_hits > 0,
    }
}
