//! Plain counts of the answers of an arm, and of the duels between two interleaved ones.

use std::cmp::Ordering;

use super::measure::answer_values;
use super::verdict::Guardrail;
use crate::QueryRecord;
use crate::report::{ArmSummary, DuelSummary};

/// The answers of an arm.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub n_units: u64,
    pub n_forced: u64,
    n_queries: u64,
    n_clicks: u64,
    n_fallbacks: u64,
    n_abandoned: u64,
    n_with_hits: u64,
    sums: [f64; 3],
    latencies_micros: Vec<u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, record: &QueryRecord, is_new_unit: bool) {
        self.n_units += u64::from(is_new_unit);
        self.n_queries += 1;
        self.n_clicks += record.clicks.len() as u64;
        self.n_fallbacks += u64::from(record.fallback.is_some());
        self.n_with_hits += u64::from(record.n_hits > 0);
        self.n_abandoned += u64::from(record.n_hits > 0 && record.clicks.is_empty());
        self.sums.iter_mut().zip(answer_values(record)).for_each(|(sum, value)| *sum += value);
        self.latencies_micros.push(record.latency_micros);
    }

    /// The smallest latencies, in milliseconds, that at least these shares of the queries stay within.
    fn latencies<const N: usize>(&self, shares: [f64; N]) -> [Option<f64>; N] {
        let mut latencies = self.latencies_micros.clone();
        latencies.sort_unstable();
        shares.map(|share| {
            let n = (share * latencies.len() as f64).ceil() as usize;
            Some(*latencies.get(n.checked_sub(1)?)? as f64 / 1_000.0)
        })
    }

    /// What speaks against the arm beside this control.
    pub(crate) fn guardrails(&self, control: &Self) -> Vec<Guardrail> {
        let fallbacks = share(self.n_fallbacks as f64, self.n_queries).filter(|share| *share >= 0.5);
        let p95 = |tally: &Self| tally.latencies([0.95])[0];
        let latency =
            p95(self).zip(p95(control)).filter(|(own, control)| *own >= 2.0 * control && *own >= control + 100.0);
        let latency =
            latency.map(|(p95_millis, control_p95_millis)| Guardrail::Latency { p95_millis, control_p95_millis });
        fallbacks.map(|share| Guardrail::Fallbacks { share }).into_iter().chain(latency).collect()
    }

    pub(crate) fn summary(&self, arm: &str) -> ArmSummary {
        let [latency_p50_millis, latency_p95_millis] = self.latencies([0.5, 0.95]);
        let mean = |n: usize| share(self.sums[n], self.n_queries);
        ArmSummary {
            arm: arm.to_owned(),
            n_units: self.n_units,
            n_queries: self.n_queries,
            n_clicks: self.n_clicks,
            click_through: mean(0),
            top_click: mean(1),
            reciprocal_rank: mean(2),
            abandonment: share(self.n_abandoned as f64, self.n_with_hits),
            latency_p50_millis,
            latency_p95_millis,
            n_fallbacks: self.n_fallbacks,
            n_forced: self.n_forced,
        }
    }
}

/// The interleaved answers of an arm and the control.
#[derive(Debug, Clone, Default)]
pub(crate) struct Duel {
    n_won: u64,
    n_lost: u64,
    n_drawn: u64,
    /// Answers for which both ranked the same hits in the same order.
    n_same: u64,
    /// Answers without a hit of one of the two.
    n_missing: u64,
}

/// How one interleaved answer went for an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// Both had hits; the arm's lead in credit.
    Lead(f64),
    /// Both ranked the same hits in the same order, which no click tells apart.
    Same,
    /// One of the two had no hits, which is no reason to count the answer for the other.
    Missing,
}

impl Duel {
    /// What speaks against the arm.
    pub(crate) fn guardrail(&self) -> Option<Guardrail> {
        let share = share(self.n_missing as f64, self.n_answers()).filter(|share| *share >= 0.5)?;
        Some(Guardrail::OneArmMissing { share })
    }

    /// The share of answers for which both ranked the same; `None` without an answer.
    pub(crate) fn same_share(&self) -> Option<f64> {
        share(self.n_same as f64, self.n_answers())
    }

    pub(crate) fn n_answers(&self) -> u64 {
        self.n_won + self.n_lost + self.n_drawn + self.n_same + self.n_missing
    }

    /// Counts an answer. Gives the arm's lead and its size.
    pub(crate) fn add(&mut self, outcome: Outcome) -> (f64, f64) {
        let lead = match outcome {
            Outcome::Lead(lead) => lead,
            Outcome::Same | Outcome::Missing => {
                let count = if outcome == Outcome::Same { &mut self.n_same } else { &mut self.n_missing };
                *count += 1;
                return (0.0, 0.0);
            }
        };
        match lead.total_cmp(&0.0) {
            Ordering::Greater => self.n_won += 1,
            Ordering::Less => self.n_lost += 1,
            Ordering::Equal => self.n_drawn += 1,
        }
        (lead, lead.abs())
    }

    pub(crate) fn summary(&self, credit: f64, control_credit: f64) -> DuelSummary {
        let Self { n_won, n_lost, n_drawn, n_same, n_missing } = *self;
        DuelSummary { n_won, n_lost, n_drawn, n_same, n_missing, credit, control_credit }
    }
}

fn share(sum: f64, n: u64) -> Option<f64> {
    (n > 0).then(|| sum / n as f64)
}
