//! The results of the running analysis: verdict, sentence and report.

use super::measure::{ANSWER_MEASURES, Measure};
use super::mismatch::SampleRatio;
use super::path::Findings;
use super::running::Analysis;
use super::sequence::{Interval, RatioSums};
use super::verdict::{Contender, Evidence, Guardrail, Verdict};
use super::{Look, path};
use crate::ExperimentState;
use crate::report::{Comparison, Difference, Report, ServedArm, guardrails};

const MILLIS_OF_A_DAY: f64 = 86_400_000.0;
/// The initial number of units between two looks of a report; doubled after [`N_LOOKS_MAX`] looks.
const LOOK_STEP: u64 = 100;
const N_LOOKS_MAX: usize = 200;

impl Analysis {
    /// The current verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict_from(self.path.findings().last())
    }

    fn verdict_from(&self, found: Option<&Findings>) -> Verdict {
        let (rules, sums) = (self.rules(self.primary()), self.path.sums());
        // The sums of the last look, or the current ones before the first look.
        let of_look = self.path.looks().last().map_or(sums, |look| &look.sums);
        let contender = |challenger: usize| {
            let difference = rules.signed_difference(sums, challenger - 1);
            Contender {
                arm: &self.experiment.arms[challenger].name,
                n_units: rules.n_units(of_look, challenger - 1),
                serves_control: self.serves_control(challenger),
                n_same_answers: self.n_same_answers(challenger),
                sequence: difference.map(|difference| rules.sequence(sums, challenger - 1, difference)),
                difference,
                interval: found.zip(difference).and_then(|(found, now)| found.interval(challenger - 1, now.value)),
                decision: found.and_then(|found| found.decision(challenger - 1)),
            }
        };
        let days = (self.last_millis.saturating_sub(self.first_millis)) as f64 / MILLIS_OF_A_DAY;
        let evidence = Evidence {
            control: &self.experiment.arms[0].name,
            contenders: (1..self.experiment.arms.len()).map(contender).collect(),
            smallest_difference: rules.smallest_difference(sums),
            rules: &rules,
            n_units_min: self.options.n_units_min,
            n_units: self.n_units(),
            daily: (days > 0.0).then(|| self.n_units() as f64 / days),
            leader: found.and_then(|found| found.leader),
            change: found.and_then(|found| found.change),
            guardrails: &|challenger| self.guardrails(challenger),
            is_over: self.is_over,
        };
        evidence.verdict(self.sample_ratio().as_ref())
    }

    /// The report.
    pub fn report(&self) -> Report {
        let findings = self.path.findings();
        let verdict = self.verdict_from(findings.last());
        let arms: Vec<_> =
            self.tallies.iter().enumerate().map(|(n, tally)| tally.summary(self.name_of_tally(n))).collect();
        let sample_ratio = self.sample_ratio();
        Report {
            experiment: self.experiment.id.clone(),
            state: if self.is_over { ExperimentState::Stopped } else { self.experiment.state },
            start_millis: self.experiment.start_millis,
            end_millis: self.experiment.end_millis,
            method: self.experiment.method,
            measure: self.primary(),
            confidence: 1.0 - self.options.alpha,
            smallest_difference: self.rules(self.primary()).smallest_difference(self.path.sums()),
            guardrails: guardrails(&arms, sample_ratio.as_ref(), self.n_inconsistent),
            arms,
            comparisons: (1..self.experiment.arms.len())
                .map(|challenger| self.comparison(challenger, findings.last()))
                .collect(),
            sample_ratio,
            n_inconsistent: self.n_inconsistent,
            served: (0..self.experiment.arms.len()).map(|arm| self.served(arm)).collect(),
            looks: self.looks(&findings),
            sentence: self.sentence(&verdict),
            verdict,
        }
    }

    /// The verdict as a sentence, with warnings.
    fn sentence(&self, verdict: &Verdict) -> String {
        let arms = &self.experiment.arms;
        let same: Vec<String> = (1..arms.len())
            .filter(|challenger| self.serves_control(*challenger))
            .map(|challenger| format!("`{}`", arms[challenger].name))
            .collect();
        let mut sentence = match (same.is_empty(), verdict) {
            (true, _) | (false, Verdict::SameVersion { .. }) => verdict.to_string(),
            (false, _) => {
                format!("A/A, because `{}` and {} use the same version: {verdict}", arms[0].name, same.join(", "))
            }
        };
        if !matches!(verdict, Verdict::SameAnswers { .. }) {
            for (challenger, duel) in (1..).zip(&self.duels) {
                if let Some(share) = duel.same_share().filter(|share| !self.is_split() && *share >= 0.5) {
                    let (percent, arm, control) = (share * 100.0, &arms[challenger].name, &arms[0].name);
                    sentence += &format!("; `{arm}` ranked {percent:.0} % of the answers as `{control}` did");
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

    /// The model of an arm, and the versions that ranked its answers.
    fn served(&self, arm: usize) -> ServedArm {
        let definition = &self.experiment.arms[arm];
        ServedArm {
            arm: definition.name.clone(),
            model: definition.model.to_string(),
            settings: definition.settings.entries().collect(),
            pinned: definition.pinned.clone(),
            versions: self.versions[arm].all().to_vec(),
        }
    }

    /// Whether an arm ranks as the control does: with equal settings and the same version, by its pinned version or by its
    /// answers.
    fn serves_control(&self, challenger: usize) -> bool {
        let [control, arm] = [0, challenger].map(|n| &self.experiment.arms[n]);
        let one = |arm: usize| match self.versions[arm].all() {
            [version] => Some(&version.model),
            _ => None,
        };
        let is_one_version = || one(0).zip(one(challenger)).is_some_and(|(control, arm)| control == arm);
        control.serves_same_as(arm) || control.settings == arm.settings && is_one_version()
    }

    /// The number of answers, if the arm ranked all of them as the control did.
    fn n_same_answers(&self, challenger: usize) -> Option<u64> {
        let duel = &self.duels[challenger - 1];
        duel.same_share().filter(|share| *share >= 1.0).map(|_| duel.n_answers())
    }

    fn versions_guardrail(&self, arm: usize) -> Option<Guardrail> {
        let n_versions = self.versions[arm].all().len();
        let arm = self.experiment.arms[arm].name.clone();
        (n_versions > 1).then_some(Guardrail::Versions { arm, n_versions })
    }

    /// The guardrails that an arm which is better in the primary measure violates.
    fn guardrails(&self, challenger: usize) -> Vec<Guardrail> {
        let versions = [0, challenger].into_iter().filter_map(|arm| self.versions_guardrail(arm));
        versions.chain(self.measured_guardrails(challenger)).collect()
    }

    fn measured_guardrails(&self, challenger: usize) -> Vec<Guardrail> {
        if !self.is_split() {
            return self.duels[challenger - 1].guardrail().into_iter().collect();
        }
        let others = ANSWER_MEASURES.into_iter().filter(|measure| *measure != self.primary());
        let worse = others.filter_map(|measure| {
            let by = self.interval_now(challenger, measure)?;
            let is_worse = self.rules(measure).turned(by).high < 0.0;
            match measure {
                Measure::ClickThrough if is_worse => Some(Guardrail::Abandonment {
                    by: Interval { estimate: -by.estimate, low: -by.high, high: -by.low },
                }),
                Measure::Value | Measure::TimeToFirstClick | Measure::Ndcg if is_worse => {
                    Some(Guardrail::Worse { measure, by })
                }
                _ => None,
            }
        });
        self.tallies[challenger].guardrails(&self.tallies[0]).into_iter().chain(worse).collect()
    }

    fn comparison(&self, challenger: usize, found: Option<&Findings>) -> Comparison {
        let measures: &[Measure] = if self.is_split() { &ANSWER_MEASURES } else { &[Measure::Preference] };
        let difference = |measure: &Measure| Difference {
            measure: *measure,
            interval: match *measure == self.primary() {
                true => found.and_then(|found| self.running_interval(challenger, found, self.path.sums())),
                false => self.interval_now(challenger, *measure),
            },
            decides: *measure == self.primary(),
        };
        let duel =
            (!self.is_split()).then(|| self.duels[challenger - 1].summary(self.credit(challenger), self.credit(0)));
        Comparison {
            arm: self.experiment.arms[challenger].name.clone(),
            control: self.experiment.arms[0].name.clone(),
            differences: measures.iter().filter(|measure| self.is_measured(**measure)).map(difference).collect(),
            duel,
        }
    }

    /// Whether a measure is shown: measures of clicks always, others if there are values.
    fn is_measured(&self, measure: Measure) -> bool {
        match ANSWER_MEASURES.iter().position(|of| *of == measure) {
            Some(n) if n > 2 => measure == self.primary() || self.tallies.iter().any(|tally| tally.has(n)),
            _ => true,
        }
    }

    /// A selection of the looks, including the last one.
    fn looks(&self, findings: &[Findings]) -> Vec<Look> {
        let looks: Vec<(&path::Look, &Findings)> = self.path.looks().iter().zip(findings).collect();
        let n_units = looks.last().map_or(0, |(look, _)| look.n_units);
        let mut step = LOOK_STEP;
        while n_units / step > N_LOOKS_MAX as u64 {
            step *= 2;
        }
        let (mut shown, mut next) = (Vec::new(), step);
        for (n, (look, found)) in looks.iter().enumerate() {
            if look.n_units >= next || n + 1 == looks.len() {
                next = look.n_units / step * step + step;
                let arms = 1..self.experiment.arms.len();
                let differences = arms.map(|challenger| self.running_interval(challenger, found, &look.sums)).collect();
                shown.push(Look { n_units: look.n_units, at_millis: look.at_millis, differences });
            }
        }
        shown
    }

    /// The intersection of an arm's intervals in the primary measure up to a look, with the estimate from these sums.
    fn running_interval(&self, challenger: usize, found: &Findings, sums: &[RatioSums]) -> Option<Interval> {
        let rules = self.rules(self.primary());
        let estimate = rules.signed_difference(sums, challenger - 1)?;
        found.interval(challenger - 1, estimate.value).map(|interval| rules.turned(interval))
    }

    /// The current interval of an arm's difference in another measure; `None` while an arm has too few units.
    fn interval_now(&self, challenger: usize, measure: Measure) -> Option<Interval> {
        let n = ANSWER_MEASURES.iter().position(|of| *of == measure)?;
        let sums: Vec<RatioSums> = self.sums.iter().skip(n).step_by(ANSWER_MEASURES.len()).copied().collect();
        self.rules(measure).interval(&sums, challenger - 1)
    }

    fn sample_ratio(&self) -> Option<SampleRatio> {
        self.is_split().then(|| self.mismatch.sample_ratio(self.options.mismatch_alpha))
    }

    fn name_of_tally(&self, n: usize) -> &str {
        if self.is_split() { &self.experiment.arms[n].name } else { "interleaved" }
    }
}
