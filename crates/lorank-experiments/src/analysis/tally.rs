//! Counts of the answers of an arm, and of the duels between two interleaved arms. Counts can be reverted, so that answers can be
//! revised.

use std::cmp::Ordering;

use super::latencies::Latencies;
use super::measure::{ANSWER_MEASURES, answer_parts};
use super::sequence::{Part, fixed, from_fixed};
use super::verdict::Guardrail;
use crate::QueryRecord;
use crate::report::{ArmSummary, DuelSummary};

/// Whether an answer is counted or reverted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    Add = 1,
    TakeBack = -1,
}

/// The counts of an arm's answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub n_units: u64,
    pub n_forced: u64,
    pub n_queries: u64,
    n_fallbacks: u64,
    latencies: Latencies,
    n_clicks: i64,
    n_abandoned: i64,
    n_with_hits: i64,
    /// The number of answers to judged queries.
    n_judged: i64,
    /// The sum of the judged shares of their first ten hits, in fixed point.
    judged_shares: i64,
    /// The sums of each of the [`ANSWER_MEASURES`].
    sums: [Part; ANSWER_MEASURES.len()],
}

impl Tally {
    /// Counts an answer.
    pub(crate) fn add(&mut self, record: &QueryRecord, is_new_unit: bool) {
        self.n_units += u64::from(is_new_unit);
        self.n_queries += 1;
        self.n_fallbacks += u64::from(record.fallback.is_some());
        self.latencies.add(record.latency_micros);
        self.count(record, Counting::Add);
    }

    /// Counts or reverts the values that can be revised: clicks, and the number of hits.
    pub(crate) fn count(&mut self, record: &QueryRecord, counting: Counting) {
        let sign = counting as i64;
        self.n_clicks += sign * record.clicks.len() as i64;
        self.n_with_hits += sign * i64::from(record.n_hits > 0);
        self.n_abandoned += sign * i64::from(record.n_hits > 0 && record.clicks.is_empty());
        if let Some(judged) = &record.judged {
            self.n_judged += sign;
            self.judged_shares += sign * fixed(judged.share);
        }
        for (sum, part) in self.sums.iter_mut().zip(answer_parts(record)) {
            *sum = if counting == Counting::Add { *sum + part } else { *sum - part };
        }
    }

    /// The guardrails that the arm violates in comparison with this control.
    pub(crate) fn guardrails(&self, control: &Self) -> Vec<Guardrail> {
        let fallbacks = share(self.n_fallbacks as f64, self.n_queries as f64).filter(|share| *share >= 0.5);
        let p95 = |tally: &Self| tally.latencies.quantile_millis(0.95);
        let latency =
            p95(self).zip(p95(control)).filter(|(own, control)| *own >= 2.0 * control && *own >= control + 100.0);
        let latency =
            latency.map(|(p95_millis, control_p95_millis)| Guardrail::Latency { p95_millis, control_p95_millis });
        fallbacks.map(|share| Guardrail::Fallbacks { share }).into_iter().chain(latency).collect()
    }

    /// Whether any answer has a nonzero value for a measure.
    pub(crate) fn has(&self, measure: usize) -> bool {
        self.sums[measure].x != 0
    }

    pub(crate) fn summary(&self, arm: &str) -> ArmSummary {
        let mean = |n: usize| share(self.sums[n].x as f64, self.sums[n].n as f64);
        ArmSummary {
            arm: arm.to_owned(),
            n_units: self.n_units,
            n_queries: self.n_queries,
            n_clicks: u64::try_from(self.n_clicks).unwrap_or(0),
            click_through: mean(0),
            top_click: mean(1),
            reciprocal_rank: mean(2),
            value: mean(3).filter(|_| self.has(3)),
            time_to_first_click_seconds: mean(4),
            ndcg_at_10: mean(5),
            n_judged: u64::try_from(self.n_judged).unwrap_or(0),
            judged_share: share(from_fixed(self.judged_shares), self.n_judged as f64),
            abandonment: share(self.n_abandoned as f64, self.n_with_hits as f64),
            latency_p50_millis: self.latencies.quantile_millis(0.5),
            latency_p95_millis: self.latencies.quantile_millis(0.95),
            n_fallbacks: self.n_fallbacks,
            n_forced: self.n_forced,
        }
    }
}

/// The counts of interleaved answers of an arm and the control.
#[derive(Debug, Clone, Default)]
pub(crate) struct Duel {
    n_won: i64,
    n_lost: i64,
    n_drawn: i64,
    /// The number of answers that both ranked in the same way.
    n_same: i64,
    /// The number of answers without a hit of one of the two.
    n_missing: i64,
}

/// The outcome of an interleaved answer for an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// Both have hits; the arm's lead in credit.
    Lead(f64),
    /// Both ranked the same hits in the same order, so clicks cannot distinguish them.
    Same,
    /// One of the two has no hits, which does not count for the other.
    Missing,
}

impl Outcome {
    /// The contribution to the arm's preference: the lead, and its absolute value.
    pub(crate) fn part(self) -> Part {
        match self {
            Self::Lead(lead) => Part::new(lead, lead.abs()),
            Self::Same | Self::Missing => Part::default(),
        }
    }
}

impl Duel {
    /// The guardrail that the arm violates, if any.
    pub(crate) fn guardrail(&self) -> Option<Guardrail> {
        let share = share(self.n_missing as f64, self.n_answers() as f64).filter(|share| *share >= 0.5)?;
        Some(Guardrail::OneArmMissing { share })
    }

    /// The share of answers that both ranked in the same way; `None` without answers.
    pub(crate) fn same_share(&self) -> Option<f64> {
        share(self.n_same as f64, self.n_answers() as f64)
    }

    pub(crate) fn n_answers(&self) -> u64 {
        u64::try_from(self.n_won + self.n_lost + self.n_drawn + self.n_same + self.n_missing).unwrap_or(0)
    }

    /// Counts or reverts an answer.
    pub(crate) fn count(&mut self, outcome: Outcome, counting: Counting) {
        let count = match outcome {
            Outcome::Same => &mut self.n_same,
            Outcome::Missing => &mut self.n_missing,
            Outcome::Lead(lead) => match lead.total_cmp(&0.0) {
                Ordering::Greater => &mut self.n_won,
                Ordering::Less => &mut self.n_lost,
                Ordering::Equal => &mut self.n_drawn,
            },
        };
        *count += counting as i64;
    }

    pub(crate) fn summary(&self, credit: f64, control_credit: f64) -> DuelSummary {
        let n = |n: i64| u64::try_from(n).unwrap_or(0);
        DuelSummary {
            n_won: n(self.n_won),
            n_lost: n(self.n_lost),
            n_drawn: n(self.n_drawn),
            n_same: n(self.n_same),
            n_missing: n(self.n_missing),
            credit,
            control_credit,
        }
    }
}

fn share(sum: f64, n: f64) -> Option<f64> {
    (n > 0.0).then(|| sum / n)
}
