//! What must be in order before a difference is worth anything, line by line, and whether it is.

use super::{ArmSummary, Report};
use crate::format::with_separators;

/// From which share of fallbacks, and from how many times the control's latency, an arm deserves a look. The verdict itself is held
/// back only by what is much worse.
const FALLBACKS_MAX: f64 = 0.01;
const LATENCY_FACTOR_MAX: f64 = 1.5;

/// One guardrail.
pub(super) struct GuardrailLine {
    /// What has to be in order.
    pub name: String,
    /// What was found.
    pub found: String,
    /// Whether it is in order.
    pub is_fine: bool,
}

/// The guardrails of a report: the split, the consistency of units, and for each arm fallbacks and latency.
pub(super) fn guardrails(report: &Report) -> Vec<GuardrailLine> {
    let fallbacks = report.arms.iter().filter_map(fallbacks);
    let latencies = report.arms.split_first().into_iter();
    let latencies = latencies.flat_map(|(control, arms)| arms.iter().filter_map(|arm| latency(control, arm)));
    split(report).into_iter().chain([consistency(report)]).chain(fallbacks).chain(latencies).collect()
}

fn split(report: &Report) -> Option<GuardrailLine> {
    let ratio = report.sample_ratio.as_ref()?;
    let total = ratio.n_units.iter().sum::<u64>().max(1) as f64;
    let share = |((arm, n), expected): ((&ArmSummary, &u64), &f64)| {
        format!("{} {:.1} % (weighted {:.0} %)", arm.arm, *n as f64 / total * 100.0, expected * 100.0)
    };
    let shares: Vec<String> = report.arms.iter().zip(&ratio.n_units).zip(&ratio.expected).map(share).collect();
    let found = format!("{}; p = {:.2}", shares.join(", "), ratio.p_value);
    Some(GuardrailLine { name: "units arrive as weighted".to_owned(), found, is_fine: !ratio.is_mismatch })
}

fn consistency(report: &Report) -> GuardrailLine {
    let found = format!("{} queries left out", with_separators(report.n_inconsistent));
    GuardrailLine { name: "each unit meets one arm".to_owned(), found, is_fine: report.n_inconsistent == 0 }
}

fn fallbacks(arm: &ArmSummary) -> Option<GuardrailLine> {
    let share = (arm.n_queries > 0).then(|| arm.n_fallbacks as f64 / arm.n_queries as f64)?;
    let found = format!("{:.1} % of queries, at most {:.0} %", share * 100.0, FALLBACKS_MAX * 100.0);
    Some(GuardrailLine { name: format!("fallbacks of {}", arm.arm), found, is_fine: share <= FALLBACKS_MAX })
}

fn latency(control: &ArmSummary, arm: &ArmSummary) -> Option<GuardrailLine> {
    let (own, reference) = arm.latency_p95_millis.zip(control.latency_p95_millis)?;
    let factor = (reference > 0.0).then(|| own / reference)?;
    let found = format!("{factor:.2} times that of {} at 95 %, at most {LATENCY_FACTOR_MAX}", control.arm);
    Some(GuardrailLine { name: format!("latency of {}", arm.arm), found, is_fine: factor <= LATENCY_FACTOR_MAX })
}
