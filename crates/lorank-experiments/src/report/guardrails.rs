//! The guardrails of a report, and whether they hold.

use super::{ArmSummary, GuardrailCheck};
use crate::analysis::SampleRatio;
use crate::format::with_separators;

/// The share of fallbacks, and the factor of the control's latency, above which an arm needs attention. The verdict has more
/// tolerant limits.
const FALLBACKS_MAX: f64 = 0.01;
const LATENCY_FACTOR_MAX: f64 = 1.5;

/// The guardrails: the sample ratio, consistent units, and the fallbacks and latency of each arm.
pub(crate) fn guardrails(
    arms: &[ArmSummary],
    sample_ratio: Option<&SampleRatio>,
    n_inconsistent: u64,
) -> Vec<GuardrailCheck> {
    let latencies = arms.split_first().into_iter();
    let latencies = latencies.flat_map(|(control, arms)| arms.iter().filter_map(|arm| latency(control, arm)));
    let split = sample_ratio.map(|ratio| split(arms, ratio));
    let units = split.into_iter().chain([consistency(n_inconsistent)]);
    units.chain(arms.iter().filter_map(fallbacks)).chain(latencies).collect()
}

fn split(arms: &[ArmSummary], ratio: &SampleRatio) -> GuardrailCheck {
    let total = ratio.n_units.iter().sum::<u64>().max(1) as f64;
    let share = |((arm, n), expected): ((&ArmSummary, &u64), &f64)| {
        format!("{} {:.1} % (weighted {:.0} %)", arm.arm, *n as f64 / total * 100.0, expected * 100.0)
    };
    let shares: Vec<String> = arms.iter().zip(&ratio.n_units).zip(&ratio.expected).map(share).collect();
    let chance = if ratio.p_value < 0.01 { format!("{:.0e}", ratio.p_value) } else { format!("{:.2}", ratio.p_value) };
    let found = format!("{}; p = {chance}", shares.join(", "));
    GuardrailCheck { name: "sample ratio matches the weights".to_owned(), found, is_fine: !ratio.is_mismatch }
}

fn consistency(n_inconsistent: u64) -> GuardrailCheck {
    let found = format!("{} queries excluded", with_separators(n_inconsistent));
    GuardrailCheck { name: "each unit sees one arm".to_owned(), found, is_fine: n_inconsistent == 0 }
}

fn fallbacks(arm: &ArmSummary) -> Option<GuardrailCheck> {
    let share = (arm.n_queries > 0).then(|| arm.n_fallbacks as f64 / arm.n_queries as f64)?;
    let found = format!("{:.1} % of queries, at most {:.0} %", share * 100.0, FALLBACKS_MAX * 100.0);
    Some(GuardrailCheck { name: format!("fallbacks of {}", arm.arm), found, is_fine: share <= FALLBACKS_MAX })
}

fn latency(control: &ArmSummary, arm: &ArmSummary) -> Option<GuardrailCheck> {
    let (own, reference) = arm.latency_p95_millis.zip(control.latency_p95_millis)?;
    let factor = (reference > 0.0).then(|| own / reference)?;
    let found = format!("95th percentile {factor:.2} times that of {}, at most {LATENCY_FACTOR_MAX}", control.arm);
    Some(GuardrailCheck { name: format!("latency of {}", arm.arm), found, is_fine: factor <= LATENCY_FACTOR_MAX })
}
