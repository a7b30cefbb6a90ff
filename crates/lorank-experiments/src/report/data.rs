//! The data of a report.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::analysis::{Interval, Look, Measure, SampleRatio, ServedVersion, Verdict};
use crate::{ExperimentState, Method, PinnedVersion};

/// The results of an experiment so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The id of the experiment.
    pub experiment: String,
    /// The state. An experiment whose end has passed is stopped.
    pub state: ExperimentState,
    /// Start of the assignment, in milliseconds since 1970.
    pub start_millis: Option<i64>,
    /// End of the assignment, in milliseconds since 1970; `None` if no end is set.
    pub end_millis: Option<i64>,
    /// The method of comparison.
    pub method: Method,
    /// The primary measure.
    pub measure: Measure,
    /// The confidence level of the intervals, simultaneous over all looks and comparisons.
    pub confidence: f64,
    /// The smallest relevant difference.
    pub smallest_difference: f64,
    /// The statistics of each arm; for interleaved answers, of all arms together.
    pub arms: Vec<ArmSummary>,
    /// The comparison of each other arm with the control.
    pub comparisons: Vec<Comparison>,
    /// The test for a sample ratio mismatch; `None` for interleaved answers, where each unit sees all arms.
    pub sample_ratio: Option<SampleRatio>,
    /// The number of queries excluded because their unit was exposed to another arm before, or because their arm does not exist.
    pub n_inconsistent: u64,
    /// The guardrails, and whether they hold.
    pub guardrails: Vec<GuardrailCheck>,
    /// The models of the arms, the control first.
    pub served: Vec<ServedArm>,
    /// The intervals over time.
    pub looks: Vec<Look>,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict as a sentence.
    pub sentence: String,
}

/// A guardrail of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GuardrailCheck {
    /// The name, such as `fallbacks of qa`.
    pub name: String,
    /// The measured values and their limit.
    pub found: String,
    /// Whether it holds.
    pub is_fine: bool,
}

/// The statistics of an arm. Means are `None` without queries; forced requests only count in `n_forced`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmSummary {
    /// The name of the arm.
    pub arm: String,
    /// The number of units.
    pub n_units: u64,
    /// The number of queries.
    pub n_queries: u64,
    /// The number of clicks.
    pub n_clicks: u64,
    /// The share of queries with a click.
    pub click_through: Option<f64>,
    /// The share of queries with a click on ranks 1 to 3.
    pub top_click: Option<f64>,
    /// The mean of 1 / rank of the first click, or 0 without a click.
    pub reciprocal_rank: Option<f64>,
    /// The mean over queries of the values of the events on their answers; `None` if no event has a value.
    pub value: Option<f64>,
    /// The mean time to the first click in seconds, over answers with clicks.
    pub time_to_first_click_seconds: Option<f64>,
    /// The mean nDCG@10 of answers to judged queries.
    pub ndcg_at_10: Option<f64>,
    /// The number of answers to judged queries.
    pub n_judged: u64,
    /// The judged share of their first ten hits.
    pub judged_share: Option<f64>,
    /// The share of answers with hits but without clicks.
    pub abandonment: Option<f64>,
    /// The median latency in milliseconds.
    pub latency_p50_millis: Option<f64>,
    /// The 95th percentile of the latency in milliseconds.
    pub latency_p95_millis: Option<f64>,
    /// The number of fallback answers.
    pub n_fallbacks: u64,
    /// The number of requests that named their arm.
    pub n_forced: u64,
}

/// The model of an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServedArm {
    /// The name of the arm.
    pub arm: String,
    /// The model in its definition.
    pub model: String,
    /// The settings in its definition, by their keys. Left out if there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<&'static str, String>,
    /// The pinned version; `None` for the first stage, for the base model, and if nothing was pinned.
    pub pinned: Option<PinnedVersion>,
    /// The exact models that ranked its answers, if recorded. If there are several, the sentence has a warning.
    pub versions: Vec<ServedVersion>,
}

/// The comparison of an arm with the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The name of the arm.
    pub arm: String,
    /// The name of the control.
    pub control: String,
    /// The differences by measure.
    pub differences: Vec<Difference>,
    /// The wins and losses of interleaved answers.
    pub duel: Option<DuelSummary>,
}

/// The difference of an arm to the control in a measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The measure.
    pub measure: Measure,
    /// The arm's value minus the control's; `None` while there are too few units.
    pub interval: Option<Interval>,
    /// Whether this measure decides the experiment.
    pub decides: bool,
}

/// The wins and losses of interleaved answers with hits of both arms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DuelSummary {
    /// The number of answers with more credit for the arm.
    pub n_won: u64,
    /// The number of answers with more credit for the control.
    pub n_lost: u64,
    /// The number of answers with equal credit for both, usually none.
    pub n_drawn: u64,
    /// The number of answers that both ranked in the same way, so that clicks cannot distinguish them.
    pub n_same: u64,
    /// The number of answers without a hit of one of the two.
    pub n_missing: u64,
    /// The credit of the arm: 1 / rank for each click.
    pub credit: f64,
    /// The credit of the control.
    pub control_credit: f64,
}
